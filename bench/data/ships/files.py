"""Finding the files of a detection set: walking folders, and resolving file names that annotations give. Owns the rule
that such a name never leads outside the set's folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from bench.core.errors import BenchError

_DIGITS = re.compile(r"\d+")
_DRIVE = re.compile(r"^[A-Za-z]:")


def walk(root: Path, folder: str, suffixes: Collection[str]) -> Iterator[str]:
    """Yield the files below `root`/`folder` with one of `suffixes` (lower case), as sorted paths relative to `root`
    with "/" between parts.

    Hidden files and folders are passed over, and so are the `.aux.xml` files that GDAL leaves beside images.

    Raises:
        BenchError: the folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise BenchError(f"cannot read the folder {error.filename}: {error.strerror or error}") from error

    start = os.path.join(root, folder) if folder else os.fspath(root)
    found = []
    for parent, folders, names in os.walk(start, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = os.path.relpath(parent, root).replace(os.sep, "/")
        for name in names:
            if (
                os.path.splitext(name)[1].lower() in suffixes
                and not name.startswith(".")
                and not name.lower().endswith(".aux.xml")
            ):
                found.append(name if below == "." else f"{below}/{name}")
    yield from sorted(found)


def stem(path: str) -> str:
    """Return the file name of a "/" path without its last suffix."""
    return os.path.splitext(path.rsplit("/", 1)[-1])[0]


def last_integer(path: str) -> int | None:
    """Return the last run of digits in the stem of a path: 7 for "AIR-SARShip-1.0-7-label.xml"; None where there is
    none.
    """
    digits = _DIGITS.findall(stem(path))
    return int(digits[-1]) if digits else None


def inside(root: Path, name: str) -> str:
    """Return `name`, as an annotation gives it, as a path relative to `root`; it need not exist.

    Raises:
        BenchError: it is empty, absolute, climbs with "..", or leads outside `root` through a symbolic link.
    """
    path = _below(name)
    real, base = os.path.realpath(root / path), os.path.realpath(root)
    if real != base and not real.startswith(base.rstrip(os.sep) + os.sep):
        raise BenchError(f"the file name {name!r} leads outside {root} through a symbolic link; copy the file there")
    return path


def _below(name: str) -> str:
    """Return `name` with "/" between its parts. Raises BenchError: it is empty, absolute, or climbs with ".."."""
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if not parts or not plain.isprintable() or plain.startswith("/") or _DRIVE.match(plain) or ".." in parts:
        raise BenchError(
            f"the file name {name!r} is not one below the data set's folder; absolute names and '..' are refused"
        )
    return "/".join(parts)


def resolve(root: Path, name: str, folders: Iterable[str]) -> str | None:
    """Return the file that an annotation calls `name`, relative to `root`: as written below one of `folders`, then by
    its bare name there; None where no such file exists.

    Raises:
        BenchError: as `inside`.
    """
    bare = name.replace("\\", "/").rsplit("/", 1)[-1]
    candidates = dict.fromkeys(
        f"{folder}/{text}" if folder else text for text in (_below(name), bare) for folder in folders
    )
    for candidate in candidates:
        if os.path.isfile(root / candidate):
            return inside(root, candidate)
    return None
