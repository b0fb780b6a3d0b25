"""Cutting scenes into tiles: the grid, the pixels of a tile, and the stated rule for ships that a tile's edge cuts.

The grid's guarantee: a ship inside the scene whose sides are no longer than `overlap_px` lies whole in at least one
tile. Proof, axis by axis: take the last tile that starts at t <= x1. If it is the last of all, it ends with the scene.
Otherwise the next one starts at some t' with x1 < t' <= t + size - overlap, so the tile ends at t + size >= t' +
overlap > x1 + overlap >= x2. Longer ships that fit a tile get windows of their own in training (`rescue_windows`); in
prediction they are joined from their parts (`merging`).

Boxes are x1, y1, x2, y2 in continuous pixels, windows (y0, x0, height, width).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.data.scaling import ScalingParams
from bench.data.windows import Window
from bench.detection.spec import Tiles

_THINNEST_PX = 1.0  # a cut-off piece thinner than this shows nothing: it is not even ignored


def tile_grid(height: int, width: int, tiles: Tiles) -> list[Window]:
    """Return the tiles of a scene, row by row from the top-left corner, all `size_px` on a side.

    Neighbours share `overlap_px`; the last tile of a row or column is moved inwards to end with the scene and shares
    more. A scene smaller than a tile has one, which starts at 0 and reaches beyond it.
    """
    size, stride = tiles.size_px, tiles.size_px - tiles.overlap_px
    return [(y0, x0, size, size) for y0 in _starts(height, size, stride) for x0 in _starts(width, size, stride)]


def _starts(length: int, size: int, stride: int) -> list[int]:
    return [0] if length <= size else [*range(0, length - size, stride), length - size]


def cut(image: np.ndarray, window: Window, fill: float = 0) -> np.ndarray:
    """Return a copy of `image` (H, W) inside `window`, (height, width) in its dtype; `fill` where the window reaches
    beyond the image.
    """
    y0, x0, height, width = window
    part = image[max(y0, 0) : max(y0 + height, 0), max(x0, 0) : max(x0 + width, 0)]
    if part.shape == (height, width):
        return np.array(part)
    out = np.full((height, width), fill, dtype=image.dtype)
    top, left = max(-y0, 0), max(-x0, 0)
    out[top : top + part.shape[0], left : left + part.shape[1]] = part
    return out


def dark_value(scaling: ScalingParams, dtype: np.dtype) -> float:
    """Return a value of `dtype` that `scaling` maps to exactly 0: what tiles are padded with before they are scaled.

    A stored 0 is not always that: it is bright where values are in dB.
    """
    if np.dtype(dtype).kind == "u" or scaling.name != "percentile":
        return 0.0
    low = np.asarray(scaling.low, dtype=dtype)
    return float(np.nextafter(low, np.asarray(-np.inf, dtype=dtype)))


def visible_share(window: Window, boxes: np.ndarray) -> np.ndarray:
    """Return which share of each box's area (n, 4) lies in `window`: (n,) float64 in 0..1, exactly 1 for a box wholly
    inside.
    """
    seen = _clipped(window, boxes)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    sides = np.clip(seen[:, 2:] - seen[:, :2], 0.0, None)
    share: np.ndarray = np.divide(sides[:, 0] * sides[:, 1], area, out=np.zeros(len(boxes)), where=area > 0)
    return share


def boxes_in(
    window: Window, boxes: np.ndarray, ignore: np.ndarray, min_visible: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ships that a tile shows: the stated rule for ships that an edge cuts.

    A ship counts when at least `min_visible` of its box's area is in the tile; one that shows less is there to be
    ignored, and left out when what shows is thinner than 1 pixel. Boxes are cut at the edges of the tile.

    Args:
        boxes: (n, 4) of the scene. ignore: (n,) bool, ships that are ignored however much shows.

    Returns:
        boxes (k, 4) float64 in the tile's frame, and ignore (k,) bool, in the order of the scene.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    seen, share = _clipped(window, boxes), visible_share(window, boxes)
    thinnest = (seen[:, 2:] - seen[:, :2]).min(axis=1, initial=np.inf)
    counts = share >= min_visible
    shown = (share > 0) & (counts | (thinnest >= _THINNEST_PX))
    y0, x0 = window[:2]
    return seen[shown] - np.array([x0, y0, x0, y0], dtype=np.float64), (np.asarray(ignore, dtype=bool) | ~counts)[shown]


def rescue_windows(height: int, width: int, boxes: np.ndarray, tiles: Tiles) -> list[Window]:
    """Return further windows so that each of `boxes` (n, 4) that fits a tile lies whole in one: the ships longer than
    the overlap that no tile of the grid holds.

    A window has the ship in its middle, as far as the scene's borders allow, and serves every later ship that it holds
    as well.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    missing = ~_held(tile_grid(height, width, tiles), boxes)
    extra: list[Window] = []
    for box in boxes[missing]:
        y0, x0 = (
            window_start(box[i], box[i + 2], length, tiles.size_px, None) for i, length in ((1, height), (0, width))
        )
        window = (y0, x0, tiles.size_px, tiles.size_px)
        if _held([window], box[None])[0] and not _held(extra, box[None])[0]:
            extra.append(window)
    return extra


def window_start(low: float, high: float, length: int, size: int, rng: np.random.Generator | None) -> int:
    """Return where, on one axis, a window of `size` starts that holds a ship from `low` to `high` in a scene of
    `length` pixels.

    Sampled uniformly from all starts that hold it whole inside the scene; in their middle without `rng`. A ship longer
    than the window is centred, as far as the scene's borders allow. A scene smaller than the window: 0.
    """
    last = max(length - size, 0)
    first_start, last_start = max(0, math.ceil(high) - size), min(last, math.floor(low))
    if first_start > last_start:
        return min(max(round((low + high - size) / 2), 0), last)
    if rng is not None:
        return int(rng.integers(first_start, last_start + 1))
    return min(max(round((low + high - size) / 2), first_start), last_start)


def _held(windows: Sequence[Window], boxes: np.ndarray) -> np.ndarray:
    """Return which of `boxes` (n, 4) lie whole in one of `windows`: (n,) bool."""
    tile = np.array(windows, dtype=np.float64).reshape(-1, 4)
    low, high = tile[:, [1, 0]], tile[:, [1, 0]] + tile[:, [3, 2]]
    held = np.zeros(len(boxes), dtype=bool)
    for i, box in enumerate(boxes):
        held[i] = ((box[:2] >= low) & (box[2:] <= high)).all(axis=1).any()
    return held


def _clipped(window: Window, boxes: np.ndarray) -> np.ndarray:
    y0, x0, height, width = window
    clipped: np.ndarray = np.clip(boxes, [x0, y0, x0, y0], [x0 + width, y0 + height, x0 + width, y0 + height])
    return clipped
