"""One metric of one record as a function of how often each cluster counts: what every bootstrap, jackknife and swap
test asks for.

Owns what such a metric must offer, ratios of sums, and means over folds; metrics of ranked lists are `rankings.py`'s.
Does not own which resamples are drawn and what is concluded from them (`inference.py`), nor how a metric is defined
(`detection.average_precision`, `matching.metrics`); the numbers are theirs.

A cluster (scene, or leakage group) is drawn whole. `weights` (W, C) holds W draws; a cluster of weight 2 stands in the
test set twice, one of weight 0 not at all. NumPy only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.core.errors import BenchError
from bench.statistics.ranked_lists import divide


@dataclass(frozen=True, eq=False)
class Clusters:
    """The units of resampling of one test set, all (C,).

    Attributes:
        names: unique. stratum: int64, clusters are drawn within theirs (the folds of a cross-validation; else zeros).
        size: float64, ships or decisions in each.

    Raises:
        BenchError: lengths differ, none is given, a name occurs twice, or a size is negative or not finite.
    """

    names: tuple[str, ...]
    stratum: np.ndarray
    size: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.names)
        if not count:
            raise BenchError("no cluster to resample: the test part is empty")
        if self.stratum.shape != (count,) or self.size.shape != (count,):
            raise BenchError(
                f"{count} clusters, but strata of shape {self.stratum.shape} and sizes of shape {self.size.shape}"
            )
        if len(set(zip(self.names, self.stratum.tolist(), strict=True))) != count:
            raise BenchError("a cluster is named twice; each scene or group of a test part stands once")
        if not (np.isfinite(self.size).all() and (self.size >= 0).all()):
            raise BenchError("the size of a cluster is negative or not finite")

    @staticmethod
    def of(
        names: Sequence[str] | np.ndarray, size: Sequence[float] | np.ndarray, stratum: np.ndarray | None = None
    ) -> Clusters:
        """Return clusters from plain sequences; one stratum where none is given."""
        kind = np.zeros(len(names), dtype=np.int64) if stratum is None else np.asarray(stratum, dtype=np.int64)
        return Clusters(tuple(str(name) for name in names), kind, np.asarray(size, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def effective(self) -> float:
        """The effective sample size (Kish 1965), (sum n)^2 / sum n^2: so many equal clusters carry the same
        information; 0.0 where all are empty.
        """
        squares = float((self.size**2).sum())
        return float(self.size.sum()) ** 2 / squares if squares else 0.0

    def same(self, other: Clusters) -> bool:
        """Return whether both are the same clusters, in the same order and strata (sizes are a row's own)."""
        return self is other or self.names == other.names and bool((self.stratum == other.stratum).all())


class Resampled(ABC):
    """One metric of one record, recomputable for any weights of its clusters.

    Attributes:
        smooth: whether small changes of the weights change the metric a little, as the jackknife presumes. A rate at a
            quantile, such as FPR95, jumps.
    """

    smooth: bool = True

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters

    @cached_property
    def value(self) -> float | None:
        """The metric of the whole test set, every cluster once; None where undefined."""
        found = float(self.values(np.ones((1, len(self.clusters))))[0])
        return found if np.isfinite(found) else None

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Return the metric, (W,) float64, for `weights` (W, C), not negative; NaN where it is undefined.

        Raises:
            BenchError: the shape is not (W, C).
        """
        weights = np.asarray(weights, dtype=np.float64)
        if weights.ndim != 2 or weights.shape[1] != len(self.clusters):
            raise BenchError(
                f"weights of shape {weights.shape}; expected (draws, {len(self.clusters)}), one column a cluster"
            )
        return self._values(weights)

    def mixed(self, other: Resampled, take: np.ndarray) -> np.ndarray:
        """Return the metric, (W,) float64, of rows whose clusters come from `other` where `take` (W, C), bool or 0 and
        1, says so.

        Nothing taken is `self.value`, all taken `other.value`, but for rounding (some 1e-16).

        Raises:
            BenchError: `other` is another metric or has other clusters, or the shape is not (W, C).
        """
        self.check(other)
        take = np.asarray(take, dtype=np.float64)
        if take.ndim != 2 or take.shape[1] != len(self.clusters):
            raise BenchError(
                f"take of shape {take.shape}; expected (swaps, {len(self.clusters)}), one column a cluster"
            )
        return self._mixed(other, take)

    def check(self, other: Resampled) -> None:
        """Raise BenchError unless `other` is the same kind of metric over the same clusters."""
        if type(self) is not type(other):
            raise BenchError("two different metrics cannot be compared")
        if not self.clusters.same(other.clusters):
            raise BenchError(
                f"two rows were not measured on the same clusters ({len(self.clusters)} and {len(other.clusters)}); "
                "compare rows of one data set, split and protocol"
            )

    @abstractmethod
    def same(self, other: Resampled) -> np.ndarray:
        """Return, (C,) bool, the clusters in which both have identical results, so that swapping them changes
        nothing.
        """

    @abstractmethod
    def _values(self, weights: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def _mixed(self, other: Resampled, take: np.ndarray) -> np.ndarray: ...


class Ratio(Resampled):
    """sum w numerator / sum w denominator: accuracy, recall, precision, F1 as 2 tp / (2 tp + fp + fn), recall@k, MRR.

    Args:
        numerator, denominator: (C,), finite; the denominators not negative.
    """

    def __init__(self, clusters: Clusters, numerator: np.ndarray, denominator: np.ndarray) -> None:
        super().__init__(clusters)
        self.numerator, self.denominator = (
            np.asarray(numerator, dtype=np.float64),
            np.asarray(denominator, dtype=np.float64),
        )
        for part in (self.numerator, self.denominator):
            if part.shape != (len(clusters),) or not np.isfinite(part).all():
                raise BenchError(f"sums of shape {part.shape}; expected {len(clusters)} finite ones, one a cluster")
        if (self.denominator < 0).any():
            raise BenchError("a denominator is negative")

    def same(self, other: Resampled) -> np.ndarray:
        """Clusters with equal sums."""
        assert isinstance(other, Ratio)
        return np.asarray((self.numerator == other.numerator) & (self.denominator == other.denominator))

    def _values(self, weights: np.ndarray) -> np.ndarray:
        return divide(weights @ self.numerator, weights @ self.denominator)

    def _mixed(self, other: Resampled, take: np.ndarray) -> np.ndarray:
        assert isinstance(other, Ratio)
        change = np.stack([other.numerator - self.numerator, other.denominator - self.denominator], axis=1)
        top, bottom = (take @ change).T
        return divide(self.numerator.sum() + top, self.denominator.sum() + bottom)


class MeanOf(Resampled):
    """The mean of the folds' results, each over clusters of its own; undefined where one of them is. Clusters are drawn
    within folds.
    """

    def __init__(self, parts: Sequence[Resampled]) -> None:
        if not parts:
            raise BenchError("the mean of no results")
        names = [name for part in parts for name in part.clusters.names]
        stratum, before = [], 0
        for part in parts:
            stratum.append(part.clusters.stratum + before)
            before += int(part.clusters.stratum.max()) + 1
        super().__init__(
            Clusters.of(names, np.concatenate([part.clusters.size for part in parts]), np.concatenate(stratum))
        )
        self.parts = tuple(parts)
        self.smooth = all(part.smooth for part in parts)

    def check(self, other: Resampled) -> None:
        """Raise BenchError unless `other` is the mean of the same kind of parts."""
        super().check(other)
        assert isinstance(other, MeanOf)
        if len(self.parts) != len(other.parts):
            raise BenchError(f"means over {len(self.parts)} and {len(other.parts)} folds cannot be compared")
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            mine.check(theirs)

    def same(self, other: Resampled) -> np.ndarray:
        """Clusters that are the same in their fold."""
        assert isinstance(other, MeanOf)
        return np.concatenate([mine.same(theirs) for mine, theirs in zip(self.parts, other.parts, strict=True)])

    def _columns(self) -> Iterator[tuple[int, slice]]:
        start = 0
        for number, part in enumerate(self.parts):
            yield number, slice(start, start + len(part.clusters))
            start += len(part.clusters)

    def _values(self, weights: np.ndarray) -> np.ndarray:
        mean: np.ndarray = np.mean(
            [self.parts[i].values(weights[:, columns]) for i, columns in self._columns()], axis=0
        )
        return mean

    def _mixed(self, other: Resampled, take: np.ndarray) -> np.ndarray:
        assert isinstance(other, MeanOf)
        mixed = [self.parts[i].mixed(other.parts[i], take[:, columns]) for i, columns in self._columns()]
        mean: np.ndarray = np.mean(mixed, axis=0)
        return mean
