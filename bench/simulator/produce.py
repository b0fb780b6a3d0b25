"""Writing a simulated set: many independent tasks on several processes into a folder that appears whole, and goes on
after a kill.

Unfinished work lies in `.<name>.partial` beside the folder, with a marker for each finished task; the same command
continues there, another one refuses or starts anew. What a task makes is a function of the task alone, so that the
number of processes changes no byte.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.processes import die_with_parent
from bench.core.store import canonical_hash, folder_lock, write_json
from bench.data.whole_folder import disk_errors

STAMP = "simulated.json"
_DONE = ".done"
_AHEAD = 4  # tasks handed out per process before the first is back

Make = Callable[[Path, Any], list[Any]]


def produce(
    out: Path, stamp: dict[str, Any], tasks: Sequence[Any], make: Make, finish: Callable[[Path, list[list[Any]]], None],
    jobs: int, report: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """Fill the new folder `out`.

    Args:
        stamp: JSON values that settle the content; written into `out` as simulated.json.
        tasks: picklable; `make(folder, task)` writes a task's files and returns JSON rows. A module's function, so that
            processes find it.
        finish: called once with the folder and the rows of all tasks in order; writes tables and lists.
        jobs: processes.
        report: called with (tasks done, tasks).

    Raises:
        BenchError: `out` holds something else or is the current folder, cannot be written, or a process died.
    """
    if out.absolute() == Path.cwd() or out.name in ("", ".."):
        raise BenchError(f"{out} is a folder that somebody stands in; name a new one")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if _stamp_of(out) == stamp:
            return
        raise BenchError(f"{out} exists and is not empty; choose a new folder")
    partial = out.absolute().parent / f".{out.name}.partial"
    with disk_errors(out), folder_lock(partial, wait=False) as free:
        if not free:
            raise BenchError(f"another process is writing {out}; wait for it, or choose another folder")
        _prepare(partial, stamp)
        _run(partial, tasks, make, jobs, report)
        rows = [json.loads((partial / _DONE / f"{number}.json").read_bytes()) for number in range(len(tasks))]
        finish(partial, rows)
        shutil.rmtree(partial / _DONE)
        write_json(partial / STAMP, stamp)
        (partial / ".lock").unlink()
        if out.exists():
            out.rmdir()
        os.replace(partial, out)


def _stamp_of(folder: Path) -> Any:
    try:
        return json.loads((folder / STAMP).read_bytes())
    except (OSError, ValueError):
        return None


def _prepare(partial: Path, stamp: dict[str, Any]) -> None:
    """Make the folder of unfinished work ready: keep it where it belongs to the same content, empty it otherwise."""
    marker = partial / _DONE / f"stamp-{canonical_hash(stamp)[:16]}"
    if marker.exists():
        return
    for entry in partial.iterdir():
        if entry.name != ".lock":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    marker.parent.mkdir()
    marker.touch()


def _run(partial: Path, tasks: Sequence[Any], make: Make, jobs: int, report: Callable[[int, int], None] | None) -> None:
    waiting = [number for number in range(len(tasks)) if not (partial / _DONE / f"{number}.json").exists()]
    done = len(tasks) - len(waiting)
    if jobs <= 1 or len(waiting) <= 1:
        for number in waiting:
            _one(partial, number, tasks[number], make)
            done += 1
            if report is not None:
                report(done, len(tasks))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(waiting)), mp_context=context, initializer=_settle) as pool:
        try:
            running: set[Future[None]] = set()
            while waiting or running:
                while waiting and len(running) < _AHEAD * jobs:
                    number = waiting.pop(0)
                    running.add(pool.submit(_one, partial, number, tasks[number], make))
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                    done += 1
                    if report is not None:
                        report(done, len(tasks))
        except BrokenProcessPool as error:
            raise BenchError(
                "a process of the simulation died, most likely for want of memory; run the same command again, with"
                " fewer --jobs"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _settle() -> None:
    """Prepare a worker process: one thread, Ctrl-C left to the parent, and no life without it."""
    parent = multiprocessing.parent_process()
    die_with_parent(None if parent is None else parent.pid)
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _one(partial: Path, number: int, task: Any, make: Make) -> None:
    rows = make(partial, task)
    write_json(partial / _DONE / f"{number}.json", rows)
