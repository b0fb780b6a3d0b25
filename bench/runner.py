"""Plans and executes the graph of cells: what runs, what is reused, one spawned process per cell.

Owns order, reuse and failure collection. What a stage does is the task's; what it leaves behind is `records.py`'s. The process that
executes a cell is `bench.worker`; another executor calls the very same entry with the very same folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.config import Suite, validate
from bench.errors import BenchError, MissingInputs, NotSelected
from bench.records import (
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
from bench.store import write_json
from bench.task import Cell, Identity, Origin, Selection, get_task
from bench.workspace import Workspace

JOB = "job.json"
PACKAGE_PARENT = str(Path(__file__).resolve().parents[1])
EXIT_NO_FIGURES, EXIT_INTERRUPTED = 3, 130  # of the worker; 3: the record stands, a picture failed
INTERRUPT_GRACE_S = 3.0
DATA_STAGE = "data"  # where a worker fails when images cannot be read
STAGES = ("train", "predict", "score")


@dataclass(frozen=True)
class Settings:
    """Context of a run, chosen on the command line: it changes no result."""

    device: str = "cpu"
    threads: int = 1
    workers: int = 0
    figures: bool = True
    force: bool = False


@dataclass(frozen=True)
class PlanItem:
    """One cell of a plan: `state` is "done", or the first stage that has to run; `resumes` says that a checkpoint waits.

    `again` has everything computed anew, though it is finished: its model is wanted and was cleaned away.
    """

    cell: Cell
    identity: Identity
    folder: Path
    state: str
    resumes: bool = False
    again: bool = False
    record: Record | None = None
    expected_s: float | None = None


@dataclass(frozen=True)
class Plan:
    """The cells of a suite in execution order, and one message for each thing that is missing on disk."""

    suite: Suite
    items: tuple[PlanItem, ...]
    missing: tuple[str, ...]


@dataclass
class Outcome:
    """What a run came to: the records in board order, the failed ones, those without pictures, and whether the user interrupted it."""

    records: list[tuple[Path, Record]] = field(default_factory=list)
    failed: list[tuple[Path, Record]] = field(default_factory=list)
    undrawn: list[Path] = field(default_factory=list)
    interrupted: bool = False


def expand(suite: Suite, selection: Selection, tasks: Sequence[str], origin: Origin) -> list[Cell]:
    """Return the cells of the suite's sections for `tasks`, dependencies before dependants, each once.

    Raises:
        BenchError: a task without a section, an unknown name, an invalid section.
    """
    cells: list[Cell] = []
    refused: list[NotSelected] = []
    for name in _concerned(tasks, selection):
        task = get_task(name)
        if name not in suite.tasks:
            raise BenchError(f"suite {suite.name!r} has no section {name!r}; it has: {', '.join(suite.tasks)}")
        section = validate(task.Section, suite.tasks[name], f"{suite.name}: {name}")
        try:
            found = task.expand(suite, section, selection, origin)
        except NotSelected as error:  # a row of one task is unknown to the other
            refused.append(error)
            continue
        for cell in found:
            for wanted in (*cell.requires, cell):
                if wanted not in cells:
                    cells.append(wanted)
    if not cells and refused:
        raise refused[0]
    if not cells:
        raise BenchError("nothing to run: no cell is left after the selection")
    slots: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        other = slots.setdefault((cell.task, cell.slot), cell)
        if other != cell:
            raise BenchError(f"{other.describe()} and {cell.describe()} would share one place on the board; rename a label")
    return cells


def _concerned(tasks: Sequence[str], selection: Selection) -> list[str]:
    """Return the tasks that know every filter given: `--detector` leaves the matching section out.

    Raises:
        BenchError: no task knows one of them.
    """
    left = [name for name in tasks if set(selection.filters) <= set(get_task(name).filters)]
    if not left:
        strange = next(name for name in selection.filters if any(name not in get_task(task).filters for task in tasks))
        raise BenchError(f"--{strange} does not go with {' and '.join(tasks)}; it selects among the cells of another task")
    return left


def make_plan(suite: Suite, cells: Sequence[Cell], workspace: Workspace, force: bool = False) -> Plan:
    """Find out what each cell needs, without importing torch or decoding a patch.

    One exception: scenes with rejection criteria are decoded once, and the accepted windows kept in the cache.
    """
    items: list[PlanItem] = []
    missing: list[str] = []
    costs = _past_costs(workspace.runs)
    stores = {cell.task: StageStore(workspace.runs, cell.task) for cell in cells}
    for cell in cells:
        try:
            identity = get_task(cell.task).identify(cell, workspace)
        except MissingInputs as error:
            missing += [message for message in error.messages if message not in missing]
            continue
        items.append(_plan_item(cell, identity, workspace, stores[cell.task], costs, force))
    return Plan(suite, tuple(_with_models(items, workspace)), tuple(missing))


def _with_models(items: Sequence[PlanItem], workspace: Workspace) -> list[PlanItem]:
    """Train a finished cell once more where another has to start from its model and the model was cleaned away."""
    wanted = {required for item in items if item.state == "train" for required in item.identity.requires}
    stores = {task: StageStore(workspace.runs, task) for task, _ in wanted}
    out = []
    for item in items:
        required = (item.cell.task, item.identity.keys.train)
        if item.state != "train" and required in wanted and stores[required[0]].find("train", required[1], item.folder) is None:
            item = replace(item, state="train", again=True, record=None)
        out.append(item)
    return out


def _plan_item(cell: Cell, identity: Identity, workspace: Workspace, stages: StageStore, costs: dict[str, float], force: bool) -> PlanItem:
    folder = cell_folder(workspace.runs, cell, identity.keys)
    record = None if force else finished_record(folder, identity.keys)
    if record is not None:
        return PlanItem(cell, identity, folder, "done", record=record)
    state = "train" if force else stages.state(identity.keys, folder)
    resumes = not force and state == "train" and (folder / "checkpoints").is_dir()
    per_sample = costs.get(_cost_key(cell.spec))
    expected = None if per_sample is None or state != "train" else per_sample * identity.samples
    return PlanItem(cell, identity, folder, state, resumes, expected_s=expected)


def _cost_key(spec: Any) -> str:
    """Past cost is looked up by method and by the data set's options (patch size), whatever the split or the seed."""
    return json.dumps([spec.get("method"), spec.get("dataset", {}).get("options")], sort_keys=True)


def _past_costs(runs: Path) -> dict[str, float]:
    """Return the seconds per sample of every method seen, the median over its finished records."""
    seen: dict[str, list[float]] = {}
    for path in sorted(runs.glob(f"*/*/{RECORD}")):
        try:
            record = load_record(path)
        except BenchError:
            continue  # an estimate does without a damaged record; its own cell will tell
        samples = record.facts.get("samples_total")
        if record.status != "finished" or not samples:
            continue
        seconds = sum(stage.get("seconds", 0.0) for stage in record.cost.values())
        seen.setdefault(_cost_key(record.spec), []).append(seconds / samples)
    return {key: sorted(values)[len(values) // 2] for key, values in seen.items()}


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
            _run_item(item, workspace, settings, say, head, outcome, unreadable)
        except KeyboardInterrupt:
            outcome.interrupted = True
            say("interrupted; the same command resumes from the last checkpoint")
            break
    return outcome


def is_settled(item: PlanItem, figures: bool) -> bool:
    """Return whether nothing is left to do for a cell: its record stands and, where `figures` are wanted, they are drawn."""
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
    known = unreadable.get(item.identity.data_key)
    lost = _failed_requirement(item, outcome)
    if lost is not None and item.state == "train":
        record, drawn = _write_failure(item, lost), True
        say(f"{head}: not run, {lost.message}")
    elif known is not None and item.state != "score" and item.record is None:
        record, drawn = _write_failure(item, known), True
        say(f"{head}: not run, its data cannot be read (see above)")
    else:
        say(f"{head}: " + _verb(item))
        started = time.monotonic()
        record, drawn = _execute(item, workspace, settings)
        failure = record.failure
        if failure is None:
            say(f"{head}: done in {time.monotonic() - started:.0f} s")
        else:
            say(f"{head}: FAILED in {failure.stage}: {failure.message}")
            if failure.stage == DATA_STAGE and item.identity.data_key:
                unreadable[item.identity.data_key] = failure
    outcome.records.append((item.folder, relabel(record, item.cell)))
    if not drawn:
        outcome.undrawn.append(item.folder)
    if record.status == "failed":
        outcome.failed.append((item.folder, record))


def _failed_requirement(item: PlanItem, outcome: Outcome) -> Failure | None:
    """Return why a cell cannot start: the training it starts from failed in this run."""
    for _, record in outcome.failed:
        if (record.task, record.keys["train"]) in item.identity.requires:
            return Failure(stage="requires", message=f"the cell it starts from failed: {record.task} {record.slot}", traceback="")
    return None


def _verb(item: PlanItem) -> str:
    if item.state == "done":
        return "pictures"
    if item.state == "train":
        return "resumes training" if item.resumes else "train, predict, score"
    return "predict, score" if item.state == "predict" else "score"


def relabel(record: Record, cell: Cell) -> Record:
    """Return a record under the labels of the suite that asks: equal fingerprints may stand in several suites."""
    labels = {"suite": cell.suite, "dataset": cell.dataset, "method": cell.method, "names": dict(cell.names), "command": cell.command}
    return record.model_copy(update=labels)


def _execute(item: PlanItem, workspace: Workspace, settings: Settings) -> tuple[Record, bool]:
    """Run one cell in a fresh process; return its record and whether its pictures were drawn.

    A process that dies leaves a failed record.
    """
    item.folder.mkdir(parents=True, exist_ok=True)
    settings = replace(settings, force=settings.force or item.again)
    write_json(item.folder / JOB, job_to_json(item.cell, item.identity, workspace, settings))
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings.threads), "MKL_NUM_THREADS": str(settings.threads)}
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait cost a shared machine several times the work
    environment["PYTHONPATH"] = os.pathsep.join(path for path in (PACKAGE_PARENT, os.environ.get("PYTHONPATH")) if path)
    process = subprocess.Popen([sys.executable, "-m", "bench.worker", str(item.folder)], env=environment)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _interrupt(process)
        raise
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    path = item.folder / RECORD
    record = load_record(path) if path.is_file() else None
    if record is not None and record.fingerprint == item.identity.keys.score:
        if code in (0, 1, EXIT_NO_FIGURES):
            return record, code != EXIT_NO_FIGURES
        if record.status == "finished":  # it died over the pictures, or while another process finished the cell
            return record, False
    cause = f"was killed by signal {-code} (out of memory?)" if code < 0 else f"ended with exit code {code}"
    failure = Failure(stage="worker", message=f"the worker process {cause}; see log.txt in its folder", traceback="")
    return _write_failure(item, failure), True


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Wait for an interrupted worker. A terminal sends Ctrl-C to it too; a bare signal to the runner alone is passed on."""
    try:
        process.wait(timeout=INTERRUPT_GRACE_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait()


def _write_failure(item: PlanItem, failure: Failure) -> Record:
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
