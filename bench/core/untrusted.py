"""Files that anyone may have written: only regular files are opened, none through a symbolic link, none that is larger
than its kind can be.

A FIFO would hang whoever opens it, a link or a device leads out of the folder that was handed over.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bench.core.errors import BenchError

MIB = 2**20
_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe (FIFO)"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"), (stat.S_ISLNK, "a symbolic link"),
)  # fmt: skip


def strange_file(path: Path) -> str:
    """Return what stands at `path` in place of a regular file ("a symbolic link"), "" for one, and where there is
    nothing.
    """
    try:
        return _kind(os.lstat(path).st_mode)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or "no name of a file"


def is_regular(path: Path) -> bool:
    """Return whether `path` is a regular file itself, not a link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether `path` is a folder itself, not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


@contextmanager
def open_regular(path: Path, at_most: int) -> Iterator[BinaryIO]:
    """Open a regular file for reading.

    Args:
        at_most: bytes that a file of this kind may have.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        BenchError: something else stands there, or it is larger.
    """
    strange = strange_file(path)
    if strange:
        raise BenchError(f"{path} is {strange}, no regular file; put the file itself there")
    # whatever takes its place meanwhile is neither followed nor waited for
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as stream:
        found = os.fstat(handle)
        strange = _kind(found.st_mode)
        if strange:
            raise BenchError(f"{path} is {strange}, no regular file; put the file itself there")
        if found.st_size > at_most:
            raise BenchError(
                f"{path} has {size_text(found.st_size)}; at most {size_text(at_most)} are read of its kind"
            )
        yield stream


def read_regular(path: Path, at_most: int) -> bytes:
    """Return the bytes of a regular file; errors as of `open_regular`."""
    with open_regular(path, at_most) as stream:
        return stream.read(at_most)


def size_text(size: int) -> str:
    """Return a number of bytes as "3.1 MiB"; below one as bytes."""
    return f"{size / MIB:,.1f} MiB" if size >= MIB else f"{size:,} bytes"


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return ""
    return next((name for holds, name in _KINDS if holds(mode)), "something else")
