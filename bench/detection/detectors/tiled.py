"""Detectors that look at tiles: scenes are cut, tiles are handed over in blocks, and what was found is merged into the
scene.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bench.core.errors import BenchError
from bench.core.method import OptionsT
from bench.detection.detectors.base import Detections, Detector, ScenePrediction, check_detections
from bench.detection.tiles.merging import merge_tiles
from bench.detection.tiles.tiling import cut, dark_value, tile_grid


class TiledDetector(Detector[OptionsT]):
    """Base of the detectors that look at tiles; a subclass writes `_predict_tiles` alone.

    Class attributes:
        block: tiles handed over at a time, at most.
    """

    block: ClassVar[int] = 8

    def _predict(self, image: np.ndarray) -> ScenePrediction:
        """Cut `image` (H, W) of any size, look at every tile, merge."""
        setup = self.setup
        height, width = image.shape[0], image.shape[1]
        windows = tile_grid(height, width, setup.tiles)
        fill = dark_value(setup.scaling, image.dtype)
        found: list[Detections] = []
        for start in range(0, len(windows), self.block):
            part = windows[start : start + self.block]
            found += self.look(np.stack([cut(image, window, fill) for window in part]))
        merged = merge_tiles(windows, found, height, width, setup.merging)
        return ScenePrediction(merged, tuple(windows), tuple(found))

    def look(self, tiles: np.ndarray) -> list[Detections]:
        """Find the ships in `tiles` (n, size, size), native dtype, n <= `block`: one answer for each, boxes in the
        tile's frame.

        Raises:
            BenchError: another number of answers; boxes or scores that are malformed, not finite or inverted.
        """
        name = type(self).__name__
        answers = self._predict_tiles(tiles)
        if len(answers) != len(tiles):
            raise BenchError(
                f"{name} answered {len(answers)} times to {len(tiles)} tiles; expected one answer for each"
            )
        for answer in answers:
            check_detections(answer, name)  # before merging, where a NaN would vanish
        return answers

    def _predict_tiles(self, tiles: np.ndarray) -> list[Detections]:
        """Find the ships in `tiles` (n, size, size), native dtype, n <= `block`: one answer for each, boxes in the
        tile's frame.

        Where a tile reaches beyond the scene it holds values that the scaling maps to 0. Suppressing several boxes of
        one ship inside a tile is the detector's task: merging compares different tiles only.
        """
        raise NotImplementedError
