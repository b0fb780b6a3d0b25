"""Metrics of a ranked list under resampling of its clusters: area AP of detections; ROC AUC and FPR at a recall of
pairs.

Owns what such a list is made of, and how two rows are brought onto one scale; the arithmetic is `ranked_lists.py`'s.
NumPy only.
"""

from __future__ import annotations

import numpy as np

from bench.core.errors import BenchError
from bench.statistics.ranked_lists import area_ap, fpr_at_recall, roc_auc
from bench.statistics.resampling import Clusters, Resampled


class Ranking(Resampled):
    """A metric of a ranked list: area AP of detections, or ROC AUC or FPR at a recall of pairs. Made by the static
    methods.

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

    @staticmethod
    def fpr_at_recall(
        clusters: Clusters, cluster: np.ndarray, distance: np.ndarray, label: np.ndarray, recall: float = 0.95
    ) -> Ranking:
        """Return the false-positive rate at a recall, the number of `matching.metrics.fpr_at_recall`; arguments and
        errors as for `roc_auc`.
        """
        return _FprAtRecall(clusters, cluster, distance, label, recall)


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


class _FprAtRecall(_RocAuc):
    smooth = False

    def __init__(
        self, clusters: Clusters, cluster: np.ndarray, distance: np.ndarray, label: np.ndarray, recall: float
    ) -> None:
        super().__init__(clusters, cluster, distance, label)
        self.recall = recall

    def _values(self, weights: np.ndarray) -> np.ndarray:
        return fpr_at_recall(self.cluster, self.place, self.good, weights, self.recall)

    def _mixed(self, other: Resampled, take: np.ndarray) -> np.ndarray:
        assert isinstance(other, _FprAtRecall)
        return fpr_at_recall(*self._merged(other), np.concatenate([1 - take, take], axis=1), self.recall)
