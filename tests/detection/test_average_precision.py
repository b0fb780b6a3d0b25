"""The three numbers called AP, the curve and F1: known answers, exactness at both ends, and what must hold for any
ranking.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.detection.scoring.average_precision import (
    Interpolation,
    average_precision,
    best_decision,
    decide,
    find_hits,
    interpolated_ap,
    precision_recall,
)

KINDS = get_args(Interpolation)
rankings = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=40)


def ap(hits: str, positives: int, kind: Interpolation) -> float | None:
    """AP of a ranking written as "+-+": found, false, found."""
    return average_precision(
        np.array([c == "+" for c in hits], dtype=bool), -np.arange(float(len(hits))), positives, kind
    )


def test_known_answers() -> None:
    """Four ships, ranking + - + - -: precision 1 up to recall 1/4, 2/3 up to 1/2, 0 beyond."""
    assert ap("+-+--", 4, "area") == pytest.approx((1 + 2 / 3) / 4, abs=1e-15)
    # recalls 0, .1, .2 and .3, .4, .5
    assert ap("+-+--", 4, "11-point") == pytest.approx((3 * 1 + 3 * 2 / 3) / 11, abs=1e-15)
    # 0 to .25 and .26 to .50
    assert ap("+-+--", 4, "101-point") == pytest.approx((26 * 1 + 25 * 2 / 3) / 101, abs=1e-15)


def test_precision_is_interpolated_from_the_right() -> None:
    assert ap("-++", 2, "area") == pytest.approx(2 / 3, abs=1e-15)
    assert ap("-++", 2, "11-point") == pytest.approx(2 / 3, abs=1e-15)
    assert ap("-++", 2, "101-point") == pytest.approx(2 / 3, abs=1e-15)


def test_11_point_recall_that_is_met_exactly_counts() -> None:
    """3 of 10 ships reach the recall 0.3, which 0.1 * 3 = 0.30000000000000004 would miss."""
    assert ap("+++", 10, "11-point") == pytest.approx(4 / 11, abs=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ships", [1, 2, 3, 7, 49, 125, 461, 3400])
def test_a_perfect_ranking_is_exactly_one(kind: Interpolation, ships: int) -> None:
    assert ap("+" * ships, ships, kind) == 1.0
    assert ap("+" * ships + "-" * 5, ships, kind) == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_found_is_zero_and_nothing_to_find_is_none(kind: Interpolation) -> None:
    assert ap("", 5, kind) == 0.0
    assert ap("---", 5, kind) == 0.0
    assert ap("", 0, kind) is None
    assert ap("---", 0, kind) is None


def test_bad_input() -> None:
    with pytest.raises(BenchError, match="shape"):
        average_precision(np.ones(2, dtype=bool), np.ones(3), 4)
    with pytest.raises(BenchError, match="NaN"):
        average_precision(np.ones(2, dtype=bool), np.array([1.0, np.nan]), 4)
    with pytest.raises(BenchError, match="2 true positives among 1"):
        average_precision(np.ones(2, dtype=bool), np.ones(2), 1)
    with pytest.raises(BenchError, match="unknown interpolation"):
        average_precision(np.ones(2, dtype=bool), np.ones(2), 2, "trapezes")  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(ranking=rankings, missed=st.integers(0, 5))
def test_between_zero_and_one_and_no_gain_by_a_late_false_positive(
    ranking: list[tuple[bool, int]], missed: int
) -> None:
    tp, score = np.array([hit for hit, _ in ranking], dtype=bool), np.array([float(s) for _, s in ranking])
    positives = int(tp.sum()) + missed
    for kind in KINDS:
        value = average_precision(tp, score, positives, kind)
        more = average_precision(np.append(tp, False), np.append(score, -1.0), positives, kind)
        if not positives:
            assert value is None and more is None
        else:
            assert value is not None and 0 <= value <= 1
            assert more == value  # below all scores it changes no interpolated precision at any hit


@settings(max_examples=150, deadline=None)
@given(ranking=rankings, missed=st.integers(0, 5), data=st.data())
def test_a_false_positive_anywhere_never_raises_ap_and_a_hit_never_lowers_it(
    ranking: list[tuple[bool, int]], missed: int, data: st.DataObject
) -> None:
    tp = np.array([hit for hit, _ in ranking], dtype=bool)
    positives, at = int(tp.sum()) + missed + 1, data.draw(st.integers(0, len(tp)))
    for kind in KINDS:
        value = interpolated_ap(find_hits(tp, positives), kind)
        worse = interpolated_ap(find_hits(np.insert(tp, at, False), positives), kind)
        better = interpolated_ap(find_hits(np.insert(tp, at, True), positives), kind)
        assert value is not None and worse is not None and better is not None
        assert worse <= value + 1e-12 and better >= value - 1e-12


@settings(max_examples=150, deadline=None)
@given(
    ranking=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), max_size=30), missed=st.integers(0, 3)
)
def test_a_weight_is_as_many_neighbours_and_an_ignored_detection_is_none(
    ranking: list[tuple[bool, bool, int]], missed: int
) -> None:
    tp, ignored = (np.array([entry[i] for entry in ranking], dtype=bool) for i in (0, 1))
    weight = np.array([entry[2] for entry in ranking], dtype=np.int64)
    plain = np.repeat(tp & ~ignored, weight)[np.repeat(~ignored, weight)]
    positives = int((weight * (tp & ~ignored)).sum()) + missed
    one, other = find_hits(tp, positives, ignored, weight), find_hits(plain, positives)
    for kind in KINDS:
        assert interpolated_ap(one, kind) == pytest.approx(interpolated_ap(other, kind), abs=1e-12)


# -- the curve ---------------------------------------------------------------------------------------------------------
def test_curve_accepts_equal_scores_together() -> None:
    curve = precision_recall(np.array([True, False, True, False]), np.array([0.9, 0.5, 0.5, 0.1]), 4)
    assert curve.threshold.tolist() == [0.9, 0.5, 0.1]
    assert curve.tp.tolist() == [1, 2, 2] and curve.fp.tolist() == [0, 1, 2]
    assert curve.recall is not None and curve.recall.tolist() == [0.25, 0.5, 0.5]
    assert curve.precision.tolist() == [1.0, 2 / 3, 0.5]


def test_best_f1_and_its_threshold() -> None:
    curve = precision_recall(np.array([True, True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.6, 0.5]), 3)
    best = best_decision(curve)
    assert (best.threshold, best.precision, best.recall) == (0.6, 0.75, 1.0)
    assert best.f1 == pytest.approx(6 / 7, abs=1e-15)
    assert decide(curve, 0.6) == best
    assert decide(curve, 0.61).threshold == 0.61 and decide(curve, 0.61).recall == pytest.approx(2 / 3)


def test_the_strictest_of_equally_good_thresholds() -> None:
    curve = precision_recall(np.array([True, False, False, True]), np.array([0.9, 0.8, 0.7, 0.6]), 2)
    assert curve.tp[0] == 1 and best_decision(curve).threshold == 0.9  # F1 is 2/3 at 0.9 and at 0.6


def test_decisions_at_both_ends() -> None:
    curve = precision_recall(np.array([False, False]), np.array([0.9, 0.8]), 3)
    best = best_decision(curve)
    assert (best.threshold, best.precision, best.recall, best.f1) == (None, None, 0.0, 0.0)
    assert decide(curve, 0.8).precision == 0.0
    nothing = precision_recall(np.zeros(0, dtype=bool), np.zeros(0), 3)
    assert best_decision(nothing).f1 == 0.0 and decide(nothing, 0.5).precision is None
    empty = precision_recall(np.array([False]), np.array([0.5]), 0)
    assert empty.recall is None and best_decision(empty).f1 is None and decide(empty, 0.5).precision == 0.0


@settings(max_examples=100, deadline=None)
@given(ranking=rankings, missed=st.integers(0, 4))
def test_best_f1_is_the_best_over_all_thresholds(ranking: list[tuple[bool, int]], missed: int) -> None:
    ranking = sorted(ranking, key=lambda entry: -entry[1])
    tp, score = np.array([hit for hit, _ in ranking], dtype=bool), np.array([float(s) for _, s in ranking])
    positives = int(tp.sum()) + missed
    best = best_decision(precision_recall(tp, score, positives))
    tried = []
    for threshold in set(score.tolist()):
        accepted = score >= threshold
        tried.append(2 * int((tp & accepted).sum()) / (int(accepted.sum()) + positives) if positives else 0.0)
    assert (best.f1 or 0.0) == pytest.approx(max(tried, default=0.0), abs=1e-15)
