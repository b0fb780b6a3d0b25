"""What the decoded caches of pairs and of scenes share: a folder of memory-mapped arrays beside a `meta.json`, how it
is opened and checked, how arrays are written, and how files are decoded ahead of their use.

Arrays are written sequentially, never through a map, so that a full disk is an error and not a crash.
"""

from __future__ import annotations

import json
import os
import shutil
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import numpy as np

from bench.core.errors import BenchError

META = "meta.json"

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Decoded:
    """Decoded images on disk, in index order. Pickles as its folder, so data-loading processes map the same files.

    Attributes:
        folder: where the arrays lie.
    """

    folder: Path

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Open a cache folder; None where it is missing, incomplete or of the wrong size."""
        try:
            return cls._open(folder, json.loads((folder / META).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    @abstractmethod
    def _open(cls, folder: Path, meta: Any) -> Self:
        """Map the arrays that `meta` describes; OSError, ValueError, KeyError or TypeError where they are not whole."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self.folder)


def _reopen(kind: type[Decoded], folder: Path) -> Decoded:
    found = kind.load(folder)
    if found is None:
        raise BenchError(f"the decoded cache {folder} is gone or damaged; run the command again")
    return found


def map_array(path: Path, size: int, shape: Iterable[int], dtype: str) -> np.ndarray:
    """Return a .npy file as a read-only memory map.

    Raises:
        ValueError: it has not `size` bytes, or another shape or dtype.
    """
    if path.stat().st_size != size:
        raise ValueError(f"{path} is truncated or damaged")
    array = np.lib.format.open_memmap(path, mode="r")
    if array.shape != tuple(shape) or str(array.dtype) != dtype:
        raise ValueError(f"{path} holds another array")
    return array.view(np.ndarray)


@contextmanager
def array_file(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[IO[bytes]]:
    """Open a .npy file whose header is written; the caller writes the values in C order. It is on the disk at the
    end.
    """
    with path.open("wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def check_space(folder: Path, needed: int) -> None:
    """Raise BenchError unless `needed` bytes are free where `folder` lies."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BenchError(
            f"the decoded images need {needed / 1e9:.1f} GB in {folder.parent}, and {free / 1e9:.1f} GB are free; "
            "free space or choose another cache folder"
        )


def read_ahead(
    read: Callable[[Item], Result], items: Iterable[Item], threads: int = 8, each: int = 1
) -> Iterator[Result]:
    """Yield `read(item)` of every item, in order, as threads read ahead.

    Args:
        threads: at the most; no more than there are cores.
        each: how many results may wait for each thread. So few are in memory, however slow the caller is.
    """
    threads = min(threads, os.cpu_count() or 1)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > threads * each:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
