"""SEN1-2, OSdataset, AIR-SARShip-2.0 and SARDet-100K in their genuine layouts, variants, damaged ones; GeoTIFF with no data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from ship_files import coco, write_tiff

from bench.data.cache import open_cache
from bench.data.datasets.air_sarship_2 import AirSarShip2
from bench.data.datasets.osdataset import OsDataset
from bench.data.datasets.sardet import Sardet100k
from bench.data.datasets.sen12 import Sen12
from bench.data.datasets.two_folders import TwoFolders
from bench.data.images import read_image, write_image
from bench.errors import BenchError


def picture(path: Path, channels: int = 1, side: int = 8, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = (np.arange(side * side).reshape(side, side) + value).astype(np.uint8)
    write_image(path, values if channels == 1 else np.repeat(values[:, :, None], 3, axis=2))


# -- SEN1-2 --------------------------------------------------------------------------------------------------------------------------
@pytest.fixture
def sen12(tmp_path: Path) -> Path:
    root = tmp_path / "SEN1-2"
    for season, number, patch in (
        ("ROIs1868_summer", 2, 10),
        ("ROIs1868_summer", 2, 9),
        ("ROIs1868_summer", 59, 1),
        ("ROIs1158_spring", 2, 9),
    ):
        for view, channels in (("s1", 1), ("s2", 3)):
            picture(root / season / f"{view}_{number}" / f"{season}_{view}_{number}_p{patch}", channels)
    return root


def test_sen12_pairs_by_scene_and_patch(sen12: Path) -> None:
    for root in (sen12, sen12.parent):
        index = Sen12.at(root).index()
        assert index.ids == ("ROIs1158_spring_2_p9", "ROIs1868_summer_2_p9", "ROIs1868_summer_2_p10", "ROIs1868_summer_59_p1")
        assert index.scenes == ("ROIs1158_spring_2", "ROIs1868_summer_2", "ROIs1868_summer_2", "ROIs1868_summer_59")
        assert index.samples[1].optical == "ROIs1868_summer/s2_2/ROIs1868_summer_s2_2_p9.png"
        assert index.samples[1].sar == "ROIs1868_summer/s1_2/ROIs1868_summer_s1_2_p9.png"
        assert [sample.attributes["season"] for sample in index.samples] == ["spring", "summer", "summer", "summer"]
    assert Sen12.at(sen12, seasons=("ROIs1158_spring",)).index().ids == ("ROIs1158_spring_2_p9",)


def test_sen12_lacks_are_told(sen12: Path) -> None:
    (sen12 / "ROIs1868_summer/s2_59/ROIs1868_summer_s2_59_p1.png").unlink()
    with pytest.raises(
        BenchError, match=r"1 files in .* lack a partner: ROIs1868_summer/s1_59/ROIs1868_summer_s1_59_p1.png has no optical"
    ):
        Sen12.at(sen12).index()
    (sen12 / "ROIs1868_summer/s2_59").rmdir()
    with pytest.raises(BenchError, match="ROIs1868_summer/s1_59/ has no partner ROIs1868_summer/s2_59/"):
        Sen12.at(sen12).index()
    with pytest.raises(BenchError, match="has no season 'ROIs1868_sumer'; nearest: ROIs1868_summer"):
        Sen12.at(sen12, seasons=("ROIs1868_sumer",)).index()
    with pytest.raises(BenchError, match="season ROIs1970_fall is not in"):
        Sen12.at(sen12, seasons=("ROIs1970_fall",)).index()
    with pytest.raises(BenchError, match="data set sen1-2 is not here"):
        Sen12.at(sen12 / "ROIs1868_summer")


# -- OSdataset -----------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("apart", [False, True])
def test_osdataset_in_one_folder_or_two(tmp_path: Path, apart: bool) -> None:
    for part, numbers in (("train", (2, 10)), ("val", (1,)), ("test", (2,))):
        for number in numbers:
            for view, channels in (("opt", 3), ("sar", 1)):
                inner = f"{view}/" if apart else ""
                picture(tmp_path / f"OSdataset/512/{part}/{inner}{view}{number}", channels)
    picture(tmp_path / "OSdataset/256/train/opt1", 3)
    picture(tmp_path / "OSdataset/256/train/sar1")
    dataset = OsDataset.at(tmp_path)
    index = dataset.index()
    assert index.ids == ("train_2", "train_10", "val_1", "test_2") and index.scenes == (None,) * 4
    assert [sample.attributes["split"] for sample in index.samples] == ["train", "train", "val", "test"]
    assert index.samples[0].sar == f"512/train/{'sar/' if apart else ''}sar2.png"
    assert OsDataset.at(tmp_path, size_px=256).index().ids == ("train_1",)
    (tmp_path / index.samples[3].sar.replace("512", "OSdataset/512")).unlink()
    with pytest.raises(BenchError, match="lack a partner"):
        OsDataset.at(tmp_path).index()


def test_osdataset_decodes(tmp_path: Path) -> None:
    for number in (1, 2):
        picture(tmp_path / f"512/train/opt{number}", 3, value=number)
        picture(tmp_path / f"512/train/sar{number}", value=number)
    dataset = OsDataset.at(tmp_path)
    index = dataset.index()
    cache = open_cache(index, dataset.root, dataset.manifest().sha256, "t", tmp_path / "cache")
    assert cache.sar.shape == (2, 8, 8) and (cache.sar[1] == cache.sar[0] + 1).all()


# -- AIR-SARShip-2.0 -----------------------------------------------------------------------------------------------------------------
def write_points(path: Path, objects: list[list[str]], name: str = "ship", size: tuple[int, int] = (60, 50)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    named = f"<possibleresult><name>{name}</name></possibleresult>"
    corners = ["".join(f"<point>{text}</point>" for text in points) for points in objects]
    parts = "".join(f"<object>{named}<points>{each}</points></object>" for each in corners)
    size_text = f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>1</depth></size>"
    source = "<source><filename>1.tiff</filename></source>"
    path.write_text(f"<?xml version='1.0'?><annotation>{source}{size_text}<objects>{parts}</objects></annotation>")


SQUARE = ["10,20.5", "30,18", "31,40", "11,42", "10,20.5"]


def test_air_sarship_2_takes_the_bounds_of_the_points(tmp_path: Path) -> None:
    for number, objects in ((7, [SQUARE, ["0,0", "5,9"]]), (12, [])):
        write_tiff(tmp_path / f"AIR-SARShip-2.0/images/{number}.tiff", 60, 50)
        write_points(tmp_path / f"AIR-SARShip-2.0/labels/{number}.xml", objects)
    index = AirSarShip2.at(tmp_path).index()
    assert index.ids == ("7", "12")
    np.testing.assert_array_equal(index.items[0].boxes, [[10, 18, 31, 42], [0, 0, 5, 9]])
    assert index.items[1].boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (["10,20", "thirty,40"], "expected texts x,y"),
        (["10,20"], "expected at least 2 texts"),
        (["1,2,3", "4,5,6"], "expected at least 2 texts"),
        (["nan,1", "2,2"], "not finite"),
        (["10,20", "500,40"], "reaches outside the image"),
    ],
)
def test_air_sarship_2_bad_points(tmp_path: Path, points: list[str], message: str) -> None:
    write_tiff(tmp_path / "7.tiff", 60, 50)
    write_points(tmp_path / "7.xml", [points])
    with pytest.raises(BenchError, match=message):
        AirSarShip2.at(tmp_path).index()


def test_air_sarship_2_other_schemas(tmp_path: Path) -> None:
    write_tiff(tmp_path / "7.tiff", 60, 50)
    (tmp_path / "7.xml").write_text("<annotation><object><name>ship</name></object></annotation>")
    with pytest.raises(BenchError, match="has no <objects> below <annotation>; it is VOC"):
        AirSarShip2.at(tmp_path).index()
    write_points(tmp_path / "7.xml", [SQUARE], name="")
    with pytest.raises(BenchError, match="object 1 has no <possibleresult><name>"):
        AirSarShip2.at(tmp_path).index()


# -- SARDet-100K ---------------------------------------------------------------------------------------------------------------------
def write_sardet(root: Path, folder: str, by_part: bool) -> Path:
    for part, boxes in (("train", [[2, 3, 10, 8], [5, 5, 4, 4]]), ("val", []), ("test", [[1, 1, 6, 6]])):
        name = f"{part}_0.png"
        raw = coco({name: boxes})
        raw["categories"] = [{"id": 1, "name": "ship"}, {"id": 5, "name": "bridge"}]
        if part == "train":
            raw["annotations"][1]["category_id"] = 5
        (root / "Annotations").mkdir(parents=True, exist_ok=True)
        (root / "Annotations" / f"{part}.json").write_text(json.dumps(raw))
        place = root / folder / part if by_part else root / folder
        place.mkdir(parents=True, exist_ok=True)
        write_image(place / f"{part}_0", np.full((40, 30), 9, dtype=np.uint8))
    return root


@pytest.mark.parametrize(("folder", "by_part"), [("JPEGImages", True), ("JPEGImages", False), ("Images", True)])
def test_sardet_ships_of_the_official_parts(tmp_path: Path, folder: str, by_part: bool) -> None:
    write_sardet(tmp_path / "SARDet_100K", folder, by_part)
    index = Sardet100k.at(tmp_path).index()
    assert [item.attributes["split"] for item in index.items] == ["train", "val", "test"]
    assert [len(item.boxes) for item in index.items] == [1, 0, 1]
    np.testing.assert_array_equal(index.items[0].boxes, [[2, 3, 12, 11]])
    with_ships = Sardet100k.at(tmp_path, without_ships="drop").index()
    assert with_ships.ids == ("train_0", "test_0")
    assert [len(item.boxes) for item in Sardet100k.at(tmp_path, categories=("ship", "bridge")).index().items] == [2, 0, 1]
    assert Sardet100k.at(tmp_path, parts=("test",)).index().ids == ("test_0",)


def test_sardet_what_is_wrong(tmp_path: Path) -> None:
    root = write_sardet(tmp_path, "JPEGImages", True)
    with pytest.raises(BenchError, match="no object is called 'shp'.*nearest: ship"):
        Sardet100k.at(root, categories=("shp",)).index()
    (root / "JPEGImages/val/val_0.png").unlink()
    with pytest.raises(BenchError, match="file 'val_0.png' is not in"):
        Sardet100k.at(root).index()
    (root / "Annotations/val.json").write_text("{")
    with pytest.raises(BenchError, match="no valid JSON"):
        Sardet100k.at(root).index()
    (root / "Annotations/val.json").unlink()
    with pytest.raises(BenchError, match="data set sardet-100k is not here"):
        Sardet100k.at(root)


# -- GeoTIFF -------------------------------------------------------------------------------------------------------------------------
def geotiff(path: Path, values: np.ndarray, nodata: str | None, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = [(42113, "s", len(nodata) + 1, nodata, True)] if nodata is not None else []
    tifffile.imwrite(path, values, photometric="minisblack", extratags=tags, **how)  # type: ignore[arg-type]
    return path


def test_missing_pixels_become_dark_and_nothing_else_changes(tmp_path: Path) -> None:
    db = np.array([[-20.5, -32768, -3], [-11, np.nan, -25]], dtype=np.float32)
    linear = np.array([[5.0, np.nan], [3.0, 0.5]], dtype=np.float32)
    known = np.where(np.isnan(db), np.float32(-7), db)
    out = read_image(geotiff(tmp_path / "db.tif", known, "-32768"))
    np.testing.assert_array_equal(out, [[-20.5, -25, -3], [-11, -7, -25]])
    np.testing.assert_array_equal(read_image(geotiff(tmp_path / "linear.tif", linear, "nan")), [[5, 0], [3, 0.5]])
    counts = np.array([[7, 65535], [9, 1]], dtype=np.uint16)
    np.testing.assert_array_equal(read_image(geotiff(tmp_path / "counts.tif", counts, "65535")), [[7, 0], [9, 1]])
    np.testing.assert_array_equal(read_image(geotiff(tmp_path / "plain.tif", counts, None)), counts)


def test_missing_pixels_that_nobody_declares_are_refused(tmp_path: Path) -> None:
    values = np.array([[1.0, np.nan]], dtype=np.float32)
    for nodata in (None, "-9999"):
        with pytest.raises(BenchError, match="1 values that are NaN or infinite"):
            read_image(geotiff(tmp_path / "a.tif", values, nodata))
    with pytest.raises(BenchError, match="holds no data: every pixel"):
        read_image(geotiff(tmp_path / "b.tif", np.full((2, 2), -9999, np.float32), "-9999"))
    with pytest.raises(BenchError, match="no-data value 'many', which is no number"):
        read_image(geotiff(tmp_path / "c.tif", np.ones((2, 2), np.float32), "many"))


@pytest.mark.parametrize("how", [{"tile": (16, 16)}, {"compression": "zlib"}])
def test_tiled_and_compressed_files(tmp_path: Path, how: dict[str, object]) -> None:
    values = np.random.default_rng(0).normal(-12, 4, (40, 30)).astype(np.float32)
    np.testing.assert_array_equal(read_image(geotiff(tmp_path / "x.tif", values, "-32768", **how)), values)


def test_float_decibels_pair_with_deep_optical_images_once_declared(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        geotiff(tmp_path / f"sar/{name}.tif", rng.normal(-12, 4, (16, 16)).astype(np.float32), "-32768")
        optical = rng.integers(0, 4000, (16, 16, 3)).astype(np.uint16)
        (tmp_path / "optical").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / f"optical/{name}.tif", optical, photometric="rgb")
    dataset = TwoFolders.at(tmp_path, sar_scale="db")
    index = dataset.index()
    cache = open_cache(index, dataset.root, dataset.manifest().sha256, "t", tmp_path / "cache")
    assert cache.sar.dtype == np.float32 and cache.optical.dtype == np.uint16 and dataset.sar_scale == "db"


def test_the_ground_sample_distance_of_the_options_wins() -> None:
    """An audit of port-pairs with the option gsd_m once took every pixel for a metre."""
    from bench.data.datasets.port_pairs import PortPairs

    assert PortPairs(Path("nowhere"), PortPairs.Options(gsd_m=2.5)).gsd_m == 2.5
    assert Sen12(Path("nowhere"), Sen12.Options()).gsd_m == 10.0
