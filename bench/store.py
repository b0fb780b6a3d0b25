"""Files on disk that must never be half-written: atomic writes, canonical hashes, folder locks.

Owns how bytes reach the disk; what they mean is the business of `records.py` and of the task packages.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import BenchError


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
        raise BenchError(f"cannot write {path}: {error.strerror or error}; choose another output folder or free it") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror or error}; free space or choose another output folder") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically. Non-finite floats are refused: unknown is null."""
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n"
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays as a compressed .npz, atomically; equal arrays give equal bytes (NumPy stamps no time into it)."""
    import numpy as np

    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        BenchError: the file is missing, unreadable or no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BenchError(f"{path} is not valid JSON ({error}); delete it and run the command again") from error


@contextmanager
def folder_lock(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock on `folder`; yield whether it was free (with `wait=False`, False means somebody else has it).

    The lock is the kernel's (flock on `folder/.lock`), so it goes with its process, however that ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(folder / ".lock", "a")  # noqa: SIM115 - closed below, after the yield
    except OSError as error:
        raise BenchError(f"cannot write to {folder}: {error.strerror or error}; choose another output folder") from error
    try:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        stream.close()


def finite_or_none(value: float | None) -> float | None:
    """Return `value` as a float, or None where it is None, NaN or infinite (unknown is null, never a made-up number)."""
    return None if value is None or not math.isfinite(value) else float(value)
