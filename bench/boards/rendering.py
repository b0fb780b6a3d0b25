"""A Table as Markdown, CSV and terminal text. Pure functions; nothing is computed here but where the text stands."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.boards.entries import entry_path
from bench.boards.evidence import RowEvidence
from bench.boards.reading import for_terminal, see
from bench.boards.tables import (
    DIFFERENCE,
    FOOTNOTES,
    Column,
    Section,
    Table,
    TableCell,
    TableRow,
    aggregate,
    best_first,
    is_reference,
)
from bench.core.errors import BenchError
from bench.core.escaping import code_lines, label, link_target, one_line, prose, sentence, spreadsheet_text
from bench.submissions.request import reference_link


def to_markdown(table: Table, pictures: Mapping[str, str] | None = None) -> str:
    """Return the board as GitHub-flavoured Markdown: title, pictures, a short table of each block, the description;
    then every section, folded but for those with a paper's values; footnotes, commands.

    Args:
        pictures: name of a file beside the board -> what it shows.
    """
    out = [f"# {label(table.title)}", ""]
    for name, words in (pictures or {}).items():
        out += [f"![{label(words)}]({link_target(name)})", ""]
    headed = [section for section in table.sections if section.headline and section.rows]
    for section in headed:
        out += _headline(section)
    if headed:
        out += [f"Best first; Δ to the marked reference, `*` where significant ({see('Values and differences')}).", ""]
    if table.description:
        out += [prose(table.description), ""]
    open_ = [section for section in table.sections if section.reported or not headed]
    for section in open_:
        out += _section(section)
    for block in dict.fromkeys(section.block for section in table.sections if section not in open_):
        sections = [section for section in table.sections if section.block == block and section not in open_]
        out += _folded(f"All numbers of {label(block)}", [line for each in sections for line in _section(each)])
    used = {mark for section in table.sections for row in section.rows for mark in row.marks}
    if used:
        out += [f"{mark} {FOOTNOTES[mark]}  " for mark in FOOTNOTES if mark in used] + [""]
    commands = list(dict.fromkeys(row.command for section in table.sections for row in section.rows if row.command))
    if commands:
        reproduce = ["## Reproduce", "", *code_lines(commands), ""]
        out += _folded("Commands that reproduce each row", reproduce) if headed else reproduce
    return "\n".join(out)


def _folded(summary: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{summary}</summary>", "", *lines, "</details>", ""]


def _headline(section: Section) -> list[str]:
    """Return the short table of a block, best first: spreads, further intervals and links to records are in the whole
    one.
    """
    known = {column.key: column for column in section.columns}
    columns = [known[key] for key in section.headline if key in known]
    first = columns[0]
    lines = [[label(text) for text in (section.head, "seeds", *map(_arrow, columns))]]
    for row in best_first(section):
        name = label(row.label) + _label(row).removeprefix(row.label)
        cells = [sentence(_in_short(row, column, column is first)).replace("|", "\\|") for column in columns]
        lines.append([f"**{name}**" if is_reference(section, row) else name, row.seeds.split(" ")[0], *cells])
    return [f"## {label(section.block)}", "", *_table(lines), ""]


def _table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table of finished cells, the first line its head: labels to the left, numbers to the right."""
    head, *rows = ["| " + " | ".join(line) + " |" for line in lines]
    return [head, "|" + "|".join("---" if i == 0 else "---:" for i in range(len(lines[0]))) + "|", *rows]


def _in_short(row: TableRow, column: Column, with_interval: bool) -> str:
    """Return a number of the short table: without its spread, and marked where its own difference is."""
    cell, difference = row.cells[column.key], row.cells.get(column.key + DIFFERENCE)
    marked = cell.marked or (not with_interval and difference is not None and difference.marked)
    interval = cell.interval if with_interval else None
    return format_cell(replace(cell, spread=None, interval=interval, marked=marked), column)


def _section(section: Section) -> list[str]:
    """Return a section with its notes and the whole table."""
    out = [f"## {label(section.title)}", ""]
    for text in (section.note, section.lead):
        out += [sentence(text), ""] if text else []
    header = [label(text) for text in _header(section)]
    out += [*_table([header, *(_row_cells(section, row) for row in section.rows)]), ""]
    return out + ([*(f"- {sentence(line)}" for line in section.after), ""] if section.after else [])


def to_text(table: Table, width: int | None = None) -> str:
    """Return the table for a terminal: aligned columns, no borders; columns that do not fit into `width` continue
    below.
    """
    out = [one_line(table.title)]
    for section in table.sections:
        lines = [[one_line(text) for text in line] for line in _lines(section)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        out += [
            "",
            one_line(section.title),
            *textwrap.wrap(
                one_line(for_terminal(section.lead)), width or 140, initial_indent="  ", subsequent_indent="  "
            ),
        ]
        for group, shown in enumerate(_fitting(widths, width)):
            out += [""] if group else []
            for number, line in enumerate(lines):
                cells = [line[i].ljust(widths[i]) if i == 0 else line[i].rjust(widths[i]) for i in shown]
                out.append("  " + "  ".join(cells).rstrip())
                if number == 0:
                    out.append("  " + "  ".join("-" * widths[i] for i in shown))
        for said in section.after:
            out += textwrap.wrap(
                one_line(for_terminal(said)), width or 140, initial_indent="  - ", subsequent_indent="    "
            )
    marks = {mark for section in table.sections for row in section.rows for mark in row.marks}
    out += [f"{mark} {FOOTNOTES[mark]}" for mark in FOOTNOTES if mark in marks]
    return "\n".join(out) + "\n"


def _wrapped(text: str, width: int | None, first: str, further: str) -> list[str]:
    return textwrap.wrap(one_line(for_terminal(text)), width or 140, initial_indent=first, subsequent_indent=further)


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
    lines = [
        {key: spreadsheet_text(value) if isinstance(value, str) else value for key, value in line.items()}
        for line in lines
    ]
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


def _lines(section: Section) -> list[list[str]]:
    return [_header(section), *([_label(row), row.seeds, *_numbers(section, row)] for row in section.rows)]


def _label(row: TableRow) -> str:
    return row.label + ("".join(row.marks) and " " + "".join(row.marks))


def _numbers(section: Section, row: TableRow) -> list[str]:
    """Return what stands in the cells of a row behind its label and seeds."""
    numbers = [format_cell(row.cells[column.key], column) for column in section.columns]
    return [*numbers, *(row.reported.get(title, "–") for title in section.reported)]


def _row_cells(section: Section, row: TableRow) -> list[str]:
    """Return the cells of a row in Markdown, with links to its records, and to what describes it."""
    name, marks = label(row.label), _label(row).removeprefix(row.label)
    link = _link(row.link)
    seeds = _linked_seeds(row) if row.records else row.seeds
    numbers = [sentence(text).replace("|", "\\|") for text in _numbers(section, row)]
    return [(f"[{name}]({link})" if link else name) + marks, seeds, *numbers]


def _link(reference: str) -> str:
    """Return the address behind a row's label; "" where the record holds none that could be a link."""
    try:
        return reference_link(reference)
    except BenchError:
        return ""


def _linked_seeds(row: TableRow) -> str:
    """Return "3 ([0](...), [1](...), [2](...))": each seed leads to the record that its numbers come from."""
    links = [
        f"[{'record' if record.seed is None else record.seed}]({link_target(entry_path(record))})"
        for record in row.records
    ]
    return links[0] if row.records[0].seed is None else f"{len(links)} ({', '.join(links)})"
