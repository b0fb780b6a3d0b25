"""The whole scenes of a training part, as a matcher sees them: where crops may lie, and their pixels.

A matcher asks for them by its option `sampling: scenes`; `FitData.scenes` carries them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bench.core.errors import BenchError
from bench.data.scene_areas import SceneArea, areas_sha256
from bench.data.scene_store import PairSceneStore

_TILE = 256  # px; side of the pieces that statistics are taken from
_TRIES = 64


class TrainingScenes:
    """Scenes with closed parts. Pickles without its pixels, as `View` does.

    Args:
        store: the decoded scenes. areas: those of the training part. positions: of each area's scene in the store.

    Attributes:
        sha256: hash of which pixels are offered.
    """

    def __init__(self, store: PairSceneStore, areas: Sequence[SceneArea], positions: Sequence[int]) -> None:
        self.store, self.areas, self.positions = store, tuple(areas), tuple(positions)
        self.sha256 = areas_sha256(self.areas)

    def __len__(self) -> int:
        return len(self.areas)

    def draw(self, rng: np.random.Generator, count: int, side: int, reach: int, step: int = 1) -> np.ndarray:
        """Draw positions of pairs of crops, uniform over all that touch nothing closed.

        Args:
            side: of both crops in px. reach: largest displacement of the optical crop along each axis, in px; it is a
                multiple of `step`.

        Returns:
            (count, 5) int64 rows: scene, y and x of the SAR crop, y and x of the optical crop.

        Raises:
            BenchError: no scene has room for such crops.
        """
        roomy = [k for k, area in enumerate(self.areas) if area.has_room(side + reach)]
        if not roomy:
            raise BenchError(
                f"no training scene has room for crops of {side} px displaced by up to {reach} px beside what the split"
                " holds back; set crop_px or the shift range lower"
            )
        sizes = np.array([self.areas[k].scene.size for k in roomy])
        chances = (sizes - side + 1).prod(axis=1) / (sizes - side + 1).prod(axis=1).sum()
        out = np.empty((0, 5), dtype=np.int64)
        for _ in range(_TRIES):
            lacking = count - len(out)
            if lacking == 0:
                return out
            out = np.concatenate([out, self._tried(rng, roomy, chances, max(16, 4 * lacking), side, reach, step)])
            out = out[:count]
        raise BenchError(
            f"hardly any place in the {len(roomy)} training scenes takes crops of {side} px displaced by up to"
            f" {reach} px beside what the split holds back; set crop_px or the shift range lower"
        )

    def cut(self, view: str, scene: int, y: int, x: int, side: int) -> np.ndarray:
        """Return a crop, (side, side) for "sar" or (side, side, 3) for "optical", native dtype.

        Raises:
            ValueError: it touches something closed.
        """
        if not self.areas[scene].free(np.array([y]), np.array([x]), (side, side))[0]:
            raise ValueError(f"a crop of {side} px at {y}, {x} of scene {self.areas[scene].scene.id} is not free")
        return self.store.cut(view, self.positions[scene], y, x, (side, side))

    def blocks(self, view: str) -> Iterator[np.ndarray]:
        """Yield the pieces, (1, h, w) or (1, h, w, 3) of at most 256 px a side, of a grid over each scene that touch
        nothing closed: what statistics of the training part are taken from.
        """
        for area, position in zip(self.areas, self.positions, strict=True):
            height, width = area.scene.size
            for y in range(0, height, _TILE):
                for x in range(0, width, _TILE):
                    side = (min(_TILE, height - y), min(_TILE, width - x))
                    if area.free(np.array([y]), np.array([x]), side)[0]:
                        yield self.store.cut(view, position, y, x, side)[None]
            self.store.forget()

    def _tried(
        self,
        rng: np.random.Generator,
        roomy: Sequence[int],
        chances: np.ndarray,
        count: int,
        side: int,
        reach: int,
        step: int,
    ) -> np.ndarray:
        """Return those of `count` drawn rows that are free."""
        scene = np.array(roomy)[rng.choice(len(roomy), size=count, p=chances)]
        sizes = np.array([area.scene.size for area in self.areas])[scene]
        sar = (rng.random((count, 2)) * (sizes - side + 1)).astype(np.int64)
        optical = sar + step * rng.integers(-(reach // step), reach // step + 1, size=(count, 2))
        good = np.zeros(count, dtype=bool)
        for k in np.unique(scene).tolist():
            here = np.flatnonzero(scene == k)
            both = (self.areas[k].free(at[here, 0], at[here, 1], (side, side)) for at in (sar, optical))
            good[here] = next(both) & next(both)
        rows: np.ndarray = np.concatenate([scene[:, None], sar, optical], axis=1)[good].astype(np.int64)
        return rows
