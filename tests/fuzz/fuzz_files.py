"""Kinds of cases over the files of data sets and of networks: images, label files, weights."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import tifffile
from fuzz_harness import Refused, Run, bench
from fuzz_mutations import of_bytes, of_json, of_xml
from PIL import Image
from ship_files import coco, write_coco, write_voc, write_voc_folder

from bench.core.errors import BenchError
from bench.data.dataset import open_dataset
from bench.data.images import image_size, read_image
from bench.data.ships.points_xml import parse_points
from bench.data.ships.verify import verify_ships
from bench.models.states import load_state, save_state
from bench.models.weights import load_initial_weights, load_weights

OPTIONS = {"sar_scale": "uint8"}
POINTS = """\
<annotation><source><filename>1.tif</filename></source><objects><object><possibleresult><name>ship</name></possibleresult><points>
<point>1.0, 2.0</point><point>9.0, 2.0</point><point>9.0, 8.0</point><point>1.0, 8.0</point><point>1.0, 2.0</point></points></object></objects></annotation>
"""


# -- images ------------------------------------------------------------------------------------------------------------
def pictures() -> list[tuple[str, bytes]]:
    """Return small images of every form that is read."""
    rng = np.random.default_rng(1)
    grey, deep = rng.integers(0, 256, (24, 20), np.uint8), rng.integers(0, 60000, (24, 20)).astype(np.uint16)
    real, bands = rng.normal(size=(24, 20)).astype(np.float32), rng.integers(0, 256, (24, 20, 3), np.uint8)
    tiled = rng.integers(0, 256, (48, 48), np.uint8)
    geo = [(33550, "d", 3, (10.0, 10.0, 0.0)), (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 5e6, 0.0)), (42113, "s", 0, "0")]
    out = [
        ("grey.tif", _tiff(grey)),
        ("deep.tif", _tiff(deep, compression="zlib", predictor=True)),
        ("real.tif", _tiff(real, extratags=geo)),
        ("tiled.tif", _tiff(tiled, tile=(16, 16), compression="zlib")),
        ("bands.tif", _tiff(bands, photometric="rgb", rowsperstrip=5)),
        ("planes.tif", _tiff(np.moveaxis(bands, 2, 0), planarconfig="separate", photometric="minisblack")),
        ("big.tif", _tiff(deep, bigtiff=True, byteorder=">")),
    ]
    for suffix in ("png", "jpg", "bmp"):
        out += [(f"grey.{suffix}", _picture(grey, suffix)), (f"bands.{suffix}", _picture(bands, suffix))]
    return [*out, ("deep.png", _picture(deep, "png"))]


def _tiff(array: np.ndarray, photometric: str = "minisblack", **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, photometric=photometric, **options)
    return stream.getvalue()


def _picture(array: np.ndarray, suffix: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, {"jpg": "JPEG"}.get(suffix, suffix))
    return stream.getvalue()


def images(folder: Path) -> Run:
    """Images, decoded with and without a choice of bands, and measured by their header."""
    (folder / "input").mkdir()
    kept = pictures()

    def read(path: Path, bands: tuple[int, ...] = ()) -> None:
        array = read_image(path, bands, nodata=0.0, unscaled=True)
        assert array.ndim in (2, 3) and array.dtype in (np.uint8, np.uint16, np.float32) and array.size
        assert image_size(path) == array.shape[:2]

    for name, whole in kept:
        (folder / "input" / name).write_bytes(whole)
        read(folder / "input" / name)

    def run(rng: Random, where: Path) -> None:
        name, whole = rng.choice(kept)
        path = where / "input" / name
        path.write_bytes(of_bytes(rng, whole))
        if rng.random() < 0.3:
            image_size(path)
        read(path, rng.choice(((), (), (1,), (1, 2, 3))))

    return run


# -- label files -------------------------------------------------------------------------------------------------------
def labels(folder: Path) -> Run:
    """Label files: through a data set's index, its check, and `bench data verify`."""
    boxes = {"a": [[2, 3, 12, 14]], "b": [[1, 1, 9, 9], [10, 12, 20, 30]]}
    write_voc_folder(folder / "input" / "voc", boxes)
    write_coco(folder / "input" / "coco", {"annotations.json": coco({"a.png": [[2, 3, 9, 9]], "b.png": []})})
    (folder / "input" / "points.xml").write_text(POINTS)
    write_voc(folder / "input" / "plain.xml", [[1, 2, 3, 4]], (40, 30))
    parse_points(folder / "input" / "points.xml")
    files = [
        ("voc-folder", "voc", path, path.read_bytes(), of_xml) for path in (folder / "input" / "voc").rglob("*.xml")
    ]
    path = folder / "input" / "coco" / "annotations.json"
    files += [("coco-folder", "coco", path, path.read_bytes(), of_json)] * 2
    for name, part, *_ in files:
        verify_ships(open_dataset(name, OPTIONS, folder / "input" / part, folder / "input" / "cache"))

    def run(rng: Random, where: Path) -> None:
        if rng.random() < 0.2:
            path = where / "input" / "points.xml"
            path.write_bytes(of_xml(rng, POINTS.encode()))
            parse_points(path)
            return
        name, part, path, whole, mutate = rng.choice(files)
        path.write_bytes(mutate(rng, whole))
        try:
            if rng.random() < 0.1:
                bench(
                    where / "input",
                    "data",
                    "verify",
                    name,
                    "--root",
                    part,
                    "--runs",
                    "cache",
                    "--option",
                    "sar_scale: uint8",
                )
                return
            dataset = open_dataset(name, OPTIONS, where / "input" / part, where / "input" / "cache")
            report = verify_ships(dataset)  # which stops at nothing once the set is open
            assert all(line.strip() for line in report.problems)
            for scene in dataset.index().items:
                assert scene.boxes.shape[1] == 4 and np.isfinite(scene.boxes).all()
        finally:
            path.write_bytes(whole)
            shutil.rmtree(where / "input" / "cache", ignore_errors=True)

    return run


# -- weights -----------------------------------------------------------------------------------------------------------
def weights(folder: Path) -> Run:
    """Weight files: safetensors, torch's, darknet's binary form."""
    import torch

    place = folder / "input"
    place.mkdir()
    state: dict[str, np.ndarray] = {
        "conv1.weight": np.ones((4, 3, 2, 2), np.float32),
        "bn1.bias": np.zeros(4),
        "count": np.array([3]),
    }
    save_state(place / "a.safetensors", state)
    torch.save({name: torch.from_numpy(value) for name, value in state.items()}, place / "a.pth")
    torch.save({"state_dict": {"backbone.conv1.weight": torch.ones(2, 2)}, "meta": {"epoch": 1}}, place / "b.pth")
    (place / "a.weights").write_bytes(np.arange(5, dtype=np.int32).tobytes() + np.ones(64, np.float32).tobytes())
    load_state(place / "a.safetensors")
    load_weights(place / "a.safetensors")
    readers: dict[str, list[Callable[[Path], object]]] = {
        ".safetensors": [load_state, load_weights],
        ".pth": [load_weights],
        ".weights": [],
    }
    kept = [(path.name, path.read_bytes()) for path in sorted(place.iterdir())]

    def run(rng: Random, where: Path) -> None:
        name, whole = rng.choice(kept)
        path = where / "input" / name
        path.write_bytes(of_bytes(rng, whole))
        for read in readers[path.suffix]:
            read(path)
        try:
            load_initial_weights(rng.choice(("resnet18", "darknet53")), path, rng.choice(("", "backbone.")))
        except BenchError as error:
            raise Refused from error
        raise AssertionError("a few small arrays passed for the weights of a whole network")

    return run
