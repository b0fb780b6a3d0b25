"""What a training sample goes through beside the eight symmetries, keeping its two views registered.

Each change is a pure function of (seed, epoch, position of the sample in the training part): of nothing else, so
neither the batch that a sample lands in nor the number of loading processes matters. Where a change is geometric both
views get the same; where it is radiometric each view gets its own, since only then are the sensors' tones
no cue to the place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.matching.matchers.base import View

# purposes: each draws from its own stream (1 to 6: see `batches`)
_WINDOW, _JITTER, _SHARE, _SPECKLE, _GREY = (7, 8, 9, 10, 11)
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def stream(seed: int, epoch: int, purpose: int, *more: int) -> np.random.Generator:
    """Return the generator of one purpose in one epoch. Element i of a draw from it belongs to sample i."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, purpose, *more])))


@dataclass(frozen=True)
class Augmentation:
    """Changes of a training sample; the defaults change nothing.

    Attributes:
        crop: share of the side that a sample shows, a window drawn anew in each epoch, the same for both views; 1 shows
            all.
        zoom: the share is drawn too, uniform in [crop, 1], and the window enlarged to the whole patch's size
            (bilinear).
        jitter: strength of a change of tone, drawn for each view apart: x -> gain x^gamma, both log-normal with this
            deviation; the optical view has a gain for each colour.
        grey: share of the samples whose optical view is shown without colour (its luma).
        speckle: deviation of the noise of mean 1 that each SAR pixel is multiplied with (gamma-distributed, as the
            intensity of 1 / speckle^2 looks is). For amplitude or intensity; in decibel speckle does not multiply.
    """

    crop: float = 1.0
    zoom: bool = False
    jitter: float = 0.0
    grey: float = 0.0
    speckle: float = 0.0

    def windows(self, native: np.ndarray, seed: int, epoch: int, positions: np.ndarray, n: int) -> np.ndarray:
        """(b, H, W[, 3]) images -> their windows of `crop` of the side, (b, h, w[, 3]); with `zoom`, which has its own,
        the images.
        """
        if self.crop == 1 or self.zoom:
            return native
        side = native.shape[1]
        size = max(1, round(self.crop * side))
        at = (_drawn(seed, epoch, _WINDOW, positions, n, 2) * (side - size + 1)).astype(np.int64).tolist()
        return np.stack([image[y : y + size, x : x + size] for image, (y, x) in zip(native, at, strict=True)])

    def changed(
        self, views: Mapping[View, np.ndarray], seed: int, epoch: int, positions: np.ndarray, n: int
    ) -> dict[View, np.ndarray]:
        """Return the scaled views, sar (b, H, W) and optical (b, H, W, 3) float32 in [0, 1], after all but `windows`;
        same shapes.

        Args:
            positions: (b,) of each sample in the training part of `n`.
        """
        out = dict(views)
        if self.speckle:
            out["sar"] = self._speckled(out["sar"], seed, epoch, positions)
        if self.zoom and self.crop < 1:
            out = self._zoomed(out, seed, epoch, positions, n)
        if self.jitter:
            out = self._toned(out, seed, epoch, positions, n)
        if self.grey:
            bare = _drawn(seed, epoch, _GREY, positions, n) < self.grey
            luma = (out["optical"] @ _LUMA)[..., None]
            out["optical"] = np.where(bare[:, None, None, None], luma, out["optical"]).astype(np.float32)
        return out

    def _speckled(self, sar: np.ndarray, seed: int, epoch: int, positions: np.ndarray) -> np.ndarray:
        looks = 1 / self.speckle**2
        noise = [
            stream(seed, epoch, _SPECKLE, int(i)).standard_gamma(looks, sar.shape[1:], dtype=np.float32)
            for i in positions
        ]
        speckled: np.ndarray = np.clip(sar * (np.stack(noise) / np.float32(looks)), 0, 1, dtype=np.float32)
        return speckled

    def _zoomed(
        self, views: Mapping[View, np.ndarray], seed: int, epoch: int, positions: np.ndarray, n: int
    ) -> dict[View, np.ndarray]:
        share = 1 - (1 - self.crop) * _drawn(seed, epoch, _SHARE, positions, n)
        corner = _drawn(seed, epoch, _WINDOW, positions, n, 2)
        out = {view: np.empty_like(images) for view, images in views.items()}
        for k, part in enumerate(share):
            for view, images in views.items():
                height, width = images.shape[1:3]
                rows, columns = (
                    _enlarging(side, part, at) for side, at in zip((height, width), corner[k], strict=True)
                )
                flat = (rows @ images[k].reshape(height, -1)).reshape(images[k].shape)
                out[view][k] = columns @ flat if images.ndim == 4 else flat @ columns.T
        return out

    def _toned(
        self, views: Mapping[View, np.ndarray], seed: int, epoch: int, positions: np.ndarray, n: int
    ) -> dict[View, np.ndarray]:
        normal = stream(seed, epoch, _JITTER).normal(size=(n, 6))
        drawn = np.exp(self.jitter * normal)[positions].astype(np.float32)
        gain: dict[View, np.ndarray] = {"sar": drawn[:, 0, None, None], "optical": drawn[:, None, None, 2:5]}
        gamma: dict[View, np.ndarray] = {"sar": drawn[:, 1, None, None], "optical": drawn[:, 5, None, None, None]}
        return {
            view: np.clip(gain[view] * np.power(image, gamma[view]), 0, 1, dtype=np.float32)
            for view, image in views.items()
        }


def _drawn(seed: int, epoch: int, purpose: int, positions: np.ndarray, n: int, *shape: int) -> np.ndarray:
    """Return uniform numbers in [0, 1) of the samples at `positions`, (b, *shape) float64."""
    numbers: np.ndarray = stream(seed, epoch, purpose).random((n, *shape))[positions]
    return numbers


def _enlarging(side: int, share: float, at: float) -> np.ndarray:
    """Return the (side, side) float32 matrix that enlarges a window along one axis to the whole `side`, bilinear.

    The window is `share` of the side long and begins at `at`, in [0, 1), of the rest. Pixel centres lie at k + 0.5, as
    in `torch.nn.functional.interpolate(align_corners=False)`; outside the centres of the border pixels their values go
    on.
    """
    start = at * (1 - share) * side
    x = np.clip(start + (np.arange(side) + 0.5) * share - 0.5, 0, side - 1)
    low = np.minimum(x.astype(np.int64), side - 2) if side > 1 else np.zeros(side, dtype=np.int64)
    weight = (x - low).astype(np.float32)
    out = np.zeros((side, side), dtype=np.float32)
    rows = np.arange(side)
    out[rows, low] = 1 - weight
    out[rows, np.minimum(low + 1, side - 1)] += weight
    return out
