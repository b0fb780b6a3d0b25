"""Where in whole scenes a training may look: everything but what a split holds back, with the guard distance around it.

Owns the geometry: which scenes are offered, which rectangles in them are closed, and where a crop of a given size
fits. Decodes no pixel. What is closed does not depend on the size of the patches as long as scenes are held back as a
whole, so that one training can serve data sets that are cut differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from bench.core.store import canonical_hash
from bench.data.index import PairIndex
from bench.data.places import within
from bench.data.splits import Split
from bench.data.windows import Window

_ROUNDING = 1e-6  # px; edges of pixels computed from metres are not exact


@dataclass(frozen=True)
class WholeScene:
    """A registered scene out of which the pairs of a set are cut.

    Attributes:
        id: the `scene` of its pairs in the index.
        optical, sar: paths relative to the root with "/" between parts.
        size: (height, width) in pixels.
        place: (x_min, y_min, x_max, y_max) on the ground in metres, None where unknown.
    """

    id: str
    optical: str
    sar: str
    size: tuple[int, int]
    place: tuple[float, float, float, float] | None = None


@runtime_checkable
class OffersScenes(Protocol):
    """A data set of pairs that are cut from scenes: what `sampling: scenes` needs."""

    def whole_scenes(self) -> tuple[WholeScene, ...]:
        """Return the scenes that the pairs are cut from, in order."""
        ...


@dataclass(frozen=True)
class SceneArea:
    """A scene of the training part and the windows (y0, x0, height, width) in it that no crop may touch."""

    scene: WholeScene
    closed: tuple[Window, ...]

    def free(self, rows: np.ndarray, columns: np.ndarray, side: tuple[int, int]) -> np.ndarray:
        """Return which windows of `side` (height, width) with their upper left corners at (rows[i], columns[i]) lie in
        the scene and touch nothing closed, as (n,) bool.
        """
        height, width = self.scene.size
        good = (rows >= 0) & (columns >= 0) & (rows + side[0] <= height) & (columns + side[1] <= width)
        for y0, x0, h, w in self.closed:
            good &= (rows + side[0] <= y0) | (rows >= y0 + h) | (columns + side[1] <= x0) | (columns >= x0 + w)
        free: np.ndarray = good
        return free

    def has_room(self, side: int) -> bool:
        """Return whether a square crop of `side` px fits anywhere. A window that fits can be pushed up and left until
        it meets an edge, so only corners at edges need be tried.
        """
        rows = np.array([0, *(y0 + h for y0, _, h, _ in self.closed)])
        columns = np.array([0, *(x0 + w for _, x0, _, w in self.closed)])
        grid = np.stack(np.meshgrid(rows, columns, indexing="ij")).reshape(2, -1)
        return bool(self.free(grid[0], grid[1], (side, side)).any())


def training_areas(
    scenes: Sequence[WholeScene], index: PairIndex, split: Split, guard_m: float
) -> tuple[SceneArea, ...]:
    """Return the scenes that have a training sample, each with what is closed in it.

    Closed are the windows of samples that are not in the training part (those that were dropped only because they lie
    within the guard distance count for the guard alone), and the ground of every sample of the validation and test
    parts, grown by `guard_m` on each side. A scene all of whose samples are held back counts with its whole rectangle.

    Args:
        guard_m: guard distance of the split in metres; 0 closes the shared ground alone. Where places are unknown only
            the windows count.
    """
    train = np.zeros(len(index), dtype=bool)
    train[split.train] = True
    held = np.zeros(len(index), dtype=bool)
    held[split.validation], held[split.test] = True, True
    names = np.array([name or "" for name in index.scenes])
    ground = _held_ground(scenes, index, train, held, names)
    guarded = within(index.places, ground, guard_m) if guard_m > 0 and len(ground) else np.zeros(len(index), dtype=bool)
    shut = held | ~(train | guarded)
    areas = []
    for scene in scenes:
        here = np.flatnonzero(names == scene.id)
        if not train[here].any():
            continue
        windows = [index.samples[i].window for i in here[shut[here]].tolist()]
        closed = {(0, 0, *scene.size) if window is None else window for window in windows}
        areas.append(SceneArea(scene, tuple(sorted(closed | _closed_ground(scene, ground, guard_m)))))
    return tuple(areas)


def areas_sha256(areas: Sequence[SceneArea]) -> str:
    """Return the hash of which pixels are offered: scenes, their files and sizes, and what is closed."""
    return canonical_hash(
        [[a.scene.id, a.scene.optical, a.scene.sar, list(a.scene.size), [list(w) for w in a.closed]] for a in areas]
    )


def _held_ground(
    scenes: Sequence[WholeScene], index: PairIndex, train: np.ndarray, held: np.ndarray, names: np.ndarray
) -> np.ndarray:
    """Return the rectangles (m, 4) in metres of what is held back: whole scenes without a training sample, single
    samples of mixed ones.
    """
    rows, whole = [], set()
    places = {scene.id: scene.place for scene in scenes}
    for name in np.unique(names[held]).tolist():
        if places.get(name) is not None and not train[names == name].any():
            rows.append(places[name])
            whole.add(name)
    single = held & ~np.isin(names, sorted(whole)) & ~np.isnan(index.places).any(axis=1)
    return np.concatenate([np.array(rows, dtype=np.float64).reshape(-1, 4), index.places[single]])


def _closed_ground(scene: WholeScene, ground: np.ndarray, guard_m: float) -> set[Window]:
    """Return the windows of `scene` that the rectangles `ground` (m, 4), grown by `guard_m`, cover, rounded outward."""
    if scene.place is None or not len(ground):
        return set()
    x_min, y_min, x_max, y_max = scene.place
    height, width = scene.size
    x_step, y_step = (x_max - x_min) / width, (y_max - y_min) / height
    left, right = (ground[:, 0] - guard_m - x_min) / x_step, (ground[:, 2] + guard_m - x_min) / x_step
    top, bottom = (y_max - ground[:, 3] - guard_m) / y_step, (y_max - ground[:, 1] + guard_m) / y_step
    x0 = np.clip(np.floor(left + _ROUNDING), 0, width).astype(np.int64)
    x1 = np.clip(np.ceil(right - _ROUNDING), 0, width).astype(np.int64)
    y0 = np.clip(np.floor(top + _ROUNDING), 0, height).astype(np.int64)
    y1 = np.clip(np.ceil(bottom - _ROUNDING), 0, height).astype(np.int64)
    found = np.stack([y0, x0, y1 - y0, x1 - x0], axis=1)[(x1 > x0) & (y1 > y0)]
    return {(int(a), int(b), int(c), int(d)) for a, b, c, d in found.tolist()}
