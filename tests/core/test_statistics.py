"""Estimates, paired differences and the swap test: known answers, brute force, and what must never happen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import cauchy
from scipy.stats import t as student

from bench.core.errors import BenchError
from bench.statistics.families import holm
from bench.statistics.inference import MetricRow, analyse, compare, estimate
from bench.statistics.intervals import (
    Scatter,
    cluster_error,
    cluster_parts,
    combine,
    difference_interval,
    drawn_error,
    plain_share_interval,
    seed_error,
    share_interval,
    smallest_found,
    student_closed,
    swap_p,
)
from bench.statistics.rankings import Ranking
from bench.statistics.resamples import draws
from bench.statistics.resampling import Clusters, MeanOf, Ratio, Resampled


def clusters_of(size: Sequence[float] | np.ndarray) -> Clusters:
    return Clusters.of([f"scene {i}" for i in range(len(size))], size)


def shares(top: Sequence[float] | np.ndarray, size: Sequence[float] | np.ndarray | None = None) -> Ratio:
    bottom = np.full(len(top), 10.0) if size is None else np.asarray(size, dtype=np.float64)
    return Ratio(clusters_of(bottom), np.asarray(top, dtype=np.float64), bottom)


def row(label: str, *tops: Sequence[float] | np.ndarray, seeds: tuple[int | None, ...] | None = None) -> MetricRow:
    """A row of shares out of ten in each cluster; without a seed where there is one result."""
    of = seeds if seeds is not None else (None,) if len(tops) == 1 else tuple(range(len(tops)))
    return MetricRow(label, of, tuple(shares(top) for top in tops))


# -- one row -----------------------------------------------------------------------------------------------------------
def test_an_estimate_of_equal_clusters_by_hand() -> None:
    """Equal clusters: the jackknife's error of a mean is sd / sqrt(C), and the effective number of clusters is their
    number.
    """
    each = np.array([[5, 6, 7, 8, 9], [7, 8, 9, 10, 6]])
    found = estimate(row("a", *each))
    means = each.mean(axis=1) / 10
    assert found.value == pytest.approx(0.75)
    assert found.seed_sd == pytest.approx(np.std(means, ddof=1))
    assert found.clusters == 5 and found.effective_clusters == pytest.approx(5.0)
    of_cluster = each.mean(axis=0) / 10
    sampling, training = np.std(of_cluster, ddof=1) / np.sqrt(5), np.std(means, ddof=1) / np.sqrt(2)
    freedom = (sampling**2 + training**2) ** 2 / (sampling**4 / 4 + training**4 / 1)
    reach = student.ppf(0.975, freedom) * np.hypot(sampling, training) / (0.75 * 0.25)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(1 / (1 + np.exp(-(np.log(3) - reach))))
    assert found.interval.high == pytest.approx(1 / (1 + np.exp(-(np.log(3) + reach))))
    assert found.cluster_sd == pytest.approx(np.std(of_cluster) / np.sqrt(5), rel=0.06)  # the bootstrap's, 2,000 draws


def test_leaving_one_cluster_out_names_the_extremes() -> None:
    found = estimate(MetricRow("a", (None,), (shares([1, 9, 40], [10, 10, 50]),)))
    assert found.leave_one_out is not None
    low, high, without_low, without_high = found.leave_one_out
    assert low == pytest.approx(10 / 20) and without_low == "scene 2"
    assert high == pytest.approx(49 / 60) and without_high == "scene 0"
    assert found.effective_clusters == pytest.approx(70**2 / (100 + 100 + 2500))


def test_one_cluster_has_a_value_and_nothing_else() -> None:
    found = estimate(row("a", [7], [9]))
    assert (found.value, found.interval, found.cluster_sd, found.leave_one_out) == (0.8, None, None, None)
    assert found.seed_sd == pytest.approx(np.std([0.7, 0.9], ddof=1))
    difference = compare(row("a", [7], [9]), row("b", [3], [3]))
    assert difference.value == pytest.approx(0.5)
    assert (difference.p, difference.interval, difference.resolvable) == (None, None, None)
    assert "one cluster" in difference.reason
    table = analyse([row("a", [7], [9]), row("b", [3], [3])], 1)
    assert table.marked == (False, False) and table.tiers == (None, None) and table.resolvable is None


def test_draws_without_a_ship_do_not_poison() -> None:
    """All ships stand in one of two scenes: a quarter of the draws has none, and what is left is defined."""
    cluster, tp = np.array([0, 0, 1]), np.array([True, True, False])
    found = estimate(
        MetricRow(
            "a",
            (None,),
            (Ranking.average_precision(clusters_of([4, 0]), cluster, -np.arange(3.0), tp, None, np.array([4, 0])),),
        )
    )
    assert found.value == pytest.approx(0.5)
    assert found.cluster_sd is not None and np.isfinite(found.cluster_sd)
    assert found.interval is None  # without scene 0 there is no AP, so nobody knows how far it would move
    assert found.leave_one_out == (0.5, 0.5, "scene 1", "scene 1")


def test_an_undefined_seed_leaves_the_row_undefined() -> None:
    empty = MetricRow("a", (0, 1), (shares([1, 2]), Ratio(clusters_of([10, 10]), np.zeros(2), np.zeros(2))))
    assert estimate(empty).value is None and estimate(empty).interval is None
    difference = compare(empty, row("b", [1, 1], [2, 2]))
    assert (difference.value, difference.p, difference.reason) == (None, None, "undefined for a seed")
    table = analyse([empty, row("b", [1, 1], [2, 2])], 0)
    assert table.tiers == (None, None) and not any(table.marked)


def test_draws_keep_to_their_strata_and_depend_on_names_only() -> None:
    folds = MeanOf([shares([1, 2, 3]), shares([4, 5])])
    drawn = draws(folds.clusters, 500)
    assert (drawn[:, :3].sum(axis=1) == 3).all() and (drawn[:, 3:].sum(axis=1) == 2).all()
    assert abs(drawn.mean(axis=0) - 1).max() < 0.15
    np.testing.assert_array_equal(drawn, draws(MeanOf([shares([9, 9, 9], [70, 1, 1]), shares([0, 0])]).clusters, 500))
    assert (drawn != draws(Clusters.of(list("vwxyz"), np.ones(5), np.array([0, 0, 0, 1, 1])), 500)).any()


def test_errors_by_hand() -> None:
    assert seed_error(np.array([0.7])) is None
    of_two = seed_error(np.array([0.6, 0.8]))
    assert of_two is not None and of_two.error == pytest.approx(0.1) and of_two.freedom == 1
    one, two = Scatter(0.03, 4.0), Scatter(0.04, 2.0)
    assert combine(one, None) == one and combine(None, two) is None
    both = combine(one, two)
    assert both is not None and both.error == pytest.approx(0.05)
    assert both.freedom == pytest.approx(0.05**4 / (0.03**4 / 4 + 0.04**4 / 2))
    interval = difference_interval(0.1, one)
    assert interval is not None and interval.high == pytest.approx(0.1 + student.ppf(0.975, 4) * 0.03)
    clipped = difference_interval(-0.9, Scatter(0.3, 1.0))
    assert clipped is not None and clipped.low == -1.0 and clipped.high == 1.0, "two shares differ by at most 1"
    # scatter says nothing where all are perfect
    assert share_interval(1.0, one) is None and share_interval(0.0, one) is None
    wide = share_interval(0.999, Scatter(0.5, 1.0))
    assert wide is not None and 0 <= wide.low < 0.01 and wide.high <= 1


def test_the_error_over_clusters_adds_up_over_strata() -> None:
    clusters = Clusters.of(list("abcd"), np.ones(4), np.array([0, 0, 1, 1]))
    found = cluster_error(cluster_parts(np.array([0.1, 0.3, 0.5, 0.9]), clusters), clusters)
    assert found is not None and found.error == pytest.approx(np.sqrt(0.5 * 0.02 + 0.5 * 0.08)) and found.freedom == 2
    lonely = Clusters.of(list("abc"), np.ones(3), np.array([0, 0, 1]))
    # a fold of one scene: its scatter is unknown
    assert cluster_error(cluster_parts(np.array([0.1, 0.3, 0.5]), lonely), lonely) is None


# -- two rows ----------------------------------------------------------------------------------------------------------
def brute_force(one: np.ndarray, two: np.ndarray, size: np.ndarray) -> float:
    """The swap test of two rows of shares, (seeds, C) each, one swap after the other."""
    seen, extreme, count = float((one.sum(axis=1) - two.sum(axis=1)).mean() / size.sum()), 0, one.shape[1]
    for swap in itertools.product([False, True], repeat=count):
        left, right = np.where(swap, two, one), np.where(swap, one, two)
        extreme += abs(float((left.sum(axis=1) - right.sum(axis=1)).mean() / size.sum())) >= abs(seen) - 1e-12
    return extreme / 2**count


@pytest.mark.parametrize("count", [1, 2, 6, 9])
def test_all_swaps_are_those_of_brute_force(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(4):
        size = rng.integers(5, 30, count)
        one, two = rng.integers(0, 6, (2, count))
        two[: count // 3] = one[: count // 3]  # clusters with identical results do not matter
        if count == 1:
            one, two, size = np.append(one, 2), np.append(two, 2), np.append(size, 9)
        found = compare(*(MetricRow(name, (None,), (shares(top, size),)) for name, top in (("a", one), ("b", two))))
        assert found.exact and found.swaps <= 2 ** len(size)
        assert found.p == pytest.approx(brute_force(one[None], two[None], size), abs=1e-12)


def test_random_swaps_come_close_to_all_of_them() -> None:
    rng = np.random.default_rng(8)
    one = rng.integers(0, 10, 13)
    two = np.clip(one + rng.integers(-3, 5, 13), 0, 10)
    two[two == one] += 1
    found = compare(row("a", one), row("b", two))
    exact = brute_force(one[None], two[None], np.full(13, 10))
    assert not found.exact and found.p is not None
    assert found.swaps == (2_000 if exact > 0.25 else 10_000), "where p is far from small, fewer swaps will do"
    assert abs(found.p - exact) < 4 * np.sqrt(exact * (1 - exact) / found.swaps) + 1e-4
    assert found.p == compare(row("a", one), row("b", two)).p  # seeded by the clusters


def widened(one: np.ndarray, two: np.ndarray) -> float:
    """The mean over all swaps d of P(|d + error T| >= |seen|), T with S - 1 degrees of freedom, by scipy.stats."""
    seeds, count = one.shape
    gaps, total = (one - two).sum(axis=1) / (10 * count), []
    error, seen = np.std(gaps, ddof=1) / np.sqrt(seeds), abs(gaps.mean())
    for sign in itertools.product([1, -1], repeat=count):
        d = abs((np.array(sign) * (one - two)).sum(axis=1).mean() / (10 * count))
        total.append(student.sf((seen - d) / error, seeds - 1) + student.cdf((-seen - d) / error, seeds - 1))
    return float(np.mean(total))


def test_the_scatter_over_seeds_widens_the_test_and_never_narrows_it() -> None:
    rng = np.random.default_rng(9)
    wider = narrower = 0
    for _ in range(30):
        two = np.repeat(rng.integers(0, 6, (1, 4)), 3, axis=0)
        one = two + 3 + rng.integers(-1, 2, (3, 4)) + rng.integers(0, 4, (3, 1))
        found, pure = compare(row("a", *one), row("b", *two)), brute_force(one, two, np.full(4, 10))
        if np.ptp((one - two).sum(axis=1)) == 0:
            continue  # the same difference for every seed: nothing to widen by
        blurred = widened(one, two)
        assert found.p == pytest.approx(max(pure, blurred))
        wider, narrower = wider + (blurred > pure), narrower + (blurred < pure)
    assert wider and narrower


def test_seeds_are_paired_and_a_row_without_one_stands_beside_each() -> None:
    a = row("a", [5, 5], [6, 7], [9, 9], seeds=(3, 1, 2))
    b = row("b", [4, 4], [1, 2], seeds=(2, 1))
    found = compare(a, b)
    assert found.seeds == (1, 2)
    assert found.value == pytest.approx(((13 - 3) + (18 - 8)) / 20 / 2)
    once = compare(a, row("c", [4, 4]))
    assert once.seeds == (1, 2, 3) and once.value == pytest.approx((10 + 13 + 18) / 60 - 0.4)
    assert once.seeds_known
    both = compare(row("c", [4, 4]), row("d", [4, 5]))
    assert both.seeds == (None,) and both.seeds_known and both.p == 1.0
    apart = compare(row("a", [5, 5], seeds=(0,)), row("b", [5, 5], seeds=(1,)))
    assert (apart.value, apart.p, apart.seeds, apart.reason) == (None, None, (), "no seed in common")


def test_without_ranks_only_the_pairs_with_the_reference_are_compared() -> None:
    rows = [row("a", [5, 6, 7, 9]), row("b", [1, 2, 2, 4]), row("c", [5, 1, 7, 8])]
    full, part = analyse(rows, 1), analyse(rows, 1, ranks=False)
    assert part.differences == full.differences and part.marked == full.marked and part.estimates == full.estimates
    assert part.tiers == (None, None, None)


def test_a_metric_that_jumps_takes_its_error_from_the_resamples() -> None:
    drawn = np.array([0.1, 0.2, 0.3, 0.2])
    clusters = Clusters.of("abcd", np.ones(4))
    found = drawn_error(drawn, clusters)
    assert found is not None and found.error == pytest.approx(drawn.std(ddof=1) * math.sqrt(4 / 3))
    assert found.freedom == 3.0
    assert drawn_error(np.array([0.1, np.nan]), clusters) is None and drawn_error(drawn[:1], clusters) is None
    low = plain_share_interval(0.003, Scatter(0.04, 3.0))
    assert low is not None and low.low == 0.0 and low.high == pytest.approx(0.003 + 3.1824 * 0.04, 1e-3)
    assert plain_share_interval(0.0, Scatter(0.0, 3.0)) is None and plain_share_interval(0.5, None) is None
    rng = np.random.default_rng(1)
    cluster, label = np.repeat(np.arange(12), 20), np.tile([True, False], 120)
    curves = [
        Ranking.fpr_at_recall(
            Clusters.of("abcdefghijkl", np.ones(12)), cluster, rng.normal(size=240) - by * label, label
        )
        for by in (1.0, 3.0)
    ]
    rows = [MetricRow(name, (None,), (curve,)) for name, curve in zip("ab", curves, strict=True)]
    difference = compare(*rows)
    drawn = np.subtract(*(curve.values(draws(curve.clusters)) for curve in curves))
    assert difference.error == pytest.approx(drawn.std(ddof=1) * math.sqrt(12 / 11))
    assert difference.p is not None and difference.p < 0.05 and difference.resolvable is None
    each = estimate(rows[0])
    assert each.interval is not None and each.value is not None
    assert each.interval.high == pytest.approx(
        min(1.0, each.value + student.ppf(0.975, 11) * (each.cluster_sd or 0) * math.sqrt(12 / 11))
    )


def test_one_seed_is_never_marked() -> None:
    """Ten scenes all say the same, but one training may have been lucky: p is the swap test's, and no mark follows."""
    good, bad = np.full(10, 9), np.arange(10) % 3
    luck = [row("good", good, seeds=(0,)), row("bad", bad, seeds=(0,))]
    table = analyse(luck, 1)
    difference = table.differences[0]
    assert (
        difference is not None
        and difference.p == 2 / 2**10
        and not difference.seeds_known
        and difference.resolvable is None
    )
    assert table.marked == (False, False) and table.tiers == (None, None) and table.resolvable is None
    untrained = analyse([row("good", good), row("bad", bad)], 1)
    assert untrained.marked == (True, False) and untrained.tiers == (1, 2)
    seeded = analyse([row("good", good, good, good), row("bad", bad, bad, bad)], 1)
    assert seeded.marked == (True, False) and seeded.tiers == (1, 2)


def test_a_loss_is_marked_as_a_gain_is_and_ranks_below() -> None:
    good, bad = np.full(10, 9), np.arange(10) % 3
    table = analyse([row("bad", bad), row("good", good), row("good again", good)], 1)
    assert table.marked == (True, False, False) and table.tiers == (3, 1, 1)
    difference = table.differences[0]
    assert difference is not None and difference.value is not None and difference.value < 0
    assert difference.interval is not None and difference.interval.low < difference.value < difference.interval.high < 0
    assert table.differences[1] is None and table.resolvable is not None


@pytest.mark.parametrize("seeds", [1, 3])
def test_identical_predictions_differ_by_nothing(seeds: int) -> None:
    rng = np.random.default_rng(5)
    for results in (
        [shares(rng.integers(0, 10, 15)) for _ in range(seeds)],
        [
            Ranking.average_precision(
                clusters_of(np.full(4, 5)), np.arange(20) % 4, rng.random(20), rng.random(20) < 0.6, None, np.full(4, 5)
            )
            for _ in range(seeds)
        ],
    ):
        typed: tuple[Resampled, ...] = tuple(results)
        table = analyse([MetricRow(name, tuple(range(seeds)) if seeds > 1 else (None,), typed) for name in "ab"], 0)
        difference = table.differences[1]
        assert difference is not None and (difference.value, difference.p, difference.resolvable) == (0.0, 1.0, None)
        assert difference.interval is not None and (difference.interval.low, difference.interval.high) == (0.0, 0.0)
        assert table.marked == (False, False) and table.tiers == (None, None)


def test_resolvable_is_the_median_over_the_comparisons() -> None:
    rng = np.random.default_rng(6)
    rows = [row(name, *rng.integers(3, 10, (3, 10))) for name in "abcd"]
    table = analyse(rows, 2)
    own = [compare(each, rows[2]).resolvable for each in rows if each is not rows[2]]
    assert table.resolvable == pytest.approx(np.median([each for each in own if each is not None]))
    assert analyse(rows, None).resolvable is None and analyse(rows, None).differences == (None,) * 4


def test_what_is_resolvable_is_where_the_test_begins_to_reject() -> None:
    """Four scatters: the threshold is found again by a fine search, and t_0.8 standard errors come on top."""
    rng, signs = np.random.default_rng(7), 1.0 - 2 * ((np.arange(2**9)[:, None] >> np.arange(10)) & 1)
    for seeds in (None, Scatter(0.02, 4.0)):
        for share in (np.full(10, 0.1), np.array([15, 3, 2, 50, 18, 14, 6, 6, 8, 3]) / 125):
            parts = 0.02 * rng.normal(size=10)
            parts -= parts.mean()
            scatter = combine(Scatter(float(np.sqrt((parts**2).sum())), 1 / (share**2).sum() - 1), seeds)
            assert scatter is not None
            found = smallest_found(parts, share, signs, seeds, scatter)
            steps = np.linspace(0, 20 * scatter.error, 4000)
            first = next(step for step in steps if swap_p(signs @ (parts + share * step), step, seeds) <= 0.05)
            assert found is not None
            assert found == pytest.approx(
                first + student.ppf(0.8, scatter.freedom) * scatter.error, abs=0.02 * scatter.error
            )
    few = 1.0 - 2 * ((np.arange(2**4)[:, None] >> np.arange(5)) & 1)
    # 2 / 2^5 > 0.05
    assert smallest_found(parts[:5] - parts[:5].mean(), np.full(5, 0.2), few, None, Scatter(0.1, 4.0)) is None


# -- Holm, and bad input -----------------------------------------------------------------------------------------------
def test_holm_by_hand() -> None:
    # 0.005 <= 0.05/4, 0.01 <= 0.05/3, 0.03 > 0.05/2: stop
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([0.04, None, 0.02]) == [True, False, True]  # what was not tested is no hypothesis
    assert holm([0.05]) == [True] and holm([0.0500001]) == [False] and holm([]) == []


def test_bad_rows_are_refused() -> None:
    one = shares([1, 2])
    for seeds, results in (
        ((), ()),
        ((0,), (one, one)),
        ((0, 0), (one, one)),
        ((None, 1), (one, one)),
        ((0, 1), (one, shares([1, 2, 3]))),
    ):
        with pytest.raises(BenchError):
            MetricRow("a", seeds, results)
    with pytest.raises(BenchError, match="same clusters"):
        analyse([row("a", [1, 2]), row("b", [1, 2, 3])], 0)
    with pytest.raises(BenchError, match="reference row 2"):
        analyse([row("a", [1, 2])], 2)
    assert analyse([], None).tiers == ()


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 9, 30, 31, 4.5])
def test_students_distribution_in_closed_form_is_scipys(freedom: float) -> None:
    rng = np.random.default_rng(1)
    t = np.concatenate([rng.normal(size=4000) * 10.0 ** rng.uniform(-3, 4, 4000), [0, np.inf, -np.inf, 1e300, -1e300]])
    expected = cauchy.cdf(t) if freedom == 1 else student.cdf(t, freedom)  # scipy's is 2e-11 off at 1
    assert np.abs(student_closed(freedom, t) - expected).max() < 2e-15
