"""From predictions to the numbers of a detection cell: levels, strata, thresholds, counts, and the per-sample arrays of
an entry.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from evaluator_toys import as_scenes, random_scenes, shore_of

from bench.core.errors import BenchError
from bench.core.store import save_arrays
from bench.detection.detectors.base import Detections, ScenePrediction
from bench.detection.scoring.evaluator import IOUS, SIZES
from bench.detection.scoring.predictions import DetectionPredictions, build_part, whole_scenes
from bench.detection.scoring.score import (
    APS,
    BEST,
    DECISIONS,
    all_aps,
    curve_from_samples,
    match_both,
    matches_from_samples,
    score_predictions,
)

NOTHING = build_part((), ())
SHIPS = np.array([[0, 0, 20, 20], [100, 100, 150, 150], [300, 300, 420, 420]], dtype=np.float64)  # small, medium, large
COUNTED = np.zeros(3, dtype=bool)


def cell(seed: int = 1, scenes: int = 6) -> DetectionPredictions:
    truth, found = random_scenes(seed, scenes=scenes)
    test = build_part(as_scenes(truth), whole_scenes(found), [shore_of(i) for i in range(scenes)])
    return DetectionPredictions(NOTHING, test)


def simple(scores: list[float], validation: list[float] | None = None) -> DetectionPredictions:
    """One test scene whose three ships are found with these scores, and one false box at 0.5; the same for a validation
    scene.
    """

    def part(values: list[float]) -> DetectionPredictions:
        boxes = np.concatenate([SHIPS, [[600, 600, 640, 640]]])
        found = Detections(boxes, np.array([*values, 0.5]))
        return DetectionPredictions(NOTHING, build_part(as_scenes([(SHIPS, COUNTED)]), whole_scenes([found])))

    return DetectionPredictions(part(validation).test if validation else NOTHING, part(scores).test)


def test_every_metric_is_there_and_finite_or_none() -> None:
    out = score_predictions(cell())
    levels = {
        "scene": (*APS, *BEST, *DECISIONS),
        "scene.inshore": (*APS, *BEST, *DECISIONS),
        "scene.offshore": (*APS, *BEST, *DECISIONS),
    }
    wanted = {f"{level}.{metric}" for level, metrics in levels.items() for metric in metrics} | {
        f"tile.{m}" for m in (*APS, *BEST)
    }
    assert set(out.metrics) == wanted
    assert all(value is None or 0 <= value <= 1 for value in out.metrics.values())
    json.dumps({"metrics": dict(out.metrics), "facts": dict(out.facts)}, allow_nan=False)


def test_truth_as_prediction_is_one_everywhere() -> None:
    truth, _ = random_scenes(3, scenes=6, ignored=0.0)
    found = [Detections(boxes, np.linspace(1, 0.1, len(boxes))) for boxes, _ in truth]
    part = build_part(as_scenes(truth), whole_scenes(found), [shore_of(i) for i in range(6)])
    out = score_predictions(DetectionPredictions(part, part))
    assert {
        name: value for name, value in out.metrics.items() if not name.startswith("tile.") and value not in (1.0, None)
    } == {}
    assert out.metrics["scene.ap_coco"] == out.metrics["scene.f1"] == out.metrics["scene.inshore.ap_area"] == 1.0


def test_nothing_found_is_zero_and_a_missing_size_is_none() -> None:
    empty = build_part(as_scenes([(SHIPS[:2], COUNTED[:2])]), whole_scenes([Detections.none()]))
    out = score_predictions(DetectionPredictions(empty, empty))
    assert all(
        out.metrics[f"scene.{name}"] == 0.0
        for name in ("ap_area", "ap_11pt", "ap_coco", "ap50", "ap75", "ap_small", "best_f1", "f1")
    )
    assert out.metrics["scene.ap_large"] is None and out.metrics["scene.ap50_large"] is None
    assert out.metrics["scene.precision"] is None and out.metrics["scene.recall"] == 0.0
    assert out.facts["scene.threshold"] is None and out.facts["scene.validation_f1"] == 0.0
    assert out.facts["scene.without_detection"] == 1


def test_a_set_without_ships_has_no_ap() -> None:
    none = build_part(
        as_scenes([(np.zeros((0, 4)), np.zeros(0, dtype=bool))]), whole_scenes([Detections(SHIPS, np.ones(3))])
    )
    out = score_predictions(DetectionPredictions(NOTHING, none))
    assert all(value is None for name, value in out.metrics.items() if name != "scene.best_f1_precision")
    assert out.facts["scene.ships"] == 0 and out.facts["scene.detections"] == 3
    assert all(value is None for value in score_predictions(DetectionPredictions(NOTHING, NOTHING)).metrics.values())


def test_counts() -> None:
    ignore = np.array([False, False, True])
    scenes = [(SHIPS, ignore), (SHIPS[:1], COUNTED[:1])]
    part = build_part(
        as_scenes(scenes), whole_scenes([Detections(SHIPS, np.array([0.9, 0.2, 0.4])), Detections.none()]), ["a", "b"]
    )
    facts = score_predictions(DetectionPredictions(NOTHING, part)).facts
    assert [facts[f"scene.{name}"] for name in ("scenes", "ships", "ignored", "detections", "max_detections")] == [
        2,
        3,
        1,
        3,
        3,
    ]
    assert [facts[f"scene.ships_{size}"] for size in ("small", "medium", "large")] == [2, 1, 0]
    assert [facts[f"scene.b.{name}"] for name in ("scenes", "ships", "ignored", "detections", "without_detection")] == [
        1,
        1,
        0,
        0,
        1,
    ]


def test_negative_scores_count() -> None:
    assert score_predictions(simple([-3.0, -2.0, -1.0])).facts["scene.detections"] == 4


def test_strata_are_the_scenes_of_that_stratum_alone() -> None:
    whole = cell(7)
    out = score_predictions(whole)
    truth, found = random_scenes(7, scenes=6)
    for stratum, rest in (("offshore", 0), ("inshore", 1)):
        some = build_part(as_scenes(truth[rest::2]), whole_scenes(found[rest::2]))
        alone = score_predictions(DetectionPredictions(NOTHING, some))
        for metric in (*APS, *BEST):
            assert out.metrics[f"scene.{stratum}.{metric}"] == pytest.approx(
                alone.metrics[f"scene.{metric}"], abs=1e-15
            )


def test_the_threshold_comes_from_validation() -> None:
    """On the test scene the best threshold is 0.4; validation says 0.8, where one of three ships is found."""
    out = score_predictions(simple([0.9, 0.6, 0.4], validation=[0.9, 0.85, 0.8]))
    assert out.facts["scene.threshold"] == 0.8 and out.facts["scene.validation_f1"] == 1.0
    assert (out.metrics["scene.precision"], out.metrics["scene.recall"], out.metrics["scene.f1"]) == (1.0, 1 / 3, 0.5)
    assert out.facts["scene.best_f1_threshold"] == 0.4 and out.metrics["scene.best_f1"] == pytest.approx(6 / 7)
    without = score_predictions(simple([0.9, 0.6, 0.4]))
    assert without.metrics["scene.f1"] is None and without.facts["scene.threshold"] is None
    assert without.metrics["scene.best_f1"] == out.metrics["scene.best_f1"]


def test_tiles_are_scored_apart_with_their_own_denominator() -> None:
    """A ship in the overlap of two tiles is one ship of the scene and two of the tiles; one tile finds it, the scene is
    perfect.
    """
    windows = ((0, 0, 512, 512), (0, 288, 512, 512))
    ship, shifted = np.array([[300.0, 0, 340, 40]]), np.array([[12.0, 0, 52, 40]])
    found = ScenePrediction(Detections(ship, np.ones(1)), windows, (Detections(ship, np.ones(1)), Detections.none()))
    scenes = as_scenes([(ship, COUNTED[:1])])
    part = build_part(scenes, [found], None, [[(ship, COUNTED[:1]), (shifted, COUNTED[:1])]])
    out = score_predictions(DetectionPredictions(NOTHING, part, 0.5))
    assert out.metrics["scene.ap_area"] == 1.0 and out.metrics["tile.ap_area"] == 0.5
    assert (out.facts["scene.ships"], out.facts["tile.ships"], out.facts["tile.tiles"]) == (1, 2, 2)
    whole = score_predictions(cell())
    assert whole.metrics["tile.ap_area"] is None and "tile.ships" not in whole.facts


# -- the entry's arrays ------------------------------------------------------------------------------------------------
def test_every_scene_number_comes_again_from_the_samples(tmp_path: Path) -> None:
    whole = cell(11, scenes=10)
    out = score_predictions(whole)
    save_arrays(tmp_path / "scores.npz", out.samples)
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as stored:
        samples = {name: stored[name] for name in stored.files}
    coco, voc = matches_from_samples(samples)
    for metric, value in all_aps(coco, voc).items():
        assert value == out.metrics[f"scene.{metric}"]
    inshore = (samples["stratum"] == "inshore").astype(int)
    assert all_aps(coco, voc, inshore)["ap_coco"] == out.metrics["scene.inshore.ap_coco"]
    assert curve_from_samples(samples).positives == out.facts["scene.ships"]
    direct, _ = match_both(whole.test.scene)
    assert np.array_equal(direct.tp, coco.tp) and np.array_equal(direct.ignored, coco.ignored)
    assert (
        coco.tp.shape[:2] == (len(SIZES), len(IOUS))
        and samples["coco_tp"].dtype == np.uint16
        and samples["score"].dtype == np.float64
    )


def test_a_resampling_from_the_samples_is_scoring_the_scenes_anew() -> None:
    truth, found = random_scenes(13, scenes=8)
    samples = score_predictions(
        DetectionPredictions(NOTHING, build_part(as_scenes(truth), whole_scenes(found)))
    ).samples
    rng = np.random.default_rng(0)
    for _ in range(5):
        drawn = np.sort(rng.integers(0, 8, 8))
        again = build_part(as_scenes([truth[i] for i in drawn]), whole_scenes([found[i] for i in drawn]))
        wanted = all_aps(*match_both(again.scene))
        got = all_aps(*matches_from_samples(samples), np.bincount(drawn, minlength=8))
        assert got == {
            name: value if value is None else pytest.approx(value, abs=1e-12) for name, value in wanted.items()
        }


def test_damaged_samples_are_refused() -> None:
    samples = dict(score_predictions(cell()).samples)
    with pytest.raises(BenchError, match="lack 'coco_tp'"):
        matches_from_samples({name: value for name, value in samples.items() if name != "coco_tp"})
    with pytest.raises(BenchError, match="do not fit together"):
        matches_from_samples(samples | {"voc_tp": samples["voc_tp"][1:]})
    with pytest.raises(BenchError, match="do not fit together"):
        matches_from_samples(samples | {"scene": samples["scene"] + 6})
