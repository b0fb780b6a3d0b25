"""Cell-averaging CFAR as a textbook writes it: a loop over the pixels, a window cut out around each, its ring
averaged.
"""

from __future__ import annotations

import numpy as np

from bench.detection.detectors.cfar.clutter import threshold_factor


def exceedances(intensity: np.ndarray, guard: int, outer: int, pfa: float, min_ring: float) -> np.ndarray:
    """Return which pixels of `intensity` (H, W) float64 exceed the mean of their ring by the factor of single-look
    clutter, (H, W) bool.

    At the borders the ring holds what is left of it; where less than `min_ring` of it is left nothing is decided.
    """
    height, width = intensity.shape
    full = (2 * outer + 1) ** 2 - (2 * guard + 1) ** 2
    out = np.zeros((height, width), dtype=bool)
    factors: dict[int, float] = {}
    for y in range(height):
        for x in range(width):
            whole = intensity[max(0, y - outer) : y + outer + 1, max(0, x - outer) : x + outer + 1]
            inner = intensity[max(0, y - guard) : y + guard + 1, max(0, x - guard) : x + guard + 1]
            cells = whole.size - inner.size
            if cells < min_ring * full:
                continue
            if cells not in factors:
                factors[cells] = float(threshold_factor(pfa, 1.0, np.array([cells]))[0])
            out[y, x] = intensity[y, x] > factors[cells] * (whole.sum() - inner.sum()) / cells
    return out
