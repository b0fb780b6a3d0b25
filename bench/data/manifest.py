"""Manifests: the SHA-256 of every file of a data set, and one hash over all of them. Owns the stat-keyed cache that
makes them cheap.

A file is hashed again when its size, modification time or inode change time differ, or when it was younger than two
seconds when last hashed (a second change within the same clock tick would go unseen).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from bench.core.errors import BenchError
from bench.core.store import canonical_json, write_text

_SETTLED_NS = 2_000_000_000
_CHUNK = 64
# relative path -> [size, mtime_ns, ctime_ns, time of hashing in ns, sha256]
_Entry = list[int | str]


@dataclass(frozen=True)
class Manifest:
    """The files of a data set.

    Attributes:
        files: path relative to the root -> (size in bytes, modification time in ns, hexadecimal SHA-256).
        sha256: hash over the sorted relative paths and file hashes, and over what is declared of them: the same
            wherever the copy lies.
    """

    files: dict[str, tuple[int, int, str]]
    sha256: str


def build_manifest(root: Path, files: Iterable[Path | str], cache: Path | None, declared: str = "") -> Manifest:
    """Hash `files`, which lie below `root` (others enter as outside/<name>), reusing what `cache`/manifests knows.

    Args:
        cache: cache folder; None hashes everything anew and keeps nothing.
        declared: what the user declares of the files (`Dataset.declared`); it is hashed too, unless it is "".

    Raises:
        BenchError: a file is missing or unreadable, two files outside share a name, or the cache cannot be written.
    """
    names = _relative(Path(root), files)
    store = None
    known: dict[str, _Entry] = {}
    if cache is not None:
        store = (
            cache / "manifests" / f"{hashlib.sha256(os.fspath(Path(root).resolve()).encode()).hexdigest()[:24]}.json"
        )
        known = _read_store(store)
    fresh: dict[str, _Entry] = {}
    stale: list[tuple[str, str]] = []
    for name, path in names.items():
        stat = regular(path)
        entry = known.get(name)
        if (
            entry
            and entry[0] == stat.st_size
            and entry[1] == stat.st_mtime_ns
            and entry[2] == stat.st_ctime_ns
            and _settled(entry)
        ):
            fresh[name] = entry
        else:
            stale.append((name, path))
    for name, entry in _hash_all(stale):
        fresh[name] = entry
    if store is not None and stale:
        write_text(store, canonical_json(known | fresh) + "\n")
    return _manifest(fresh, declared)


def regular(path: Path | str) -> os.stat_result:
    """Return the status of a file. Raises BenchError where it is not there, or no regular file: a pipe would be waited
    for.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        dangling = " (a link that leads nowhere)" if os.path.islink(path) else ""
        raise BenchError(f"cannot read {path}: {error.strerror or error}{dangling}") from error
    if not S_ISREG(status.st_mode):
        raise BenchError(f"cannot read {path}: it is no regular file; replace or remove it")
    return status


def unreadable(path: Path | str) -> str:
    """Return why a file cannot be read, in one line; "" where it can."""
    try:
        regular(path)
        with open(path, "rb"):
            return ""
    except BenchError as error:
        return str(error)
    except OSError as error:
        return f"cannot read {path}: {error.strerror or error}"


def file_sha256(path: Path, cache: Path | None) -> str:
    """Return the hexadecimal SHA-256 of one file, through the same cache.

    Raises:
        BenchError: the file is missing or unreadable.
    """
    path = Path(path)
    return build_manifest(path.parent, [path], cache).files[path.name][2]


def _relative(root: Path, files: Iterable[Path | str]) -> dict[str, str]:
    prefix = os.fspath(root).rstrip("/") + "/"
    here = prefix == "./"  # Path drops the "./" of what lies below "."
    names: dict[str, str] = {}
    for file in files:
        path = os.fspath(file)
        if here and not path.startswith(("./", "../", "/")):
            path = prefix + path
        name = path[len(prefix) :] if path.startswith(prefix) else f"outside/{os.path.basename(path)}"
        if names.setdefault(name, path) != path:
            raise BenchError(
                f"{path} and {names[name]} would have the same name in the manifest; move one below {root}"
            )
    return names


def _settled(entry: _Entry) -> bool:
    return int(entry[3]) - max(int(entry[1]), int(entry[2])) > _SETTLED_NS


def _read_store(store: Path) -> dict[str, _Entry]:
    """Return what the cache knows; a missing or damaged cache file knows nothing, since every entry can be made
    again.
    """
    try:
        value = json.loads(store.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {k: v for k, v in value.items() if isinstance(v, list) and [type(x) for x in v] == [int, int, int, int, str]}


def _hash_all(stale: list[tuple[str, str]]) -> list[tuple[str, _Entry]]:
    chunks = [stale[i : i + _CHUNK] for i in range(0, len(stale), _CHUNK)]
    if len(chunks) <= 1:
        return [pair for chunk in chunks for pair in _hash_chunk(chunk)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return [pair for pairs in pool.map(_hash_chunk, chunks) for pair in pairs]


def _hash_chunk(chunk: list[tuple[str, str]]) -> list[tuple[str, _Entry]]:
    return [(name, _hash_file(path)) for name, path in chunk]


def _hash_file(path: str) -> _Entry:
    started = time.time_ns()
    try:
        with Path(path).open("rb") as stream:
            stat = os.fstat(stream.fileno())
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, started, digest]


def _manifest(entries: dict[str, _Entry], declared: str) -> Manifest:
    files: dict[str, tuple[int, int, str]] = {}
    total = hashlib.sha256()
    for name in sorted(entries):
        size, mtime_ns, _, _, digest = entries[name]
        files[name] = (int(size), int(mtime_ns), str(digest))
        total.update(f"{digest}  {name}\n".encode())
    if declared:
        total.update(f"{declared}\n".encode())
    return Manifest(files, total.hexdigest())


def file_hashes(manifest: Manifest, names: Iterable[str]) -> list[str]:
    """Return the SHA-256 of files by the names that an index gives them: relative to the root, or absolute where they
    lie outside.
    """
    return [manifest.files[name if name in manifest.files else f"outside/{Path(name).name}"][2] for name in names]


def shared_files(test: Iterable[str], other: Iterable[str]) -> int:
    """Return how many of the hashes `test` are among the hashes `other`."""
    seen = set(other)
    return sum(digest in seen for digest in test)
