"""Polygons to pixels, so that a polygon covers the same pixels whichever window it is drawn in.

Large polygons cover a pixel when its centre lies inside: they go through their edges' inequalities. Small ones go
through OpenCV, which also fills the pixels that their outline passes through, on a canvas wide enough that none that
matters is clipped, since clipping moves edges by a fraction of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.data.windows import Window

_SHIFT = 4  # OpenCV counts 1/16 of a pixel


def to_canvas(points_m: np.ndarray, gsd_m: float, window: Window) -> np.ndarray:
    """Return int32 points in sixteenths of a pixel of the window; OpenCV's pixel centres are whole numbers, ours lie at
    .5.

    Args:
        points_m: (..., 2) x, y in metres.
    """
    y0, x0 = window[:2]
    fixed = np.rint((points_m / gsd_m - 0.5) * 2**_SHIFT).astype(np.int64) - np.array([x0, y0]) * 2**_SHIFT
    out: np.ndarray = np.clip(fixed, -(2**29), 2**29).astype(np.int32)
    return out


def fill_all(canvas: np.ndarray, polygons: np.ndarray, values: Sequence[int]) -> None:
    """Draw convex polygons (n, k, 2), as `to_canvas` returns them, into a uint8 canvas, one after the other."""
    import cv2

    for points, value in zip(polygons, values, strict=True):
        cv2.fillConvexPoly(canvas, points, value, lineType=8, shift=_SHIFT)


def line_all(canvas: np.ndarray, lines: np.ndarray, values: Sequence[int], thickness: int) -> None:
    """Draw line segments (n, 2, 2), as `to_canvas` returns them, into a uint8 canvas, one after the other."""
    import cv2

    for (start, end), value in zip(lines.tolist(), values, strict=True):
        cv2.line(canvas, start, end, value, thickness, lineType=8, shift=_SHIFT)


def inside(corners_m: np.ndarray, gsd_m: float, window: Window) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """Return which pixels of a window a convex polygon covers: the part of the window it may reach, and a mask of that
    part; None for none.

    Args:
        corners_m: (k, 2) corners in metres, turning from +x towards +y.
    """
    y0, x0, height, width = window
    low, high = corners_m.min(axis=0) / gsd_m, corners_m.max(axis=0) / gsd_m
    left, right = max(0, int(np.floor(low[0])) - x0), min(width, int(np.ceil(high[0])) - x0 + 1)
    top, bottom = max(0, int(np.floor(low[1])) - y0), min(height, int(np.ceil(high[1])) - y0 + 1)
    if left >= right or top >= bottom:
        return None
    x = (np.arange(left, right) + x0 + 0.5) * gsd_m
    y = ((np.arange(top, bottom) + y0 + 0.5) * gsd_m)[:, None]
    mask = np.ones((bottom - top, right - left), dtype=bool)
    for (ax, ay), (bx, by) in zip(corners_m, np.roll(corners_m, -1, axis=0), strict=True):
        mask &= (bx - ax) * (y - ay) >= (by - ay) * (x - ax)
    return (slice(top, bottom), slice(left, right)), mask
