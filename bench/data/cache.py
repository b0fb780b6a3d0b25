"""The decoded cache: every pair of an index decoded once into two memory-mapped arrays in native dtype, and views of
parts of them.

Owns the key, the building (one process builds, others wait; bounded memory), and the check that all pairs have one size
and one dtype. Does not scale values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from bench.core.errors import BenchError
from bench.core.progress import OnCount
from bench.core.store import canonical_hash, write_json
from bench.data.decoded import META, Decoded, array_file, check_space, map_array, read_ahead
from bench.data.index import PairIndex, PairSample
from bench.data.mapped import forget_pages
from bench.data.reading import PairReading
from bench.data.view import View
from bench.data.whole_folder import whole_folder
from bench.data.windows import read_window

VERSION = 1
VIEWS = ("optical", "sar")


@dataclass(frozen=True, eq=False)
class PatchCache(Decoded):
    """Decoded pairs on disk, in index order; see `Decoded`.

    Attributes:
        optical: (N, H, W, 3), native dtype, read-only memory map.
        sar: (N, H, W), native dtype, read-only memory map.
        constant: view ("optical", "sar") -> ids of pairs whose image has one single value: legal, but no matcher can
            use it.
    """

    optical: np.ndarray
    sar: np.ndarray
    constant: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.sar)

    @classmethod
    def _open(cls, folder: Path, meta: Any) -> Self:
        optical, sar = (
            map_array(folder / f"{view}.npy", meta["bytes"][view], meta["shape"][view], meta["dtype"][view])
            for view in VIEWS
        )
        return cls(folder, optical, sar, {view: tuple(meta["constant"][view]) for view in VIEWS})


def open_cache(
    index: PairIndex, root: Path, manifest_sha: str, options_key: str, cache: Path, progress: OnCount | None = None
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
    return whole_folder(
        cache / "patches" / key, PatchCache.load, lambda folder: _build(folder, index, Path(root), progress)
    )


class PairView(View[PatchCache, PairIndex]):
    """Some pairs of a set, in a stated order: what a matcher sees of the data; see `View`."""

    def sar(self, i: np.ndarray | slice) -> np.ndarray:
        """Return the SAR images of the view's pairs `i` (indices into the view) as a new (k, H, W) array, native
        dtype.
        """
        return self._copied(self.store.sar, i)

    def optical(self, i: np.ndarray | slice) -> np.ndarray:
        """Return the optical images of the view's pairs `i` as a new (k, H, W, 3) array, native dtype."""
        return self._copied(self.store.optical, i)

    def _copied(self, images: np.ndarray, i: np.ndarray | slice) -> np.ndarray:
        out = np.array(images[self.positions[i]])
        forget_pages(images)
        return out

    def blocks(self, view: str, size: int = 256) -> Iterator[np.ndarray]:
        """Yield the "sar" or "optical" images of the whole view in order, at most `size` at a time."""
        read = self.sar if view == "sar" else self.optical
        for start in range(0, len(self), size):
            yield read(slice(start, start + size))


def _build(folder: Path, index: PairIndex, root: Path, progress: OnCount | None) -> None:
    pairs = _decoded(index.samples, root, index.reading)
    first = next(pairs)
    shapes = [image.shape for image in first]
    dtypes = [image.dtype for image in first]
    check_space(folder, len(index) * sum(image.nbytes for image in first))
    constant: dict[str, list[str]] = {view: [] for view in VIEWS}
    paths = [folder / f"{view}.npy" for view in VIEWS]
    with ExitStack() as files:
        streams = [
            files.enter_context(array_file(path, (len(index), *shape), dtype))
            for path, shape, dtype in zip(paths, shapes, dtypes, strict=True)
        ]
        every = itertools.chain([first], pairs)
        for done, (sample, pair) in enumerate(zip(index.samples, every, strict=True), start=1):
            for view, image, stream, shape, dtype in zip(VIEWS, pair, streams, shapes, dtypes, strict=True):
                if image.shape != shape or image.dtype != dtype:
                    raise _unequal(view, image, shape, dtype, root, index.samples[0], sample)
                stream.write(np.ascontiguousarray(image).data)
                if image.min() == image.max():
                    constant[view].append(sample.id)
            if progress is not None:
                progress(done, len(index))

    def by_view(values: Iterable[Any]) -> dict[str, Any]:
        return dict(zip(VIEWS, values, strict=True))

    write_json(
        folder / META,
        {
            "version": VERSION,
            "bytes": by_view(path.stat().st_size for path in paths),
            "shape": by_view([len(index), *shape] for shape in shapes),
            "dtype": by_view(str(dtype) for dtype in dtypes),
            "constant": constant,
        },
    )


def _unequal(
    view: str,
    image: np.ndarray,
    shape: tuple[int, ...],
    dtype: np.dtype,
    root: Path,
    first: PairSample,
    sample: PairSample,
) -> BenchError:
    """Return the error of an image that has not the shape and dtype of the first pair's."""
    names = [root / getattr(member, view) for member in (first, sample)]
    return BenchError(
        f"{names[1]} is {image.shape[0]} x {image.shape[1]} px of {image.dtype}, "
        f"while {names[0]} is {shape[0]} x {shape[1]} px of {dtype}; "
        "all pairs of a run need one size and one pixel type"
    )


def _decoded(
    samples: Sequence[PairSample], root: Path, reading: PairReading
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (optical, SAR) of every sample in order; a file shared by consecutive windows is decoded once."""
    if all(sample.window is None for sample in samples):
        yield from read_ahead(lambda sample: reading.pair(root / sample.optical, root / sample.sar), samples, each=8)
        return
    for (optical, sar), run in itertools.groupby(samples, key=lambda sample: (sample.optical, sample.sar)):
        yield from _windows_of(run, *reading.pair(root / optical, root / sar), root)


def _windows_of(
    run: Iterable[PairSample], optical: np.ndarray, sar: np.ndarray, root: Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for sample in run:
        if sample.window is None:
            yield optical, sar
            continue
        y0, x0, height, width = sample.window
        if y0 < 0 or x0 < 0 or y0 + height > sar.shape[0] or x0 + width > sar.shape[1]:
            raise BenchError(f"window {sample.window} of pair {sample.id!r} lies outside {root / sample.sar}")
        yield read_window(optical, sample.window), read_window(sar, sample.window)
