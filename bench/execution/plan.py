"""The plan of a run: what each cell needs, what is reused, what is missing. Imports no torch and decodes no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.core.errors import BenchError, MissingInputs
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Identity
from bench.execution.components import for_workers
from bench.execution.records import Record, StageStore, cell_folder, figures_drawn, finished_record
from bench.execution.task import get_task

STATES = {
    "done": "finished",
    "train": "train, predict, score",
    "predict": "reuse training; predict, score",
    "score": "reuse predictions; score",
}
UNTRAINED = "predict, score"
MODEL_GONE, PREDICTIONS_GONE = "model", "predictions"
BLOCKED, UNREADABLE = "something is missing, see below", "its record cannot be read, see below"


@dataclass(frozen=True)
class PlanItem:
    """One cell of a plan: `state` is "done", or the first stage that has to run; `resumes` says that a checkpoint
    waits.

    `again` has everything computed anew, though it is finished, and says why: what of it is wanted and was cleaned
    away, its "model" or its "predictions". `problem` says that its record cannot be read: the cell fails, and its files
    stay as they are. `trains`: its method learns; the stage "train" of another one trains nothing.
    """

    cell: Cell
    identity: Identity
    folder: Path
    state: str
    resumes: bool = False
    again: str = ""
    record: Record | None = None
    problem: str = ""
    trains: bool = True

    @property
    def training(self) -> bool:
        """Whether a training has to run."""
        return self.trains and self.state == "train"

    @property
    def action(self) -> str:
        """What will be done with the cell, in words."""
        if self.problem:
            return UNREADABLE
        if self.again:
            gone = f"its {self.again} {'was' if self.again == MODEL_GONE else 'were'} cleaned away"
            return f"train again: {gone}" if self.trains else f"{UNTRAINED} again: {gone}"
        if self.resumes:
            return "resumes from its last checkpoint"
        return STATES[self.state] if self.training or self.state != "train" else UNTRAINED


@dataclass(frozen=True, repr=False)
class Plan:
    """The cells of a suite in execution order, what each of them needs, and one message for each thing that is missing
    on disk; a cell that misses something has no item. The repr lists all of that.
    """

    cells: tuple[Cell, ...]
    items: tuple[PlanItem, ...]
    missing: tuple[str, ...]

    @property
    def states(self) -> list[tuple[Cell, PlanItem | None]]:
        """Every cell with its item, None where something is missing."""
        items = {(item.cell.task, item.cell.slot): item for item in self.items}
        return [(cell, items.get((cell.task, cell.slot))) for cell in self.cells]

    @property
    def pending(self) -> tuple[PlanItem, ...]:
        """The cells of which something has to be computed."""
        return tuple(item for item in self.items if item.state != "done")

    def __repr__(self) -> str:
        done, blocked = len(self.items) - len(self.pending), len(self.cells) - len(self.items)
        head = f"Plan of {len(self.cells)} cell{'' if len(self.cells) == 1 else 's'}: "
        head += f"{done} finished, {len(self.pending)} to run" + (f", {blocked} miss something" if blocked else "")
        names = [f"{cell.task} {cell.describe()}" for cell in self.cells]
        lines, width = [head], max(map(len, names), default=0)
        for name, (_, item) in zip(names, self.states, strict=True):
            key, action = ("-", BLOCKED) if item is None else (item.identity.keys.score[:12], item.action)
            lines.append(f"  {name.ljust(width)}  {key.ljust(12)}  {action}")
        lines += [f"missing: {message}" for message in self.missing]
        return "\n".join([*lines, *(f"PROBLEM {item.problem}" for item in self.items if item.problem)])


def make_plan(cells: Sequence[Cell], workspace: Workspace, force: bool = False, in_process: bool = False) -> Plan:
    """Find out what each cell needs, without importing torch or decoding a patch.

    One exception: scenes with rejection criteria are decoded once, and the accepted windows kept in the cache.

    Args:
        force: plan to compute again what is finished.
        in_process: the cells will run in this process; otherwise a cell whose classes no worker sees misses something.
    """
    items: list[PlanItem] = []
    missing: dict[str, None] = {}
    stores = {cell.task: StageStore(workspace.runs, cell.task) for cell in cells}
    for cell in cells:
        try:
            cell = cell if in_process else for_workers(cell)
            identity = get_task(cell.task).identify(cell, workspace)
        except MissingInputs as error:
            missing |= dict.fromkeys(error.messages)
            continue
        items.append(_plan_item(cell, identity, workspace, stores[cell.task], force))
    return Plan(tuple(cells), tuple(_with_models(items, workspace)), tuple(missing))


def _with_models(items: Sequence[PlanItem], workspace: Workspace) -> list[PlanItem]:
    """Compute a finished cell once more where another has to start from its model, or is made of its predictions, and
    these were cleaned away.
    """
    wanted: set[tuple[str, str, str]] = set()  # stage, task, key
    stores = {task: StageStore(workspace.runs, task) for task in {item.cell.task for item in items}}
    out = []
    for item in reversed(items):  # dependants first: what is computed again may need what its own cells left
        task, keys = item.cell.task, item.identity.keys
        for stage, key, gone in (("train", keys.train, MODEL_GONE), ("predict", keys.predict, PREDICTIONS_GONE)):
            settled = item.state in ("done", "score") or (stage, item.state) == ("train", "predict")
            if settled and (stage, task, key) in wanted and stores[task].find(stage, key, item.folder) is None:
                item = replace(item, state="train", again=gone, record=None)
        if item.identity.reads:
            wanted |= {("predict", *read) for read in item.identity.reads if item.state in ("train", "predict")}
        elif item.state == "train":
            wanted |= {("train", *required) for required in item.identity.requires}
        out.append(item)
    return out[::-1]


def _plan_item(cell: Cell, identity: Identity, workspace: Workspace, stages: StageStore, force: bool) -> PlanItem:
    folder, trains = cell_folder(workspace.runs, cell, identity.keys), get_task(cell.task).trains(cell)
    try:
        record = None if force else finished_record(folder, identity.keys)
    except BenchError as error:
        return PlanItem(cell, identity, folder, stages.state(identity.keys, folder), problem=str(error), trains=trains)
    if record is not None:
        return PlanItem(cell, identity, folder, "done", record=record, trains=trains)
    state = "train" if force else stages.state(identity.keys, folder)
    resumes = not force and state == "train" and (folder / "checkpoints").is_dir()
    return PlanItem(cell, identity, folder, state, resumes, trains=trains)


def is_settled(item: PlanItem, figures: bool) -> bool:
    """Return whether nothing is left to do for a cell: its record stands and, where `figures` are wanted, they are
    drawn.
    """
    return item.record is not None and (not figures or figures_drawn(item.folder, item.record.fingerprint))


def verb(item: PlanItem) -> str:
    """Return what is to be done for a cell, in words."""
    if item.state == "done":
        return "pictures"
    if item.training:
        return "resumes training" if item.resumes else STATES["train"]
    return "score" if item.state == "score" else UNTRAINED
