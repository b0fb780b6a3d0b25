"""Text of others on its way out: whatever a label, title, reference or command holds, a board keeps its shape, a
spreadsheet finds no formula and a terminal no control character; ordinary text is untouched.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.boards.figures import plain_axes, write_figures
from bench.boards.rendering import to_csv, to_markdown, to_text
from bench.boards.tables import Column, Section, Table, TableCell, TableRow, row_command
from bench.core.escaping import code_lines, label, printable, prose, sentence, spreadsheet_text
from bench.core.output import printable_output
from bench.core.progress import Progress
from bench.execution.records import load_record

FINISHED = load_record(Path(__file__).parent / "records_v1" / "finished.json")
METRIC = "uniform.accuracy"
NASTY = st.text(st.sampled_from("ab |\\`*_[]()<>!#~=+-@'\"&\n\r\t\x1b\x07\x9b\u202e\u2028\ud800$é"), max_size=24)
BAD_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\ud800-\udfff]")
ALLOWED_TARGETS = ("entries/", "../../docs/", "https://", "http://")


def board(name: str, reference: str = "") -> Table:
    """A board all of whose texts of others are `name`."""
    command = f"bench run matching --config x --method {name}"
    names = {**FINISHED.names, "reference": reference}
    record = FINISHED.model_copy(update={"method": name, "dataset": name, "command": command, "names": names})
    row = TableRow(name, {METRIC: TableCell(0.5)}, "–", row_command([record]), records=(record,), link=reference)
    columns = (Column(METRIC, f"Δ accuracy to {name}"),)
    note = f"Δ to `{name}`, * where significant ([reading-a-board](../../docs/reading-a-board.md#x))."
    section = Section(name, "is it a match?", note, columns, (row,), lead=note, after=(f"{name}: **0.5** [+0.1, 0.2]",))
    return Table(name, f"{name}\n\n{name}", (section,))


def unescaped(line: str, mark: str) -> int:
    return len(re.findall(re.escape(mark), re.sub(r"\\.", "", line)))


@settings(deadline=None, max_examples=150)
@example("a\n\n| injected | row |")
@example("=cmd|'/c calc'!A0")
@example("a\\|b\\")
@example("![x](http://evil/t.png)")
@example("[click](javascript:alert(1))\n```\n<img src=x onerror=alert(1)>")
@given(NASTY)
def test_a_board_keeps_its_shape_whatever_stands_in_it(name: str) -> None:
    table = board(name, reference="javascript:alert(1)")
    text = to_markdown(table)
    body, _, commands = text.partition("## Reproduce")
    lines = body.splitlines()
    assert not BAD_CONTROL.search(text)
    assert body.count("\n# ") == 0 and len([line for line in lines if line.startswith("## ")]) == 1
    assert "<" not in body, "HTML"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3 and {unescaped(row, "|") for row in rows} == {4}
    for target in re.findall(r"(?<!\\)\[[^\[\]]*\]\(([^)]*)", re.sub(r"(`+).*?\1", "", body)):
        assert target.startswith(ALLOWED_TARGETS), target
    assert not re.search(r"(?<!\\)!\[", body)
    fence = commands.strip().splitlines()
    assert len(fence) == 3 and fence[0] == fence[2] and set(fence[0]) == {"`"} and fence[0] not in fence[1]
    assert not BAD_CONTROL.search(to_text(table).replace("\n", ""))
    wide = 10**6
    assert to_text(table, wide).count("\n") == to_text(board("plain"), wide).count("\n"), "no line of its own"


@settings(deadline=None, max_examples=100)
@example("@SUM(1+1)")
@given(NASTY)
def test_a_spreadsheet_finds_no_formula_and_numbers_stay_numbers(name: str) -> None:
    (first, *_) = rows = list(csv.DictReader(io.StringIO(to_csv(board(name)))))
    for row in rows:
        assert not row["method"].startswith(("=", "+", "-", "@", "\t", "\r")), row
        assert float(row["mean"]) == FINISHED.metrics[row["metric"]] if row["mean"] else True
    assert first["method"] in (name.strip("\r"), printable(name), f"'{printable(name)}")
    assert spreadsheet_text("cfog-2") == "cfog-2" and spreadsheet_text("-x") == "'-x"


def test_ordinary_text_is_untouched() -> None:
    for text in ("faster-rcnn/osm-shuffled", "bnn-resnet18, at 0.38", "is it a match? 5 % (a, b)", "my_method 2.0"):
        assert label(text) == sentence(text) == prose(text) == printable(text) == text
    written = "**What it shows.** (1) [page](docs/a.md#b) and [paper](https://example.org/a_b), `code`.\n\nMore: a < b"
    assert prose(written) == written.replace("<", "&lt;")
    assert sentence("± 0.1 [0.2, 0.3] `a` ([x](../../docs/x.md#y))") == "± 0.1 [0.2, 0.3] `a` ([x](../../docs/x.md#y))"


def test_a_description_cannot_pass_for_the_board() -> None:
    text = prose(
        "# H1\n| a | b |\n```\n[a](javascript:1) [b]( data:x) ![i](https://e.org/t.png)\n[r]: javascript:1\n<b>"
    )
    assert text == (
        "\\# H1\n\\| a | b |\n\\```\n[a]\\(javascript:1) [b]\\( data:x) !\\[i](https://e.org/t.png)\n"
        "\\[r]: javascript:1\n&lt;b>"
    )
    assert code_lines(["a ```` b"])[0] == "`" * 5


@pytest.mark.parametrize(
    ("reference", "linked"),
    [("https://example.org/a", True), ("javascript:alert(1)", False), ("https://e.org/) | x", False), ("a b", False)],
)
def test_a_row_links_to_web_addresses_alone(reference: str, linked: bool) -> None:
    assert (f"[name]({reference})" in to_markdown(board("name", reference))) == linked
    assert linked or reference not in to_markdown(board("name", reference)).replace("\\", "")


def test_what_is_printed_reaches_the_terminal_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with printable_output():
        print("\x1b[31mred\x07 é ↑\tb\nnext \u202e\ud800")
        print("\x9b2J", file=sys.stderr)
        Progress().say("\x1b[1mlog")
        with Progress().bar("\x1b]0;title\x07", 1):
            pass
    out, err = capsys.readouterr()
    assert out == "\\x1b[31mred\\x07 é ↑\tb\nnext \\u202e\\ud800\n"
    assert "\x9b" not in err and "\x1b" not in err and "\\x1b[1mlog" in err and "\\x1b]0;title" in err


def test_a_title_with_dollars_is_no_formula(tmp_path: Path) -> None:
    figure, _ = plain_axes(r"$\frac{$ on a$b")
    (path,) = write_figures(tmp_path, {"x": figure})
    assert path.stat().st_size > 1000
