"""Every metric for any weights of its clusters: parity with the definitions on the resampled list, and what mixing two
rows means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bench.statistics.ranked_lists
from bench.core.errors import BenchError
from bench.detection.scoring.average_precision import find_hits, interpolated_ap
from bench.matching.scoring import metrics
from bench.statistics.rankings import Ranking
from bench.statistics.resampling import Clusters, MeanOf, Ratio, Resampled


@pytest.fixture(params=["matrices", "draw by draw"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few clusters are counted with matrices, many are summed: both must give the same numbers."""
    if request.param == "draw by draw":
        monkeypatch.setattr(bench.statistics.ranked_lists, "_DENSE", 0)


def value_of(row: Resampled) -> float:
    assert row.value is not None
    return row.value


def clusters_of(count: int, size: Any = None) -> Clusters:
    return Clusters.of([f"scene {i}" for i in range(count)], np.ones(count) if size is None else size)


def ranking(rng: np.random.Generator, count: int, items: int) -> tuple[Ranking, dict[str, np.ndarray]]:
    """A random list with tied scores, ignored detections, and clusters without a detection or without a ship."""
    cluster, score = rng.integers(0, count, items), rng.integers(0, 6, items) / 5.0
    tp, ignored = rng.random(items) < 0.5, rng.random(items) < 0.15
    positives = np.bincount(cluster[tp], minlength=count) + rng.integers(0, 3, count)
    row = Ranking.average_precision(clusters_of(count), cluster, score, tp, ignored, positives)
    return row, {"cluster": cluster, "score": score, "tp": tp, "ignored": ignored, "positives": positives}


def expected_ap(parts: dict[str, np.ndarray], weight: np.ndarray) -> float | None:
    order = np.argsort(-parts["score"], kind="stable")
    of = weight[parts["cluster"]][order]
    return interpolated_ap(
        find_hits(parts["tp"][order], int(weight @ parts["positives"]), parts["ignored"][order], of), "area"
    )


@pytest.mark.usefixtures("both_ways")
def test_area_ap_is_the_evaluators_for_any_weights() -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        count = int(rng.integers(1, 9))
        row, parts = ranking(rng, count, int(rng.integers(0, 60)))
        weights = rng.integers(0, 4, (7, count))
        weights[0], weights[1] = 1, 0
        for weight, value in zip(weights, row.values(weights), strict=True):
            expected = expected_ap(parts, weight)
            assert np.isnan(value) if expected is None else abs(value - expected) < 1e-12
        assert (row.value is None) == (parts["positives"].sum() == 0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans(), st.booleans()), max_size=25),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
def test_area_ap_of_any_list(items: list[tuple[int, int, bool, bool]], weight: list[int]) -> None:
    cluster, score, tp, ignored = (np.array([item[i] for item in items]) for i in range(4))
    parts = {
        "cluster": cluster.astype(int),
        "score": score.astype(float),
        "tp": tp.astype(bool),
        "ignored": ignored.astype(bool),
    }
    parts["positives"] = np.bincount(parts["cluster"][parts["tp"]], minlength=4) + 1
    row = Ranking.average_precision(clusters_of(4), *parts.values())
    expected = expected_ap(parts, np.array(weight))
    found = float(row.values(np.array([weight]))[0])
    assert np.isnan(found) if expected is None else abs(found - expected) < 1e-12


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize(
    ("resampled", "metric"), [(Ranking.roc_auc, metrics.roc_auc), (Ranking.fpr_at_recall, metrics.fpr_at_recall)]
)
def test_curves_are_those_of_the_resampled_pairs(
    resampled: Callable[..., Ranking], metric: Callable[..., float | None]
) -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        count, items = int(rng.integers(1, 7)), int(rng.integers(0, 40))
        cluster, label = rng.integers(0, count, items), rng.random(items) < 0.4
        distance = rng.integers(0, 8, items).astype(float)
        distance[distance == 7] = np.nan
        distance[distance == 6] = np.inf
        row = resampled(clusters_of(count), cluster, distance, label)
        weights = rng.integers(0, 4, (6, count))
        weights[0] = 1
        for weight, value in zip(weights, row.values(weights), strict=True):
            again = np.repeat(np.arange(items), weight[cluster])
            expected = metric(label[again], distance[again])
            assert np.isnan(value) if expected is None else abs(value - expected) < 1e-12
        assert row.value is None or abs(row.value - (metric(label, distance) or 0)) < 1e-12


def test_fpr_at_a_recall_by_hand() -> None:
    """True pairs at 1, 2 and 3, wrong ones at 0, 2 and 9: recall 2/3 takes the wrong pair at 0 and the one tied at 2."""
    label, distance = np.array([1, 1, 1, 0, 0, 0], bool), np.array([1.0, 2, 3, 0, 2, 9])
    row = Ranking.fpr_at_recall(clusters_of(2), np.array([0, 0, 1, 0, 1, 1]), distance, label, 0.6)
    assert row.value == 2 / 3 and not row.smooth
    # without scene 1 both true pairs are needed: one wrong pair is left, and it stands before them; scene 1 alone needs 3
    np.testing.assert_array_equal(row.values(np.array([[1, 0], [0, 1], [0, 0]])), [1.0, 0.5, np.nan])
    failed = Ranking.fpr_at_recall(clusters_of(1), np.zeros(4, int), np.array([1, np.nan, 5, 6]), label[[0, 1, 3, 4]])
    assert failed.value == 1.0


def test_mixed_fpr_by_hand() -> None:
    """Scene 0 of the first row (true 0, wrong 1), scene 1 of the second (wrong 2, true 3 by place): recall 1 takes the
    wrong pairs at 1 and 2.
    """
    cluster, label = np.array([0, 0, 1, 1]), np.array([1, 0, 1, 0], bool)
    first = Ranking.fpr_at_recall(clusters_of(2), cluster, np.array([1.0, 2, 3, 4]), label, 1.0)
    second = Ranking.fpr_at_recall(clusters_of(2), cluster, np.array([10.0, 20, 40, 30]), label, 1.0)
    assert (first.value, second.value) == (0.5, 1.0)
    np.testing.assert_array_equal(first.mixed(second, np.array([[0, 0], [0, 1], [1, 0], [1, 1]])), [0.5, 1, 0.5, 1])


def test_a_ratio_is_a_ratio_of_sums() -> None:
    row = Ratio(clusters_of(3), np.array([1, 2, 0]), np.array([2, 2, 0]))
    assert row.value == 0.75
    found = row.values(np.array([[1, 0, 0], [0, 3, 1], [0, 0, 1], [2, 1, 5]]))
    np.testing.assert_array_equal(found, [0.5, 1.0, np.nan, 4 / 6])
    assert Ratio(clusters_of(1), np.zeros(1), np.zeros(1)).value is None


# -- mixing two rows ---------------------------------------------------------------------------------------------------
def some_pair(kind: str, rng: np.random.Generator) -> tuple[Resampled, Resampled]:
    clusters = clusters_of(5)
    if kind == "ratio":
        size = rng.integers(1, 9, 5)
        one, two = (Ratio(clusters, rng.integers(0, 9, 5) / 3, size) for _ in range(2))
        return one, two
    if kind == "folds":
        pairs = [some_pair(each, rng) for each in ("area AP", "area AP", "ROC AUC")]
        return MeanOf([pair[0] for pair in pairs]), MeanOf([pair[1] for pair in pairs])
    cluster, good = np.repeat(np.arange(5), 8), rng.random(40) < 0.5
    if kind in ("ROC AUC", "FPR95"):
        ranked = Ranking.roc_auc if kind == "ROC AUC" else Ranking.fpr_at_recall
        left, right = (ranked(clusters, cluster, rng.integers(0, 30, 40).astype(float), good) for _ in range(2))
        return left, right
    found = [rng.random(40) < 0.5 for _ in range(2)]
    left, right = (
        Ranking.average_precision(clusters, cluster, rng.random(40), each, None, np.full(5, 8)) for each in found
    )
    return left, right


KINDS = ("ratio", "area AP", "ROC AUC", "FPR95", "folds")


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("kind", KINDS)
def test_taking_nothing_all_or_from_itself(kind: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        one, two = some_pair(kind, rng)
        count = len(one.clusters)
        take = rng.random((6, count)) < 0.5
        take[0], take[1] = False, True
        mixed = one.mixed(two, take)
        np.testing.assert_allclose(mixed[:2], [value_of(one), value_of(two)], rtol=0, atol=1e-14)
        # swapping the roles of the rows changes nothing
        np.testing.assert_allclose(two.mixed(one, ~take), mixed, rtol=0, atol=1e-14)
        np.testing.assert_allclose(one.mixed(one, take), value_of(one), rtol=0, atol=1e-14)
        assert one.same(one).all()


@pytest.mark.parametrize("kind", KINDS)
def test_clusters_that_are_the_same_do_not_matter(kind: str) -> None:
    one, two = some_pair(kind, np.random.default_rng(4))
    for cluster in np.flatnonzero(one.same(two)):
        take = np.zeros((1, len(one.clusters)), dtype=bool)
        take[0, cluster] = True
        np.testing.assert_allclose(one.mixed(two, take), value_of(one), atol=1e-14)
    assert not one.same(two).all()


def test_a_mixed_ratio_by_hand() -> None:
    one, two = (Ratio(clusters_of(2), np.array(top), np.array([4.0, 4.0])) for top in ([4, 1], [2, 3]))
    np.testing.assert_array_equal(one.mixed(two, np.array([[0, 1], [1, 0]])), [7 / 8, 3 / 8])


def test_mixed_rankings_do_not_depend_on_the_scale_of_the_scores() -> None:
    """The second row's scores are a thousand times larger, which must not put all of its detections first."""
    rng = np.random.default_rng(5)
    cluster, tp = np.repeat(np.arange(5), 8), rng.random(40) < 0.5
    score, take = rng.random(40), rng.random((20, 5)) < 0.5
    one, two = (
        Ranking.average_precision(clusters_of(5), cluster, each, tp, None, np.full(5, 8))
        for each in (score, 1000 * score)
    )
    np.testing.assert_allclose(one.mixed(two, take), value_of(one), atol=1e-14)
    one, two = (Ranking.roc_auc(clusters_of(5), cluster, each, tp) for each in (score, np.exp(score)))
    np.testing.assert_allclose(one.mixed(two, take), value_of(one), atol=1e-14)


def test_ap_of_a_mixed_list_by_hand() -> None:
    """Scene 0 of the first row (hit at place 0, miss at 1), scene 1 of the second (miss at 0, hit at 2): + - - + at 0 0
    1 2.
    """
    first = Ranking.average_precision(
        clusters_of(2), np.array([0, 0, 1]), np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]), None, np.ones(2)
    )
    second = Ranking.average_precision(
        clusters_of(2), np.array([1, 0, 1]), np.array([9.0, 8, 7]), np.array([0, 1, 1]), None, np.ones(2)
    )
    np.testing.assert_allclose(first.mixed(second, np.array([[False, True]])), (1 + 2 / 4) / 2)


# -- folds -------------------------------------------------------------------------------------------------------------
def test_folds_are_averaged_and_are_strata() -> None:
    parts = [
        Ratio(clusters_of(2), np.array([1, 0]), np.ones(2)),
        Ratio(clusters_of(3), np.array([1, 1, 1]), np.ones(3)),
    ]
    mean = MeanOf(parts)
    assert mean.value == 0.75
    assert mean.clusters.stratum.tolist() == [0, 0, 1, 1, 1]
    found = mean.values(np.array([[2, 0, 1, 1, 1], [0, 2, 1, 0, 0], [0, 0, 1, 1, 1]]))
    np.testing.assert_array_equal(found, [1.0, 0.5, np.nan])  # a fold without anything drawn leaves the mean undefined
    nested = MeanOf([mean, parts[0]])
    assert nested.clusters.stratum.tolist() == [0, 0, 1, 1, 1, 2, 2]


# -- bad input ---------------------------------------------------------------------------------------------------------
def test_clusters_refuse_what_cannot_be_resampled() -> None:
    for names, size in ((["a", "a"], [1, 1]), ([], []), (["a"], [1, 2]), (["a"], [-1]), (["a"], [np.nan])):
        with pytest.raises(BenchError):
            Clusters.of(names, size)
    assert Clusters.of(["a", "b"], [0, 0]).effective == 0.0
    assert Clusters.of(["a", "b"], [5, 5]).effective == 2.0


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("expected one row an item", lambda c: Ranking.roc_auc(c, np.zeros(2, int), np.zeros(3), np.zeros(3, bool))),
        ("belongs to cluster 7", lambda c: Ranking.roc_auc(c, np.array([7]), np.zeros(1), np.zeros(1, bool))),
        (
            "more true positives",
            lambda c: Ranking.average_precision(c, np.zeros(1, int), np.zeros(1), np.ones(1, bool), None, np.zeros(2)),
        ),
        (
            "NaN",
            lambda c: Ranking.average_precision(
                c, np.zeros(1, int), np.full(1, np.nan), np.ones(1, bool), None, np.ones(2)
            ),
        ),
        (
            "positives of shape",
            lambda c: Ranking.average_precision(c, np.zeros(1, int), np.ones(1), np.ones(1, bool), None, np.ones(3)),
        ),
        ("sums of shape", lambda c: Ratio(c, np.zeros(3), np.zeros(2))),
        ("negative", lambda c: Ratio(c, np.zeros(2), -np.ones(2))),
        ("mean of no results", lambda c: MeanOf([])),
    ],
)
def test_arrays_that_do_not_fit_are_refused(words: str, make: Any) -> None:
    with pytest.raises(BenchError, match=words):
        make(clusters_of(2))


def test_rows_that_cannot_be_compared_are_refused() -> None:
    one = Ratio(clusters_of(2), np.ones(2), np.ones(2))
    renamed = Ratio(Clusters.of(["scene 1", "scene 0"], np.ones(2)), np.ones(2), np.ones(2))
    ranked = Ranking.roc_auc(clusters_of(2), np.zeros(1, int), np.zeros(1), np.zeros(1, bool))
    take = np.zeros((1, 2), dtype=bool)
    with pytest.raises(BenchError, match="not measured on the same clusters"):
        one.mixed(renamed, take)
    with pytest.raises(BenchError, match="two different metrics"):
        one.mixed(ranked, take)
    with pytest.raises(BenchError, match="one column a cluster"):
        one.mixed(one, take[:, :1])
    with pytest.raises(BenchError, match="one column a cluster"):
        one.values(np.ones(2))
    ships = [
        Ranking.average_precision(clusters_of(1), np.zeros(0, int), np.zeros(0), np.zeros(0, bool), None, np.array([n]))
        for n in (1, 2)
    ]
    with pytest.raises(BenchError, match="same ships"):
        ships[0].mixed(ships[1], take[:, :1])
    with pytest.raises(BenchError, match="folds"):
        MeanOf([MeanOf([one, one])]).mixed(MeanOf([one, one]), np.zeros((1, 4)))
