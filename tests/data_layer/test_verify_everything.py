"""`verify` stops at nothing that lies in a data set: links, pipes, folders, twins, and whatever a decoder raises. What
is not there under its name is named where it lies.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from command_line import Bench

from bench.core.errors import BenchError
from bench.data.datasets.coco_folder import CocoFolder
from bench.data.datasets.two_folders import TwoFolders
from bench.data.images import image_size, read_image, write_image
from bench.data.nearby import Nearby
from bench.data.ships.verify import verify_ships
from bench.data.verify import verify

MakePairs = Callable[..., Path]


# -- decoders ----------------------------------------------------------------------------------------------------------
def tiff_bytes(tmp_path: Path) -> bytes:
    path = tmp_path / "whole.tif"
    pixels = np.random.default_rng(0).integers(0, 4000, (24, 20)).astype(np.uint16)
    tifffile.imwrite(path, pixels, compression="zlib", rowsperstrip=8, metadata=None)
    return path.read_bytes()


def entries_of(data: bytes) -> list[int]:
    """Return where the entries of the first directory of a little-endian TIFF begin; 12 bytes each: tag, type, count,
    value.
    """
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    return [start + 2 + 12 * k for k in range(count)]


def test_every_exception_of_a_decoder_is_a_damaged_file(tmp_path: Path) -> None:
    """Each entry of the directory gets each type, some counts and values: tifffile raises TypeError, ZeroDivisionError,
    AttributeError and NotImplementedError of its own.
    """
    whole, path = tiff_bytes(tmp_path), tmp_path / "damaged.tif"
    read, refused = 0, 0
    changes = [(2, "<H", kind) for kind in (1, 2, 5, 7, 12)] + [(4, "<I", count) for count in (0, 2, 3)]
    changes += [(8, "<I", value) for value in (0, 11, 2**32 - 1)]
    for entry in entries_of(whole):
        for offset, form, value in changes:
            data = bytearray(whole)
            struct.pack_into(form, data, entry + offset, value)
            path.write_bytes(data)
            for look in (image_size, read_image):
                try:
                    look(path)
                    read += 1
                except BenchError as error:
                    assert str(path) in str(error) and "\n" not in str(error)
                    refused += 1
    assert read > 20 and refused > 100


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
def test_mutated_images_are_read_or_refused(tmp_path: Path, suffix: str) -> None:
    from PIL import Image

    path = tmp_path / f"image.{suffix}"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (24, 20, 3)).astype(np.uint8)).save(path)
    whole, rng = path.read_bytes(), np.random.default_rng(2)
    for _ in range(100):
        data = bytearray(whole)
        for place in rng.integers(0, min(len(data), 400), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(1, len(data))] if rng.random() < 0.3 else data)
        for look in (image_size, read_image):
            try:
                look(path)
            except BenchError as error:
                assert str(path) in str(error)


def test_values_packed_into_12_bits_are_read(tmp_path: Path) -> None:
    """tifffile does not unpack them without a package of its own; Pillow does."""
    values = np.random.default_rng(3).integers(0, 4096, (6, 8)).astype(np.uint16)
    pairs = values.reshape(-1, 2)
    high, low = pairs[:, 0], pairs[:, 1]
    packed = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], axis=1).astype(np.uint8).tobytes()
    tags = [(256, 8), (257, 6), (258, 12), (259, 1), (262, 1), (273, 146), (277, 1), (278, 6), (279, len(packed))]
    directory = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    head = b"II*\x00" + struct.pack("<IH", 8, len(tags)) + directory + struct.pack("<I", 0)
    (tmp_path / "packed.tif").write_bytes(head.ljust(146, b"\0") + packed)
    assert np.array_equal(read_image(tmp_path / "packed.tif"), values)


# -- files that are none, twins, tables --------------------------------------------------------------------------------
def test_links_pipes_folders_and_twins_are_problems_and_the_rest_is_looked_at(make_pairs: MakePairs) -> None:
    root = make_pairs(9)
    (root / "sar/1.png").unlink()
    (root / "sar/1.png").symlink_to(root / "nowhere.png")
    (root / "sar/2.png").unlink()
    os.mkfifo(root / "sar/2.png")
    (root / "optical/3.png").unlink()
    (root / "optical/3.png").mkdir()
    (root / "sar/4.png").unlink()
    os.link(root / "sar/5.png", root / "sar/4.png")
    shutil.copy(root / "optical/6.png", root / "optical/6.PNG")
    (root / "sar/7.png").write_bytes(b"")
    report = verify(TwoFolders.at(root))
    lines = "\n".join(report.problems)
    assert report.checked == report.pairs == 9
    assert "1.png: No such file or directory (a link that leads nowhere)" in lines
    assert "2.png: it is no regular file" in lines and "3.png: it is no regular file" in lines
    assert "7.png is an empty file" in lines
    assert "equal content: sar/4.png = sar/5.png" in lines
    assert "optical/6.PNG and optical/6.png both claim pair '6'; remove one" in lines
    assert len(report.problems) == 6
    with pytest.raises(BenchError, match="both claim pair '6'"):
        TwoFolders.at(root).index()


def test_files_that_state_no_number_and_absent_tables_stop_nothing(make_pairs: MakePairs) -> None:
    root = make_pairs(4)
    write_image(root / "sar/none", np.arange(256, dtype=np.uint8).reshape(16, 16))
    report = verify(TwoFolders.at(root, pair_by="number", table="gone.csv"))
    assert report.checked == 4 and len(report.problems) == 2
    assert any("sar/none.png has no number in its name" in line for line in report.problems)
    assert any("no table" in line and "gone.csv" in line for line in report.problems)


def coco(root: Path, name: str, files: list[str]) -> None:
    images = [{"id": k, "file_name": file, "width": 16, "height": 16} for k, file in enumerate(files, start=1)]
    boxes = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": [2, 2, 5, 4], "iscrowd": 0} for k in range(1, len(files) + 1)
    ]
    whole = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "ship"}]}
    (root / name).write_text(json.dumps(whole))


def test_a_damaged_list_and_an_absent_table_do_not_hide_the_other_lists(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for k in range(3):
        write_image(tmp_path / f"images/{k}", np.random.default_rng(k).integers(0, 255, (16, 16)).astype(np.uint8))
    coco(tmp_path, "good.json", ["0.png", "1.png"])
    (tmp_path / "bad.json").write_text("{")
    made = CocoFolder.at(tmp_path, annotations=["bad.json", "good.json"], table="gone.csv", sar_scale="uint8")
    report = verify_ships(made)
    assert report.checked == 2 and report.ships == 2
    assert [("bad.json" in line, "gone.csv" in line) for line in report.annotations] == [(True, False), (False, True)]
    with pytest.raises(BenchError, match=r"bad.json.*1 more problem"):
        made.index()


# -- what is not there -------------------------------------------------------------------------------------------------
NFC, NFD = "caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")


@pytest.mark.parametrize(
    ("there", "wanted", "tail"),
    [
        ("images/7.PNG", "images/7.png", "; nearest: images/7.PNG (differs in upper and lower case)"),
        ("images/a b.png", "images/a%20b.png", "; nearest: images/a b.png (differs in percent-encoding)"),
        (f"images/{NFD}.png", f"images/{NFC}.png", f"; nearest: images/{NFD}.png (differs in Unicode form)"),
        ("set/images/7.png", "images/7.png", "; nearest: set/images/7.png (a folder deeper)"),
        ("images/7.png", "images/images/7.png", "; nearest: images/7.png (without the doubled folder)"),
        (
            "Images/A B.png",
            "images/a%20b.png",
            "; nearest: Images/A B.png (differs in upper and lower case, differs in how",
        ),
        ("images/8.png", "images/7.png", ""),
        ("images/7.png", "images/7.png", ""),
    ],
)
def test_what_is_not_there_is_named_where_it_lies(tmp_path: Path, there: str, wanted: str, tail: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True)
    (tmp_path / there).touch()
    assert Nearby(tmp_path).tail(wanted).startswith(tail)
    assert bool(Nearby(tmp_path).tail(wanted)) == bool(tail)


def test_messages_of_readers_name_the_nearest(make_pairs: MakePairs, tmp_path: Path) -> None:
    root = make_pairs(3)
    (root / "sar/2.png").rename(root / "sar/2 .png")
    (root / "optical/2.png").rename(root / "optical/2%20.png")
    lines = TwoFolders.at(root).scan().unpaired
    assert lines[0] == "optical/2%20.png has no SAR partner in sar/; nearest: sar/2 .png (differs in percent-encoding)"
    (root / "sar").rename(root / "SAR")
    with pytest.raises(BenchError, match=r"pairs/sar; nearest: SAR \(differs in upper and lower case\)"):
        TwoFolders.at(root)
    ships = tmp_path / "ships"
    (ships / "images").mkdir(parents=True)
    write_image(ships / "images/a b", np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8))
    coco(ships, "annotations.json", ["a%20b.png"])
    with pytest.raises(BenchError, match=r"'a%20b.png' is not in images/; nearest: images/a b.png"):
        CocoFolder.at(ships, sar_scale="uint8").index()


def test_a_root_that_is_not_there_names_the_nearest(bench: Bench) -> None:
    (bench.folder / "Pairs").mkdir()
    assert "--root pairs is not a folder; nearest: Pairs" in bench.error(
        "data", "verify", "toy-pairs", "--root", "pairs"
    )
