"""What boxes cannot be meant to be: outside their image, without area, in shares of the image, corners in the place of
sizes. Shared by truth and by the boxes of other tools.

Boxes are arrays (k, 4) of `low` (x1, y1) and `high` (x2, y2) in pixels, as everywhere; `size` is width and height.
"""

from __future__ import annotations

import numpy as np

EDGE_TOLERANCE_PX = 1.0
"""Boxes may reach this far over the edge of their image, for pixel numbers taken as coordinates; they are clipped to
the image. Anything further out is an error.
"""


def corners_as_sizes(boxes: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return which boxes, written as x, y, width, height, leave their image and lie in it as x1, y1, x2, y2, (k,) bool.

    Args:
        boxes: (k, 4) x1, y1, x2, y2, made of the written numbers. size: (k, 2) or (2,) width and height.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    written = high - low
    beyond = (high > size + EDGE_TOLERANCE_PX).any(axis=1)
    fits = (low >= -EDGE_TOLERANCE_PX).all(axis=1) & (written > low).all(axis=1)
    return np.asarray(beyond & fits & (written <= size + EDGE_TOLERANCE_PX).all(axis=1))


def are_shares(boxes: np.ndarray, size: np.ndarray) -> bool:
    """Return whether no box reaches out of the first pixel and none is as large: shares of the image, not pixels.

    Args:
        boxes: (k, 4) x1, y1, x2, y2. size: (k, 2) or (2,) width and height.
    """
    if not len(boxes):
        return False
    extent = boxes[:, 2:] - boxes[:, :2]
    return bool(boxes.min() >= -1 and boxes.max() <= 1 and extent.max() < 1 and np.min(size) > 1)


def clip_boxes(boxes: np.ndarray, height: int, width: int) -> tuple[np.ndarray, list[str]]:
    """Clip boxes to their image and find those that are wrong.

    Args:
        boxes: (k, 4) x1, y1, x2, y2 in pixels, finite.
        height, width: of the image in pixels.

    Returns:
        (k, 4) float64 clipped boxes, and a line for each box that is inverted, has no area, or reaches more than
        `EDGE_TOLERANCE_PX` over the edge. Those lines make the boxes unusable; nothing is repaired silently.
    """
    edge = np.array([width, height, width, height], dtype=np.float64)
    clipped = np.clip(np.asarray(boxes, dtype=np.float64).reshape(-1, 4), 0.0, edge)
    inverted = np.any(boxes[:, 2:] < boxes[:, :2], axis=1)
    outside = np.any((boxes < -EDGE_TOLERANCE_PX) | (boxes > edge + EDGE_TOLERANCE_PX), axis=1)
    flat = np.any(clipped[:, 2:] <= clipped[:, :2], axis=1)
    lines = []
    for i in np.flatnonzero(inverted | outside | flat).tolist():
        what = (
            "is inverted"
            if inverted[i]
            else f"reaches outside the image of {width} x {height} px"
            if outside[i]
            else "has no area"
        )
        corners = ", ".join(f"{value:g}" for value in boxes[i])
        lines.append(f"box {i + 1} (x1, y1, x2, y2 = {corners}) {what}")
    return clipped, lines


def unlikely(boxes: np.ndarray, height: int, width: int, as_sizes: bool) -> str:
    """Return why the boxes of an image cannot be meant as they stand, "" where nothing speaks against it.

    Args:
        boxes: (k, 4) x1, y1, x2, y2 in pixels. as_sizes: whether they were written as x, y, width, height.
    """
    size = np.array([width, height], dtype=np.float64)
    if are_shares(boxes, size):
        return "boxes look like shares of the image: none is a pixel wide; multiply by its width and height"
    corners = int(corners_as_sizes(boxes, size).sum()) if as_sizes else 0
    if corners:
        return (
            f"bbox looks like x1, y1, x2, y2: {corners} of {len(boxes)} boxes leave the image of {width} x {height} px"
            " as x, y, width, height; write [x1, y1, x2 - x1, y2 - y1]"
        )
    return ""
