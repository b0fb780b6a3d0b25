"""Pair metrics against scikit-learn, against brute force, and on known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from bench.core.errors import BenchError
from bench.matching.scoring import metrics

POSITIVES_FIRST = np.array([True] * 50 + [False] * 50)


def draw(seed: int, n: int = 300, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.random(n) < 0.4
    distance = rng.normal(size=n) - label
    return label, np.round(distance * levels) / levels if levels else distance


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [None, 2])
def test_parity_with_scikit_learn(seed: int, levels: int | None) -> None:
    label, distance = draw(seed, levels=levels)
    assert metrics.roc_auc(label, distance) == pytest.approx(reference.roc_auc_score(label, -distance), abs=1e-12)
    assert metrics.average_precision(label, distance) == pytest.approx(
        reference.average_precision_score(label, -distance), abs=1e-12
    )
    fpr, tpr, thresholds = reference.roc_curve(label, -distance, drop_intermediate=False)
    for got, expected in zip(metrics.roc_curve(label, distance), (fpr, tpr, -thresholds), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)
    precision, recall, at = reference.precision_recall_curve(label, -distance)
    ours = metrics.pr_curve(label, distance)
    np.testing.assert_allclose(ours[0], precision[:-1][::-1], atol=1e-12)
    np.testing.assert_allclose(ours[1], recall[:-1][::-1], atol=1e-12)
    np.testing.assert_allclose(ours[2], -at[::-1], atol=1e-12)
    for threshold in (-1.0, 0.0, 0.5):
        decided, said = metrics.decision_metrics(label, distance, threshold), distance <= threshold
        assert decided["accuracy"] == pytest.approx(reference.accuracy_score(label, said), abs=1e-12)
        assert decided["precision"] == pytest.approx(reference.precision_score(label, said), abs=1e-12)
        assert decided["recall"] == pytest.approx(reference.recall_score(label, said), abs=1e-12)
        assert decided["f1"] == pytest.approx(reference.f1_score(label, said), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 1.0, 1.5, 7.0, np.inf, np.nan])), min_size=1, max_size=40
    )
)
def test_parity_with_brute_force(rows: list[tuple[bool, float]]) -> None:
    label = np.array([r[0] for r in rows])
    distance = np.array([r[1] for r in rows])
    ranked = np.where(np.isfinite(distance), distance, np.inf)
    positive, negative = ranked[label], ranked[~label]
    auc, fpr95 = metrics.roc_auc(label, distance), metrics.fpr_at_recall(label, distance)
    if not len(positive) or not len(negative):
        assert auc is None and fpr95 is None
        return
    wins = [(p < n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auc == pytest.approx(np.mean(wins), abs=1e-12)
    finite = [t for t in np.unique(ranked) if np.isfinite(t) and (positive <= t).mean() >= 0.95]
    assert fpr95 == pytest.approx(min([(negative <= t).mean() for t in finite], default=1.0), abs=1e-12)
    assert metrics.pair_metrics(label, distance)["failures"] == int((~np.isfinite(distance)).sum())
    if np.isfinite(ranked).any():
        chosen = metrics.choose_threshold(label, distance)
        best = max((((ranked <= t) & np.isfinite(ranked)) == label).mean() for t in [-1.0, *np.unique(ranked)])
        assert metrics.decision_metrics(label, distance, chosen)["accuracy"] == pytest.approx(best, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_curves_depend_on_order_alone(seed: int) -> None:
    label, distance = draw(seed, n=60)
    label[:2] = True, False
    order = np.random.default_rng(seed).permutation(60)
    for metric in (metrics.roc_auc, metrics.average_precision, metrics.fpr_at_recall):
        ranked = np.searchsorted(np.sort(distance), distance) ** 3.0
        assert metric(label, distance) == pytest.approx(metric(label[order], ranked[order]), abs=1e-12)


def test_perfect_predictions() -> None:
    distance = np.where(POSITIVES_FIRST, 0.1, 0.9)
    threshold = metrics.choose_threshold(POSITIVES_FIRST, distance)
    assert threshold == pytest.approx(0.5)
    got = metrics.pair_metrics(POSITIVES_FIRST, distance, threshold)
    assert got == {
        "pairs": 100, "positives": 50, "failures": 0, "roc_auc": 1.0, "average_precision": 1.0, "fpr95": 0.0,
        "accuracy": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0, "threshold": 0.5,
    }  # fmt: skip


def test_reversed_predictions() -> None:
    got = metrics.pair_metrics(POSITIVES_FIRST, np.where(POSITIVES_FIRST, 0.9, 0.1), 0.5)
    assert (got["roc_auc"], got["fpr95"], got["accuracy"], got["precision"], got["recall"], got["f1"]) == (
        0.0,
        1.0,
        0.0,
        0.0,
        0.0,
        0.0,
    )


def test_empty_and_one_class_are_none_not_zero() -> None:
    nothing = metrics.pair_metrics(np.zeros(0, dtype=bool), np.zeros(0), 0.5)
    assert nothing["pairs"] == 0
    assert all(
        nothing[k] is None for k in ("roc_auc", "average_precision", "fpr95", "accuracy", "precision", "recall", "f1")
    )
    no_positive = metrics.pair_metrics(np.zeros(4, dtype=bool), np.arange(4.0), 1.0)
    assert all(no_positive[k] is None for k in ("roc_auc", "average_precision", "fpr95", "recall", "f1"))
    assert no_positive["accuracy"] == 0.5 and no_positive["precision"] == 0.0
    nothing_said = metrics.decision_metrics(POSITIVES_FIRST, np.ones(100), 0.5)
    assert nothing_said == {"accuracy": 0.5, "precision": None, "recall": 0.0, "f1": 0.0}
    assert [
        len(a)
        for a in (
            *metrics.roc_curve(POSITIVES_FIRST[:3], np.ones(3)),
            *metrics.pr_curve(~POSITIVES_FIRST[:3], np.ones(3)),
        )
    ] == [0] * 6


def test_constant_predictions_are_chance() -> None:
    got = metrics.pair_metrics(POSITIVES_FIRST, np.full(100, 0.3), 0.3)
    assert (got["roc_auc"], got["average_precision"], got["fpr95"], got["accuracy"], got["recall"]) == (
        0.5,
        0.5,
        1.0,
        0.5,
        1.0,
    )
    assert metrics.decision_metrics(POSITIVES_FIRST, np.full(100, 0.3), 0.29)["precision"] is None


def test_shuffled_predictions_are_near_chance() -> None:
    rng = np.random.default_rng(0)
    label = np.arange(20_000) % 2 == 0
    got = metrics.pair_metrics(label, rng.random(20_000), 0.5)
    assert got["roc_auc"] == pytest.approx(0.5, abs=0.02) and got["fpr95"] == pytest.approx(0.95, abs=0.02)
    assert got["accuracy"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_failures_are_never_a_match_and_are_counted(bad: float) -> None:
    distance = np.where(POSITIVES_FIRST, 0.1, 0.9)
    distance[:10] = bad
    got = metrics.pair_metrics(POSITIVES_FIRST, distance, np.inf)
    assert (got["failures"], got["recall"], got["fpr95"]) == (10, 0.8, 1.0)
    assert got["roc_auc"] == pytest.approx(0.8)
    assert metrics.pair_metrics(POSITIVES_FIRST, np.full(100, bad), 1.0)["roc_auc"] == 0.5


def test_threshold_choice_is_stated_and_deterministic() -> None:
    label = np.array([True, True, False, False])
    assert metrics.choose_threshold(label, np.array([0.0, 1.0, 3.0, 4.0])) == 2.0
    # equally good cuts at 0.5 (gap 1) and 4.0 (gap 2): the wider gap wins, in any order of the rows
    label = np.array([True, False, True, False])
    distance = np.array([0.0, 1.0, 3.0, 5.0])
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        assert metrics.choose_threshold(label[order], distance[order]) == 4.0
    # nothing is worth accepting: just below the smallest distance
    assert metrics.choose_threshold(np.array([True, False, False]), np.zeros(3)) < 0.0
    near = np.nextafter(1.0, 2.0)
    chosen = metrics.choose_threshold(np.array([True, False]), np.array([1.0, near]))
    assert 1.0 <= chosen < near
    skewed = np.array([True] * 2 + [False] * 20)
    ranked = np.concatenate([[0.0, 1.5], np.arange(1.0, 21.0)])
    assert metrics.choose_threshold(skewed, ranked) == 0.5
    assert metrics.choose_threshold(skewed, ranked, "balanced_accuracy") == 1.75
    assert metrics.choose_threshold(skewed, ranked, "f1") == 1.75


def test_bad_input_is_told() -> None:
    with pytest.raises(BenchError, match="matching and non-matching validation pairs"):
        metrics.choose_threshold(np.ones(3, dtype=bool), np.arange(3.0))
    with pytest.raises(BenchError, match="every validation distance"):
        metrics.choose_threshold(np.array([True, False]), np.full(2, np.nan))
    with pytest.raises(BenchError, match="unknown criterion"):
        metrics.choose_threshold(np.array([True, False]), np.arange(2.0), "precison")  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="shape"):
        metrics.roc_auc(np.ones(3, dtype=bool), np.ones(4))
    with pytest.raises(BenchError, match="0 or 1"):
        metrics.roc_auc(np.array([0, 2]), np.ones(2))
