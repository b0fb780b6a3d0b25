"""A part of a detection set's scenes, pixels and boxes together: what a detector sees of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from bench.core.errors import BenchError
from bench.data.mapped import forget_pages
from bench.data.ships.index import SceneIndex, ShipScene
from bench.data.ships.scene_cache import SceneStore


class SceneView:
    """Some scenes of a set, in a stated order. Pickles without its pixels.

    Args:
        store: decoded scenes. index: their index, in the same order.
        positions: (n,) integers into both.
        groups: leakage group of every image of the *index*; None takes its scene, or its id where that is unknown.

    Raises:
        BenchError: store and index differ in length, or a position lies outside.
    """

    def __init__(
        self, store: SceneStore, index: SceneIndex, positions: np.ndarray, groups: Sequence[str] | None = None
    ) -> None:
        self.store = store
        self.index = index
        self.positions = np.asarray(positions, dtype=np.int64).reshape(-1)
        own = (item.id if item.scene is None else item.scene for item in index.items)
        self.all_groups = tuple(own if groups is None else groups)
        if not len(store) == len(index) == len(self.all_groups):
            raise BenchError(
                f"{len(store)} decoded scenes, {len(index)} in the index and {len(self.all_groups)} groups do not"
                " belong together"
            )
        if self.positions.size and not (self.positions.min() >= 0 and self.positions.max() < len(index)):
            raise BenchError(f"a position lies outside the {len(index)} scenes of {index.where}")

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every scene of the view."""
        return tuple([self.index.ids[i] for i in self.positions.tolist()])

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The leakage group of every scene of the view."""
        return tuple([self.all_groups[i] for i in self.positions.tolist()])

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

    def subset(self, k: np.ndarray | slice) -> SceneView:
        """Return the view of the scenes `k` of this one, in that order."""
        return SceneView(self.store, self.index, self.positions[k], self.all_groups)
