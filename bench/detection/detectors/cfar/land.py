"""An estimate of land from the SAR scene itself: large areas that are brighter than the rest, where the scene falls
into two groups at all.

No map is assumed, since the ship sets come without coordinates. The scene is averaged over cells of CELL_PX (mean of
log intensity, which a few bright pixels hardly move), smoothed, and parted by Otsu's threshold (Otsu 1979). The bright
group is land when the two groups are far apart (`contrast_db`) and their connected areas are larger than a ship
(`min_area_px`); dark holes inside it are land too.

What it misses, by construction: land as dark as the sea (runways, mud flats, lakes count as holes), islands and quays
smaller than the least area, and the exact coast, which is known to one cell. A ship at a quay touches the land's
brightness: it is taken for land and lost when the cells there are bright, or found with pieces of the quay. Rough sea
beside calm sea can be taken for land where it is more than `contrast_db` brighter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CELL_PX = 8
_BINS = 256


@dataclass(frozen=True)
class LandRule:
    """When bright areas are land.

    Attributes:
        contrast_db: the mean levels of the two groups must differ by at least this much.
        min_area_px: smallest connected land, in pixels of the scene; holes in it below that are filled.
        smooth_cells: standard deviation in cells of the Gaussian that smooths the level before the threshold.
    """

    contrast_db: float = 4.0
    min_area_px: int = 20_000
    smooth_cells: float = 2.0


def cell_levels(intensity: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean level in dB of the valid pixels in every cell of CELL_PX, and how many there are; cells at the
    end may be cut.

    Args:
        intensity: (H, W) float64, valid: (H, W) bool.

    Returns:
        two (ceil(H / CELL_PX), ceil(W / CELL_PX)) float64 arrays; the level is 0 where no pixel is valid.
    """
    level = np.where(valid, 10 * np.log10(np.maximum(intensity, 1e-12)), 0.0)
    count = _cell_sum(valid.astype(np.float64))
    return _cell_sum(level) / np.maximum(count, 1.0), count


def _cell_sum(values: np.ndarray) -> np.ndarray:
    rows, columns = (np.arange(0, length, CELL_PX) for length in values.shape)
    out: np.ndarray = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    return out


def otsu(values: np.ndarray) -> tuple[float, float]:
    """Return Otsu's threshold of `values` (n,), and the difference between the means of the two groups it makes (0 for
    constant values).
    """
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-6:  # no group that a histogram could part
        return high, 0.0
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    total = np.cumsum(counts * centres)
    mean_below = total[:-1] / np.maximum(below, 1)
    mean_above = (total[-1] - total[:-1]) / np.maximum(above, 1)
    between = below * above * (mean_above - mean_below) ** 2
    best = np.flatnonzero(between == between.max())  # several where the bins between the groups are empty: their middle
    return float(edges[best + 1].mean()), float(mean_above[best[0]] - mean_below[best[0]])


def estimate_land(level: np.ndarray, count: np.ndarray, rule: LandRule) -> np.ndarray:
    """Return (h, w) bool, True for land cells, given what `cell_levels` gave. Cells without valid pixels are neither
    land nor sea.
    """
    from scipy.ndimage import gaussian_filter

    known = count > 0
    if not known.any():
        return np.zeros(level.shape, dtype=bool)
    weight = gaussian_filter(known.astype(np.float64), rule.smooth_cells, mode="constant")
    smooth = gaussian_filter(np.where(known, level, 0.0), rule.smooth_cells, mode="constant") / np.maximum(weight, 1e-9)
    threshold, contrast = otsu(smooth[known])
    if contrast < rule.contrast_db:
        return np.zeros(level.shape, dtype=bool)
    least = rule.min_area_px / CELL_PX**2
    bright = _large(known & (smooth > threshold), least)
    return ~_large(~bright, least) & known if bright.any() else bright


def _large(mask: np.ndarray, least: float) -> np.ndarray:
    """Return `mask` without its 4-connected components of fewer than `least` cells."""
    from scipy.ndimage import label

    labels, _ = label(mask)
    cells = np.bincount(labels.ravel())
    cells[0] = 0
    out: np.ndarray = (cells >= least)[labels] & mask
    return out


class SeaMask:
    """Where a scene is not land, given row by row so that no mask of the whole scene is needed.

    Args:
        land: (h, w) bool, one value a cell of CELL_PX.
        shape: (H, W) of the scene in px.
        coast_px: sea this close to land is not tested for ships; negative: land this close to sea is. Rounded up to
            whole cells.
    """

    def __init__(self, land: np.ndarray, shape: tuple[int, ...], coast_px: int = 0) -> None:
        from scipy.ndimage import binary_dilation, binary_erosion

        steps, square = -(-abs(coast_px) // CELL_PX), np.ones((3, 3), dtype=bool)
        self.land = self.untested = land
        if steps and coast_px > 0:
            self.untested = binary_dilation(land, square, steps)
        elif steps:
            self.untested = binary_erosion(land, square, steps, border_value=1)
        self.width = shape[1]

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """Return (bottom - top, W) bool, True where there is sea."""
        return ~self._pixels(self.land, top, bottom)

    def tested_rows(self, top: int, bottom: int) -> np.ndarray:
        """Return (bottom - top, W) bool, True where ships are looked for."""
        return ~self._pixels(self.untested, top, bottom)

    def _pixels(self, cells: np.ndarray, top: int, bottom: int) -> np.ndarray:
        out: np.ndarray = np.repeat(cells[np.arange(top, bottom) // CELL_PX], CELL_PX, axis=1)[:, : self.width]
        return out
