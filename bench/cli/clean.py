"""Show what can be freed under the runs folder, and free it with `--yes`.

Kinds: `cache` (decoded images, manifests: made again when needed), `unfinished` (cells without a finished record, their
checkpoints), `weights` (models of finished cells: a new metric still works without them), `finished` (everything else
of finished cells), `smoke` (all that smoke runs left).
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import BenchError, nearest
from bench.core.store import folder_lock
from bench.core.workspace import Workspace, user_path
from bench.execution.job import JOB
from bench.execution.records import MODEL, RECORD, load_record
from bench.suite.smoke import FOLDER as SMOKE

EXAMPLES = """  bench clean                      what could be freed
  bench clean cache unfinished     what these two would free
  bench clean cache --yes          free it"""

CACHED = ("manifests", "patches", "scenes", "windows", "toy-*", ".toy-*")  # what a cache folder holds
KINDS = ("cache", "unfinished", "weights", "finished", "smoke")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="*", help=f"what to free: {', '.join(KINDS)}")
    parser.add_argument(
        "--runs", type=user_path, default=Path("runs"), metavar="DIR", help="the runs folder (default: runs)"
    )
    parser.add_argument("--yes", action="store_true", help="delete; without it nothing is touched")


def execute(args: argparse.Namespace) -> int:
    for kind in args.kind:
        if kind not in KINDS:
            raise BenchError(f"unknown kind {kind!r}{nearest(kind, KINDS)}")
    if args.yes and not args.kind:
        raise BenchError(f"say what to delete: bench clean {'|'.join(KINDS)} --yes")
    if not args.runs.is_dir():
        print(f"{args.runs}: nothing there")
        return 0
    total = 0
    for kind in args.kind or KINDS:
        paths = list(_find(Workspace(args.runs), kind))
        size = sum(_size(path) for path in paths)
        total += size
        print(f"{kind.ljust(11)} {size / 2**20:9.1f} MiB in {len(paths)} places")
        smoke = _cells(args.runs / SMOKE)
        # cells that may be running and read it
        users = {"cache": [*_cells(args.runs), *smoke], "smoke": smoke}.get(kind, [])
        shared = not all(_is_free(folder) for folder in users)
        for path in paths if args.kind else ():
            busy = args.yes and (shared or not _delete(path))
            print(f"  {'kept (in use): ' if busy else 'deleted ' if args.yes else ''}{path}")
    if not args.yes:
        print(
            f"{total / 2**20:.1f} MiB could be freed; add --yes to delete"
            if args.kind
            else "name kinds to see the places; --yes deletes"
        )
    return 0


def _find(workspace: Workspace, kind: str) -> Iterator[Path]:
    if kind == "cache":  # of a folder that $BENCH_CACHE names, only what is ours
        yield from (path for pattern in CACHED for path in sorted(workspace.cache.glob(pattern)))
        return
    if kind == "smoke":
        yield from (path for path in [workspace.runs / SMOKE] if path.is_dir())
        return
    for folder in _cells(workspace.runs):
        finished = _is_finished(folder)
        if kind == "unfinished" and not finished or kind == "finished" and finished:
            yield folder
        elif kind == "weights" and finished and (folder / MODEL).is_file():
            yield folder / MODEL


def _cells(runs: Path) -> list[Path]:
    """Return the cell folders: those that a worker has been started in."""
    return sorted(path.parent for path in runs.glob(f"*/*/{JOB}"))


def _is_finished(folder: Path) -> bool:
    try:
        return (folder / RECORD).is_file() and load_record(folder / RECORD).status == "finished"
    except BenchError:
        return False  # a damaged record says nothing; its cell has to run again


def _is_free(folder: Path) -> bool:
    with folder_lock(folder, wait=False) as free:
        return free


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    return sum(file.stat().st_size for file in files)


def _delete(path: Path) -> bool:
    """Delete a file or folder unless a running process holds its lock; return whether it was deleted."""
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        return True
    with folder_lock(folder, wait=False) as free:
        if not free:
            return False
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:
            raise BenchError(f"cannot delete {path}: {error.strerror or error}") from error
    return True
