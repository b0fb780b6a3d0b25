"""What a table may conclude from its rows: spread, intervals, paired differences, marks and tiers. Explained in
docs/statistics.md.

Owns which resamples are drawn and what is concluded. Does not own how a metric is recomputed (`resampling.py`) or how
an interval is made of scatter (`intervals.py`). Marks and tiers come from the swap test; intervals are for reading.

Chance enters by the names of the clusters and nothing else, so a row's numbers do not depend on its label, its place or
its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from itertools import combinations
from typing import ParamSpec, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from bench.core.errors import BenchError
from bench.core.processes import available_cores
from bench.statistics.families import LEVEL, holm, tiers
from bench.statistics.intervals import (
    TOLERANCE,
    Interval,
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
    swap_p,
)
from bench.statistics.resamples import Resamples
from bench.statistics.resampling import Clusters, Resampled

ALL_SWAPS_UP_TO = 12
# where so many random swaps leave p above this, further ones would sharpen what decides nothing
FIRST_SWAPS, STOP_ABOVE_P = (2000, 0.2)
_P = ParamSpec("_P")
_R = TypeVar("_R")
_BLOCK = 1 << 20  # swaps times clusters that are looked at together: bounds the memory


@dataclass(frozen=True, eq=False)
class MetricRow:
    """One row of a table by one metric: `results[i]` is of `seeds[i]`; None is the seed of a method without training.

    Raises:
        BenchError: nothing measured, lengths differ, a seed stands twice, or results have different clusters.
    """

    label: str
    seeds: tuple[int | None, ...]
    results: tuple[Resampled, ...]

    def __post_init__(self) -> None:
        if not self.results or len(self.seeds) != len(self.results):
            raise BenchError(
                f"row {self.label}: {len(self.seeds)} seeds and {len(self.results)} results; expected one result a seed"
            )
        if len(set(self.seeds)) != len(self.seeds) or len(self.seeds) > 1 and None in self.seeds:
            raise BenchError(
                f"row {self.label}: seeds {list(self.seeds)}; each seed may stand once, and None only alone"
            )
        for result in self.results[1:]:
            self.results[0].check(result)

    @property
    def clusters(self) -> Clusters:
        """The units of resampling."""
        return self.results[0].clusters


@dataclass(frozen=True)
class Estimate:
    """One row's number and what is known of its uncertainty.

    Attributes:
        value: mean over the seeds; None where one of them is undefined.
        seed_sd: standard deviation over the seeds, None with fewer than two. cluster_sd: bootstrap standard deviation
            over the clusters.
        interval: of the value, by seeds and clusters together; with one seed by clusters alone. None with one cluster,
            at exactly 0 or 1, and where the value is undefined without one of the clusters.
        leave_one_out: (lowest, highest, cluster left out for the lowest, for the highest); None with one cluster.
        clusters, effective_clusters: their number, and the effective sample size (`Resampled.effective`).
    """

    value: float | None
    seed_sd: float | None
    cluster_sd: float | None
    interval: Interval | None
    leave_one_out: tuple[float, float, str, str] | None
    clusters: int
    effective_clusters: float


@dataclass(frozen=True)
class Difference:
    """The paired difference of two rows, first minus second.

    Attributes:
        value: mean over the paired seeds; None where there are none or a value is undefined.
        interval: of the value, by seeds and clusters together, for reading. error: its standard error; freedom: of that
            error.
        p: two-sided, by the swap test, not corrected. None without a test; `reason` then says why.
        exact: all swaps were made. swaps: how many.
        seeds: those that both rows have; (None,) where neither has one.
        seeds_known: the scatter of training is in `p`: several paired seeds, or nothing was trained. Where False,
            nothing is marked.
        resolvable: the smallest true difference that this test would find with 80 % power at 5 %; None where unknown.
    """

    value: float | None
    interval: Interval | None
    p: float | None
    exact: bool
    swaps: int
    seeds: tuple[int | None, ...]
    reason: str = ""
    seeds_known: bool = True
    error: float | None = None
    freedom: float | None = None
    resolvable: float | None = None


@dataclass(frozen=True)
class Analysis:
    """The statistics of a table by one metric; one entry a row, in the order given.

    Attributes:
        differences: to the reference; None for the reference, and everywhere without one.
        marked: the swap test separates the row from the reference, Holm-corrected over the table.
        tiers: ranks, all None unless some pair of rows is separable, Holm-corrected over all pairs. Then 1 + the number
            of rows that beat the row, behind each of these, and never before a row with a higher value, which a row of
            wide scatter would otherwise be. None for a row without a value, for one of a single training seed, which
            beats nobody, and for two rows that their means and their common seeds order differently.
        resolvable: median of the differences' own; None where unknown.
    """

    estimates: tuple[Estimate, ...]
    differences: tuple[Difference | None, ...]
    marked: tuple[bool, ...]
    tiers: tuple[int | None, ...]
    resolvable: float | None


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """Return the thread pools that are loaded; to look for them takes longer than the estimate of a row."""
    return ThreadpoolController()


def _one_thread(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Thousands of small products: two threads wait for each other, and a board takes more than twice as long."""

    @wraps(function)
    def limited(*args: _P.args, **options: _P.kwargs) -> _R:
        with _libraries().limit(limits=1, user_api="blas"):
            return function(*args, **options)

    return limited


@_one_thread
def analyse(rows: Sequence[MetricRow], reference: int | None, ranks: bool = True) -> Analysis:
    """Return the statistics of the rows of one table.

    Args:
        reference: position of the row that differences are taken against, or None.
        ranks: compare all pairs of rows, as ranks need, and not only those with the reference.

    Raises:
        BenchError: rows over different clusters, or no such reference.
    """
    if reference is not None and not 0 <= reference < len(rows):
        raise BenchError(f"reference row {reference} of a table of {len(rows)} rows")
    if not rows:
        return Analysis((), (), (), (), None)
    for row in rows[1:]:
        rows[0].results[0].check(row.results[0])
    count, resamples = len(rows), Resamples(rows[0].clusters)
    every = ranks and _separable(rows, resamples)
    wanted = [at for at in combinations(range(count), 2) if every or reference in at]
    with ThreadPoolExecutor(available_cores()) as pool:  # most of a comparison is NumPy's and scipy's, without the GIL
        each = pool.map(lambda at: _compare(rows[at[0]], rows[at[1]], resamples, reference in at), wanted)
        pairs = dict(zip(wanted, each, strict=True))
    differences = tuple(
        None
        if reference is None or row == reference
        else pairs[row, reference]
        if row < reference
        else _negative(pairs[reference, row])
        for row in range(count)
    )
    marked = holm([_decisive(each) for each in differences])
    separated = dict(zip(pairs, holm([_decisive(each) for each in pairs.values()]), strict=True)) if every else {}
    known = [each.resolvable for each in differences if each is not None and each.resolvable is not None]
    estimates = tuple(_estimate(row, resamples) for row in rows)
    values = [None if trained_once(row) else each.value for row, each in zip(rows, estimates, strict=True)]
    beaten: list[tuple[int, int]] = []
    if any(separated.values()):  # where all pairs separate none, a mark alone opens no ranking; else it counts as well
        against = count if reference is None else reference
        separated |= {(min(row, against), max(row, against)): True for row in range(count) if marked[row]}
        beaten = [
            (i, j) if gap > 0 else (j, i)
            for (i, j), apart in separated.items()
            if apart and (gap := pairs[i, j].value) is not None
        ]
    return Analysis(
        estimates, differences, tuple(marked), tiers(values, beaten), float(np.median(known)) if known else None
    )


def _separable(rows: Sequence[MetricRow], resamples: Resamples) -> bool:
    """Return whether the swap test can separate any pair at all, corrected over all pairs.

    What was seen is itself among the swaps, so no p is below one over their number. In a large table even that is too
    large for Holm's first step, and no pair but those with the reference needs a test.
    """
    least, tested = 1 / resamples.most_swaps(ALL_SWAPS_UP_TO), 0
    for a, b in combinations(rows, 2):
        tested += _is_tested(a, b)
        if least * tested > 1 - LEVEL + TOLERANCE * tested:
            return False
    return True


def _is_tested(a: MetricRow, b: MetricRow) -> bool:
    """Return whether the comparison of two rows has a p that decides something (`_compare`, `_decisive`)."""
    seeds, pairs = _paired(a, b)
    known = bool(pairs) and all(one.value is not None and two.value is not None for one, two in pairs)
    return known and len(a.clusters) > 1 and (seeds == (None,) or len(seeds) > 1)


def trained_once(row: MetricRow) -> bool:
    """Return whether a row has one training seed, so that the scatter of its training is unknown."""
    return len(row.seeds) == 1 and row.seeds != (None,)


# -- one row -----------------------------------------------------------------------------------------------------------
@_one_thread
def estimate(row: MetricRow) -> Estimate:
    """Return the number of one row, with its spread over seeds and clusters."""
    return _estimate(row, Resamples(row.clusters))


def _estimate(row: MetricRow, resamples: Resamples) -> Estimate:
    clusters = row.clusters
    each = [result.value for result in row.results]
    known = np.array([value for value in each if value is not None])
    if len(known) < len(each):
        return Estimate(None, None, None, None, None, len(clusters), clusters.effective)
    value, seed_sd = float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else None
    if len(clusters) == 1:
        return Estimate(value, seed_sd, None, None, None, 1, clusters.effective)
    draws = np.mean([resamples.drawn(result) for result in row.results], axis=0)
    drawn = draws[np.isfinite(draws)]  # a draw without a ship has no AP
    without = np.mean([resamples.without(result) for result in row.results], axis=0)
    if row.results[0].smooth:
        by_cluster, interval_of = cluster_error(cluster_parts(without, clusters), clusters), share_interval
    else:
        by_cluster, interval_of = drawn_error(draws, clusters), plain_share_interval
    return Estimate(
        value=value,
        seed_sd=seed_sd,
        cluster_sd=float(drawn.std(ddof=1)) if len(drawn) > 1 else None,
        interval=interval_of(value, combine(by_cluster, seed_error(known)), LEVEL),
        leave_one_out=_range(without, clusters),
        clusters=len(clusters),
        effective_clusters=clusters.effective,
    )


def _range(without: np.ndarray, clusters: Clusters) -> tuple[float, float, str, str] | None:
    known = np.flatnonzero(np.isfinite(without))
    if not len(known):
        return None
    low, high = known[np.argmin(without[known])], known[np.argmax(without[known])]
    return float(without[low]), float(without[high]), clusters.names[low], clusters.names[high]


# -- two rows ----------------------------------------------------------------------------------------------------------
@_one_thread
def compare(a: MetricRow, b: MetricRow) -> Difference:
    """Return the paired difference a - b: value, interval, and the swap test.

    A row without a seed stands beside each seed of the other.

    Raises:
        BenchError: the rows have different clusters, or results of different metrics.
    """
    return _compare(a, b, Resamples(a.clusters))


def _compare(a: MetricRow, b: MetricRow, resamples: Resamples, wanted: bool = True) -> Difference:
    """Return the paired difference; `wanted`: with what could be resolved, which takes as long as the rest."""
    a.results[0].check(b.results[0])
    seeds, pairs = _paired(a, b)
    each = [(one.value, two.value) for one, two in pairs]
    gaps = np.array([one - two for one, two in each if one is not None and two is not None])
    value = float(gaps.mean()) if len(gaps) and len(gaps) == len(pairs) else None
    untrained = seeds == (None,)
    seeds_known, by_seed = untrained or len(seeds) > 1, seed_error(gaps)
    if value is None or len(a.clusters) == 1:
        undefined = "undefined for a seed" if value is None else "one cluster: nothing to resample"
        reason = undefined if pairs else "no seed in common"
        return Difference(value, None, None, False, 0, seeds, reason, seeds_known)
    swapped, exact = _swapped(pairs, resamples)
    without = np.mean([resamples.without(one) - resamples.without(two) for one, two in pairs], axis=0)
    parts = cluster_parts(without, a.clusters)
    by_cluster = cluster_error(parts, a.clusters)
    if not a.results[0].smooth:
        drawn = np.mean([resamples.drawn(one) - resamples.drawn(two) for one, two in pairs], axis=0)
        parts, by_cluster = None, drawn_error(drawn, a.clusters)
    scatter = combine(by_cluster, by_seed)
    resolvable = _resolvable(parts, by_seed, scatter, resamples) if wanted and seeds_known else None
    return Difference(
        value=value,
        interval=difference_interval(value, scatter, LEVEL),
        p=swap_p(swapped, value, by_seed),
        exact=exact,
        swaps=len(swapped) * (2 if exact else 1),
        seeds=seeds,
        seeds_known=seeds_known,
        error=scatter.error if scatter else None,
        freedom=scatter.freedom if scatter else None,
        resolvable=resolvable,
    )


def _paired(a: MetricRow, b: MetricRow) -> tuple[tuple[int | None, ...], list[tuple[Resampled, Resampled]]]:
    mine, theirs = dict(zip(a.seeds, a.results, strict=True)), dict(zip(b.seeds, b.results, strict=True))
    if a.seeds == (None,):
        mine = dict.fromkeys(b.seeds, a.results[0])
    elif b.seeds == (None,):
        theirs = dict.fromkeys(a.seeds, b.results[0])
    seeds = tuple(sorted((seed for seed in mine if seed in theirs), key=lambda seed: -1 if seed is None else seed))
    return seeds, [(mine[seed], theirs[seed]) for seed in seeds]


def _swapped(pairs: Sequence[tuple[Resampled, Resampled]], resamples: Resamples) -> tuple[np.ndarray, bool]:
    """Return (differences with clusters swapped whole, for all seeds together; whether these stand for all swaps).
    First, nothing is.

    Where they stand for all, it is one half of them: to swap the other clusters instead turns the sign, and the test is
    two-sided. Clusters in which the rows have identical results do not matter and do not count. Random swaps end early
    where p is far from small.
    """
    differ = np.flatnonzero(~np.logical_and.reduce([one.same(two) for one, two in pairs]))
    exact = len(differ) <= ALL_SWAPS_UP_TO
    if exact:
        number = np.arange(2 ** max(len(differ) - 1, 0))
        swaps = np.zeros((len(number), len(resamples.clusters)), dtype=bool)
        for bit, cluster in enumerate(differ[1:]):
            swaps[:, cluster] = (number >> bit) & 1
    else:
        swaps = resamples.swaps
    out, step = np.zeros(len(swaps)), min(FIRST_SWAPS, max(1, _BLOCK // len(resamples.clusters)))
    for start in range(0, len(swaps), step):
        if (
            not exact
            and start >= FIRST_SWAPS
            and np.mean(np.abs(out[:start]) >= abs(out[0]) - TOLERANCE) > STOP_ABOVE_P
        ):
            return out[:start] / len(pairs), False
        take = swaps[start : start + step].astype(np.float64)
        rest = 1 - take
        for one, two in pairs:
            out[start : start + step] += one.mixed(two, take) - one.mixed(two, rest)
    return out / len(pairs), exact


def _resolvable(
    parts: np.ndarray | None, by_seed: Scatter | None, scatter: Scatter | None, resamples: Resamples
) -> float | None:
    size = resamples.clusters.size
    if parts is None or not size.sum():
        return None
    return smallest_found(parts, size / size.sum(), resamples.signs, by_seed, scatter)


def _decisive(difference: Difference | None) -> float | None:
    return difference.p if difference is not None and difference.seeds_known else None


def _negative(difference: Difference) -> Difference:
    interval = difference.interval
    turned = None if interval is None else Interval(0.0 - interval.high, 0.0 - interval.low, interval.level)
    return replace(difference, value=None if difference.value is None else 0.0 - difference.value, interval=turned)
