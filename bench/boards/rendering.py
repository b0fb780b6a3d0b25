"""A Table as Markdown, CSV and terminal text. Pure functions; nothing is computed here but where the text stands."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bench.boards.entries import entry_path
from bench.boards.evidence import RowEvidence
from bench.boards.reading import for_terminal
from bench.boards.tables import FOOTNOTES, Column, Section, Table, TableCell, TableRow, aggregate


def to_markdown(table: Table) -> str:
    """Return the board as GitHub-flavoured Markdown: title, description, sections, footnotes, commands."""
    out = [f"# {table.title}", ""]
    if table.description:
        out += [table.description, ""]
    used: set[str] = set()
    for section in table.sections:
        out += [f"## {section.title}", ""]
        for text in (section.note, section.lead):
            out += [text, ""] if text else []
        header = _header(section)
        out.append("| " + " | ".join(header) + " |")
        out.append("|" + "|".join("---" if i == 0 else "---:" for i in range(len(header))) + "|")
        for row in section.rows:
            used |= set(row.marks)
            out.append(
                "| " + " | ".join(text.replace("|", "\\|") for text in _row_texts(section, row, linked=True)) + " |"
            )
        out.append("")
        out += [*(f"- {line}" for line in section.after), ""] if section.after else []
    if used:
        out += [f"{mark} {FOOTNOTES[mark]}  " for mark in FOOTNOTES if mark in used] + [""]
    commands = list(dict.fromkeys(row.command for section in table.sections for row in section.rows if row.command))
    if commands:
        out += ["## Reproduce", "", "```", *commands, "```", ""]
    return "\n".join(out)


def to_text(table: Table, width: int | None = None) -> str:
    """Return the table for a terminal: aligned columns, no borders; columns that do not fit into `width` continue
    below.
    """
    out = [table.title]
    for section in table.sections:
        lines = [_header(section), *(_row_texts(section, row) for row in section.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        out += [
            "",
            section.title,
            *textwrap.wrap(for_terminal(section.lead), width or 140, initial_indent="  ", subsequent_indent="  "),
        ]
        for group, shown in enumerate(_fitting(widths, width)):
            out += [""] if group else []
            for number, line in enumerate(lines):
                cells = [line[i].ljust(widths[i]) if i == 0 else line[i].rjust(widths[i]) for i in shown]
                out.append("  " + "  ".join(cells).rstrip())
                if number == 0:
                    out.append("  " + "  ".join("-" * widths[i] for i in shown))
        for said in section.after:
            out += textwrap.wrap(for_terminal(said), width or 140, initial_indent="  - ", subsequent_indent="    ")
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


STATISTICS = ("low", "high", "cluster_sd", "clusters", "difference", "difference_low", "difference_high", "p", "rank")
_CSV = ("dataset", "method", "metric", "mean", "spread", "n", *STATISTICS, "fingerprints")
_TEXTS, _COUNTS = ("dataset", "method", "metric", "fingerprints"), ("n", "clusters", "rank")


def to_csv(table: Table) -> str:
    """Return every metric of every row in full precision, those without a column included: one line per row and metric.

    The statistics stand beside the metrics that they were computed for, blank elsewhere.
    """
    import pandas

    rows: dict[tuple[str, ...], list[TableRow]] = {}
    for row in (row for section in table.sections for row in section.rows if row.records):
        rows.setdefault(tuple(record.slot for record in row.records), []).append(row)
    lines = []
    for same in rows.values():
        records = same[0].records
        evidence = {metric: found for row in same for metric, found in row.evidence.items()}
        whose = {"dataset": records[0].dataset, "method": records[0].method}
        prints = {"fingerprints": " ".join(record.fingerprint[:12] for record in records)}
        for metric in sorted({name for record in records for name in record.metrics}):
            cell = aggregate(records, metric)
            numbers = {"mean": cell.value, "spread": cell.spread, "n": cell.n, **_statistics(evidence.get(metric))}
            lines.append({**whose, "metric": metric, **numbers, **prints})
    types = {name: "object" if name in _TEXTS else "Int64" if name in _COUNTS else "float64" for name in _CSV}
    text: str = pandas.DataFrame(lines, columns=list(_CSV)).astype(types).to_csv(index=False, lineterminator="\n")
    return text


def _statistics(found: RowEvidence | None) -> dict[str, float | None]:
    """Return those of STATISTICS that are known of one row and metric."""
    if found is None:
        return {}
    estimate, gap = found.estimate, found.difference
    out = {"cluster_sd": estimate.cluster_sd, "clusters": estimate.clusters, "rank": found.rank}
    if estimate.interval is not None:
        out |= {"low": estimate.interval.low, "high": estimate.interval.high}
    if gap is not None:
        out |= {"difference": gap.value, "p": gap.p}
        if gap.interval is not None:
            out |= {"difference_low": gap.interval.low, "difference_high": gap.interval.high}
    return out


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


def _header(section: Section) -> list[str]:
    return [section.head, "seeds", *(_arrow(column) for column in section.columns), *section.reported]


def _arrow(column: Column) -> str:
    if column.higher_better is None:
        return column.label
    return column.label + (" ↑" if column.higher_better else " ↓")


def _row_texts(section: Section, row: TableRow, linked: bool = False) -> list[str]:
    """Return the texts of a row; `linked`: with links to its records, and to what describes it."""
    label = f"[{row.label}]({row.link})" if linked and row.link else row.label
    label += "".join(row.marks) and " " + "".join(row.marks)
    seeds = _linked_seeds(row) if linked and row.records else row.seeds
    numbers = [format_cell(row.cells[column.key], column) for column in section.columns]
    return [label, seeds, *numbers, *(row.reported.get(title, "–") for title in section.reported)]


def _linked_seeds(row: TableRow) -> str:
    """Return "3 ([0](...), [1](...), [2](...))": each seed leads to the record that its numbers come from."""
    links = [f"[{'record' if record.seed is None else record.seed}]({entry_path(record)})" for record in row.records]
    return links[0] if row.records[0].seed is None else f"{len(links)} ({', '.join(links)})"
