"""Some of a set's samples with their decoded images: what pairs and scenes share of what a method sees."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from functools import cached_property
from typing import Generic, Self, TypeVar

import numpy as np

from bench.core.errors import BenchError
from bench.data.index import Sampled, default_groups

StoreT = TypeVar("StoreT", bound=Sized)
IndexT = TypeVar("IndexT", bound=Sampled)


class View(Generic[StoreT, IndexT]):
    """Some samples of a set, in a stated order. Pickles without its pixels.

    Args:
        store: the decoded images. index: what they are, in the same order.
        positions: (n,) integers into both.
        groups: leakage group of every sample of the *index* (as `Split.groups`); None takes its scene, or its id where
            that is unknown.

    Raises:
        BenchError: store and index differ in length, or a position lies outside.
    """

    def __init__(
        self, store: StoreT, index: IndexT, positions: np.ndarray, groups: Sequence[str] | None = None
    ) -> None:
        self.store = store
        self.index = index
        self.positions = np.asarray(positions, dtype=np.int64).reshape(-1)
        self.all_groups = default_groups(index) if groups is None else tuple(groups)
        if not len(store) == len(index) == len(self.all_groups):
            raise BenchError(
                f"{len(store)} decoded {index.noun}s, {len(index)} in the index and {len(self.all_groups)} groups do"
                " not belong together"
            )
        if self.positions.size and not (self.positions.min() >= 0 and self.positions.max() < len(index)):
            raise BenchError(f"a position lies outside the {len(index)} {index.noun}s of {index.where}")

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every sample of the view."""
        return tuple([self.index.ids[i] for i in self.positions.tolist()])

    @cached_property
    def scenes(self) -> tuple[str | None, ...]:
        """The scene of every sample of the view, None where unknown."""
        return tuple([self.index.scenes[i] for i in self.positions.tolist()])

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The leakage group of every sample of the view."""
        return tuple([self.all_groups[i] for i in self.positions.tolist()])

    @property
    def places(self) -> np.ndarray:
        """(n, 4) float64 ground rectangles in metres, NaN where unknown; see `PairIndex.places`."""
        return self.index.places[self.positions]

    def subset(self, i: np.ndarray | slice) -> Self:
        """Return the view of the samples `i` of this one, in that order."""
        return type(self)(self.store, self.index, self.positions[i], self.all_groups)
