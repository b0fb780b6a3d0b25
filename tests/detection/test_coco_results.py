"""COCO files at the border: the same boxes give the same numbers, and a file that cannot be meant so is refused in one
line.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import read_coco_results, write_coco_results
from evaluator_toys import as_scenes, random_scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.data.ships.index import ShipScene
from bench.detection.detectors.base import Detections
from bench.detection.scoring.predictions import DetectionPredictions, build_part, whole_scenes
from bench.detection.scoring.score import score_predictions
from bench.detection.submission.coco_results import to_xywh, write_coco_truth

NOTHING = build_part((), ())


def scene(name: str, image_id: int, side: int = 1000, folder: str = "images/") -> ShipScene:
    return ShipScene(name, f"{folder}{name}.png", image_id, side, side, np.zeros((0, 4)), np.zeros(0, dtype=bool))


SCENES = (scene("P0001", 7), scene("P0002", 8), scene("P0010", 30))


def entry(image_id: Any = 7, bbox: Any = (10, 20, 30, 40), score: Any = 0.5, **more: Any) -> dict[str, Any]:
    return {"image_id": image_id, "bbox": list(bbox) if isinstance(bbox, tuple) else bbox, "score": score, **more}


def written(folder: Path, content: Any) -> Path:
    path = folder / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def scattered(seed: int, truth: np.ndarray, dtype: type) -> Detections:
    """Jittered ships and stray boxes in a scene of 1000 x 1000, with all the bits that `dtype` has."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 800, (400, 2)) * rng.choice([1, 1e-2], (400, 1))
    stray = np.concatenate([low, low + rng.uniform(2, 190, (400, 2))], axis=1)
    near = np.abs(truth + rng.normal(0, 1, truth.shape))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    boxes = np.concatenate([near, stray]) * (1 + rng.uniform(0, 1e-4, (len(near) + 400, 4)))
    return Detections(boxes.astype(dtype).astype(np.float64), rng.random(len(boxes)))


# -- round trip --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_boxes_as_coco_json_give_identical_numbers(tmp_path: Path, dtype: type) -> None:
    truth, _ = random_scenes(2, scenes=5)
    found = [scattered(i, boxes, dtype) for i, (boxes, _) in enumerate(truth)]
    scenes = as_scenes(truth, side=1000)
    write_coco_results(tmp_path / "results.json", scenes, found)
    again = read_coco_results(tmp_path / "results.json", scenes)
    for one, other in zip(found, again, strict=True):
        assert np.array_equal(one.scores, other.scores)
        assert np.abs(one.boxes - other.boxes).max() <= (0 if dtype is np.float32 else 2.3e-16 * 1000)
    direct, through = (
        score_predictions(DetectionPredictions(NOTHING, build_part(scenes, whole_scenes(each))))
        for each in (found, again)
    )
    assert dict(direct.metrics) == dict(through.metrics) and dict(direct.facts) == dict(through.facts)
    assert direct.metrics["scene.ap_area"] is not None and 0 < direct.metrics["scene.ap_area"] < 1


@settings(max_examples=200, deadline=None)
@given(corners=st.lists(st.floats(0, 3000, width=32), min_size=2, max_size=2, unique=True), y0=st.integers(0, 100_000))
def test_corners_of_float32_come_back_to_the_last_bit(corners: list[float], y0: int) -> None:
    """In a tile's frame, and moved to the scene's by the whole pixels where the tile begins."""
    for shift in (0, y0):
        low, high = (value + shift for value in sorted(corners))
        got = to_xywh(np.array([[low, low, high, high]]))
        assert got[0, 0] + got[0, 2] == high and got[0, 1] + got[0, 3] == high


def test_other_tools_read_our_truth_and_results(tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = random_scenes(4, scenes=6)
    scenes = as_scenes(truth)
    write_coco_truth(tmp_path / "truth.json", scenes)
    write_coco_results(tmp_path / "results.json", scenes, found)
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(str(tmp_path / "truth.json"))
        run = COCOeval(gt, gt.loadRes(str(tmp_path / "results.json")), "bbox")
        run.params.maxDets = [1, 10, 10_000]
        run.evaluate()
        run.accumulate()
    ours = score_predictions(DetectionPredictions(NOTHING, build_part(scenes, whole_scenes(found)))).metrics
    assert ours["scene.ap_coco"] == pytest.approx(float(run.eval["precision"][:, :, 0, 0, 2].mean()), abs=1e-9)
    assert gt.imgs[10]["file_name"] == "images/scene-0.png"


# -- reading -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [8, 8.0, "P0002", "P0002.png", "images/P0002.png", "8"])
def test_ways_to_name_a_scene(tmp_path: Path, name: Any) -> None:
    found = read_coco_results(written(tmp_path, [entry(name)]), SCENES)
    assert [len(each) for each in found] == [0, 1, 0]
    assert found[1].boxes.tolist() == [[10, 20, 40, 60]] and found[1].scores.tolist() == [0.5]


def test_a_file_name_decides_over_a_number_of_the_tools_own(tmp_path: Path) -> None:
    """As ultralytics writes results: the number is the one in the file name, here another scene's."""
    named = [entry(8, file_name="P0001.png"), entry(30, file_name="/home/x/images/P0002.png", score=0.7)]
    found = read_coco_results(written(tmp_path, named), SCENES)
    assert [each.scores.tolist() for each in found] == [[0.5], [0.7], []]
    images = [{"ID": 8.0, "file_name": "P0001.png"}, {"ID": "30", "FILE_NAME": "P0002.png"}]
    listed = {"images": images, "annotations": [entry(8), entry(30, score=0.7)]}
    found = read_coco_results(written(tmp_path, listed), SCENES)
    assert [each.scores.tolist() for each in found] == [[0.5], [0.7], []]
    unnumbered = [{"file_name": "images/P0010.png", "bbox": [1, 2, 3, 4], "score": 1}]
    assert len(read_coco_results(written(tmp_path, unnumbered), SCENES)[2]) == 1


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry(7, file_name="P0001.png"), entry(7, file_name="P0002.png")], "entry 1: file_name 'P0002.png' of image_id"),
        ([entry(7, file_name="P0001.png"), entry(8, file_name="P0001.png")], "an image has one number"),
        ([entry(8, file_name="P0001.png"), entry(30)], "entry 1: image_id 30 has no file_name, and the file's numbers"),
        ([entry(7, file_name="P0003.png")], "unknown file_name 'P0003.png' of image_id 7 among the 3 test scenes; near"),
        ([entry(7, file_name="../P0001.png")], "unknown file_name '../P0001.png' of image_id 7"),
        ([entry(7, file_name=3)], "entry 0: file_name is 3; expected a text"),
        ([entry(7, filename="P0001.png")], "entry 0 has 'filename', which is not known; is 'file_name' meant"),
        ({"images": [{"id": 7, "file_name": "P0002.png"}], "annotations": [entry(7, file_name="P0001.png")]}, "'P0002"),
    ],
)  # fmt: skip
def test_names_and_numbers_that_contradict_are_refused_and_both_named(
    tmp_path: Path, entries: Any, message: str
) -> None:
    with pytest.raises(BenchError) as error:
        read_coco_results(written(tmp_path, entries), SCENES)
    assert message in str(error.value) and "results.json" in str(error.value)


def test_a_scene_id_wins_over_the_digits_of_an_image_id(tmp_path: Path) -> None:
    """Scenes that are called 1, 2, 3 and are counted from 0."""
    scenes = [scene(str(i + 1), i) for i in range(3)]
    found = read_coco_results(written(tmp_path, [entry("1"), entry(1)]), scenes)
    assert [len(each) for each in found] == [1, 1, 0]


def test_the_same_file_name_in_two_folders_is_not_guessed(tmp_path: Path) -> None:
    scenes = [
        ShipScene(f"{k}", f"{k}/x.png", i, 99, 99, np.zeros((0, 4)), np.zeros(0, dtype=bool))
        for i, k in enumerate("ab")
    ]
    with pytest.raises(BenchError, match=r"2 test scenes are called 'x.png'; use their ids"):
        read_coco_results(written(tmp_path, [entry("x.png")]), scenes)
    assert len(read_coco_results(written(tmp_path, [entry("b/x.png")]), scenes)[1]) == 1
    assert len(read_coco_results(written(tmp_path, [entry(1, file_name="x.png")]), scenes)[1]) == 1
    with pytest.raises(BenchError, match="file_name 'x.png' of image_id 5: several test scenes have this name"):
        read_coco_results(written(tmp_path, [entry(5, file_name="x.png")]), scenes)


def test_an_empty_list_and_duplicates_are_legal(tmp_path: Path) -> None:
    assert [len(each) for each in read_coco_results(written(tmp_path, []), SCENES)] == [0, 0, 0]
    twice = read_coco_results(
        written(tmp_path, [entry(30, score=0.1), entry(7), entry(30, score=0.9), entry(30, score=0.1)]), SCENES
    )
    assert [len(each) for each in twice] == [1, 0, 3] and twice[2].scores.tolist() == [0.1, 0.9, 0.1]


def test_categories(tmp_path: Path) -> None:
    path = written(tmp_path, [entry(category_id=1), entry(category_id=3, score=0.7), entry(category_id=3)])
    with pytest.raises(BenchError, match=r"several categories: 1 \(1 boxes\), 3 \(2 boxes\); choose"):
        read_coco_results(path, SCENES)
    assert read_coco_results(path, SCENES, category=3)[0].scores.tolist() == [0.7, 0.5]
    with pytest.raises(BenchError, match="no box of category 2; it has 1"):
        read_coco_results(path, SCENES, category=2)
    assert [len(each) for each in read_coco_results(written(tmp_path, []), SCENES, category=2)] == [0, 0, 0]


BAD: dict[str, tuple[Any, str]] = {
    "truncated": ('[{"image_id": 7, "bbox": [1, 2', "is not valid JSON"),
    "no text": ("\x00\x01", "is not valid JSON"),
    "nested too deep": ("[" * 200_000, "is not valid JSON"),
    "an object": ({"results": []}, "holds a JSON dict; expected a JSON list"),
    "the truth": (
        {"images": [{"id": 7}], "annotations": [{"image_id": 7, "bbox": [1, 2, 3, 4]}]}, "is a COCO annotation file, not a results file",
    ),
    "a number": ("3", "holds a JSON int"),
    "no entry": ([3], "entry 0 is a int"),
    "no score": ([entry(), {"image_id": 7, "bbox": [1, 2, 3, 4], "scores": 1}], "entry 1 has no 'score'; nearest: score"),
    "unknown number": ([entry(31)], "unknown image_id 31 among the 3 test scenes; nearest: 30"),
    "unknown name": ([entry("P0003.png")], "unknown image_id 'P0003.png' among the 3 test scenes; nearest: "),
    "unknown kind": ([entry([7])], "unknown image_id [7]"),
    "a truth value": ([entry(True)], "unknown image_id True"),
    "half an id": ([entry(7.5)], "unknown image_id 7.5"),
    "an endless id": ('[{"image_id": Infinity, "bbox": [1, 2, 3, 4], "score": 1}]', "unknown image_id inf"),
    "NaN score": ('[{"image_id": 7, "bbox": [1, 2, 3, 4], "score": NaN}]', "entry 0: score is nan"),
    "infinite score": ('[{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 1e999}]', "entry 0: score is inf"),
    "huge score": ('[{"image_id": 7, "bbox": [1, 2, 3, 4], "score": 1' + "0" * 400 + "}]", "entry 0: score is 1000"),
    "score as text": ([entry(score="0.5")], "entry 0: score is '0.5'"),
    "no number": ([entry(score=None)], "entry 0: score is None"),
    "three numbers": ([entry(bbox=(1, 2, 3))], "entry 0: bbox is [1, 2, 3]; expected four finite numbers"),
    "NaN box": ('[{"image_id": 7, "bbox": [1, 2, NaN, 4], "score": 1}]', "entry 0: bbox is [1, 2, nan, 4]"),
    "far away": ([entry(bbox=(1, 2, 1e300, 4))], "entry 0: bbox is [1, 2, 1e+300, 4]"),
    "no width": ([entry(), entry(bbox=(5, 5, 0, 4))], "entry 1: bbox [5.0, 5.0, 0.0, 4.0] has no area"),
    "negative height": ([entry(bbox=(5, 5, 4, -4))], "has no area"),
    "outside": ([entry(bbox=(1000, 5, 4, 4))], "lies outside its image, 1000 wide and 1000 high"),
    "before the image": ([entry(bbox=(-9, 5, 4, 4))], "lies outside its image"),
    "shares of the image": ([entry(bbox=(0.1, 0.2, 0.05, 0.05))], "looks like shares of the image"),
    "an unlisted image": ({"images": [8], "annotations": [entry()]}, "entry 0: a box in P0001, which its list of images lacks"),
    "an image twice": ({"images": [7, 8, "P0001"], "annotations": []}, "P0001 is listed twice among the images"),
    "an unknown image": ({"images": [{"id": 9}], "annotations": []}, "image 0 of its list: unknown image_id 9"),
    "an image without a name": ({"images": [{"width": 9}], "annotations": []}, "unknown image_id None"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_meant_so_is_refused(tmp_path: Path, case: str) -> None:
    content, wanted = BAD[case]
    with pytest.raises(BenchError) as error:
        read_coco_results(written(tmp_path, content), SCENES)
    message = str(error.value)
    assert wanted in message and "results.json" in message and "\n" not in message and len(message) < 600


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot read .*none.json"):
        read_coco_results(tmp_path / "none.json", SCENES)


@pytest.mark.parametrize("seed", range(5))
def test_corners_instead_of_sizes_are_noticed(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 900, (60, 2))
    boxes = np.concatenate([low, low + rng.uniform(10, 100, (60, 2))], axis=1)
    wrong = [entry(7, box, 0.5) for box in boxes.tolist()]
    with pytest.raises(BenchError, match="looks like x1, y1, x2, y2"):
        read_coco_results(written(tmp_path, wrong), SCENES)
    right = [entry(7, box, 0.5) for box in to_xywh(boxes).tolist()]
    assert len(read_coco_results(written(tmp_path, right), SCENES)[0]) == 60


def test_boxes_that_reach_beyond_the_image_are_kept(tmp_path: Path) -> None:
    found = read_coco_results(written(tmp_path, [entry(bbox=(-3, 990, 20, 20))]), SCENES)
    assert found[0].boxes.tolist() == [[-3, 990, 17, 1010]]


def test_a_crop_filled_by_its_ship_is_not_mistaken_for_corners(tmp_path: Path) -> None:
    chips = [scene(f"chip{i}", i, side=64) for i in range(20)]
    entries = [entry(i, (3, 4, 58 + (i % 8 == 0) * 6, 55), 0.5) for i in range(20)]
    assert sum(map(len, read_coco_results(written(tmp_path, entries), chips))) == 20


@settings(max_examples=150, deadline=None)
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=5)
            | st.dictionaries(st.sampled_from(["image_id", "bbox", "score", "x"]), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = written(tmp_path_factory.getbasetemp(), content)
    try:
        assert len(read_coco_results(path, SCENES)) == 3
    except BenchError as error:
        assert "\n" not in str(error)
