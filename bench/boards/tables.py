"""Records -> Table: a view, a pure function of records.

A board is read from the top: a `Table` has sections, a section rows, a row cells; each cell is the mean of one metric
over the seeds of its row. `group_blocks` and `group_rows` say which records stand together, `aggregate` what they
come to. What rows may be compared by is `comparisons.py`, what they cost `costs.py`, how a table looks `rendering.py`;
which sections and columns a board has is each task's (`bench.matching.board`, `bench.detection.board`).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.boards.equal_scores import EQUAL_SCORES, FOOTNOTE, MARK
from bench.boards.evidence import Evidence, RowComparison, RowEvidence
from bench.boards.leakage import FOOTNOTES as LEAKAGE
from bench.boards.leakage import leak_mark
from bench.core.store import canonical_hash
from bench.execution.records import Record
from bench.execution.task import get_task

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class Table:
    """A results table: title, the paragraph that says what it shows, and its sections."""

    title: str
    description: str
    sections: tuple[Section, ...]

    def __repr__(self) -> str:
        parts = [f"  {section.title} ({len(section.rows)} rows)" for section in self.sections]
        return "\n".join([f"Table {self.title!r}", *parts])

    def to_frame(self) -> pandas.DataFrame:
        """Return the numbers of all sections, in full precision and the unit of the record; unknown is NaN or NA.

        One row for each row of each section. Columns:

            block, section  data set with its split, and what is shown of it: "s1s2-256/place", "is it a match?"
            method          label of the row; in a table by pretraining, the pretraining
            seeds, marks    how many trainings and which, and the marks of the footnotes, as text; NA where none
            KEY:mean        over the seeds; KEY is that of a section's column: a metric, or, where the columns are
                            detectors, a detector
            KEY:std         sample standard deviation over the seeds
            KEY:n           number of seeds, failed ones included
            KEY:low, :high  95 % interval of the mean
            KEY:difference  to the reference row; KEY:difference_low, KEY:difference_high: its 95 % interval
            KEY:marked      whether the corrected test separates the difference from 0; NA where there was no test
            KEY:rank        equal for rows that are not separable
            further ones    the paper's values and the verdicts on them, as text, under their titles on the board
        """
        import pandas

        lines: list[dict[str, Any]] = []
        names = ("block", "section", "method", "seeds", "marks")
        types = dict.fromkeys(names, "string")
        for section in self.sections:
            for row in section.rows:
                seeds, marks = row.seeds if row.seeds != NO_SEEDS else None, "".join(row.marks) or None
                words = dict(zip(names, (section.block, section.subject, row.label, seeds, marks), strict=True))
                numbers: dict[str, float | None] = {}
                for column in section.columns:
                    numbers |= row.cells[column.key].named_numbers(column.key)
                types |= {name: _TYPES.get(name.rpartition(":")[2], "float64") for name in numbers}
                lines.append({**words, **numbers, **row.reported})
        types |= dict.fromkeys((title for section in self.sections for title in section.reported), "string")
        return pandas.DataFrame(lines, columns=list(types)).astype(types)


@dataclass(frozen=True)
class Section:
    """One subject in one block of a board.

    Attributes:
        block: label of a data set with its split, "s1s2-256/place". subject: what is shown of it, "is it a match?".
        note: what the numbers rest on; for the Markdown board. lead: how far they can be believed; shown on the
            terminal too.
        reported: titles of the columns with the paper's values. head: title of the column with the rows' labels.
        after: what is said below the table, a line each.
        headline: keys of the columns that the short table on top of the board shows; without any there is none.
    """

    block: str
    subject: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    reported: tuple[str, ...] = ()
    head: str = "method"
    lead: str = ""
    after: tuple[str, ...] = ()
    headline: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Block and subject."""
        return f"{self.block}: {self.subject}"


@dataclass(frozen=True)
class TableRow:
    """One method.

    Attributes:
        cells: key of a column -> its number. reported: title of a column -> the paper's value, or the verdict on it.
        seeds: how many, and which. command: reproduces the row; "" where another section gives it.
        marks: refer to `FOOTNOTES`. link: where a submitted method is described.
        records: on disk; none for a row that is made of others. evidence: metric -> what the statistics say of it.
    """

    label: str
    cells: Mapping[str, TableCell]
    seeds: str
    command: str
    reported: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()
    evidence: Mapping[str, RowEvidence] = field(default_factory=dict)
    link: str = ""


@dataclass(frozen=True)
class TableCell:
    """One number of a table.

    Attributes:
        value: the mean over seeds. spread: their sample standard deviation, None for fewer than two.
        interval: 95 % interval of the value (docs/statistics.md), None where there is none.
        marked: the corrected test separates this difference from 0.
    """

    value: float | None
    spread: float | None = None
    n: int = 0
    note: str = ""
    interval: tuple[float, float] | None = None
    marked: bool = False

    def named_numbers(self, key: str) -> dict[str, float | None]:
        """Return the numbers of the cell under the names that `Table.to_frame` gives them; `key`: of its column."""
        low, high = self.interval or (None, None)
        if key.endswith(RANK):
            return {key: self.value}
        if key.endswith(DIFFERENCE):
            tested = self.value is not None and not self.note
            marked = {key.removesuffix(DIFFERENCE) + ":marked": self.marked if tested else None}
            return {key: self.value, f"{key}_low": low, f"{key}_high": high, **marked}
        values = {"mean": self.value, "std": self.spread, "n": self.n or None, "low": low, "high": high}
        return {f"{key}:{name}": value for name, value in values.items()}


@dataclass(frozen=True)
class Column:
    """One column: which metric, how it is called, how it is shown.

    Attributes:
        key: metric of the record, or one with `DIFFERENCE` or `RANK` behind it.
        higher_better: direction of "better", None where there is none.
        digits: decimals shown; the record keeps full precision.
        scale: shown value = stored value x scale (100 for percent).
        signed: shown with its sign, for differences.
    """

    key: str
    label: str
    higher_better: bool | None = True
    digits: int = 3
    scale: float = 1.0
    signed: bool = False


DIFFERENCE, RANK = ":difference", ":rank"  # behind a metric's name: the columns that a comparison of rows adds
REFERENCE = "reference"  # note of the difference of the row that the others are compared with
NO_SEEDS = "–"  # of a method without training
_TYPES = {"n": "Int64", "rank": "Int64", "marked": "boolean"}  # in a DataFrame; other numbers are float64


def best_first(section: Section) -> list[TableRow]:
    """Return the rows by their first number, those without one last."""
    column = section.columns[0]

    def order(row: TableRow) -> tuple[bool, float]:
        value = row.cells[column.key].value
        return value is None, (0.0 if value is None else value if column.higher_better is False else -value)

    return sorted(section.rows, key=order)


def is_reference(section: Section, row: TableRow) -> bool:
    """Return whether a row is the one that the others of its section are compared with, by their first number."""
    difference = row.cells.get(section.columns[0].key + DIFFERENCE)
    return difference is not None and difference.note == REFERENCE


# -- records -> rows ---------------------------------------------------------------------------------------------------
class RowRecords(NamedTuple):
    """The records of one row, by seed, and the marks that refer to footnotes."""

    label: str
    records: list[Record]
    marks: tuple[str, ...]


def group_blocks(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Return (title, records) of each block: only what was measured on the same data, split and protocol is compared in
    one.

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


def group_rows(records: Sequence[Record], folds: Mapping[str, Sequence[Record]] | None = None) -> list[RowRecords]:
    """Group the records of a block into rows of one method.

    Records that share a label but not a spec are never averaged: each spec becomes a row of its own, marked.

    Args:
        folds: the records behind a merged one, by its fingerprint; their marks of leakage are those of its row.
    """
    by_label: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        by_label.setdefault(record.method, {}).setdefault(record.row_key, []).append(record)
    rows = []
    for label, by_key in by_label.items():
        for key, group in by_key.items():
            mixed = len(by_key) > 1
            group = sorted(group, key=lambda record: -1 if record.seed is None else record.seed)
            every = [part for record in group for part in (folds or {}).get(record.fingerprint, (record,))]
            leaks = (mark for record in every if (mark := leak_mark(record)))
            marks = dict.fromkeys((*_marks(group), *(("¶",) if mixed else ()), *leaks))
            rows.append(RowRecords(f"{label} ({key[:6]})" if mixed else label, group, tuple(marks)))
    return rows


@dataclass(frozen=True)
class Block:
    """The rows of one data set and split, and what lies behind them."""

    label: str
    rows: Sequence[RowRecords]
    evidence: Evidence

    def compare(self, metric: str, labels: Sequence[str] | None = None, ranks: bool = True) -> RowComparison:
        """Return the statistics of the rows, or of those named, by one metric; `ranks`: with their ranks."""
        rows = [(row.label, row.records) for row in self.rows if labels is None or row.label in labels]
        return self.evidence.compare(metric, rows, ranks=ranks)

    def estimates(self, metrics: Sequence[str]) -> dict[str, dict[str, RowEvidence]]:
        """Return row label -> metric -> the row's number with its interval, where it is known."""
        return {row.label: self.evidence.estimates(metrics, row.label, row.records) for row in self.rows}

    @property
    def finished(self) -> list[Record]:
        """The finished records, in board order."""
        return [record for row in self.rows for record in row.records if record.status == "finished"]


FOOTNOTES = {
    "†": "seeds of this row were measured on different devices, or by different numbers of threads or processes",
    "‡": "a seed of this row failed: no mean is shown, since a failure must not vanish from it",
    "§": "measured with uncommitted changes in the package's checkout",
    "‼": "submitted predictions that look like the truth itself: boxes that fit as copies do, or no pair out of order",
    "¶": "seeds of this row were measured with different settings of the suite; run the suite again",
    MARK: FOOTNOTE,
    **LEAKAGE,
}


def _marks(group: Sequence[Record]) -> tuple[str, ...]:
    marks = []
    if any(record.status == "failed" for record in group):
        marks.append("‡")
    if len({_machine_of(record) for record in group if record.status == "finished"}) > 1:
        marks.append("†")
    git = [record.provenance.get("git") or {} for record in group if record.status == "finished"]
    if any(state.get("dirty") for state in git):
        marks.append("§")
    if any(record.facts.get(EQUAL_SCORES) for record in group):
        marks.append(MARK)
    submitted = (record for record in group if record.status == "finished" and record.facts.get("submitted"))
    if any(get_task(record.task).looks_like_truth(record) for record in submitted):
        marks.append("‼")
    return tuple(marks)


def _machine_of(record: Record) -> tuple[Any, ...]:
    """Return what can move a measurement's last digits; records from before data-parallel training name no number of
    processes.
    """
    made, trained = (record.provenance.get(key, {}) for key in ("hardware", "trained_by"))
    return (
        made.get("device"),
        made.get("accelerator"),
        made.get("threads"),
        (trained.get("hardware") or {}).get("processes", 1),
    )


# -- rows -> cells -----------------------------------------------------------------------------------------------------
def table_row(
    row: RowRecords,
    cells: Mapping[str, TableCell],
    evidence: Mapping[str, RowEvidence],
    reported: Mapping[str, str] | None = None,
    kept: bool = True,
) -> TableRow:
    """Return a row of a table.

    Args:
        cells, evidence, reported: as in `TableRow`. kept: the records are on disk, for CSV and links.
    """
    label, records, marks = row
    on_disk = tuple(records) if kept else ()
    link = next((link for record in records if (link := record.names.get("reference"))), "")
    return TableRow(
        label, cells, seeds_text(records), row_command(records), reported or {}, marks, on_disk, evidence, link
    )


def aggregate(records: Sequence[Record], key: str) -> TableCell:
    """Return mean and spread of one metric over the seeds of a row.

    A failed seed, or one where the metric is not defined while it is for others, leaves the mean unknown: a failure
    counts against the method, and a mean over the remaining seeds would be a wrong number.
    """
    failed = sum(record.status == "failed" for record in records)
    if failed:
        return TableCell(None, n=len(records), note=f"{failed}/{len(records)} failed")
    values = [recorded(record, key) for record in records]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        note = f"{len(values) - len(known)}/{len(values)} undefined" if known else ""
        return TableCell(None, n=len(values), note=note)
    return TableCell(statistics.fmean(known), _spread(tuple(known)), len(known))


@lru_cache(maxsize=1 << 16)
def _spread(values: tuple[float, ...]) -> float | None:
    """Return the sample standard deviation, correctly rounded, which is slow: the tables ask for it, then the CSV."""
    return statistics.stdev(values) if len(values) > 1 else None


def recorded(record: Record, key: str) -> float | None:
    """Return a number of a record: a metric, or "cost.<stage>.<what>", "cost.peak_memory_gib"; None where unknown."""
    if not key.startswith("cost."):
        return record.metrics.get(key)
    if key == "cost.peak_memory_gib":
        peaks = [stage.get("peak_memory_bytes") for stage in record.cost.values()]
        return max((peak for peak in peaks if peak is not None), default=0) / 2**30 or None
    _, stage, what = key.split(".")
    value = record.cost.get(stage, {}).get(what)
    return None if value is None else float(value)


def seeds_text(records: Sequence[Record]) -> str:
    """Return "3 (0, 1, 2)": how many seeds, and which; `NO_SEEDS` for a method without a seed."""
    seeds = [record.seed for record in records if record.seed is not None]
    return f"{len(seeds)} ({', '.join(map(str, seeds))})" if seeds else NO_SEEDS


def row_command(records: Sequence[Record]) -> str:
    """Return the command that reproduces all seeds of a row; of a submitted row one line a seed."""
    command = _one_command(records[0])
    seeds = [str(record.seed) for record in records if record.seed is not None]
    if " --seed " in command:  # submitted: every seed has a file, and so a command, of its own
        return "\n".join(dict.fromkeys(map(_one_command, records)))
    if seeds and "--seeds" in command:
        command = command.split(" --seeds ")[0] + " --seeds " + " ".join(seeds)
    return command


def _one_command(record: Record) -> str:
    return record.command.replace("\r", "\\r").replace("\n", "\\n")  # a label with a line break adds no command
