"""Reading scenes part by part, the coordinates of boxes, and the files that are written."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from predict_toys import NORTH_UP, write_tiff

from bench.core.errors import BenchError
from bench.detection.detectors.base import Detections
from bench.detection.scenes.geo import Georeference, feature_collection, rings
from bench.detection.scenes.outputs import SceneDetections, write_outputs, write_quicklook
from bench.detection.scenes.scene_predictions import find_scenes
from bench.detection.scenes.scene_reader import open_scene
from bench.detection.submission.coco_results import read_coco
from bench.detection.submission.results_file import read_box_table

rasterio = pytest.importorskip("rasterio")
UTM = Georeference("EPSG:32651", NORTH_UP, 1.0)


# -- reading -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.int16, np.uint32])
@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_any_window_is_the_cut_of_the_whole(tmp_path: Path, dtype: type, suffix: str) -> None:
    image: np.ndarray = np.random.default_rng(0).integers(0, 200, (130, 170)).astype(dtype)
    path = tmp_path / f"scene.{suffix}"
    if suffix == "tif":
        write_tiff(path, image)
    else:
        np.save(path, image.astype(image.dtype.newbyteorder(">")))
    with open_scene(path) as reader:
        assert (reader.height, reader.width) == (130, 170)
        for window in ((0, 0, 130, 170), (60, 100, 40, 30), (-5, -7, 20, 20), (120, 160, 64, 64), (500, 500, 8, 8)):
            y, x, height, width = window
            pixels, known = reader.read(window, 7)
            assert (
                pixels.dtype
                == reader.dtype
                == {"u": np.uint8 if dtype is np.uint8 else np.uint16, "i": np.uint16}.get(
                    np.dtype(dtype).kind, np.float32
                )
            )
            expected = np.full((height, width), 7)
            seen = np.zeros((height, width), dtype=bool)
            for i in range(height):
                for j in range(width):
                    if 0 <= y + i < 130 and 0 <= x + j < 170:
                        expected[i, j], seen[i, j] = image[y + i, x + j], True
            assert np.array_equal(pixels, expected) and np.array_equal(known, seen)


def test_what_holds_no_data(tmp_path: Path) -> None:
    image = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    image[0, :4] = [np.nan, np.inf, -np.inf, -32768]
    path = write_tiff(tmp_path / "scene.tif", image, nodata=-32768)
    with open_scene(path) as reader:
        pixels, known = reader.read((0, 0, 64, 64), -99)
    assert known.sum() == 64 * 64 - 4 and not known[0, :4].any() and (pixels[0, :4] == -99).all()
    assert np.array_equal(pixels[1:], image[1:])
    with open_scene(path, nodata=70) as reader:  # what the user says goes before what the file says
        assert not reader.read((1, 6, 1, 1), 0)[1].any() and reader.read((0, 3, 1, 1), 0)[1].all()
    lowest = float(np.finfo(np.float32).min)
    write_tiff(path, np.full((64, 64), lowest, np.float32), nodata=lowest)
    with open_scene(path) as reader:
        assert not reader.read((0, 0, 64, 64), 0)[1].any()
    write_tiff(path, np.full((64, 64), 5, np.uint8), nodata=None)
    with open_scene(path, nodata=-9999) as reader:
        assert reader.read((0, 0, 64, 64), 0)[1].all(), "a value that the type cannot hold is nowhere"


def test_an_internal_mask_hides_pixels(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_tiff(path, np.full((64, 64), 50, np.uint8))
        with rasterio.open(path, "r+") as stream:
            mask = np.full((64, 64), 255, np.uint8)
            mask[:, :10] = 0
            stream.write_mask(mask)
    with open_scene(path) as reader:
        known = reader.read((0, 0, 64, 64), 0)[1]
    assert not known[:, :10].any() and known[:, 10:].all()


def test_pictures_and_bands(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
    Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2)).save(tmp_path / "grey.png")
    with open_scene(tmp_path / "grey.png") as reader:  # three equal channels, as HRSID has them
        assert np.array_equal(reader.read((3, 4, 30, 20), 0)[0], grey[3:33, 4:24]) and reader.geo is None
    stack = np.stack([grey, 255 - grey])
    path = write_tiff(tmp_path / "two.tif", stack)
    with open_scene(path, band=2) as reader:
        assert np.array_equal(reader.read((0, 0, 40, 50), 0)[0], 255 - grey)
    for band, message in ((None, "has 2 bands; say which one"), (3, "no band 3"), (0, "no band 0")):
        with pytest.raises(BenchError, match=message), open_scene(path, band=band):
            pass


@pytest.mark.parametrize("name", ["pipe.tif", "pipe.npy", "scene.tif.aux.xml", "scene.tif.msk", "scene.tfw"])
def test_a_pipe_is_refused_and_never_waited_for(tmp_path: Path, name: str) -> None:
    tifffile.imwrite(tmp_path / "scene.tif", np.ones((8, 8), np.float32))
    os.mkfifo(tmp_path / name)
    given = tmp_path / name if name.startswith("pipe") else tmp_path / "scene.tif"
    with pytest.raises(BenchError, match=rf"{name}: it is no regular file"):
        for path in find_scenes([given]).values():
            with open_scene(path):
                pass


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    whole = write_tiff(
        tmp_path / "whole.tif", np.random.default_rng(0).integers(0, 255, (600, 600)).astype(np.uint8)
    ).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "head.tif").write_bytes(whole[:60])
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "text.tif").write_text("not an image at all")
    np.save(tmp_path / "cube.npy", np.zeros((3, 4, 5)))
    np.save(tmp_path / "complex.npy", np.zeros((3, 4), np.complex64))
    np.save(tmp_path / "none.npy", np.zeros((0, 4), np.uint8))
    (tmp_path / "half.npy").write_bytes(b"\x93NUMPY\x01\x00")
    write_tiff(tmp_path / "negative.tif", np.full((64, 64), -5, np.int16))
    for name, message in {
        "cut.tif": "truncated or damaged",
        "head.tif": "cannot be opened as TIFF",
        "empty.tif": "is an empty file",
        "text.tif": "is not an image",
        "cube.npy": r"shape \(3, 4, 5\)",
        "complex.npy": "holds complex values",
        "none.npy": "has zero size",
        "half.npy": "cannot be read as a NumPy array",
        "negative.tif": "int16 values from -5 to -5",
        "gone.tif": "cannot read .*gone.tif",
    }.items():
        with pytest.raises(BenchError, match=message) as told, open_scene(tmp_path / name) as reader:
            for top in range(0, reader.height, 64):
                reader.read((top, 0, 64, reader.width), 0)
        assert name in str(told.value) and "\n" not in str(told.value)


# -- coordinates -------------------------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(
    st.floats(-3.1, 3.1), st.floats(0.5, 40), st.floats(0.5, 40), st.booleans(),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900), st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=4),
)  # fmt: skip
def test_rings_are_the_corners_on_the_ground_and_go_round_the_right_way(
    angle: float, across: float, down: float, mirrored: bool, given_boxes: list[tuple[int, int, int, int]]
) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in given_boxes], dtype=np.float64)
    cos, sin, sign = np.cos(angle), np.sin(angle), 1 if mirrored else -1
    geo = Georeference(
        "EPSG:32651", (across * cos, down * sin * sign * -1, 5e5, across * sin, down * cos * sign, 4e6), 1.0
    )
    out = rings(boxes, geo)
    affine = rasterio.Affine(*geo.transform)
    for box, ring in zip(boxes.tolist(), out, strict=True):
        corners = {
            tuple(np.round(rasterio.transform.xy(affine, y, x, offset="ul"), 3)) for x in box[::2] for y in box[1::2]
        }
        assert corners == {tuple(np.round(point, 3)) for point in ring} and (ring[0] == ring[-1]).all()
        x, y = (ring - ring[0]).T
        assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2 == pytest.approx(
            across * down * (box[2] - box[0]) * (box[3] - box[1])
        )
    assert geo.gsd_m == pytest.approx((across * down) ** 0.5)


def test_the_reference_system_is_named_as_the_file_has_it(tmp_path: Path) -> None:
    rotated = rasterio.Affine(8, 2, 3e5, 2, -8, 3.5e6)
    image = np.zeros((64, 64), np.uint8)
    for crs, name, gsd in (
        ("EPSG:32651", "urn:ogc:def:crs:EPSG::32651", 68**0.5),
        ("EPSG:4326", "urn:ogc:def:crs:EPSG::4326", None),
    ):
        write_tiff(tmp_path / "scene.tif", image, crs, transform=rotated)
        with open_scene(tmp_path / "scene.tif") as reader:
            assert reader.geo is not None and reader.geo.member()["properties"]["name"] == name
            assert (
                reader.geo.gsd_m == (None if gsd is None else pytest.approx(gsd))
                and reader.geo.transform == tuple(rotated)[:6]
            )
    local = 'LOCAL_CS["harbour",UNIT["foot",0.3048]]'
    write_tiff(tmp_path / "own.tif", image, local, transform=rotated)
    with open_scene(tmp_path / "own.tif") as reader:
        assert (
            reader.geo is not None
            and "harbour" in reader.geo.member()["properties"]["name"]
            and reader.geo.gsd_m is None
        )
    with open_scene(write_tiff(tmp_path / "bare.tif", image, crs=None)) as reader:
        assert reader.geo is None


def test_geojson_agrees_with_rasterio_to_the_pixel() -> None:
    boxes = np.array([[10.0, 20, 16, 32.5]])
    made = feature_collection("scene", boxes, np.array([0.5]), UTM, {})
    (feature,) = made["features"]
    ring = np.array(feature["geometry"]["coordinates"][0])
    assert ring.tolist() == [
        [300_100, 3_499_675],
        [300_160, 3_499_675],
        [300_160, 3_499_800],
        [300_100, 3_499_800],
        [300_100, 3_499_675],
    ]
    assert feature["properties"] == {"score": 0.5, "x1": 10, "y1": 20, "x2": 16, "y2": 32.5}
    pixels = feature_collection("scene", boxes, np.array([0.5]), None, {})
    assert pixels["crs"] is None and "pixels" in pixels["coordinates"]
    assert pixels["features"][0]["geometry"]["coordinates"][0] == [[10, 20], [16, 20], [16, 32.5], [10, 32.5], [10, 20]]


# -- files -------------------------------------------------------------------------------------------------------------
def found(geo: Georeference | None) -> list[SceneDetections]:
    some = Detections(np.array([[1.0, 2, 11, 8], [40.25, 50, 60, 55]]), np.array([0.9, 1 / 3]))
    return [
        SceneDetections("a", "a.tif", 100, 200, geo, some),
        SceneDetections("b", "b.tif", 70, 80, None, Detections.none()),
    ]


def test_the_files_read_back_as_they_were_written(tmp_path: Path) -> None:
    paths = write_outputs(tmp_path, found(None), ("coco", "csv", "geojson"), {"detector": "cfar"})
    assert sorted(path.name for path in paths) == ["a.geojson", "b.geojson", "detections.csv", "detections.json"]
    coco, table = read_coco(tmp_path / "detections.json"), read_box_table(tmp_path / "detections.csv")
    boxes: list[list[float]] = [[1, 2, 11, 8], [40.25, 50, 60, 55]]
    assert (
        table.corners and table.numbers[:, :4].tolist() == boxes and [each.by for each in table.images] == ["a.tif"] * 2
    )
    assert (
        coco.numbers[:, :2].tolist() == [box[:2] for box in boxes]
        and [each.by for each in coco.images] == [1, 1]
        and [each.by for each in coco.looked_at] == [1, 2]
    )
    assert table.numbers[:, 4].tolist() == coco.numbers[:, 4].tolist() == [0.9, 1 / 3]
    assert [each.by for each in table.looked_at] == ["b.tif"]
    assert json.loads((tmp_path / "b.geojson").read_text())["features"] == []


def test_coco_results_are_legal_for_pycocotools(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    write_outputs(tmp_path, found(None), ("coco",), {})
    index = COCO(str(tmp_path / "detections.json"))
    assert index.getImgIds() == [1, 2] and len(index.getAnnIds(imgIds=[1])) == 2


def test_the_table_tells_the_ground_where_it_is_known(tmp_path: Path) -> None:
    write_outputs(tmp_path, found(UTM), ("csv",), {})
    rows = list(csv.DictReader((tmp_path / "detections.csv").open()))
    assert (rows[0]["crs"], float(rows[0]["centre_x"]), float(rows[0]["centre_y"])) == (
        "EPSG:32651",
        300_060,
        3_499_950,
    )
    assert rows[2]["file_name"] == "b.tif" and rows[2]["crs"] == rows[2]["score"] == ""


def test_a_quicklook_is_small_and_shows_the_boxes(tmp_path: Path) -> None:
    image = np.full((3300, 1700), 40, np.uint16)
    image[1000:1600, 500:900] = 4000
    with open_scene(write_tiff(tmp_path / "scene.tif", image)) as reader:
        write_quicklook(tmp_path / "quick.png", reader, np.array([[500.0, 1000, 900, 1600]]))
    picture = np.asarray(Image.open(tmp_path / "quick.png"))
    assert picture.shape == (1100, 567, 3)
    red = (picture[:, :, 0] == 255) & (picture[:, :, 1] == 64)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert np.abs(np.array([rows[0], rows[-1], columns[0], columns[-1]]) * 3 - [1000, 1600, 500, 900]).max() <= 3
    assert (picture[400, 200] > 200).all() and (picture[50, 50] < 20).all()


def test_names_of_scenes_are_unique_and_folders_hold_images(tmp_path: Path) -> None:
    for name in ("a/VH_dB.tif", "b/VH_dB.tif", "b/other.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert list(find_scenes([tmp_path / "b"])) == ["VH_dB", "other"]
    assert list(find_scenes([tmp_path / "a", tmp_path / "b/VH_dB.tif"])) == ["a-VH_dB", "b-VH_dB"]
    with pytest.raises(BenchError, match="is given twice"):
        find_scenes([tmp_path / "b", tmp_path / "b/other.png"])
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "empty", "holds no image"), (tmp_path / "gone.tif", "no such file")):
        with pytest.raises(BenchError, match=message):
            find_scenes([path])
