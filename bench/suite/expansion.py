"""A suite -> cells. Every task's section is the product of data sets x splits x rows x seeds, written here once.

What differs between tasks is asked of the task (`Sections`): its rows, what a row adds to the spec, which cells it
requires. Labels and folders never enter a spec: a spec goes into keys and records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from bench.core.errors import BenchError, NotSelected, nearest
from bench.core.options import option_values
from bench.core.registries import DATASETS
from bench.core.validation import validate
from bench.execution.cell import Cell, Mode, Origin, Selection, slot_problem
from bench.execution.task import Task, get_task
from bench.suite.config import Suite
from bench.suite.selection import (
    Block,
    allowed,
    bare,
    check_restriction,
    chosen_seeds,
    places_of,
    reference_label,
    select_blocks,
    split_spec,
    with_folds,
)

RowId = tuple[str, str, str]  # of a board: task, data set with split, method


# -- the cells of a suite ----------------------------------------------------------------------------------------------
def expand(suite: Suite, selection: Selection, tasks: Sequence[str], origin: Origin) -> list[Cell]:
    """Return the cells of the suite's sections for `tasks`, dependencies before dependants, each once; what a filter
    re-targets keeps the rows that it is compared with (`bench.tasks.rows`).

    Raises:
        BenchError: a task without a section, an unknown name, an invalid section.
    """
    places: dict[tuple[str, str], Cell] = {}
    clashes: list[tuple[Cell, Cell]] = []
    answers: list[_Answer] = []
    for name in _concerned(tasks, selection):
        task = get_task(name)
        if name not in suite.tasks:
            raise BenchError(f"suite {suite.name!r} has no section {name!r}; it has: {', '.join(suite.tasks)}")
        section = validate(task.Section, suite.tasks[name], f"{suite.name}: {name}")
        answers.append(_ask(task, suite, section, replace(selection, beside=True), origin))
        for cell in answers[-1].cells:
            for wanted in cell.with_required():
                other = places.setdefault((wanted.task, wanted.slot), wanted)
                if other is not wanted and other != wanted:
                    clashes.append((other, wanted))
    _check_filters(selection, answers)
    if not places:
        raise BenchError(
            "; ".join(dict.fromkeys(str(each) for answer in answers for each in answer.refused)) or "nothing to run"
        )
    for one, other in clashes:
        raise BenchError(f"{one.describe()} and {other.describe()} would share one place on the board; rename a label")
    return list(places.values())


def board_order(suite: Suite, origin: Origin) -> tuple[RowId, ...]:
    """Return the rows of the whole suite in board order, whatever is selected; of a section that cannot be expanded as
    a whole, none.
    """
    rows: dict[RowId, None] = {}
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
    """What a task made of the selection: its cells, the values that it does not know; `complete`: it was called for
    every value.
    """

    cells: list[Cell] = field(default_factory=list)
    refused: list[NotSelected] = field(default_factory=list)
    complete: bool = False


def _ask(task: Task, suite: Suite, section: Any, selection: Selection, origin: Origin) -> _Answer:
    """Expand one task's section without the values that it does not have: a row of one task is unknown to the other.

    A task that knows no value of a filter has no cell, and is still called for the values of the other filters.
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
    complete = [answer for answer in answers if answer.complete]
    for option, values in selection.filters.items():
        for value in values if complete else ():
            strange = [
                [error for error in answer.refused if error.option == option and value in error.unknown]
                for answer in complete
            ]
            if all(strange):
                known = {name for errors in strange for error in errors for name in error.known}
                raise BenchError(f"{option} {value!r} is not in this suite{nearest(value, known)}", option)


def _concerned(tasks: Sequence[str], selection: Selection) -> list[str]:
    """Return the tasks that know every filter given: `--detector` leaves the matching section out.

    Raises:
        BenchError: no task knows one of them.
    """
    left = [name for name in tasks if set(selection.filters) <= set(get_task(name).filters)]
    if not left:
        strange = next(name for name in selection.filters if any(name not in get_task(task).filters for task in tasks))
        raise BenchError(
            f"{strange} does not go with {' and '.join(tasks)}; it selects among the cells of another task", strange
        )
    return left


# -- the cells of a section --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class MethodRow:
    """One row of a section, before it meets data and seeds.

    Attributes:
        label: names the row on the board.
        method: the entry in the section (`bench.tasks.section.MethodEntry`), its backbone written out.
        component: the registered class.
        options: of the component, every default written out, JSON-able.
        names: the options of the command line that select the row again.
        places: files that the row names, by the name of their place; null for none.
        where: the entry in the config, for messages: "s1s2: matching.methods.bnn".
        members: of a fused row, the rows that it is made of (`bench.tasks.fusion`).
    """

    label: str
    method: Any
    component: Any
    options: Mapping[str, Any]
    names: Mapping[str, str]
    places: Mapping[str, str | None]
    where: str
    members: tuple[MethodRow, ...] = field(default=(), kw_only=True)

    @property
    def seeded(self) -> bool:
        """Whether the seed changes the result."""
        return any(row.seeded for row in self.members) if self.members else bool(self.component.seeded)

    @property
    def trains(self) -> bool:
        """Whether it, or a row that it is made of, learns from data."""
        return any(row.trains for row in self.members) if self.members else bool(self.component.trains)

    def runs_on(self, block: Block) -> bool:
        """Return whether the row runs on a block: it is not restricted to others, and no row that it is made of is."""
        return allowed(self.method.datasets, block) and all(row.runs_on(block) for row in self.members)


class Sections(Protocol):
    """What a task says of its section (`bench.tasks.base.SectionTask`)."""

    name: ClassVar[str]
    component: ClassVar[str]  # the key of a method's entry that names its component: "matcher"

    def labels(self, section: Any) -> list[str]:
        """Return the labels of all rows, whatever is selected."""

    def rows(self, suite: Suite, section: Any, selection: Selection) -> Sequence[Any]:
        """Return the rows (`MethodRow`) that pass the selection, in board order."""

    def required(
        self, row: Any, section: Any, suite: Suite, seed: int | None, selection: Selection, origin: Origin
    ) -> tuple[Cell, ...]:
        """Return the cells whose training a cell of this row starts from."""

    def dataset_spec(self, entry: Any) -> dict[str, Any]:
        """Return what the spec of a data set holds beside name, options, split and SAR scaling."""

    def method_spec(self, row: Any, required: tuple[Cell, ...]) -> dict[str, Any]:
        """Return what the spec of a method holds beside component, backbone, options and precision."""


def expand_section(task: Sections, suite: Suite, section: Any, selection: Selection, origin: Origin) -> list[Cell]:
    """Return the cells of one section in board order: data set, split, row, seed.

    Raises:
        BenchError: an unknown component, backbone, data set or label; options that a component does not know; an empty
            selection.
    """
    datasets = {
        label: entry.model_copy(update={"splits": with_folds(entry.splits)})
        for label, entry in section.datasets.items()
    }
    every = [f"{label}/{split}" for label, entry in datasets.items() for split in entry.splits]
    named = reference_label(suite.name, task.name, section.reference, task.labels(section), every)
    rows = task.rows(suite, section.model_copy(update={"reference": named}), selection)
    for label, method in section.methods.items():
        check_restriction(task.name, label, method.datasets, datasets)
    return [
        _cell(task, suite, section, selection, origin, block, row, seed)
        for block in select_blocks(datasets, selection.filters)
        for row in rows
        if row.runs_on(block)
        for seed in (chosen_seeds(row.method.seeds, suite, selection) if row.seeded else (None,))
    ]


def _cell(
    task: Sections,
    suite: Suite,
    section: Any,
    selection: Selection,
    origin: Origin,
    block: Block,
    row: MethodRow,
    seed: int | None,
) -> Cell:
    if row.members:
        parts = [(member, seed if member.seeded else None) for member in row.members]
        required = tuple(_cell(task, suite, section, selection, origin, block, *part) for part in parts)
    else:
        required = task.required(row, section, suite, seed, selection, origin)
    problem = slot_problem(block.label, row.label, seed)
    if problem:
        raise BenchError(f"{suite.name}: {task.name}: {problem}")
    return Cell(
        task=task.name,
        suite=suite.name,
        dataset=block.label,
        method=row.label,
        seed=seed,
        spec=_spec(task, section, block, row, required),
        origin=replace(
            origin,
            plugins=suite.plugins,
            names={"dataset": block.data, "split": block.split, **row.names},
            places=places_of(block, origin.folder, row.places),
        ),
        mode=Mode(selection.limit, selection.smoke),
        requires=required,
    )


def _spec(task: Sections, section: Any, block: Block, row: MethodRow, required: tuple[Cell, ...]) -> dict[str, Any]:
    """Return all that defines the measurement: every default written out, no label and no folder in it."""
    entry, method = block.entry, row.method
    options = validate(DATASETS.get(entry.dataset).Options, entry.options, f"{entry.dataset} options")
    return {
        "dataset": {
            "name": entry.dataset,
            "options": {key: bare(value) for key, value in option_values(options).items()},
            "split": split_spec(block.split_spec),
            "sar_scaling": entry.sar_scaling,
            **task.dataset_spec(entry),
        },
        "method": {
            task.component: getattr(method, task.component),
            "backbone": method.backbone,
            "options": {key: Path(value).name if key == "results" else value for key, value in row.options.items()},
            "precision": method.precision,
            **task.method_spec(row, required),
            **({"fuses": [cell.row_key for cell in required]} if row.members else {}),
        },
        "protocol": section.protocol.model_dump(mode="json"),
    }
