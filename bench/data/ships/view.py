"""A part of a detection set's scenes, pixels and boxes together: what a detector sees of the data."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from bench.data.mapped import forget_pages
from bench.data.ships.index import SceneIndex, ShipScene
from bench.data.ships.scene_cache import SceneStore
from bench.data.view import View


class SceneView(View[SceneStore, SceneIndex]):
    """Some scenes of a set, in a stated order; see `View`."""

    @cached_property
    def ships(self) -> int:
        """How many boxes count, those to be ignored left out."""
        return sum(int(np.count_nonzero(~self.ignore(k))) for k in range(len(self)))

    def item(self, k: int) -> ShipScene:
        """Return the index entry of the view's scene `k`."""
        return self.index.items[int(self.positions[k])]

    def image(self, k: int) -> np.ndarray:
        """Return the view's scene `k`, read-only (H, W) in native dtype."""
        forget_pages(self.store.pixels)  # of the scenes looked at before
        return self.store.image(int(self.positions[k]))

    def boxes(self, k: int) -> np.ndarray:
        """Return the boxes of the view's scene `k`, (m, 4) float64 x1, y1, x2, y2 in pixels."""
        return self.item(k).boxes

    def ignore(self, k: int) -> np.ndarray:
        """Return which boxes of scene `k` count neither for nor against, (m,) bool."""
        return self.item(k).ignore

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield every scene as (1, H, W), native dtype, in order: what `fit_scaling` takes."""
        for k in range(len(self)):
            yield self.image(k)[None]
