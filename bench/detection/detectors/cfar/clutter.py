"""Sea clutter around every pixel: which pixels count, their mean in a ring, and the factor above it that noise reaches
with a set chance.

Owns the sums and the statistics of cell-averaging CFAR; what is made of the pixels above the threshold is the business
of `bench.detection.detectors.cfar.detector`.

Threshold. The intensity of homogeneous clutter seen with L looks is gamma distributed with shape L. A pixel's intensity
over the mean of N independent ring pixels is then F distributed with (2 L, 2 L N) degrees of freedom, whatever the
clutter's mean: the factor for a false-alarm probability p is its upper quantile. For L = 1 that is Finn & Johnson's N
(p^(-1/N) - 1) (Finn & Johnson, "Adaptive detection mode with threshold control as a function of spatially sampled
clutter-level estimates", RCA Review 29, 1968; for its use on SAR images: El-Darymli, McGuire, Power & Moloney, "Target
detection in synthetic aperture radar imagery: a state-of-the-art survey", J. Appl. Remote Sens. 7, 2013).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bench.core.errors import BenchError
from bench.data.scaling import SarScale

NO_DATA_PX = 9
"""Zeros are no data where they fill a square of this edge; single dark pixels of integer images are sea."""

LOOKS_BLOCK_PX = 16
LOOKS_RANGE = (0.5, 64.0)


def intensity_of(block: np.ndarray, scale: SarScale | None) -> np.ndarray:
    """Return intensity (power), float64, of native pixels (H, W): squared amplitude, intensity as it is, 10^(x / 10) of
    dB.

    Args:
        scale: what the pixels are. None: integers are taken as amplitude, as all known ship sets store it.

    Raises:
        BenchError: float pixels of undeclared scale, or values that are not finite.
    """
    if scale is None and block.dtype.kind not in "u":
        raise BenchError(f"the scale of {block.dtype} pixels cannot be guessed; declare the data set's sar_scale")
    values = block.astype(np.float64)
    if block.dtype.kind == "f" and not np.isfinite(values).all():
        raise BenchError("the scene holds values that are not finite; mark missing pixels with 0")
    if scale is SarScale.intensity:
        return values
    if scale is SarScale.db:
        power: np.ndarray = np.power(10.0, values / 10.0)
        return power
    return np.square(values, out=values)


def intensity_floor(image: np.ndarray, scale: SarScale | None) -> float:
    """Return the least intensity that counts as known: that of half a grey level for integers, else 1e-3 of the scene's
    positive median.

    A clutter mean below it says only that the sea was rounded to zero.
    """
    if image.dtype.kind == "u":
        return float(intensity_of(np.full((1, 1), 0.5), scale or SarScale.amplitude)[0, 0])
    sample = intensity_of(np.asarray(image[:: 1 + image.shape[0] // 1000, :: 1 + image.shape[1] // 1000]), scale)
    positive = sample[sample > 0]
    return 1e-3 * float(np.median(positive)) if positive.size else 0.0


def box_sum(values: np.ndarray, radius: int) -> np.ndarray:
    """Return the sum over the square of edge 2 radius + 1 around every pixel, float64; outside the array there is
    nothing.
    """
    from scipy.ndimage import uniform_filter

    edge = 2 * radius + 1
    out: np.ndarray = uniform_filter(values, edge, output=np.float64, mode="constant")
    out *= edge * edge
    return out


def has_data(block: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: False where zeros fill a square of NO_DATA_PX, as in the black corners of a geocoded scene.

    In a block that is smaller than that, the largest square of odd edge that fits takes its place.
    """
    zero = block == 0
    radius = (min(NO_DATA_PX, *block.shape) - 1) // 2
    edge = 2 * radius + 1
    if not zero[::edge, ::edge].any():  # every square of that edge holds a pixel of this grid
        return np.ones(block.shape, dtype=bool)
    core = np.rint(box_sum(zero.astype(np.uint8), radius)) == edge**2
    empty: np.ndarray = np.rint(box_sum(core.astype(np.uint8), radius)) > 0
    return ~empty


def ring_mean(intensity: np.ndarray, usable: np.ndarray, guard: int, outer: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean intensity of the usable pixels in the ring around every pixel, and their number.

    Args:
        intensity: (H, W) float64.
        usable: (H, W) bool; pixels that may stand in a ring (sea with data).
        guard, outer: the ring is the square of half-width `outer` without the one of half-width `guard`, in px.

    Returns:
        (H, W) float64 mean (0 where no pixel is usable), (H, W) float64 count, a whole number.
    """
    masked = intensity if usable.all() else np.where(usable, intensity, 0.0)
    total = box_sum(masked, outer)
    total -= box_sum(masked, guard)
    count = _count(usable, outer) - _count(usable, guard)
    np.maximum(total, 0.0, out=total)  # the running sums leave a rounding error where all is dark
    total /= np.maximum(count, 1.0)
    return total, count


def _count(usable: np.ndarray, radius: int) -> np.ndarray:
    """Return how many usable pixels the square around every pixel holds, as whole numbers in float64."""
    if not usable.all():
        counted: np.ndarray = np.rint(box_sum(usable.astype(np.uint8), radius))
        return counted
    sides = []
    for length in usable.shape:
        at = np.arange(length)
        sides.append((np.minimum(at + radius, length - 1) - np.maximum(at - radius, 0) + 1).astype(np.float64))
    return np.outer(sides[0], sides[1])


def threshold_factor(pfa: float, looks: float, cells: np.ndarray) -> np.ndarray:
    """Return how many times the ring's mean a pixel exceeds with probability `pfa` in homogeneous clutter.

    Args:
        pfa: false-alarm probability of one pixel, in (0, 1).
        looks: equivalent number of looks L of a pixel, > 0.
        cells: numbers of independent ring pixels N, any shape, > 0.
    """
    from scipy.special import betaincinv

    independent = np.asarray(cells, dtype=np.float64)
    # 1 / (1 + factor / N) is Beta(L N, L) distributed; its quantile keeps its digits where the F distribution's loses
    # them
    out: np.ndarray = independent * (1.0 / betaincinv(looks * independent, looks, pfa) - 1.0)
    return out


class FactorTable:
    """`threshold_factor` for all numbers of ring pixels up to `most`, interpolated linearly in 1 / N; `least` is that
    of `most`.

    `independent` is the share of ring pixels that count, less than 1 where neighbours are correlated.
    """

    def __init__(self, pfa: float, looks: float, most: int, independent: float = 1.0) -> None:
        counts = np.unique(np.concatenate([np.arange(1, min(most, 64) + 1), np.geomspace(min(most, 64), most, 512)]))[
            ::-1
        ]
        self._inverse = 1.0 / counts
        self._factor = threshold_factor(pfa, looks, counts * independent)
        self.least = float(self._factor[0])

    def __call__(self, count: np.ndarray) -> np.ndarray:
        """Return the factors for numbers of ring pixels of any shape; infinite for 0."""
        inverse = 1.0 / np.maximum(count, 1.0)
        return np.where(count > 0, np.interp(inverse, self._inverse, self._factor), np.inf)


def equivalent_looks(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """Return mean^2 / variance of intensity, the median over square blocks of LOOKS_BLOCK_PX; None without such a
    block.

    Texture lowers it, so that thresholds rise where the sea is rough. Limited to LOOKS_RANGE. A scene of constant
    blocks alone has the upper limit.

    Args:
        parts: (intensity (h, w) float64, usable (h, w) bool) of parts of a scene; blocks with an unusable pixel are
            passed over.
    """
    edge = LOOKS_BLOCK_PX
    ratios = []
    for intensity, usable in parts:
        rows, columns = (length // edge for length in intensity.shape)
        cut = np.s_[: rows * edge, : columns * edge]
        shape = (rows, edge, columns, edge)
        whole = usable[cut].reshape(shape).all(axis=(1, 3))
        values = intensity[cut].reshape(shape)
        mean, square = values.mean(axis=(1, 3))[whole], np.square(values).mean(axis=(1, 3))[whole]
        ratios.append(mean**2 / np.maximum(square - mean**2, 1e-12 * square + np.finfo(float).tiny))
    found = np.concatenate(ratios) if ratios else np.zeros(0)
    return float(np.clip(np.median(found), *LOOKS_RANGE)) if found.size else None
