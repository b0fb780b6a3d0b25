"""SAR patches decoded once into an unnamed temporary file, to be read back in any order and in parts.

Owns the reading of patches for an audit. Not the decoded cache of a run: that holds the optical images too, and
outlives the command.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from bench.core.errors import BenchError
from bench.core.progress import OnStage
from bench.data.decoded import check_space, read_ahead
from bench.data.index import PairIndex, PairSample
from bench.data.reading import PairReading
from bench.data.windows import read_window


class Spool:
    """Context manager over the SAR patches of an index, all of one size and dtype; reading holds no patch in memory.

    Args:
        index: the patches. root: folder that its paths are relative to.
        folder: where the temporary file goes; it has no name and is gone with the process.
        report: called while decoding.

    Attributes:
        shape: (height, width) of every patch. dtype: their pixel type.
        damaged: file that cannot be read -> why; its patches count as black, in which no overlap is looked for.

    Raises:
        BenchError: no readable image, unequal sizes or pixel types (both files are named), a full disk.
    """

    def __init__(self, index: PairIndex, root: Path, folder: Path, report: OnStage | None = None) -> None:
        self._index, self._root = index, Path(root)
        self.damaged: dict[str, str] = {}
        self._first, first = self._first_readable()
        self.shape: tuple[int, int] = (first.shape[0], first.shape[1])
        self.dtype = first.dtype
        self._row_bytes = self.shape[1] * self.dtype.itemsize
        self._patch_bytes = self.shape[0] * self._row_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            check_space(folder, self._patch_bytes * len(index))
            self._stream: Any = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise BenchError(
                f"cannot write to {folder}: {error.strerror or error}; choose another --runs folder"
            ) from error
        try:
            self._fill(report)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def __len__(self) -> int:
        return len(self._index)

    def rows(self, i: int, y0: int = 0, y1: int | None = None) -> np.ndarray:
        """Return rows y0 to y1 (exclusive; None: the last) of patch i as a read-only (y1 - y0, width) array."""
        y1 = self.shape[0] if y1 is None else y1
        raw = os.pread(self._stream.fileno(), (y1 - y0) * self._row_bytes, i * self._patch_bytes + y0 * self._row_bytes)
        return np.frombuffer(raw, dtype=self.dtype).reshape(y1 - y0, self.shape[1])

    def _first_readable(self) -> tuple[PairSample, np.ndarray]:
        for sample in self._index.samples:
            if sample.sar not in self.damaged:
                try:
                    return sample, read_sar(sample, self._root, self._index.reading)
                except BenchError as error:
                    self.damaged[sample.sar] = str(error)
        raise BenchError(f"no SAR image can be read: {next(iter(self.damaged.values()))}")

    def _fill(self, report: OnStage | None) -> None:
        done = 0
        try:
            for patch in _decoded(self._index.samples, self._root, self._index.reading):
                sample = self._index.samples[done]
                if isinstance(patch, BenchError):
                    self.damaged.setdefault(sample.sar, str(patch))
                    patch = np.zeros(self.shape, self.dtype)
                self._check(patch, sample)
                self._stream.write(np.ascontiguousarray(patch).data)
                done += 1
                if report is not None:
                    report("read", done, len(self))
            self._stream.flush()
        except OSError as error:
            raise BenchError(
                f"cannot keep the decoded patches ({error.strerror or error}); free space or choose another --runs"
            ) from error

    def _check(self, patch: np.ndarray, sample: PairSample) -> None:
        if patch.shape != self.shape or patch.dtype != self.dtype:
            first = self._first
            raise BenchError(
                f"{sample.sar} is {patch.shape[0]} x {patch.shape[1]} px of {patch.dtype}, while {first.sar} is"
                f" {self.shape[0]} x {self.shape[1]} px of {self.dtype}; an audit compares patches of one size and"
                " pixel type"
            )


def read_sar(sample: PairSample, root: Path, reading: PairReading) -> np.ndarray:
    """Return the SAR patch (h, w) of a sample in its native dtype."""
    return _cut(reading.sar.read(root / sample.sar), sample)


def read_grey(sample: PairSample, root: Path, reading: PairReading) -> np.ndarray:
    """Return the optical patch of a sample as (h, w) float64, the mean of its channels."""
    grey: np.ndarray = _cut(reading.optical(root / sample.optical), sample).mean(axis=2, dtype=np.float64)
    return grey


def _cut(image: np.ndarray, sample: PairSample) -> np.ndarray:
    return image if sample.window is None else read_window(image, sample.window)


def _decoded(samples: tuple[PairSample, ...], root: Path, reading: PairReading) -> Iterator[np.ndarray | BenchError]:
    """Yield the SAR patches in order, or why one cannot be read; each run of samples out of one file decodes it once,
    several files at a time.
    """
    runs = [list(run) for _, run in itertools.groupby(samples, key=lambda sample: sample.sar)]

    def read(run: list[PairSample]) -> Sequence[np.ndarray | BenchError]:
        try:
            image = reading.sar.read(root / run[0].sar)
        except BenchError as error:
            return [error] * len(run)
        return [_cut(image, sample) for sample in run]

    for patches in read_ahead(read, runs, each=8):
        yield from patches
