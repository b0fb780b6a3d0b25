"""Equal scores: the spread of the AP over orders holds known answers, lies within what all orders give, and is reported
only where the order decides something.
"""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from evaluator_toys import as_scenes, random_scenes
from lineage_toys import DETECTION

from bench.boards.checks import wrong_numbers
from bench.boards.equal_scores import EQUAL_SCORES, MARK, order_note
from bench.boards.tables import FOOTNOTES, group_rows
from bench.core.errors import BenchError
from bench.detection.detectors.base import Detections
from bench.detection.scoring.evaluator import BoxTable, ap_from_matches, match, mean_ap_from_matches
from bench.detection.scoring.predictions import DetectionPredictions, build_part, whole_scenes
from bench.detection.scoring.score import score_predictions
from bench.detection.scoring.ties import order_spread, stated_spread

SHIPS = np.array([[0.0, 0, 10, 10], [50, 50, 70, 70]])
NONE = np.zeros(2, dtype=bool)


def table(boxes: np.ndarray, scores: np.ndarray) -> BoxTable:
    return BoxTable.of([(SHIPS, NONE)], [Detections(boxes, scores)])


def aps(of: BoxTable) -> tuple[float, float]:
    voc, coco = ap_from_matches(match(of, "voc", (0.5,)), "area"), mean_ap_from_matches(match(of, "coco"))
    assert voc is not None and coco is not None
    return voc, coco


def spread(of: BoxTable) -> dict[str, list[float]]:
    return dict(order_spread(of, *aps(of)).get(EQUAL_SCORES, {}))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 3, 0, 1], [3, 0, 2, 1]])
def test_the_two_ends_whatever_order_the_file_has(order: list[int]) -> None:
    boxes = np.concatenate([SHIPS, SHIPS + 200.0])[order]
    found = spread(table(boxes, np.ones(4)))
    # both ships first: 1; both false alarms first: precision 2/4 at both
    assert found == {"detections": 4, "ap_area": [0.5, 1.0], "ap_coco": [0.5, 1.0]}
    assert spread(table(boxes, np.arange(4.0))) == {}  # no equal scores
    assert spread(table(SHIPS, np.ones(2))) == {}  # equal scores that decide nothing


def test_the_spread_lies_within_what_all_orders_give() -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        near = SHIPS[rng.integers(0, 2, 5)] + rng.choice([0, 1, 2, 40], (5, 1)) * [1, 0, 1, 0]
        scores = rng.choice([0.5, 0.7], 5)
        every = [aps(table(near[list(order)], scores[list(order)])) for order in permutations(range(5))]
        found = spread(table(near, scores))
        for i, name in enumerate(("ap_area", "ap_coco")):
            low, high = min(each[i] for each in every), max(each[i] for each in every)
            if not found:
                assert high - low < 0.11  # only competing duplicates can escape it
                continue
            assert low - 1e-12 <= found[name][0] <= found[name][1] <= high + 1e-12
            assert found[name][1] == pytest.approx(high, abs=0.05) and found[name][0] == pytest.approx(low, abs=0.3)


def test_a_record_that_says_otherwise_is_found() -> None:
    truth, found = random_scenes(3, scenes=4, levels=2)
    part = build_part(as_scenes(truth), whole_scenes(found))
    scores = score_predictions(DetectionPredictions(build_part((), ()), part))
    facts = json.loads(json.dumps(dict(scores.facts)))
    record = DETECTION.model_copy(update={"facts": facts, "metrics": dict(scores.metrics)})

    def problem(stated: object) -> str:
        return wrong_numbers(record.model_copy(update={"facts": {**facts, EQUAL_SCORES: stated}}), scores.samples)[0]

    spread = facts[EQUAL_SCORES]
    assert problem(spread) == ""
    low, high = spread["ap_area"]
    for stated in ({**spread, "detections": spread["detections"] + 1}, {**spread, "ap_area": [high + 0.01, 1.0]}):
        assert "equal_scores" in problem(stated)
    with pytest.raises(BenchError, match="damaged"):
        problem({"detections": 3})
    apart = stated_spread(facts, np.arange(9.0), scores.metrics)
    assert apart == {EQUAL_SCORES: None} and stated_spread({}, np.ones(9), scores.metrics) == {}


def test_a_record_says_it_and_a_board_marks_it(tmp_path: Path) -> None:
    for levels in (None, 2):
        truth, found = random_scenes(3, scenes=4, levels=levels)
        part = build_part(as_scenes(truth), whole_scenes(found))
        scores = score_predictions(DetectionPredictions(build_part((), ()), part))
        facts = json.loads(json.dumps(dict(scores.facts)))
        record = DETECTION.model_copy(update={"facts": facts, "metrics": dict(scores.metrics)})
        ((_, _, marks),) = group_rows([record])
        assert (EQUAL_SCORES in facts) == (levels is not None) == (MARK in marks) == bool(order_note(record))
    low, high = facts[EQUAL_SCORES]["ap_area"]
    assert low <= record.metrics["scene.ap_area"] <= high and low < high and MARK in FOOTNOTES
    assert f"other orders give {low:.3f} to {high:.3f}" in order_note(record)
