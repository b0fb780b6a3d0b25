"""Finding the files of a detection set: walking folders, and resolving file names that annotations give. Owns the rule
that such a name never leads outside the set's folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import product
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


def resolve(root: Path, name: str, folders: Iterable[str]) -> str | None:
    """Return the file that an annotation calls `name`, relative to `root`: as written below one of `folders`, then by
    its bare name there; None where no such file exists.

    An absolute name, of the machine that the annotation was made on, is looked for by its last parts: all of them, then
    fewer, down to the bare name. Of symbolic links, those that the user's own folders are (`root`, `root`/images) are
    followed wherever they lead; a name never leads out of them.

    Args:
        folders: below `root`, as the user or the set's layout names them, never the annotation.

    Raises:
        BenchError: the name is empty, climbs with "..", or leads outside through a symbolic link.
    """
    folders = tuple(folders)
    for tail, folder in product(tails(name), folders):
        candidate = f"{folder}/{tail}" if folder else tail
        if os.path.isfile(root / candidate):
            _check_inside(root, candidate, (folder, *folders, ""), name)
            return candidate
    return None


def _check_inside(root: Path, path: str, folders: Iterable[str], name: str) -> None:
    """Raise BenchError where `root`/`path` lies, with its links followed, in none of `folders` below `root`."""
    real = os.path.realpath(root / path)
    for folder in folders:
        if real.startswith(os.path.realpath(root / folder).rstrip(os.sep) + os.sep):
            return
    raise BenchError(f"the file name {name!r} leads outside {root} through a symbolic link; copy the file there")


def tails(name: str) -> list[str]:
    """Return the paths below a folder that `name` may mean, with "/" between parts, the most likely first.

    Raises:
        BenchError: an empty name, or one that climbs with "..".
    """
    plain = name.replace("\\", "/")
    absolute = plain.startswith("/") or _DRIVE.match(plain) is not None
    parts = [part for part in _DRIVE.sub("", plain).split("/") if part not in ("", ".")]
    if not parts or not plain.isprintable() or ".." in parts:
        raise BenchError(f"the file name {name!r} is not one below the data set's folder; '..' is refused")
    starts = range(len(parts)) if absolute else dict.fromkeys((0, len(parts) - 1))
    return ["/".join(parts[start:]) for start in starts]
