"""The decoded cache: every pair of an index decoded once into two memory-mapped arrays in native dtype, and views of
parts of them.

Owns the key, the building (one process builds, others wait; bounded memory), the damage check, and the check that all
pairs have one size and one dtype. Does not scale values. Files are written sequentially, never through the map, so
that a full disk is an error and not a crash.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.core.store import canonical_hash, write_json
from bench.data.index import PairIndex, PairSample, Sampled
from bench.data.mapped import forget_pages
from bench.data.reading import PairReading
from bench.data.whole_folder import whole_folder
from bench.data.windows import read_window

VERSION = 1
Report = Callable[[int, int], None]
"""Called with (pairs done, pairs in all)."""

_READ_AHEAD = 8


@dataclass(frozen=True, eq=False)
class PatchCache:
    """Decoded pairs on disk, in index order. Pickles as its folder, so data-loading processes map the same files.

    Attributes:
        folder: where the arrays lie.
        optical: (N, H, W, 3), native dtype, read-only memory map.
        sar: (N, H, W), native dtype, read-only memory map.
        constant: view ("optical", "sar") -> ids of pairs whose image has one single value: legal, but no matcher can
            use it.
    """

    folder: Path
    optical: np.ndarray
    sar: np.ndarray
    constant: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.sar)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.folder,)


def open_cache(
    index: PairIndex, root: Path, manifest_sha: str, options_key: str, cache: Path, progress: Report | None = None
) -> PatchCache:
    """Return the decoded pairs of `index`, decoding them first if they are not there, are damaged, or the data changed.

    Args:
        index: the pairs, all of one size and dtype.
        root: folder that the index's paths are relative to.
        manifest_sha: hash over the files (`Manifest.sha256`); changed data get another cache.
        options_key: anything else that decides the pixels (reader version); enters the key.
        cache: cache folder; the arrays go to `cache`/patches/<key>.
        progress: called while decoding.

    Raises:
        BenchError: unreadable images, unequal sizes or dtypes (both files are named), a full or read-only cache folder.
    """
    key = canonical_hash([VERSION, manifest_sha, index.sha256, options_key])[:32]
    return whole_folder(cache / "patches" / key, _load, lambda folder: _build(folder, index, Path(root), progress))


class PairView:
    """Some pairs of a cache, in a stated order: what a matcher sees of the data.

    Args:
        cache: decoded pairs. index: their index, in the same order.
        positions: (n,) integers into both.
        groups: leakage group of every sample of the *index* (as `Split.groups`); None takes the scene, or the id
            where it is unknown.

    Raises:
        BenchError: cache and index differ in length, or a position lies outside.
    """

    def __init__(
        self, cache: PatchCache, index: PairIndex, positions: np.ndarray, groups: Sequence[str] | None = None
    ) -> None:
        self.cache = cache
        self.index = index
        self.positions = np.asarray(positions, dtype=np.int64)
        self.all_groups = tuple(groups) if groups is not None else default_groups(index)
        if not len(cache) == len(index) == len(self.all_groups):
            raise BenchError(
                f"{len(cache)} decoded pairs, {len(index)} in the index and {len(self.all_groups)} groups do not belong"
                " together"
            )
        if self.positions.size and not (self.positions.min() >= 0 and self.positions.max() < len(index)):
            raise BenchError(f"a position lies outside the {len(index)} pairs of {index.where}")

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every pair of the view."""
        return tuple([self.index.ids[i] for i in self.positions.tolist()])

    @cached_property
    def scenes(self) -> tuple[str | None, ...]:
        """The scene of every pair of the view, None where unknown."""
        return tuple([self.index.scenes[i] for i in self.positions.tolist()])

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The leakage group of every pair of the view."""
        return tuple([self.all_groups[i] for i in self.positions.tolist()])

    @property
    def places(self) -> np.ndarray:
        """(n, 4) float64 ground rectangles in metres, NaN where unknown; see `PairIndex.places`."""
        return self.index.places[self.positions]

    def sar(self, i: np.ndarray | slice) -> np.ndarray:
        """Return the SAR images of the view's pairs `i` (indices into the view) as a new (k, H, W) array, native
        dtype.
        """
        return self._copied(self.cache.sar, i)

    def optical(self, i: np.ndarray | slice) -> np.ndarray:
        """Return the optical images of the view's pairs `i` as a new (k, H, W, 3) array, native dtype."""
        return self._copied(self.cache.optical, i)

    def _copied(self, images: np.ndarray, i: np.ndarray | slice) -> np.ndarray:
        out = np.array(images[self.positions[i]])
        forget_pages(images)
        return out

    def blocks(self, view: str, size: int = 256) -> Iterator[np.ndarray]:
        """Yield the "sar" or "optical" images of the whole view in order, at most `size` at a time."""
        read = self.sar if view == "sar" else self.optical
        for start in range(0, len(self), size):
            yield read(slice(start, start + size))

    def subset(self, i: np.ndarray | slice) -> PairView:
        """Return the view of the pairs `i` of this one, in that order."""
        return PairView(self.cache, self.index, self.positions[i], self.all_groups)


def default_groups(index: Sampled) -> tuple[str, ...]:
    """Return the leakage group of every sample where no split states one: its scene, or its id where the scene is
    unknown.
    """
    return tuple([name if scene is None else scene for name, scene in zip(index.ids, index.scenes, strict=True)])


def _load(folder: Path) -> PatchCache | None:
    """Open a cache folder; None where it is missing, incomplete or of the wrong size."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        arrays = {}
        for view in ("optical", "sar"):
            path = folder / f"{view}.npy"
            if path.stat().st_size != meta["bytes"][view]:
                return None
            array = np.lib.format.open_memmap(path, mode="r")
            if list(array.shape) != meta["shape"][view] or str(array.dtype) != meta["dtype"][view]:
                return None
            arrays[view] = array.view(np.ndarray)
        constant = {view: tuple(meta["constant"][view]) for view in ("optical", "sar")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return PatchCache(folder, arrays["optical"], arrays["sar"], constant)


def _reopen(folder: Path) -> PatchCache:
    found = _load(folder)
    if found is None:
        raise BenchError(f"the decoded cache {folder} is gone or damaged; run the command again")
    return found


def _build(folder: Path, index: PairIndex, root: Path, progress: Report | None) -> None:
    pairs = _decoded(index.samples, root, index.reading)
    first_optical, first_sar = next(pairs)
    shapes = {"optical": (len(index), *first_optical.shape), "sar": (len(index), *first_sar.shape)}
    dtypes = {"optical": first_optical.dtype, "sar": first_sar.dtype}
    check_space(folder, sum(dtypes[view].itemsize * int(np.prod(shapes[view])) for view in shapes))
    constant: dict[str, list[str]] = {"optical": [], "sar": []}
    with (folder / "optical.npy").open("wb") as optical_file, (folder / "sar.npy").open("wb") as sar_file:
        streams = {"optical": optical_file, "sar": sar_file}
        for view, stream in streams.items():
            np.lib.format.write_array_header_1_0(
                stream,
                {"descr": np.lib.format.dtype_to_descr(dtypes[view]), "fortran_order": False, "shape": shapes[view]},
            )
        rest = itertools.chain([(first_optical, first_sar)], pairs)
        for done, (sample, (optical, sar)) in enumerate(zip(index.samples, rest, strict=True), start=1):
            for view, image in (("optical", optical), ("sar", sar)):
                _check_same(view, image, shapes[view][1:], dtypes[view], root, index.samples[0], sample)
                streams[view].write(np.ascontiguousarray(image).data)
                if image.min() == image.max():
                    constant[view].append(sample.id)
            if progress is not None:
                progress(done, len(index))
        sizes = {view: stream.tell() for view, stream in streams.items()}
        for stream in streams.values():
            stream.flush()
            os.fsync(stream.fileno())
    write_json(
        folder / "meta.json",
        {
            "version": VERSION,
            "bytes": sizes,
            "shape": {view: list(shape) for view, shape in shapes.items()},
            "dtype": {view: str(dtype) for view, dtype in dtypes.items()},
            "constant": constant,
        },
    )


def check_space(folder: Path, needed: int) -> None:
    """Raise BenchError unless `needed` bytes are free where `folder` lies."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BenchError(
            f"the decoded images need {needed / 1e9:.1f} GB in {folder.parent}, and {free / 1e9:.1f} GB are free; "
            "free space or choose another cache folder"
        )


def _check_same(
    view: str,
    image: np.ndarray,
    shape: tuple[int, ...],
    dtype: np.dtype,
    root: Path,
    first: PairSample,
    sample: PairSample,
) -> None:
    """Raise BenchError unless `image` has the shape and dtype of the first pair's image."""
    if image.shape == shape and image.dtype == dtype:
        return
    names = [root / getattr(member, view) for member in (first, sample)]
    raise BenchError(
        f"{names[1]} is {image.shape[0]} x {image.shape[1]} px of {image.dtype}, "
        f"while {names[0]} is {shape[0]} x {shape[1]} px of {dtype}; "
        "all pairs of a run need one size and one pixel type"
    )


def _decoded(
    samples: Sequence[PairSample], root: Path, reading: PairReading
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (optical, SAR) of every sample in order; a file shared by consecutive windows is decoded once."""
    if any(sample.window is not None for sample in samples):
        for _, run in itertools.groupby(samples, key=lambda sample: (sample.optical, sample.sar)):
            yield from _windows_of(list(run), root, reading)
        return
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        remaining = iter(samples)
        while chunk := list(itertools.islice(remaining, threads * _READ_AHEAD)):
            yield from pool.map(lambda sample: reading.pair(root / sample.optical, root / sample.sar), chunk)


def _windows_of(run: Iterable[PairSample], root: Path, reading: PairReading) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    decoded: tuple[np.ndarray, np.ndarray] | None = None
    for sample in run:
        if decoded is None:
            decoded = reading.pair(root / sample.optical, root / sample.sar)
        if sample.window is None:
            yield decoded
            continue
        y0, x0, height, width = sample.window
        if y0 < 0 or x0 < 0 or y0 + height > decoded[1].shape[0] or x0 + width > decoded[1].shape[1]:
            raise BenchError(f"window {sample.window} of pair {sample.id!r} lies outside {root / sample.sar}")
        yield read_window(decoded[0], sample.window), read_window(decoded[1], sample.window)
