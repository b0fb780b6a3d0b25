"""AIR-SARShip-2.0 and SARDet-100K in their genuine layouts, variants, damaged ones, and as a user names them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Bench
from PIL import Image
from ship_files import coco, write_tiff

from bench.core.errors import BenchError
from bench.data.datasets.air_sarship_2 import AirSarShip2
from bench.data.datasets.sardet import Sardet100k
from bench.data.images import write_image
from bench.data.ships.verify import verify_ships
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split


# -- AIR-SARShip-2.0 ---------------------------------------------------------------------------------------------------
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
    """Genuine folder names, doubled; texts "x, y"; PNG copies, which are previews where TIFFs are; 8 bit; pixel numbers
    from 1.
    """
    root = tmp_path / "AIR-SARShip-2.0"
    write_points(
        root / "AIR-SARShip-2.0-xml/AIR-SARShip-2.0-xml/3.XML", [["11, 21", "30, 21", "30, 40", "11, 40", "11, 21"]]
    )
    (root / "AIR-SARShip-2.0-data/AIR-SARShip-2.0-data").mkdir(parents=True)
    write_image(root / "AIR-SARShip-2.0-data/AIR-SARShip-2.0-data/3", np.eye(60, dtype=np.uint8))
    with pytest.raises(BenchError, match="states 60 x 50 px"):
        AirSarShip2.at(root).index()
    write_points(
        root / "AIR-SARShip-2.0-xml/AIR-SARShip-2.0-xml/3.XML",
        [["11, 21", "30, 21", "30, 40", "11, 40", "11, 21"]],
        size=(60, 60),
    )
    np.testing.assert_array_equal(AirSarShip2.at(root).index().items[0].boxes, [[11, 21, 30, 40]])
    np.testing.assert_array_equal(AirSarShip2.at(root, one_based=True).index().items[0].boxes, [[10, 20, 30, 40]])
    write_tiff(root / "AIR-SARShip-2.0-data/AIR-SARShip-2.0-data/3.TIF", 60, 60)
    assert AirSarShip2.at(root).index().items[0].image.endswith("3.TIF")


def test_air_sarship_2_annotations_written_for_other_images(tmp_path: Path) -> None:
    """Public programs pair by either of two names; where they disagree, `bench data verify` says so."""
    for number in (1, 2):
        write_tiff(tmp_path / f"{number}.tiff", 60, 50)
        write_points(tmp_path / f"{number}.xml", [SQUARE])  # for 1.tiff
    (note,) = verify_ships(AirSarShip2.at(tmp_path)).notes
    assert note.startswith("2.xml is written for 1.tiff:")


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


# -- SARDet-100K -------------------------------------------------------------------------------------------------------
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
    assert [len(item.boxes) for item in Sardet100k.at(tmp_path, categories=("ship", "bridge")).index().items] == [
        2,
        0,
        1,
    ]
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
    with pytest.raises(
        BenchError, match="JPEGImages/train_0.png is listed twice, in Annotations/train.json and Annotations/test.json"
    ):
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


def test_sardet_boxes_without_area(tmp_path: Path) -> None:
    """The published lists hold a few, left over where images were cut; they made the whole set unreadable."""
    root = write_sardet(tmp_path, "JPEGImages", True)
    raw = json.loads((root / "Annotations/train.json").read_text())
    flat = [
        {**raw["annotations"][0], "id": 10 + i, "bbox": box}
        for i, box in enumerate(([3.0, 1.0, 9.0, 0.0], [2.0, 2.0, 0.0, 5.0]))
    ]
    bridge = {**raw["annotations"][1], "id": 12, "bbox": [1.0, 1.0, 0.0, 4.0]}  # of no concern
    (root / "Annotations/train.json").write_text(
        json.dumps({**raw, "annotations": [*raw["annotations"], *flat, bridge]})
    )
    index = Sardet100k.at(root).index()
    np.testing.assert_array_equal(index.items[0].boxes, [[2, 3, 12, 11]])
    assert "2 boxes without width or height are left out" in verify_ships(Sardet100k.at(root)).notes
    assert Sardet100k.at(root, parts=("test",)).scan().notes[1:] == ()
    with pytest.raises(BenchError, match="has no area"):
        Sardet100k.at(root, without_area="refuse").index()
    flat[0]["bbox"] = [9.0, 9.0, -3.0, 5.0]
    (root / "Annotations/train.json").write_text(json.dumps({**raw, "annotations": [*raw["annotations"], flat[0]]}))
    with pytest.raises(BenchError, match="is inverted"):
        Sardet100k.at(root).index()


def test_sardet_formats_side_by_side(tmp_path: Path) -> None:
    """JPEG, BMP and PNG in one folder, one stem in two of them; a channel is named where three differ."""
    root = write_sardet(tmp_path, "JPEGImages", False)
    values = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
    Image.fromarray(values).save(root / "JPEGImages/val_0.bmp")
    Image.fromarray(np.repeat(values[:, :, None], 3, axis=2)).save(root / "JPEGImages/train_0.bmp")
    for part in ("train", "val"):
        path = root / f"Annotations/{part}.json"
        path.write_text(path.read_text().replace(f"{part}_0.png", f"{part}_0.bmp"))
    raw = json.loads((root / "Annotations/test.json").read_text())
    raw["images"].append({**raw["images"][0], "id": 7, "file_name": "train_0.png"})
    (root / "Annotations/test.json").write_text(json.dumps(raw))
    index = Sardet100k.at(root).index()
    assert len(set(index.ids)) == 4
    for item in index.items[:2]:
        np.testing.assert_array_equal(index.reading.read(root / item.image), values)
    Image.fromarray(np.dstack([values, values, values ^ 1])).save(root / "JPEGImages/train_0.bmp")
    (line,) = verify_ships(Sardet100k.at(root)).unreadable
    assert "train_0.bmp has three unequal channels" in line
    np.testing.assert_array_equal(Sardet100k.at(root, band=2).reading.read(root / "JPEGImages/train_0.bmp"), values)


# -- as a user types it ------------------------------------------------------------------------------------------------
def test_the_command_line_knows_the_ships(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    listed = bench.printed("list", "datasets")
    write_sardet(tmp_path / "sardet", "JPEGImages", True)
    write_tiff(tmp_path / "air/7.tiff", 60, 50)
    write_points(tmp_path / "air/7.xml", [SQUARE])
    for name, root, found in (
        ("sardet-100k", "sardet", "3 images (expected: 116598), 2 ships"),
        ("air-sarship-2.0", "air", "1 images (expected: 300), 1 ships"),
    ):
        assert name in listed and "what to place where" in bench.printed("data", "info", name)
        assert found in bench.printed("data", "verify", name, "--root", root, code=1)
    wrong = bench.printed("data", "verify", "sardet-100k", "--root", "sardet", "--option", "parst: 1", code=2)
    assert "has no option 'parst'; nearest: parts" in wrong
    spec = "{kind: grouped, by: split, test_groups: [test], validation_groups: [val]}"
    bench.printed("data", "split", "sardet-100k", "--root", "sardet", "--spec", spec, "--out", "split.csv")
    parts = [line.rsplit(",", 1)[-1] for line in (tmp_path / "split.csv").read_text().split()[1:]]
    assert parts == ["train", "val", "test"]
