"""A table as a DataFrame: the same numbers as its cells, at full precision, and unknown is never 0."""

from __future__ import annotations

import io
from pathlib import Path

import pandas
import pytest

from bench.boards.comparisons import comparison_cells, comparison_columns
from bench.boards.evidence import RowComparison
from bench.boards.leaderboard import leaderboard
from bench.boards.rendering import to_csv
from bench.boards.tables import Column, Section, Table, TableCell, TableRow, aggregate, group_rows, table_row
from bench.execution.records import Failure, load_record

BOARDS = Path(__file__).parents[2] / "leaderboards"
FINISHED = load_record(Path(__file__).parent / "records_v1" / "finished.json")
METRIC = "uniform.accuracy"


@pytest.fixture(scope="module", params=["s1s2/matching.md", "hrsid/detection.md"])
def table(request: pytest.FixtureRequest) -> Table:
    path = BOARDS / request.param
    return leaderboard(path.parent.name, path.stem, boards=BOARDS)


def test_every_row_of_every_section_with_the_numbers_of_its_cells(table: Table) -> None:
    frame = table.to_frame()
    rows = [(section, row) for section in table.sections for row in section.rows]
    assert len(frame) == len(rows) and not frame.columns.duplicated().any()
    for (_, line), (section, row) in zip(frame.iterrows(), rows, strict=True):
        assert (line["block"], line["section"], line["method"]) == (section.block, section.subject, row.label)
        assert section.title == f"{line['block']}: {line['section']}"
        for column in section.columns:
            cell, key = row.cells[column.key], column.key
            shown = line[key if key.endswith((":difference", ":rank")) else f"{key}:mean"]
            assert pandas.isna(shown) if cell.value is None else shown == cell.value
            if cell.interval is not None:
                low = f"{key}_low" if key.endswith(":difference") else f"{key}:low"
                assert (line[low], line[low.replace("low", "high")]) == cell.interval
        elsewhere = set(frame) - {
            name for column in section.columns for name in row.cells[column.key].named_numbers(column.key)
        }
        numbers = [name for name in elsewhere if str(frame.dtypes[name]) != "string"]
        assert line[numbers].isna().all(), "a section without a column leaves it unknown"
        for title in section.reported:
            assert line[title] == row.reported.get(title) or pandas.isna(line[title]) and title not in row.reported


def test_the_csv_of_a_board_is_read_back_to_the_last_bit(table: Table) -> None:
    read = pandas.read_csv(io.StringIO(to_csv(table)), float_precision="round_trip", dtype={"fingerprints": str})
    records = {(r.dataset, r.method): row.records for s in table.sections for row in s.rows for r in row.records}
    assert len(read) and {tuple(key) for key in read[["dataset", "method"]].to_numpy().tolist()} == set(records)
    for line in read.itertuples():
        cell = aggregate(records[line.dataset, line.method], line.metric)
        assert line.n == cell.n and (line.mean == cell.value or pandas.isna(line.mean) and cell.value is None)
        assert line.spread == cell.spread or pandas.isna(line.spread) and cell.spread is None


def test_a_failed_seed_an_untested_difference_and_a_row_without_seeds_are_unknown() -> None:
    failed = FINISHED.model_copy(
        update={
            "seed": 1,
            "status": "failed",
            "metrics": {},
            "failure": Failure(stage="train", message="", traceback=""),
        }
    )
    (row,) = group_rows([FINISHED.model_copy(update={"seed": 0}), failed])
    column = Column(METRIC, "accuracy")
    untested = TableCell(0.25, note="one seed alone")
    nothing = comparison_cells(RowComparison(METRIC), "floor")
    rows = (
        table_row(row, {METRIC: aggregate(row.records, METRIC), f"{METRIC}:difference": untested}, {}),
        TableRow("floor", {METRIC: TableCell(0.5), **nothing}, "–", ""),
    )
    columns = (column, *comparison_columns(RowComparison(METRIC, "floor"), "accuracy"))
    frame = Table("t", "", (Section("air/x", "all metrics", "", columns, rows, ("paper",)),)).to_frame()
    first, second = (line for _, line in frame.iterrows())
    assert pandas.isna(first[f"{METRIC}:mean"]) and first[f"{METRIC}:n"] == 2 and first["marks"] == "‡"
    assert first[f"{METRIC}:difference"] == 0.25 and pandas.isna(first[f"{METRIC}:marked"])
    assert (
        second[f"{METRIC}:mean"] == 0.5 and second.drop(["block", "section", "method", f"{METRIC}:mean"]).isna().all()
    )
    assert frame.dtypes[f"{METRIC}:n"] == "Int64" and frame.dtypes[f"{METRIC}:marked"] == "boolean"


def test_a_table_without_a_row_has_the_columns_that_say_what_a_row_is() -> None:
    frame = Table("t", "", ()).to_frame()
    assert list(frame) == ["block", "section", "method", "seeds", "marks"] and not len(frame)
    assert (
        to_csv(Table("t", "", ())).startswith("dataset,method,metric,mean,spread,n,low,high,")
        and to_csv(Table("t", "", ())).count("\n") == 1
    )
