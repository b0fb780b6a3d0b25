"""Entries on disk -> boards: Markdown and CSV. A view: it never trains, never measures, never imports torch.

`leaderboards/<suite>/entries/` holds one compact JSON (the record) and one .npz (per-sample scores) per slot;
`suite.json` beside it holds the suite's words and the order of its rows. The board is a pure function of that folder
and carries no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.boards.entries import entry_samples, load_entries
from bench.boards.evidence import Evidence
from bench.boards.rendering import to_csv, to_markdown
from bench.boards.tables import Table
from bench.core.errors import BenchError, nearest
from bench.core.store import read_json, write_json, write_text
from bench.execution.cell import Cell
from bench.execution.task import get_task
from bench.suite.config import Suite
from bench.suite.expansion import RowId

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
    known = list(dict.fromkeys([*filed, *mine]))
    order = [*(row for row in rows if row in known), *(row for row in known if row not in rows)]
    sections = {task: section for task, section in suite.tasks.items() if isinstance(section, dict)}
    write_json(
        path,
        {
            "name": suite.name,
            "title": suite.title,
            "description": suite.description,
            "notes": {task: section.get("note", "") for task, section in sections.items()},
            "references": {task: section.get("reference") for task, section in sections.items()},
            "order": [list(row) for row in order],
        },
    )


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
    """The boards of one suite: each table by the path of its Markdown, and what is wrong with entries."""

    tables: Mapping[Path, Table]
    problems: tuple[str, ...] = ()


def build_boards(boards: Path, suite_name: str, write: bool = True, cost: bool = False) -> Boards:
    """Rebuild `<task>.md` and `<task>.csv` of one suite from its entries.

    Args:
        write: False leaves the files as they are. cost: add what each row cost.

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
    for name in dict.fromkeys(record.task for record in records):
        mine = [record for record in records if record.task == name]
        note = words.get("notes", {}).get(name, "")
        lost = [entry for entry in entries.damaged if entry.startswith(f"{name}--")]
        lost_entries = (
            f"**Entries that cannot be read, so that their rows show no mean or are missing: {', '.join(lost)}.**"
            if lost
            else ""
        )
        description = "\n\n".join(part.strip() for part in (words["description"], note, lost_entries) if part.strip())
        task = get_task(name)
        reference = words.get("references", {}).get(name)
        evidence = Evidence(task.resampled, partial(entry_samples, folder), reference=reference, cost=cost)
        table = task.table(suite_name, words["title"] or suite_name, description, mine, evidence)
        problems += [problem for problem in evidence.problems if problem not in problems]
        tables[folder / f"{name}.md"] = table
        if write:
            write_text(folder / f"{name}.md", to_markdown(table))
            write_text(folder / f"{name}.csv", to_csv(table))
    return Boards(tables, tuple(problems))
