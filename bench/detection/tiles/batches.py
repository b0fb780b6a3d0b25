"""Training batches of tiles: which windows, in which order, and how they are turned, as pure functions of (seed, epoch,
sample index).

No global or worker state takes part, so the number of loading processes changes nothing and an interrupted run resumes
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from bench.core.errors import BenchError
from bench.data.scaling import ScalingParams, apply_scaling
from bench.data.ships.view import SceneView
from bench.data.symmetries import turned
from bench.data.windows import Window
from bench.detection.spec import Tiles
from bench.detection.tiles.tiling import boxes_in, cut, dark_value, rescue_windows, tile_grid, window_start

_ORDER, _EMPTY, _CROP, _AUGMENT = 1, 2, 3, 4  # purposes: each draws from its own stream
MODES = ("crops", "grid")
AUGMENTS = ("none", "flip", "dihedral")


@dataclass(frozen=True)
class Sampling:
    """Which tiles a network is trained on.

    Attributes:
        mode: "crops": each sample is a window drawn anew; with probability `ship_share` one that holds a uniformly
            drawn training ship whole, at a uniformly drawn place (a ship longer than the window: centred on it), else a
            uniformly drawn window of a uniformly drawn scene. "grid": all tiles of all scenes, and windows for ships
            that fit a tile but lie whole in none, shuffled.
        batch_size: samples a batch; the last batch of an epoch may be smaller.
        per_epoch: samples an epoch; None takes as many as there are training ships ("crops"), or every tile ("grid").
        ship_share: for "crops".
        empty_share: for "grid": tiles without a ship kept, relative to the tiles with one, drawn anew each epoch; None
            keeps all.
        size_px: edge of a sample; None takes the tiles' size. The tiles' overlap is kept.
        augment: "none"; "flip": mirrored left to right, every second one; "dihedral": one of the 8 symmetries of the
            square.
    """

    mode: Literal["crops", "grid"] = "crops"
    batch_size: int = 8
    per_epoch: int | None = None
    ship_share: float = 0.75
    empty_share: float | None = None
    size_px: int | None = None
    augment: Literal["none", "flip", "dihedral"] = "flip"

    def __post_init__(self) -> None:
        _require(self.mode in MODES, f"unknown sampling mode {self.mode!r}; known: {', '.join(MODES)}")
        _require(self.augment in AUGMENTS, f"unknown augment {self.augment!r}; known: {', '.join(AUGMENTS)}")
        _require(self.batch_size >= 1, f"batch_size is {self.batch_size}; at least 1")
        _require(self.per_epoch is None or self.per_epoch >= 1, f"per_epoch is {self.per_epoch}; at least 1, or null")
        _require(0 <= self.ship_share <= 1, f"ship_share is {self.ship_share}; from 0 to 1")
        _require(
            self.empty_share is None or self.empty_share >= 0, f"empty_share is {self.empty_share}; 0 or more, or null"
        )
        _require(self.size_px is None or self.size_px >= 1, f"size_px is {self.size_px}; at least 1, or null")


@dataclass(frozen=True, eq=False)
class TileBatches:
    """Batches of tiles with their boxes (`bench.training.api.EpochBatches`).

    Attributes:
        train: the training scenes; those without a ship take part as well.
        scaling: of SAR values to [0, 1].
        tiles: edge, overlap and the rule for cut ships.
        seed: of order, windows and symmetries.

    Raises:
        BenchError: "grid" with a `size_px` that is not larger than the overlap.
    """

    train: SceneView
    scaling: ScalingParams
    tiles: Tiles
    sampling: Sampling
    seed: int

    def __post_init__(self) -> None:
        _require(
            self.sampling.mode == "crops" or self.size_px > self.tiles.overlap_px,
            f"tiles of {self.size_px} px cannot overlap by {self.tiles.overlap_px} px; lower overlap_px",
        )

    def __len__(self) -> int:
        return -(-self.tiles_per_epoch // self.sampling.batch_size)

    @property
    def size_px(self) -> int:
        """Edge of a sample in pixels."""
        return self.sampling.size_px or self.tiles.size_px

    @property
    def tiles_per_epoch(self) -> int:
        """Samples of an epoch, the same in every epoch."""
        if self.sampling.mode == "grid":
            every = self._grid_counts[0] + self._grid_counts[1]
            return min(every, self.sampling.per_epoch or every)
        return (self.sampling.per_epoch or self.train.ships) if len(self.train) else 0

    def indices(self, epoch: int) -> list[np.ndarray]:
        """Return the sample indices of each batch of `epoch`, in order; for "grid" they are positions in the list of
        all tiles.
        """
        order = np.arange(self.tiles_per_epoch)
        if self.sampling.mode == "grid":
            _, shows_ship = self._grid
            empty = _stream(self.seed, epoch, _EMPTY).permutation(np.flatnonzero(~shows_ship))[: self._grid_counts[1]]
            order = _stream(self.seed, epoch, _ORDER).permutation(
                np.concatenate([np.flatnonzero(shows_ship), np.sort(empty)])
            )
            order = order[: self.tiles_per_epoch]
        size = self.sampling.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def fetch(self, epoch: int, batch_indices: np.ndarray) -> dict[str, Any]:
        """Return one batch of n samples.

        Returns:
            image: (n, size, size) float32 in [0, 1], 0 where a window reaches beyond its scene.
            boxes: n arrays (k, 4) float32 x1, y1, x2, y2 in the sample's frame: the ships that count
                (`tiling.boxes_in`).
            ignored: n arrays (j, 4) float32: boxes that count neither for nor against.
            count: (n,) int64, the k of each sample.
            scene: (n,) int64, the position of each sample's scene in `train`.
        """
        drawn = [self.window(epoch, int(i)) for i in batch_indices]
        dark = dark_value(self.scaling, self.train.store.dtype)
        native = np.stack([cut(self.train.image(scene), window, dark) for scene, window in drawn])
        boxes, ignored = [], []
        for i, (scene, window) in enumerate(drawn):
            turn = self._turn(epoch, int(batch_indices[i]))
            native[i] = turned(native[i], turn)
            shown, ignore = boxes_in(window, self.train.boxes(scene), self.train.ignore(scene), self.tiles.min_visible)
            shown = turned_boxes(shown, turn, self.size_px).astype(np.float32)
            boxes.append(shown[~ignore])
            ignored.append(shown[ignore])
        return {
            "image": apply_scaling(self.scaling, native),
            "boxes": boxes,
            "ignored": ignored,
            "count": np.array([len(part) for part in boxes], dtype=np.int64),
            "scene": np.array([scene for scene, _ in drawn], dtype=np.int64),
        }

    def window(self, epoch: int, index: int) -> tuple[int, Window]:
        """Return the scene (position in `train`) and the window that sample `index` of `epoch` shows."""
        if self.sampling.mode == "grid":
            return self._grid[0][index]
        rng = _stream(self.seed, epoch, _CROP, index)
        scenes, ships = self._ships
        if rng.random() < self.sampling.ship_share and len(ships):
            ship = int(rng.integers(len(ships)))
            scene, box = int(scenes[ship]), ships[ship]
        else:
            scene, box = int(rng.integers(len(self.train))), None
        y0, x0 = (self._start(scene, axis, box, rng) for axis in (0, 1))
        return scene, (y0, x0, self.size_px, self.size_px)

    def _start(self, scene: int, axis: int, box: np.ndarray | None, rng: np.random.Generator) -> int:
        length = self.train.image(scene).shape[axis]
        if box is None:
            return int(rng.integers(max(length - self.size_px, 0) + 1))
        return window_start(box[1 - axis], box[3 - axis], length, self.size_px, rng)

    def _turn(self, epoch: int, index: int) -> int:
        if self.sampling.augment == "none":
            return 0
        draw = int(_stream(self.seed, epoch, _AUGMENT, index).integers(8))
        return draw if self.sampling.augment == "dihedral" else 4 * (draw % 2)

    @cached_property
    def _ships(self) -> tuple[np.ndarray, np.ndarray]:
        """The scene and the box of every ship that counts: (n,) int64 and (n, 4)."""
        parts = [self.train.boxes(k)[~self.train.ignore(k)] for k in range(len(self.train))]
        scenes = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        return scenes, np.concatenate([np.zeros((0, 4)), *parts])

    @cached_property
    def _grid(self) -> tuple[list[tuple[int, Window]], np.ndarray]:
        """All tiles of all scenes with the position of their scene, and which of them show a ship that counts, (t,)
        bool.
        """
        tiles = self.tiles.model_copy(update={"size_px": self.size_px})
        windows: list[tuple[int, Window]] = []
        shows_ship: list[bool] = []
        for scene in range(len(self.train)):
            boxes, ignore = self.train.boxes(scene), self.train.ignore(scene)
            height, width = self.train.image(scene).shape
            for window in [*tile_grid(height, width, tiles), *rescue_windows(height, width, boxes[~ignore], tiles)]:
                windows.append((scene, window))
                shows_ship.append(not boxes_in(window, boxes, ignore, tiles.min_visible)[1].all())
        return windows, np.array(shows_ship, dtype=bool)

    @cached_property
    def _grid_counts(self) -> tuple[int, int]:
        """How many tiles with and without a ship an epoch has."""
        shows_ship = self._grid[1]
        ships = int(shows_ship.sum())
        empty, share = len(shows_ship) - ships, self.sampling.empty_share
        return ships, empty if share is None else min(empty, round(share * ships))


def turned_boxes(boxes: np.ndarray, turn: int, size_px: float) -> np.ndarray:
    """Return `boxes` (n, 4) where the same symmetry takes them: what `turned` does to the pixels of a square of
    `size_px`.
    """
    x1, y1, x2, y2 = boxes.T
    for _ in range(turn % 4):
        x1, y1, x2, y2 = y1, size_px - x2, y2, size_px - x1
    if turn >= 4:
        x1, x2 = size_px - x2, size_px - x1
    return np.stack([x1, y1, x2, y2], axis=1)


def _stream(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *key])))


def _require(good: bool, message: str) -> None:
    if not good:
        raise BenchError(message)
