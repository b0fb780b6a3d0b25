"""The decoded whole scenes of a set of pairs: both views of every scene decoded once into two memory-mapped files, in
native dtype, and cuts out of them.

Owns the key, the building (one process builds, others wait; one scene in memory at a time), and the check that all
scenes have one dtype. Does not know which parts of a scene may be looked at: `training_scenes.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from bench.core.errors import BenchError
from bench.core.progress import OnCount
from bench.core.store import canonical_hash, write_json
from bench.data.cache import VIEWS
from bench.data.decoded import META, Decoded, array_file, check_space, map_array, read_ahead
from bench.data.mapped import forget_pages
from bench.data.reading import PairReading
from bench.data.scene_areas import WholeScene
from bench.data.whole_folder import whole_folder

VERSION = 1


@dataclass(frozen=True, eq=False)
class PairSceneStore(Decoded):
    """Decoded scene pairs on disk, in order; see `Decoded`.

    Attributes:
        optical: (total, 3), sar: (total,): read-only memory maps, native dtype: the scenes one behind the other, row by
            row.
        sizes: (N, 2) int64 height and width of each scene, in pixels.
        starts: (N,) int64 position of each scene's first pixel.
    """

    optical: np.ndarray
    sar: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    @classmethod
    def _open(cls, folder: Path, meta: Any) -> Self:
        sizes = np.array(meta["sizes"], dtype=np.int64).reshape(-1, 2)
        areas = sizes.prod(axis=1)
        total = int(areas.sum())
        shapes = {"optical": (total, 3), "sar": (total,)}
        optical, sar = (
            map_array(folder / f"{view}.npy", meta["bytes"][view], shapes[view], meta["dtype"][view]) for view in VIEWS
        )
        return cls(folder, optical, sar, sizes, np.cumsum(areas) - areas)

    def cut(self, view: str, i: int, y: int, x: int, side: tuple[int, int]) -> np.ndarray:
        """Return a copy of the window of `side` (height, width) at row y, column x of scene `i`, native dtype."""
        pixels = self.sar if view == "sar" else self.optical
        height, width = self.sizes[i].tolist()
        start = int(self.starts[i])
        scene = pixels[start : start + height * width].reshape(height, width, *pixels.shape[1:])
        return np.array(scene[y : y + side[0], x : x + side[1]])

    def forget(self) -> None:
        """Give back the memory of what was read."""
        forget_pages(self.sar)
        forget_pages(self.optical)


def open_pair_scenes(
    scenes: Sequence[WholeScene],
    reading: PairReading,
    root: Path,
    manifest_sha256: str,
    label: str,
    cache: Path,
    progress: OnCount | None = None,
) -> PairSceneStore:
    """Return the decoded `scenes`, decoding them first if they are not there, are damaged, or the data changed.

    Args:
        root: folder that the scenes' paths are relative to.
        manifest_sha256: hash over the files; changed data get another cache.
        label: anything else that decides the pixels (reader and its version); enters the key.
        cache: cache folder; the pixels go to `cache`/whole-scenes/<key>.
        progress: called with (scenes done, scenes in all) while decoding.

    Raises:
        BenchError: unreadable images, a size other than the header says, two dtypes (both files are named), a full or
            read-only cache.
    """
    files = [[scene.optical, scene.sar, list(scene.size)] for scene in scenes]
    key = canonical_hash([VERSION, manifest_sha256, files, label, reading.key()])[:32]
    return whole_folder(
        cache / "whole-scenes" / key,
        PairSceneStore.load,
        lambda folder: _build(folder, scenes, reading, Path(root), progress),
    )


def _build(
    folder: Path, scenes: Sequence[WholeScene], reading: PairReading, root: Path, progress: OnCount | None
) -> None:
    pairs = read_ahead(lambda scene: reading.pair(root / scene.optical, root / scene.sar), scenes, threads=2)
    total = sum(scene.size[0] * scene.size[1] for scene in scenes)
    dtypes: list[np.dtype] = []
    with ExitStack() as files:
        streams = []
        for done, (scene, images) in enumerate(zip(scenes, pairs, strict=True), start=1):
            if not dtypes:
                dtypes = [image.dtype for image in images]
                check_space(folder, total * (3 * dtypes[0].itemsize + dtypes[1].itemsize))
                shapes = ((total, 3), (total,))
                streams = [
                    files.enter_context(array_file(folder / f"{view}.npy", shape, dtype))
                    for view, shape, dtype in zip(VIEWS, shapes, dtypes, strict=True)
                ]
            for view, image, dtype, stream in zip(VIEWS, images, dtypes, streams, strict=True):
                if image.dtype != dtype:
                    raise BenchError(
                        f"{root / getattr(scene, view)} holds {image.dtype} pixels, while"
                        f" {root / getattr(scenes[0], view)} holds {dtype}; all scenes of a run need one pixel type"
                    )
                stream.write(np.ascontiguousarray(image).data)
            if progress is not None:
                progress(done, len(scenes))
    paths = {view: folder / f"{view}.npy" for view in VIEWS}
    write_json(
        folder / META,
        {
            "version": VERSION,
            "bytes": {view: path.stat().st_size for view, path in paths.items()},
            "dtype": {view: str(dtype) for view, dtype in zip(VIEWS, dtypes, strict=True)},
            "sizes": [list(scene.size) for scene in scenes],
        },
    )
