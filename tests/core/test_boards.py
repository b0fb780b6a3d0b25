"""Records -> rows -> board: means that can be believed, and bytes that depend on the entries alone."""

from __future__ import annotations

import os
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
from lineage_toys import matched

from bench.boards.entries import file_entries
from bench.boards.leaderboard import build_boards, write_suite
from bench.boards.rendering import format_cell, to_text
from bench.boards.tables import Column, TableCell, aggregate, group_rows, row_command, seeds_text
from bench.core.errors import BenchError
from bench.core.store import read_json, save_arrays, write_json
from bench.execution.cell import Cell
from bench.execution.records import Failure, Record, load_record
from bench.suite.config import Suite

BOARDS = Path(__file__).resolve().parents[2] / "leaderboards"
FINISHED = load_record(Path(__file__).parent / "records_v1" / "finished.json")
METRIC = "uniform.accuracy"
COLUMN = Column(METRIC, "accuracy")


def record(seed: int | None = None, value: float | None = 0.5, **changes: Any) -> Record:
    """Return a finished record of one seed, with one known metric."""
    command = FINISHED.command + ("" if seed is None else f" --seeds {seed}")
    values = {"seed": seed, "command": command, "metrics": {**FINISHED.metrics, METRIC: value}, **changes}
    return FINISHED.model_copy(update=values)


def failed(seed: int) -> Record:
    failure = Failure(stage="train", message="no", traceback="")
    return record(seed, status="failed", metrics={}, facts={}, provenance={}, failure=failure)


def hardware(**changes: Any) -> dict[str, Any]:
    return {**FINISHED.provenance, "hardware": {**FINISHED.provenance["hardware"], **changes}}


def test_mean_and_sample_standard_deviation() -> None:
    cell = aggregate([record(0, 0.8), record(1, 0.9), record(2, 0.7)], METRIC)
    assert cell.value == pytest.approx(0.8) and cell.spread == pytest.approx(0.1) and cell.n == 3
    assert cell.spread == statistics.stdev([0.8, 0.9, 0.7])
    assert (
        format_cell(cell, COLUMN) == "0.800 ± 0.100"
        and format_cell(cell, Column(METRIC, "", True, 1, 100)) == "80.0 ± 10.0"
    )
    assert aggregate([record(None, 0.25)], METRIC) == TableCell(0.25, None, 1)
    assert format_cell(TableCell(0.25, None, 1), COLUMN) == "0.250" and format_cell(TableCell(None), COLUMN) == "–"


def test_a_failed_or_undefined_seed_hides_the_mean() -> None:
    cell = aggregate([record(0, 0.9), failed(1), record(2, 0.9)], METRIC)
    assert cell.value is None and format_cell(cell, COLUMN) == "1/3 failed"
    cell = aggregate([record(0, 0.9), record(1, None)], METRIC)
    assert cell.value is None and format_cell(cell, COLUMN) == "1/2 undefined"
    assert aggregate([record(0, None), record(1, None)], METRIC) == TableCell(None, n=2)
    assert aggregate([record(0)], "no.such") == TableCell(None, n=1)


def test_equal_labels_with_another_spec_are_never_averaged() -> None:
    rows = group_rows([record(1), record(0), record(0, row_key="f" * 64), record(0, method="other")])
    assert [(label.split(" (")[0], [r.seed for r in group], marks) for label, group, marks in rows] == [
        ("cfog", [0, 1], ("¶",)),
        ("cfog", [0], ("¶",)),
        ("other", [0], ()),
    ]
    assert rows[0][0] != rows[1][0] and rows[1][0] == "cfog (ffffff)"


@pytest.mark.parametrize(
    ("records", "marks"),
    [
        ([record(0), record(1)], ()),
        ([record(0), failed(1)], ("‡",)),
        ([record(0), record(1, provenance=hardware(threads=7))], ("†",)),
        ([record(0), record(1, provenance=hardware(device="cuda"))], ("†",)),
        ([record(0), record(1, provenance=hardware() | {"trained_by": hardware(processes=2)})], ("†",)),
        ([record(0), record(1, provenance=hardware() | {"trained_by": hardware(processes=1)})], ()),
        ([record(0, provenance={**FINISHED.provenance, "git": {"commit": "x", "dirty": True}})], ("§",)),
        ([record(0, provenance={**FINISHED.provenance, "git": None})], ()),
    ],
)
def test_marks(records: list[Record], marks: tuple[str, ...]) -> None:
    assert group_rows(records)[0][2] == marks


def test_seeds_and_the_command_of_a_row() -> None:
    assert seeds_text([record(0), record(4)]) == "2 (0, 4)" and seeds_text([record(None)]) == "–"
    assert row_command([record(0), record(4)]).endswith("--method cfog --split grouped --seeds 0 4")
    assert row_command([record(None)]) == FINISHED.command


# -- the board on disk -------------------------------------------------------------------------------------------------
def suite(**changes: Any) -> Suite:
    values = {
        "name": "s",
        "title": "A suite",
        "description": "Words.",
        "tasks": {"matching": {"note": "A note."}},
        **changes,
    }
    return Suite.model_validate(values)


def cell(entry: Record) -> Cell:
    return Cell("matching", "s", entry.dataset, entry.method, entry.seed, entry.spec)


def filed(boards: Path, records: list[Record], **changes: Any) -> Path:
    """File `records`, each with per-sample scores that give its accuracy, and build the board; return its folder."""
    sources = []
    for number, each in enumerate(records):
        source = boards.parent / f"cell{number}"
        source.mkdir(exist_ok=True, parents=True)
        if each.status == "finished":
            each, samples = matched(each, round(100 * (each.metrics[METRIC] or 0)))
            save_arrays(source / "scores.npz", samples)
        sources.append((source, each))
    if file_entries(boards / "s", sources):
        write_suite(boards / "s", suite(**changes), [cell(r) for r in records])
    assert not build_boards(boards, "s").problems
    return boards / "s"


RECORDS = [
    record(None),
    *(record(seed, 0.5 + seed / 50, method="net") for seed in (0, 1, 10)),
    record(None, dataset="b/x"),
    failed(3),
]


def test_a_board_is_a_pure_function_of_its_entries(tmp_path: Path) -> None:
    folder = filed(tmp_path / "boards", RECORDS)
    board, csv = (folder / "matching.md").read_bytes(), (folder / "matching.csv").read_bytes()
    text, picture = board.decode(), "![Headline numbers with 95 % intervals, best first](matching.svg)"
    assert (folder / "matching.svg").is_file()
    assert text.startswith(f"# A suite\n\n{picture}\n\n## toy/grouped\n\n| method | seeds | AUC ↑ |")
    assert (
        "\n\nWords.\n\nA note.\n\n<details><summary>All numbers of toy/grouped</summary>\n\n## toy/grouped: do" in text
    )
    assert text.count("<details>") == text.count("\n</details>\n") == 3
    links = ", ".join(f"[{seed}](entries/matching--toy-grouped--net--seed{seed}.json)" for seed in (0, 1, 10))
    assert f"3 ({links})" in text and "[record](entries/matching--toy-grouped--cfog--once.json)" in text
    assert not re.search(r"\d\d:\d\d|20\d\d-|seconds| s\b \|", text) and b"seconds" not in csv
    clone = tmp_path / "clone" / "s"
    (clone / "entries").mkdir(parents=True)
    for path in sorted((folder / "entries").iterdir(), reverse=True):  # another order of the files, other times
        shutil.copy(path, clone / "entries" / path.name)
        os.utime(clone / "entries" / path.name, (1, 1))
    shutil.copy(folder / "suite.json", clone)
    build_boards(tmp_path / "clone", "s")
    assert (clone / "matching.md").read_bytes() == board and (clone / "matching.csv").read_bytes() == csv
    build_boards(tmp_path / "clone", "s")
    assert (clone / "matching.md").read_bytes() == board
    again = filed(tmp_path / "again" / "boards", RECORDS)
    assert (again / "matching.md").read_bytes() == board


@pytest.mark.parametrize("name", sorted(path.parent.name for path in BOARDS.glob("*/suite.json")))
def test_the_committed_boards_are_what_their_entries_give(tmp_path: Path, name: str) -> None:
    shutil.copytree(BOARDS / name, tmp_path / name)
    build_boards(tmp_path, name)
    for path in [*(BOARDS / name).glob("*.md"), *(BOARDS / name).glob("*.csv"), *(BOARDS / name).glob("*.svg")]:
        assert (tmp_path / name / path.name).read_bytes() == path.read_bytes(), f"bench leaderboard {name}"


def test_costs_and_machines_do_not_show(tmp_path: Path) -> None:
    board = (filed(tmp_path / "a" / "boards", [record(None)]) / "matching.md").read_bytes()
    slow = record(None, cost={"train": {"seconds": 9e9}}, provenance=hardware(processor="another"))
    assert (filed(tmp_path / "b" / "boards", [slow]) / "matching.md").read_bytes() == board


def test_rows_stand_in_the_order_of_the_suite_and_a_selection_keeps_it(tmp_path: Path) -> None:
    first, second = record(None, method="zebra"), record(None, method="ant")
    folder = filed(tmp_path / "boards", [first, second])
    board = (folder / "matching.md").read_text()
    whole = board[board.index("<details>") :]
    assert whole.index("| zebra") < whole.index("| ant")
    filed(tmp_path / "boards", [second])
    assert (folder / "matching.md").read_text() == board
    assert [row[2] for row in read_json(folder / "suite.json")["order"]] == ["zebra", "ant"]


def test_rows_filed_later_take_their_place_in_the_order_of_the_suite(tmp_path: Path) -> None:
    names = ("first", "second", "third", "gone")
    rows = {name: ("matching", "toy/grouped", name) for name in names}
    for name in ("gone", "third", "first"):
        write_suite(
            tmp_path, suite(), [cell(record(None, method=name))], [rows["first"], rows["second"], rows["third"]]
        )
    assert [row[2] for row in read_json(tmp_path / "suite.json")["order"]] == ["first", "third", "gone"], (
        "second was never run"
    )
    write_suite(
        tmp_path, suite(), [cell(record(None, method="second"))], [rows["first"], rows["second"], rows["third"]]
    )
    assert [row[2] for row in read_json(tmp_path / "suite.json")["order"]] == ["first", "second", "third", "gone"]


def test_limited_records_are_not_filed_and_failed_ones_drop_old_scores(tmp_path: Path) -> None:
    folder = filed(tmp_path / "boards", [record(0)])
    scores = folder / "entries" / "matching--toy-grouped--cfog--seed0.npz"
    assert scores.is_file()
    before = (folder / "matching.md").read_bytes()
    filed(tmp_path / "boards", [record(0, 0.99, limit=8)])
    assert (folder / "matching.md").read_bytes() == before and scores.is_file()
    filed(tmp_path / "boards", [failed(0)])
    assert not scores.exists() and "1/1 failed" in (folder / "matching.md").read_text()


def test_labels_cannot_break_the_markdown(tmp_path: Path) -> None:
    folder = filed(tmp_path / "boards", [record(None, method="a|b")])
    rows = [line for line in (folder / "matching.md").read_text().splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows[:3]}) == 1


def test_what_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    folder = filed(tmp_path / "boards", [record(None)])
    with pytest.raises(BenchError, match="no board 't' under .*; known: s"):
        build_boards(tmp_path / "boards", "t")
    damaged: tuple[object, ...] = ([], {"order": []})
    for content in damaged:
        write_json(folder / "suite.json", content)
        with pytest.raises(BenchError, match=r"suite.json is damaged"):
            build_boards(tmp_path / "boards", "s")
    shutil.rmtree(folder / "entries")
    (folder / "suite.json").unlink()
    folder = filed(tmp_path / "boards", [record(None)])
    shutil.rmtree(folder / "entries")
    with pytest.raises(BenchError, match="no entries; run the suite first"):
        build_boards(tmp_path / "boards", "s")


def test_a_terminal_that_is_narrow_gets_every_column(tmp_path: Path) -> None:
    folder = filed(tmp_path / "boards", RECORDS)
    table = build_boards(folder.parent, "s").tables[folder / "matching.md"]
    wide, narrow = to_text(table), to_text(table, 60)
    columns = {column.label for section in table.sections for column in section.columns}
    assert all(label in wide and label in narrow for label in columns)
    assert max(map(len, narrow.split("\n‡")[0].splitlines())) <= 60 < max(map(len, wide.splitlines()))
