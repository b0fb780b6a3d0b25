"""Entries on disk -> boards: Markdown and CSV. A view: it never trains, never measures, never imports torch.

`leaderboards/<suite>/entries/` holds one compact JSON (the record) and one .npz (per-sample scores) per slot;
`suite.json` beside it holds the suite's words and the order of its rows. The board is a pure function of that folder
and carries no time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.boards.checks import check_records, unsettled_note
from bench.boards.entries import entry_samples, file_entries, load_entries, prune_entries, with_failures
from bench.boards.evidence import Evidence
from bench.boards.pictures import PICTURES, pictures_of
from bench.boards.rendering import to_csv, to_markdown
from bench.boards.tables import Table
from bench.core.errors import BenchError, nearest
from bench.core.registries import TASKS
from bench.core.store import folder_lock, read_json, write_json, write_text
from bench.core.workspace import user_path
from bench.execution.cell import Cell, row_names
from bench.execution.records import Record
from bench.execution.task import get_task
from bench.suite.config import Suite
from bench.suite.expansion import RowId, board_order

SUITE = "suite.json"


def write_suite(folder: Path, suite: Suite, cells: Sequence[Cell], rows: Sequence[RowId] = ()) -> None:
    """Write the suite's words and the order of its rows.

    Args:
        rows: the suite's rows in its own order (`board_order`), in which `cells` and what earlier runs filed are put,
            whatever was run first; rows that are not among them come last, as they were filed.
    """
    path = folder / SUITE
    mine = [
        (cell.task, cell.dataset, cell.method) for cell in cells if not cell.origin.verb
    ]  # submitted rows come last
    filed = [(str(row[0]), str(row[1]), str(row[2])) for row in _read_suite(path)["order"]] if path.is_file() else []
    known, placed = dict.fromkeys([*filed, *mine]), set(rows)
    order = [*(row for row in rows if row in known), *(row for row in known if row not in placed)]
    sections = {task: section for task, section in suite.tasks.items() if isinstance(section, dict)}
    write_json(
        path,
        {
            "name": suite.name,
            "title": suite.title,
            "description": suite.description,
            "notes": {task: section.get("note", "") for task, section in sections.items()},
            "references": {
                task: _reference(suite.name, task, section.get("reference"), rows) for task, section in sections.items()
            },
            "order": [list(row) for row in order],
        },
    )


def _reference(suite: str, task: str, text: str | None, rows: Sequence[RowId]) -> str | None:
    """Return the label of the row that a section's reference names; the text itself where the rows are not known."""
    if text is None:
        return None
    named = (row[2] for row in rows if row[0] == task and text in row_names(suite, *row))
    return text if any(row[0] == task and row[2] == text for row in rows) else next(named, text)


def _read_suite(path: Path) -> dict[str, Any]:
    """Return the words and the order of rows of a suite. Raises BenchError when the file is damaged."""
    words = read_json(path)
    try:
        whole = isinstance(words["title"] + words["description"], str) and isinstance(words.get("references", {}), dict)
        whole = whole and all(isinstance(note, str) for note in words["notes"].values())
        whole = whole and all(
            isinstance(row, list) and len(row) == 3 and all(isinstance(x, str) for x in row) for row in words["order"]
        )
    except (AttributeError, KeyError, TypeError):
        whole = False
    if not whole:
        raise BenchError(f"{path} is damaged; delete it and run the suite again: what is finished is filed anew")
    return dict(words)


@dataclass(frozen=True)
class Boards:
    """The boards of one suite: each table by the path of its Markdown, what is wrong with entries, and the names of
    entries that the suite no longer has, so that they were removed.
    """

    tables: Mapping[Path, Table]
    problems: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def file_run(
    boards: Path,
    suite: Suite,
    cells: Sequence[Cell],
    records: Sequence[tuple[Path, Record]],
    whole_tasks: Sequence[str] = (),
) -> Boards:
    """File the records of a run, each beside its cell's folder, as entries of the suite, and rebuild its boards.

    Args:
        whole_tasks: tasks whose every cell was run: their entries of other cells are removed.

    Raises:
        BenchError: a file cannot be read or written.
    """
    folder = boards / suite.name
    with folder_lock(folder):
        filed = file_entries(folder, records)
        if filed:
            write_suite(folder, suite, cells, board_order(suite, suite.origin))
        gone = prune_entries(folder, cells, whole_tasks)
        built = build_boards(boards, suite.name) if filed else Boards({})
    return replace(built, removed=tuple(gone))


def wiring_tables(suite: str, records: Sequence[Record], what: str) -> dict[Path, Table]:
    """Return the tables of records that enter no board, by the name that their Markdown would have; `what` says why."""
    out = {}
    for task in dict.fromkeys(record.task for record in records):
        mine = [record for record in records if record.task == task]
        out[Path(f"{task}.md")] = get_task(task).table(suite, f"{suite} ({what})", "", mine, Evidence())
    return out


def leaderboard(suite: str, task: str | None = None, boards: str | Path = "leaderboards", cost: bool = False) -> Table:
    """Return a results table of a suite, made of the entries that were filed: nothing is measured, read from data, or
    written.

    Args:
        suite: name of the suite. task: needed where the suite has tables of several tasks.
        boards: the folder of all boards.
        cost: add what each row cost in time and memory.

    Raises:
        BenchError: unknown suite or task (the nearest are named), several tables and no task, no readable entry.
    """
    built = build_boards(user_path(boards), suite, write=False, cost=cost, only=partial(_one_table, suite, task))
    for problem in built.problems:
        warnings.warn(problem, stacklevel=2)
    (table,) = built.tables.values()
    return table


def _one_table(suite: str, task: str | None, tasks: list[str]) -> list[str]:
    """Return the task whose table is meant, before any table is built."""
    if task is None and len(tasks) > 1:
        raise BenchError(f"task None: board {suite!r} has several tables; choose one of: {', '.join(tasks)}", "task")
    if task is not None and task not in tasks:
        raise BenchError(f"task {task!r}: board {suite!r} has no such table{nearest(task, tasks)}", "task")
    return tasks if task is None else [task]


def build_boards(
    boards: Path,
    suite_name: str,
    write: bool = True,
    cost: bool = False,
    only: Callable[[list[str]], list[str]] = list,
) -> Boards:
    """Rebuild `<task>.md`, `<task>.csv` and their pictures of one suite from its entries.

    Args:
        write: False leaves the files as they are. cost: add what each row cost.
        only: chooses, of the tasks that have entries, those whose tables are built.

    Raises:
        BenchError: unknown suite (nearest named), no readable entry, or an entry whose two files contradict each other.
    """
    folder = boards / suite_name
    if not (folder / SUITE).is_file():
        known = [path.parent.name for path in boards.glob(f"*/{SUITE}")]
        raise BenchError(f"no board {suite_name!r} under {boards}{nearest(suite_name, known)}")
    words = _read_suite(folder / SUITE)
    entries = load_entries(folder)
    rank = {tuple(row): position for position, row in enumerate(words["order"])}
    records = sorted(
        entries.records,
        key=lambda r: (
            rank.get((r.task, r.dataset, r.method), len(rank)),
            r.dataset,
            r.method,
            -1 if r.seed is None else r.seed,
        ),
    )
    tables: dict[Path, Table] = {}
    problems = list(entries.damaged.values())
    for name in only(_tasks_of(records, entries.damaged)):
        mine = [record for record in records if record.task == name]
        samples = partial(entry_samples, folder)
        checked = check_records(mine, samples)
        problems += checked.problems.values()
        mine = with_failures(mine, checked.problems)
        note = words.get("notes", {}).get(name, "")
        lost = {entry: why for entry, why in entries.damaged.items() if entry.startswith(f"{name}--")}
        lost |= {f"{name}--{slot}": why for slot, why in checked.problems.items()}
        parts = (words["description"], note, unsettled_note(checked), lost_note(folder, lost))
        description = "\n\n".join(part.strip() for part in parts if part.strip())
        task = get_task(name)
        reference = words.get("references", {}).get(name)
        evidence = Evidence(task.resampled, samples, reference=reference, cost=cost)
        table = task.table(suite_name, words["title"] or suite_name, description, mine, evidence)
        problems += [problem for problem in evidence.problems if problem not in problems]
        tables[folder / f"{name}.md"] = table
        if write:
            _write_board(folder, name, table)
    return Boards(tables, tuple(problems))


def _write_board(folder: Path, task: str, table: Table) -> None:
    pictures = pictures_of(table, task)
    write_text(folder / f"{task}.md", to_markdown(table, {name: words for name, (words, _) in pictures.items()}))
    write_text(folder / f"{task}.csv", to_csv(table))
    for name, (_, svg) in pictures.items():
        write_text(folder / name, svg)
    for name in PICTURES:
        if name.format(task) not in pictures:
            (folder / name.format(task)).unlink(missing_ok=True)


def _tasks_of(records: Sequence[Record], damaged: Mapping[str, str]) -> list[str]:
    """Return the tasks that have entries, also where none can be read: their board then says so, and does not stay as
    it was.
    """
    named = [name.split("--")[0] for name in damaged]
    return list(
        dict.fromkeys([*(record.task for record in records), *(name for name in named if name in TASKS.names())])
    )


def lost_note(folder: Path, lost: Mapping[str, str]) -> str:
    """Return what a board says of entries that count for nothing, by name with the reason of each; "" without any."""
    if not lost:
        return ""
    lines = [f"- {name}: {' '.join(why.replace(f'{folder}/', '').split())}" for name, why in lost.items()]
    head = "**Entries that cannot be trusted, so that their rows show no mean or are missing:**"
    return "\n".join([head, "", *lines])
