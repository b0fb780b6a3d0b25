"""COCO JSON: known answers, and one line for everything that is wrong."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ship_files import coco

from bench.core.errors import BenchError
from bench.data.ships.coco import read_coco

GOOD = coco({"a.jpg": [[1, 2, 10, 5], [0.5, 0.25, 3, 3]], "b.jpg": []}, site=["P1", "P2"], bright_frac=[0.5, 0.0])


def write(folder: Path, value: Any) -> Path:
    path = folder / "list.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_known_answers(tmp_path: Path) -> None:
    raw = copy.deepcopy(GOOD)
    raw["annotations"][1]["iscrowd"] = 1
    raw["images"][0] |= {"license": 3, "date_captured": "", "tags": ["x"], "sure": True, "none": None}
    first, second = read_coco(write(tmp_path, raw)).images
    assert (first.image_id, first.file_name, first.size) == (1, "a.jpg", (40, 30))
    assert first.boxes.tolist() == [[1, 2, 11, 7], [0.5, 0.25, 3.5, 3.25]] and first.boxes.dtype == np.float64
    assert first.ignore.tolist() == [False, True] and first.names == ("ship", "ship")
    assert first.extra == {"site": "P1", "bright_frac": "0.5", "sure": "True"}
    assert second.boxes.shape == (0, 4) and second.ignore.shape == (0,)


def test_further_flags_are_ignored_boxes(tmp_path: Path) -> None:
    for key in ("ignore", "difficult"):
        raw = copy.deepcopy(GOOD)
        raw["annotations"][0][key] = 1
        assert read_coco(write(tmp_path, raw)).images[0].ignore.tolist() == [True, False]


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return GOOD with one entry replaced: "annotations/0/bbox"; None removes it."""
    raw = copy.deepcopy(GOOD)
    *parents, last = path.split("/")
    target: Any = raw
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target[part]
    key: Any = int(last) if isinstance(target, list) else last
    if value is None:
        del target[key]
    else:
        target[key] = value
    return raw


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("", "no valid JSON"),
        ('{"images": [', "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ("[]", "expected an object with images, annotations and categories"),
        (changed("images", None), "it has no list 'images'"),
        (changed("annotations", {"a": 1}), "it needs a list 'annotations'"),
        (changed("categories", None), "it has no list 'categories'"),
        (changed("images/0", "a.jpg"), "image 1: expected an object, found 'a.jpg'"),
        (changed("images/1/id", None), "image 2: has no 'id'"),
        (changed("images/1/id", 1), r"image 2: id 1 stands twice \(a.jpg, b.jpg\)"),
        (changed("images/1/id", "P2"), "image 2: id 'P2' is no whole number"),
        (changed("images/1/id", 2.5), "image 2: id '2.5' is no whole number"),
        (changed("images/1/id", "1.0"), r"image 2: id 1 stands twice \(a.jpg, b.jpg\)"),
        (changed("images/1/id", True), "image 2: id 'True' is no whole number"),
        (changed("images/1/id", 10**400), "image 2: id '1000.* is no whole number"),
        (changed("images/1/file_name", "a.jpg"), "image 2: file_name 'a.jpg' stands twice"),
        (changed("images/1/file_name", 7), "image 2: file_name '7' is no text"),
        (changed("images/0/width", -7), "image 1: width -7 is not positive"),
        (changed("images/0/heigth", 40), "image 1: has 'heigth', which is not known; is 'height' meant"),
        (changed("images/0/height", 800.5), "image 1: height '800.5' is no whole number"),
        (changed("categories/0/name", None), "category 1: has no 'name'"),
        (changed("annotations/0/image_id", 9), "annotation 1: image_id 9 is not among the images"),
        (changed("annotations/1/category_id", 4), "annotation 2: category_id 4 is not among the categories"),
        (changed("annotations/0/category_id", None), "annotation 1: has no 'category_id'"),
        (changed("annotations/0/bbox", None), "annotation 1: has no 'bbox'"),
        (changed("annotations/0/bbox", [1, 2, 3]), "annotation 1: bbox .* is no list of four numbers"),
        (changed("annotations/0/bbox", [1, 2, "3", 4]), "annotation 1: bbox .* is no list of four numbers"),
        (changed("annotations/0/bbox", [1, 2, True, 4]), "annotation 1: bbox .* is no list of four numbers"),
        (json.dumps(changed("annotations/0/bbox", [1, 2, float("nan"), 4])), "NaN is no JSON number"),
        (json.dumps(GOOD).replace("0.25", "1e999"), "annotation 2: bbox .* is not finite"),
        (changed("annotations/0/is_crowd", 1), "annotation 1: has 'is_crowd', which is not known; is 'iscrowd' meant"),
        (changed("annotations/0/crowd", 1), "annotation 1: has 'crowd', which is not known; is 'iscrowd' meant"),
        (changed("annotations/0/ignored", 1), "annotation 1: has 'ignored', which is not known; is 'ignore' meant"),
        (changed("annotations/0/isCrowd", 1), "annotation 1: has both 'iscrowd' and 'isCrowd'; leave one"),
        (changed("annotations/0/iscrowd", "no"), "annotation 1: iscrowd 'no' is neither 0 nor 1"),
    ],
)
def test_bad_lists_end_in_one_line(tmp_path: Path, raw: Any, message: str) -> None:
    path = write(tmp_path, raw)
    try:
        problem = read_coco(path).problems[0]
    except BenchError as error:
        problem = str(error)
    assert re.search(message, problem)
    assert "list.json" in problem and "\n" not in problem and len(problem) < 400


def test_known_names_match_whatever_their_case(tmp_path: Path) -> None:
    def louder(value: Any) -> Any:
        if isinstance(value, dict):
            return {key.upper(): louder(inner) for key, inner in value.items()}
        return [louder(inner) for inner in value] if isinstance(value, list) else value

    raw = copy.deepcopy(GOOD)
    raw["annotations"][1]["difficult"] = 1
    quiet, loud = (read_coco(write(tmp_path, value)).images for value in (raw, louder(raw)))
    assert [image.ignore.tolist() for image in loud] == [[False, True], []]
    for one, two in zip(quiet, loud, strict=True):
        assert (one.image_id, one.file_name, one.size, one.names) == (two.image_id, two.file_name, two.size, two.names)
        assert np.array_equal(one.boxes, two.boxes) and two.extra == {"SITE": one.extra["site"]} | {
            "bright_frac": one.extra["bright_frac"]
        }


@pytest.mark.parametrize("kind", [float, str, lambda number: f"{number}.0"])
def test_whole_numbers_in_other_dress(tmp_path: Path, kind: Any) -> None:
    raw = copy.deepcopy(GOOD)
    for entry in [*raw["images"], *raw["categories"]]:
        entry["id"] = kind(entry["id"])
    for entry in raw["annotations"]:
        entry.update({key: kind(entry[key]) for key in ("image_id", "category_id", "iscrowd")})
    found = read_coco(write(tmp_path, raw))
    assert not found.problems and [image.image_id for image in found.images] == [1, 2]
    assert len(found.images[0].boxes) == 2


@pytest.mark.parametrize("value", [None, 0, -1, "absent"])
def test_a_size_that_nobody_stated(tmp_path: Path, value: Any) -> None:
    raw = copy.deepcopy(GOOD)
    raw["images"][0]["height"] = value
    if value == "absent":
        del raw["images"][0]["height"]
    found = read_coco(write(tmp_path, raw))
    assert not found.problems and [image.size for image in found.images] == [None, (40, 30)]


def test_every_problem_is_collected(tmp_path: Path) -> None:
    raw = copy.deepcopy(GOOD)
    raw["images"][1]["id"] = 1
    raw["annotations"][0]["bbox"] = None
    raw["annotations"][1]["image_id"] = 7
    found = read_coco(write(tmp_path, raw))
    assert len(found.problems) == 3 and len(found.images) == 1 and len(found.images[0].boxes) == 0
    with pytest.raises(BenchError, match="cannot read"):
        read_coco(tmp_path / "none.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "bbox", "file_name", "image_id"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("images", "annotations", "categories"), JSON)) | JSON)
def test_no_json_ends_in_another_error(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value))
    try:
        read_coco(path)
    except BenchError as error:
        assert "\n" not in str(error)
