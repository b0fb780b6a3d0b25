"""The machine, and the folders that runs, boards and caches go to: can they be written, locked and linked, and how much
room is there.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor

from bench.core.workspace import Workspace
from bench.tools.doctor import Finding

MACHINE, FOLDERS = "Machine", "Folders"
GIB = 2**30
LOW_DISK, LOW_SHARED, LOW_MEMORY = 10 * GIB, 1 * GIB, 8 * GIB
SHARED = Path("/dev/shm")


def examine_machine() -> Iterator[Finding]:
    """Yield cores, memory and shared memory; accelerators are looked at by doing (`backends.py`)."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    all_ = os.cpu_count() or mine
    share = f" of {all_}" if all_ != mine else ""
    yield Finding(MACHINE, "processor", "ok", f"{mine}{share} cores, {platform.machine()}, {platform.system()}")
    memory = memory_bytes()
    low = memory < LOW_MEMORY
    advice = "training needs a few GiB a process: lower batch_size and --workers" if low else ""
    yield Finding(MACHINE, "memory", "warn" if low else "ok", f"{memory / GIB:.1f} GiB", advice)
    if SHARED.is_dir():
        size = shutil.disk_usage(SHARED).total
        small = size < LOW_SHARED
        advice = (
            "data workers hand batches over there: start the container with --shm-size=4g, or run with --workers 0"
            if small
            else ""
        )
        yield Finding(
            MACHINE, "shared memory", "warn" if small else "ok", f"{size / GIB:.2f} GiB", advice, place=str(SHARED)
        )


def memory_bytes() -> int:
    """Return the memory that this process may use: the machine's, or the limit of its control group where that is
    less.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def examine_places(workspace: Workspace) -> Iterator[Finding]:
    """Yield whether the folders can be used; a folder that does not exist yet is tried in the nearest one that does."""
    for name, option, folder in (
        ("runs", "--runs", workspace.runs),
        ("cache", "$BENCH_CACHE", workspace.cache),
        ("boards", "--boards", workspace.boards),
    ):
        yield _folder(name, option, Path(folder))


def _folder(name: str, option: str, folder: Path) -> Finding:
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    there = "" if existing == folder.absolute() else "to be made, "
    if not existing.is_dir():
        return Finding(
            FOLDERS,
            name,
            "broken",
            "is no folder",
            f"remove the file, or choose another folder with {option}",
            place=str(folder),
        )
    problem = try_folder(existing)
    if problem:
        return Finding(
            FOLDERS,
            name,
            "broken",
            problem,
            f"choose another folder with {option}, or free this one",
            place=str(folder),
        )
    free = shutil.disk_usage(existing).free
    low = free < LOW_DISK
    advice = f"free some, see `bench clean`, or choose another disk with {option}" if low else ""
    return Finding(
        FOLDERS, name, "warn" if low else "ok", f"{there}writable, {free / GIB:.0f} GiB free", advice, place=str(folder)
    )


def try_folder(folder: Path) -> str:
    """Write, lock, link and rename in a temporary folder inside `folder`; return what does not work, "" when all
    does.
    """
    done = "cannot be written to"
    try:
        with tempfile.TemporaryDirectory(prefix=".bench-doctor-", dir=folder) as name:
            first, second = Path(name) / "first", Path(name) / "second"
            first.write_bytes(b"x" * 4096)
            done = "cannot be locked (flock): two runs would not see each other"
            with first.open("a") as stream:
                lock_descriptor(stream.fileno(), blocking=False)
            done = "cannot rename files"
            os.replace(first, second)
    except OSError as error:
        return f"{done} ({error.strerror or type(error).__name__})"
    return ""
