"""`phase-congruency`: where a patch has edges and lines at all scales at once, by orientation; compared like `cfog`.
Untrained.

Kovesi, "Image features from phase congruency", Videre 1(3), 1999: at an edge or a line the waves of all scales agree in
phase, however strong they are, so the measure (0 to 1) ignores contrast and its sign, which differ between the views.
Matching by its orientations is the idea of HOPC (Ye, Shan, Bruzzone, Shen, "Robust registration of multimodal remote
sensing images based on structural similarity", TGRS 2017). Per orientation, with the even and odd responses e_n, o_n of
log-Gabor filters of scales n (radial spread 0.55, Kovesi's value):

    E = sum_n (e_n c + o_n s - |e_n s - o_n c|),   (c, s) = (sum e_n, sum o_n) / |(sum e_n, sum o_n)|
    PC = max(E - T, 0) / (sum of A_n over scales and orientations + eps),   A_n = |(e_n, o_n)|

so that the sum over orientations is Kovesi's measure. T is what noise reaches: its amplitudes are Rayleigh distributed
at each scale, their size taken from the median at the finest one (Kovesi 1999, section 4); the mean of their sum and k
standard deviations count as noise. It is
off by default: on validation pairs of Sentinel-1 and -2 it cost more than it brought (AUC 0.92 against 0.94 at 256 px).

Ours, not the papers': PC of each orientation is a channel of a dense descriptor (HOPC makes histograms of blocks),
smoothed and normalised as in `cfog`; the filters are cut to finite support; no weighting by the spread of frequencies;
the patch is smoothed first, as in `cfog` (speckle). Border, range of shifts, correlation: `correlation.py`; `border:
crop` with `shift_range: 0.75` gives the distances of version 1.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import ClassVar

import numpy as np
from pydantic import Field

from bench.matching.matchers.correlation import CorrelationMatcher, CorrelationOptions, radius_of, smoothed, spread

_RADIAL_SPREAD = 0.55  # standard deviation of log(frequency / centre) is -log of it: about two octaves
_ANGULAR_SHARE = 1.5  # orientation spacing over the angular standard deviation (Kovesi: 1.2 to 1.5)
_SUPPORT = 0.75  # filters are cut at this many wavelengths from their middle
_EPS = 1e-2  # of the largest amplitude
_ROUNDING = 1e-5  # responses below this share of the local grey level are rounding


class PhaseCongruencyOptions(CorrelationOptions):
    """Options of `phase-congruency`.

    Attributes:
        scales, min_wavelength_px, step: wavelengths min, min * step, ... in px.
        noise: k, standard deviations beyond the mean of the noise that are dropped; null drops nothing.
        smooth_sigma: standard deviation in px of the Gaussian before the filters (0: none).
    """

    scales: int = Field(default=3, ge=2, le=6)
    min_wavelength_px: float = Field(default=4.0, ge=2.5)
    step: float = Field(default=1.5, gt=1.0, le=4.0)
    noise: float | None = Field(default=None, ge=0.0, le=10.0)
    smooth_sigma: float = Field(default=1.0, ge=0.0, le=8.0)


class PhaseCongruency(CorrelationMatcher[PhaseCongruencyOptions]):
    """Correlation of oriented phase congruency; see the module's docstring."""

    version: ClassVar[int] = 2
    Options = PhaseCongruencyOptions
    title = "phase-congruency"
    shrink = "max_shift_px, scales or min_wavelength_px"

    def __init__(self, options: PhaseCongruencyOptions) -> None:
        super().__init__(options)
        self._known_spectra: dict[tuple[int, int], np.ndarray] = {}

    @property
    def wavelengths(self) -> list[float]:
        """Wavelengths of the filters in px, the finest first."""
        return [self.options.min_wavelength_px * self.options.step**n for n in range(self.options.scales)]

    @property
    def reach(self) -> int:
        """Half-width of the filters in px."""
        return math.ceil(_SUPPORT * self.wavelengths[-1])

    @property
    def margin(self) -> int:
        return radius_of(self.options.smooth_sigma) + self.reach + radius_of(self.options.sigma)

    @cached_property
    def filters(self) -> np.ndarray:
        """Complex filters (orientations, scales, k, k) complex64: the real part is even, the imaginary part odd; each
        without a mean.
        """
        return np.stack([[self._filter(o, n) for n in range(self.options.scales)] for o in range(self.channels)])

    def _filter(self, orientation: int, scale: int) -> np.ndarray:
        """Return one log-Gabor filter in space, cut to (2 reach + 1) px a side."""
        size = 8 * (2 * self.reach + 1)
        f = np.fft.fftfreq(size)
        radius, angle = np.hypot(f[:, None], f[None, :]), np.arctan2(f[:, None], f[None, :])
        theta = math.pi * orientation / self.channels
        away = np.arctan2(np.sin(angle - theta), np.cos(angle - theta))
        angular = np.exp(-0.5 * (away / (math.pi / self.channels / _ANGULAR_SHARE)) ** 2)
        with np.errstate(divide="ignore"):
            radial = np.exp(-0.5 * (np.log(radius * self.wavelengths[scale]) / math.log(_RADIAL_SPREAD)) ** 2)
        radial[radius == 0] = 0
        whole = np.fft.fftshift(np.fft.ifft2(radial * angular))
        middle, reach = size // 2, self.reach
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        support = np.hypot(y, x) <= _SUPPORT * self.wavelengths[scale] + 0.5
        window = np.where(
            support,
            np.cos(np.minimum(np.hypot(y, x) / (_SUPPORT * self.wavelengths[scale] + 1), 1) * math.pi / 2) ** 2,
            0,
        )
        cut = whole[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1] * window
        cut -= window * (cut.sum() / window.sum())  # cutting leaves a little mean in the even part
        out: np.ndarray = (cut / np.sqrt(np.square(np.abs(cut)).sum())).astype(np.complex64)
        return out

    @cached_property
    def noise_by_scale(self) -> np.ndarray:
        """Amplitudes that white noise has behind the smoothing and the filters of each scale, over those of the finest:
        (scales,).
        """
        size = 8 * (2 * self.reach + 1)
        f = 2 * math.pi * np.fft.fftfreq(size)
        passed = np.exp(-(self.options.smooth_sigma**2) * (f[:, None] ** 2 + f[None, :] ** 2))  # power of the Gaussian
        power = np.array(
            [(np.square(np.abs(np.fft.fft2(one, (size, size)))) * passed).sum() for one in self.filters[0]]
        )
        out: np.ndarray = np.sqrt(power / power[0])
        return out

    def responses(self, grey: np.ndarray) -> np.ndarray:
        """Return the filters' responses to `grey` (H, W) where they fit: (orientations, scales, H - 2 reach, W - 2
        reach) complex64.
        """
        from scipy.fft import fft2, ifft2, next_fast_len

        height, width = grey.shape
        shape = (next_fast_len(height), next_fast_len(width))
        image = fft2(grey.astype(np.float32) - np.float32(grey.mean()), shape, workers=self.workers)
        rows, columns = slice(2 * self.reach, height), slice(2 * self.reach, width)
        return np.stack(
            [
                ifft2(image * spectra, workers=self.workers)[:, rows, columns]
                for spectra in self._spectra_of_filters(shape)
            ]
        )

    def _spectra_of_filters(self, shape: tuple[int, int]) -> np.ndarray:
        """Return the spectra of the filters at an FFT size, computed once for each size: (orientations, scales, *shape)
        complex64.
        """
        from scipy.fft import fft2

        if shape not in self._known_spectra:
            self._known_spectra[shape] = fft2(self.filters, shape)
        return self._known_spectra[shape]

    def congruency(self, grey: np.ndarray) -> np.ndarray:
        """Return the phase congruency of `grey` (H, W) by orientation, (orientations, H - 2 reach, W - 2 reach)
        float32.

        The sum over orientations lies in 0..1. Unchanged by a gain of either sign and an offset.
        """
        response = self.responses(grey)
        level = _ROUNDING * float(np.abs(grey).max(initial=0.0))
        response[np.abs(response) <= level] = 0
        total = response.sum(axis=1)
        length = np.abs(total)
        direction = total / np.where(length > 0, length, np.float32(1))
        along = response * np.conj(direction)[:, None]
        energy = (along.real - np.abs(along.imag)).sum(axis=1)
        amplitude = np.abs(response)
        # of the Rayleigh distribution
        scale = np.median(amplitude[:, 0].reshape(self.channels, -1), axis=1) / math.sqrt(math.log(4))
        threshold = np.zeros_like(scale)
        if self.options.noise is not None:
            falls = self.noise_by_scale.sum()
            threshold = scale * falls * (math.sqrt(math.pi / 2) + self.options.noise * math.sqrt((4 - math.pi) / 2))
        whole = amplitude.sum(axis=(0, 1))
        floor = np.float32(_EPS) * whole.max(initial=0.0)
        gain = np.maximum(energy - threshold[:, None, None], 0)
        out: np.ndarray = np.where(whole > 0, gain / np.where(whole > 0, whole + floor, 1), 0).astype(np.float32)
        return out

    def descriptor(self, grey: np.ndarray) -> np.ndarray:
        channels = smoothed(
            self.congruency(smoothed(np.asarray(grey, dtype=np.float32), self.options.smooth_sigma)), self.options.sigma
        )
        channels = spread(channels)
        length = np.sqrt(np.square(channels).sum(axis=0, keepdims=True))
        # Unlike cfog's, weak channels stay weak: a pixel whose congruency is noise has no orientation to normalise.
        typical = np.float32(np.quantile(length, 0.9)) if length.size else np.float32(0)
        bound = np.maximum(length, typical)
        out: np.ndarray = channels / np.where(bound > 0, bound, np.float32(1))
        return out
