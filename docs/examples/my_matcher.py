"""A matcher of your own in one file: `edge-map`, coarse maps of edge strength compared by correlation. NumPy only, no
training.

Copy this file, change the marked places, and name it under `plugins:` in a config (see my_suite.yaml beside it). The
idea of this matcher: an edge lies at the same place in both views whatever the tones on its two sides are, so it keeps
where edges are and forgets the tones. It is meant to be read in two minutes and to beat chance, not to win: it has no
tolerance to displacement and looks at no orientation. `cfog` does both.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import BaseModel, Field

from bench.core.errors import BenchError
from bench.core.registries import MATCHERS
from bench.matching.matchers.base import Matcher, MatcherOptions, View


# 1. The options: what a user may write under `options:`. They are checked, their defaults are written into the record,
# and they
#    enter the train key. An unknown key is an error that names the nearest one, without a line of code here.
class EdgeMapOptions(MatcherOptions):
    """Options of `edge-map`.

    Attributes:
        grid: the edge map has grid x grid cells.
        smooth_px: side in pixels of the box mean taken before the gradient, against speckle (1: none).
    """

    grid: int = Field(default=16, ge=4, le=64)
    smooth_px: int = Field(default=5, ge=1, le=31)


# 2. The name and the one line of `bench list matchers`. In a plug-in this decorator is the whole registration.
@MATCHERS.register(
    "edge-map", "coarse maps of edge strength, compared by correlation (the template of docs/adding-a-matcher.md)"
)
class EdgeMap(Matcher[EdgeMapOptions]):
    """Distance = 1 - correlation of two edge maps, in [0, 2]; a patch without any edge is at distance 1 of
    everything.
    """

    # 3. What the harness has to know. Raise `version` whenever the same options give other distances: it enters the
    # train key, and
    #    without it an old result would be taken for the new code's.
    version: ClassVar[int] = 1
    Options: ClassVar[type[BaseModel]] = EdgeMapOptions
    trains: ClassVar[bool] = False  # nothing is learned from data: `control: shuffled` is refused
    seeded: ClassVar[bool] = False  # the seed changes nothing: run once, whatever seeds the suite has
    embeds: ClassVar[bool] = True  # each image has an embedding, so the whole test part can be the gallery

    # 4. How embeddings are compared: a name of `bench.matching.matchers.distances`, so that `bench score` needs no
    # matcher.
    def embedding_distance(self) -> str:
        return "cosine"

    # 5. The work. `images` arrive in the native dtype of the data set: (n, H, W) for "sar", (n, H, W, 3) for "optical",
    # up to some
    # hundred at a time. Return (n, d) float32 with the same d for both views. Shapes and NaN are checked by the caller.
    def _embed(self, view: View, images: np.ndarray) -> np.ndarray:
        grey = images.astype(np.float32) if view == "sar" else images.mean(axis=3, dtype=np.float32)
        if min(grey.shape[1:]) < self.options.grid + self.options.smooth_px + 1:
            raise BenchError(
                f"edge-map: patches of {grey.shape[1]} x {grey.shape[2]} px are too small for a grid of"
                f" {self.options.grid} and smooth_px {self.options.smooth_px}; lower one of them"
            )
        # Speckle multiplies the SAR amplitude; after the logarithm an edge is as strong in dark ground as in bright
        # ground.
        grey = np.log1p(_box_mean(grey, self.options.smooth_px))
        edges = np.hypot(grey[:, 1:, :-1] - grey[:, :-1, :-1], grey[:, :-1, 1:] - grey[:, :-1, :-1])
        cells = _cell_means(np.sqrt(edges), self.options.grid).reshape(len(images), -1)
        # Zero mean and unit length: the cosine of two such rows is their correlation.
        cells -= cells.mean(axis=1, keepdims=True)
        length = np.linalg.norm(cells, axis=1, keepdims=True)
        return np.where(length > 1e-6, cells / np.where(length > 1e-6, length, 1.0), 0.0).astype(np.float32)


def _box_mean(images: np.ndarray, side: int) -> np.ndarray:
    """Return the means (n, H - side + 1, W - side + 1) of `images` (n, H, W) in every side x side window; no pixel is
    invented.
    """
    for axis in (1, 2):
        total = np.cumsum(images, axis=axis, dtype=np.float64)
        total = np.concatenate([np.zeros_like(total.take([0], axis)), total], axis=axis)
        size = total.shape[axis]
        images = (total.take(range(side, size), axis) - total.take(range(size - side), axis)) / side
    return images


def _cell_means(images: np.ndarray, grid: int) -> np.ndarray:
    """Return the means (n, grid, grid) of `images` (n, H, W) over a grid of nearly equal cells."""
    for axis in (1, 2):
        starts = np.arange(grid) * images.shape[axis] // grid
        sizes = np.diff(np.append(starts, images.shape[axis]))
        images = np.add.reduceat(images, starts, axis=axis) / np.expand_dims(sizes, tuple({0, 1, 2} - {axis}))
    return images
