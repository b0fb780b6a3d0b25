"""One metric of a detection record, in a form that can be recomputed for any resampling of its scenes.

A cluster is the acquisition or place that a scene was cut from, where that is known, else the scene. What stands in
`scene.*` is recomputed from cached matches; tiles overlap, and have no numbers here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.detection.scoring.score import matches_from_samples
from bench.execution.records import Record
from bench.statistics.rankings import Ranking
from bench.statistics.resampling import Clusters, Ratio, Resampled

AREA, DECISIONS = "ap_area", ("f1", "precision", "recall")


def resampled(metric: str, record: Record, samples: Mapping[str, Any]) -> Resampled | None:
    """Return `metric` of `record` as a function of cluster weights; None for one that these arrays do not settle.

    Known: `scene.[<stratum>.]ap_area`, and `f1`, `precision`, `recall` at the validation scenes' threshold.

    Raises:
        BenchError: an array is missing, or they do not fit together.
    """
    level, *inner, name = metric.split(".")
    if record.metrics.get(metric) is None or level != "scene" or len(inner) > 1 or name not in (AREA, *DECISIONS):
        return None
    _, voc = matches_from_samples(samples)
    group = np.asarray(samples["group"])
    chosen = np.ones(len(group), dtype=bool) if not inner else np.asarray(samples["stratum"]) == inner[0]
    names, number = np.unique(group[chosen], return_inverse=True)
    of_scene = np.zeros(len(group), dtype=np.int64)
    of_scene[chosen] = number
    ships = np.bincount(number, weights=voc.positives[0][chosen], minlength=len(names))
    keep = chosen[voc.scene]
    cluster, tp = of_scene[voc.scene[keep]], voc.tp[0, 0, keep]
    ignored, score = voc.ignored[0, 0, keep], voc.score[keep]
    clusters = Clusters.of(names, ships)
    if name == AREA:
        return Ranking.average_precision(clusters, cluster, score, tp, ignored, ships)
    threshold = record.facts.get("scene.threshold")
    if threshold is None:
        return None
    accepted = ~ignored & (score >= threshold)
    found = np.bincount(cluster[accepted & tp], minlength=len(names))
    called = np.bincount(cluster[accepted], minlength=len(names))
    top, bottom = {"precision": (found, called), "recall": (found, ships), "f1": (2 * found, called + ships)}[name]
    return Ratio(clusters, top, bottom)
