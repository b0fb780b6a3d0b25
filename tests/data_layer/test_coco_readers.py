"""COCO folders and HRSID: genuine layouts, lists that belong together or do not, names with and without folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ship_files import coco, write_coco

from bench.core.errors import BenchError
from bench.data.datasets.coco_folder import CocoFolder
from bench.data.datasets.hrsid import Hrsid


def amplitude(root: Path, **options: Any) -> CocoFolder:
    return CocoFolder.at(root, sar_scale="amplitude", **options)


def hrsid(root: Path, **lists: dict[str, Any]) -> Path:
    return write_coco(root, {f"annotations/{name}.json": value for name, value in lists.items()}, "JPEGImages")


def test_hrsid_in_its_genuine_layout(tmp_path: Path) -> None:
    train = coco({"P0001_0_800_0_800.png": [[1, 2, 10, 5]], "P0017_0_800_0_800.png": []})
    test = coco({"P0001_600_1400_0_800.png": [[3, 3, 4, 4], [1, 1, 2, 2]]}, first_id=10)
    root = hrsid(tmp_path / "HRSID_JPG", train2017=train, test2017=test)
    dataset = Hrsid.at(tmp_path)  # one folder deeper
    index = dataset.index()
    assert dataset.root == root and index.ids == ("P0001_0_800_0_800", "P0017_0_800_0_800", "P0001_600_1400_0_800")
    assert index.scenes == ("P0001", "P0017", "P0001") and index.column("list") == [
        "train2017",
        "train2017",
        "test2017",
    ]
    assert [item.image_id for item in index.items] == [1, 2, 10] and "shore" not in index.columns
    assert index.items[2].boxes.tolist() == [[3, 3, 7, 7], [1, 1, 3, 3]]
    assert dataset.expected() == (5604, 16951) and Hrsid.at(root, annotations="train2017").expected() == (None, None)
    assert Hrsid.at(root, annotations=["test2017"]).index().ids == ("P0001_600_1400_0_800",)


def test_hrsid_lists_whose_image_ids_collide(tmp_path: Path) -> None:
    one = coco(
        {"P1_a.png": [[1, 1, 5, 5]], "P1_b.png": []}, bright_frac=[0.5, 0.03], site=["X", "Y"], scene=["P1", "P1"]
    )
    two = coco({"P2_a.png": [[2, 2, 6, 6]]}, bright_frac=[0.04], site=["Z"], scene=["P2"])
    root = hrsid(tmp_path, site_train=one, site_test=two)
    index = Hrsid.at(root, annotations=["site_train", "site_test"]).index()
    assert [item.image_id for item in index.items] == [1, 2, 3] and index.column("list_image_id") == ["1", "2", "1"]
    assert index.items[2].boxes.tolist() == [[2, 2, 8, 8]]
    assert index.column("shore") == ["inshore", "offshore", "inshore"] and index.column("site") == ["X", "Y", "Z"]
    assert index.columns.count("scene") == 1
    assert "list_image_id" not in Hrsid.at(root, annotations=["site_train"]).index().columns
    assert "shore" not in Hrsid.at(root, annotations="site_train", inshore_bright_frac=None).index().columns
    (root / "own.csv").write_text("id,shore,port\nP1_a,offshore,X\nP1_b,offshore,Y\n")
    own = Hrsid.at(root, annotations="site_train", table="own.csv").index()
    # the user's table wins over the estimate
    assert own.column("shore") == ["offshore"] * 2 and own.column("port") == ["X", "Y"]
    hrsid(tmp_path, odd=coco({"P1_a.png": []}, bright_frac=["much"]))
    with pytest.raises(BenchError, match="odd.json, image 1: bright_frac 'much' is no share between 0 and 1"):
        Hrsid.at(root, annotations="odd").index()
    again = hrsid(tmp_path, site_train=one, site_test=coco({"P1_b.png": []}))
    with pytest.raises(
        BenchError,
        match="JPEGImages/P1_b.png is listed twice, in annotations/site_train.json and annotations/site_test.json",
    ):
        Hrsid.at(again, annotations=["site_train", "site_test"]).index()


def test_coco_names_with_and_without_a_folder(tmp_path: Path) -> None:
    for case, (where, written) in enumerate(
        [
            ("images/a.png", "a.png"),
            ("images/a.png", "train/a.png"),
            ("images/train/a.png", "train/a.png"),
            ("images/train/a.png", "a.png"),
        ]
        + [("images/a.png", "images/a.png"), ("images/a.png", "./a.png"), ("images/train/a.png", "train\\a.png")]
    ):
        root = tmp_path / str(case)
        raw = coco({"a.png": [[1, 1, 3, 3]]})
        write_coco(root, {"annotations/train.json": raw}, str(Path(where).parent))
        raw["images"][0]["file_name"] = written
        (root / "annotations" / "train.json").write_text(json.dumps(raw))
        index = amplitude(root, annotations="annotations/train.json").index()
        assert index.items[0].image == where and index.ids == ("a",), written


def test_a_folder_with_braces_in_its_name(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"annotations.json": coco({"a.png": []})}, "im{ages}")
    assert amplitude(root, images="im{ages}").index().items[0].image == "im{ages}/a.png"


def test_coco_stems_that_repeat(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"annotations.json": coco({"t/a.png": [], "v/a.png": []}, scene=["s", "t"])})
    index = amplitude(root).index()
    assert index.ids == ("images/t/a", "images/v/a") and index.scenes == ("s", "t")


def test_a_listed_image_that_is_not_there(tmp_path: Path) -> None:
    root = write_coco(tmp_path, {"annotations.json": coco({"a.png": [], "b.png": []})})
    (root / "images" / "b.png").unlink()
    with pytest.raises(BenchError, match=r"^annotations.json, image 2: file 'b.png' is not in images/$"):
        amplitude(root).index()
