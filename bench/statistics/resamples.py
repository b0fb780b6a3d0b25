"""The resamples of one test set: clusters drawn with replacement, swapped, and left out one by one.

Chance enters by the names of the clusters and nothing else, so that every row over the same clusters sees the same
resamples and no row's numbers depend on its neighbours.
"""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache

import numpy as np

from bench.statistics.resampling import Clusters, Resampled

DRAWS, SWAPS = 2000, 9999
MANY_CLUSTERS, SWAPS_OF_MANY = 128, 1999
_LOOKED_AT = 512  # swaps that the resolvable difference is found with


class Resamples:
    """The draws, swaps and leave-one-outs of one test set, made once for all rows of a table."""

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters
        self._without: dict[int, tuple[Resampled, np.ndarray]] = {}
        self._drawn: dict[int, tuple[Resampled, np.ndarray]] = {}

    @cached_property
    def draws(self) -> np.ndarray:
        return _draws(self.clusters.names, tuple(self.clusters.stratum.tolist()))

    @cached_property
    def swaps(self) -> np.ndarray:
        """(1 + SWAPS, C) bool, at random but for the first, which swaps nothing; fewer where there are very many
        clusters.
        """
        take = (
            _generator(self.clusters, "swaps")
            .integers(0, 2, (1 + self._random_swaps, len(self.clusters)), dtype=np.uint8)
            .astype(bool)
        )
        take[0] = False
        return take

    @property
    def _random_swaps(self) -> int:
        return SWAPS if len(self.clusters) <= MANY_CLUSTERS else SWAPS_OF_MANY

    def most_swaps(self, all_up_to: int) -> int:
        """Return the largest number of swaps that a comparison of two rows makes, where all are made of up to
        `all_up_to` clusters that differ: of these one half, since the other turns the sign alone.
        """
        few: int = 2 ** (min(len(self.clusters), all_up_to) - 1)
        return few if len(self.clusters) <= all_up_to else max(few, 1 + self._random_swaps)

    @cached_property
    def signs(self) -> np.ndarray:
        """(n, C) of 1 and -1: all swaps that differ by more than their sign where these are few, else the first of the
        random ones.
        """
        count = len(self.clusters)
        if 2 ** (count - 1) > _LOOKED_AT:
            return 1.0 - 2.0 * self.swaps[:_LOOKED_AT]
        return 1.0 - 2.0 * ((np.arange(2 ** (count - 1))[:, None] >> np.arange(count)) & 1)

    def drawn(self, result: Resampled) -> np.ndarray:
        """Return the metric on each draw, (n,); NaN where undefined."""
        if id(result) not in self._drawn:  # the result is kept, so that its id stays its own
            self._drawn[id(result)] = result, result.values(self.draws)
        return self._drawn[id(result)][1]

    def without(self, result: Resampled) -> np.ndarray:
        """Return the metric (C,) without each cluster in turn; NaN where undefined."""
        if id(result) not in self._without:  # the result is kept, so that its id stays its own
            count, parts = len(self.clusters), []
            for start in range(0, count, 256):
                weights = np.ones((min(256, count - start), count))
                weights[np.arange(len(weights)), np.arange(start, start + len(weights))] = 0
                parts.append(result.values(weights))
            self._without[id(result)] = result, np.concatenate(parts)
        return self._without[id(result)][1]


def draws(clusters: Clusters, count: int = DRAWS) -> np.ndarray:
    """Return `count` resamples, (count, C) float64 weights: in each stratum as many clusters as it has, drawn with
    replacement.

    The same for every row over these clusters: the generator is seeded by their names.
    """
    generator, out = _generator(clusters, "draws"), np.zeros((count, len(clusters)))
    for stratum in np.unique(clusters.stratum):
        members = np.flatnonzero(clusters.stratum == stratum)
        out[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), size=count)
    return out


@lru_cache(maxsize=4)
def _draws(names: tuple[str, ...], stratum: tuple[int, ...]) -> np.ndarray:
    """Return `draws`, made once for all rows and metrics over these clusters."""
    made = draws(Clusters.of(names, np.ones(len(names)), np.array(stratum)))
    made.setflags(write=False)
    return made


def _generator(clusters: Clusters, purpose: str) -> np.random.Generator:
    text = "\0".join(
        [
            purpose,
            *(f"{name}\0{stratum}" for name, stratum in zip(clusters.names, clusters.stratum.tolist(), strict=True)),
        ]
    )
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))
