"""One metric of one record as a function of how often each cluster counts: what every bootstrap, jackknife and swap
test asks for.

Owns the exact recomputation of a metric for thousands of resampled test sets at once. Does not own which resamples are
drawn and what is concluded from them (`statistics.py`), nor how a metric is defined (`detection.average_precision`,
`matching.metrics`); the numbers are theirs.

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
from bench.statistics.ranked_lists import area_ap, divide, roc_auc


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
    """One metric of one record, recomputable for any weights of its clusters."""

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


class Ranking(Resampled):
    """A metric of a ranked list: area AP of detections, or ROC AUC of pairs. Made by the two static methods.

    The scores of two rows are on different scales, so `mixed` ranks an item by its place in its own row's list.
    """

    @staticmethod
    def average_precision(
        clusters: Clusters,
        cluster: np.ndarray,
        score: np.ndarray,
        tp: np.ndarray,
        ignored: np.ndarray | None,
        positives: np.ndarray,
    ) -> Ranking:
        """Return area AP, the number of `interpolated_ap(find_hits(...), "area")`.

        Args:
            cluster: (n,) int, whose each detection is. score: (n,), higher is more confident; equal scores stay in the
                order given.
            tp, ignored: (n,) bool. positives: (C,) ships that were to be found.

        Raises:
            BenchError: shapes differ, a score is not finite, or a cluster has more true positives than ships.
        """
        return _AreaAp(clusters, cluster, score, tp, ignored, positives)

    @staticmethod
    def roc_auc(clusters: Clusters, cluster: np.ndarray, distance: np.ndarray, label: np.ndarray) -> Ranking:
        """Return ROC AUC, the number of `matching.metrics.roc_auc`: ties count one half, a failure (NaN or infinite)
        stands behind all.

        Args:
            cluster: (n,) int, whose each pair is. distance: (n,), smaller is more alike. label: (n,) bool.

        Raises:
            BenchError: shapes differ.
        """
        return _RocAuc(clusters, cluster, distance, label)


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


# -- ranked lists ------------------------------------------------------------------------------------------------------
class _Ranked(Ranking):
    """Items in their order: `place` (n,) float64 rising, on a scale that two rows share; `good` (n,) bool, found a ship
    or same place.
    """

    cluster: np.ndarray
    place: np.ndarray
    good: np.ndarray

    def _members(self, clusters: Clusters, cluster: np.ndarray, *columns: np.ndarray) -> np.ndarray:
        cluster = np.asarray(cluster, dtype=np.int64)
        if cluster.ndim != 1 or any(np.shape(column) != cluster.shape for column in columns):
            raise BenchError(
                f"arrays of shapes {[np.shape(column) for column in (cluster, *columns)]}; expected one row an item"
            )
        if len(cluster) and (cluster.min() < 0 or cluster.max() >= len(clusters)):
            raise BenchError(f"an item belongs to cluster {cluster.max()}, but there are {len(clusters)}")
        return cluster

    def same(self, other: Resampled) -> np.ndarray:
        """Clusters whose items stand at the same places with the same outcome."""
        assert isinstance(other, _Ranked)
        equal = np.ones(len(self.clusters), dtype=bool)
        mine, theirs = (np.argsort(each.cluster, kind="stable") for each in (self, other))
        counts = [np.bincount(each.cluster, minlength=len(equal)) for each in (self, other)]
        equal &= counts[0] == counts[1]
        mine, theirs = mine[equal[self.cluster[mine]]], theirs[equal[other.cluster[theirs]]]
        differs = (self.place[mine] != other.place[theirs]) | (self.good[mine] != other.good[theirs])
        equal[self.cluster[mine[differs]]] = False
        return equal

    def _merged(self, other: _Ranked) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (pseudo-cluster, place, good) of both lists in one order; other's clusters follow ours.

        At one place the cluster decides, so that swapping the roles of the two rows changes nothing.
        """
        place = np.concatenate([self.place, other.place])
        own = np.concatenate([self.cluster, other.cluster])
        order = np.lexsort((own, place))
        pseudo = np.concatenate([self.cluster, other.cluster + len(self.clusters)])
        return pseudo[order], place[order], np.concatenate([self.good, other.good])[order]


class _AreaAp(_Ranked):
    def __init__(
        self,
        clusters: Clusters,
        cluster: np.ndarray,
        score: np.ndarray,
        tp: np.ndarray,
        ignored: np.ndarray | None,
        positives: np.ndarray,
    ) -> None:
        super().__init__(clusters)
        tp, score = np.asarray(tp, dtype=bool), np.asarray(score, dtype=np.float64)
        left_out = np.zeros(len(tp), dtype=bool) if ignored is None else np.asarray(ignored, dtype=bool)
        cluster, self.positives = (
            self._members(clusters, cluster, score, tp, left_out),
            np.asarray(positives, dtype=np.float64),
        )
        if not np.isfinite(score).all():
            raise BenchError("a score is NaN or infinite; it cannot be ranked")
        order = np.argsort(-score, kind="stable")
        order = order[~left_out[order]]
        self.cluster, self.good, self.place = cluster[order], tp[order], np.arange(len(order), dtype=np.float64)
        if self.positives.shape != (len(clusters),):
            raise BenchError(f"positives of shape {self.positives.shape}; expected one a cluster, {len(clusters)}")
        if (np.bincount(self.cluster[self.good], minlength=len(clusters)) > self.positives).any():
            raise BenchError("a cluster has more true positives than ships; each ship may be found once")

    def check(self, other: Resampled) -> None:
        super().check(other)
        assert isinstance(other, _AreaAp)
        if (self.positives != other.positives).any():
            raise BenchError(
                "two rows were not measured against the same ships; compare rows of one data set and split"
            )

    def _values(self, weights: np.ndarray) -> np.ndarray:
        return area_ap(self.cluster, self.good, self.positives, weights)

    def _mixed(self, other: Resampled, take: np.ndarray) -> np.ndarray:
        assert isinstance(other, _AreaAp)
        cluster, _, good = self._merged(other)
        return area_ap(
            cluster, good, np.concatenate([self.positives, other.positives]), np.concatenate([1 - take, take], axis=1)
        )


class _RocAuc(_Ranked):
    def __init__(self, clusters: Clusters, cluster: np.ndarray, distance: np.ndarray, label: np.ndarray) -> None:
        super().__init__(clusters)
        label, distance = np.asarray(label, dtype=bool), np.asarray(distance, dtype=np.float64)
        cluster = self._members(clusters, cluster, distance, label)
        distance = np.where(np.isfinite(distance), distance, np.inf)
        _, tie, count = np.unique(distance, return_inverse=True, return_counts=True)
        # equal distances share the middle of their places
        middle = (np.cumsum(count) - (count + 1) / 2) / max(len(tie), 1)
        place = np.where(np.isfinite(distance), middle[tie] if len(tie) else distance, np.inf)
        order = np.argsort(place, kind="stable")
        self.cluster, self.good, self.place = cluster[order], label[order], place[order]

    def _values(self, weights: np.ndarray) -> np.ndarray:
        return roc_auc(self.cluster, self.place, self.good, weights)

    def _mixed(self, other: Resampled, take: np.ndarray) -> np.ndarray:
        assert isinstance(other, _RocAuc)
        return roc_auc(*self._merged(other), np.concatenate([1 - take, take], axis=1))
