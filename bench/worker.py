"""The process that executes one cell: `python -m bench.worker CELL_FOLDER`.

Owns the order of the stages, the one boundary at which any exception becomes a failed record, the log file, and the lock that keeps two
processes off one cell. The runner starts it locally; a cluster job starts the very same command.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.config import import_plugins
from bench.context import ExecutionContext
from bench.errors import BenchError, first_line
from bench.progress import Progress
from bench.provenance import git_state, hardware, peak_memory_bytes, versions
from bench.records import (
    PREDICT,
    RECORD,
    SCORES,
    STAGE_FILES,
    TRAIN,
    Failure,
    StageStore,
    finished_record,
    new_record,
    stage_done,
    write_stage,
)
from bench.runner import EXIT_NO_FIGURES, JOB
from bench.store import atomic_write, folder_lock, read_json, write_json
from bench.task import Cell, Identity, Job, Keys, Scores, Task, get_task
from bench.workspace import Workspace


def main(folder: Path) -> int:
    """Execute the cell described in `folder/job.json`; return the exit code.

    0 finished, 1 failed, EXIT_NO_FIGURES finished but without pictures, 130 interrupted.
    """
    _die_with_parent()
    raw = read_json(folder / JOB)
    log = _logger(folder / "log.txt")
    try:
        with folder_lock(folder, wait=False) as free:
            if free:
                return _execute(folder, raw, log)
        log("another process works on this cell; waiting for it")
        with folder_lock(folder):
            return _execute(folder, raw, log)
    except KeyboardInterrupt:
        log("interrupted")
        return 130


def _execute(folder: Path, raw: dict[str, Any], log: Callable[[str], None]) -> int:
    settings = raw["settings"]
    cell = Cell(**{**raw["cell"], "plugins": tuple(raw["cell"]["plugins"]), "requires": ()})
    identity = Identity(Keys(**raw["identity"]["keys"]), raw["identity"]["inputs"], raw["identity"]["samples"])
    if not settings["force"] and finished_record(folder, identity.keys) is not None:
        log("finished by another process meanwhile")
        return 0
    stage = ["start"]
    try:
        import_plugins(cell.plugins, Path(cell.config_folder))
        if settings["force"]:
            _forget(folder)
        job = _make_job(folder, cell, identity, raw, log)
        _run_stages(job, get_task(cell.task), settings, stage)
    except Exception as error:  # the one cell boundary: whatever a method throws becomes the cell's status
        text = traceback.format_exc().replace(str(Path(__file__).resolve().parents[1]) + os.sep, "").replace(str(Path.home()), "~")
        log(text)
        if stage[0] == "figures":  # the record stands: a picture that fails must not undo a measurement
            print(f"pictures of {cell.describe()} failed: {first_line(error)}", file=sys.stderr)
            return EXIT_NO_FIGURES
        failure = Failure(stage=stage[0], message=first_line(error), traceback=text)
        write_json(folder / RECORD, new_record(cell, identity, "failed", failure=failure).model_dump())
        return 1
    return 0


def _make_job(folder: Path, cell: Cell, identity: Identity, raw: dict[str, Any], log: Callable[[str], None]) -> Job:
    places = raw["workspace"]
    workspace = Workspace(Path(places["runs"]), Path(places["boards"]), {k: Path(v) for k, v in places["roots"].items()})
    settings = raw["settings"]
    context = ExecutionContext(
        folder=folder,
        cache=workspace.cache,
        device=settings["device"],
        threads=settings["threads"],
        workers=settings["workers"],
        log=log,
        progress=Progress(log),
    )
    now = get_task(cell.task).identify(cell, workspace)
    if now.keys != identity.keys:
        raise BenchError("the data or the installed code changed since the run was planned; run the command again")
    return Job(cell, identity, folder, workspace, context)


def _run_stages(job: Job, task: Task, settings: dict[str, Any], stage: list[str]) -> None:
    """Run what is not finished yet: train, predict, score, then write the record, then draw. `stage` names the current one."""
    store = StageStore(job.workspace.runs, job.cell.task)
    keys = job.identity.keys
    work: dict[str, tuple[str, Callable[[Job], dict[str, Any]]]] = {
        "train": (keys.train, task.train),
        "predict": (keys.predict, task.predict),
    }
    for name, (key, action) in work.items():
        stage[0] = name
        if stage_done(job.folder, name, key):
            continue
        source = None if settings["force"] else store.find(name, key)
        if source is not None:
            job.context.log(f"{name}: reused from {source.name}")
            store.adopt(name, source, job.folder)
            continue
        started = time.monotonic()
        facts = action(job)
        cost = {"seconds": time.monotonic() - started, "peak_memory_bytes": peak_memory_bytes(), **facts.pop("cost", {})}
        made_by = {"git": git_state(), "hardware": hardware(job.context.device, job.context.threads)}
        write_stage(job.folder, name, key, {"facts": facts, "cost": cost, "made_by": made_by})
    shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
    stage[0] = "score"
    started = time.monotonic()
    scores = task.score(job.folder)
    _finish(job, scores, time.monotonic() - started)
    if settings["figures"]:
        stage[0] = "figures"
        for path in task.draw(job):
            job.context.log(f"wrote {path.relative_to(job.folder)}")


def _finish(job: Job, scores: Scores, seconds: float) -> None:
    """Write the per-sample scores, then the record: its presence means that everything before it is complete."""
    save_arrays(job.folder / SCORES, dict(scores.samples))
    train, predict = read_json(job.folder / TRAIN), read_json(job.folder / PREDICT)
    cost = {"train": train["cost"], "predict": predict["cost"], "score": {"seconds": seconds, "peak_memory_bytes": peak_memory_bytes()}}
    context = job.context
    outputs = {**train["facts"].pop("outputs", {}), **predict["facts"].pop("outputs", {})}
    record = new_record(
        job.cell,
        job.identity,
        "finished",
        metrics=dict(scores.metrics),
        facts={**train["facts"], **predict["facts"], **scores.facts, "samples_total": job.identity.samples},
        outputs=outputs,
        cost=cost,
        provenance={
            "git": git_state(),
            "versions": versions(),
            "hardware": hardware(context.device, context.threads),
            "trained_by": train["made_by"],
            "predicted_by": predict["made_by"],
        },
    )
    write_json(job.folder / RECORD, record.model_dump())
    context.log("finished " + job.cell.describe())


def save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write named arrays as a compressed .npz, atomically and byte-deterministically (NumPy stamps no time into it)."""
    import numpy as np

    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def _forget(folder: Path) -> None:
    """Remove what earlier runs left in a cell's folder (--force)."""
    for names in STAGE_FILES.values():
        for name in names:
            (folder / name).unlink(missing_ok=True)
    for name in (RECORD, SCORES):
        (folder / name).unlink(missing_ok=True)
    for name in ("checkpoints", "figures"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _logger(path: Path) -> Callable[[str], None]:
    def log(line: str) -> None:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(time.strftime("%Y-%m-%d %H:%M:%S ") + line.rstrip() + "\n")

    return log


def _die_with_parent() -> None:
    """Ask Linux to end this process when the runner dies, so that a killed run leaves no trainer behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
