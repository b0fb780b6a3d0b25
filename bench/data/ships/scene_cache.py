"""The decoded scenes of a detection set: every image decoded once into one memory-mapped file in native dtype.

Owns the key, the building (one process builds, others wait; a few images in memory at a time), and the checks that an
image has the size that the index states and that all have one dtype. Does not scale values and knows nothing of boxes.
One file holds the pixels of all scenes, one behind the other, because a large set has more images than a process may
map files.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from bench.core.errors import BenchError
from bench.core.progress import OnCount
from bench.core.store import canonical_hash, write_json
from bench.data.decoded import META, Decoded, array_file, check_space, map_array, read_ahead
from bench.data.reading import SarReading
from bench.data.ships.index import SceneIndex, ShipScene
from bench.data.whole_folder import whole_folder

VERSION = 1
_PIXELS = "pixels.npy"


@dataclass(frozen=True, eq=False)
class SceneStore(Decoded):
    """Decoded scenes on disk, in index order; see `Decoded`.

    Attributes:
        pixels: (total,) native dtype, read-only memory map: the scenes one behind the other, row by row.
        sizes: (N, 2) int64 height and width of each scene, in pixels.
        starts: (N,) int64 position of each scene's first pixel in `pixels`.
    """

    pixels: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    @classmethod
    def _open(cls, folder: Path, meta: Any) -> Self:
        sizes = np.array(meta["sizes"], dtype=np.int64).reshape(-1, 2)
        areas = sizes.prod(axis=1)
        pixels = map_array(folder / _PIXELS, meta["bytes"], (int(areas.sum()),), meta["dtype"])
        return cls(folder, pixels, sizes, np.cumsum(areas) - areas)

    @property
    def dtype(self) -> np.dtype:
        """The native dtype of all scenes: uint8, uint16 or float32."""
        return self.pixels.dtype

    def image(self, i: int) -> np.ndarray:
        """Return scene `i` as a read-only (H, W) view of the map."""
        height, width = self.sizes[i].tolist()
        start = int(self.starts[i])
        return self.pixels[start : start + height * width].reshape(height, width)


def open_scenes(
    index: SceneIndex, root: Path, manifest_sha256: str, label: str, cache: Path, progress: OnCount | None = None
) -> SceneStore:
    """Return the decoded scenes of `index`, decoding them first if they are not there, are damaged, or the data
    changed.

    Args:
        root: folder that the index's paths are relative to.
        manifest_sha256: hash over the files; changed data get another cache.
        label: anything else that decides the pixels (reader and its version); enters the key.
        cache: cache folder; the pixels go to `cache`/scenes/<key>.
        progress: called with (scenes done, scenes in all) while decoding.

    Raises:
        BenchError: unreadable images, a size other than the index says, two dtypes (both files are named), a full or
            read-only cache.
    """
    # not the boxes: other labels need no other pixels
    files = [[scene.image, scene.height, scene.width] for scene in index.items]
    key = canonical_hash([VERSION, manifest_sha256, files, label, *index.reading.key()])[:32]
    return whole_folder(
        cache / "scenes" / key, SceneStore.load, lambda folder: _build(folder, index, Path(root), progress)
    )


def _build(folder: Path, index: SceneIndex, root: Path, progress: OnCount | None) -> None:
    images = read_ahead(lambda scene: _read(scene, root, index.reading), index.items, threads=4)
    first = next(images)
    dtype, pixels = first.dtype, sum(scene.height * scene.width for scene in index.items)
    check_space(folder, pixels * dtype.itemsize)
    with array_file(folder / _PIXELS, (pixels,), dtype) as stream:
        every = zip(index.items, itertools.chain([first], images), strict=True)
        for done, (scene, image) in enumerate(every, start=1):
            if image.dtype != dtype:
                raise BenchError(
                    f"{root / scene.image} holds {image.dtype} pixels, while {root / index.items[0].image} holds"
                    f" {dtype}; all scenes of a run need one pixel type"
                )
            stream.write(np.ascontiguousarray(image).data)
            if progress is not None:
                progress(done, len(index))
    size = (folder / _PIXELS).stat().st_size
    sizes = [[scene.height, scene.width] for scene in index.items]
    write_json(folder / META, {"version": VERSION, "bytes": size, "dtype": str(dtype), "sizes": sizes})


def _read(scene: ShipScene, root: Path, reading: SarReading) -> np.ndarray:
    path = root / scene.image
    image = reading.read(path)
    if image.shape != (scene.height, scene.width):
        raise BenchError(
            f"{path} is {image.shape[0]} x {image.shape[1]} px, but its annotation says {scene.height} x {scene.width}"
            " (height x width); image and annotation do not belong together"
        )
    return image
