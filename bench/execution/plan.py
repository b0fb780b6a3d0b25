"""The plan of a run: what each cell needs, what is reused, what is missing. Imports no torch and decodes no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.core.errors import BenchError, MissingInputs
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Identity
from bench.execution.records import Record, StageStore, cell_folder, figures_drawn, finished_record
from bench.execution.task import get_task


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

    items: tuple[PlanItem, ...]
    missing: tuple[str, ...]
    blocked: tuple[Cell, ...] = ()


def make_plan(cells: Sequence[Cell], workspace: Workspace, force: bool = False) -> Plan:
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
    return Plan(tuple(_with_models(items, workspace)), tuple(missing), tuple(blocked))


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


def is_settled(item: PlanItem, figures: bool) -> bool:
    """Return whether nothing is left to do for a cell: its record stands and, where `figures` are wanted, they are
    drawn.
    """
    return item.record is not None and (not figures or figures_drawn(item.folder, item.record.fingerprint))


def verb(item: PlanItem) -> str:
    """Return what is to be done for a cell, in words."""
    if item.state == "done":
        return "pictures"
    if item.state == "train":
        return "resumes training" if item.resumes else "train, predict, score"
    return "predict, score" if item.state == "predict" else "score"
