"""Reading CSV tables that users hand in: UTF-8, one header row, every row complete. Owns no meaning of any column."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from bench.core.errors import BenchError, nearest

PLACE_COLUMNS = ("x_min_m", "y_min_m", "x_max_m", "y_max_m")

CellText = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, bool | int | float) else value)]
"""A CSV cell to compare with; YAML's True and 7 stand for the texts "True" and "7"."""


def read_csv(path: Path, required: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """Return the rows of a CSV file as dicts of stripped strings; blank lines are skipped.

    Raises:
        BenchError: missing or undecodable file, no header, repeated or missing columns, a row with too few or too
            many fields.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BenchError(f"{path} is no UTF-8 text; save the table as UTF-8 CSV") from error
    try:
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise BenchError(f"{path} is no valid CSV: {error}") from error
    if not lines:
        raise BenchError(f"{path} is empty; expected a header row with {', '.join(required) or 'column names'}")
    header = [name.strip() for name in lines[0]]
    if len(set(header)) != len(header):
        raise BenchError(f"{path} names a column twice; header: {', '.join(header)}")
    for name in required:
        if name not in header:
            raise BenchError(f"{path} has no column {name!r}{nearest(name, header)}")
    for number, row in enumerate(lines[1:], start=2):
        if len(row) != len(header):
            raise BenchError(f"{path}, row {number}: {len(row)} fields where the header has {len(header)}")
    return [dict(zip(header, (field.strip() for field in row), strict=True)) for row in lines[1:]]


def rows_by_id(table: Path) -> dict[str, dict[str, str]]:
    """Return id -> row of a table with a column `id`.

    Raises:
        BenchError: as `read_csv`, or an id stands twice.
    """
    rows: dict[str, dict[str, str]] = {}
    for row in read_csv(table, required=("id",)):
        if row["id"] in rows:
            raise BenchError(f"{table} has two rows for id {row['id']!r}; remove one")
        rows[row["id"]] = row
    return rows


def numbers_by_value(table: Path, column: str) -> dict[str, frozenset[int]]:
    """Return value of `column` -> the numbers that the ids of its rows are, for `ShipDataset.columns`.

    Raises:
        BenchError: as `rows_by_id`.
    """
    found: dict[str, set[int]] = {}
    for name, row in rows_by_id(table).items():
        found.setdefault(row[column], set()).add(int(name))
    return {value: frozenset(numbers) for value, numbers in found.items()}


def place_of(row: dict[str, str], path: Path) -> tuple[float, float, float, float] | None:
    """Return (x_min, y_min, x_max, y_max) in metres from a row's `x_min_m` ... columns; None where the columns are
    absent or blank.

    Raises:
        BenchError: some of the four are missing, are no finite numbers, or do not span an area.
    """
    texts = [row.get(name, "") for name in PLACE_COLUMNS]
    if not any(texts):
        return None
    try:
        x_min, y_min, x_max, y_max = (float(text) for text in texts)
    except ValueError as error:
        raise BenchError(
            f"{path}: a place needs numbers in {', '.join(PLACE_COLUMNS)}; got {', '.join(texts)}"
        ) from error
    if not (abs(x_min) < 1e12 and abs(y_min) < 1e12 and x_min < x_max < 1e12 and y_min < y_max < 1e12):
        raise BenchError(
            f"{path}: the place {', '.join(texts)} is no rectangle; expected x_min_m < x_max_m and y_min_m < y_max_m"
        )
    return x_min, y_min, x_max, y_max
