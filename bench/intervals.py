"""From scatter to intervals: standard errors by seeds and by clusters, and Student intervals at their effective degrees of freedom.

Owns the formulae; how well they cover is measured by benchmarks/statistics.py and stated in docs/statistics.md. NumPy; scipy.special is
imported inside the functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.resampling import Clusters


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
    """Return the standard error of the mean over the seeds, s / sqrt(S) with S - 1 degrees of freedom; None with fewer than two.

    s divides by S - 1: a plain bootstrap of few seeds would underestimate its square by (S - 1) / S.
    """
    if len(values) < 2:
        return None
    return Scatter(float(np.std(values, ddof=1) / np.sqrt(len(values))), len(values) - 1.0)


def cluster_error(without: np.ndarray, clusters: Clusters) -> Scatter | None:
    """Return the jackknife's standard error over the clusters; None where a stratum has one cluster or a value is undefined.

    In each stratum (C - 1) / C sum (v_c - mean v)^2, added up (Efron and Stein 1981; Rust and Rao 1996 for strata). Its degrees of freedom
    are the effective number of clusters less one a stratum, but at least one: few unequal clusters know their own scatter badly.

    Args:
        without: (C,) the estimate without each cluster in turn.
    """
    variance, strata = 0.0, np.unique(clusters.stratum)
    for stratum in strata:
        values = without[clusters.stratum == stratum]
        if len(values) < 2 or not np.isfinite(values).all():
            return None
        variance += (len(values) - 1) / len(values) * float(((values - values.mean()) ** 2).sum())
    return Scatter(float(np.sqrt(variance)), max(clusters.effective - len(strata), 1.0))


def combine(clusters: Scatter | None, seeds: Scatter | None) -> Scatter | None:
    """Return both errors as one, with Satterthwaite's (1946) degrees of freedom.

    Without `clusters` there is none (None); without `seeds` it is that of the clusters alone. What test sampling adds to the scatter of
    the seeds counts twice, which errs on the wide side.
    """
    if clusters is None or seeds is None:
        return clusters
    error = float(np.hypot(clusters.error, seeds.error))
    if error == 0:
        return Scatter(0.0, clusters.freedom)
    return Scatter(error, 1 / ((clusters.error / error) ** 4 / clusters.freedom + (seeds.error / error) ** 4 / seeds.freedom))


def difference_interval(value: float, scatter: Scatter | None, level: float = 0.95) -> Interval | None:
    """Return value -+ t error; None without a scatter."""
    if scatter is None:
        return None
    reach = _quantile(scatter.freedom, (1 + level) / 2) * scatter.error
    return Interval(value - reach, value + reach, level)


def share_interval(value: float, scatter: Scatter | None, level: float = 0.95) -> Interval | None:
    """Return the interval of a metric between 0 and 1: value -+ t error on the scale of log odds, by the delta method.

    None without a scatter, and at 0 and 1, where the scatter over clusters says nothing (all of them are perfect).
    """
    if scatter is None or not 0 < value < 1:
        return None
    middle = float(np.log(value / (1 - value)))
    reach = _quantile(scatter.freedom, (1 + level) / 2) * scatter.error / (value * (1 - value))
    low, high = (float(np.exp(-np.logaddexp(0.0, -each))) for each in (middle - reach, middle + reach))
    return Interval(low, high, level)


def smallest_found(scatter: Scatter | None, level: float = 0.95, power: float = 0.8) -> float | None:
    """Return (t_(1 + level) / 2 + t_power) error: the true difference found with that power; None where the scatter is unknown or 0."""
    if scatter is None or scatter.error == 0:
        return None
    return (_quantile(scatter.freedom, (1 + level) / 2) + _quantile(scatter.freedom, power)) * scatter.error


def _quantile(freedom: float, p: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, p))
