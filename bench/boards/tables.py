"""Records -> Table: a view, a pure function of records.

A cell of a table carries value, spread and n; renderings live in `leaderboard.py`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.boards.evidence import Contest, Evidence, RowEvidence
from bench.boards.leakage import FOOTNOTES as LEAKAGE
from bench.boards.leakage import leak_mark
from bench.core.store import canonical_hash
from bench.execution.records import Record

if TYPE_CHECKING:
    from bench.statistics.inference import Interval


@dataclass(frozen=True)
class Column:
    """One column: which metric, how it is called, how it is shown.

    Attributes:
        key: metric of the record.
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


@dataclass(frozen=True)
class Row:
    """One method: its numbers, the paper's, how many seeds, the command that reproduces it, marks that refer to
    footnotes.

    `evidence` holds the statistics of its metrics, `link` where a submitted method is described.
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
class Section:
    """One block of a board: a data set with one split, or one view of it.

    Attributes:
        note: what the numbers rest on; for the Markdown board. lead: how far they can be believed; shown on the
            terminal too.
        reported: titles of the columns with the paper's values. head: title of the column with the rows' labels.
        after: what is said below the table, a line each.
    """

    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    reported: tuple[str, ...] = ()
    head: str = "method"
    lead: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A results table: title, the paragraph that says what it shows, sections, footnotes, and where each row comes
    from.
    """

    title: str
    description: str
    sections: tuple[Section, ...]
    footnotes: Mapping[str, str]


FOOTNOTES = {
    "†": "seeds of this row were measured on different devices, or by different numbers of threads or processes",
    "‡": "a seed of this row failed: no mean is shown, since a failure must not vanish from it",
    "§": "measured with uncommitted changes in the package's checkout",
    "¶": "seeds of this row were measured with different settings of the suite; run the suite again",
    **LEAKAGE,
}


Group = tuple[str, list[Record], tuple[str, ...]]  # a row: label, records by seed, marks


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


def group_rows(records: Sequence[Record]) -> list[Group]:
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


@dataclass(frozen=True)
class Block:
    """The rows of one data set and split, and what lies behind them."""

    title: str
    rows: tuple[Group, ...]
    evidence: Evidence

    @property
    def measured(self) -> list[tuple[str, list[Record]]]:
        """Label and records of every row."""
        return [(label, records) for label, records, _ in self.rows]

    @property
    def finished(self) -> list[Record]:
        """The finished records, in board order."""
        return [record for _, group, _ in self.rows for record in group if record.status == "finished"]


def marked_rows(records: Sequence[Record], evidence: Evidence) -> tuple[Group, ...]:
    """Return `group_rows` with the leakage marks of all seeds, of a merged record those of all its folds."""
    out = []
    for label, group, marks in group_rows(records):
        every = [part for record in group for part in evidence.parts.get(record.fingerprint, (record,))]
        out.append(
            (label, group, tuple(dict.fromkeys((*marks, *(mark for record in every if (mark := leak_mark(record)))))))
        )
    return tuple(out)


def _marks(group: Sequence[Record]) -> tuple[str, ...]:
    marks = []
    if any(record.status == "failed" for record in group):
        marks.append("‡")
    if len({_machine_of(record) for record in group if record.status == "finished"}) > 1:
        marks.append("†")
    git = [record.provenance.get("git") or {} for record in group if record.status == "finished"]
    if any(state.get("dirty") for state in git):
        marks.append("§")
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


def aggregate(records: Sequence[Record], key: str) -> TableCell:
    """Return mean and spread of one metric over the seeds of a row.

    A failed seed, or one where the metric is not defined while it is for others, leaves the mean unknown: a failure
    counts against the method, and a mean over the lucky seeds would be a wrong number.
    """
    failed = sum(record.status == "failed" for record in records)
    if failed:
        return TableCell(None, n=len(records), note=f"{failed}/{len(records)} failed")
    values = [recorded(record, key) for record in records]
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


def row_link(records: Sequence[Record]) -> str:
    """Return where a submitted method is described, "" for what was measured here."""
    return next((link for record in records if (link := record.names.get("reference"))), "")


def row_command(records: Sequence[Record]) -> str:
    """Return the command that reproduces all seeds of a row; of a submitted row one line a seed."""
    command = records[0].command
    seeds = [str(record.seed) for record in records if record.seed is not None]
    if " --seed " in command:  # submitted: every seed has a file, and so a command, of its own
        return "\n".join(dict.fromkeys(record.command for record in records))
    if seeds and "--seeds" in command:
        command = command.split(" --seeds ")[0] + " --seeds " + " ".join(seeds)
    return command


# -- the statistics of rows --------------------------------------------------------------------------------------------
FEWEST = 5  # so many clusters or fewer can be swapped in so few ways that no difference is significant: 2 / 2^5 > 0.05
DIFFERENCE, RANK = ":difference", ":rank"  # behind a metric's name: the columns that its contest adds


def contest_columns(contest: Contest, label: str, digits: int = 3, rank: bool = True) -> tuple[Column, ...]:
    """Return the columns that say what a contest found: the difference to its reference row, and the rank."""
    columns = [Column(contest.metric + DIFFERENCE, f"Δ {label} to {contest.reference}", None, digits, signed=True)]
    if not contest.reference:
        columns = []
    return (*columns, *((Column(contest.metric + RANK, "rank", None, 0),) if rank and contest.rows else ()))


def contest_cells(contest: Contest, label: str) -> dict[str, TableCell]:
    """Return the cells of one row for `contest_columns`; empty ones for a row that is not in the contest."""
    found = contest.rows.get(label)
    cells = {contest.metric + DIFFERENCE: TableCell(None), contest.metric + RANK: TableCell(None)}
    if found is None:
        return cells
    cells[contest.metric + RANK] = TableCell(found.rank)
    gap = found.difference
    if gap is None:
        cells[contest.metric + DIFFERENCE] = TableCell(None, note="reference")
    elif gap.value is not None:
        cells[contest.metric + DIFFERENCE] = TableCell(
            gap.value, interval=_bounds(gap.interval), marked=found.marked, note=gap.reason
        )
    return cells


def measured_cell(records: Sequence[Record], key: str, found: RowEvidence | None) -> TableCell:
    """Return mean and spread of a metric with the interval that the statistics give it."""
    cell = aggregate(records, key)
    interval = None if found is None else _bounds(found.estimate.interval)
    if cell.value is None or interval is None:
        return cell
    # every metric with an interval is a share
    return replace(cell, interval=(max(interval[0], 0.0), min(interval[1], 1.0)))


def contest_note(contest: Contest, label: str, cluster: str, reference: str = "") -> str:
    """Return the sentences above a table that say how far its differences can be believed.

    Args:
        cluster: in the singular, such as "scene". reference: how the reference row is called here; "" for its label.
    """
    if not contest.rows:
        return ""
    count, worth = contest.clusters
    if count < 2:
        return f"One {cluster} alone: no interval and no test, since nothing says how another one would come out."
    text = f"In brackets 95 % intervals over seeds and {count} {cluster}s"
    text += f" (worth {worth:.1f} equal ones)" if worth < 0.9 * count else ""
    text += ", which are too narrow, as the scenes that pairs share are not known" if cluster == "pair" else ""
    if contest.reference and len(contest.rows) > 1:
        text += (
            f"; differences are paired with `{reference or contest.reference}`, and marked * where the swap test,"
            " corrected for the table, separates them; rows of one rank are not separable"
        )
    return f"{text} (docs/statistics.md). {contest_limits(contest, label)}".strip()


def contest_limits(contest: Contest, label: str, digits: int = 3) -> str:
    """Return what a contest cannot tell: rows of one seed, and the smallest difference that the test set can
    resolve.
    """
    unknown = [
        name for name, row in contest.rows.items() if row.difference is not None and not row.difference.seeds_known
    ]
    out = [f"One seed alone, so neither marked nor ranked: {', '.join(unknown)}."] if unknown else []
    if contest.clusters[0] <= FEWEST and len(contest.rows) > 1:
        out.append(f"**With {contest.clusters[0]} of them no difference can be told from chance.**")
    if contest.resolvable is not None:
        out.append(
            f"**Differences in {label} below about {contest.resolvable:.{digits}f} are beyond what this test set can"
            " resolve.**"
        )
    return " ".join(out)


def sources(contest: Contest, cluster: str, digits: int = 3) -> tuple[str, ...]:
    """Return a line for each row with its two sources of variance apart, and how much hangs on a single cluster (in the
    singular).
    """
    out = []
    for label, found in contest.rows.items():
        each = found.estimate
        if each.cluster_sd is None or each.leave_one_out is None:
            continue
        seeds = "" if each.seed_sd is None else f"± {each.seed_sd:.{digits}f} over seeds, "
        low, high, without_low, without_high = each.leave_one_out
        out.append(
            f"{label}: {seeds}± {each.cluster_sd:.{digits}f} over {cluster}s; "
            f"{low:.{digits}f} without {cluster} {without_low}, {high:.{digits}f} without {without_high}"
        )
    return tuple(out)


def _bounds(interval: Interval | None) -> tuple[float, float] | None:
    return None if interval is None else (interval.low, interval.high)


# -- what a row costs --------------------------------------------------------------------------------------------------
COSTS = (
    Column("cost.train.seconds", "training, s", None, 0),
    Column("cost.predict.seconds", "prediction, s", None, 1),
    Column("cost.peak_memory_gib", "peak memory, GiB", None, 2),
    Column("cost.train.samples_per_second", "training samples/s", None, 1),
    Column("cost.predict.megapixels_per_second", "prediction MP/s", None, 2),
)


def cost_section(dataset: str, rows: Sequence[Group]) -> Section:
    """Return what each row cost, from the records; comparable only where the hardware is the same, which it names."""
    out = [
        Row(label, {column.key: aggregate(records, column.key) for column in COSTS}, seeds_text(records), "", {}, marks)
        for label, records, marks in rows
    ]
    machines = {_machine(record) for _, records, _ in rows for record in records if record.status == "finished"}
    note = (
        "Mean over seeds, of what the records say; a stage taken over from another cell keeps that cell's cost."
        " Measured on: "
    )
    return Section(f"{dataset}: cost", note + "; ".join(sorted(machines)) + ".", COSTS, tuple(out))


def _machine(record: Record) -> str:
    made = record.provenance.get("trained_by", record.provenance).get("hardware", {})
    chip = made.get("accelerator") or made.get("processor") or "unknown processor"
    together = f", {made['processes']} processes" if made.get("processes", 1) > 1 else ""
    return f"{chip}, {made.get('threads', '?')} threads{together}"


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


def format_cell(cell: TableCell, column: Column) -> str:
    """Return "0.829 ± 0.004 [0.810, 0.846]" as far as known, "+0.021 [+0.002, +0.040] *", a dash for unknown, with its
    note.
    """
    if cell.value is None:
        return cell.note or "–"

    def shown(value: float, sign: str = "+" if column.signed else "") -> str:
        return f"{value * column.scale:{sign}.{column.digits}f}"

    text = shown(cell.value)
    if cell.spread is not None:
        text += f" ± {shown(cell.spread, '')}"
    if cell.interval is not None:
        text += f" [{shown(cell.interval[0])}, {shown(cell.interval[1])}]"
    return text + (" *" if cell.marked else "")
