"""`cfar`: the classical cell-averaging constant-false-alarm-rate detector on sea clutter. No training: the floor for
learned detectors.

1. Intensity of every pixel (`bench.detection.detectors.cfar.clutter`: amplitude squared), land estimated from the scene
itself (`bench.detection.detectors.cfar.land`).
2. A pixel exceeds the clutter when its intensity is above factor x mean of the sea pixels in a square ring round it;
the factor follows
   from the false-alarm probability and the equivalent number of looks (Finn & Johnson 1968, F distribution:
   `bench.detection.detectors.cfar.clutter`). Pixels on land and without data stand in no ring and are never tested; at
   borders the ring holds what is left of it, and where less than `min_ring` of it is left nothing is decided.
3. Second pass: what stood out at all is taken out of the rings ("censored"), so that ships do not raise the threshold
of their neighbours.
4. Hysteresis: pixels above the lower factor of `grow_pfa` that touch a pixel above the factor of `pfa` belong to a
target. Of these the
   ones within `peak_drop_db` of its peak are kept, which drops side lobes and the halo of bright ships; gaps up to
   `gap_px` are closed.
5. Box: the outer edges of the outermost kept pixels. Targets too small, too large or too short are dropped.
6. Score: the sum of test cell over clutter mean of a target's pixels, in dB: its energy in units of the clutter. It is
above 0 and grows
   with both size and brightness; `score: peak` takes the brightest pixel alone.

The false-alarm probability is met on homogeneous gamma clutter of independent pixels (tested). Real sea is rougher, and
neighbouring pixels are correlated: the nominal probability is then a knob, not a promise. The defaults were tuned for
AP at IoU 0.5 on the training sites of a part of HRSID (326 tiles, 0.5-3 m, 8 bit) and on nothing else. There the
estimate of land removes one false alarm in seven, and costs 0.01 of AP: ships at quays are taken for land.

It looks at whole scenes, in strips: memory follows the width of the scene and what stands out, not its height.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from bench.detection.detectors.base import Detections, Detector, DetectorOptions, ScenePrediction
from bench.detection.detectors.cfar.clutter import LOOKS_BLOCK_PX as LOOKS_ROWS
from bench.detection.detectors.cfar.clutter import (
    NO_DATA_PX,
    FactorTable,
    equivalent_looks,
    has_data,
    intensity_floor,
    intensity_of,
    ring_mean,
)
from bench.detection.detectors.cfar.components import BrightPixels, bounds, components, largest
from bench.detection.detectors.cfar.land import CELL_PX, LandRule, SeaMask, cell_levels, estimate_land

Strip = tuple[int, int]
"""Rows of a scene, from the first to before the last."""

_STRIP_BYTES = 16 * 2**20  # of one float64 array of a strip; about ten stand at a time
_LOOKS_STRIPS = 64  # strips of a large scene that its number of looks is estimated from


class CfarOptions(DetectorOptions):
    """Options of `cfar`.

    Attributes:
        pfa: false-alarm probability of a pixel that starts a target; grow_pfa: of one that extends it.
        guard_px, ring_px: the ring is the square of half-width `ring_px` without the one of half-width `guard_px`.
        min_ring: share of a full ring that must be sea with data for a decision.
        looks: equivalent number of looks of a pixel; null estimates it from each scene (median of mean^2 / variance
            over sea blocks).
        correlated_px: number of neighbouring pixels that count as one independent sample in the ring.
        censor_pfa: look twice, the second time with rings free of the pixels that exceed the clutter at this
            probability in the first; null looks once.
        peak_drop_db: a target's pixels weaker than its peak by more than this are dropped; null keeps all.
        gap_px: pieces of a target this many pixels apart are one.
        margin_px: boxes are widened by this much on every side, inside the scene.
        min_area_px, min_length_px, max_length_px: limits on a target's pixels and on the longer side of its box.
        min_length_m, max_length_m: further limits where the ground sample distance is known.
        score: "energy" or "peak", both in dB over the clutter mean.
        land: "estimate" from the scene, or "none" for open sea.
        land_contrast_db, land_min_area_px: see `bench.detection.detectors.cfar.land.LandRule`. coast_px: of `SeaMask`.
    """

    pfa: float = Field(default=1e-12, gt=0, le=0.1)
    grow_pfa: float = Field(default=1e-9, gt=0, le=0.5)
    guard_px: int = Field(default=20, ge=0, le=500)
    ring_px: int = Field(default=35, ge=1, le=1000)
    min_ring: float = Field(default=0.2, gt=0, le=1)
    looks: float | None = Field(default=1.0, gt=0)
    correlated_px: float = Field(default=1.0, ge=1)
    censor_pfa: float | None = Field(default=1e-3, gt=0, le=0.1)
    peak_drop_db: float | None = Field(default=12.0, gt=0)
    gap_px: int = Field(default=1, ge=0, le=50)
    margin_px: float = Field(default=0.0, ge=0, le=50)
    min_area_px: int = Field(default=6, ge=1)
    min_length_px: float = Field(default=4, ge=1)
    max_length_px: float = Field(default=600, ge=1)
    min_length_m: float = Field(default=3, ge=0)
    max_length_m: float = Field(default=500, ge=1)
    score: Literal["energy", "peak"] = "energy"
    land: Literal["estimate", "none"] = "estimate"
    land_contrast_db: float = Field(default=5.0, gt=0)
    land_min_area_px: int = Field(40_000, ge=1)
    coast_px: int = Field(default=0, ge=-1000, le=1000)

    def overridden(self) -> dict[str, str]:
        of_land = ("land_contrast_db", "land_min_area_px", "coast_px") if self.land == "none" else ()
        return dict.fromkeys(of_land, "with land 'none' no land is estimated")

    @model_validator(mode="after")
    def _consistent(self) -> CfarOptions:
        if self.guard_px >= self.ring_px:
            raise ValueError(f"guard_px {self.guard_px} must be smaller than ring_px {self.ring_px}")
        if self.grow_pfa < self.pfa:
            raise ValueError(f"grow_pfa {self.grow_pfa:g} must not be below pfa {self.pfa:g}")
        return self


class Cfar(Detector[CfarOptions]):
    """Cell-averaging CFAR on whole scenes; see the module's docstring. Keeps no state and learns nothing."""

    version: ClassVar[int] = 1
    Options = CfarOptions
    trains: ClassVar[bool] = False
    seeded: ClassVar[bool] = False

    def _predict(self, image: np.ndarray) -> ScenePrediction:
        sea = self.sea(image)
        looks = self.looks(image, sea)
        if looks is None:
            return ScenePrediction(Detections.none())
        censored = (
            None if self.options.censor_pfa is None else self.bright_pixels(image, sea, looks, self.options.censor_pfa)
        )
        found = self.bright_pixels(image, sea, looks, self.options.grow_pfa, censored)
        return ScenePrediction(self.targets(found, *image.shape))

    def sea(self, image: np.ndarray) -> SeaMask:
        """Return where a scene (H, W) is sea: everywhere without the estimate of land.

        Raises:
            BenchError: pixels that are not finite, or whose scale is not declared.
        """
        if self.options.land == "none":
            return SeaMask(
                np.zeros((-(-image.shape[0] // CELL_PX), -(-image.shape[1] // CELL_PX)), dtype=bool), image.shape
            )
        return self.sea_of(self.land(*self.levels(image)), image.shape)

    def levels(self, image: np.ndarray, strips: Iterable[Strip] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return what `land.cell_levels` says of the cells in `strips` of a scene, by default in all of it.

        Raises:
            BenchError: as `sea`.
        """
        floor = intensity_floor(image, self.setup.sar_scale)
        parts = []
        for top, bottom in self.strips(image.shape) if strips is None else strips:
            block = np.asarray(image[top:bottom])
            parts.append(
                cell_levels(
                    np.maximum(intensity_of(block, self.setup.sar_scale), floor), _data_rows(image, top, bottom)
                )
            )
        level, count = (np.concatenate(values) for values in zip(*parts, strict=True))
        return level, count

    def land(self, level: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Return which cells of a scene are land, (h, w) bool, given the `levels` of all of it: the estimate needs the
        whole scene.
        """
        return estimate_land(level, count, LandRule(self.options.land_contrast_db, self.options.land_min_area_px))

    def sea_of(self, land: np.ndarray, shape: tuple[int, ...]) -> SeaMask:
        """Return where a scene of `shape` is sea, given its `land`."""
        return SeaMask(land, shape, self.options.coast_px)

    def looks(self, image: np.ndarray, sea: SeaMask) -> float | None:
        """Return the equivalent number of looks of a scene's pixels: the option, else an estimate; None where there
        is no sea to estimate it from.
        """
        if self.options.looks is not None:
            return float(self.options.looks)
        strips = list(self.strips(image.shape, rows=LOOKS_ROWS))
        chosen = strips[:: -(-len(strips) // _LOOKS_STRIPS)]
        blocks = []
        for top, bottom in chosen:
            block = np.asarray(image[top:bottom])
            usable = _data_rows(image, top, bottom) & sea.rows(top, bottom)
            blocks.append((intensity_of(block, self.setup.sar_scale), usable))
        return equivalent_looks(blocks)

    def bright_pixels(
        self,
        image: np.ndarray,
        sea: SeaMask,
        looks: float,
        pfa: float,
        censored: BrightPixels | None = None,
        strips: Iterable[Strip] | None = None,
    ) -> BrightPixels:
        """Return the sea pixels of a scene (H, W) above the threshold of `pfa`, and whether they exceed that of the
        option `pfa`.

        Args:
            looks: equivalent number of looks.
            censored: pixels to leave out of every ring, None for none.
            strips: rows to look at, top to bottom; None for the whole scene. Each needs `halo_px` rows more above and
                below, and gives the same pixels whatever others are looked at.
        """
        options = self.options
        full = (2 * options.ring_px + 1) ** 2 - (2 * options.guard_px + 1) ** 2
        start, grow = (FactorTable(pfa, looks, full, 1 / options.correlated_px) for pfa in (options.pfa, pfa))
        floor = intensity_floor(image, self.setup.sar_scale)
        parts = []
        for top, bottom in self.strips(image.shape) if strips is None else strips:
            first, last = max(0, top - self.halo_px), min(image.shape[0], bottom + self.halo_px)
            block = np.asarray(image[first:last])
            intensity = intensity_of(block, self.setup.sar_scale)
            data = has_data(block)
            ring = data & sea.rows(first, last)
            if censored is not None:
                ring &= ~censored.mask(first, last, image.shape[1])
            mean, count = (
                values[top - first : bottom - first]
                for values in ring_mean(intensity, ring, options.guard_px, options.ring_px)
            )
            inner = slice(top - first, bottom - first)
            tested = data[inner] & sea.tested_rows(top, bottom) & (count >= options.min_ring * full)
            np.maximum(mean, floor, out=mean)
            np.multiply(mean, grow.least, out=mean)
            # a first, cheap sieve: the factor of a full ring is the least
            y, x = np.nonzero(tested & (intensity[inner] > mean))
            ratio = intensity[inner][y, x] / mean[y, x] * grow.least
            keep = ratio > grow(count[y, x])
            y, x, ratio = y[keep], x[keep], ratio[keep]
            parts.append(BrightPixels(y + top, x, ratio, ratio > start(count[y, x])))
        return BrightPixels.join(parts)

    def targets(self, pixels: BrightPixels, height: int, width: int) -> Detections:
        """Return the targets that the pixels above the growing threshold make up in a scene of `height` x `width`
        px.
        """
        options = self.options
        label = components(pixels)
        started, peak = largest(pixels.starts, label) > 0, largest(pixels.ratio, label)
        keep = started[label]
        if options.peak_drop_db is not None:
            keep &= pixels.ratio >= peak[label] * 10 ** (-options.peak_drop_db / 10)
        pixels = pixels.take(keep)
        if len(pixels) == 0:
            return Detections.none()
        label = components(pixels, 1 + options.gap_px)
        boxes, area = bounds(pixels, label), np.bincount(label)
        power = largest(pixels.ratio, label) if options.score == "peak" else np.bincount(label, pixels.ratio)
        good = (area >= options.min_area_px) & self._fitting(boxes)
        boxes = boxes + np.array([-1, -1, 1, 1]) * options.margin_px
        boxes = np.clip(boxes, 0, [width, height, width, height])
        return Detections(boxes, 10 * np.log10(power)).take(good)

    def _fitting(self, boxes: np.ndarray) -> np.ndarray:
        """Return which boxes (k, 4) have a longer side within the limits."""
        options = self.options
        length = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        good = (length >= options.min_length_px) & (length <= options.max_length_px)
        if self.setup.gsd_m is not None:
            length_m = length * self.setup.gsd_m
            good &= (length_m >= options.min_length_m) & (length_m <= options.max_length_m)
        out: np.ndarray = good
        return out

    @property
    def halo_px(self) -> int:
        """Rows beyond a strip that decide on its pixels: the rings, and beyond them what marks areas without data."""
        return int(self.options.ring_px + NO_DATA_PX)

    def strips(self, shape: tuple[int, ...], rows: int | None = None) -> Iterator[Strip]:
        """Yield (top, bottom) of strips that cover a scene; by default of whole land cells and about _STRIP_BYTES
        each.
        """
        if rows is None:
            rows = max(
                CELL_PX,
                _STRIP_BYTES // (8 * shape[1]) // CELL_PX * CELL_PX,
                2 * self.options.ring_px // CELL_PX * CELL_PX,
            )
        for top in range(0, shape[0], rows):
            yield top, min(shape[0], top + rows)


def _data_rows(image: np.ndarray, top: int, bottom: int) -> np.ndarray:
    """Return which pixels of these rows have data, (bottom - top, W) bool, as judged in the whole scene."""
    first = max(0, top - NO_DATA_PX)
    out: np.ndarray = has_data(np.asarray(image[first : bottom + NO_DATA_PX]))[top - first : bottom - first]
    return out
