"""Entries on disk -> boards: Markdown, CSV and terminal text. A view: it never trains, never measures, never imports torch.

`leaderboards/<suite>/entries/` holds one compact JSON (the record) and one .npz (per-sample scores) per slot; `suite.json` beside it
holds the suite's words and the order of its rows. The board is a pure function of that folder and carries no time.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.config import Suite
from bench.errors import BenchError, nearest
from bench.records import SCORES, Record, load_record
from bench.store import atomic_write, read_json, write_json, write_text
from bench.tables import FOOTNOTES, Column, Row, Section, Table, aggregate, format_cell
from bench.task import Cell, get_task

ENTRIES, SUITE = "entries", "suite.json"


def file_entries(boards: Path, suite: Suite, cells: Sequence[Cell], records: Sequence[tuple[Path, Record]]) -> int:
    """File the records of a run into the suite's entries, one slot each; return how many were filed.

    Limited runs are left out: they are wiring checks, not measurements.
    """
    folder = boards / suite.name
    filed = 0
    for source, record in records:
        if record.limit is not None:
            continue
        name = f"{record.task}--{record.slot}"
        scores = folder / ENTRIES / f"{name}.npz"
        if record.status == "finished" and (source / SCORES).is_file():
            with atomic_write(scores) as temporary:
                shutil.copyfile(source / SCORES, temporary)
        else:
            scores.unlink(missing_ok=True)  # of an earlier record of this slot
        write_json(folder / ENTRIES / f"{name}.json", record.model_dump())
        filed += 1
    if filed:
        _write_suite(folder / SUITE, suite, cells)
    return filed


def prune_entries(folder: Path, cells: Sequence[Cell], whole_tasks: Sequence[str]) -> list[str]:
    """Remove the entries of tasks that were run whole whose slot the suite no longer has; return their names.

    What was submitted stays: no suite lists it.
    """
    kept = {f"{cell.task}--{cell.slot}" for cell in cells}
    gone = [
        path.stem
        for path in sorted((folder / ENTRIES).glob("*.json"))
        if path.stem not in kept and path.stem.split("--")[0] in whole_tasks and not load_record(path).facts.get("submitted")
    ]
    for name in gone:
        for suffix in (".json", ".npz"):
            (folder / ENTRIES / f"{name}{suffix}").unlink(missing_ok=True)
    return gone


def _write_suite(path: Path, suite: Suite, cells: Sequence[Cell]) -> None:
    """Write the suite's words and the order of its rows; rows that an earlier, wider run filed keep their places behind."""
    order = list(dict.fromkeys((cell.task, cell.dataset, cell.method) for cell in cells))
    if path.is_file():
        old = [(str(row[0]), str(row[1]), str(row[2])) for row in _read_suite(path)["order"]]
        if set(old) >= set(order):  # a selection of the suite: the wider order stands
            order = old
        else:
            order += [row for row in old if row not in order]
    notes = {task: section.get("note", "") for task, section in suite.tasks.items() if isinstance(section, dict)}
    write_json(
        path,
        {"name": suite.name, "title": suite.title, "description": suite.description, "notes": notes, "order": [list(row) for row in order]},
    )


def _read_suite(path: Path) -> dict[str, Any]:
    """Return the words and the order of rows of a suite. Raises BenchError when the file is damaged."""
    words = read_json(path)
    if not isinstance(words, dict) or not {"title", "description", "notes", "order"} <= set(words):
        raise BenchError(f"{path} is damaged; delete it and run the suite again: what is finished is filed anew")
    return words


def load_entries(folder: Path) -> list[Record]:
    """Return the validated records of a suite's entries, in file-name order.

    Raises:
        BenchError: an entry is damaged, or there is none.
    """
    paths = sorted((folder / ENTRIES).glob("*.json"))
    if not paths:
        raise BenchError(f"{folder / ENTRIES}: no entries; run the suite first: bench run --config {folder.name}")
    return [load_record(path) for path in paths]


def build_boards(boards: Path, suite_name: str) -> dict[Path, Table]:
    """Rebuild `<task>.md` and `<task>.csv` of one suite from its entries; return the tables by the path of their Markdown.

    Raises:
        BenchError: unknown suite (nearest named), damaged entry.
    """
    folder = boards / suite_name
    if not (folder / SUITE).is_file():
        known = [path.parent.name for path in boards.glob(f"*/{SUITE}")]
        raise BenchError(f"no board {suite_name!r} under {boards}{nearest(suite_name, known)}")
    words = _read_suite(folder / SUITE)
    records = load_entries(folder)
    rank = {tuple(row): position for position, row in enumerate(words["order"])}
    records.sort(key=lambda r: (rank.get((r.task, r.dataset, r.method), len(rank)), r.dataset, r.method, -1 if r.seed is None else r.seed))
    tables = {}
    for task in dict.fromkeys(record.task for record in records):
        mine = [record for record in records if record.task == task]
        note = words.get("notes", {}).get(task, "")
        description = "\n\n".join(part.strip() for part in (words["description"], note) if part.strip())
        table = get_task(task).table(suite_name, words["title"] or suite_name, description, mine)
        path = folder / f"{task}.md"
        write_text(path, to_markdown(table))
        write_text(path.with_suffix(".csv"), to_csv(table))
        tables[path] = table
    return tables


# -- renderings ----------------------------------------------------------------------------------------------------------------
def to_markdown(table: Table) -> str:
    """Return the board as GitHub-flavoured Markdown: title, description, sections, footnotes, commands."""
    out = [f"# {table.title}", ""]
    if table.description:
        out += [table.description, ""]
    used: set[str] = set()
    for section in table.sections:
        out += [f"## {section.title}", ""]
        if section.note:
            out += [section.note, ""]
        header = _header(section)
        out.append("| " + " | ".join(header) + " |")
        out.append("|" + "|".join("---" if i == 0 else "---:" for i in range(len(header))) + "|")
        for row in section.rows:
            used |= set(row.marks)
            out.append("| " + " | ".join(text.replace("|", "\\|") for text in _row_texts(section, row)) + " |")
        out.append("")
    if used:
        out += [f"{mark} {FOOTNOTES[mark]}  " for mark in FOOTNOTES if mark in used] + [""]
    commands = list(dict.fromkeys(row.command for section in table.sections for row in section.rows if row.command))
    if commands:
        out += ["## Reproduce", "", "```", *commands, "```", ""]
    return "\n".join(out)


def to_text(table: Table, width: int | None = None) -> str:
    """Return the table for a terminal: aligned columns, no borders; columns that do not fit into `width` continue below."""
    out = [table.title]
    for section in table.sections:
        lines = [_header(section), *(_row_texts(section, row) for row in section.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        out += ["", section.title]
        for group, shown in enumerate(_fitting(widths, width)):
            out += [""] if group else []
            for number, line in enumerate(lines):
                cells = [line[i].ljust(widths[i]) if i == 0 else line[i].rjust(widths[i]) for i in shown]
                out.append("  " + "  ".join(cells).rstrip())
                if number == 0:
                    out.append("  " + "  ".join("-" * widths[i] for i in shown))
    marks = {mark for section in table.sections for row in section.rows for mark in row.marks}
    out += [f"{mark} {FOOTNOTES[mark]}" for mark in FOOTNOTES if mark in marks]
    return "\n".join(out) + "\n"


def _fitting(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Part the columns into groups that fit into `width` characters, the first column (the row's label) in each."""
    groups = [[0]]
    for i in range(1, len(widths)):
        if width is not None and len(groups[-1]) > 1 and sum(widths[j] + 2 for j in (*groups[-1], i)) > width:
            groups.append([0])
        groups[-1].append(i)
    return groups


def to_csv(table: Table) -> str:
    """Return every metric of every row in full precision, those without a column included: one line per row and metric."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["dataset", "method", "metric", "mean", "spread", "n", "fingerprints"])
    rows = {tuple(record.slot for record in row.records): row.records for section in table.sections for row in section.rows if row.records}
    for records in rows.values():
        prints = " ".join(record.fingerprint[:12] for record in records)
        for metric in sorted({name for record in records for name in record.metrics}):
            cell = aggregate(records, metric)
            numbers = ["" if value is None else repr(value) for value in (cell.value, cell.spread)]
            writer.writerow([records[0].dataset, records[0].method, metric, *numbers, cell.n, prints])
    return stream.getvalue()


def _header(section: Section) -> list[str]:
    return [section.head, "seeds", *(_arrow(column) for column in section.columns), *section.reported]


def _arrow(column: Column) -> str:
    if column.higher_better is None:
        return column.label
    return column.label + (" ↑" if column.higher_better else " ↓")


def _row_texts(section: Section, row: Row) -> list[str]:
    label = row.label + ("".join(row.marks) and " " + "".join(row.marks))
    numbers = [format_cell(row.cells[column.key], column) for column in section.columns]
    return [label, row.seeds, *numbers, *(row.reported.get(title, "–") for title in section.reported)]
