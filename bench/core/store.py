"""Files on disk that must never be half-written: atomic writes, canonical hashes, folder locks.

Owns how bytes reach the disk; what they mean is the business of `records.py` and of the task packages. Arrays are read
back by `arrays.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.untrusted import MIB, read_regular

JSON_LARGEST = 16 * MIB  # the largest record of ours has 12 KiB; parsed, JSON takes up to 30 times its length


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no blanks, full-precision floats, NaN and infinity refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical_hash(value: Any) -> str:
    """Return the hexadecimal SHA-256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on failure it is removed.

    The temporary name keeps the suffix of `path`, since some writers choose their format by it.

    Raises:
        BenchError: the folder cannot be written to, or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=f".tmp{path.suffix}", dir=path.parent)
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror or error}; choose another output folder or free it"
        ) from error
    temporary = Path(name)
    try:
        os.close(handle)
        yield temporary
        os.chmod(temporary, 0o644)
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another output folder"
        ) from error
    finally:
        with suppress(OSError):  # a disk that refuses this too must not hide what went wrong before
            temporary.unlink(missing_ok=True)


def remove_stale(folder: Path) -> None:
    """Remove the temporary files below `folder` that killed writers left; the caller holds the folder's lock."""
    for stale in folder.rglob(".*.tmp*"):
        with suppress(OSError):
            stale.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically. Non-finite floats are refused: unknown is null."""
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n"
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays as a compressed .npz, atomically; equal arrays give equal bytes (NumPy stamps no time into
    it).
    """
    import numpy as np

    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def read_json(path: Path) -> Any:
    """Read a JSON file that `write_json` made: numbers that are not finite are damage, since it never writes one.

    Raises:
        BenchError: the file is missing, unreadable, no regular file, larger than `JSON_LARGEST`, or no JSON.
    """
    try:
        text = read_regular(path, JSON_LARGEST).decode("utf-8")
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not valid JSON ({error}); delete it and run the command again") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


@contextmanager
def folder_lock(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock on `folder`; yield whether it was free (with `wait=False`, False means somebody else has
    it).

    The lock is the kernel's (flock on `folder/.lock`), so it goes with its process, however that ends. It is never the
    mere existence of a file, which a killed process would leave behind; the file stays.

    Raises:
        BenchError: the folder cannot be written to, or its file system has no locks.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        open(folder / ".lock", "a").close()
    except OSError as error:
        raise BenchError(
            f"cannot write to {folder}: {error.strerror or error}; choose another output folder"
        ) from error
    lock = FileLock(folder / ".lock", timeout=-1 if wait else 0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:  # a network file system without locks
        raise BenchError(
            f"cannot lock {folder}: {error.strerror or error}; choose an output folder on a local disk"
        ) from error
    try:
        yield True
    finally:
        lock.release()


def check_writable(**folders: Path) -> None:
    """Make the folders, given by the names of the parameters that they come from, and try to write into each.

    Raises:
        BenchError: one cannot be written to.
    """
    for name, folder in folders.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:  # no name that a second process could take away
                probe.write(b"x")
        except OSError as error:
            message = f"cannot write to {folder}: {error.strerror or error}; choose another folder"
            raise BenchError(message, name) from error


def finite_or_none(value: float | None) -> float | None:
    """Return `value` as a float, or None where it is None, NaN or infinite (unknown is null, never a made-up
    number).
    """
    return None if value is None or not math.isfinite(value) else float(value)
