"""Executes a plan: one spawned process per cell, in order; a failure costs its cell alone and is collected.

What a stage does is the task's; what it leaves behind is `records.py`'s. The process that executes a cell is
`bench.worker`; another executor calls the very same entry with the very same folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.processes import EXIT_NO_MEMORY, STARTER
from bench.core.store import folder_lock, write_json
from bench.core.workspace import Workspace
from bench.execution.cell import Cell
from bench.execution.job import DATA_STAGE, EXIT_INTERRUPTED, EXIT_NO_FIGURES, JobFile, Settings
from bench.execution.launch import worker_command
from bench.execution.plan import Plan, PlanItem, is_settled, verb
from bench.execution.records import (
    RECORD,
    Failure,
    Record,
    figures_drawn,
    load_record,
    new_record,
)
from bench.execution.task import get_task
from bench.training.ranks import ANNOUNCED

PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
INTERRUPT_GRACE_S = 3.0
Run = Callable[[PlanItem, Workspace, Settings], int]


@dataclass
class Outcome:
    """What a run came to: the records in board order, the failed ones, those without pictures, and whether the user
    interrupted it.
    """

    records: list[tuple[Path, Record]] = field(default_factory=list)
    failed: list[tuple[Path, Record]] = field(default_factory=list)
    undrawn: list[Path] = field(default_factory=list)
    interrupted: bool = False


def run_plan(
    plan: Plan, workspace: Workspace, settings: Settings, say: Callable[[str], None], run: Run | None = None
) -> Outcome:
    """Execute every cell that is not done, one after the other; a failure costs that cell alone.

    Args:
        run: executes the cell of an item whose job is written, and returns the worker's exit code; a spawned process by
            default.
    """
    outcome = Outcome()
    run = run or spawn
    unreadable: dict[str, Failure] = {}  # data key -> what is wrong with the data: reported once, not once a cell
    for number, item in enumerate(plan.items, start=1):
        head = f"[{number}/{len(plan.items)}] {item.cell.describe()}"
        if is_settled(item, settings.figures) and item.record is not None:
            outcome.records.append((item.folder, relabel(item.record, item.cell)))
            continue
        try:
            if item.problem:
                raise BenchError(item.problem)
            _run_item(item, workspace, settings, say, head, outcome, unreadable, run)
        except BenchError as error:  # a file of this cell cannot be read or written: the others are not affected
            say(f"{head}: FAILED: {error}")
            record = relabel(told_failure(item, str(error)), item.cell)
            outcome.records.append((item.folder, record))
            outcome.failed.append((item.folder, record))
        except KeyboardInterrupt:
            outcome.interrupted = True
            say("interrupted; the same command resumes from the last checkpoint")
            break
    return outcome


def first_number(record: Record) -> str:
    """Return the number that the record's task compares rows by, as a tail of the line that says a cell is done; the
    tables come last.
    """
    name = get_task(record.task).headline
    value = record.metrics.get(name)
    return "" if value is None else f", {name} {value:.3f}"


def _run_item(
    item: PlanItem,
    workspace: Workspace,
    settings: Settings,
    say: Callable[[str], None],
    head: str,
    outcome: Outcome,
    unreadable: dict[str, Failure],
    run: Run,
) -> None:
    """Execute one cell and add what it came to to `outcome`."""
    refused = not_to_be_run(item, outcome, unreadable)
    if refused is not None:
        failure, why = refused
        record, drawn = write_failure(item, failure), True
        say(f"{head}: not run, {why}")
    else:
        say(f"{head}: " + verb(item))
        started = time.monotonic()
        record, drawn = _execute(item, workspace, settings, run)
        if record.failure is None:
            say(f"{head}: done in {time.monotonic() - started:.0f} s{first_number(record)}")
        else:
            tell_failure(record.failure, item, say, head, unreadable)
    outcome.records.append((item.folder, relabel(record, item.cell)))
    if not drawn:
        say(
            f"{head}: not all of its pictures could be drawn; the next run tries again (details: {item.folder}/log.txt)"
        )
        outcome.undrawn.append(item.folder)
    if record.status == "failed":
        outcome.failed.append((item.folder, record))


def not_to_be_run(item: PlanItem, outcome: Outcome, unreadable: Mapping[str, Failure]) -> tuple[Failure, str] | None:
    """Return why a cell cannot run, and that in words: the training it starts from, or a row that it is made of, failed
    in this run, or its data cannot be read.
    """
    identity = item.identity
    for _, record in outcome.failed if item.state in ("train", "predict") else ():
        fused = (record.task, record.keys["predict"]) in identity.reads
        started = item.state == "train" and (record.task, record.keys["train"]) in identity.requires
        if fused or started and not identity.reads:
            what = "a row that it fuses failed" if fused else "the cell it starts from failed"
            lost = Failure(stage="requires", message=f"{what}: {record.task} {record.slot}", traceback="")
            return lost, lost.message
    known = unreadable.get(item.identity.data_key)
    if known is not None and item.state != "score" and item.record is None:
        return known, "its data cannot be read (see above)"
    return None


def tell_failure(
    failure: Failure, item: PlanItem, say: Callable[[str], None], head: str, unreadable: dict[str, Failure]
) -> None:
    """Say how a cell failed, and note data that cannot be read: no other cell tries them again."""
    say(f"{head}: FAILED in {failure.stage}: {failure.message}")
    if failure.stage == DATA_STAGE and item.identity.data_key:
        unreadable[item.identity.data_key] = failure


def relabel(record: Record, cell: Cell) -> Record:
    """Return a record under the labels of the suite that asks: equal fingerprints may stand in several suites."""
    labels = {
        "suite": cell.suite,
        "dataset": cell.dataset,
        "method": cell.method,
        "names": dict(cell.origin.names),
        "command": cell.command,
    }
    return record.model_copy(update=labels)


def spawn(item: PlanItem, workspace: Workspace, settings: Settings) -> int:
    """Run one cell in a fresh process; return its exit code."""
    environment = {**os.environ, **worker_environment(workspace, settings)}
    for name in ANNOUNCED:  # whatever started this run: a worker is no rank of that
        environment.pop(name, None)
    environment[STARTER] = str(os.getpid())
    try:
        process = subprocess.Popen(worker_command(item.folder, processes_of(item, settings)), env=environment)
    except OSError as error:
        raise BenchError(
            f"cannot start a worker process: {error.strerror or error}; free memory or processes, then run again"
        ) from error
    try:
        return process.wait()
    except KeyboardInterrupt:
        _interrupt(process)
        raise


def _execute(item: PlanItem, workspace: Workspace, settings: Settings, run: Run) -> tuple[Record, bool]:
    """Run one cell; return its record, a failed one if its process died, and whether its pictures were drawn."""
    settings = prepare_job(item, workspace, settings)
    code = run(item, workspace, settings)
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if code in (0, 1, EXIT_NO_FIGURES):
        record = own_record(item)
        if record is not None:
            return record, code != EXIT_NO_FIGURES
    # whoever works on the cell meanwhile goes first: a finished one must not be made a failed one
    with folder_lock(item.folder):
        record = own_record(item)
        # it died over the pictures, or another process finished the cell
        if record is not None and record.status == "finished":
            return record, not settings.figures or figures_drawn(item.folder, record.fingerprint)
        cause = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with exit code {code}"
        cause = "had too little memory to start" if code == EXIT_NO_MEMORY else cause
        failure = Failure(
            stage="worker", message=f"the worker process {cause}; see log.txt in its folder", traceback=""
        )
        return write_failure(item, failure), True


def prepare_job(item: PlanItem, workspace: Workspace, settings: Settings) -> Settings:
    """Write what a worker on this machine or another needs to execute a cell; return the settings of its job."""
    settings = replace(settings, force=settings.force or bool(item.again))
    JobFile.of(item.cell, item.identity, workspace, settings).write(item.folder)
    return settings


def worker_environment(workspace: Workspace, settings: Settings) -> dict[str, str]:
    """Return the variables that a worker needs beside those of the machine it runs on."""
    environment = {"OMP_NUM_THREADS": str(settings.threads), "MKL_NUM_THREADS": str(settings.threads)}
    environment |= {name: value for name, value in workspace.env.items() if name.startswith("BENCH_")}
    # threads that spin while they wait cost a shared machine several times the work
    environment["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    environment["PYTHONPATH"] = os.pathsep.join(path for path in (PACKAGE_PARENT, os.environ.get("PYTHONPATH")) if path)
    return environment


def processes_of(item: PlanItem, settings: Settings) -> int:
    """Return how many processes a cell gets: those that were requested where it trains a network, else one."""
    method = item.cell.spec["method"]
    trains = item.state == "train" and (method.get("backbone") is not None or "epochs" in method.get("options", {}))
    return settings.processes if trains else 1


def own_record(item: PlanItem) -> Record | None:
    """Return the record in a cell's folder when it is of these keys. Raises BenchError when it is damaged."""
    path = item.folder / RECORD
    record = load_record(path) if path.is_file() else None
    return record if record is not None and record.fingerprint == item.identity.keys.score else None


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Wait for an interrupted worker. A terminal sends Ctrl-C to it too; a bare signal to the runner alone is passed
    on.
    """
    try:
        process.wait(timeout=INTERRUPT_GRACE_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait()


def told_failure(item: PlanItem, message: str) -> Record:
    """Return the failed record of a cell whose own files are the trouble: for the board, so without the folder's path;
    not for the disk.
    """
    for folder in (item.folder.resolve(), item.folder):
        message = message.replace(str(folder), item.folder.name)
    return new_record(item.cell, item.identity, "failed", failure=Failure(stage="files", message=message, traceback=""))


def write_failure(item: PlanItem, failure: Failure) -> Record:
    """Write and return the failed record of a cell."""
    record = new_record(item.cell, item.identity, "failed", failure=failure)
    write_json(item.folder / RECORD, record.model_dump())
    return record
