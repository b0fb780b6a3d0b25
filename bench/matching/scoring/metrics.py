"""Metrics of the matching task: plain functions on arrays, NumPy only, no files and no state.

Owns what the numbers of a board mean. Does not own how pairs are drawn (`pairs.py`) or how ranks are counted over a
gallery (`retrieval.py`).

Conventions, the same everywhere:
    distance: float (n,), smaller = more alike. label: bool (n,), True = the two patches show the same place.
    Decision: a match if and only if `distance <= threshold` and the distance is finite.
    Failures: a distance that is NaN or infinite is *never a match* at any threshold (it sorts after every finite
        distance, tied with the other failures), and `pair_metrics` reports how many there are. A failed true match is
        therefore always a miss.
    Undefined is None, never 0 or NaN: precision where nothing is called a match, recall without positives, curves
        without both classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.core.errors import BenchError

Criterion = Literal["accuracy", "balanced_accuracy", "f1"]
Number = float | int | None


def clean(label: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return (label bool (n,), distance float64 (n,) with every failure as +inf, number of failures).

    Raises:
        BenchError: the two arrays are not one-dimensional and of one length, or labels are not 0/1.
    """
    label, distance = np.asarray(label), np.asarray(distance, dtype=np.float64)
    if label.ndim != 1 or label.shape != distance.shape:
        raise BenchError(
            f"label has shape {label.shape} and distance {distance.shape}; expected two arrays of shape (n,)"
        )
    if label.dtype != bool:
        if not np.isin(label, (0, 1)).all():
            raise BenchError("labels must be 0 or 1 (1 = the same place)")
        label = label.astype(bool)
    bad = ~np.isfinite(distance)
    return label, np.where(bad, np.inf, distance), int(bad.sum())


def confusion(label: np.ndarray, distance: np.ndarray, threshold: float) -> dict[str, int]:
    """Return the counts {"tp", "fp", "tn", "fn"} of the decision `distance <= threshold`."""
    label, distance, _ = clean(label, distance)
    match = np.isfinite(distance) & (distance <= threshold)
    tp, fp = int((match & label).sum()), int((match & ~label).sum())
    positives = int(label.sum())
    return {"tp": tp, "fp": fp, "tn": len(label) - positives - fp, "fn": positives - tp}


def decision_metrics(label: np.ndarray, distance: np.ndarray, threshold: float) -> dict[str, Number]:
    """Return accuracy, precision, recall and f1 of the decision at `threshold`.

    None where undefined: precision when nothing is called a match, recall and f1 when there is no positive, accuracy of
    no pair. With positives but no true positive, f1 is 0.
    """
    c = confusion(label, distance, threshold)
    tp, fp, tn, fn = c["tp"], c["fp"], c["tn"], c["fn"]
    return {
        "accuracy": _ratio(tp + tn, tp + fp + tn + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn) if tp + fn else None,
    }


def pair_metrics(label: np.ndarray, distance: np.ndarray, threshold: float | None = None) -> dict[str, Number]:
    """Return every pair metric in one dictionary.

    Keys: pairs, positives, failures, roc_auc, average_precision, fpr95; with a threshold also accuracy, precision,
    recall, f1, threshold.
    """
    label, distance, failures = clean(label, distance)
    out: dict[str, Number] = {"pairs": len(label), "positives": int(label.sum()), "failures": failures}
    out["roc_auc"] = roc_auc(label, distance)
    out["average_precision"] = average_precision(label, distance)
    out["fpr95"] = fpr_at_recall(label, distance, 0.95)
    if threshold is not None:
        out.update(decision_metrics(label, distance, threshold))
        out["threshold"] = float(threshold)
    return out


# -- curves ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Cuts:
    """Cumulative counts at every distinct distance, ascending: accepting all pairs with `distance <= at[i]` gives
    `tp[i]` and `fp[i]`.

    Shapes (k,); a last entry at +inf stands for the failures, where there are any.
    """

    at: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    positives: int
    negatives: int


def cuts(label: np.ndarray, distance: np.ndarray) -> Cuts:
    """Return the cumulative counts at every distinct distance; equal distances are accepted together."""
    label, distance, _ = clean(label, distance)
    order = np.argsort(distance, kind="stable")
    ranked, hits = distance[order], label[order]
    last = (
        np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
        if len(ranked)
        else np.zeros(0, dtype=np.int64)
    )
    tp = np.cumsum(hits)[last] if len(ranked) else np.zeros(0, dtype=np.int64)
    positives = int(hits.sum())
    return Cuts(ranked[last], tp.astype(np.int64), (last + 1 - tp).astype(np.int64), positives, len(label) - positives)


def roc_curve(label: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (fpr, tpr, thresholds), each (k + 1,), from "nothing accepted" (threshold -inf) to "all accepted".

    Equals scikit-learn's `roc_curve(label, -distance, drop_intermediate=False)` with thresholds of the other sign.
    Empty arrays without both classes.
    """
    c = cuts(label, distance)
    if not c.positives or not c.negatives:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    fpr, tpr = np.append(0, c.fp) / c.negatives, np.append(0, c.tp) / c.positives
    return fpr, tpr, np.append(-np.inf, c.at)


def pr_curve(label: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (precision, recall, thresholds), each (k,), at every distinct distance, ascending.

    Equals scikit-learn's `precision_recall_curve(label, -distance)` reversed and without its artificial last point
    (precision 1, recall 0). Empty arrays without a positive.
    """
    c = cuts(label, distance)
    if not c.positives:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    return c.tp / (c.tp + c.fp), c.tp / c.positives, c.at


def roc_auc(label: np.ndarray, distance: np.ndarray) -> float | None:
    """Return P(distance of a positive < distance of a negative), ties counting one half (Mann-Whitney); None without
    both classes.
    """
    c = cuts(label, distance)
    if not c.positives or not c.negatives:
        return None
    tp, fp = np.append(0, c.tp), np.append(0, c.fp)
    doubled = np.sum(np.diff(fp) * (tp[1:] + tp[:-1]), dtype=np.int64)  # trapezes in integers, hence exact
    return float(doubled / (2 * c.positives * c.negatives))


def average_precision(label: np.ndarray, distance: np.ndarray) -> float | None:
    """Return sum over cuts of (recall_i - recall_(i-1)) * precision_i, scikit-learn's definition on -distance; None
    without a positive.
    """
    c = cuts(label, distance)
    if not c.positives:
        return None
    return float(np.sum(np.diff(np.append(0, c.tp)) / c.positives * (c.tp / (c.tp + c.fp))))


def fpr_at_recall(label: np.ndarray, distance: np.ndarray, recall: float = 0.95) -> float | None:
    """Return the smallest false-positive rate among the cuts whose recall is at least `recall` (FPR95 at 0.95); no
    interpolation.

    1.0 where that recall needs the failures to be accepted; None without both classes.
    """
    c = cuts(label, distance)
    if not c.positives or not c.negatives:
        return None
    first = int(np.argmax(c.tp / c.positives >= recall))
    return float(c.fp[first] / c.negatives) if np.isfinite(c.at[first]) else 1.0


def choose_threshold(label: np.ndarray, distance: np.ndarray, criterion: Criterion = "accuracy") -> float:
    """Return the threshold that maximises `criterion` on these (validation) pairs.

    Candidates: accept nothing (just below the smallest distance), accept everything finite (the largest distance), and
    the middle of each gap between neighbouring distinct distances. Among equally good ones the widest gap wins, then
    the smallest threshold.

    Raises:
        BenchError: one of the classes is missing, or no distance is finite, or the criterion is unknown.
    """
    c = cuts(label, distance)
    if not c.positives or not c.negatives:
        raise BenchError(
            "a threshold needs matching and non-matching validation pairs; give the validation part more samples"
        )
    finite = np.isfinite(c.at)
    at, tp, fp = c.at[finite], np.append(0, c.tp[finite]), np.append(0, c.fp[finite])
    if not len(at):
        raise BenchError("no threshold can be chosen: every validation distance is NaN or infinite")
    middle = at[:-1] + (at[1:] - at[:-1]) / 2
    middle = np.where(middle < at[1:], middle, at[:-1])
    candidates = np.concatenate([[np.nextafter(at[0], -np.inf)], middle, [at[-1]]])
    gaps = np.concatenate([[0.0], np.diff(at), [0.0]])
    value = _criterion(criterion, tp, fp, c.positives, c.negatives)
    best = np.flatnonzero(value == value.max())
    return float(candidates[best[np.argmax(gaps[best])]])


def _criterion(name: str, tp: np.ndarray, fp: np.ndarray, positives: int, negatives: int) -> np.ndarray:
    value: np.ndarray
    if name == "accuracy":
        value = tp + (negatives - fp)
    elif name == "balanced_accuracy":
        value = tp * negatives + (negatives - fp) * positives
    elif name == "f1":
        value = 2 * tp / (tp + fp + positives)
    else:
        raise BenchError(f"unknown criterion {name!r}; known: accuracy, balanced_accuracy, f1")
    return value


# -- retrieval ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Ranks:
    """Where the true partner stands in each query's gallery; all arrays int64 (n,).

    Attributes:
        better: gallery items strictly closer than the true partner.
        tied: other gallery items exactly as far as the true partner.
        gallery: gallery size, the true partner included (items left out as partial true matches do not count).
        failures: queries whose distance to the true partner is not finite (they rank behind every finite item, tied
            with other failures).

    Ties are broken at random in expectation: a constant prediction has recall@k = k / gallery and mean rank (gallery +
    1) / 2.
    """

    better: np.ndarray
    tied: np.ndarray
    gallery: np.ndarray
    failures: int = 0

    @property
    def mean_rank(self) -> np.ndarray:
        """Expected 1-based rank under random tie-breaking, float64 (n,)."""
        return self.better + 1 + self.tied / 2


def recall_at_k(ranks: Ranks, k: int) -> float | None:
    """Return the expected share of queries whose true partner is among the k nearest; None without queries."""
    return float(np.mean(found_within(ranks, k))) if len(ranks.better) else None


def found_within(ranks: Ranks, k: int) -> np.ndarray:
    """Return for each query the probability that its true partner is among the k nearest, float64 (n,).

    Of `tied + 1` equally likely places from `better + 1` on, those up to k count. A gallery of k or fewer gives 1.
    """
    return np.asarray(np.clip((k - ranks.better) / (ranks.tied + 1), 0.0, 1.0))


def mrr(ranks: Ranks) -> float | None:
    """Return the mean reciprocal rank, in expectation over random tie-breaking; None without queries."""
    return float(np.mean(reciprocal_ranks(ranks))) if len(ranks.better) else None


def reciprocal_ranks(ranks: Ranks) -> np.ndarray:
    """Return the reciprocal rank of each query's true partner, in expectation over random tie-breaking, float64 (n,), n
    > 0.
    """
    top = int((ranks.better + ranks.tied).max()) + 1
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, top + 1))])
    tied = (harmonic[ranks.better + ranks.tied + 1] - harmonic[ranks.better]) / (ranks.tied + 1)
    return np.where(ranks.tied == 0, 1.0 / (ranks.better + 1), tied)


def rank_metrics(ranks: Ranks, ks: tuple[int, ...] = (1, 5, 10)) -> dict[str, Number]:
    """Return recall_at_<k>, mrr, mean_rank, queries, gallery (mean size) and failures in one dictionary."""
    out: dict[str, Number] = {f"recall_at_{k}": recall_at_k(ranks, k) for k in ks}
    some = len(ranks.better) > 0
    out["mrr"] = mrr(ranks)
    out["mean_rank"] = float(np.mean(ranks.mean_rank)) if some else None
    out["queries"] = len(ranks.better)
    out["gallery"] = float(np.mean(ranks.gallery)) if some else None
    out["failures"] = ranks.failures
    return out


def _ratio(top: int, bottom: int) -> float | None:
    return top / bottom if bottom else None
