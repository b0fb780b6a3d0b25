"""Pictures of boards: what is drawn where, in which order, and that nothing in a label breaks them."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.boards.pictures import PICTURES, pictures_of
from bench.boards.rendering import to_markdown
from bench.boards.tables import Column, Section, Table, TableCell, TableRow

SVG = "{http://www.w3.org/2000/svg}"
AUC = Column("auc", "AUC")


def row(label: str, value: float | None, half: float = 0.02, **more: Any) -> TableRow:
    interval = None if value is None else (value - half, value + half)
    cells = {"auc": TableCell(value, n=2, interval=interval, note=more.pop("note", ""))}
    cells |= {"auc:difference": TableCell(None, note="reference")} if more.pop("reference", False) else {}
    return TableRow(label, cells, "2 (0, 1)", "", **more)


def trained(label: str, value: float, entries: int, lr: float = 0.1) -> TableRow:
    method = {"matcher": "m", "options": {"entries": entries, "epoch_crops": entries, "lr": lr}}
    record: Any = SimpleNamespace(facts={"training_entries": entries}, spec={"method": method})
    return row(label, value, records=(record,))


def table(*rows: TableRow, column: Column = AUC, head: str = "method") -> Table:
    return Table("Title", "", (Section("set/split", "subject", "", (column,), rows, head=head),))


def drawn(shown: Table, name: str = "{}.svg") -> ElementTree.Element:
    return ElementTree.fromstring(pictures_of(shown, "t")[name.format("t")][1])


def texts(svg: ElementTree.Element, anchor: str | None = None) -> list[str]:
    return [str(e.text) for e in svg.iter(f"{SVG}text") if anchor in (None, e.get("text-anchor"))]


def test_rows_stand_best_first_and_a_row_without_a_mean_says_why() -> None:
    shown = table(row("b", 0.7), row("x", None, note="1/3 failed"), row("a", 0.9), row("ref", 0.8, reference=True))
    svg = drawn(shown)
    assert texts(svg, "end") == ["a", "ref", "b", "x"] and "1/3 failed" in texts(svg)
    assert [text for text in texts(svg) if re.fullmatch(r"0\.\d{3}", text)] == ["0.900", "0.800", "0.700"]
    assert "set/split: AUC (higher is better), 95 % intervals" in texts(svg)
    assert len(list(svg.iter(f"{SVG}circle"))) == 2
    lower = drawn(table(row("b", 0.7), row("a", 0.9), column=Column("auc", "FPR95", higher_better=False)))
    assert texts(lower, "end") == ["b", "a"]


def test_marks_and_intervals_stand_at_their_values() -> None:
    svg = drawn(table(row("low", 0.2, 0.1), row("high", 0.8, 0.1), row("mid", 0.5, 0.0, reference=True)))
    ticks = {float(str(e.text)): float(str(e.get("x"))) for e in svg.iter(f"{SVG}text") if e.get("font-size") == "11"}
    (first, at), (last, to) = min(ticks.items()), max(ticks.items())

    def x(value: float) -> float:
        return at + (to - at) * (value - first) / (last - first)

    assert [float(str(e.get("cx"))) for e in svg.iter(f"{SVG}circle")] == pytest.approx([x(0.8), x(0.2)], abs=0.1)
    ends = [
        (float(str(e.get("x1"))), float(str(e.get("x2"))))
        for e in svg.iter(f"{SVG}line")
        if e.get("stroke-width") == "2"
    ]
    assert ends[0] == pytest.approx((x(0.7), x(0.9)), abs=0.1) and ends[2] == pytest.approx((x(0.1), x(0.3)), abs=0.1)
    (reference,) = [e for e in svg.iter(f"{SVG}line") if e.get("stroke-dasharray")]
    assert float(str(reference.get("x1"))) == pytest.approx(x(0.5), abs=0.1)


def test_the_short_table_stands_on_top_best_first_with_marks_and_six_columns_at_most() -> None:
    columns = (AUC, Column("auc:difference", "Δ AUC to ref", None, signed=True), Column("f", "FPR95", False))

    def cells(value: float, change: float | None, f: float) -> dict[str, TableCell]:
        difference = TableCell(None, note="reference") if change is None else TableCell(change, marked=change > 0.1)
        found = {"auc": TableCell(value, 0.01, 2, interval=(value - 0.1, value + 0.1)), "auc:difference": difference}
        return {**found, "f": TableCell(f, 0.2, 2, interval=(0, 1)), "f:difference": TableCell(-0.2, marked=f < 0.1)}

    rows = [
        TableRow("low|er", cells(0.7, -0.1, 0.5), "2 (0, 1)", "bench run"),
        TableRow("best", cells(0.95, 0.15, 0.05), "5 (0, 1, 2, 3, 4)", "", marks=("†",)),
        TableRow("ref", cells(0.8, None, 0.4), "–", ""),
    ]
    keys = tuple(column.key for column in columns)
    section = Section("set/split", "what", "", columns, tuple(rows), headline=keys)
    board = to_markdown(Table("T", "Words.", (section,)))
    short, _, whole = board.partition("Words.")
    assert [line for line in short.splitlines() if line.startswith("|")] == [
        "| method | seeds | AUC ↑ | Δ AUC to ref | FPR95 ↓ |",
        "|---|---:|---:|---:|---:|",
        "| best † | 5 | 0.950 [0.850, 1.050] | +0.150 * | 0.050 * |",
        "| **ref** | – | 0.800 [0.700, 0.900] | reference | 0.400 |",
        "| low\\|er | 2 | 0.700 [0.600, 0.800] | -0.100 | 0.500 |",
    ]
    assert whole.index("<details><summary>All numbers of set/split</summary>\n\n## set/split: what") < whole.index(
        "± 0.010"
    )
    plain = to_markdown(Table("T", "Words.", (Section("set/split", "what", "", columns, tuple(rows)),)))
    assert "<details>" not in plain and "## set/split: what" in plain


def test_labels_are_words_and_no_markup() -> None:
    svg = drawn(table(row("<script>&\n\x07é", 0.5), row("a" * 90, 0.4)))
    labels = texts(svg, "end")
    assert labels[0].startswith("<script>&") and "\x07" not in labels[0] and len(labels[1]) == 34


def test_one_value_or_equal_values_need_no_span() -> None:
    for value in (0.0, 0.5, 1.0):
        assert len(list(drawn(table(row("a", value, 0.0))).iter(f"{SVG}circle"))) == 1


def test_without_a_number_or_a_table_by_method_there_is_no_picture() -> None:
    assert pictures_of(table(), "t") == pictures_of(table(row("a", None)), "t") == {}
    assert pictures_of(table(row("a", 0.5), head="pretraining"), "t") == {}


def test_three_budgets_of_one_row_make_a_line() -> None:
    rows = [trained("m-10k", 0.9, 10_000), trained("m-1k", 0.7, 1000), trained("m-100", 0.6, 100)]
    other = trained("other", 0.99, 100, lr=0.2)
    assert set(pictures_of(table(*rows[:2], other), "t")) == {"t.svg"}
    svg = drawn(table(*rows, other), "{}-budget.svg")
    dots = [(float(str(e.get("cx"))), float(str(e.get("cy")))) for e in svg.iter(f"{SVG}circle")]
    assert len(dots) == 3 and [x for x, _ in dots] == sorted(x for x, _ in dots)
    assert dots[1][0] - dots[0][0] == pytest.approx(dots[2][0] - dots[1][0], abs=0.2), "the axis is logarithmic"
    assert dots[0][1] > dots[1][1] > dots[2][1] and "to m-10k" in texts(svg)
    assert {"100", "1,000", "10,000"} <= set(texts(svg))
    assert list(PICTURES) == ["{}.svg", "{}-budget.svg"]
