"""From scatter to conclusions: standard errors by seeds and by clusters, Student intervals, and the p of a swap test.

Owns the formulae; how well they cover is measured by benchmarks/statistics.py and stated in docs/statistics.md. NumPy;
scipy.special is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.statistics.resampling import Clusters

_CLOSED_FORM_UP_TO = 30
Below = Callable[[float, np.ndarray], np.ndarray]  # degrees of freedom, values t -> P(T < t)
TOLERANCE = 1e-12  # two statistics closer than this are equal: rounding must not decide a test


@dataclass(frozen=True)
class Interval:
    """A two-sided interval at `level`."""

    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True)
class Scatter:
    """A standard error, and the degrees of freedom that it is known with."""

    error: float
    freedom: float


def seed_error(values: np.ndarray) -> Scatter | None:
    """Return the standard error of the mean over the seeds, s / sqrt(S) with S - 1 degrees of freedom; None with fewer
    than two.

    s divides by S - 1: a plain bootstrap of few seeds would underestimate its square by (S - 1) / S.
    """
    if len(values) < 2:
        return None
    return Scatter(float(np.std(values, ddof=1) / np.sqrt(len(values))), len(values) - 1.0)


def cluster_parts(without: np.ndarray, clusters: Clusters) -> np.ndarray | None:
    """Return how far each cluster pulls the estimate, (C,) float64; the squares add up to the jackknife's variance.

    In a stratum of C clusters that is sqrt((C - 1) / C) (mean v - v_c), v_c the estimate without cluster c (Efron and
    Stein 1981; Rust and Rao 1996 for strata). None where a stratum has one cluster, or an estimate is undefined.

    Args:
        without: (C,) the estimate without each cluster in turn.
    """
    parts = np.zeros(len(without))
    for stratum in np.unique(clusters.stratum):
        members = clusters.stratum == stratum
        values = without[members]
        if len(values) < 2 or not np.isfinite(values).all():
            return None
        parts[members] = np.sqrt((len(values) - 1) / len(values)) * (values.mean() - values)
    return parts


def cluster_error(parts: np.ndarray | None, clusters: Clusters) -> Scatter | None:
    """Return the standard error over the clusters of `cluster_parts`; None where there are none.

    Its degrees of freedom are the effective number of clusters less one a stratum, but at least one: few unequal
    clusters know their own scatter badly.
    """
    if parts is None:
        return None
    strata = len(np.unique(clusters.stratum))
    return Scatter(float(np.sqrt((parts**2).sum())), max(clusters.effective - strata, 1.0))


def drawn_error(drawn: np.ndarray, clusters: Clusters) -> Scatter | None:
    """Return the standard error over the clusters of a metric that is not smooth, for which the jackknife is wrong: the
    deviation of its resamples, widened by C / (C - strata) clusters; None where a draw is undefined.

    Args:
        drawn: (n,) the estimate on each resample.
    """
    count, strata = len(clusters), len(np.unique(clusters.stratum))
    if count == strata or len(drawn) < 2 or not np.isfinite(drawn).all():
        return None
    error = float(drawn.std(ddof=1)) * float(np.sqrt(count / (count - strata)))
    return Scatter(error, max(clusters.effective - strata, 1.0))


def combine(clusters: Scatter | None, seeds: Scatter | None) -> Scatter | None:
    """Return both errors as one, with Satterthwaite's (1946) degrees of freedom.

    Without `clusters` there is none (None); without `seeds` it is that of the clusters alone. What test sampling adds
    to the scatter of the seeds counts twice, which errs on the wide side.
    """
    if clusters is None or seeds is None:
        return clusters
    error = float(np.hypot(clusters.error, seeds.error))
    if error == 0:
        return Scatter(0.0, clusters.freedom)
    return Scatter(
        error, 1 / ((clusters.error / error) ** 4 / clusters.freedom + (seeds.error / error) ** 4 / seeds.freedom)
    )


def difference_interval(value: float, scatter: Scatter | None, level: float = 0.95) -> Interval | None:
    """Return value -+ t error of the difference of two shares, so within [-1, 1]; None without a scatter."""
    if scatter is None:
        return None
    reach = _quantile(scatter.freedom, (1 + level) / 2) * scatter.error
    return Interval(max(value - reach, -1.0), min(value + reach, 1.0), level)


def share_interval(value: float, scatter: Scatter | None, level: float = 0.95) -> Interval | None:
    """Return the interval of a metric between 0 and 1: value -+ t error on the scale of log odds, by the delta method.

    None without a scatter or where nothing was seen to vary, and at 0 and 1, where the scatter over clusters says
    nothing.
    """
    if scatter is None or scatter.error == 0 or not 0 < value < 1:
        return None
    middle = float(np.log(value / (1 - value)))
    reach = _quantile(scatter.freedom, (1 + level) / 2) * scatter.error / (value * (1 - value))
    low, high = (float(np.exp(-np.logaddexp(0.0, -each))) for each in (middle - reach, middle + reach))
    return Interval(low, high, level)


def plain_share_interval(value: float, scatter: Scatter | None, level: float = 0.95) -> Interval | None:
    """Return value -+ t error within [0, 1], of a share that jumps: on log odds one near 0 would reach everywhere. None
    without a scatter or where nothing was seen to vary.
    """
    found = difference_interval(value, scatter, level)
    return None if found is None or found.low == found.high else Interval(max(found.low, 0.0), found.high, level)


def student(freedom: float, t: np.ndarray) -> np.ndarray:
    """Return P(T < t) of Student's distribution."""
    from scipy.special import stdtr

    return np.asarray(stdtr(freedom, t))


def swap_p(swapped: np.ndarray, value: float, seeds: Scatter | None, below: Below = student) -> float:
    """Return the two-sided p of a swap test: the share of swaps that differ by as much as was seen.

    Swapping does not measure the scatter of training. Where rows have several seeds in common, each swap is widened by
    the standard error over the seeds: the mean over swaps d of P(|d + error T| >= |value|), T Student's with S - 1
    degrees of freedom. The larger of the two counts: with few clusters, widening would blur the share that what was
    seen itself has among the swaps.

    Args:
        swapped: (n,) differences after swapping, the identity among them; an undefined one counts as extreme.
        value: the difference seen. seeds: its standard error over the seeds, None where nothing was trained or there is
            one seed. below: Student's distribution.
    """
    seen, size = abs(value) - TOLERANCE, np.abs(np.where(np.isfinite(swapped), swapped, np.inf))
    if seen <= 0:
        return 1.0
    share = float(np.mean(size >= seen))
    if seeds is None or seeds.error < TOLERANCE:
        return share
    beyond = below(seeds.freedom, (size - seen) / seeds.error) + below(seeds.freedom, -(size + seen) / seeds.error)
    return min(max(share, float(beyond.mean())), 1.0)


def student_closed(freedom: float, t: np.ndarray) -> np.ndarray:
    """Return what `student` returns but for some 1e-15, forty times as fast: for the many trials of a search.

    Few seeds know their scatter with few, whole degrees of freedom; for these there is a closed form (Abramowitz and
    Stegun 1964, 26.7.3 and 26.7.4).
    """
    whole = round(freedom)
    if freedom != whole or not 1 <= whole <= _CLOSED_FORM_UP_TO:
        return student(freedom, t)
    t = np.clip(t, -1e150, 1e150)
    long = np.hypot(t, np.sqrt(whole))
    sine, cosine = t / long, np.sqrt(whole) / long
    total, squared = np.ones_like(cosine), np.square(cosine)
    for k in range(whole - 3, 0, -2):  # from the last term inwards
        total = 1 + total * squared * k / (k + 1)
    if whole % 2 == 0:
        return np.asarray(0.5 + sine * total / 2)
    return np.asarray(0.5 + (np.arctan2(t, np.sqrt(whole)) + (sine * cosine * total if whole > 1 else 0)) / np.pi)


def smallest_found(
    parts: np.ndarray | None,
    share: np.ndarray,
    signs: np.ndarray,
    seeds: Scatter | None,
    scatter: Scatter | None,
    power: float = 0.8,
) -> float | None:
    """Return the true difference D that the swap test finds at 5 % with that power; None where unknown, or where it
    finds none at all.

    With D split over the clusters by their size, swapping signs gives sum s_c (part_c + share_c D). The smallest seen
    difference with p <= 0.05 among these is the test's threshold; a true one must exceed it by t_power standard errors.

    Args:
        parts: `cluster_parts` of the difference seen. share: (C,) of the clusters' sizes, sum 1. signs: (n, C) of 1 and
            -1, first all 1.
        seeds, scatter: standard error over the seeds; over seeds and clusters.
    """
    if parts is None or scatter is None or scatter.error < TOLERANCE or not np.isfinite(share).all():
        return None
    pull, spread = signs @ parts, signs @ share

    def found(difference: float) -> bool:
        swapped, seen = pull + spread * difference, difference + float(pull[0])
        # without the scatter of the seeds p is no larger, and known at once
        return swap_p(swapped, seen, None) <= 0.05 and swap_p(swapped, seen, seeds, student_closed) <= 0.05

    high = scatter.error
    while not found(high):
        high *= 2
        if high > 100 * scatter.error:
            return None  # five clusters have 2 / 2^5 > 0.05, whatever they say
    low = 0.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high + _quantile(scatter.freedom, power) * scatter.error


def _quantile(freedom: float, p: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, p))
