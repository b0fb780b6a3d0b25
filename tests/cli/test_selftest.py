"""`bench selftest`: every metric is covered, the numbers come out, and a metric that is broken on purpose is found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Bench

import bench.detection.scoring.average_precision as ap
import bench.detection.scoring.evaluator as evaluator
import bench.detection.scoring.score as ship_scoring
import bench.matching.scoring.expected as pair_selftest
import bench.matching.scoring.metrics as metrics
import bench.matching.scoring.predictions as predictions
import bench.matching.scoring.resampled as evidence
import bench.matching.scoring.score as pair_scoring
import bench.statistics.inference as statistics
import bench.statistics.rankings as resampling
from bench.cli.main import main
from bench.execution.known_answers import Expected
from bench.execution.task import get_task
from bench.matching.scoring.metrics import Ranks
from bench.matching.scoring.retrieval import Retrieval, retrieval_from_matrix
from bench.tools.selftest import COVERED, Check, statistics_checks, task_checks


def failing(checks: Any) -> Check | None:
    """Return the first check that fails."""
    return next((check for check in checks if not check.ok), None)


# -- as a user types it ------------------------------------------------------------------------------------------------
def test_everything_comes_out_as_expected(bench: Bench) -> None:
    out = bench("selftest").stdout
    assert "FAILED" not in out and "(covered)" in out
    for task, prediction in (("matching", "truth"), ("detection", "empty"), ("statistics", "identical")):
        assert any(line.split()[:2] == [task, prediction] for line in out.splitlines()), (task, prediction)
    assert bench.files() == []


def test_all_prints_every_number_with_its_derivation(bench: Bench) -> None:
    out = bench("selftest", "detection", "--all").stdout
    assert "statistics" not in out and "matching" not in out
    (line,) = [line for line in out.splitlines() if line.split()[:3] == ["detection", "half", "scene.ap_11pt"]]
    assert line.split()[3:6] == [f"{6 / 11:.15g}", f"{6 / 11:.15g}", "ok"]
    assert "unknown task 'detektion'; nearest: detection" in bench.error("selftest", "detektion")


def test_it_needs_neither_torch_nor_mmdet_nor_data() -> None:
    code = "import sys; from bench.cli.main import main; code = main(['selftest'])"
    code += "; print(sorted({'torch', 'mmdet', 'sklearn'} & set(sys.modules)), code)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


@pytest.mark.parametrize("name", ["matching", "detection"])
def test_every_metric_that_a_task_reports_is_expected_to_be_some_number(name: str) -> None:
    cases = get_task(name).selftest()
    reported, facts, covered = set(), set(), set()
    for case in cases:
        assert case.score is not None
        scores = case.score()
        reported |= set(scores.metrics)
        facts |= set(scores.facts)
        covered |= {metric for metric, expected in case.expected.items() if expected.value is not None}
    assert covered - facts == reported


def test_a_metric_without_a_known_number_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    score = pair_scoring.score_predictions

    def more(given: Any) -> Any:
        scores = score(given)
        return replace(scores, metrics={**scores.metrics, "uniform.brier": 0.25})

    monkeypatch.setattr("bench.matching.scoring.expected.score_predictions", more)
    monkeypatch.setattr("bench.matching.scoring.score.score_predictions", more)
    failed = [check for check in task_checks("matching", get_task("matching")) if not check.ok]
    assert {check.prediction for check in failed} == {COVERED} and failed[0].metric == "uniform.brier"


def test_a_failure_is_shown_with_both_numbers_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics, "average_precision", lambda label, distance: 0.75)
    assert main(["selftest", "matching"]) == 1
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "uniform.average_precision" in line)
    assert line.split()[:6] == ["matching", "truth", "uniform.average_precision", "1", "0.75", "FAILED"]
    assert "FAILED" in out.splitlines()[-1] and "hard.roc_auc" not in out


def test_a_task_without_known_predictions_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.matching.task import MatchingTask

    monkeypatch.delattr(MatchingTask, "selftest")  # what is left is the default of every task
    assert main(["selftest", "matching"]) == 0
    assert "matching: the task has no selftest" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("expected", "got", "ok"),
    [(1.0, 1.0, True), (1.0, 1 - 1e-13, True), (1.0, 1 - 1e-11, False), (None, None, True), (None, 0.0, False), (0.0, None, False)]
    + [(1.0, float("nan"), False), (1.0, "no such metric", False), (None, "no such metric", False)],
)  # fmt: skip
def test_a_check_is_strict(expected: float | None, got: Any, ok: bool) -> None:
    assert Check("", "", "", "", Expected(expected, ""), got).ok is ok


# -- broken on purpose -------------------------------------------------------------------------------------------------
def _optimistic_auc(label: np.ndarray, distance: np.ndarray) -> float:
    """Ties count in full."""
    return float(np.mean(distance[label][:, None] <= distance[~label][None, :]))


def _strict_confusion(label: np.ndarray, distance: np.ndarray, threshold: float) -> dict[str, int]:
    """Below the threshold instead of up to it."""
    match = np.isfinite(distance) & (distance < threshold)
    tp, fp = int((match & label).sum()), int((match & ~label).sum())
    return {"tp": tp, "fp": fp, "tn": int((~label).sum()) - fp, "fn": int(label.sum()) - tp}


def _forgiving_clean(label: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Failures vanish instead of counting against the method."""
    good = np.isfinite(distance)
    return np.asarray(label)[good], np.asarray(distance, dtype=np.float64)[good], int((~good).sum())


def _optimistic_ranks(ranks: Ranks, k: int) -> np.ndarray:
    """Ties rank behind the partner."""
    return (ranks.better < k).astype(float)


def _later_recall(label: np.ndarray, distance: np.ndarray, recall: float = 0.95) -> float | None:
    """More than 95 % instead of at least."""
    return ORIGINAL["fpr"](label, distance, recall + 1e-9)


def _turned(distance: np.ndarray, exclude: Any = None) -> Retrieval:
    """The two directions change places."""
    found = ORIGINAL["matrix"](distance, exclude)
    return Retrieval(found.optical_to_sar, found.sar_to_optical)


def _half_precision(path: Path, given: Any) -> None:
    """The file keeps less than was scored."""
    test = replace(given.test, distance=(given.test.distance / 3).astype(np.float16).astype(np.float32))
    ORIGINAL["save"](path, replace(given, test=test))


ORIGINAL: dict[str, Callable[..., Any]] = {
    "fpr": metrics.fpr_at_recall,
    "matrix": retrieval_from_matrix,
    "save": predictions.save_predictions,
    "match": evaluator.match,
    "ap": ap.interpolated_ap,
    "threshold": metrics.choose_threshold,
    "decide": ap.decide,
    "resampled_ap": resampling.Ranking.average_precision,
    "analyse": statistics.analyse,
    "compare": statistics.compare,
}
PAIRS: dict[str, tuple[Any, str, Any]] = {
    "AUC counts ties in full": (metrics, "roc_auc", _optimistic_auc),
    "AP off by a millionth": (metrics, "average_precision", lambda label, distance: 1 - 1e-6),
    "decision < instead of <=": (metrics, "confusion", _strict_confusion),
    "failures dropped": (metrics, "clean", _forgiving_clean),
    "FPR at more than 95 %": (metrics, "fpr_at_recall", _later_recall),
    "recall@k with ties behind": (metrics, "found_within", _optimistic_ranks),
    "recall@(k - 1)": (metrics, "recall_at_k", lambda ranks, k: float(np.mean(ranks.better + 1 < k))),
    "MRR of the mean rank": (metrics, "reciprocal_ranks", lambda ranks: 1 / ranks.mean_rank),
    "threshold of the test": (pair_scoring, "choose_threshold", lambda label, distance: float(np.nanmax(distance))),
    "threshold moved": (
        pair_scoring,
        "choose_threshold",
        lambda label, distance: ORIGINAL["threshold"](label, distance) + 0.5,
    ),
    "directions swapped": (pair_scoring, "retrieval_from_matrix", _turned),
    "kinds of negatives swapped": (pair_scoring, "KINDS", {"uniform": 2, "hard": 1}),
    "overlaps stay in the gallery": (pair_scoring, "overlap_mask", lambda places: None),
    "the file keeps less": (pair_selftest, "save_predictions", _half_precision),
    "resampling sees other queries": (evidence, "found_within", _optimistic_ranks),
}


@pytest.mark.parametrize("what", PAIRS)
def test_a_broken_metric_of_matching_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*PAIRS[what])
    assert failing(task_checks("matching", get_task("matching"))) is not None


def _stricter_match(table: Any, rule: Any, ious: Any = evaluator.IOUS, *rest: Any, **named: Any) -> Any:
    """More than the IoU threshold instead of at least."""
    found = ORIGINAL["match"](table, rule, [iou + 1e-9 for iou in ious], *rest, **named)
    return replace(found, ious=tuple(ious))


def _plain_ap(hits: ap.Hits, interpolation: ap.Interpolation) -> float | None:
    """Precision as it is, not the best one from there on."""
    if interpolation != "area" or not hits.positives:
        return ORIGINAL["ap"](hits, interpolation)
    return float(np.sum(np.diff(hits.tp, prepend=0) * hits.tp / hits.accepted) / hits.positives)


def _ap_above(hits: ap.Hits, interpolation: ap.Interpolation) -> float | None:
    """Recalls above, not at or above, each step."""
    if interpolation == "area" or not hits.positives:
        return ORIGINAL["ap"](hits, interpolation)
    steps = 10 if interpolation == "11-point" else 100
    first = np.searchsorted(steps * hits.tp, np.arange(steps + 1) * hits.positives, side="right")
    return float(np.append(hits.precision, 0.0)[first].mean())


def _all_may_take(found: np.ndarray, truth: np.ndarray, shared: np.ndarray, truths: int) -> np.ndarray:
    """A ship may be found any number of times."""
    return np.flatnonzero(np.diff(found, prepend=-1) > 0)


def _above(curve: ap.Curve, threshold: float | None) -> ap.Decision:
    """Scores above the threshold instead of from it on."""
    return ORIGINAL["decide"](curve, None if threshold is None else float(np.nextafter(threshold, np.inf)))


def _nothing_ignored(table: Any, *rest: Any, **named: Any) -> Any:
    """What is to be ignored counts as a ship."""
    return ORIGINAL["match"](replace(table, truth_ignore=np.zeros_like(table.truth_ignore)), *rest, **named)


def _latest_first(table: Any, *rest: Any, **named: Any) -> Any:
    """Equal scores rank last come, first served."""
    rising = table.score + 1e-9 * np.arange(len(table.score))
    return ORIGINAL["match"](replace(table, score=rising), *rest[:3])  # without the pairs, which are ranked already


def _by_place(clusters: Any, cluster: Any, score: np.ndarray, *rest: Any) -> Any:
    """Ranked as they stand in the arrays, whatever the scores."""
    return ORIGINAL["resampled_ap"](
        clusters, cluster[::-1], np.zeros_like(score), *(each[::-1] for each in rest[:2]), rest[2]
    )


SHIPS: dict[str, tuple[Any, str, Any]] = {
    "IoU > instead of >=": (ship_scoring, "match", _stricter_match),
    "AP not interpolated": (evaluator, "interpolated_ap", _plain_ap),
    "AP at recalls above": (evaluator, "interpolated_ap", _ap_above),
    "AP off by a millionth": (evaluator, "interpolated_ap", lambda hits, kind: 1 - 1e-6),
    "AP 0 becomes unknown": (evaluator, "interpolated_ap", lambda hits, kind: ORIGINAL["ap"](hits, kind) or None),
    "duplicates are hits": (evaluator, "_take_turns", _all_may_take),
    "other sizes": (evaluator, "SIZES", {**evaluator.SIZES, "small": (0.0, 64.0**2)}),
    "AP of the first threshold": (
        ship_scoring,
        "mean_ap_from_matches",
        lambda m, *rest: evaluator.ap_from_matches(m, "101-point", 0.5, *rest),
    ),
    "score > instead of >=": (ship_scoring, "decide", _above),
    "threshold of the test": (ship_scoring, "decide", lambda curve, threshold: ap.best_decision(curve)),
    "nothing ignored": (ship_scoring, "match", _nothing_ignored),
    "ties the other way round": (ship_scoring, "match", _latest_first),
    "strata are the whole": (evaluator.Matches, "of", lambda matches, scenes: matches),
    "resampling ranks by place": (resampling.Ranking, "average_precision", staticmethod(_by_place)),
}


@pytest.mark.parametrize("what", SHIPS)
def test_a_broken_metric_of_detection_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*SHIPS[what])
    assert failing(task_checks("detection", get_task("detection"))) is not None


def _changed(**changes: Callable[[float], float]) -> Callable[..., Any]:
    """Return an `analyse` whose differences come out otherwise."""

    def analyse(rows: Any, reference: int | None) -> Any:
        found = ORIGINAL["analyse"](rows, reference)
        other = [
            each and replace(each, **{name: change(getattr(each, name)) for name, change in changes.items()})
            for each in found.differences
        ]
        return replace(found, differences=tuple(other))

    return analyse


STATISTICS: dict[str, tuple[str, Any]] = {
    "everything is marked": ("holm", lambda p, level=0.05: [value is not None for value in p]),
    "nothing is marked": ("holm", lambda p, level=0.05: [False] * len(p)),
    "the sign is turned": ("analyse", _changed(value=lambda value: -value)),
    "one side of the test": ("analyse", _changed(p=lambda p: p / 2)),
    "rows exchanged": ("compare", lambda a, b: ORIGINAL["compare"](b, a)),
    "tiers by position": (
        "analyse",
        lambda rows, reference: replace(ORIGINAL["analyse"](rows, reference), tiers=(1, 2)[: len(rows)]),
    ),
}


@pytest.mark.parametrize("what", STATISTICS)
def test_broken_statistics_are_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, *STATISTICS[what])
    assert failing(statistics_checks()) is not None
