"""Area AP, ROC AUC and FPR at a recall of one ranked list for many weights of its clusters at once: plain functions on
arrays, NumPy only.

Owns the arithmetic of ranked lists under resampling. What a list is made of, and how two rows are brought onto one
scale, is `rankings.py`'s. `weights` (W, C) float64: how often each cluster counts in each of W draws.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# numbers in one intermediate array: fits a processor's cache; bounds the memory to some 150 MB
_CACHED, _BLOCK = (1 << 15, 1 << 22)
_ROUNDING = 1e-12  # of a recall
_DENSE = 128  # up to so many clusters, counts per cluster are kept as a matrix; beyond, they are summed draw by draw


def area_ap(cluster: np.ndarray, good: np.ndarray, positives: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return area AP (W,) of ranked detections; NaN where nothing was to be found.

    Only the hits matter: precision at hit j is (T w)_j / (A w)_j with T[j, c] the true positives and A[j, c] all
    detections of cluster c down to there. A hit of weight 0 does no harm: its precision is at most that of the weighted
    hit before it.
    """
    hits = np.flatnonzero(good)
    if not len(hits):
        return divide(np.zeros(len(weights)), weights @ positives)
    owner, dense = cluster[hits], len(positives) <= _DENSE
    if dense:
        found, accepted = _counts_down_to(hits, owner, len(positives)), _counts_down_to(hits, cluster, len(positives))
    down, summed = cluster[: hits[-1] + 1], np.zeros(len(weights))
    for draws in _blocks(len(weights), len(hits) if dense else len(down)):
        w = np.ascontiguousarray(weights[draws].T, dtype=np.float64)
        gain = w[owner]
        if dense:
            tp, all_ = found @ w, accepted @ w
        else:
            tp, all_ = np.cumsum(gain, axis=0), np.cumsum(w[down], axis=0)[hits]
        precision = np.divide(tp, all_, out=tp, where=all_ > 0)  # 0 / 0 stays 0
        best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        summed[draws] = np.einsum("hw,hw->w", gain, best)
    return divide(summed, weights @ positives)


def _counts_down_to(hits: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """Return (hits, clusters) float64: the members of each cluster among the first items, down to and including each
    hit.

    Args:
        cluster: of every item; or of the hits alone, which then are the items.
    """
    at = np.arange(len(hits)) if len(cluster) == len(hits) else hits
    reached = np.searchsorted(at, np.arange(at[-1] + 1))
    flat = np.bincount(reached * clusters + cluster[: at[-1] + 1], minlength=len(hits) * clusters)
    return np.cumsum(flat.reshape(len(hits), clusters), axis=0, dtype=np.float64)


def roc_auc(cluster: np.ndarray, place: np.ndarray, good: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return ROC AUC (W,) of pairs sorted by place; NaN without both classes.

    For few clusters a quadratic form: U[c, d] counts the pairs of a positive of c and a negative of d in the right
    order, ties one half.
    """
    clusters = weights.shape[1]
    last = np.flatnonzero(np.append(place[1:] != place[:-1], True)) if len(place) else np.zeros(0, dtype=np.int64)
    right, both = np.zeros(len(weights)), np.zeros(len(weights))
    if clusters <= _DENSE and len(place):
        tie = np.searchsorted(last, np.arange(len(place)))
        one, two = (
            np.bincount(tie[of] * clusters + cluster[of], minlength=len(last) * clusters) for of in (good, ~good)
        )
        positive, negative = (each.reshape(len(last), clusters).astype(np.float64) for each in (one, two))
        ordered = positive.T @ (np.cumsum(negative[::-1], axis=0)[::-1] - negative / 2)
        totals = np.outer(positive.sum(axis=0), negative.sum(axis=0))
    for draws in _blocks(len(weights), clusters if clusters <= _DENSE else len(place)):
        w = np.ascontiguousarray(weights[draws].T, dtype=np.float64)
        if clusters <= _DENSE and len(place):
            right[draws], both[draws] = np.einsum("cw,cw->w", w, ordered @ w), np.einsum("cw,cw->w", w, totals @ w)
        elif len(place):
            each = w[cluster]
            tp, fp = (np.cumsum(each * of[:, None], axis=0)[last] for of in (good, ~good))
            step = np.diff(fp, axis=0, prepend=0.0)
            right[draws] = (
                np.einsum("tw,tw->w", step, tp) - np.einsum("tw,tw->w", step, np.diff(tp, axis=0, prepend=0.0)) / 2
            )
            both[draws] = tp[-1] * fp[-1]
    return divide(right, both)


def fpr_at_recall(
    cluster: np.ndarray, place: np.ndarray, good: np.ndarray, weights: np.ndarray, recall: float
) -> np.ndarray:
    """Return the smallest false-positive rate (W,) among the cuts of pairs sorted by place whose recall is at least
    `recall`; NaN without both classes, 1 where that recall needs a pair at an infinite place (a failure).

    For few clusters the cut is searched by halving in the counts of each cluster down to each place.
    """
    clusters = weights.shape[1]
    last = np.flatnonzero(np.append(place[1:] != place[:-1], True)) if len(place) else np.zeros(0, dtype=np.int64)
    if not len(last):
        return np.full(len(weights), np.nan)
    finite, out, dense = np.isfinite(place[last]), np.empty(len(weights)), clusters <= _DENSE
    one, two = (_counts_at(last, cluster, of, clusters) for of in (good, ~good)) if dense else (good, ~good)
    for draws in _blocks(len(weights), clusters if dense else len(place)):
        w = np.asarray(weights[draws], dtype=np.float64)
        if dense:
            positives, negatives = w @ one[-1], w @ two[-1]
            low, high = np.zeros(len(w), dtype=np.int64), np.full(len(w), len(last) - 1)
            while (low < high).any():
                middle = (low + high) // 2
                reached = divide(np.einsum("wc,wc->w", one[middle], w), positives) >= recall - _ROUNDING
                high = np.where(reached, middle, high)
                low = np.minimum(np.where(reached, low, middle + 1), high)
            accepted = np.einsum("wc,wc->w", two[low], w)
        else:
            tp, fp = (np.cumsum(w.T[cluster] * of[:, None], axis=0)[last] for of in (one, two))
            positives, negatives = tp[-1], fp[-1]
            low = np.argmax(divide(tp, positives * np.ones_like(tp)) >= recall - _ROUNDING, axis=0)
            accepted = fp[low, np.arange(len(w))]
        found = np.where(finite[low], divide(accepted, negatives), 1.0)
        out[draws] = np.where((positives > 0) & (negatives > 0), found, np.nan)
    return out


def _counts_at(last: np.ndarray, cluster: np.ndarray, counted: np.ndarray, clusters: int) -> np.ndarray:
    """Return (places, clusters) float64: the counted items of each cluster down to each place, whose last item `last`
    is.
    """
    place = np.searchsorted(last, np.flatnonzero(counted))
    each = np.bincount(place * clusters + cluster[counted], minlength=len(last) * clusters)
    return np.cumsum(each.reshape(len(last), clusters), axis=0, dtype=np.float64)


def _blocks(draws: int, rows: int) -> Iterator[slice]:
    """Cut the draws so that (rows, draws) stays in the cache, but not below 16 draws (matrix products) unless the
    memory asks for it.
    """
    step = max(1, _CACHED // max(rows, 1), min(16, _BLOCK // max(rows, 1)))
    for start in range(0, draws, step):
        yield slice(start, min(start + step, draws))


def divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Return top / bottom, NaN where the bottom is 0."""
    share: np.ndarray = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
    return share
