"""SSDD in the layout of its official release: both styles, what circulates, what is refused, the split against the list
of all names.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Bench
from PIL import Image
from ship_files import Boxes, coco, write_voc

from bench.core.errors import BenchError
from bench.data.dataset import open_dataset
from bench.data.datasets.ssdd import Ssdd
from bench.data.scaling import SarScale
from bench.data.ships.verify import verify_ships
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split

IMAGES = frozenset(Ssdd.known())
NAMES = Path(os.environ.get("BENCH_DATA", ".")) / "ssdd_names" / "images.csv"
OFFICIAL = SplitSpec(kind="grouped", by="split", test_groups=("test",), validation=0)
SHIPS: Mapping[str, Boxes] = {
    "000001": [[1, 2, 20, 30]],
    "000002": [[0, 0, 5, 6], [7, 8, 29, 39]],
    "000010": [],
    "000019": [[3, 3, 4, 9]],
    "001160": [[10, 10, 12, 13]],
}
INSHORE = ("000001",)


def part(name: str) -> str:
    return "test" if name.endswith(("1", "9")) else "train"


def write_jpeg(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(int(path.stem)).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(values).save(path, format="JPEG")


def write_ssdd(
    root: Path, images: Mapping[str, Boxes] = SHIPS, size: tuple[int, int] = (40, 30), copies: bool = False
) -> Path:
    """Write Official-SSDD-OPEN with both styles (`size`: height, width), and the test part's copies by shore; return
    the folder of VOC.
    """
    bbox = root / "Official-SSDD-OPEN" / "BBox_SSDD"
    voc, cocos = bbox / "voc_style", bbox / "coco_style"
    for name, boxes in images.items():
        write_jpeg(voc / "JPEGImages" / f"{name}.jpg", size)
        write_voc(voc / "Annotations" / f"{name}.xml", boxes, size, filename=f"{name}.jpg")
        shore = f"{part(name)}_{'inshore' if name in INSHORE else 'offshore'}"
        places = [cocos / "images" / part(name)]
        if copies and part(name) == "test":
            places += [voc / f"JPEGImages_{shore}", cocos / "images" / shore]
            write_voc(voc / f"Annotations_{shore}" / f"{name}.xml", boxes, size)
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(voc / "JPEGImages" / f"{name}.jpg", place)
    (cocos / "annotations").mkdir()
    for which in ("train", "test"):
        listed = {
            f"{name}.jpg": [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes]
            for name, boxes in images.items()
            if part(name) == which
        }
        (cocos / "annotations" / f"{which}.json").write_text(
            json.dumps(coco(listed, size, first_id=1 if which == "train" else 1001))
        )
    return voc


def first_problem(root: Path, **options: Any) -> str:
    with pytest.raises(BenchError) as error:
        Ssdd.at(root, **options).index()
    return str(error.value)


# -- what is read ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("copies", [False, True])
def test_both_styles_give_the_same_boxes_and_the_same_split(tmp_path: Path, copies: bool) -> None:
    voc = write_ssdd(tmp_path, copies=copies)
    found = {}
    for style in ("voc", "coco"):
        dataset = Ssdd.at(tmp_path, style=style)
        index = dataset.index()
        assert (
            dataset.root == voc.with_name(f"{style}_style")
            and dataset.sar_scale is SarScale.uint8
            and dataset.gsd_m is None
        )
        assert set(index.scenes) == {None} and "scene" not in index.columns and ("shore" in index.columns) == copies
        split = make_split(index, OFFICIAL)
        found[style] = {
            item.id: (item.boxes.tolist(), item.height, item.width, item.attributes["split"]) for item in index.items
        }
        assert (
            [index.ids[i] for i in split.test] == ["000001", "000019"]
            and len(split.train) == 3
            and not len(split.validation)
        )
        if copies:
            told = dict(zip(index.ids, index.column("shore"), strict=True))
            assert told == {"000001": "inshore", "000019": "offshore", "000002": "", "000010": "", "001160": ""}
        assert set(dataset.manifest().files) == {path.relative_to(dataset.root).as_posix() for path in dataset.files()}
        problems = verify_ships(dataset).problems
        # copies are no images, and equal none
        assert [line.split(" found")[0] for line in problems] == ["5 images", "5 ships"]
    assert found["voc"] == found["coco"] and {name: item[0] for name, item in found["voc"].items()} == dict(SHIPS)
    assert [item.image_id for item in Ssdd.at(tmp_path).index().items] == [1, 2, 10, 19, 1160]


def test_wherever_the_user_points_the_same_files_are_found(tmp_path: Path) -> None:
    """Single or doubled outer folder, or further in: the manifest is the same, and so are the keys made of it."""
    write_ssdd(tmp_path / "a")
    write_ssdd(tmp_path / "b" / "Official-SSDD-OPEN")
    outer = tmp_path / "a" / "Official-SSDD-OPEN"
    for style in ("voc", "coco"):
        roots = [tmp_path / "a", outer, outer / "BBox_SSDD", outer / "BBox_SSDD" / f"{style}_style"]
        roots += [tmp_path / "b", tmp_path / "b" / "Official-SSDD-OPEN"]
        assert len({Ssdd.at(root, style=style).manifest().sha256 for root in roots}) == 1
    dataset = open_dataset("ssdd", {}, None, tmp_path / "cache", {"BENCH_DATA": str(tmp_path / "b")}, kind="ships")
    assert dataset.index().ids == tuple(sorted(SHIPS))


@pytest.mark.parametrize("name", ["JPEGImages", "Annotations"])
def test_images_or_annotations_may_lie_in_two_parts_only(tmp_path: Path, name: str) -> None:
    voc = write_ssdd(tmp_path, copies=True)
    for path in sorted((voc / name).iterdir()):
        target = voc / f"{name}_{part(path.stem)}" / path.name
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    (voc / name).rmdir()
    index = Ssdd.at(tmp_path).index()
    assert index.ids == tuple(sorted(SHIPS)) and [item.boxes.tolist() for item in index.items] == list(SHIPS.values())
    (voc / f"{name}_test" / f"000001{path.suffix}").rename(voc / f"{name}_train" / f"000001{path.suffix}")
    assert f"{name}_train/000001{path.suffix}: 000001 is of the test part by its name" in first_problem(tmp_path)


def test_a_table_of_scenes(tmp_path: Path) -> None:
    voc = write_ssdd(tmp_path)
    (voc / "mine.csv").write_text("id,scene\n" + "".join(f"{name},port{name[-1]}\n" for name in SHIPS))
    assert Ssdd.at(tmp_path, table="mine.csv").index().scenes == ("port1", "port2", "port0", "port9", "port0")


# -- what is refused ---------------------------------------------------------------------------------------------------
def test_what_does_not_fit_together_as_voc(tmp_path: Path) -> None:
    voc = write_ssdd(tmp_path)
    (voc / "Annotations" / "000002.xml").unlink()
    assert first_problem(tmp_path) == "image JPEGImages/000002.jpg has no annotation"
    (voc / "JPEGImages" / "000002.jpg").rename(voc / "JPEGImages" / "000003.jpg")
    write_voc(voc / "Annotations" / "000002.xml", [])
    report = verify_ships(Ssdd.at(tmp_path))
    assert "image JPEGImages/000003.jpg has no annotation" in report.problems
    assert "annotation Annotations/000002.xml has no image" in report.problems


@pytest.mark.parametrize("name", ["ship_1", "1", "0000001", "000000", "001161"])
def test_a_name_that_is_none_of_the_set(tmp_path: Path, name: str) -> None:
    voc = write_ssdd(tmp_path)
    (voc / "JPEGImages" / "000001.jpg").rename(voc / "JPEGImages" / f"{name}.jpg")
    (voc / "Annotations" / "000001.xml").rename(voc / "Annotations" / f"{name}.xml")
    told = f"JPEGImages/{name}.jpg: '{name}' is none of SSDD's images, 000001 to 001160; rename or remove the file"
    assert first_problem(tmp_path) == told


def test_what_does_not_fit_together_as_coco(tmp_path: Path) -> None:
    root = write_ssdd(tmp_path).with_name("coco_style")
    (root / "images" / "test" / "000019.jpg").rename(root / "images" / "test" / "19.jpg")
    problems = verify_ships(Ssdd.at(tmp_path, style="coco")).problems
    assert any("annotations/test.json, image 1002: file '000019.jpg' is not in images/" in line for line in problems)
    assert "1 images of images/ are in no list that is read, first images/test/19.jpg" in problems


def test_lists_of_another_split_are_refused(tmp_path: Path) -> None:
    root = write_ssdd(tmp_path).with_name("coco_style")
    for folder, suffix in ((root / "images", ""), (root / "annotations", ".json")):
        (folder / f"train{suffix}").rename(folder / "kept")
        (folder / f"test{suffix}").rename(folder / f"train{suffix}")
        (folder / "kept").rename(folder / f"test{suffix}")
    told = "images/train/000001.jpg: 000001 is of the test part by its name; is the file in its place? (9 more problems"
    assert first_problem(tmp_path, style="coco").startswith(told)


def test_an_image_with_two_shores(tmp_path: Path) -> None:
    voc = write_ssdd(tmp_path, copies=True)
    shutil.copy(voc / "JPEGImages" / "000001.jpg", voc / "JPEGImages_test_offshore")
    told = "JPEGImages_test_offshore/000001.jpg: a copy of 000001 lies in another folder as inshore; remove one"
    assert first_problem(tmp_path).startswith(told)


def test_rotated_boxes_are_no_boxes(tmp_path: Path) -> None:
    voc = write_ssdd(tmp_path)
    rotated = "<annotation><object><name>ship</name><rotated_bndbox><cx>1</cx></rotated_bndbox></object></annotation>"
    (voc / "Annotations" / "000001.xml").write_text(rotated)
    assert "object 1 has 0 <bndbox>; expected one (rotated boxes must be converted first)" in first_problem(tmp_path)


def test_options_and_a_missing_set_are_told(tmp_path: Path) -> None:
    for options, message in (
        ({"stile": "voc"}, "^data set ssdd has no option 'stile'; nearest: style"),
        ({"style": "yolo"}, "^data set ssdd, option style: "),
        ({}, r"BBox_SSDD/voc_style/JPEGImages, .*Place it like this"),
        ({"style": "coco"}, r"BBox_SSDD/coco_style/images/train, .*annotations/test.json"),
    ):
        with pytest.raises(BenchError, match=message):
            open_dataset("ssdd", options, tmp_path, tmp_path / "cache")


# -- the whole set -----------------------------------------------------------------------------------------------------
def test_a_set_as_large_as_declared_verifies(bench: Bench) -> None:
    """1,160 images, 2,587 boxes: what is counted is what is declared, and copies by shore are no duplicates."""
    boxes = [[1, 1, 9, 9], [4, 2, 8, 9], [2, 3, 6, 10]]
    write_ssdd(
        bench.folder,
        {name: boxes[: 3 if k < 267 else 2] for k, name in enumerate(sorted(IMAGES))},
        (12, 10),
        copies=True,
    )
    for style in ("voc", "coco"):
        out = bench("data", "verify", "ssdd", "--root", ".", "--option", f"style: {style}").stdout
        assert "1160 images (expected: 1160), 2587 ships" in out and "no problem found" in out
    spec = "{kind: grouped, by: split, test_groups: [test], validation: 0}"
    bench("data", "split", "ssdd", "--root", ".", "--spec", spec, "--out", "split.csv")
    with (bench.folder / "split.csv").open() as stream:
        assert [row["part"] for row in csv.DictReader(stream)].count("test") == 232
    bench("data", "verify", "ssdd", "--root", "Official-SSDD-OPEN")
    (bench.folder / "Official-SSDD-OPEN" / "BBox_SSDD" / "voc_style" / "Annotations" / "000007.xml").unlink()
    assert (
        "PROBLEM image JPEGImages/000007.jpg has no annotation"
        in bench("data", "verify", "ssdd", "--root", ".", code=1).stdout
    )


def test_the_facts_tell_both_counts_and_the_unknown_scenes(bench: Bench) -> None:
    out = " ".join(bench("data", "info", "ssdd").stdout.split())
    for told in ("expected scenes 1160", "expected ships 2587", "2,456", "its own leakage group", "BENCH_ROOT_SSDD"):
        assert told in out
    assert "  ssdd " in bench("list", "datasets").stdout


def test_groups_hold_every_image_once_and_join_what_was_found_equal() -> None:
    groups = {name: Ssdd.columns_of(name)["group"] for name in Ssdd.known()}
    assert len(groups) == 1160 and len(set(groups.values())) == 322
    assert all(groups[group] == group for group in groups.values()), "a group is named by its first image"
    for one, other in (("000001", "000093"), ("000033", "000637"), ("000451", "000003"), ("000029", "000565")):
        assert groups[one] == groups[other]


@pytest.mark.skipif(not NAMES.is_file(), reason="set BENCH_DATA to the folder that holds ssdd_names")
def test_the_rule_of_the_split_against_the_list_of_all_images() -> None:
    with NAMES.open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["image"] for row in rows} == IMAGES and len(rows) == Ssdd.facts.expected_scenes
    assert all(Ssdd.columns_of(row["image"])["split"] == row["split"] for row in rows)
    assert [row["split"] for row in rows].count("test") == 232
    widths, heights = ([int(row[side]) for row in rows] for side in ("width", "height"))
    assert Ssdd.facts.image_px == f"{min(widths)} to {max(widths)} wide, {min(heights)} to {max(heights)} high"
