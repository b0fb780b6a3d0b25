"""Folders that exist whole or not at all: built under a temporary name by one process while the others wait, then
renamed.

Owns the locking, the clean-up after a killed builder and the translation of disk errors. Does not know what lies in a
folder.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from bench.core.errors import BenchError
from bench.core.store import canonical_hash, folder_lock, write_json

T = TypeVar("T")
_STAMP = "toy.json"

_ADVICE = {
    errno.ENOSPC: "the disk is full; free space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free space or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "permission denied; choose a folder that you may write to",
    errno.ENOTDIR: "a part of the path is a file; choose another folder",
    errno.EEXIST: "a part of the path is a file; choose another folder",
}


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError while writing below `folder` into a BenchError that says what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
        raise BenchError(f"cannot write to {folder}: {advice}") from error


def whole_folder(final: Path, load: Callable[[Path], T | None], build: Callable[[Path], None]) -> T:
    """Return `load(final)`, building the folder first where `load` gives None (missing or damaged).

    Exactly one process builds; others wait and then load. A killed builder leaves a temporary folder, which the next
    builder removes. A damaged folder is replaced; readers that still map its files keep them.

    Args:
        final: the folder.
        load: checks and opens it; None means that it must be (re)built.
        build: fills an empty folder.

    Raises:
        BenchError: the place cannot be written to or is full, or the folder is not loadable right after it was built.
    """
    found = load(final)
    if found is not None:
        return found
    with folder_lock(final.parent / f".{final.name}.building"):
        found = load(final)
        if found is None:
            replace_folder(final, build)
            found = load(final)
    if found is None:
        raise BenchError(f"{final} cannot be read back after it was written; check the disk, or choose another folder")
    return found


def replace_folder(final: Path, build: Callable[[Path], None]) -> None:
    """Fill a temporary folder beside `final` with `build` and put it in the place of `final`, removing what stood
    there.

    Temporary folders of killed builders are removed first; a living builder holds a kernel lock on its own.

    Raises:
        BenchError: the place cannot be written to or is full.
    """
    from filelock import lock_descriptor

    prefix = f".{final.name}.tmp-"
    with disk_errors(final.parent):
        final.parent.mkdir(parents=True, exist_ok=True)
        for stale in final.parent.glob(f"{prefix}*"):
            _remove_unless_locked(stale)
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=final.parent))
        handle = os.open(temporary, os.O_RDONLY)
        try:
            lock_descriptor(handle)
            os.chmod(temporary, 0o755)
            build(temporary)
            if final.exists():
                os.replace(final, final.parent / f"{prefix}old")
            os.replace(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(final.parent / f"{prefix}old", ignore_errors=True)
            os.close(handle)


def _remove_unless_locked(folder: Path) -> None:
    from filelock import lock_descriptor

    handle = os.open(folder, os.O_RDONLY)
    try:
        if lock_descriptor(handle, blocking=False):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def generated_folder(
    cache: Path, name: str, spec: Mapping[str, Any], write: Callable[[Path], None], whole: Callable[[Path], bool]
) -> Path:
    """Return the folder of a generated data set below `cache`, made on the first call.

    Args:
        spec: JSON values that settle its content; they are stamped into it, and name it.
        write: makes the content. whole: whether a stamped folder still has it; an OSError means no.
    """

    def load(folder: Path) -> Path | None:
        try:
            return folder if json.loads((folder / _STAMP).read_bytes()) == spec and whole(folder) else None
        except (OSError, ValueError):
            return None

    def build(folder: Path) -> None:
        write(folder)
        write_json(folder / _STAMP, dict(spec))

    return whole_folder(cache / f"{name}-{canonical_hash(dict(spec))[:16]}", load, build)
