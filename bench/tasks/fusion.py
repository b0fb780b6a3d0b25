"""Fused rows: made of the stored predictions of other rows of the section, seed by seed; nothing is trained.

Owns what tasks share of them: which rows a fused one names and where it runs, what of its members stands in its inputs
and predict key, and where their predictions lie. How predictions are fused is the task's (`SectionTask.fuse`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, nearest
from bench.core.method import MethodOptions
from bench.core.validation import validate
from bench.data.manifest import file_sha256
from bench.execution.cell import Cell, Identity, Selection
from bench.execution.records import PREDICTIONS, Record, find_predictions
from bench.suite.expansion import MethodRow
from bench.suite.selection import allowed, select_blocks, with_folds

if TYPE_CHECKING:
    from bench.execution.task import Job
    from bench.suite.config import Suite
    from bench.tasks.base import SectionTask

FUSED = "fused"
"""Among a record's inputs: the members of a fused row, in their order."""
FUSED_FILES = "fused_predictions_sha256"
"""Among a record's facts: member -> SHA-256 of the predictions that the row was made of."""
SHOWN = 12  # digits of a hash in a message


class FusionOptions(MethodOptions):
    """Base of the options of a task's fusion: what stands under `fusion:` beside `of`."""

    def problem(self, members: int) -> str:
        """Return why the options do not fit so many members, "" where they do."""
        return ""


@dataclass(frozen=True)
class Member:
    """One of the rows that a fused one is made of: its label, and the folder with its predictions."""

    label: str
    folder: Path

    @property
    def predictions(self) -> Path:
        """The predictions file."""
        return self.folder / PREDICTIONS


# -- rows --------------------------------------------------------------------------------------------------------------
def fused_rows(
    task: SectionTask,
    suite: Suite,
    section: Any,
    label: str,
    names: Mapping[str, str],
    selection: Selection,
    path: tuple[str, ...] = (),
) -> list[MethodRow]:
    """Return the one row of a fused entry, with the rows that it is made of; none where a filter asks for rows of a
    pretraining.

    Args:
        names: the options of the command line that select it. path: the fused rows that lead to it.

    Raises:
        BenchError: fewer than two members, one twice, one that the section does not have, a row made of itself, no
            common data set or seed, options that do not fit.
    """
    where = f"{suite.name}: {task.name}.methods.{label}"
    if "none" not in selection.filters.get("pretrain", ("none",)):
        return []
    entry = section.methods[label]
    if label in path:
        raise BenchError(f"{where}: a row cannot be made of itself: {' <- '.join((*path[path.index(label) :], label))}")
    named, options = _written(entry.fusion, where)
    whole = replace(selection, filters={})
    members = tuple(_member(task, suite, section, name, whole, (*path, label), where) for name in named)
    check_blocks(section, entry.datasets, members, where)
    problem = validate(task.registry.get(getattr(entry, task.component)).Options, options, f"{where}.fusion").problem(
        len(members)
    )
    if problem:
        raise BenchError(f"{where}.fusion: {problem}")
    seeds = _seeds(entry.seeds, members, suite, where)
    row = task.row(label, entry.model_copy(update={"options": options, "seeds": seeds}), names, where, whole.smoke, {})
    return [replace(row, members=members)]


def _written(fusion: Mapping[str, Any], where: str) -> tuple[list[str], dict[str, Any]]:
    """Return the members that an entry names, and its options. Raises BenchError where these are not two different
    labels at least.
    """
    named = fusion.get("of")
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named) or len(named) < 2:
        raise BenchError(
            f"{where}.fusion.of: two or more labels of rows are needed, as in [cfog, dense]; got {named!r}"
        )
    twice = [name for name in named if named.count(name) > 1]
    if twice:
        raise BenchError(f"{where}.fusion.of: row {twice[0]!r} is named twice; name each member once")
    return list(named), {name: value for name, value in fusion.items() if name != "of"}


def _member(
    task: SectionTask, suite: Suite, section: Any, name: str, selection: Selection, path: tuple[str, ...], where: str
) -> MethodRow:
    """Return the row of the section called `name`: its label or, where an entry makes one row, the entry's."""
    for label, entry in section.methods.items():
        if name != label and not name.startswith(f"{label}/"):
            continue
        if entry.fusion is not None:
            rows = fused_rows(task, suite, section, label, {"method": label}, selection, path)
        else:
            place = f"{suite.name}: {task.name}.methods.{label}"
            rows = task.rows_of(label, entry, {"method": label}, place, selection)
        found = [row for row in rows if row.label == name] or (rows if name == label and len(rows) == 1 else [])
        if found:
            return found[0]
    raise BenchError(
        f"{where}.fusion.of: the {task.name} section has no row {name!r}{nearest(name, task.labels(section))}; members"
        " are rows of the same section"
    )


def check_blocks(section: Any, own: Sequence[str] | None, members: Sequence[MethodRow], where: str) -> None:
    """Raise BenchError where members have no data set with split in common, or one of them does not run where the row's
    own `datasets` say.
    """
    spread = {
        label: entry.model_copy(update={"splits": with_folds(entry.splits)})
        for label, entry in section.datasets.items()
    }
    blocks = select_blocks(spread, {})
    on = {row.label: [block.label for block in blocks if row.runs_on(block)] for row in members}
    if own is not None:
        for block in (block.label for block in blocks if allowed(own, block)):
            absent = next((label for label, found in on.items() if block not in found), None)
            if absent is not None:
                raise BenchError(
                    f"{where}.datasets: member {absent!r} does not run on {block}; it runs on"
                    f" {', '.join(on[absent]) or 'nothing'}"
                )
    if not set.intersection(*map(set, on.values())):
        shown = "; ".join(f"{label}: {', '.join(found) or 'nothing'}" for label, found in on.items())
        raise BenchError(f"{where}.fusion.of: the members share no data set with split ({shown})")


def _seeds(
    own: tuple[int, ...] | None, members: Sequence[MethodRow], suite: Suite, where: str
) -> tuple[int, ...] | None:
    """Return the seeds of a fused row: its own, else those that its seeded members share; None where none is seeded,
    since such members serve for every seed.
    """
    seeds = {row.label: row.method.seeds or suite.seeds for row in members if row.seeded}
    if not seeds:
        if own is not None:
            raise BenchError(f"{where}: seeds change nothing of this row, whose members run once; remove them")
        return None
    for label, has in seeds.items():
        foreign = [seed for seed in own or () if seed not in has]
        if foreign:
            raise BenchError(
                f"{where}.seeds: member {label!r} has no seed {foreign[0]}; it has {', '.join(map(str, has))}"
            )
    first, *others = seeds.values()
    shared = own or tuple(seed for seed in first if all(seed in other for other in others))
    if not shared:
        shown = "; ".join(f"{label}: {', '.join(map(str, has))}" for label, has in seeds.items())
        raise BenchError(f"{where}.fusion.of: the members share no seed ({shown})")
    return shared


# -- keys --------------------------------------------------------------------------------------------------------------
def members_stated(cell: Cell, sources: Sequence[Identity]) -> dict[str, Any]:
    """Return what the record of a fused cell says of its members; empty for any other cell."""
    if not cell.fused:
        return {}
    stated = [
        {
            "task": required.task,
            "row": required.method,
            "cell": required.describe(),
            "command": required.command,
            "train": source.keys.train,
            "predict": source.keys.predict,
            "score": source.keys.score,
        }
        for required, source in zip(cell.requires, sources, strict=True)
    ]
    return {FUSED: stated}


def members_keyed(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the members enters the predict key; empty for a cell that is not fused."""
    return {FUSED: [member["predict"] for member in inputs[FUSED]]} if FUSED in inputs else {}


def reads(cell: Cell, sources: Sequence[Identity]) -> tuple[tuple[str, str], ...]:
    """Return the predict keys of the cells whose predictions a cell is made of, by task."""
    pairs = zip(cell.requires, sources, strict=True) if cell.fused else ()
    return tuple((required.task, source.keys.predict) for required, source in pairs)


# -- stages ------------------------------------------------------------------------------------------------------------
def find_members(job: Job) -> list[Member]:
    """Return the members of a fused cell with their predictions. Raises BenchError where those of one are gone."""
    stated = zip(job.identity.inputs[FUSED], job.identity.reads, strict=True)
    return [Member(each["row"], find_predictions(job.workspace.runs, *read)) for each, read in stated]


def members_facts(members: Sequence[Member]) -> dict[str, Any]:
    """Return which predictions a row was made of, for its record: member -> SHA-256."""
    return {FUSED_FILES: {member.label: file_sha256(member.predictions, None) for member in members}}


def changed_members(record: Record, left: Sequence[str | None]) -> list[str]:
    """Return what is wrong where a member of a fused row has left other predictions since.

    Args:
        left: SHA-256 of what each member's record has left, None where that is unknown.
    """
    read = record.facts.get(FUSED_FILES) or {}
    rows = [member["row"] for member in record.inputs.get(FUSED) or []]
    return (
        [
            f"it was made of the predictions {read[row][:SHOWN]} of {row}, which has left {sha[:SHOWN]} since"
            for row, sha in zip(rows, left, strict=True)
            if sha and read.get(row) not in (None, sha)
        ]
        if rows
        else []
    )
