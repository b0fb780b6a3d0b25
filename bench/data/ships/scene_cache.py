"""The decoded scenes of a detection set: every image decoded once into one memory-mapped file in native dtype.

Owns the key, the building (one process builds, others wait; a few images in memory at a time), the damage check, and
the checks that an image has the size that the index states and that all have one dtype. Does not scale values and knows
nothing of boxes. One file holds the pixels of all scenes, one behind the other, because a large set has more images
than a process may map files. It is written sequentially, never through the map, so that a full disk is an error and not
a crash.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.core.store import canonical_hash, write_json
from bench.data.cache import Report, check_space
from bench.data.reading import SarReading
from bench.data.ships.index import SceneIndex, ShipScene
from bench.data.whole_folder import whole_folder

VERSION = 1
_THREADS = 4
_PIXELS = "pixels.npy"


@dataclass(frozen=True, eq=False)
class SceneStore:
    """Decoded scenes on disk, in index order. Pickles as its folder, so data-loading processes map the same file.

    Attributes:
        folder: where the file lies.
        pixels: (total,) native dtype, read-only memory map: the scenes one behind the other, row by row.
        sizes: (N, 2) int64 height and width of each scene, in pixels.
        starts: (N,) int64 position of each scene's first pixel in `pixels`.
    """

    folder: Path
    pixels: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.folder,)

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
    index: SceneIndex, root: Path, manifest_sha256: str, label: str, cache: Path, progress: Report | None = None
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
    return whole_folder(cache / "scenes" / key, _load, lambda folder: _build(folder, index, Path(root), progress))


def _load(folder: Path) -> SceneStore | None:
    """Open a cache folder; None where it is missing, incomplete or of the wrong size."""
    path = folder / _PIXELS
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        sizes = np.array(meta["sizes"], dtype=np.int64).reshape(-1, 2)
        if path.stat().st_size != meta["bytes"]:
            return None
        pixels = np.lib.format.open_memmap(path, mode="r").view(np.ndarray)
        areas = sizes.prod(axis=1)
        if pixels.shape != (int(areas.sum()),) or str(pixels.dtype) != meta["dtype"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return SceneStore(folder, pixels, sizes, np.cumsum(areas) - areas)


def _reopen(folder: Path) -> SceneStore:
    found = _load(folder)
    if found is None:
        raise BenchError(f"the decoded cache {folder} is gone or damaged; run the command again")
    return found


def _build(folder: Path, index: SceneIndex, root: Path, progress: Report | None) -> None:
    pixels = sum(scene.height * scene.width for scene in index.items)
    dtype: np.dtype | None = None
    with (folder / _PIXELS).open("wb") as stream:
        for done, (scene, image) in enumerate(_decoded(index.items, root, index.reading), start=1):
            if dtype is None:
                dtype = image.dtype
                check_space(folder, pixels * dtype.itemsize)
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (pixels,)}
                np.lib.format.write_array_header_1_0(stream, header)
            if image.dtype != dtype:
                raise BenchError(
                    f"{root / scene.image} holds {image.dtype} pixels, while {root / index.items[0].image} holds"
                    f" {dtype}; all scenes of a run need one pixel type"
                )
            stream.write(np.ascontiguousarray(image).data)
            if progress is not None:
                progress(done, len(index))
        size = stream.tell()
        stream.flush()
        os.fsync(stream.fileno())
    sizes = [[scene.height, scene.width] for scene in index.items]
    write_json(folder / "meta.json", {"version": VERSION, "bytes": size, "dtype": str(dtype), "sizes": sizes})


def _decoded(scenes: Sequence[ShipScene], root: Path, reading: SarReading) -> Iterator[tuple[ShipScene, np.ndarray]]:
    """Yield every scene with its image, in order; as many images as there are threads are decoded ahead."""
    threads = min(_THREADS, os.cpu_count() or 1)
    waiting: deque[tuple[ShipScene, Future[np.ndarray]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for scene in scenes:
                waiting.append((scene, pool.submit(_read, scene, root, reading)))
                if len(waiting) > threads:
                    first, image = waiting.popleft()
                    yield first, image.result()
            while waiting:
                first, image = waiting.popleft()
                yield first, image.result()
        finally:
            for _, image in waiting:
                image.cancel()


def _read(scene: ShipScene, root: Path, reading: SarReading) -> np.ndarray:
    path = root / scene.image
    image = reading.read(path)
    if image.shape != (scene.height, scene.width):
        raise BenchError(
            f"{path} is {image.shape[0]} x {image.shape[1]} px, but its annotation says {scene.height} x {scene.width}"
            " (height x width); image and annotation do not belong together"
        )
    return image
