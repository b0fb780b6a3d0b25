"""Average precision and the precision-recall curve: plain functions on ranked detections, NumPy only, no files and no
state.

Owns what the three numbers called AP mean. Does not own which detection is a true positive (`evaluator.py`).

Conventions, the same everywhere:
    Detections come ranked, highest score first; equal scores stay in the order they came in. `tp` bool (n,): found a
    ship. `ignored` bool
        (n,): neither for nor against. Every other detection is a false positive. `positives`: ships that were to be
        found.
    `weight` int (n,): how often each detection counts, for resampled scenes; a detection of weight 2 stands for two
        neighbours in the ranking. `positives` is then the weighted number.
    Precision is tp / (tp + fp), without an epsilon. It is interpolated: at each recall, the best precision at that
    recall or a higher one. Undefined is None, never 0, NaN or -1: nothing to be found. Nothing found is 0.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.core.errors import BenchError

Interpolation = Literal["area", "11-point", "101-point"]

# The recalls of pycocotools, in its own floating-point values: a recall that meets one exactly must fall on the same
# side as there.
RECALLS_101 = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False)
class Hits:
    """The true positives of a ranking, which are all that an interpolated precision-recall curve depends on.

    Attributes:
        tp: (k,) int64 true positives down to and including each hit, strictly rising.
        accepted: (k,) int64 true and false positives down to there.
        positives: ships that were to be found.
    """

    tp: np.ndarray
    accepted: np.ndarray
    positives: int

    @property
    def precision(self) -> np.ndarray:
        """Interpolated precision (k,) at each hit: the best one there or further down."""
        best: np.ndarray = np.maximum.accumulate((self.tp / self.accepted)[::-1])[::-1]
        return best


def find_hits(
    tp: np.ndarray, positives: int, ignored: np.ndarray | None = None, weight: np.ndarray | None = None
) -> Hits:
    """Return the hits of a ranking; a detection that is ignored or of weight 0 is as if it were not there."""
    at = np.flatnonzero(tp if ignored is None else tp & ~ignored)
    if weight is None:
        counted = at + 1 if ignored is None else (at + 1) - np.cumsum(ignored)[at]
        return Hits(np.arange(1, len(at) + 1), counted, int(positives))
    counts = weight if ignored is None else weight * ~ignored
    at = at[counts[at] > 0]
    return Hits(np.cumsum(counts[at]), np.cumsum(counts)[at], int(positives))


def interpolated_ap(hits: Hits, interpolation: Interpolation) -> float | None:
    """Return the average precision of a ranking by one of three definitions; None where nothing was to be found.

    "area": the area under the interpolated curve (VOC devkit of 2010 and later). As each found ship adds the same
        recall, it is the sum of the interpolated precisions at the hits divided by `positives`: a perfect ranking gives
        exactly 1.
    "11-point": the mean interpolated precision at the recalls 0, 0.1, ..., 1 (VOC 2007); recalls are compared as
    integers,
        10 tp >= i positives, where floating-point versions lose a point that is met exactly.
    "101-point": the mean at the recalls 0, 0.01, ..., 1 (COCO); at pycocotools' own floating-point recalls.

    Raises:
        BenchError: unknown interpolation.
    """
    if not hits.positives:
        return None
    precision = hits.precision
    if interpolation == "area":
        return float(np.sum(np.diff(hits.tp, prepend=0) * precision) / hits.positives)
    if interpolation == "11-point":
        first = np.searchsorted(10 * hits.tp, np.arange(11) * hits.positives, side="left")
    elif interpolation == "101-point":
        first = np.searchsorted(hits.tp / hits.positives, RECALLS_101, side="left")
    else:
        raise BenchError(f"unknown interpolation {interpolation!r}; known: area, 11-point, 101-point")
    return float(np.append(precision, 0.0)[first].mean())


def average_precision(
    tp: np.ndarray, score: np.ndarray, positives: int, interpolation: Interpolation = "area"
) -> float | None:
    """Return the average precision of unranked detections.

    Args:
        tp: bool (n,). score: float (n,), higher is more confident, equal scores in the order given.

    Raises:
        BenchError: shapes differ, a score is not finite, or more true positives than ships.
    """
    tp, score = np.asarray(tp, dtype=bool), np.asarray(score, dtype=np.float64)
    if tp.ndim != 1 or tp.shape != score.shape:
        raise BenchError(f"tp has shape {tp.shape} and score {score.shape}; expected two arrays of shape (n,)")
    if not np.isfinite(score).all():
        raise BenchError("a score is NaN or infinite; it cannot be ranked")
    if tp.sum() > positives:
        raise BenchError(f"{int(tp.sum())} true positives among {positives} ships; each ship may be found once")
    return interpolated_ap(find_hits(tp[np.argsort(-score, kind="stable")], positives), interpolation)


# -- the curve, and decisions at a threshold ---------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Curve:
    """Counts when every detection with `score >= threshold[i]` is accepted, from the strictest threshold to the laxest;
    all (k,).

    Equal scores are accepted together, so the curve does not depend on their order. Ignored detections have no point.
    """

    threshold: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    positives: int

    @property
    def precision(self) -> np.ndarray:
        """tp / (tp + fp), (k,) float64, not interpolated."""
        return np.asarray(self.tp / (self.tp + self.fp))

    @property
    def recall(self) -> np.ndarray | None:
        """tp / positives, (k,) float64; None where nothing was to be found."""
        return self.tp / self.positives if self.positives else None


@dataclass(frozen=True)
class Decision:
    """Precision, recall and F1 when detections from a threshold on are accepted; None where undefined.

    `precision` is None where nothing is accepted, `recall` and `f1` where nothing was to be found. `threshold` None
    accepts nothing.
    """

    threshold: float | None
    precision: float | None
    recall: float | None
    f1: float | None


def precision_recall(
    tp: np.ndarray,
    score: np.ndarray,
    positives: int,
    ignored: np.ndarray | None = None,
    weight: np.ndarray | None = None,
) -> Curve:
    """Return the curve of a ranking; `score` (n,) float64 must not rise."""
    counts = np.ones(len(tp), dtype=np.int64) if weight is None else np.asarray(weight, dtype=np.int64)
    counts = counts if ignored is None else counts * ~ignored
    keep = counts > 0
    tp, score, counts = tp[keep], score[keep], counts[keep]
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True)) if len(score) else np.zeros(0, dtype=np.int64)
    found, accepted = np.cumsum(counts * tp)[last], np.cumsum(counts)[last]
    return Curve(score[last], found, accepted - found, int(positives))


def best_decision(curve: Curve) -> Decision:
    """Return the decision with the highest F1, the strictest of equally good ones; without a true positive it accepts
    nothing.
    """
    f1 = 2 * curve.tp / (curve.tp + curve.fp + curve.positives) if curve.positives else np.zeros(0)
    if not len(f1) or f1.max() == 0:
        return decide(curve, None)
    return decide(curve, float(curve.threshold[np.argmax(f1)]))


def decide(curve: Curve, threshold: float | None) -> Decision:
    """Return precision, recall and F1 when every detection with `score >= threshold` is accepted (None: none is)."""
    accepted = 0 if threshold is None else int(np.searchsorted(-curve.threshold, -threshold, side="right"))
    tp, fp = (int(curve.tp[accepted - 1]), int(curve.fp[accepted - 1])) if accepted else (0, 0)
    recall = tp / curve.positives if curve.positives else None
    f1 = 2 * tp / (tp + fp + curve.positives) if curve.positives else None
    return Decision(threshold, tp / (tp + fp) if accepted else None, recall, f1)
