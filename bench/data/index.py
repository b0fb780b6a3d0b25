"""The index of a data set: which pairs there are, in which files, where on the ground. Owns identity and order,
decodes no pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from bench.core.errors import BenchError, nearest
from bench.core.store import canonical_hash
from bench.data.reading import PairReading


class Sampled(ABC):
    """The samples of a set, in a fixed order, as a split sees them: pairs (`PairIndex`) or scenes with ships
    (`bench.data.ships.index.SceneIndex`).

    Attributes:
        noun: what one sample is called in messages: "pair", "scene".
        where: the data set's name in messages.
    """

    noun: ClassVar[str]
    where: str

    @property
    @abstractmethod
    def rows(self) -> Sequence[Any]:
        """The samples; each has an `id`, a `scene` and `attributes`."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names that `column` takes: "id", "scene" where known, and every attribute that all samples have."""

    @property
    @abstractmethod
    def places(self) -> np.ndarray:
        """(N, 4) float64 rows x_min, y_min, x_max, y_max on the ground in metres; NaN where unknown."""

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every sample, in order."""
        return tuple([row.id for row in self.rows])

    @cached_property
    def scenes(self) -> tuple[str | None, ...]:
        """The scene of every sample, None where unknown."""
        return tuple([row.scene for row in self.rows])

    def column(self, name: str) -> list[str]:
        """Return one value a sample: "id", "scene" or an attribute.

        Raises:
            BenchError: no such column (the nearest names are listed), or some samples lack it.
        """
        if name not in self.columns:
            raise BenchError(f"{self.where} has no column {name!r}{nearest(name, self.columns)}")
        if name in ("id", "scene"):
            return [str(value) for value in (self.ids if name == "id" else self.scenes)]
        return [row.attributes[name] for row in self.rows]


@dataclass(frozen=True, slots=True)
class PairSample:
    """One SAR-optical pair.

    Attributes:
        id: unique name in the data set.
        optical, sar: file paths relative to the data set's root, with "/" between parts.
        window: (y0, x0, height, width) in pixels, origin at the top-left corner of the top-left pixel, y down; None
            for the whole file.
        scene: name of the scene the pair was cut from, None where unknown.
        place: (x_min, y_min, x_max, y_max) in metres of the index's `crs`, y up (north); None where unknown.
        attributes: further columns of the data set's table.
    """

    id: str
    optical: str
    sar: str
    window: tuple[int, int, int, int] | None = None
    scene: str | None = None
    place: tuple[float, float, float, float] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PairIndex(Sampled):
    """All pairs of a data set, in a fixed order. `where` names the data set in messages; `reading` says how its files
    are read.

    Raises:
        BenchError: no pairs, or an id that occurs twice.
    """

    samples: tuple[PairSample, ...]
    crs: str | None = None
    where: str = "the data set"
    reading: PairReading = PairReading()
    noun = "pair"

    def __post_init__(self) -> None:
        if not self.samples:
            raise BenchError(f"no pairs found in {self.where}")
        if len(set(self.ids)) != len(self.samples):
            twice, _ = Counter(self.ids).most_common(1)[0]
            raise BenchError(f"pair id {twice!r} occurs twice in {self.where}; rename one of the files")

    @property
    def rows(self) -> Sequence[PairSample]:
        return self.samples

    @cached_property
    def columns(self) -> tuple[str, ...]:
        names = ["id"] + (["scene"] if all(scene is not None for scene in self.scenes) else [])
        shared = {id(sample.attributes): sample.attributes for sample in self.samples}
        common = set.intersection(*(set(attributes) for attributes in shared.values()))
        return tuple(names + sorted(common - set(names)))

    @cached_property
    def places(self) -> np.ndarray:
        """As `Sampled.places`, in metres of `crs`; read-only."""
        unknown = (np.nan,) * 4
        out = np.array([sample.place or unknown for sample in self.samples], dtype=np.float64).reshape(-1, 4)
        out.flags.writeable = False
        return out

    @cached_property
    def sha256(self) -> str:
        """Hash of what decides the pixels: ids, files and windows, in order, and how files are read unless as
        stored.
        """
        files = [[s.id, s.optical, s.sar, s.window] for s in self.samples]
        return canonical_hash([files, self.reading.key()] if self.reading.key() else files)

    def take(self, positions: np.ndarray) -> PairIndex:
        """Return the index of the samples at `positions` (int64), in that order."""
        return PairIndex(tuple(self.samples[int(i)] for i in positions), self.crs, self.where, self.reading)


def default_groups(index: Sampled) -> tuple[str, ...]:
    """Return the leakage group of every sample where no split states one: its scene, or its id where the scene is
    unknown.
    """
    return tuple([name if scene is None else scene for name, scene in zip(index.ids, index.scenes, strict=True)])
