"""A suite -> cells: asking each task for the cells of its section, and what the tasks share in that: choosing blocks,
restricting rows, and parting spec from places.

A block is one data set with one split. Labels and folders never enter a spec: a spec goes into keys and records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from bench.core.errors import BenchError, NotSelected, nearest
from bench.core.validation import validate
from bench.data.splits import SplitSpec
from bench.execution.cell import Cell, Origin, Selection
from bench.execution.task import Task, get_task
from bench.suite.config import Suite
from bench.suite.smoke import SMOKE_SEEDS

Filters = Mapping[str, tuple[str, ...]]
Row = tuple[str, str, str]  # of a board: task, data set with split, method


class Entry(Protocol):
    """What the entry of a data set looks like in every task's section."""

    @property
    def dataset(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def splits(self) -> dict[str, SplitSpec]: ...
    @property
    def root(self) -> str | None: ...


# -- the cells of a suite ----------------------------------------------------------------------------------------------
def expand(suite: Suite, selection: Selection, tasks: Sequence[str], origin: Origin) -> list[Cell]:
    """Return the cells of the suite's sections for `tasks`, dependencies before dependants, each once.

    Raises:
        BenchError: a task without a section, an unknown name, an invalid section.
    """
    cells: list[Cell] = []
    answers: list[_Answer] = []
    for name in _concerned(tasks, selection):
        task = get_task(name)
        if name not in suite.tasks:
            raise BenchError(f"suite {suite.name!r} has no section {name!r}; it has: {', '.join(suite.tasks)}")
        section = validate(task.Section, suite.tasks[name], f"{suite.name}: {name}")
        answers.append(_ask(task, suite, section, selection, origin))
        for cell in answers[-1].cells:
            for wanted in (*cell.requires, cell):
                if wanted not in cells:
                    cells.append(wanted)
    _check_filters(selection, answers)
    if not cells:
        raise BenchError(
            "; ".join(dict.fromkeys(str(each) for answer in answers for each in answer.refused)) or "nothing to run"
        )
    slots: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        other = slots.setdefault((cell.task, cell.slot), cell)
        if other != cell:
            raise BenchError(
                f"{other.describe()} and {cell.describe()} would share one place on the board; rename a label"
            )
    return cells


def board_order(suite: Suite, origin: Origin) -> tuple[Row, ...]:
    """Return the rows of the whole suite in board order, whatever is selected; of a section that cannot be expanded as
    a whole, none.
    """
    rows: dict[Row, None] = {}
    for name, words in suite.tasks.items():
        try:
            task = get_task(name)
            cells = task.expand(suite, validate(task.Section, words, f"{suite.name}: {name}"), Selection(), origin)
        except BenchError:  # its own cells say so when they are selected
            continue
        rows |= dict.fromkeys((cell.task, cell.dataset, cell.method) for cell in cells)
    return tuple(rows)


@dataclass
class _Answer:
    """What a task made of the selection: its cells, the values that it does not know; `complete`: it was asked for
    every value.
    """

    cells: list[Cell] = field(default_factory=list)
    refused: list[NotSelected] = field(default_factory=list)
    complete: bool = False


def _ask(task: Task, suite: Suite, section: Any, selection: Selection, origin: Origin) -> _Answer:
    """Expand one task's section without the values that it does not have: a row of one task is unknown to the other.

    A task that knows no value of a filter has no cell, and is still asked for the values of the other filters.
    """
    answer, excluded = _Answer(), False
    while True:
        try:
            cells = task.expand(suite, section, selection, origin)
        except NotSelected as error:
            answer.refused.append(error)
            if not error.unknown:
                return answer
            left = tuple(value for value in selection.filters[error.option] if value not in error.unknown)
            others = {name: values for name, values in selection.filters.items() if name != error.option}
            selection, excluded = (
                replace(selection, filters=others | ({error.option: left} if left else {})),
                excluded or not left,
            )
            continue
        except BenchError:
            if excluded:
                return answer
            raise
        return replace(answer, cells=[] if excluded else cells, complete=True)


def _check_filters(selection: Selection, answers: Sequence[_Answer]) -> None:
    """Raise BenchError, with the nearest over all tasks, where no task knows a value of a filter."""
    asked = [answer for answer in answers if answer.complete]
    for option, values in selection.filters.items():
        for value in values if asked else ():
            strange = [
                [error for error in answer.refused if error.option == option and value in error.unknown]
                for answer in asked
            ]
            if all(strange):
                known = {name for errors in strange for error in errors for name in error.known}
                raise BenchError(f"--{option} {value!r} is not in this suite{nearest(value, known)}")


def _concerned(tasks: Sequence[str], selection: Selection) -> list[str]:
    """Return the tasks that know every filter given: `--detector` leaves the matching section out.

    Raises:
        BenchError: no task knows one of them.
    """
    left = [name for name in tasks if set(selection.filters) <= set(get_task(name).filters)]
    if not left:
        strange = next(name for name in selection.filters if any(name not in get_task(task).filters for task in tasks))
        raise BenchError(
            f"--{strange} does not go with {' and '.join(tasks)}; it selects among the cells of another task"
        )
    return left


# -- the cells of a section --------------------------------------------------------------------------------------------
def select_blocks(datasets: Mapping[str, Any], filters: Filters) -> list[tuple[str, str, Any]]:
    """Return (data set label, split label, entry) for each block that passes --dataset and --split.

    Raises:
        BenchError: an unknown name (the nearest are listed), or nothing left.
    """
    blocks = [(label, split, entry) for label, entry in datasets.items() for split in entry.splits]
    if "dataset" in filters:
        known = {label for label, _, _ in blocks} | {entry.dataset for _, _, entry in blocks}
        check_known("dataset", filters["dataset"], known)
        blocks = [b for b in blocks if {b[0], b[2].dataset} & set(filters["dataset"])]
    if "split" in filters:
        names = {b[:2]: split_names(b[1], b[2].splits[b[1]]) for b in blocks}
        check_known("split", filters["split"], set().union(*names.values()))
        blocks = [b for b in blocks if names[b[:2]] & set(filters["split"])]
    if not blocks:
        raise NotSelected(f"no data set of the suite fits {shown(filters)}; it has: {', '.join(datasets)}")
    return blocks


def check_restriction(task: str, label: str, names: Sequence[str] | None, datasets: Mapping[str, Any]) -> None:
    """Raise BenchError where a row's `datasets` names a block that the section does not have."""
    splits = [(data, split, entry.splits[split]) for data, entry in datasets.items() for split in entry.splits]
    known = {
        *datasets,
        *(f"{data}/{name}" for data, split, spec in splits for name in split_names(split, spec) - {spec.kind}),
    }
    for name in names or ():
        if name not in known:
            raise BenchError(f"{task}.methods.{label}.datasets: unknown data set {name!r}{nearest(name, known)}")


def allowed(names: Sequence[str] | None, data_label: str, split_label: str, spec: SplitSpec) -> bool:
    """Return whether a row restricted to `names` runs on a block; None restricts nothing."""
    return names is None or bool(
        {data_label, *(f"{data_label}/{name}" for name in split_names(split_label, spec))} & set(names)
    )


def with_folds(splits: Mapping[str, SplitSpec]) -> dict[str, SplitSpec]:
    """Return the splits with each that leaves its fold open written out: "cv" of three folds as "cv-1of3", "cv-2of3",
    "cv-3of3".
    """
    out = {}
    for label, spec in splits.items():
        if spec.kind == "folds" and spec.fold is None:
            for fold in range(spec.folds or 0):
                out[f"{label}-{fold + 1}of{spec.folds}"] = spec.model_copy(update={"fold": fold})
        else:
            out[label] = spec
    return out


def fold_of(label: str) -> tuple[str, int] | None:
    """Return ("cv", 0) of "cv-1of3", None of a split that is no written-out fold."""
    found = re.fullmatch(r"(.+)-(\d+)of(\d+)", label)
    return (found[1], int(found[2]) - 1) if found else None


def split_names(label: str, spec: SplitSpec) -> set[str]:
    """Return what a split is selected by: its label, its kind, and of a fold the label of all folds."""
    fold = fold_of(label) if spec.kind == "folds" else None
    return {label, spec.kind} | ({fold[0]} if fold else set())


def check_known(kind: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    """Raise NotSelected, with the nearest names, where a filter names what the section does not have."""
    known = set(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise NotSelected(
            f"--{kind} {unknown[0]!r} is not in this suite{nearest(unknown[0], known)}", kind, unknown, known
        )


def check_reference(task: str, label: str | None, rows: Iterable[str]) -> None:
    """Raise BenchError, with the nearest rows, where a section's `reference` is none of its rows."""
    rows = list(rows)
    if label is not None and label not in rows:
        raise BenchError(f"{task}.reference: the section has no row {label!r}{nearest(label, rows)}")


def chosen_seeds(own: tuple[int, ...] | None, suite: Suite, selection: Selection) -> tuple[int, ...]:
    """Return the seeds of a row: the command line's, else its own, else the suite's; of these a smoke run takes the
    first two.
    """
    if selection.seeds is not None:
        return selection.seeds
    seeds = own or suite.seeds
    return seeds[:SMOKE_SEEDS] if selection.smoke else seeds


def shown(filters: Filters) -> str:
    """Return the filters as the user wrote them."""
    return " ".join(f"--{name} {' '.join(values)}" for name, values in filters.items())


def split_spec(spec: SplitSpec) -> dict[str, Any]:
    """Return the spec of a split; of a split file only the bare name, since its content is hashed."""
    values = spec.model_dump(mode="json")
    return values if values["path"] is None else {**values, "path": Path(values["path"]).name}


def bare(option: Any) -> Any:
    """Return a data set's option as it is, of an absolute path only the name: the manifest has what it holds."""
    return Path(option).name if isinstance(option, str) and Path(option).is_absolute() else option


def places_of(entry: Entry, split: SplitSpec, folder: Path, **named: str | None) -> dict[str, str]:
    """Return the files and folders that the config names; relative ones are looked up beside the config first.

    They are kept out of the spec, so that no key and no record depends on where something lies: "root", "split" (a
    split file), what `named` adds, and "options.NAME" for options that are absolute paths.
    """
    paths = {"root": entry.root, "split": split.path, **named}
    beside = {key: folder / value for key, value in paths.items() if value}
    absolute = {f"options.{key}": value for key, value in entry.options.items() if bare(value) != value}
    return {key: str(path if path.exists() else paths[key]) for key, path in beside.items()} | absolute
