"""Plans and executes the graph of cells: what runs, what is reused, one spawned process per cell.

Owns order, reuse and failure collection. What a stage does is the task's; what it leaves behind is `records.py`'s. The
process that executes a cell is `bench.worker`; another executor calls the very same entry with the very same folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, MissingInputs
from bench.core.store import folder_lock, write_json
from bench.core.workspace import Workspace
from bench.execution.launch import worker_command
from bench.execution.records import (
    RECORD,
    Failure,
    Record,
    StageStore,
    cell_folder,
    figures_drawn,
    finished_record,
    load_record,
    new_record,
)
from bench.execution.task import Cell, Identity, get_task
from bench.suite.config import Suite
from bench.training.ranks import ANNOUNCED

JOB = "job.json"
PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
EXIT_NOTHING, EXIT_NO_FIGURES, EXIT_INTERRUPTED = (
    2,
    3,
    130,
)  # of the worker; 2: nothing recorded; 3: the record stands, a picture failed
INTERRUPT_GRACE_S = 3.0
DATA_STAGE = "data"  # where a worker fails when images cannot be read
STAGES = ("train", "predict", "score")


@dataclass(frozen=True)
class Settings:
    """Context of a run, chosen on the command line: it changes no result. `processes` train one cell together, with
    `threads` each.
    """

    device: str = "cpu"
    threads: int = 1
    workers: int = 0
    figures: bool = True
    force: bool = False
    processes: int = 1


@dataclass(frozen=True)
class PlanItem:
    """One cell of a plan: `state` is "done", or the first stage that has to run; `resumes` says that a checkpoint
    waits.

    `again` has everything computed anew, though it is finished: its model is wanted and was cleaned away. `problem`
    says that its record cannot be read: the cell fails, and its files stay as they are.
    """

    cell: Cell
    identity: Identity
    folder: Path
    state: str
    resumes: bool = False
    again: bool = False
    record: Record | None = None
    problem: str = ""


@dataclass(frozen=True)
class Plan:
    """The cells of a suite in execution order, one message for each thing that is missing on disk, and the cells that
    miss something.
    """

    suite: Suite
    items: tuple[PlanItem, ...]
    missing: tuple[str, ...]
    blocked: tuple[Cell, ...] = ()


@dataclass
class Outcome:
    """What a run came to: the records in board order, the failed ones, those without pictures, and whether the user
    interrupted it.
    """

    records: list[tuple[Path, Record]] = field(default_factory=list)
    failed: list[tuple[Path, Record]] = field(default_factory=list)
    undrawn: list[Path] = field(default_factory=list)
    interrupted: bool = False


def make_plan(suite: Suite, cells: Sequence[Cell], workspace: Workspace, force: bool = False) -> Plan:
    """Find out what each cell needs, without importing torch or decoding a patch.

    One exception: scenes with rejection criteria are decoded once, and the accepted windows kept in the cache.
    """
    items: list[PlanItem] = []
    missing: list[str] = []
    blocked: list[Cell] = []
    stores = {cell.task: StageStore(workspace.runs, cell.task) for cell in cells}
    for cell in cells:
        try:
            identity = get_task(cell.task).identify(cell, workspace)
        except MissingInputs as error:
            missing += [message for message in error.messages if message not in missing]
            blocked.append(cell)
            continue
        items.append(_plan_item(cell, identity, workspace, stores[cell.task], force))
    return Plan(suite, tuple(_with_models(items, workspace)), tuple(missing), tuple(blocked))


def _with_models(items: Sequence[PlanItem], workspace: Workspace) -> list[PlanItem]:
    """Train a finished cell once more where another has to start from its model and the model was cleaned away."""
    wanted = {required for item in items if item.state == "train" for required in item.identity.requires}
    stores = {task: StageStore(workspace.runs, task) for task, _ in wanted}
    out = []
    for item in items:
        required = (item.cell.task, item.identity.keys.train)
        if (
            item.state != "train"
            and required in wanted
            and stores[required[0]].find("train", required[1], item.folder) is None
        ):
            item = replace(item, state="train", again=True, record=None)
        out.append(item)
    return out


def _plan_item(cell: Cell, identity: Identity, workspace: Workspace, stages: StageStore, force: bool) -> PlanItem:
    folder = cell_folder(workspace.runs, cell, identity.keys)
    try:
        record = None if force else finished_record(folder, identity.keys)
    except BenchError as error:
        return PlanItem(cell, identity, folder, stages.state(identity.keys, folder), problem=str(error))
    if record is not None:
        return PlanItem(cell, identity, folder, "done", record=record)
    state = "train" if force else stages.state(identity.keys, folder)
    resumes = not force and state == "train" and (folder / "checkpoints").is_dir()
    return PlanItem(cell, identity, folder, state, resumes)


def run_plan(plan: Plan, workspace: Workspace, settings: Settings, say: Callable[[str], None]) -> Outcome:
    """Execute every cell that is not done, one spawned process each; a failure costs that cell alone."""
    outcome = Outcome()
    unreadable: dict[str, Failure] = {}  # data key -> what is wrong with the data: told once, not once a cell
    for number, item in enumerate(plan.items, start=1):
        head = f"[{number}/{len(plan.items)}] {item.cell.describe()}"
        if is_settled(item, settings.figures) and item.record is not None:
            outcome.records.append((item.folder, relabel(item.record, item.cell)))
            continue
        try:
            if item.problem:
                raise BenchError(item.problem)
            _run_item(item, workspace, settings, say, head, outcome, unreadable)
        except BenchError as error:  # a file of this cell cannot be read or written: the others do not care
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


def is_settled(item: PlanItem, figures: bool) -> bool:
    """Return whether nothing is left to do for a cell: its record stands and, where `figures` are wanted, they are
    drawn.
    """
    return item.record is not None and (not figures or figures_drawn(item.folder, item.record.fingerprint))


def _run_item(
    item: PlanItem,
    workspace: Workspace,
    settings: Settings,
    say: Callable[[str], None],
    head: str,
    outcome: Outcome,
    unreadable: dict[str, Failure],
) -> None:
    """Execute one cell and add what it came to to `outcome`."""
    hopeless = not_to_be_run(item, outcome, unreadable)
    if hopeless is not None:
        failure, why = hopeless
        record, drawn = write_failure(item, failure), True
        say(f"{head}: not run, {why}")
    else:
        say(f"{head}: " + verb(item))
        started = time.monotonic()
        record, drawn = _execute(item, workspace, settings)
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
    """Return why a cell cannot run, and that in words: the training it starts from failed in this run, or its data
    cannot be read.
    """
    for _, record in outcome.failed:
        if item.state == "train" and (record.task, record.keys["train"]) in item.identity.requires:
            lost = Failure(
                stage="requires", message=f"the cell it starts from failed: {record.task} {record.slot}", traceback=""
            )
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


def verb(item: PlanItem) -> str:
    """Return what is to be done for a cell, in words."""
    if item.state == "done":
        return "pictures"
    if item.state == "train":
        return "resumes training" if item.resumes else "train, predict, score"
    return "predict, score" if item.state == "predict" else "score"


def relabel(record: Record, cell: Cell) -> Record:
    """Return a record under the labels of the suite that asks: equal fingerprints may stand in several suites."""
    labels = {
        "suite": cell.suite,
        "dataset": cell.dataset,
        "method": cell.method,
        "names": dict(cell.names),
        "command": cell.command,
    }
    return record.model_copy(update=labels)


def _execute(item: PlanItem, workspace: Workspace, settings: Settings) -> tuple[Record, bool]:
    """Run one cell in a fresh process; return its record and whether its pictures were drawn.

    A process that dies leaves a failed record.
    """
    settings = prepare_job(item, workspace, settings)
    environment = {**os.environ, **worker_environment(workspace, settings)}
    for name in ANNOUNCED:  # whatever started this run: a worker is no rank of that
        environment.pop(name, None)
    try:
        process = subprocess.Popen(worker_command(item.folder, processes_of(item, settings)), env=environment)
    except OSError as error:
        raise BenchError(
            f"cannot start a worker process: {error.strerror or error}; free memory or processes, then run again"
        ) from error
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _interrupt(process)
        raise
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if code in (0, 1, EXIT_NO_FIGURES):
        record = own_record(item)
        if record is not None:
            return record, code != EXIT_NO_FIGURES
    with folder_lock(
        item.folder
    ):  # whoever works on the cell meanwhile goes first: a finished one must not be made a failed one
        record = own_record(item)
        if (
            record is not None and record.status == "finished"
        ):  # it died over the pictures, or another process finished the cell
            return record, not settings.figures or figures_drawn(item.folder, record.fingerprint)
        cause = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with exit code {code}"
        failure = Failure(
            stage="worker", message=f"the worker process {cause}; see log.txt in its folder", traceback=""
        )
        return write_failure(item, failure), True


def prepare_job(item: PlanItem, workspace: Workspace, settings: Settings) -> Settings:
    """Write what a worker on this machine or another needs to execute a cell; return the settings of its job."""
    settings = replace(settings, force=settings.force or item.again)
    write_json(item.folder / JOB, job_to_json(item.cell, item.identity, workspace, settings))
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
    """Return how many processes a cell gets: those that were asked for where it trains a network, else one."""
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


def job_to_json(cell: Cell, identity: Identity, workspace: Workspace, settings: Settings) -> dict[str, Any]:
    """Return a job as JSON: all that a worker on this machine or another needs to execute the cell."""
    return {
        "cell": asdict(cell),
        "identity": {
            "keys": asdict(identity.keys),
            "inputs": dict(identity.inputs),
            "samples": identity.samples,
            "requires": identity.requires,
        },
        "workspace": {
            "runs": str(workspace.runs.resolve()),
            "boards": str(workspace.boards.resolve()),
            "roots": {name: str(Path(root).resolve()) for name, root in workspace.roots.items()},
        },
        "settings": asdict(settings),
    }
