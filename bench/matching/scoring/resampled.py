"""One metric of a matching record, in a form that can be recomputed for any resampling of its clusters.

A cluster is the source scene, where it is known, else the leakage group. A pair belongs to the cluster of its SAR
patch, which is the query: a negative also touches the cluster of its optical patch, and
that dependence is not modelled (docs/statistics.md). A retrieval query belongs to the cluster of its own patch.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.execution.records import Record
from bench.matching.scoring.metrics import (
    Ranks,
    choose_threshold,
    decision_metrics,
    found_within,
    reciprocal_ranks,
)
from bench.matching.scoring.pairs import HARD, POSITIVE, UNIFORM
from bench.statistics.rankings import Ranking
from bench.statistics.resampling import Clusters, Ratio, Resampled

KINDS = {"uniform": UNIFORM, "hard": HARD}
DECISIONS = ("accuracy", "precision", "recall", "f1")
RANKED = {"roc_auc": Ranking.roc_auc, "fpr95": Ranking.fpr_at_recall}
RETRIEVED = {"recall_at_1": 1, "recall_at_5": 5, "recall_at_10": 10, "mrr": None}


def resampled(metric: str, record: Record, samples: Mapping[str, Any]) -> Resampled | None:
    """Return `metric` of `record` as a function of cluster weights; None for one that these arrays do not settle.

    Known: `<uniform|hard>.[fixed.]<accuracy|precision|recall|f1>`, `<uniform|hard>.<roc_auc|fpr95>`, and
    `gallery.<direction>.<recall_at_k|mrr>`.

    Raises:
        BenchError: an array is missing.
    """
    kind, _, rest = metric.partition(".")
    if record.metrics.get(metric) is None:
        return None
    try:
        if kind in KINDS and (rest in RANKED or rest.removeprefix("fixed.") in DECISIONS):
            return _of_pairs(kind, rest, record, samples)
        if kind == "gallery":
            return _of_queries(rest, samples)
    except KeyError as error:
        raise BenchError(f"the per-sample scores of {record.slot} lack {error}; score the cell again") from error
    return None


def cluster_of_samples(samples: Mapping[str, Any]) -> np.ndarray:
    """Return the cluster of each test sample, (n,) text: its scene; the leakage group where a sample's scene is
    unknown.
    """
    group = np.asarray(samples["group"])
    scene = samples.get("scene")
    return group if scene is None else np.where(np.asarray(scene) == "", group, scene)


def clusters_known(samples: Mapping[str, Any]) -> bool:
    """Return whether the source scenes are known; where each sample is a cluster of its own, intervals are too
    narrow.
    """
    return not np.array_equal(cluster_of_samples(samples), np.asarray(samples["id"]))


@dataclass(frozen=True, eq=False)
class _Decisions:
    """The decisions of one kind, all arrays (n,): which of the pairs they are, the true answer, and the cluster."""

    keep: np.ndarray
    label: np.ndarray
    cluster: np.ndarray
    clusters: Clusters


_DECISIONS: OrderedDict[tuple[bytes, str], _Decisions] = OrderedDict()
_KEPT = 64


def _decisions(kind: str, samples: Mapping[str, Any]) -> _Decisions:
    """Return what the rows of a table have in common, made once for equal samples and pairs."""
    mark = hashlib.sha256()
    for array in (cluster_of_samples(samples), samples["pair_sar"], samples["kind"]):
        mark.update(f"{array.dtype}{array.shape}".encode())
        mark.update(np.ascontiguousarray(array).tobytes())
    key = (mark.digest(), kind)
    if key not in _DECISIONS:
        keep = (samples["kind"] == POSITIVE) | (samples["kind"] == KINDS[kind])
        label = samples["kind"][keep] == POSITIVE
        names, cluster = np.unique(cluster_of_samples(samples)[samples["pair_sar"][keep]], return_inverse=True)
        clusters = Clusters.of(names, np.bincount(cluster, minlength=len(names)))
        _DECISIONS[key] = _Decisions(keep, label, cluster, clusters)
        if len(_DECISIONS) > _KEPT:
            _DECISIONS.popitem(last=False)
    return _DECISIONS[key]


def threshold_cost(record: Record, samples: Mapping[str, Any], kind: str = "uniform") -> float | None:
    """Return what the transfer of the validation threshold to the test pairs costs in accuracy: accuracy at the best
    threshold of the test pairs, an upper bound, less the recorded one. None where either is unknown.

    Raises:
        BenchError: an array is missing.
    """
    reached = record.metrics.get(f"{kind}.accuracy")
    try:
        known = _decisions(kind, samples)
        label, distance = known.label, np.asarray(samples["distance"][known.keep], dtype=np.float64)
    except KeyError as error:
        raise BenchError(f"the per-sample scores of {record.slot} lack {error}; score the cell again") from error
    if reached is None or label.all() or not label.any() or not np.isfinite(distance).any():
        return None
    best = decision_metrics(label, distance, choose_threshold(label, distance))["accuracy"]
    return None if best is None else best - reached


def _of_pairs(kind: str, name: str, record: Record, samples: Mapping[str, Any]) -> Resampled | None:
    known = _decisions(kind, samples)
    label, cluster, clusters = known.label, known.cluster, known.clusters
    distance = np.asarray(samples["distance"][known.keep], dtype=np.float64)
    if name in RANKED:
        return RANKED[name](clusters, cluster, distance, label)
    fixed, _, decision = name.rpartition(".")
    threshold = record.facts.get("fixed_threshold" if fixed else f"{kind}.threshold")
    if threshold is None:
        return None
    match = np.isfinite(distance) & (distance <= threshold)
    hit, called, true = match & label, match, label
    top, bottom = {
        "accuracy": (match == label, np.ones(len(label))),
        "precision": (hit, called),
        "recall": (hit, true),
        "f1": (2 * hit, called.astype(np.int64) + true),
    }[decision]
    return Ratio(clusters, *(np.bincount(cluster, weights=part, minlength=len(clusters)) for part in (top, bottom)))


def _of_queries(name: str, samples: Mapping[str, Any]) -> Resampled | None:
    direction, _, metric = name.partition(".")
    if metric not in RETRIEVED or f"gallery_{direction}" not in samples:
        return None
    better, tied = (np.asarray(row, dtype=np.int64) for row in samples[f"gallery_{direction}"])
    k = RETRIEVED[metric]
    ranks = Ranks(better, tied, np.zeros(len(better), dtype=np.int64))
    each = reciprocal_ranks(ranks) if k is None else found_within(ranks, k)
    names, cluster = np.unique(cluster_of_samples(samples)[samples["gallery_position"]], return_inverse=True)
    count = np.bincount(cluster, minlength=len(names)).astype(np.float64)
    return Ratio(Clusters.of(names, count), np.bincount(cluster, weights=each, minlength=len(names)), count)
