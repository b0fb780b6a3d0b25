"""The process that executes one cell: `python -m bench.worker CELL_FOLDER`.

Owns the order of the stages, the one boundary at which any exception becomes a failed record, the log file, and the
lock that keeps two processes off one cell. The runner starts it locally; a cluster job starts the very same command.
Started N times by a launcher such as torchrun, rank 0 is this worker, and the others help it to train
(`bench.training.ranks`).
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.core.context import ExecutionContext
from bench.core.errors import BenchError, reason_line
from bench.core.plugins import import_plugins
from bench.core.progress import Progress
from bench.core.provenance import git_state, hardware, peak_memory_bytes, versions
from bench.core.store import folder_lock, read_json, remove_stale, save_arrays, write_json, write_text
from bench.execution.cell import Identity
from bench.execution.job import DATA_STAGE, EXIT_INTERRUPTED, EXIT_NO_FIGURES, EXIT_NOTHING, JOB, JobFile, read_job
from bench.execution.records import (
    DRAWN,
    FIGURES,
    PREDICT,
    RECORD,
    SCORES,
    STAGE_FILES,
    TRAIN,
    Failure,
    StageStore,
    figures_drawn,
    finished_record,
    load_record,
    new_record,
    write_stage,
)
from bench.execution.task import Job, Scores, Task, get_task
from bench.training.ranks import RankFailure, ReleasedError, World, is_lost_connection, world_from_environment


def main(folder: Path) -> int:
    """Execute the cell described in `folder/job.json`; return the exit code.

    0 finished, 1 failed, EXIT_NO_FIGURES finished but without pictures, EXIT_INTERRUPTED. 2: one line on stderr says
    which file cannot be read or written, and nothing is recorded.
    """
    return run_cell(folder, world_from_environment)


def run_cell(folder: Path, find_world: Callable[[], World | None] = lambda: None) -> int:
    """As `main`, in whatever process; `find_world` returns the processes that train the cell together."""
    log = _logger(folder / "log.txt")
    started = time.time()
    world = None
    try:
        world = find_world()
        if world is not None and not world.leads:
            return _follow(folder, world)
        with folder_lock(folder, wait=False) as free:
            if free:
                return _execute(folder, log, world)
        log("another process works on this cell; waiting for it")
        print("another process works on this cell; waiting for it", file=sys.stderr, flush=True)
        with folder_lock(folder):
            return _execute(folder, log, world, waiting_since=started)
    except KeyboardInterrupt:
        log("interrupted")
        if world is not None:
            world.fail("interrupted", "")
        return EXIT_INTERRUPTED
    except BenchError as error:
        log(str(error))
        print(f"bench.worker: error: {error}", file=sys.stderr, flush=True)
        return EXIT_NOTHING
    finally:
        if world is not None and world.leads:
            world.close()


def _follow(folder: Path, world: World) -> int:
    """Take part in the trainings of rank 0, as a rank that writes nothing; return the exit code.

    The same stage runs as in rank 0, up to the end of the training, with a temporary folder in place of the cell's.
    """
    try:
        if not world.awaits_training():
            return 0
        job_file = read_job(folder / JOB)
        cell = job_file.cell
        import_plugins(cell.origin.plugins, cell.origin.folder)
        with tempfile.TemporaryDirectory(prefix="bench-rank-") as scratch:
            job = _make_job(Path(scratch), job_file, lambda line: None, world)
            get_task(cell.task).train(job)
    except ReleasedError:
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:  # becomes the cell's status, in the record that rank 0 writes
        if not world.fail(reason_line(error), traceback.format_exc()):
            print(f"bench.worker: rank {world.rank} failed: {reason_line(error)}", file=sys.stderr, flush=True)
        return 1
    finally:
        world.leave()
    return 0


def _execute(folder: Path, log: Callable[[str], None], world: World | None, waiting_since: float | None = None) -> int:
    """Execute the cell whose folder is locked; `waiting_since` says that another process has just left it.

    Raises:
        BenchError: the job, the record or the failure cannot be read or written.
    """
    job_file = read_job(folder / JOB)
    cell, identity, settings = job_file.cell, job_file.identity, job_file.settings
    finished = not settings.force and finished_record(folder, identity.keys) is not None
    wants_figures = settings.figures and not (finished and figures_drawn(folder, identity.keys.score))
    if finished and not wants_figures:
        log("finished by another process meanwhile")
        return 0
    if waiting_since is not None and not settings.force and _just_failed(folder, identity, waiting_since):
        log("failed in another process meanwhile")
        return 1
    remove_stale(folder)
    stage = ["start"]

    def record_failure(message: str, text: str) -> None:
        private = _private_paths(job_file)
        message, text = without_paths(message, private), without_paths(text, private)
        failure = Failure(stage=stage[0], message=message, traceback=text)
        write_json(folder / RECORD, new_record(cell, identity, "failed", failure=failure).model_dump())

    def rank_failed(failure: RankFailure) -> None:
        log(f"rank {failure.rank} failed: {failure.message}\n{failure.traceback}")
        record_failure(f"rank {failure.rank}: {failure.message}", failure.traceback)

    try:
        if world is not None:
            world.on_failure(rank_failed)
        import_plugins(cell.origin.plugins, cell.origin.folder)
        if settings.force:
            _forget(folder)
        job = _make_job(folder, job_file, log, world)
        task = get_task(cell.task)
        if not finished:
            _run_stages(job, task, settings.force, stage)
        if wants_figures:
            stage[0] = "figures"
            _draw(job, task)
    except Exception as error:  # the one cell boundary: whatever a method throws becomes the cell's status
        text = traceback.format_exc()
        log(text)
        if stage[0] == "figures":  # the record stands: a picture that fails must not undo a measurement
            print(f"pictures of {cell.describe()} failed: {reason_line(error)}", file=sys.stderr)
            return EXIT_NO_FIGURES
        if world is None:
            record_failure(reason_line(error), text)
            return 1
        world.handles_failure()
        cause = None if isinstance(error, BenchError) else world.failure_of_another()
        if cause is not None:
            rank_failed(cause)
        else:
            record_failure(world.lost_message() if is_lost_connection(error) else reason_line(error), text)
        world.fail(reason_line(error), text)
        return 1
    return 0


def _just_failed(folder: Path, identity: Identity, since: float) -> bool:
    """Return whether another process has recorded the failure of this very cell since we began to wait: it is not
    computed twice.
    """
    path = folder / RECORD
    if not path.is_file() or path.stat().st_mtime < since:
        return False
    record = load_record(path)
    return record.status == "failed" and record.fingerprint == identity.keys.score


def _private_paths(job: JobFile) -> dict[str, str]:
    """Return the folders of this machine that a message may name, with what stands for each in a record."""
    data = [*map(str, job.workspace.roots.values()), *job.cell.origin.places.values()]
    data += [
        value
        for name, value in os.environ.items()
        if value and (name == "BENCH_DATA" or name.startswith("BENCH_ROOT_"))
    ]
    out = {path: "<data>" for path in data if Path(path).is_absolute()}
    out |= {
        os.environ.get("BENCH_CACHE", ""): "<cache>",
        str(job.workspace.runs): "<runs>",
        str(Path.cwd()): ".",
        str(Path.home()): "~",
    }
    return out | {
        sys.prefix: "<python>",
        sys.base_prefix: "<python>",
        str(Path(__file__).resolve().parents[2]): "<saropt-bench>",
    }


def without_paths(text: str, private: Mapping[str, str]) -> str:
    """Return `text` with the folders of this machine replaced: a record goes into a public repository."""
    for path in sorted(private, key=len, reverse=True):
        if len(path) > 1:
            text = text.replace(path, private[path])
    return text


def _make_job(folder: Path, file: JobFile, log: Callable[[str], None], world: World | None = None) -> Job:
    cell, settings, workspace = file.cell, file.settings, file.workspace.workspace()
    context = ExecutionContext(
        folder=folder,
        cache=workspace.cache,
        device=_device(settings.device, world),
        threads=settings.threads,
        workers=settings.workers,
        log=log,
        progress=Progress(log) if world is None or world.leads else Progress(None, io.StringIO()),
        world=world,
    )
    now = get_task(cell.task).identify(cell, workspace)
    if now.keys != file.identity.keys:
        raise BenchError("the data or the installed code changed since the run was planned; run the command again")
    return Job(cell, file.identity, folder, workspace, context)


def _device(name: str, world: World | None) -> str:
    """Return the device of this process: as requested; with several processes on CUDA, the one of its number on its
    machine.
    """
    if world is None or name == "cpu":
        return name
    if name != "cuda":
        raise BenchError(
            f"device {name!r} is one device, and there are {world.size} processes; use cuda, where each takes its own"
        )
    return f"cuda:{world.local_rank}"


def _run_stages(job: Job, task: Task, force: bool, stage: list[str]) -> None:
    """Run what is not finished yet: train, predict, score, then write the record. `stage` names the current one."""
    store = StageStore(job.workspace.runs, job.cell.task)
    keys = job.identity.keys
    state = "train" if force else store.state(keys, job.folder)
    if state != "score":
        stage[0] = DATA_STAGE
        task.prepare(job)
    work: dict[str, tuple[str, Callable[[Job], dict[str, Any]]]] = {
        "train": (keys.train, task.train),
        "predict": (keys.predict, task.predict),
    }
    for name, (key, action) in work.items():
        stage[0] = name
        source = None if force else store.find(name, key, job.folder, whole=state != "score")
        if source is not None:
            if source.resolve() != job.folder.resolve():
                job.context.log(f"{name}: reused from {source.name}")
                store.adopt(name, source, job.folder)
            continue
        started = time.monotonic()
        facts = action(job)
        world = job.context.world if name == "train" else None
        if world is not None:
            world.dismiss()
        cost = {
            "seconds": time.monotonic() - started,
            "peak_memory_bytes": peak_memory_bytes(),
            **facts.pop("cost", {}),
        }
        processes = world.size if world is not None and world.trainings else 1
        made_by = {"git": git_state(), "hardware": hardware(job.context.device, job.context.threads, processes)}
        write_stage(job.folder, name, key, {"facts": facts, "cost": cost, "made_by": made_by})
    shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
    stage[0] = "score"
    started = time.monotonic()
    scores = task.score(job.folder)
    _finish(job, scores, time.monotonic() - started)


def _draw(job: Job, task: Task) -> None:
    """Draw the pictures of a finished cell; say last which record they show."""
    for path in task.draw(job):
        job.context.log(f"wrote {path.relative_to(job.folder)}")
    write_text(job.folder / FIGURES / DRAWN, job.identity.keys.score + "\n")


def _finish(job: Job, scores: Scores, seconds: float) -> None:
    """Write the per-sample scores, then the record: its presence means that everything before it is complete."""
    save_arrays(job.folder / SCORES, dict(scores.samples))
    train, predict = read_json(job.folder / TRAIN), read_json(job.folder / PREDICT)
    cost = {
        "train": train["cost"],
        "predict": predict["cost"],
        "score": {"seconds": seconds, "peak_memory_bytes": peak_memory_bytes()},
    }
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


def _forget(folder: Path) -> None:
    """Remove what earlier runs left in a cell's folder (--force)."""
    for names in STAGE_FILES.values():
        for name in names:
            (folder / name).unlink(missing_ok=True)
    for name in (RECORD, SCORES):
        (folder / name).unlink(missing_ok=True)
    for name in ("checkpoints", FIGURES):
        shutil.rmtree(folder / name, ignore_errors=True)


def _logger(path: Path) -> Callable[[str], None]:
    def log(line: str) -> None:
        # a full disk must not hide what it was to report
        with suppress(OSError), open(path, "a", encoding="utf-8") as stream:
            stream.write(time.strftime("%Y-%m-%d %H:%M:%S ") + line.rstrip() + "\n")

    return log
