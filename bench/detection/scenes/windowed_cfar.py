"""CFAR on a scene of any size, in windows of whole strips, each with a halo: exactly what it finds in the scene as a
whole.

Its stages, each finished window by window: `levels` (brightness of the cells of 8 x 8 px that land is estimated from),
`censor` (what stands out at all, to be left out of the rings), `grow` (what belongs to a target). Two things need the
whole scene in between: the land, out of all cells (nothing with `land: none`), and, with `looks: null`, the number of
looks, out of 64 strips. What stands out is put together into targets at the end, so a ship that lies across a border of
windows is one.

The halo is the half-width of the ring and 9 px more. Memory follows the width of the scene, what stands out, and, with
the estimate of land, a 64th of its pixels in some ten arrays of 8 bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bench.data.scaling import SarScale
from bench.detection.detectors.base import Detections
from bench.detection.detectors.cfar.components import BrightPixels
from bench.detection.detectors.cfar.detector import Cfar, Strip
from bench.detection.detectors.cfar.land import SeaMask
from bench.detection.scenes.scene_reader import SceneReader
from bench.detection.scenes.windowed import FinishedWindows, Found, window_name

WINDOW_ROWS = 512  # about so many rows in a window
LAND = "land"


class SceneRows:
    """A scene that reads rows on demand, and otherwise looks like an array (H, W): what `Cfar` reads
    from.

    Pixels without data are 0, which is what CFAR takes for no data where they fill an area. Values in dB, whose 0 is
    bright, are handed over as intensity (float64): `scale` says what the values then are.
    """

    ndim = 2

    def __init__(self, reader: SceneReader, scale: SarScale | None) -> None:
        self._reader, self._decibel = reader, scale is SarScale.db
        self.scale = SarScale.intensity if self._decibel else scale
        self.shape = (reader.height, reader.width)
        self.dtype = np.dtype(np.float64) if self._decibel else reader.dtype
        self._sampled: dict[tuple[int | None, int | None], np.ndarray] = {}

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return rows `[top:bottom]`, or the regular sample `[::k, ::l]`, which is read once and kept."""
        if isinstance(key, slice):
            top, bottom, _ = key.indices(self.shape[0])
            return self._rows(top, bottom)
        rows, columns = key
        steps = (rows.step, columns.step)
        if steps not in self._sampled:
            chosen = range(*rows.indices(self.shape[0]))
            self._sampled[steps] = np.stack([self._rows(y, y + 1)[0, columns] for y in chosen])
        return self._sampled[steps]

    def _rows(self, top: int, bottom: int) -> np.ndarray:
        values, known = self._reader.read((top, 0, bottom - top, self.shape[1]), 0)
        if not self._decibel:
            return values
        power = np.power(10.0, values.astype(np.float64) / 10.0)
        power[~known] = 0.0
        return power


class StripRun:
    """CFAR, window by window."""

    def __init__(self, detector: Cfar, reader: SceneReader, kept: FinishedWindows) -> None:
        setup = detector.setup
        self.image: Any = SceneRows(reader, setup.sar_scale)
        self.detector, self.kept = Cfar(detector.options), kept
        self.detector.prepare(replace(setup, sar_scale=self.image.scale))
        strips = list(self.detector.strips(self.image.shape))
        rows = strips[0][1] - strips[0][0]
        many = max(1, WINDOW_ROWS // rows)
        self.windows = [strips[start : start + many] for start in range(0, len(strips), many)]
        options = detector.options
        self.stages = [
            *(["levels"] if options.land == "estimate" else []),
            *(["censor"] if options.censor_pfa is not None else []),
            "grow",
        ]
        self.total = len(self.stages) * len(self.windows)
        self.done = sum(self._finished(stage, number) for stage in self.stages for number in range(len(self.windows)))

    def _finished(self, stage: str, number: int) -> bool:
        return self.kept.has(window_name(stage, number)) or (stage == "levels" and self.kept.has(LAND))

    def run(self, advance: Callable[[], None]) -> Found:
        """Do the stages one after the other, then put the targets together."""
        sea = self._sea(advance)
        looks = self.detector.looks(self.image, sea)
        if looks is None:  # no sea to estimate it from, so nothing to be found
            for stage in self.stages:
                for number in range(len(self.windows)):
                    if stage != "levels" and not self._finished(stage, number):
                        advance()
            return Found(Detections.none(), len(self.windows), len(self.windows))
        censored, censor_pfa = None, self.detector.options.censor_pfa
        if censor_pfa is not None:
            self._stand_out("censor", sea, looks, censor_pfa, None, advance)
            censored = self._joined("censor")[0]
        self._stand_out("grow", sea, looks, self.detector.options.grow_pfa, censored, advance)
        pixels, skipped = self._joined("grow")
        return Found(self.detector.targets(pixels, *self.image.shape), len(self.windows), skipped)

    def _sea(self, advance: Callable[[], None]) -> SeaMask:
        """Return where the scene is sea; the land is kept, and the cells that it was estimated from are not."""
        if "levels" not in self.stages:
            return self.detector.sea(self.image)
        if not self.kept.has(LAND):
            for number, strips in enumerate(self.windows):
                if not self._finished("levels", number):
                    level, count = self.detector.levels(self.image, strips)
                    self.kept.put(window_name("levels", number), {"level": level, "count": count})
                    advance()
            parts = [self.kept.get(window_name("levels", number)) for number in range(len(self.windows))]
            level, count = (np.concatenate([part[name] for part in parts]) for name in ("level", "count"))
            del parts
            self.kept.put(LAND, {"land": self.detector.land(level, count)})
        self.kept.drop("levels")
        return self.detector.sea_of(self.kept.get(LAND)["land"], self.image.shape)

    def _stand_out(
        self,
        stage: str,
        sea: SeaMask,
        looks: float,
        pfa: float,
        censored: BrightPixels | None,
        advance: Callable[[], None],
    ) -> None:
        """Find the pixels above the threshold of `pfa` in every window that is not finished."""
        for number, strips in enumerate(self.windows):
            if self._finished(stage, number):
                continue
            bright = [strip for strip in strips if self._has_signal(strip)]  # nothing stands out where all is 0
            found = self.detector.bright_pixels(self.image, sea, looks, pfa, censored, bright) if bright else _none()
            arrays = {
                "y": found.y,
                "x": found.x,
                "ratio": found.ratio,
                "starts": found.starts,
                "looked": np.array(bool(bright)),
            }
            self.kept.put(window_name(stage, number), arrays)
            advance()

    def _has_signal(self, strip: Strip) -> bool:
        return bool(self.image[strip[0] : strip[1]].any())

    def _joined(self, stage: str) -> tuple[BrightPixels, int]:
        """Return the pixels of all windows, and how many windows held no data."""
        parts, skipped = [], 0
        for number in range(len(self.windows)):
            arrays = self.kept.get(window_name(stage, number))
            parts.append(BrightPixels(arrays["y"], arrays["x"], arrays["ratio"], arrays["starts"]))
            skipped += not arrays["looked"]
        return BrightPixels.join(parts), skipped


def _none() -> BrightPixels:
    return BrightPixels(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, dtype=bool))
