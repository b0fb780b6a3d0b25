"""The index of a detection set: which scenes there are, in which files, how large, and where their ships lie. Decodes
no pixel.

Boxes are absolute pixels x1, y1, x2, y2 with continuous coordinates, origin at the top-left corner of the top-left
pixel, x right, y down, no legacy +1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bench.core.errors import BenchError
from bench.core.store import canonical_hash
from bench.data.index import Sampled
from bench.data.reading import SarReading


@dataclass(frozen=True, slots=True, eq=False)
class ShipScene:
    """One image with its ships.

    Attributes:
        id: unique name in the set (file stem).
        image: file path relative to the set's root, with "/" between parts.
        image_id: integer that COCO files know the image by.
        height, width: pixels.
        boxes: (k, 4) float64 x1, y1, x2, y2.
        ignore: (k,) bool; detections of these count neither for nor against (VOC "difficult", COCO "iscrowd").
        scene: name of the acquisition or place the image was cut from, None where unknown: the leakage group.
        attributes: further facts as text, such as shore ("inshore", "offshore") or resolution_m.
    """

    id: str
    image: str
    image_id: int
    height: int
    width: int
    boxes: np.ndarray
    ignore: np.ndarray
    scene: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SceneIndex(Sampled):
    """All images of a detection set, in a fixed order. `where` names the set in messages; `reading` says how its files
    are read.

    Raises:
        BenchError: no image, or an id or image id that occurs twice.
    """

    items: tuple[ShipScene, ...]
    where: str = "the data set"
    reading: SarReading = SarReading()
    noun = "scene"

    def __post_init__(self) -> None:
        if not self.items:
            raise BenchError(f"{self.where} has no scenes")
        for name in ("id", "image_id"):
            values = [getattr(item, name) for item in self.items]
            if len(set(values)) < len(values):
                twice = next(value for value in values if values.count(value) > 1)
                raise BenchError(f"{self.where} has two images with {name} {twice!r}; remove one")

    @property
    def rows(self) -> Sequence[ShipScene]:
        return self.items

    @cached_property
    def columns(self) -> tuple[str, ...]:
        shared = set.intersection(*(set(item.attributes) for item in self.items))
        scene = ("scene",) if all(item.scene is not None for item in self.items) else ()
        return ("id", *scene, *(name for name in self.items[0].attributes if name in shared))

    @cached_property
    def places(self) -> np.ndarray:
        """As `Sampled.places`: unknown, since no set here states them."""
        return np.full((len(self.items), 4), np.nan)

    @cached_property
    def sha256(self) -> str:
        """Hash of what decides pixels and truth: ids, files, sizes, boxes, ignore flags, and how files are read unless
        as stored.
        """
        items = [[s.id, s.image, s.height, s.width, s.boxes.tolist(), s.ignore.tolist()] for s in self.items]
        return canonical_hash([items, self.reading.key()] if self.reading.key() else items)

    def take(self, positions: np.ndarray) -> SceneIndex:
        """Return the index of the images at `positions` (int64), in that order."""
        return SceneIndex(tuple(self.items[int(i)] for i in positions), self.where, self.reading)
