"""SEN1-2, OSdataset, AIR-SARShip-2.0 and SARDet-100K in their genuine layouts, variants, damaged ones; GeoTIFF with no data."""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from command_line import Bench
from ship_files import coco, write_tiff

from bench.cli.main import main
from bench.data.cache import open_cache
from bench.data.datasets.air_sarship_2 import AirSarShip2
from bench.data.datasets.osdataset import OsDataset
from bench.data.datasets.sardet import Sardet100k
from bench.data.datasets.sen12 import Sen12
from bench.data.images import write_image
from bench.data.ships.verify import verify_ships
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split
from bench.data.verify import verify
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


def test_sen12_a_file_of_another_scene_pairs_with_nothing(sen12: Path) -> None:
    """Pairs go by the last number, so a file in the wrong folder would find a partner that shows another place."""
    folder = sen12 / "ROIs1868_summer/s1_2"
    (folder / "ROIs1868_summer_s1_2_p9.png").rename(folder / "ROIs1868_summer_s1_59_p9.png")
    with pytest.raises(BenchError, match="ROIs1868_summer_s1_59_p9.png is named for another scene than its folder"):
        Sen12.at(sen12).index()
    assert not verify(Sen12.at(sen12)).ok


def test_sen12_two_files_of_one_patch(sen12: Path) -> None:
    picture(sen12 / "ROIs1868_summer/s1_2/ROIs1868_summer_s1_2_p09")
    with pytest.raises(BenchError, match="both claim pair '9'"):
        Sen12.at(sen12).index()


def test_sen12_variants(sen12: Path) -> None:
    """Doubled outer folder, upper-case suffixes, files of others beside the set."""
    (sen12 / "ROIs1868_summer/s1_59/Thumbs.db").write_text("")
    for path in sorted(sen12.glob("ROIs1158_spring/*/*.png")):
        path.rename(path.with_suffix(".PNG"))
    outer = sen12.parent / "outer"
    (outer / "SEN1-2").mkdir(parents=True)
    sen12.rename(outer / "SEN1-2" / "SEN1-2")
    assert len(Sen12.at(outer).index()) == 4


def test_sen12_splits_by_scene(sen12: Path) -> None:
    index = Sen12.at(sen12).index()
    split = make_split(index, SplitSpec(kind="grouped", by="scene", test_groups=("ROIs1868_summer_2",), validation=0))
    assert [index.ids[i] for i in split.test.tolist()] == ["ROIs1868_summer_2_p9", "ROIs1868_summer_2_p10"]
    split = make_split(index, SplitSpec(kind="grouped", by="season", test_groups=("spring",), validation=0))
    assert [index.ids[i] for i in split.test.tolist()] == ["ROIs1158_spring_2_p9"]


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


def test_osdataset_official_split_and_counts(tmp_path: Path) -> None:
    for part, numbers in (("train", (2, 10)), ("val", (1,)), ("test", (2,))):
        for number in numbers:
            picture(tmp_path / f"OSdataset/OSdataset/512/{part}/opt{number}", 3, value=number)
            picture(tmp_path / f"OSdataset/OSdataset/512/{part}/sar{number}", value=number)
    dataset = OsDataset.at(tmp_path)
    index = dataset.index()
    split = make_split(index, SplitSpec(kind="grouped", by="split", test_groups=("test",), validation_groups=("val",)))
    parts = {name: [index.ids[i] for i in getattr(split, name).tolist()] for name in ("train", "validation", "test")}
    assert parts == {"train": ["train_2", "train_10"], "validation": ["val_1"], "test": ["test_2"]}
    problems = "\n".join(verify(dataset).problems)
    assert "4 pairs found, 2673 declared" in problems and "4 pairs are not 512 px square: 8 x 8" in problems
    (tmp_path / "OSdataset/OSdataset/256").mkdir()
    with pytest.raises(BenchError, match="data set osdataset is not here"):
        OsDataset.at(tmp_path, size_px=256)


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


def test_air_sarship_2_variants(tmp_path: Path) -> None:
    """Genuine folder names, doubled; texts "x, y"; PNG copies, which are previews where TIFFs are; 8 bit; pixel numbers from 1."""
    root = tmp_path / "AIR-SARShip-2.0"
    write_points(root / "AIR-SARShip-2.0-xml/AIR-SARShip-2.0-xml/3.XML", [["11, 21", "30, 21", "30, 40", "11, 40", "11, 21"]])
    picture(root / "AIR-SARShip-2.0-data/AIR-SARShip-2.0-data/3", side=60)
    with pytest.raises(BenchError, match="states 60 x 50 px"):
        AirSarShip2.at(root).index()
    write_points(
        root / "AIR-SARShip-2.0-xml/AIR-SARShip-2.0-xml/3.XML", [["11, 21", "30, 21", "30, 40", "11, 40", "11, 21"]], size=(60, 60)
    )
    np.testing.assert_array_equal(AirSarShip2.at(root).index().items[0].boxes, [[11, 21, 30, 40]])
    np.testing.assert_array_equal(AirSarShip2.at(root, one_based=True).index().items[0].boxes, [[10, 20, 30, 40]])
    write_tiff(root / "AIR-SARShip-2.0-data/AIR-SARShip-2.0-data/3.TIF", 60, 60)
    assert AirSarShip2.at(root).index().items[0].image.endswith("3.TIF")


def test_air_sarship_2_damaged(tmp_path: Path) -> None:
    for number in (1, 2):
        write_tiff(tmp_path / f"{number}.tiff", 60, 50)
        write_points(tmp_path / f"{number}.xml", [SQUARE])
    (tmp_path / "2.xml").write_text((tmp_path / "2.xml").read_text()[:-20])
    (tmp_path / "3.xml").write_text("<annotation/>")
    write_tiff(tmp_path / "labels/scene_1.tiff", 60, 50)
    problems = "\n".join(verify_ships(AirSarShip2.at(tmp_path)).problems)
    for part in (
        "2.xml is no well-formed XML",
        "annotation 3.xml has no image",
        "1.tiff and labels/scene_1.tiff are both the image of '1'",
    ):
        assert part in problems


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


def test_sardet_images_to_validate_among_those_to_train(tmp_path: Path) -> None:
    """Copies with Images/{train,test}; a name of another part is never taken, since parts count their names anew."""
    root = write_sardet(tmp_path, "Images", True)
    (root / "Images/val/val_0.png").rename(root / "Images/train/val_0.png")
    with pytest.raises(BenchError, match="file 'val_0.png' is not in"):
        Sardet100k.at(root).index()
    (root / "Images/val").rmdir()
    assert Sardet100k.at(root).index().items[1].image == "Images/train/val_0.png"


def test_sardet_one_name_in_two_parts(tmp_path: Path) -> None:
    root = write_sardet(tmp_path, "JPEGImages", True)
    raw = json.loads((root / "Annotations/test.json").read_text())
    raw["images"][0]["file_name"] = "train_0.png"
    (root / "Annotations/test.json").write_text(json.dumps(raw))
    (root / "JPEGImages/test/test_0.png").rename(root / "JPEGImages/test/train_0.png")
    index = Sardet100k.at(root).index()
    assert [item.image for item in index.items] == [
        "JPEGImages/train/train_0.png",
        "JPEGImages/val/val_0.png",
        "JPEGImages/test/train_0.png",
    ]
    assert len(set(index.ids)) == 3 and [len(item.boxes) for item in index.items] == [1, 0, 1]
    split = make_split(index, SplitSpec(kind="grouped", by="split", test_groups=("test",), validation_groups=("val",)))
    assert split.test.tolist() == [2] and split.validation.tolist() == [1]


def test_sardet_an_image_listed_twice(tmp_path: Path) -> None:
    root = write_sardet(tmp_path, "JPEGImages", False)
    raw = json.loads((root / "Annotations/test.json").read_text())
    raw["images"][0]["file_name"] = "train_0.png"
    (root / "Annotations/test.json").write_text(json.dumps(raw))
    with pytest.raises(BenchError, match="JPEGImages/train_0.png is listed twice, in Annotations/train.json and Annotations/test.json"):
        Sardet100k.at(root).index()


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


# -- as a user types it --------------------------------------------------------------------------------------------------------------
def test_the_command_line_knows_the_new_sets(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    listed = run_bench(bench, "list", "datasets")
    picture(tmp_path / "osm/512/train/opt1", 3)
    picture(tmp_path / "osm/512/train/sar1")
    write_sardet(tmp_path / "sardet", "JPEGImages", True)
    write_tiff(tmp_path / "air/7.tiff", 60, 50)
    write_points(tmp_path / "air/7.xml", [SQUARE])
    picture(tmp_path / "sen/ROIs1868_summer/s1_2/ROIs1868_summer_s1_2_p9")
    picture(tmp_path / "sen/ROIs1868_summer/s2_2/ROIs1868_summer_s2_2_p9", 3)
    for name, root, found in (
        ("osdataset", "osm", "1 pairs (expected: 2673)"),
        ("sen1-2", "sen", "1 pairs (expected: 282384)"),
        ("sardet-100k", "sardet", "3 images (expected: 116598), 2 ships"),
        ("air-sarship-2.0", "air", "1 images (expected: 300), 1 ships"),
    ):
        assert name in listed and "what to place where" in run_bench(bench, "data", "info", name)
        assert found in run_bench(bench, "data", "verify", name, "--root", root, code=1)
    sizes = run_bench(bench, "data", "verify", "osdataset", "--root", "osm", "--option", "size_px: 256", code=2)
    assert "data set osdataset is not here" in sizes
    assert "has no option 'parst'; nearest: parts" in run_bench(
        bench, "data", "verify", "sardet-100k", "--root", "sardet", "--option", "parst: 1", code=2
    )
    spec = "{kind: grouped, by: split, test_groups: [test], validation_groups: [val]}"
    run_bench(bench, "data", "split", "sardet-100k", "--root", "sardet", "--spec", spec, "--out", "split.csv")
    parts = [line.rsplit(",", 1)[-1] for line in (tmp_path / "split.csv").read_text().split()[1:]]
    assert parts == ["train", "val", "test"]


def run_bench(bench: Bench, *words: str, code: int = 0) -> str:
    """Run `bench WORDS` in this process, for many commands in a row; return what it printed."""
    out = io.StringIO()
    with (
        contextlib.chdir(bench.folder),
        mock.patch.dict(os.environ, bench.env, clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        assert main(words) == code, out.getvalue()
    return out.getvalue()
