"""The pictures of a board, as SVG: every row's headline number with its interval, and what a larger budget of training
brings.

Pure functions of a table, written as text here and not by matplotlib: a board is rebuilt after every run and must come
to the same bytes under every version of a library.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from bench.boards.tables import Column, Section, Table, TableCell, TableRow, best_first, is_reference
from bench.core.escaping import one_line
from bench.core.store import canonical_hash

PICTURES = {  # name of the file, with the task's in it -> what it shows
    "{}.svg": "Headline numbers with 95 % intervals, best first",
    "{}-budget.svg": "Headline numbers against the training budget",
}
WIDTH = 820  # of the column that GitHub shows Markdown in, in px
_LABELS, _RIGHT, _ROW, _HEAD, _FOOT = 230, 70, 18, 34, 34
_TALL = 240  # of a plot against the budget
_INK, _FAINT, _BLUE, _ORANGE = "#24292f", "#d0d7de", "#0b5cad", "#b35900"
_SERIES = (("#0b5cad", ""), ("#b35900", "6 3"), ("#1a7f37", "2 3"), ("#8250df", "8 3 2 3"))  # colour, dashes
_BUDGETS = ("entries", "samples", "epochs", "epoch_crops")  # options that say how long is trained, and nothing else
_COUNTED = ("training_entries", "training_tiles")  # facts: what was trained on
_LABEL_CHARS = 34


@dataclass
class _Drawing:
    """SVG elements so far; y grows downwards."""

    parts: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dashes: str = "") -> None:
        more = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"'
            f' stroke-width="{width:g}"{more}/>'
        )

    def text(self, x: float, y: float, words: str, anchor: str = "start", size: int = 12, weight: str = "") -> None:
        more = f' font-weight="{weight}"' if weight else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{more}>{escape(words)}</text>'
        )

    def dot(self, x: float, y: float, colour: str) -> None:
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')

    def square(self, x: float, y: float, colour: str) -> None:
        self.parts.append(f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}"/>')

    def svg(self, height: float, title: str) -> str:
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}"'
                f' height="{height:.0f}" font-family="Helvetica, Arial, sans-serif" fill="{_INK}" role="img">',
                f"<title>{escape(title)}</title>",
                '<rect width="100%" height="100%" fill="#ffffff"/>',
                *self.parts,
                "</svg>",
                "",
            ]
        )


def pictures_of(table: Table, task: str) -> dict[str, tuple[str, str]]:
    """Return the pictures of a task's board: name of the file -> (what it shows, SVG)."""
    drawn = zip(PICTURES.items(), (interval_picture(table), budget_picture(table)), strict=True)
    return {name.format(task): (words, svg) for (name, words), svg in drawn if svg is not None}


def headline_sections(table: Table) -> list[Section]:
    """Return, of each block, the section whose first column is what its rows are compared by: those with a short table,
    else the first by method.
    """
    headed = [section for section in table.sections if section.headline]
    if headed:
        return headed
    out: dict[str, Section] = {}
    for section in table.sections:
        if section.head == "method" and section.columns:
            out.setdefault(section.block, section)
    return list(out.values())


def interval_picture(table: Table) -> str | None:
    """Return the SVG of every row's headline number with its 95 % interval, best first, a panel for each block; None
    without a number.

    The reference is a square with a dashed line through all rows; a row without a mean says why.
    """
    drawing, top = _Drawing(), 8.0
    for section in headline_sections(table):
        known = [row for row in section.rows if row.cells[section.columns[0].key].value is not None]
        if known:
            top = _panel(drawing, section, known, top)
    return drawing.svg(top, f"{one_line(table.title)}: headline numbers") if drawing.parts else None


def _panel(drawing: _Drawing, section: Section, known: Sequence[TableRow], top: float) -> float:
    """Draw one block below `top`; return where it ends."""
    column = section.columns[0]
    scale = _Scale.over(column, [row.cells[column.key] for row in known], _LABELS, WIDTH - _RIGHT)
    rows = best_first(section)
    bottom = top + _HEAD + _ROW * len(rows)
    drawing.text(8, top + 18, f"{one_line(section.block)}: {_named(column)}", size=14, weight="bold")
    for tick, words in scale.ticks:
        drawing.line(scale(tick), top + _HEAD - 6, scale(tick), bottom, _FAINT)
        drawing.text(scale(tick), bottom + 14, words, "middle", 11)
    for number, row in enumerate(rows):
        y = top + _HEAD + _ROW * (number + 0.5)
        drawing.text(_LABELS - 10, y + 4, _short(row.label), "end")
        cell, reference = row.cells[column.key], is_reference(section, row)
        if cell.value is None:
            drawing.text(_LABELS + 4, y + 4, one_line(cell.note) or "not known", size=11)
            continue
        colour, value = _ORANGE if reference else _BLUE, column.scale * cell.value
        if reference:
            drawing.line(scale(value), top + _HEAD - 6, scale(value), bottom, _ORANGE, 1, "4 3")
        if cell.interval is not None:
            low, high = (scale(column.scale * end) for end in cell.interval)
            drawing.line(low, y, high, y, colour, 2)
        (drawing.square if reference else drawing.dot)(scale(value), y, colour)
        drawing.text(WIDTH - _RIGHT + 12, y + 4, f"{value:.{column.digits}f}", size=12)
    return bottom + _FOOT


def budget_picture(table: Table) -> str | None:
    """Return the SVG of the headline number against the training budget, for rows that differ in nothing else, a line
    for each block; None where no three rows do.
    """
    lines: dict[str, list[tuple[str, Column, list[tuple[float, TableRow]]]]] = {}
    for section in headline_sections(table):
        for rows in _by_budget(section):
            lines.setdefault(section.columns[0].key, []).append((section.block, section.columns[0], rows))
    drawing, top = _Drawing(), 8.0
    for series in lines.values():
        top = _plot(drawing, series, top)
    return drawing.svg(top, f"{one_line(table.title)}: against the training budget") if drawing.parts else None


def _by_budget(section: Section) -> Iterable[list[tuple[float, TableRow]]]:
    """Yield the rows that differ in their budget alone as (budget, row), three budgets at least."""
    groups: dict[str, dict[float, TableRow]] = {}
    for row in section.rows:
        counts = [record.facts.get(name) for record in row.records[:1] for name in _COUNTED]
        count = next((float(count) for count in counts if count), None)
        if count is None or row.cells[section.columns[0].key].value is None:
            continue
        method = dict(row.records[0].spec["method"])
        method["options"] = {name: value for name, value in method["options"].items() if name not in _BUDGETS}
        groups.setdefault(canonical_hash(method), {}).setdefault(count, row)
    yield from (sorted(group.items()) for group in groups.values() if len(group) >= 3)


def _plot(drawing: _Drawing, series: Sequence[tuple[str, Column, list[tuple[float, TableRow]]]], top: float) -> float:
    """Draw one plot below `top`; return where it ends."""
    column = series[0][1]
    shown = [point for _, _, rows in series for point in rows]
    budgets = [budget for budget, _ in shown]
    across = _Scale.logarithmic(min(budgets), max(budgets), 60, WIDTH - 200)
    up = _Scale.over(column, [row.cells[column.key] for _, row in shown], top + _HEAD + _TALL, top + _HEAD)
    drawing.text(8, top + 18, f"{_named(column)} against training samples", size=14, weight="bold")
    for tick, words in up.ticks:
        drawing.line(60, up(tick), WIDTH - 200, up(tick), _FAINT)
        drawing.text(52, up(tick) + 4, words, "end", 11)
    bottom = top + _HEAD + _TALL
    for tick, words in across.ticks:
        drawing.line(across(tick), top + _HEAD, across(tick), bottom, _FAINT)
        drawing.text(across(tick), bottom + 16, words, "middle", 11)
    for number, (block, _, rows) in enumerate(series):
        colour, dashes = _SERIES[number % len(_SERIES)]
        points = [(across(budget), row.cells[column.key]) for budget, row in rows]
        heights = [up(column.scale * (cell.value or 0.0)) for _, cell in points]
        for (x, cell), y in zip(points, heights, strict=True):
            if cell.interval is not None:
                low, high = (up(column.scale * end) for end in cell.interval)
                drawing.line(x, low, x, high, colour, 1)
            drawing.dot(x, y, colour)
        for i in range(len(points) - 1):
            drawing.line(points[i][0], heights[i], points[i + 1][0], heights[i + 1], colour, 2, dashes)
        y = top + _HEAD + 14 + 34 * number
        drawing.line(WIDTH - 190, y - 4, WIDTH - 166, y - 4, colour, 2, dashes)
        drawing.text(WIDTH - 160, y, _short(block, 24), size=11)
        drawing.text(WIDTH - 160, y + 14, _short(f"to {rows[-1][1].label}", 24), size=11)
    return bottom + _FOOT


@dataclass(frozen=True)
class _Scale:
    """Values -> px, with the values that the axis names."""

    first: float
    last: float
    at: float
    to: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def __call__(self, value: float) -> float:
        a, b, x = (
            (math.log(self.first), math.log(self.last), math.log(value)) if self.log else (self.first, self.last, value)
        )
        return self.at + (self.to - self.at) * ((x - a) / (b - a) if b > a else 0.5)

    @classmethod
    def over(cls, column: Column, cells: Iterable[TableCell], at: float, to: float) -> _Scale:
        """Return an axis that holds the values of a column's cells, as shown, and their intervals."""
        ends = [value for cell in cells for value in (cell.value, *(cell.interval or ())) if value is not None]
        return cls.linear(column.scale * min(ends), column.scale * max(ends), at, to)

    @classmethod
    def linear(cls, low: float, high: float, at: float, to: float) -> _Scale:
        """Return an axis with four to eight round ticks, as long as the values need it."""
        span = high - low or max(abs(high), 1.0) * 0.1
        raw = span / 5
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        last = max(last, first + 1)
        ticks = tuple((k * step, f"{k * step:.{digits}f}") for k in range(first, last + 1))
        return cls(first * step, last * step, at, to, False, ticks)

    @classmethod
    def logarithmic(cls, low: float, high: float, at: float, to: float) -> _Scale:
        """Return an axis with the powers of ten, and their halves and fifths, that lie within."""
        values = [
            factor * 10.0**power
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for factor in (1, 2, 5)
        ]
        ticks = tuple((value, f"{value:,.0f}") for value in values if low <= value <= high)
        return cls(low, high, at, to, True, ticks)


def _named(column: Column) -> str:
    arrow = {True: " (higher is better)", False: " (lower is better)", None: ""}[column.higher_better]
    return f"{column.label}{arrow}, 95 % intervals"


def _short(text: str, length: int = _LABEL_CHARS) -> str:
    text = one_line(text)
    return text if len(text) <= length else text[: length - 1] + "…"
