"""Detections of equal scores: how far the AP of the same boxes could be from the one that is reported.

The convention is that of pycocotools: equal scores rank in the order of the scenes, and in a scene in the order they
came in. So the AP of a file whose scores are equal depends on the order of its entries. Here stands what other orders
give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bench.boards.equal_scores import EQUAL_SCORES
from bench.detection.scoring.evaluator import (
    IOUS,
    BoxTable,
    Pairs,
    ap_from_matches,
    match,
    mean_ap_from_matches,
    overlapping,
)

_IOU = 0.5
_ROUNDING = 1e-9


def order_spread(table: BoxTable, ap_area: float | None, ap_coco: float | None) -> dict[str, Any]:
    """Return {EQUAL_SCORES: {"detections", "ap_area", "ap_coco"}}: how many detections share their score with another,
    and the (lowest, highest) AP that other orders of them were found to give; {} where all of these give one number.

    Looked at: the largest overlap with a ship first, the smallest first, and what was a hit in the former first. An
    order that is better or worse still is possible, since duplicates compete for a ship.

    Args:
        ap_area, ap_coco: as reported, in the order of the table.
    """
    _, group = np.unique(table.score, return_inverse=True)
    shared = _shared(table.score)
    if not shared or ap_area is None or ap_coco is None:
        return {}
    overlap = _best_overlap(table, overlapping(table, min(_IOU, *IOUS)))
    spread: dict[str, Any] = {"detections": shared}
    best = _ranked(table, group, overlap)
    hits_first = _ranked(table, group, overlap + 2.0 * _hits(best))
    found = [_aps(each) for each in (_ranked(table, group, -overlap), best, hits_first)]
    for i, (name, reported) in enumerate((("ap_area", ap_area), ("ap_coco", ap_coco))):
        values = [reported, *(float(each[i] or 0) for each in found)]
        spread[name] = [min(values), max(values)]
    matters = any(high - low > 1e-12 for low, high in (spread["ap_area"], spread["ap_coco"]))
    return {EQUAL_SCORES: spread} if matters else {}


def stated_spread(facts: Mapping[str, Any], score: np.ndarray, metrics: Mapping[str, float | None]) -> dict[str, Any]:
    """Return a record's own EQUAL_SCORES as far as it can be: None where no scores are equal, else with the number of
    detections counted anew, and ranges that hold the AP; {} where the record states nothing.

    Args:
        facts: of the record. score: (n,) of its detections. metrics: as computed from its per-sample scores.
    """
    stated = facts.get(EQUAL_SCORES)
    if stated is None:
        return {}
    shared = _shared(score)
    spread: dict[str, Any] = {"detections": shared}
    for name in ("ap_area", "ap_coco"):
        ap, (low, high) = float(metrics[f"scene.{name}"] or 0), stated[name]
        spread[name] = [min(low, ap), max(high, ap)]
        if not low - _ROUNDING <= ap <= high + _ROUNDING:
            return {EQUAL_SCORES: spread}
        spread[name] = stated[name]
    return {EQUAL_SCORES: spread if shared else None}


def _shared(score: np.ndarray) -> int:
    """Return how many of the scores (n,) stand more than once."""
    _, size = np.unique(score, return_counts=True)
    return int(size[size > 1].sum())


def _best_overlap(table: BoxTable, pairs: Pairs) -> np.ndarray:
    """Return the largest IoU of each detection with a ship that counts, (n,) float64; 0 below the smallest of the
    pairs.
    """
    counts = ~table.truth_ignore[pairs.truth]
    by_rank = np.zeros(len(table.score))
    np.maximum.at(by_rank, pairs.found[counts], pairs.iou[counts])
    overlap = np.empty_like(by_rank)
    overlap[pairs.order] = by_rank
    return overlap


def _ranked(table: BoxTable, group: np.ndarray, quality: np.ndarray) -> BoxTable:
    """Return the table with scores that all differ: by `group` (n,) first, by `quality` (n,) among equals, higher is
    better.
    """
    score = np.empty(len(group))
    score[np.lexsort((quality, group))] = np.arange(len(group))
    return replace(table, score=score)


def _hits(table: BoxTable) -> np.ndarray:
    """Return which detections are true positives at IoU 0.5 by the rule "voc", (n,) bool."""
    matches = match(table, "voc", (_IOU,))
    hits = np.zeros(len(table.score), dtype=bool)
    hits[matches.position] = matches.tp[0, 0]
    return hits


def _aps(table: BoxTable) -> tuple[float | None, float | None]:
    voc = ap_from_matches(match(table, "voc", (_IOU,)), "area", _IOU)
    return voc, mean_ap_from_matches(match(table, "coco", IOUS))
