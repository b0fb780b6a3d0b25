"""Records -> Table: a view, a pure function of records.

A cell of a table carries value, spread and n; renderings live in `leaderboard.py`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.records import Record
from bench.store import canonical_hash


@dataclass(frozen=True)
class Column:
    """One column: which metric, how it is called, how it is shown.

    Attributes:
        key: metric of the record.
        higher_better: direction of "better", None where there is none.
        digits: decimals shown; the record keeps full precision.
        scale: shown value = stored value x scale (100 for percent).
    """

    key: str
    label: str
    higher_better: bool | None = True
    digits: int = 3
    scale: float = 1.0


@dataclass(frozen=True)
class TableCell:
    """One number of a table. `value` is the mean over seeds, `spread` their sample standard deviation (None for fewer than two)."""

    value: float | None
    spread: float | None = None
    n: int = 0
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One method: its numbers, the paper's, how many seeds, the command that reproduces it, marks that refer to footnotes."""

    label: str
    cells: Mapping[str, TableCell]
    seeds: str
    command: str
    reported: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Section:
    """One block of a board: a data set with one split, or one view of it."""

    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    reported: tuple[str, ...] = ()  # titles of the columns with the paper's values
    head: str = "method"  # title of the column with the rows' labels


@dataclass(frozen=True)
class Table:
    """A results table: title, the paragraph that says what it shows, sections, footnotes, and where each row comes from."""

    title: str
    description: str
    sections: tuple[Section, ...]
    footnotes: Mapping[str, str]


FOOTNOTES = {
    "†": "seeds of this row were measured on different devices or thread counts",
    "‡": "a seed of this row failed: no mean is shown, since a failure must not vanish from it",
    "§": "measured with uncommitted changes in the package's checkout",
    "¶": "seeds of this row were measured with different settings of the suite; run the suite again",
}


def group_blocks(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Return (title, records) of each block: only what was measured on the same data, split and protocol is compared in one.

    A label under which the suite once had other data or another split becomes several blocks, each named by its hashes.
    """
    by_label: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        same = canonical_hash([record.inputs["data"], record.spec["protocol"]])
        by_label.setdefault(record.dataset, {}).setdefault(same, []).append(record)
    out = []
    for label, blocks in by_label.items():
        for same, block in blocks.items():
            title = f"{label} (data, split or protocol {same[:6]})" if len(blocks) > 1 else label
            out.append((title, block))
    return out


def group_rows(records: Sequence[Record]) -> list[tuple[str, list[Record], tuple[str, ...]]]:
    """Group records into rows of one method: (label, records by seed, marks).

    Records that share a label but not a spec are never averaged: each spec becomes a row of its own, marked.
    """
    by_label: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        by_label.setdefault(record.method, {}).setdefault(record.row_key, []).append(record)
    rows = []
    for label, by_key in by_label.items():
        for key, group in by_key.items():
            mixed = len(by_key) > 1
            group = sorted(group, key=lambda record: -1 if record.seed is None else record.seed)
            marks = (*_marks(group), *(("¶",) if mixed else ()))
            rows.append((f"{label} ({key[:6]})" if mixed else label, group, marks))
    return rows


def _marks(group: Sequence[Record]) -> tuple[str, ...]:
    marks = []
    if any(record.status == "failed" for record in group):
        marks.append("‡")
    hardware = [record.provenance.get("hardware", {}) for record in group if record.status == "finished"]
    if len({(h.get("device"), h.get("accelerator"), h.get("threads")) for h in hardware}) > 1:
        marks.append("†")
    git = [record.provenance.get("git") or {} for record in group if record.status == "finished"]
    if any(state.get("dirty") for state in git):
        marks.append("§")
    return tuple(marks)


def aggregate(records: Sequence[Record], key: str) -> TableCell:
    """Return mean and spread of one metric over the seeds of a row.

    A failed seed, or one where the metric is not defined while it is for others, leaves the mean unknown: a failure counts against the
    method, and a mean over the lucky seeds would be a wrong number.
    """
    failed = sum(record.status == "failed" for record in records)
    if failed:
        return TableCell(None, n=len(records), note=f"{failed}/{len(records)} failed")
    values = [record.metrics.get(key) for record in records]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        note = f"{len(values) - len(known)}/{len(values)} undefined" if known else ""
        return TableCell(None, n=len(values), note=note)
    spread = statistics.stdev(known) if len(known) > 1 else None
    return TableCell(statistics.fmean(known), spread, len(known))


def seeds_text(records: Sequence[Record]) -> str:
    """Return "3 (0-2)"-like text: how many seeds, and which; "none" for a method without a seed."""
    seeds = [record.seed for record in records if record.seed is not None]
    if not seeds:
        return "–"
    return f"{len(seeds)} ({', '.join(map(str, seeds))})"


def row_command(records: Sequence[Record]) -> str:
    """Return the one command that reproduces all seeds of a row."""
    command = records[0].command
    seeds = [str(record.seed) for record in records if record.seed is not None]
    if seeds and "--seeds" in command:
        command = command.split(" --seeds ")[0] + " --seeds " + " ".join(seeds)
    return command


def format_cell(cell: TableCell, column: Column) -> str:
    """Return "0.829 ± 0.004", "0.829", a dash for unknown, with its note."""
    if cell.value is None:
        return cell.note or "–"
    text = f"{cell.value * column.scale:.{column.digits}f}"
    if cell.spread is not None:
        text += f" ± {cell.spread * column.scale:.{column.digits}f}"
    return text
