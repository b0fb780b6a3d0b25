"""`verify_ships` finds every planted fault in one go, and calls a clean set clean; images that a reader must refuse."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from ship_files import coco, write_air_sarship, write_coco, write_tiff, write_voc, write_voc_folder

from bench.core.errors import BenchError
from bench.core.options import option_values
from bench.data.datasets.air_sarship import AirSarShip
from bench.data.datasets.coco_folder import CocoFolder
from bench.data.datasets.hrsid import Hrsid
from bench.data.datasets.voc_folder import VocFolder
from bench.data.images import as_sar, read_image, write_image
from bench.data.ships.verify import verify_ships


def test_a_clean_set(tmp_path: Path) -> None:
    root, seen = write_voc_folder(tmp_path / "set", {"1": [[1, 2, 10, 20], [1, 2, 10, 21]], "2": []}), []
    write_voc(root / "Annotations" / "2.xml", [[1, 1, 5, 5]], difficult=[1])
    report = verify_ships(
        VocFolder.at(root, sar_scale="uint8"), progress=lambda done, total: seen.append((done, total))
    )
    assert report.ok and report.problems == [] and report.notes == ()
    assert (report.scenes, report.ships, report.ignored, report.checked) == (2, 2, 1, 2)
    assert report.sizes == {"40 x 30": 2} and report.dtypes == {"uint8": 2} and seen[-1] == (2, 2)
    report.write_manifest(tmp_path / "m.sha256")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", tmp_path / "m.sha256"], cwd=root, check=True)
    assert len(report.manifest.files) == 4


def test_every_planted_fault_is_found(tmp_path: Path) -> None:
    names = [str(n) for n in range(1, 11)]
    root = write_voc_folder(tmp_path, {name: [[1, 2, 10, 20]] for name in names})
    images, labels = root / "JPEGImages", root / "Annotations"
    (images / "1.png").unlink()
    (labels / "2.xml").unlink()
    (labels / "3.xml").write_text("<annotation>")
    write_voc(labels / "4.xml", [[10, 2, 1, 20], [1, 1, 1, 9], [1, 1, 90, 9], [1, 2, 3, 4], [1, 2, 3, 4]])
    (images / "5.png").write_bytes((images / "5.png").read_bytes()[:90])
    (images / "6.png").write_text("no image")
    write_voc(labels / "7.xml", [], size=(41, 30))
    write_image(images / "8", np.full((40, 30), 7, np.uint8))
    (images / "9.png").write_bytes((images / "10.png").read_bytes())
    report = verify_ships(VocFolder.at(root, sar_scale="uint8"))
    text = "\n".join(report.problems)
    for expected in (
        "annotation Annotations/1.xml has no image",
        "image JPEGImages/2.png has no annotation",
        "3.xml is no well-formed XML",
        "box 1 (x1, y1, x2, y2 = 10, 2, 1, 20) is inverted",
        "box 2 (x1, y1, x2, y2 = 1, 1, 1, 9) has no area",
        "box 3 (x1, y1, x2, y2 = 1, 1, 90, 9) reaches outside",
        "repeated box: JPEGImages/4.png has 2 boxes x1, y1, x2, y2 = 1, 2, 3, 4",
        "unreadable: ",
        "6.png is not an image",
        "states 41 x 30 px",
        "constant image: JPEGImages/8.png is 7 everywhere",
        "equal content: JPEGImages/10.png = JPEGImages/9.png",
    ):
        assert expected in text, expected
    assert len(report.problems) == 12 and not report.ok and report.unreadable[0].startswith(str(images / "5.png"))


def test_nothing_is_left_out_of_a_long_list(tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path, {"1": [[9, 9, 1, 1]] * 100})
    assert len(verify_ships(VocFolder.at(root, sar_scale="uint8")).annotations) == 100


def test_counts_and_pixel_types_against_declared_facts(tmp_path: Path) -> None:
    root = write_air_sarship(tmp_path, {1: [[1, 2, 3, 4]], 13: [[40, 50, 49, 59]]})
    problems = verify_ships(AirSarShip.at(root)).problems
    assert problems == [
        "2 images found, 31 declared (`bench data info air-sarship-1.0` says more)",
        "2 ships found, 461 declared (`bench data info air-sarship-1.0` says more)",
    ]
    write_tiff(root / "AIR-SARShip-1.0-data" / "1.tiff", 60, 50, np.float32)
    write_voc(root / "AIR-SARShip-1.0-xml" / "13-label.xml", [], size=(3000, 3000))
    problems = verify_ships(AirSarShip.at(root)).problems
    assert "pixel types are float32, uint16; the published files are uint16" in problems
    assert any("states 3000 x 3000 px" in line for line in problems)
    assert AirSarShip.at(root).index().ids == ("1", "13")  # the stated size is not believed, and not needed


def test_other_pixels_than_declared(tmp_path: Path) -> None:
    write_tiff(tmp_path / "images" / "a.tif", 40, 30)
    root = write_coco(tmp_path, {"annotations.json": coco({"a.tif": []})})
    assert any("declared uint8" in line for line in verify_ships(CocoFolder.at(root, sar_scale="uint8")).problems)
    assert verify_ships(CocoFolder.at(root, sar_scale="amplitude")).ok


def test_images_in_no_list(tmp_path: Path) -> None:
    lists = {
        f"annotations/{name}.json": coco({f"P{k}_a.png": []}, first_id=k)
        for k, name in enumerate(("train2017", "test2017"))
    }
    root = write_coco(tmp_path, lists, "JPEGImages")
    write_image(root / "JPEGImages" / "P7_a", np.arange(1200, dtype=np.uint8).reshape(40, 30))
    line = "1 images of JPEGImages/ are in no list that is read, first JPEGImages/P7_a.png"
    assert line in verify_ships(Hrsid.at(root)).problems
    report = verify_ships(Hrsid.at(root, annotations="train2017"))
    assert report.ok and report.notes == (
        "2" + line[1:].replace("P7", "P1"),
        "no image has a box, so no AP is defined",
    )


def test_colour_composites_are_read_as_declared_and_reported(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "set", {"annotations.json": coco({"a.png": [[1, 2, 10, 5]], "b.png": []})})
    plain = CocoFolder.at(root, sar_scale="uint8")
    grey, manifest = plain.index(), plain.manifest().sha256
    assert verify_ships(plain).composites == ""
    colour = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    write_image(root / "images" / "b", colour)
    (line,) = verify_ships(plain).problems
    assert "b.png has three unequal channels" in line and "option channels" in line
    seen = {}
    for channels in ("luminance", "first"):
        dataset = CocoFolder.at(root, sar_scale="uint8", channels=channels)
        report = verify_ships(dataset)
        assert report.ok and f"read as {channels}: images/b.png" in "\n".join(report.summary)
        report.write_manifest(tmp_path / "m.sha256")
        assert f"read as {channels}" in (tmp_path / "m.sha256").read_text().splitlines()[0]
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", tmp_path / "m.sha256"], cwd=root, check=True)
        seen[channels] = (
            dataset.manifest().sha256,
            dataset.index().sha256,
            dataset.index().reading.read(root / "images/b.png").sum(),
        )
        assert report.manifest.sha256 == seen[channels][0]
    here = CocoFolder.at(root, sar_scale="uint8")
    assert len({manifest, here.manifest().sha256, *(value[0] for value in seen.values())}) == 4
    assert (
        len({grey.sha256, *(value[1] for value in seen.values())})
        == 3
        == len({value[2] for value in seen.values()}) + 1
    )
    assert option_values(here.options) == option_values(
        CocoFolder.at(root, sar_scale="uint8", channels="refuse").options
    )
    assert "channels" not in option_values(here.options)  # a set that declares nothing keeps its keys


def test_a_set_without_a_ship_that_counts(tmp_path: Path) -> None:
    raw = coco({"a.png": [[1, 2, 10, 5], [3, 4, 5, 6]], "b.png": []})
    for annotation in raw["annotations"]:
        annotation["iscrowd"] = 1
    root = write_coco(tmp_path, {"annotations.json": raw})
    line = "no ship counts: all 2 boxes are to be ignored, so no AP is defined"
    assert verify_ships(CocoFolder.at(root, sar_scale="uint8")).problems == [line]


def test_limit(tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path, {str(n): [[9, 9, 1, 1]] for n in range(5)})
    report = verify_ships(VocFolder.at(root, sar_scale="uint8"), limit=2)
    assert (
        report.checked == 2
        and report.dtypes == {"uint8": 2}
        and len(report.annotations) == 5
        and len(report.manifest.files) == 10
    )


def test_what_only_the_whole_tells(tmp_path: Path) -> None:
    root = write_voc_folder(tmp_path, {"1": []})
    for path in (root / "JPEGImages" / "1.png", root / "Annotations" / "1.xml"):
        path.unlink()
    assert verify_ships(VocFolder.at(root, sar_scale="uint8")).problems == [f"voc-folder at {root} has no scenes"]


# -- single images -----------------------------------------------------------------------------------------------------
def unreadable(root: Path) -> str:
    (line,) = verify_ships(AirSarShip.at(root)).unreadable
    return line


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_air_sarship(tmp_path, {1: [[1, 2, 3, 4]]}) / "AIR-SARShip-1.0-data" / "1.tiff"


def test_a_complex_tiff(scene: Path) -> None:
    tifffile.imwrite(scene, np.ones((60, 50), np.complex64))
    assert "holds complex values; store the amplitude of single-look complex data first" in unreadable(scene.parents[1])


def test_a_complex_integer_tiff(scene: Path) -> None:
    """Sample format 5 (complex integers), as single-look complex products have it."""
    tifffile.imwrite(scene, np.ones((60, 50), np.int32), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(scene) as tiff:
        tag = tiff.pages.first.tags["SampleFormat"]
    data = bytearray(scene.read_bytes())
    data[tag.valueoffset : tag.valueoffset + 2] = struct.pack("<H", 5)
    scene.write_bytes(bytes(data))
    with pytest.raises(BenchError, match="1.tiff holds complex values"):
        read_image(scene)


def test_a_float_tiff_is_legal_where_the_scale_is_declared(tmp_path: Path) -> None:
    write_tiff(tmp_path / "JPEGImages" / "1.tif", 40, 30, np.float32)
    write_voc(tmp_path / "Annotations" / "1.xml", [[1, 2, 3, 4]])
    assert verify_ships(VocFolder.at(tmp_path, sar_scale="amplitude")).dtypes == {"float32": 1}


def test_a_float_tiff_with_nan(scene: Path) -> None:
    tifffile.imwrite(scene, np.full((60, 50), np.nan, np.float32))
    assert "values that are NaN or infinite" in unreadable(scene.parents[1])


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_a_truncated_tiff(scene: Path, share: float) -> None:
    whole = scene.read_bytes()
    scene.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BenchError, match="truncated or damaged"):
        read_image(scene)
    assert any("1.tiff" in line for line in verify_ships(AirSarShip.at(scene.parents[1])).problems)


def test_an_image_of_one_pixel_is_an_image(tmp_path: Path) -> None:
    root = write_air_sarship(tmp_path, {1: []}, size=(1, 1))
    report = verify_ships(AirSarShip.at(root))
    assert report.unreadable == report.constant == report.annotations == () and report.sizes == {"1 x 1": 1}
    assert AirSarShip.at(root).index().items[0].height == 1
    assert as_sar(read_image(root / "AIR-SARShip-1.0-data" / "1.tiff"), root).shape == (1, 1)


def test_three_unequal_channels(scene: Path) -> None:
    tifffile.imwrite(scene, np.random.default_rng(0).integers(0, 99, (60, 50, 3), dtype=np.uint16), photometric="rgb")
    assert "three unequal channels" in unreadable(scene.parents[1])
