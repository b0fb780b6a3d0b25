"""Speckle and sea clutter: the statistics of homogeneous areas.

Product model (Oliver and Quegan, *Understanding SAR Images*, ch. 4 and 5): intensity = backscatter x texture x speckle.
Fully developed speckle of L looks is gamma distributed with mean 1 and variance 1 / L, so that its coefficient of
variation is 1 / sqrt(L). Sea texture is gamma distributed with shape v, which makes the intensity K distributed: <I^2>
/ <I>^2 = (1 + 1 / L) (1 + 1 / v) (Ward, Tough, Watts, *Sea Clutter*, ch. 4).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bench.data.windows import Window
from bench.simulator.noise import gaussian_field, lookup, white_noise
from bench.simulator.spec import SarSpec
from bench.simulator.targets import main_lobe, response

HALO_PX = 6
_TAIL_PX = 32
"""Columns that are filtered in vain: OpenCV sums the last ones of a row, less than a vector register, with other
roundings.
"""
_ENTRIES, _REACH = 8192, 5.0


@lru_cache(maxsize=16)
def _taps(resolution_px: float, taper: float) -> np.ndarray:
    """Return the point response along one axis at whole pixels, of unit energy."""
    at = np.arange(-HALO_PX, HALO_PX + 1)
    kernel = response(at * main_lobe(taper) / resolution_px, taper) * np.cos(np.pi * at / (2 * HALO_PX + 2)) ** 2
    out: np.ndarray = (kernel / np.sqrt((kernel**2).sum())).astype(np.float32)
    return out


def speckle(key: int, window: Window, sar: SarSpec) -> np.ndarray:
    """Return (height, width) float32 speckle of mean 1: the mean of L squared moduli of complex Gaussian fields.

    Filtering by the point response correlates neighbours and leaves each pixel complex Gaussian of unit power, hence
    the intensity gamma distributed, exactly.
    """
    import cv2

    y0, x0, height, width = window
    padded = (y0 - HALO_PX, x0 - HALO_PX, height + 2 * HALO_PX, width + 2 * HALO_PX)
    taps = _taps(sar.resolution_px, sar.taper)
    out = np.zeros((height, width), dtype=np.float32)
    inner = slice(HALO_PX, HALO_PX + height), slice(HALO_PX, HALO_PX + width)
    for field in white_noise(key, padded, 2 * sar.looks):
        wide = cv2.copyMakeBorder(field, 0, 0, 0, _TAIL_PX, cv2.BORDER_CONSTANT)
        part = cv2.sepFilter2D(wide, -1, taps, taps)[inner]
        out += part * part
    out *= np.float32(0.5 / sar.looks)
    return out


@lru_cache(maxsize=16)
def _gamma_table(shape: float) -> np.ndarray:
    """Return the quantiles of the gamma distribution of mean 1 at those of the standard normal, from -5 to 5."""
    from scipy.special import gammaincinv, ndtr

    at = np.linspace(-_REACH, _REACH, _ENTRIES)
    out: np.ndarray = (gammaincinv(shape, ndtr(at)) / shape).astype(np.float32)
    return out


def sea_texture(key: int, window: Window, shape: float, gsd_m: float) -> np.ndarray:
    """Return (height, width) float32 gamma texture of mean 1 and variance 1 / shape, correlated over the length of
    swell.

    Memoryless nonlinear transform of a Gaussian field (Tough and Ward 1999, J. Phys. D 32; *Sea Clutter*, sec. 5.7).
    """
    return lookup(_gamma_table(shape), gaussian_field(key, max(2, round(9.0 / gsd_m)), window), -_REACH, _REACH)


@lru_cache(maxsize=64)
def _lognormal_table(deviation: float) -> np.ndarray:
    at = np.linspace(-_REACH, _REACH, _ENTRIES)
    out: np.ndarray = np.exp(deviation * at - deviation**2 / 2).astype(np.float32)
    return out


def land_texture(weights: np.ndarray, kind: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Return (height, width) float32 lognormal texture of mean 1.

    Args:
        weights: (kinds, 2) standard deviations of its logarithm, fine and coarse, by kind of ground.
    """
    total = weights[:, 0] ** 2 + weights[:, 1] ** 2
    exponent = weights[:, 0][kind] * fine + weights[:, 1][kind] * coarse - (total / 2)[kind]
    return lookup(_lognormal_table(1.0), exponent + np.float32(0.5), -_REACH, _REACH)


def lognormal(deviation: float, field: np.ndarray) -> np.ndarray:
    """Return float32 lognormal values of mean 1 from a standard normal field; `deviation` is that of the logarithm."""
    return lookup(_lognormal_table(deviation), field, -_REACH, _REACH)
