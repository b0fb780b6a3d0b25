"""Training and predicting with an mmdet network: it learns, exactly again from the same seed, and exactly on after an
interruption.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmdet_toys import SIZE, context_of, faster_rcnn, fit_data, ship_scenes, yolov3
from pydantic import ValidationError

from bench.core.errors import BenchError
from bench.data.ships.view import SceneView
from bench.detection.detectors.mmdet.base import MmdetOptions
from bench.detection.detectors.mmdet.faster_rcnn import FasterRcnn, FasterRcnnOptions
from bench.detection.detectors.mmdet.models import DetectorNetwork
from bench.detection.detectors.mmdet.yolov3 import YoloV3, YoloV3Options
from bench.detection.scoring.evaluator import BoxTable, ap_from_matches, match


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneView:
    return ship_scenes(tmp_path_factory.mktemp("scenes"))


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


def test_an_interrupted_training_ends_as_a_straight_one_and_two_fit_in_a_process(
    scenes: SceneView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = faster_rcnn(context_of(tmp_path / "straight"))
    facts = straight.fit(fit_data(scenes))
    assert facts["epochs"] == 2 and facts["training_tiles"] == 12 and facts["resumed_from_epoch"] is None
    loss, calls = DetectorNetwork.loss, [0]

    def dying(self: DetectorNetwork, batch: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:  # the second step of the second epoch
            raise KeyboardInterrupt
        return loss(self, batch)

    monkeypatch.setattr(DetectorNetwork, "loss", dying)
    with pytest.raises(KeyboardInterrupt):
        faster_rcnn(context_of(tmp_path / "resumed")).fit(fit_data(scenes))
    monkeypatch.undo()
    resumed = faster_rcnn(context_of(tmp_path / "resumed", workers=1))
    assert resumed.fit(fit_data(scenes))["resumed_from_epoch"] == 1
    assert same(straight.state(), resumed.state())
    assert (tmp_path / "straight" / "curves.csv").read_bytes() == (tmp_path / "resumed" / "curves.csv").read_bytes()
    other = faster_rcnn(context_of(tmp_path / "other"))
    other.fit(fit_data(scenes, seed=1))
    assert not same(straight.state(), other.state())


def test_a_start_at_random_learns_to_find_ships(scenes: SceneView, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "epochs": 4,
        "per_epoch": 48,
        "optimizer": "adamw",
        "lr": 0.001,
        "fpn_channels": 32,
        "rpn_channels": 32,
        "roi_fc": 128,
    }
    options["channels_last"] = True  # a loaded network computes as a trained one in this format too
    detector = faster_rcnn(context_of(tmp_path), **options)
    facts = detector.fit(fit_data(scenes))
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[-1]["loss_rpn_cls"]) < 0.5 * float(rows[0]["loss_rpn_cls"])
    assert {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "acc"} <= rows[0].keys()
    found = [detector.predict(scenes.image(k)) for k in range(len(scenes))]
    table = BoxTable.of(
        [(scenes.boxes(k), scenes.ignore(k)) for k in range(len(scenes))], [each.merged for each in found]
    )
    ap = ap_from_matches(match(table, "voc", (0.5,)), "area")
    assert ap is not None and ap > 0.7
    assert len(found[0].tiles) == len(found[0].per_tile) == 2 * 3 and facts["cost"]["samples_per_second"] > 0
    again = faster_rcnn(context_of(tmp_path), **options)
    again.load_state(detector.state())
    for k, known in enumerate(found):
        fresh = again.predict(scenes.image(k)).merged
        assert np.array_equal(fresh.boxes, known.merged.boxes) and np.array_equal(fresh.scores, known.merged.scores)
    with pytest.raises(BenchError, match="do not fit"):
        faster_rcnn(context_of(tmp_path)).load_state(detector.state())


def test_yolov3_trains_and_predicts(scenes: SceneView, tmp_path: Path) -> None:
    detector = yolov3(context_of(tmp_path), epochs=1)
    assert detector.fit(fit_data(scenes))["epochs"] == 1
    shutil.rmtree(tmp_path / "checkpoints")  # some hundred MB
    assert list(csv.DictReader((tmp_path / "curves.csv").open()))[0].keys() >= {
        "loss_cls",
        "loss_conf",
        "loss_xy",
        "loss_wh",
    }
    assert len(detector.predict(np.full((1, 1), 7, dtype=np.uint8)).tiles) == 1
    assert len(detector.predict(np.asarray(scenes.image(0))).per_tile) == 6


def test_the_budget_in_tiles_sets_the_epochs_and_the_control_adds_to_it(scenes: SceneView, tmp_path: Path) -> None:
    assert MmdetOptions(epochs=3).epochs_of(100) == 3
    assert MmdetOptions(epochs=3).epochs_of(100, extra=101) == 5
    assert MmdetOptions(samples=250).epochs_of(100) == 3
    assert MmdetOptions(samples=250).epochs_of(100, extra=60) == 4
    assert MmdetOptions(samples=1).epochs_of(100) == 1
    facts = faster_rcnn(context_of(tmp_path), epochs=1).fit(fit_data(scenes, extra_pixels=5 * SIZE**2 + 1))
    assert facts["extra_tiles"] == 6 and facts["epochs"] == 2 and facts["training_tiles"] == 12


def test_options_become_a_training() -> None:
    steps = MmdetOptions(schedule="step", step_at=(8 / 12, 11 / 12), warmup_epochs=20).train_spec(24, 3, "fp32")
    assert steps.step_epochs == (16, 22) and steps.warmup_epochs == 20 and steps.seed == 3
    assert MmdetOptions(warmup_epochs=20).train_spec(2, 0, "fp32").warmup_epochs == 2
    assert "momentum" not in MmdetOptions(optimizer="adamw").train_spec(2, 0, "fp32").optimizer
    assert MmdetOptions().train_spec(2, 0, "fp32").optimizer["momentum"] == 0.9


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"schedule": "step"}, "step_at goes with"),
        ({"step_at": (0.5,)}, "step_at goes with"),
        ({"schedule": "step", "step_at": (1.5,)}, "shares of the training"),
        ({"learning_rate": 0.1}, "learning_rate"),
        ({"score_floor": 0.0}, "score_floor"),
        ({"crop_px": 32}, "crop_px"),
        ({"anchor_scales": ()}, "anchor_scales"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        FasterRcnnOptions(**options)
    with pytest.raises(ValidationError, match="above 0"):
        YoloV3Options.model_validate({"anchors": [[[1, 1]] * 3, [[1, 1]] * 3, [[0, 1]] * 3]})


def test_what_cannot_be_trained_is_told(scenes: SceneView, tmp_path: Path) -> None:
    context = context_of(tmp_path)
    for options in ({"norm": "eval"}, {"frozen_stages": 1}):
        with pytest.raises(BenchError, match="keeps parts of the initial weights"):
            faster_rcnn(context, **options).fit(fit_data(scenes))
    with pytest.raises(BenchError, match="cannot be built on backbone 'darknet53'; it takes resnet50"):
        faster_rcnn(context, backbone="darknet53").fit(fit_data(scenes))
    with pytest.raises(BenchError, match="hold no ship"):
        faster_rcnn(context).fit(fit_data(scenes.subset(np.array([2]))))
    with pytest.raises(BenchError, match="before it was fitted"):
        faster_rcnn(context).predict(np.zeros((9, 9), dtype=np.uint8))
    with pytest.raises(BenchError, match="no state"):
        faster_rcnn(context).state()
    with pytest.raises(BenchError, match="lower the learning rate"):
        faster_rcnn(context, lr=1e18, clip_norm=None, warmup_epochs=0).fit(fit_data(scenes))


def test_the_registered_defaults_are_valid_and_named() -> None:
    from bench.core.registries import DETECTORS

    for name, kind in (("faster-rcnn", FasterRcnn), ("yolov3", YoloV3)):
        assert DETECTORS.get(name) is kind
        assert kind.Options().batch_size >= 2 and kind.trains and kind.seeded and kind.backbones
