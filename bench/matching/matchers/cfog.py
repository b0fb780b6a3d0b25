"""`cfog`: channel features of oriented gradients, compared by FFT correlation over a range of shifts. Classical,
structural, untrained.

Source of the features: Ye, Bruzzone, Shan, Bovolo, Zhu, "Fast and Robust Matching for Multimodal Remote Sensing Image
Registration", TGRS
2019. Per pixel and orientation the absolute directional derivative |cos(t) gx + sin(t) gy|, t in [0, pi), smoothed by a
Gaussian in the image plane and by [1 2 1] along the (circular) orientation axis, then L2-normalised over the
orientations. Tone curves that differ
between the views drop out: only the place and the orientation of edges count, not their sign or strength.

Ours, not the paper's: gradients of the Gaussian-smoothed image (speckle), and a similarity that is the normalised
correlation with each channel's mean over the template removed (the descriptors are non-negative, so that without it
everything resembles everything).

Nothing but image content may help (`bench.matching.matchers.correlation`); the distance is unchanged by a positive gain
or an offset of either view.

Shift tolerance: content displaced by at most `max_shift` px along y and along x is found exactly; a displacement that
varies over the patch (relief) blurs the peak. Beyond the range the true pair scores like any other pair. The range is
part of the method, since a wider one also gives wrong pairs more chances. Default: floor(0.375 * sqrt(shorter side)): 6
px at 256, 4 px at 128, 3 px at 64. `border: crop` with `shift_range: 0.75` gives the distances of version 1.

Cost, measured on one core: a descriptor with its spectrum takes about 5 ms at 256 px (1 ms at 128), every pair after
that 0.5 ms (0.1 ms).
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from bench.matching.matchers.correlation import CorrelationMatcher, CorrelationOptions, radius_of, smoothed, spread

_ROUNDING = 2e-6


class CfogOptions(CorrelationOptions):
    """Options of `cfog`.

    Attributes:
        gradient_sigma: standard deviation in px of the Gaussian before the gradients (0: none).
    """

    gradient_sigma: float = Field(default=1.0, ge=0.0, le=8.0)


class Cfog(CorrelationMatcher[CfogOptions]):
    """Correlation of oriented gradients; see the module's docstring."""

    version: ClassVar[int] = 2
    Options = CfogOptions
    title = "cfog"
    shrink = "max_shift_px or sigma"

    @property
    def margin(self) -> int:
        return radius_of(self.options.gradient_sigma) + 1 + radius_of(self.options.sigma)

    def descriptor(self, grey: np.ndarray) -> np.ndarray:
        smooth = smoothed(np.asarray(grey, dtype=np.float32), self.options.gradient_sigma)
        gx, gy = smooth[1:-1, 2:] - smooth[1:-1, :-2], smooth[2:, 1:-1] - smooth[:-2, 1:-1]
        nothing = np.maximum(np.abs(gx), np.abs(gy)) <= _ROUNDING * np.abs(smooth[1:-1, 1:-1])
        angles = np.arange(self.options.orientations) * (math.pi / self.options.orientations)
        cos, sin = (f(angles).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
        channels = np.abs(cos * np.where(nothing, np.float32(0), gx) + sin * np.where(nothing, np.float32(0), gy))
        channels = smoothed(channels, self.options.sigma)
        channels = spread(channels)
        # divided out first: squares of tiny or huge values stay in float32's range
        peak = channels.max(axis=0, keepdims=True)
        channels /= np.where(peak > 0, peak, np.float32(1))
        length = np.sqrt(np.square(channels).sum(axis=0, keepdims=True))
        return channels / np.where(length > 0, length, np.float32(1))
