"""Geometry of places: axis-aligned rectangles on the ground, their gaps and overlaps. Arrays in, arrays out.

A place is a row x_min, y_min, x_max, y_max in metres of one coordinate system. The gap of two rectangles is the
Euclidean distance between their nearest points, 0 where they touch or overlap.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

TOUCH_M = 0.1
"""Rectangles must share more than this much along both axes to count as overlapping: rounded corners of neighbours do
not.
"""

_BLOCK = 256


def within(places: np.ndarray, others: np.ndarray, distance_m: float) -> np.ndarray:
    """Return for each of `places` (n, 4) whether any of `others` (m, 4) has a gap smaller than `distance_m`, as (n,)
    bool.

    Rows with NaN are near to nothing.
    """

    def close(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        near: np.ndarray = np.hypot(np.maximum(dx, 0.0), np.maximum(dy, 0.0)) < distance_m
        return near

    return _any_other(places, others, distance_m, close)


def overlapping(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each of `places` (n, 4) whether any of `others` (m, 4) shares ground with it (more than `TOUCH_M`),
    as (n,) bool.
    """

    def shares(dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        common: np.ndarray = (dx < -TOUCH_M) & (dy < -TOUCH_M)
        return common

    return _any_other(places, others, 0.0, shares)


def _signed(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, m) signed gaps along x and y; negative means that the intervals overlap by that much."""
    dx = np.maximum(b[None, :, 0] - a[:, None, 2], a[:, None, 0] - b[None, :, 2])
    dy = np.maximum(b[None, :, 1] - a[:, None, 3], a[:, None, 1] - b[None, :, 3])
    return dx, dy


def _any_other(
    places: np.ndarray, others: np.ndarray, reach_m: float, test: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Sweep along the longer axis in blocks, so that only rectangles within reach of a block are compared; the answer
    is exact.
    """
    out = np.zeros(len(places), dtype=bool)
    known = np.flatnonzero(~np.isnan(places).any(axis=1))
    others = others[~np.isnan(others).any(axis=1)]
    if not len(known) or not len(others):
        return out
    both = np.concatenate([places[known], others])
    axis = int(np.ptp(both[:, 1]) > np.ptp(both[:, 0]))
    known = known[np.argsort(places[known, axis], kind="stable")]
    others = others[np.argsort(others[:, axis], kind="stable")]
    longest = float((others[:, axis + 2] - others[:, axis]).max())
    for start in range(0, len(known), _BLOCK):
        block = known[start : start + _BLOCK]
        rows = places[block]
        low = np.searchsorted(others[:, axis], rows[:, axis].min() - reach_m - longest, side="left")
        high = np.searchsorted(others[:, axis], rows[:, axis + 2].max() + reach_m, side="right")
        dx, dy = _signed(rows, others[low:high])
        out[block] = test(dx, dy).any(axis=1)
    return out
