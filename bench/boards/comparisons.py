"""What the statistics say of the rows of a table: columns, cells and sentences. What is concluded is
`bench.statistics.inference`'s, which rows are compared `evidence.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.boards.evidence import RowComparison, RowEvidence
from bench.boards.reading import see
from bench.boards.tables import DIFFERENCE, RANK, REFERENCE, Block, Column, Section, TableCell, aggregate, table_row
from bench.execution.records import Record

if TYPE_CHECKING:
    from bench.statistics.intervals import Interval

EXPLAINED = "Values and differences"  # section of docs/reading-a-board.md
FEWEST = 5  # so many clusters or fewer can be swapped in so few ways that no difference is significant: 2 / 2^5 > 0.05


def comparison_columns(comparison: RowComparison, label: str, digits: int = 3, rank: bool = True) -> tuple[Column, ...]:
    """Return the columns that say what a comparison found: the difference to its reference row, and the rank."""
    columns = [
        Column(comparison.metric + DIFFERENCE, f"Δ {label} to {comparison.reference}", None, digits, signed=True)
    ]
    if not comparison.reference:
        columns = []
    return (*columns, *((Column(comparison.metric + RANK, "rank", None, 0),) if rank and comparison.rows else ()))


def comparison_cells(comparison: RowComparison, label: str) -> dict[str, TableCell]:
    """Return the cells of one row for `comparison_columns`; empty ones for a row that is not in the comparison."""
    found = comparison.rows.get(label)
    cells = {comparison.metric + DIFFERENCE: TableCell(None), comparison.metric + RANK: TableCell(None)}
    if found is None:
        return cells
    cells[comparison.metric + RANK] = TableCell(found.rank)
    gap = found.difference
    if gap is None:
        cells[comparison.metric + DIFFERENCE] = TableCell(None, note=REFERENCE)
    elif gap.value is not None:
        cells[comparison.metric + DIFFERENCE] = TableCell(
            gap.value, interval=_bounds(gap.interval), marked=found.marked, note=gap.reason
        )
    return cells


def metric_cells(
    records: Sequence[Record], columns: Iterable[Column], evidence: Mapping[str, RowEvidence]
) -> dict[str, TableCell]:
    """Return the cells of one row for `columns`, with the intervals that are known.

    Args:
        evidence: metric -> what the statistics say of it.
    """
    return {column.key: metric_cell(records, column.key, evidence.get(column.key)) for column in columns}


def metric_cell(records: Sequence[Record], key: str, found: RowEvidence | None) -> TableCell:
    """Return mean and spread of a metric with the interval that the statistics give it."""
    cell = aggregate(records, key)
    interval = None if found is None else _bounds(found.estimate.interval)
    return cell if cell.value is None else replace(cell, interval=interval)


def compared_section(block: Block, subject: str, note: str, columns: tuple[Column, ...], cluster: str) -> Section:
    """Return the plainest table of a block: its rows compared by the first column, the other columns beside it.

    Args:
        cluster: what is resampled, in the singular, such as "scene".
    """
    first, *others = columns
    main = block.compare(first.key)
    found = block.estimates([column.key for column in others])
    rows = []
    for row in block.rows:
        evidence = {**found[row.label], **({first.key: main.rows[row.label]} if row.label in main.rows else {})}
        cells = {**metric_cells(row.records, columns, evidence), **comparison_cells(main, row.label)}
        rows.append(table_row(row, cells, evidence))
    shown = (first, *comparison_columns(main, first.label, first.digits), *others)
    lead, after = comparison_note(main, first.label, cluster), sources(main, cluster)
    return Section(block.label, subject, note, shown, tuple(rows), lead=lead, after=after)


def comparison_note(comparison: RowComparison, label: str, cluster: str, reference: str = "", rank: bool = True) -> str:
    """Return the sentences above a table that say what its intervals and differences rest on.

    Args:
        cluster: in the singular, such as "scene". reference: how the reference row is called here; "" for its label.
        rank: the table shows ranks.
    """
    if not comparison.rows:
        return ""
    count, effective = comparison.clusters
    if count < 2:
        return f"Only one {cluster}, so neither intervals nor tests ({see(EXPLAINED)})."
    text = f"95 % intervals over seeds and {count} {cluster}s"
    text += f" (effective sample size {effective:.1f})" if effective < 0.9 * count else ""
    text += ", too narrow since the scenes that pairs share are unknown" if cluster == "pair" else ""
    if comparison.reference and len(comparison.rows) > 1:
        text += f"; Δ to `{reference or comparison.reference}`, * where significant"
    return f"{text} ({see(EXPLAINED)}). {comparison_limits(comparison, label, rank=rank)}".strip()


def comparison_limits(comparison: RowComparison, label: str, digits: int = 3, rank: bool = True) -> str:
    """Return what a comparison cannot decide: rows of one seed, and the smallest difference that the test set can
    resolve; `rank`: the table shows ranks.
    """
    rows = comparison.rows if len(comparison.rows) > 1 else {}
    once = [name for name, row in rows.items() if row.trained_once]
    single = [name for name, row in rows.items() if name not in once and _by_one_seed(row)]
    nothing = "neither marked nor ranked" if rank else "not marked"
    out = [f"One seed, so {nothing}: {', '.join(once)}."] if once else []
    out += [f"Compared by one seed, so not marked: {', '.join(single)}."] if single else []
    if rows and comparison.clusters[0] <= FEWEST:
        out.append(f"**With {comparison.clusters[0]} of them no difference can be significant.**")
    elif rank and len(rows) > len(once) + 1 and not comparison.ranked:
        out.append("Corrected over all pairs, no two rows are separable, so none is ranked.")
    if comparison.resolvable is not None and comparison.resolvable >= 1:
        out.append(f"**No difference in {label} can be resolved.**")
    elif comparison.resolvable is not None:
        out.append(f"**Smallest resolvable difference in {label}: about {comparison.resolvable:.{digits}f}.**")
    return " ".join(out)


def _by_one_seed(row: RowEvidence) -> bool:
    return row.difference is not None and not row.difference.seeds_known


def sources(comparison: RowComparison, cluster: str, digits: int = 3) -> tuple[str, ...]:
    """Return a line for each row with its two sources of variance apart, and how much hangs on a single cluster (in the
    singular).
    """
    out = []
    for label, found in comparison.rows.items():
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
