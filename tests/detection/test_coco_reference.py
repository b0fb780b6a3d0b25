"""COCO's APs by pycocotools: beside ours on scenes, strata and tiles, with COCO's cap and without; `bench score --coco`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluator_toys import random_scenes
from lineage_toys import MATCHING, detected, put_cell

import bench.detection.scoring.coco_reference as reference_code
from bench.cli.main import main
from bench.detection.detectors.base import Detections
from bench.detection.scoring.coco_reference import coco_aps, coco_reference
from bench.detection.scoring.evaluator import SIZES, BoxTable, ap_from_matches, match, mean_ap_from_matches
from bench.detection.scoring.predictions import load_predictions, save_predictions
from bench.detection.scoring.score import APS, score_predictions
from bench.detection.scoring.selftest import known_predictions
from bench.execution.records import PREDICTIONS
from bench.execution.task import get_task
from bench.tools.selftest import task_checks

KNOWN = {case.name: case for case in known_predictions()}
COCOS = [name for name in APS if name not in ("ap_area", "ap_11pt")]


def all_scenes(table: BoxTable) -> dict[str, np.ndarray]:
    return {"scene": np.ones(len(table), dtype=np.int64)}


# -- the numbers -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(6))
def test_equal_to_ours_on_all_scenes_and_on_some(seed: int) -> None:
    table = BoxTable.of(*random_scenes(seed, scenes=12, levels=5))
    levels = {**all_scenes(table), "some": (np.arange(len(table)) % 3 == 1).astype(np.int64)}
    ours = match(table, "coco", sizes=tuple(SIZES))
    for level, (theirs, _) in coco_aps(table, levels).items():
        for size in SIZES:
            mean, at50 = ("ap_coco", "ap50") if size == "all" else (f"ap_{size}", f"ap50_{size}")
            assert mean_ap_from_matches(ours, size, levels[level]) == pytest.approx(theirs[mean], abs=1e-9)
            assert ap_from_matches(ours, "101-point", 0.5, size, levels[level]) == pytest.approx(theirs[at50], abs=1e-9)
        assert ap_from_matches(ours, "101-point", 0.75, "all", levels[level]) == pytest.approx(theirs["ap75"], abs=1e-9)


def test_the_cap_of_100_leaves_ships_out_of_a_scene_that_holds_more() -> None:
    """120 ships in one scene, all found: with the cap the recall ends at 100/120, so that 84 of 101 points have 1."""
    left = 10.0 * np.arange(120)
    boxes = np.stack([left, 0 * left, left + 8, 0 * left + 8], axis=1)
    table = BoxTable.of([(boxes, np.zeros(120, dtype=bool))], [Detections(boxes, np.linspace(1, 0.5, 120))])
    own, capped = coco_aps(table, all_scenes(table))["scene"]
    assert own["ap_coco"] == 1.0 and capped["ap_coco"] == pytest.approx(84 / 101)
    assert own["ap_large"] is None and capped["ap_large"] is None


def test_nothing_found_is_zero_and_nothing_to_be_found_is_none() -> None:
    ship, none = np.array([[0.0, 0.0, 9.0, 9.0]]), np.zeros((0, 4))
    empty = BoxTable.of([(ship, np.array([False]))], [Detections.none()])
    assert coco_aps(empty, all_scenes(empty))["scene"][0]["ap50"] == 0.0
    for truth in ((ship, np.array([True])), (none, np.zeros(0, dtype=bool))):
        table = BoxTable.of([truth], [Detections(ship, np.ones(1))])
        assert set(coco_aps(table, all_scenes(table))["scene"][0].values()) == {None}


def test_every_ap_of_coco_of_every_level_is_compared(tmp_path: Path) -> None:
    KNOWN["false-first"].write(tmp_path)
    predictions = load_predictions(tmp_path / PREDICTIONS)
    found, ours = coco_reference(predictions), score_predictions(predictions).metrics
    levels = ("scene", "scene.inshore", "scene.offshore", "tile")
    assert list(found.metrics) == list(found.usual) and set(found.metrics) == {
        f"{a}.{b}" for a in levels for b in COCOS
    }
    assert found.name.startswith("pycocotools 2.") and found.setting == "at most 100 detections an image"
    for metric, value in found.metrics.items():
        assert value == pytest.approx(ours[metric], abs=1e-12), metric


def test_the_selftest_fails_where_pycocotools_gives_another_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although every number is as expected; and a task without a reference has none."""
    checks = list(task_checks("detection", get_task("detection")))
    compared = [check for check in checks if check.reference is not None]
    assert all(check.ok for check in checks) and len(compared) > 400
    assert {check.metric.rpartition(".")[2] for check in compared} == set(COCOS)
    assert not any(check.reference for check in task_checks("matching", get_task("matching")))
    monkeypatch.setattr(reference_code, "_mean", lambda values: 0.25)
    off = [check for check in task_checks("detection", get_task("detection")) if not check.ok]
    assert off and all(check.reference is not None and check.by_reference == 0.25 for check in off)


# -- as a user types it ------------------------------------------------------------------------------------------------
@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs folder with two finished detection cells and a matching cell."""
    for name, case in (("good", "truth"), ("worse", "false-first")):
        KNOWN[case].write(put_cell(tmp_path / "runs", detected(name, 0, [1])[0]))
    put_cell(tmp_path / "runs", MATCHING)
    return tmp_path / "runs"


def test_cells_beside_pycocotools(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--coco", "--runs", str(runs)]) == 0
    out = capsys.readouterr().out
    assert out.count("36 numbers equal to pycocotools 2.") == 2 and out.count("scene.ap_coco") == 2
    assert "at most 100 detections an image" in out and "matching" not in out
    (cell,) = (path for path in (runs / "detection").iterdir() if "worse" in path.name)
    assert main(["score", "--coco", str(cell)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    values = {metric: float(ours) for metric, ours, *_ in lines if ours != "unknown"}
    # 16 ships behind one false alarm: precision 16/17 at the last, and so at every recall
    assert len(lines) == 36 and values["scene.ap50"] == pytest.approx(16 / 17)
    for _, ours, theirs, usual in lines:
        assert ours == theirs == usual == "unknown" or float(ours) == pytest.approx(float(theirs), abs=1e-12)


def test_a_difference_and_a_damaged_file_are_reported(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in runs.glob(f"detection/*good*/{PREDICTIONS}"):
        path.write_bytes(b"damaged")
    assert main(["score", "--coco", "--runs", str(runs)]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM" in out and "damaged predictions file" in out and "36 numbers equal to" in out
    monkeypatch.setattr("bench.detection.scoring.score.mean_ap_from_matches", lambda *_: 0.5)
    assert main(["score", "--coco", "--runs", str(runs)]) == 1
    assert "36 numbers DIFFER from pycocotools" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cell,) = (runs / "matching").iterdir()
    for words, message in (
        ([str(cell)], "no finished detection cell in"),
        (["--runs", str(tmp_path / "none")], "no finished detection cell in"),
        (["--all", "--runs", str(runs)], "--coco needs predictions, which entries of boards do not hold"),
    ):
        assert main(["score", "--coco", *words]) == 2
        assert message in capsys.readouterr().err


def test_equal_scores_rank_in_the_order_of_the_scenes(tmp_path: Path) -> None:
    """Through a file that was saved and loaded; image ids of the file do not matter."""
    KNOWN["constant"].write(tmp_path)
    predictions = load_predictions(tmp_path / PREDICTIONS)
    predictions.test.image_id[:] = predictions.test.image_id[::-1].copy()
    save_predictions(tmp_path / PREDICTIONS, predictions)
    again = load_predictions(tmp_path / PREDICTIONS)
    assert coco_reference(again).metrics["scene.ap50"] == pytest.approx(score_predictions(again).metrics["scene.ap50"])
