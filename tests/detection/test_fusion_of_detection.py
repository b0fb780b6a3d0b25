"""Fused boxes, with known answers: equal members change nothing, boxes that do not meet are all kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.data.ships.index import ShipScene
from bench.detection.detectors.base import Detections
from bench.detection.fusion import BoxOptions, fuse, fuse_scene, soft_nms
from bench.detection.scoring.predictions import DetectionPredictions, build_part, whole_scenes
from bench.detection.scoring.score import score_predictions

A = Detections(np.array([[0.0, 0, 10, 10], [50, 50, 70, 60], [100, 0, 130, 8]]), np.array([0.9, 0.6, 0.25]))
B = Detections(A.boxes + 200.0, np.array([0.8, 0.5, 0.3]))
METHODS: tuple[dict[str, Any], ...] = (
    {"method": "wbf"},
    {"method": "nms"},
    {"method": "soft-nms"},
    {"method": "soft-nms", "sigma": 0.5},
)


def fused(found: Sequence[Detections], weights: Sequence[float] | None = None, **options: Any) -> Detections:
    shares = np.ones(len(found)) if weights is None else np.array(weights) / max(weights)
    return fuse_scene(found, shares, BoxOptions.model_validate(options))


def test_equal_members_change_nothing() -> None:
    for options in METHODS[:3]:
        for count in (2, 3):
            out = fused([A] * count, **options)
            assert np.allclose(out.boxes, A.boxes, atol=1e-5) and np.allclose(out.scores, A.scores, atol=1e-6), options
    out = fused([A, A], **METHODS[3])  # a Gaussian never drops: each copy stays, exp(-1 / sigma) as sure
    assert np.allclose(out.scores, np.sort(np.concatenate([A.scores, A.scores * np.exp(-2)]))[::-1])
    assert np.array_equal(fused([A, A], **METHODS[3], skip=0.2).boxes, A.boxes), "and goes with a skip score"


@pytest.mark.parametrize("options", METHODS)
def test_boxes_that_do_not_meet_are_a_union(options: dict[str, Any]) -> None:
    out = fused([A, B], **options)
    scores = np.concatenate([A.scores, B.scores]) / (2 if options["method"] == "wbf" else 1)
    order = np.argsort(-scores, kind="stable")
    assert np.allclose(out.scores, scores[order], atol=1e-6), "of two members one saw it: WBF halves the score"
    assert np.allclose(out.boxes, np.concatenate([A.boxes, B.boxes])[order])
    assert len(fused([Detections.none(), Detections.none()], **options)) == 0
    alone = fused([A, Detections.none()], **options)
    assert np.allclose(alone.boxes, A.boxes)


def test_weighted_boxes_are_means_by_score() -> None:
    one = Detections(np.array([[0.0, 0, 10, 10]]), np.array([0.9]))
    two = Detections(np.array([[2.0, 0, 12, 10]]), np.array([0.3]))  # IoU 2 / 3
    out = fused([one, two], method="wbf")
    assert np.allclose(out.boxes, [[0.5, 0, 10.5, 10]]) and out.scores == pytest.approx([0.6])
    apart = fused([one, two], method="wbf", iou=0.7)
    assert np.allclose(apart.scores, [0.45, 0.15])
    weighed = fused([one, two], weights=[1, 3], method="wbf")  # by 0.9 and 3 x 0.3: the corners' middle
    assert np.allclose(weighed.boxes, [[1.0, 0, 11, 10]]) and weighed.scores == pytest.approx(
        [(0.3 + 0.3) / 2 * 2 / (4 / 3)]
    )
    assert len(fused([one, two], method="wbf", skip=0.5)) == 1
    assert len(fused([one, Detections(two.boxes, np.zeros(1))], method="wbf")) == 1, "a score of 0 has no say"


def test_suppression_keeps_the_surer_box_or_lowers_the_other() -> None:
    one = Detections(np.array([[0.0, 0, 10, 10]]), np.array([0.5]))
    two = Detections(np.array([[2.0, 0, 12, 10]]), np.array([0.8]))
    assert np.array_equal(fused([one, two], method="nms").boxes, two.boxes)
    assert np.array_equal(fused([one, two], weights=[2, 1], method="nms").boxes, one.boxes), "0.5 against 0.4"
    assert np.allclose(fused([one, two], method="soft-nms").scores, [0.8, 0.5 / 3])
    assert np.allclose(fused([one, two], method="soft-nms", iou=0.7).scores, [0.8, 0.5])
    assert np.allclose(fused([one, two], method="soft-nms", sigma=0.5).scores, [0.8, 0.5 * np.exp(-8 / 9)])
    three = np.array([[0.0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10]])  # IoU 2 / 3 with the middle one, 3 / 7 else
    assert np.allclose(soft_nms(three, np.array([0.9, 0.8, 0.7]), 0.5, None), [0.9, 0.8 / 9, 0.7])
    assert np.allclose(soft_nms(three, np.array([0.7, 0.9, 0.6]), 0.1, None), [0.7 / 3, 0.9, 0.6 / 3 * 4 / 7])


def predictions(found: Detections, name: str = "s") -> DetectionPredictions:
    scene = ShipScene(name, f"{name}.png", 0, 400, 400, A.boxes, np.zeros(3, dtype=bool), name, {})
    part = build_part([scene], whole_scenes([found]))
    return DetectionPredictions(part, part)


@pytest.mark.parametrize("options", METHODS)
def test_whole_parts_are_fused_and_scored_without_tiles(options: dict[str, Any]) -> None:
    made = fuse({"a": predictions(A), "b": predictions(A)}, BoxOptions.model_validate(options), floor=0.2)
    assert len(made.test.tile_scene) == 0 and made.min_visible is None and (made.test.scene.score >= 0.2).all()
    metrics = score_predictions(made).metrics
    assert metrics["scene.ap50"] == 1.0 and metrics["tile.ap50"] is None


def test_what_has_no_common_scale_or_scene_is_refused() -> None:
    decibel = Detections(A.boxes, np.array([31.5, 20.0, 14.0]))
    with pytest.raises(BenchError, match="scores of cfar reach 31.5 and those of net lie in 0 to 1: no common scale"):
        fuse({"cfar": predictions(decibel), "net": predictions(A)}, BoxOptions())
    assert (
        len(fuse({"a": predictions(decibel), "b": predictions(decibel)}, BoxOptions(method="nms")).test.scene.score)
        == 3
    )
    below = predictions(Detections(A.boxes, np.array([0.5, 0.1, -0.1])))
    with pytest.raises(BenchError, match="a has negative scores"):
        fuse({"a": below, "b": predictions(A)}, BoxOptions(method="soft-nms"))
    assert len(fuse({"a": below, "b": predictions(A)}, BoxOptions(method="nms")).test.scene.score) == 3
    with pytest.raises(BenchError, match="a and b did not look at the same scenes"):
        fuse({"a": predictions(A), "b": predictions(A, "other")}, BoxOptions())
