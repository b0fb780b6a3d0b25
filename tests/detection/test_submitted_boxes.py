"""Boxes of another tool: tables and COCO lists say the same, every test scene is spoken of, and the file was made for
these scenes.
"""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.data.ships.index import ShipScene
from bench.detection.detectors.base import Detections
from bench.detection.submission.coco_results import write_coco_truth
from bench.detection.submission.results_file import lay_on_scenes, read_box_table
from bench.detection.submission.submission import Submitted, read_submission
from bench.execution.cell import Origin
from bench.submissions.claims import claims_of

IDENTITY = {"manifest": "m" * 64, "split": "s" * 64}
NOBODY = np.zeros((0, 4)), np.zeros(0, dtype=bool)
SCENES = tuple(ShipScene(f"P{i}", f"images/P{i}.png", 10 + i, 100, 200, *NOBODY) for i in range(3))
BOXES = [(10, 10.0, 20.0, 30.0, 50.0, 0.9), (11, 0.0, 1.5, 200.0, 100.0, 0.25), (10, 5.0, 5.0, 6.0, 7.0, 0.5)]
HEADER = "image_id,x1,y1,x2,y2,score\n"
Row = dict[str, Any]


def corners(rows: Any = BOXES, image: str = "image_id") -> list[Row]:
    return [dict(zip((image, "x1", "y1", "x2", "y2", "score"), row, strict=True)) for row in rows]


def sizes(rows: Any = BOXES) -> list[Row]:
    return [{"image_id": i, "x": a, "y": b, "width": c - a, "height": d - b, "score": s} for i, a, b, c, d, s in rows]


def coco(rows: Any = BOXES) -> list[Row]:
    return [{"image_id": i, "bbox": [a, b, c - a, d - b], "score": s} for i, a, b, c, d, s in rows]


def write_csv(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def read(path: Path, empty_images_ok: bool = True, category: int | None = None, scenes: Any = SCENES) -> Submitted:
    options = {"category": category, "empty_images_ok": empty_images_ok}
    cell: Any = SimpleNamespace(origin=Origin(places={"results": str(path)}), spec={"method": {"options": options}})
    return read_submission(cell, scenes, IDENTITY)


def listed(found: list[Detections]) -> list[list[Any]]:
    return [np.column_stack([each.boxes, each.scores]).tolist() for each in found]


WANTED = [[list(BOXES[0][1:]), list(BOXES[2][1:])], [list(BOXES[1][1:])], []]


# -- the same boxes in every format ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "rows", [corners(), sizes(), [{"category_id": 1, **row} for row in corners()]], ids=["corners", "sizes", "category"]
)
def test_tables_and_coco_lists_say_the_same(tmp_path: Path, rows: list[Row]) -> None:
    assert listed(read(write_json(tmp_path / "x.json", coco())).detections) == WANTED
    assert listed(read(write_csv(tmp_path / "x.csv", rows)).detections) == WANTED
    text = (tmp_path / "x.csv").read_text()
    (tmp_path / "y.csv").write_bytes(("\ufeff" + text.replace("\n", "\r\n")).encode())
    assert listed(read(tmp_path / "y.csv").detections) == WANTED


def test_parquet_says_the_same(tmp_path: Path) -> None:
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    for name, rows in (
        ("a", corners()),
        ("b", sizes()),
        ("c", [{**row, "image_id": f"P{row['image_id'] - 10}"} for row in corners()]),
    ):
        parquet.write_table(
            arrow.table({key: [row[key] for row in rows] for key in rows[0]}), tmp_path / f"{name}.parquet"
        )
        assert listed(read(tmp_path / f"{name}.parquet").detections) == WANTED


@pytest.mark.parametrize("column", ["image_id", "file_name", "scene"])
@pytest.mark.parametrize("name", ["11", "11.0", "P1", "P1.png", "images/P1.png"])
def test_ways_to_name_an_image_in_a_table(tmp_path: Path, column: str, name: str) -> None:
    found = read(write_csv(tmp_path / "x.csv", corners([(name, 1, 2, 3, 4, 0.5)], column)))
    assert [len(each) for each in found.detections] == [0, 1, 0]


@pytest.mark.parametrize("number", ["11", "11.0", "P1"])
@pytest.mark.parametrize("name", ["P1", "P1.png", "images/P1.png", "/elsewhere/images/P1.png"])
def test_number_and_file_name_that_mean_one_image(tmp_path: Path, number: str, name: str) -> None:
    (tmp_path / "x.csv").write_text(f"image_id,file_name,x1,y1,x2,y2,score\n{number},{name},1,2,3,4,0.5\n")
    found = read(tmp_path / "x.csv")
    assert [len(each) for each in found.detections] == [0, 1, 0]


@settings(max_examples=60, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(
            st.sampled_from([10, 11, 12]), *(st.floats(0, 90, width=32),) * 2, *(st.floats(0.0625, 90, width=32),) * 2, st.floats(-9, 9)
        ),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_corners_keep_their_last_bit(tmp_path_factory: pytest.TempPathFactory, boxes: list[tuple[float, ...]]) -> None:
    rows = [(i, a, b, a + w, b + h, s) for i, a, b, w, h, s in boxes if a + w > a and b + h > b]
    if not rows or max(max(row[3:5]) for row in rows) <= 1:
        return
    found = read(write_csv(tmp_path_factory.getbasetemp() / "x.csv", corners(rows)))
    assert sorted(sum(listed(found.detections), [])) == sorted([list(row[1:]) for row in rows])


def test_70000_boxes_are_read_quickly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 90, (70_000, 2)).tolist()
    rows = [
        (image, x, y, x + 5, y + 5, 0.5)
        for image, (x, y) in zip(rng.integers(10, 13, 70_000).tolist(), low, strict=True)
    ]
    paths = [write_csv(tmp_path / "x.csv", corners(rows)), write_json(tmp_path / "x.json", coco(rows))]
    for path in paths:
        started = time.process_time()
        assert sum(len(each) for each in read(path).detections) == 70_000
        assert time.process_time() - started < 8


# -- every test scene, once --------------------------------------------------------------------------------------------
def test_a_scene_that_the_file_does_not_speak_of_is_refused_unless_it_is_stated(tmp_path: Path) -> None:
    for path in (write_json(tmp_path / "x.json", coco()), write_csv(tmp_path / "x.csv", corners())):
        with pytest.raises(
            BenchError, match="says nothing of 1 of the 3 test scenes, first 'P2'; .* --empty-images-ok"
        ):
            read(path, empty_images_ok=False)
        assert read(path).facts["scenes_without_entry"] == 1
    with pytest.raises(BenchError, match="says nothing of 3 of the 3 test scenes"):
        read(write_json(tmp_path / "x.json", []), empty_images_ok=False)


def test_ways_to_say_that_nothing_was_found(tmp_path: Path) -> None:
    wrapped = {"images": [10, {"id": 11, "file_name": "P1.png"}, "P2"], "annotations": coco()}
    blank = [*corners(), {"image_id": 12, "x1": None, "y1": None, "x2": None, "y2": None, "score": None}]
    for path in (write_json(tmp_path / "x.json", wrapped), write_csv(tmp_path / "x.csv", blank)):
        found = read(path, empty_images_ok=False)
        assert listed(found.detections) == WANTED
        assert found.facts == {
            "submitted": True,
            "submitted_for": None,
            "scenes_without_box": 1,
            "scenes_without_entry": 0,
        }
    nothing = [{**blank[-1], "image_id": i} for i in (10, 11, 12)]
    assert listed(read(write_csv(tmp_path / "x.csv", nothing), empty_images_ok=False).detections) == [[], [], []]


def test_a_scene_with_boxes_of_another_category_alone_was_looked_at(tmp_path: Path) -> None:
    rows = [{**row, "category_id": 1 + (row["image_id"] == 11)} for row in corners([*BOXES, (12, 1, 1, 9, 9, 0.1)])]
    with pytest.raises(BenchError, match=r"several categories: 1 \(3 boxes\), 2 \(1 boxes\); .* --category"):
        read(write_csv(tmp_path / "x.csv", rows), empty_images_ok=False)
    found = read(tmp_path / "x.csv", empty_images_ok=False, category=1)
    assert [len(each) for each in found.detections] == [2, 0, 1]
    with pytest.raises(BenchError, match="no box of category 3"):
        read(tmp_path / "x.csv", category=3)


# -- made for these scenes ---------------------------------------------------------------------------------------------
def test_hashes_of_the_truth_file_are_checked_where_they_come_back(tmp_path: Path) -> None:
    claims = claims_of(IDENTITY)
    write_coco_truth(tmp_path / "truth.json", SCENES, {"dataset": "mine", **claims})
    truth = json.loads((tmp_path / "truth.json").read_text())
    whole = {"info": truth["info"], "images": truth["images"], "annotations": coco()}
    assert read(write_json(tmp_path / "x.json", whole), empty_images_ok=False).facts["submitted_for"] == claims
    for key, what in (
        ("manifest_sha256", "data files"),
        ("split_sha256", "split"),
        ("made_for", "data, split or sampling"),
    ):
        other = {**whole, "info": {**truth["info"], key: "0" * 64}}
        with pytest.raises(
            BenchError, match=f"made for another {what}: its {key} is '0+.*; predict what `bench data coco"
        ):
            read(write_json(tmp_path / "x.json", other))
    table = [{**row, "made_for": claims["made_for"]} for row in corners()]
    assert read(write_csv(tmp_path / "x.csv", table)).facts["submitted_for"] == {"made_for": claims["made_for"]}
    with pytest.raises(BenchError, match="made for another data, split or sampling"):
        read(write_csv(tmp_path / "x.csv", [{**row, "made_for": "0"} for row in corners()]))


# -- refused -----------------------------------------------------------------------------------------------------------
BAD: dict[str, tuple[str, str]] = {
    "unknown image": ("image_id,x1,y1,x2,y2,score\n99,1,2,3,4,0.5\n", "row 2: unknown image_id '99' among the 3 test scenes"),
    "empty image": (HEADER + ",1,2,3,4,0.5\n", "row 2: the image is empty"),
    "NaN": (HEADER + "10,1,2,3,nan,0.5\n", "row 2: y2 is 'nan'; expected a finite number"),
    "NaN score": (HEADER + "10,1,2,3,4,NaN\n", "row 2: score is 'NaN'"),
    "infinite": (HEADER + "10,1,2,inf,4,1\n", "row 2: x2 is 'inf'"),
    "giant": (HEADER + "10,1,2,1e300,4,1\n", "row 2: the box is [1.0, 2.0, 1e+300, 4.0]; expected finite numbers in pixels"),
    "no score": (HEADER + "10,1,2,3,4,\n", "row 2: score is empty; leave box and score empty together"),
    "half a box": (HEADER + "10,1,,3,4,0.5\n", "row 2: y1 is empty"),
    "swapped corners": (HEADER + "10,30,20,10,40,0.5\n", "bbox [30.0, 20.0, 10.0, 40.0] has no area; expected x1 < x2 and y1 < y2"),
    "negative size": ("image_id,x,y,width,height,score\n10,3,3,-2,5,1\n", "has no area; expected x, y, width > 0"),
    "outside": (HEADER + "10,300,20,310,40,0.5\n", "lies outside its image, 200 wide and 100 high"),
    "shares": (HEADER + "10,0.1,0.2,0.3,0.4,0.5\n", "looks like shares of the image"),
    "corners as sizes": ("image_id,x,y,width,height,score\n" + "10,150,80,190,95,1\n" * 9, "looks like x1, y1, x2, y2"),
    "both kinds": ("image_id,x1,y1,x2,y2,x,y,width,height,score\n10,1,2,3,4,1,2,2,2,1\n", "more than one of x1 y1 x2 y2 /"),
    "two images": ("image_id,scene,x1,y1,x2,y2,score\n10,P0,1,2,3,4,1\n", "more than one of image_id / file_name / scene"),
    "two names": ("image_id,file_name,x1,y1,x2,y2,score\n11,P1.png,1,2,3,4,1\n10,P1.png,1,2,3,4,1\n",
                  "row 3: file_name 'P1.png' of image_id '10', "),
    "another's number": ("image_id,file_name,x1,y1,x2,y2,score\n10,P1.png,1,2,3,4,1\n",
                         "row 2: file_name 'P1.png' of image_id '10', but that file is image_id 11; correct one"),
    "half a pair": ("image_id,file_name,x1,y1,x2,y2,score\n10,,1,2,3,4,1\n", "row 2: the file_name is empty"),
    "no image": ("x1,y1,x2,y2,score\n1,2,3,4,1\n", "none of image_id / file_name / scene"),
    "no corner": ("image_id,x1,y1,x2,score\n10,1,2,3,1\n", "has no column 'y2'"),
    "misspelt": ("image_id,x1,y1,x2,y2,score,categroy_id\n10,1,2,3,4,1,1\n", "unknown column 'categroy_id'; nearest: cat"),
    "both": (HEADER + "10,,,,,\n10,1,2,3,4,1\n", "a box in P0, which another row says to have none"),
    "nothing twice": (HEADER + "10,,,,,\nP0,,,,,\n", "P0 is listed twice among the images that were looked at"),
    "header alone": (HEADER, "x.csv has no rows"),
    "nothing": ("", "x.csv is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_meant_so_is_refused(tmp_path: Path, case: str) -> None:
    content, wanted = BAD[case]
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(BenchError) as error:
        read(tmp_path / "x.csv")
    message = str(error.value)
    assert wanted in message and "x.csv" in message and "\n" not in message and len(message) < 600


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["10", "P1", "", "1", "2.5", "-3", "nan", "1e400", "x"]), min_size=6, max_size=6),
        max_size=4,
    )
)
def test_any_table_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "x.csv"
    path.write_text(HEADER + "".join(",".join(row) + "\n" for row in rows))
    try:
        found = lay_on_scenes(read_box_table(path), SCENES, None)
    except BenchError as error:
        assert "\n" not in str(error)
    else:
        assert sum(len(each) for each in found.detections) <= len(rows) and found.mentioned.any()
