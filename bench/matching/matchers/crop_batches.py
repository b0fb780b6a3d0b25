"""Training batches of square crops of several sizes, displaced against each other, out of whole scenes or out of
patches: pure functions of (seed, epoch, batch).

What a crop goes through keeps both views registered where it is geometric (the eight symmetries) and is each view's own
where it is radiometric. The optical crop is displaced at random, so that where a crop ends reveals nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bench.core.errors import BenchError
from bench.data.scaling import apply_scaling
from bench.data.symmetries import all_turned
from bench.matching.matchers.augment import stream
from bench.matching.matchers.base import Scalings, View

if TYPE_CHECKING:
    from bench.data.cache import PairView

# purposes: each draws from its own stream (1 to 11: see `batches` and `augment`)
_SIZES, _PLACES, _TURNS, _TONES, _SPECKLE, _OTHERS = (12, 13, 14, 15, 16, 17)


class CropSource(Protocol):
    """Where crops come from: `bench.data.training_scenes.TrainingScenes`, or `PatchSource`."""

    def draw(self, rng: np.random.Generator, count: int, side: int, reach: int, step: int = 1) -> np.ndarray:
        """Return `count` rows (source, y and x of the SAR crop, y and x of the optical crop), int64; the displacement
        along each axis is a multiple of `step`, of at most `reach` px.
        """
        ...

    def cut(self, view: View, source: int, y: int, x: int, side: int) -> np.ndarray:
        """Return a crop in native dtype."""
        ...


@dataclass(frozen=True)
class PatchSource:
    """The patches of a training part as a source of crops."""

    train: PairView
    side: int

    def draw(self, rng: np.random.Generator, count: int, side: int, reach: int, step: int = 1) -> np.ndarray:
        """Draw positions; see `CropSource`.

        Raises:
            BenchError: the patches have no room for such crops.
        """
        room = self.side - side
        if room < reach:
            raise BenchError(
                f"crops of {side} px displaced by up to {reach} px need patches of {side + reach} px, and these have"
                f" {self.side} px; set crop_px or the shift range lower"
            )
        move = step * rng.integers(-(reach // step), reach // step + 1, size=(count, 2))
        low, high = np.maximum(0, -move), np.minimum(room, room - move)
        sar = low + (rng.random((count, 2)) * (high - low + 1)).astype(np.int64)
        source = rng.integers(0, len(self.train), size=(count, 1))
        return np.concatenate([source, sar, sar + move], axis=1).astype(np.int64)

    def cut(self, view: View, source: int, y: int, x: int, side: int) -> np.ndarray:
        """Return a crop; see `CropSource`."""
        at = slice(source, source + 1)
        whole = self.train.sar(at) if view == "sar" else self.train.optical(at)
        crop: np.ndarray = whole[0, y : y + side, x : x + side]
        return crop


@dataclass(frozen=True)
class Tones:
    """Radiometric changes of scaled crops; see `DenseCfogOptions`."""

    tone: float
    speckle: float

    def changed(self, views: Mapping[View, np.ndarray], seed: int, epoch: int, batch: int) -> dict[View, np.ndarray]:
        """Return sar (b, c, c) and optical (b, c, c, 3), float32 in [0, 1], changed."""
        out = dict(views)
        b = len(out["sar"])
        if self.speckle:
            looks = 1 / self.speckle**2
            noise = stream(seed, epoch, _SPECKLE, batch).standard_gamma(looks, out["sar"].shape, dtype=np.float32)
            out["sar"] = out["sar"] * (noise / np.float32(looks))
        if self.tone:
            drawn = np.exp(self.tone * stream(seed, epoch, _TONES, batch).normal(size=(b, 6))).astype(np.float32)
            out["sar"] = drawn[:, 0, None, None] * out["sar"] ** drawn[:, 1, None, None]
            out["optical"] = drawn[:, None, None, 2:5] * out["optical"] ** drawn[:, 5, None, None, None]
        return {view: np.clip(images, 0, 1, dtype=np.float32) for view, images in out.items()}


@dataclass(frozen=True)
class CropBatches:
    """Batches of crops: sar (b, c, c), optical (b, c, c, 3) float32 in [0, 1], shift (b, 2) int64 in steps of
    `step` px: what the optical crop shows at y, x stands at y + step shift[0], x + step shift[1] in the SAR crop.

    Every batch has crops of one size; an epoch is a number of rounds, each with a batch of every size, in a drawn
    order. A batch of the smallest size has `batch_size` crops, of larger ones as many as give as many pixels.

    Attributes:
        reaches: side of a crop in px -> largest displacement along each axis in px, a multiple of `step`.
        epoch_crops: about so many crops make an epoch.
        shuffled: the control: the optical crop comes from another place.
    """

    source: CropSource
    scaling: Scalings
    seed: int
    batch_size: int
    reaches: Mapping[int, int]
    epoch_crops: int
    step: int
    turn: bool
    tones: Tones
    shuffled: bool = False

    def counts(self) -> dict[int, int]:
        """Return the number of crops of a batch of each size."""
        smallest = min(self.reaches)
        return {side: max(2, round(self.batch_size * (smallest / side) ** 2)) for side in sorted(self.reaches)}

    @cached_property
    def rounds(self) -> int:
        """Rounds of an epoch."""
        return max(1, round(self.epoch_crops / sum(self.counts().values())))

    @property
    def entries(self) -> int:
        """Crops of an epoch."""
        return self.rounds * sum(self.counts().values())

    def __len__(self) -> int:
        return self.rounds * len(self.reaches)

    def sides(self, epoch: int) -> np.ndarray:
        """Return the side of the crops of every batch of `epoch`, (len(self),) int64."""
        order = stream(self.seed, epoch, _SIZES).permutation(len(self))
        return np.array(sorted(self.reaches), dtype=np.int64)[order % len(self.reaches)]

    def indices(self, epoch: int) -> list[np.ndarray]:
        """Return the numbers of the crops of each batch of `epoch`: consecutive."""
        counts = self.counts()
        ends = np.cumsum([counts[side] for side in self.sides(epoch).tolist()])
        return np.split(np.arange(ends[-1]), ends[:-1])

    def fetch(self, epoch: int, entries: np.ndarray) -> dict[str, np.ndarray]:
        """Return the crops `entries` of one batch, or a part of them: all draws are made for the whole batch."""
        counts, sides = self.counts(), self.sides(epoch).tolist()
        ends = np.cumsum([counts[side] for side in sides])
        batch = int(np.searchsorted(ends, entries[0], side="right"))
        side, count = sides[batch], counts[sides[batch]]
        chosen = entries - (int(ends[batch]) - count)
        rows = self._places(epoch, batch, count, side)
        turns = stream(self.seed, epoch, _TURNS, batch).integers(0, 8 if self.turn else 1, size=count)
        views: dict[View, np.ndarray] = {}
        corners: Sequence[tuple[View, int]] = (("sar", 1), ("optical", 3))
        for view, first in corners:
            places = rows[:, [0, first, first + 1]] if view == "sar" else self._optical_places(epoch, batch, rows, side)
            native = np.stack([self.source.cut(view, k, y, x, side) for k, y, x in places.tolist()])
            views[view] = apply_scaling(self.scaling.of(view), all_turned(native, turns))
        views = self.tones.changed(views, self.seed, epoch, batch)
        shift = turned_shift((rows[:, 3:5] - rows[:, 1:3]) // self.step, turns)
        return {"sar": views["sar"][chosen], "optical": views["optical"][chosen], "shift": shift[chosen]}

    def _places(self, epoch: int, batch: int, count: int, side: int) -> np.ndarray:
        rng = stream(self.seed, epoch, _PLACES, batch)
        return self.source.draw(rng, count, side, self.reaches[side], self.step)

    def _optical_places(self, epoch: int, batch: int, rows: np.ndarray, side: int) -> np.ndarray:
        """Return source, y and x of the optical crops: for the control, of crops drawn anew."""
        if self.shuffled:
            rows = self.source.draw(stream(self.seed, epoch, _OTHERS, batch), len(rows), side, 0, self.step)
        return rows[:, [0, 3, 4]]


def turned_shift(shift: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Return displacements (n, 2), rows and columns, as they are after both images went through symmetry `turns[i]`
    (`bench.data.symmetries`).
    """
    out = shift.copy()
    for quarter in range(1, 4):
        more = turns % 4 >= quarter
        out[more] = np.stack([-out[more, 1], out[more, 0]], axis=1)
    out[turns >= 4, 1] *= -1
    return out
