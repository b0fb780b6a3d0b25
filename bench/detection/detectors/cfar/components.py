"""Pixels that stand out of the clutter, few among many: their connected components, and boxes round these.

Works on lists of pixels instead of images, so that the memory follows what stands out and not the size of the scene.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, eq=False)
class BrightPixels:
    """Pixels in row-major order of the scene.

    Attributes:
        y, x: (p,) int64 row and column.
        ratio: (p,) float64 test cell over clutter mean.
        starts: (p,) bool, whether it exceeds the detection threshold, not only the growing one.
    """

    y: np.ndarray
    x: np.ndarray
    ratio: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    def take(self, which: np.ndarray) -> BrightPixels:
        """Return the pixels at `which` (mask or ascending positions)."""
        return BrightPixels(*(getattr(self, field.name)[which] for field in fields(self)))

    def mask(self, top: int, bottom: int, width: int) -> np.ndarray:
        """Return (bottom - top, width) bool, True at the pixels in these rows."""
        out = np.zeros((bottom - top, width), dtype=bool)
        low, high = np.searchsorted(self.y, [top, bottom])
        out[self.y[low:high] - top, self.x[low:high]] = True
        return out

    @staticmethod
    def join(parts: list[BrightPixels]) -> BrightPixels:
        """Return the pixels of all `parts`, which follow each other down the scene."""
        return BrightPixels(
            *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(BrightPixels))
        )


def components(pixels: BrightPixels, reach: int = 1) -> np.ndarray:
    """Return the component number 0, 1, ... of every pixel, (p,) int64, in the order of their first pixels.

    Two pixels belong together when they are at most `reach` px apart along both axes (1: touching by side or corner),
    directly or through others.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(pixels)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    pitch = int(pixels.x.max()) + 1 + 2 * reach  # wide enough that no step leads round the end of a row
    place = pixels.y * pitch + pixels.x
    first, second = [], []
    for dy in range(reach + 1):
        for dx in range(-reach if dy else 1, reach + 1):
            target = place + dy * pitch + dx
            at = np.minimum(np.searchsorted(place, target), n - 1)
            hit = np.flatnonzero(place[at] == target)
            first.append(hit)
            second.append(at[hit])
    rows, columns = np.concatenate(first), np.concatenate(second)
    graph = coo_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    _, start, inverse = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(start), dtype=np.int64)
    rank[np.argsort(start)] = np.arange(len(start))
    out: np.ndarray = rank[inverse]
    return out


def largest(values: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the largest of `values` (p,) in each component, (k,) float64, `label` (p,) being their numbers 0..k-1."""
    count = int(label.max()) + 1 if len(label) else 0
    out = np.full(count, -np.inf)
    np.maximum.at(out, label, values)
    return out


def bounds(pixels: BrightPixels, label: np.ndarray) -> np.ndarray:
    """Return the boxes (k, 4) float64 x1, y1, x2, y2 round the pixels of each component: outer edges of the outermost
    pixels.
    """
    return np.stack(
        [
            -largest(-pixels.x, label),
            -largest(-pixels.y, label),
            largest(pixels.x + 1, label),
            largest(pixels.y + 1, label),
        ],
        axis=1,
    )
