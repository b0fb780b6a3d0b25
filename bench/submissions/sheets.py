"""Tables of submitted predictions: JSON, CSV or Parquet, and the checks of their columns that all tasks share.

Owns how a table is read and how a message names its rows. What its columns mean is each task's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.errors import BenchError, first_line, nearest
from bench.data.csv_files import read_csv

if TYPE_CHECKING:
    import pandas

FORMATS = (".json", ".csv", ".parquet")
INDEX_COLUMNS = ("", "__index_level_0__")  # row numbers that pandas writes unless asked not to


def existing_file(path: Path, formats: Iterable[str]) -> Path:
    """Return `path`. Raises BenchError when there is no such file or its name ends in none of `formats`."""
    known = tuple(formats)
    if not path.is_file():
        raise BenchError(f"no predictions file at {path}; give a file that ends in {', '.join(known)}")
    if path.suffix.lower() not in known:
        legal = f"it must be what its name ends in, one of {', '.join(known)}"
        raise BenchError(f"{path}: unknown kind of file {path.suffix!r}; {legal}")
    return path


@dataclass(frozen=True)
class Sheet:
    """A table of predictions, in whatever format it came.

    Attributes:
        table: n rows of objects as the file holds them, those of a CSV file text; an empty field, null, is None.
        word, first: how a message calls a row and counts it ("row", from 2 with the header of a CSV; "entry", from 0).
        info: what a JSON file says beside its table.
    """

    path: Path
    table: pandas.DataFrame
    word: str
    first: int
    info: Mapping[str, Any] = field(default_factory=dict)

    def where(self, i: int) -> str:
        """Return "file: row 7" for a message about row `i`, counted from 0."""
        return f"{self.path}: {self.word} {self.first + i}"

    def check_columns(self, choices: Sequence[Sequence[str]], optional: Iterable[str], legal: str) -> None:
        """Raise BenchError unless the columns are, of each of `choices`, exactly one (names joined by a blank), and
        some of `optional`.

        Args:
            choices: alternatives, e.g. (("distance", "similarity"),). legal: the sentence that lists what is legal.
        """
        have = [name for name in self.table if name not in INDEX_COLUMNS]
        known = [name for choice in choices for group in choice for name in group.split()] + list(optional)
        for name in have:
            if name not in known:
                raise BenchError(f"{self.path}: unknown column {name!r}{nearest(name, known)}; {legal}")
        for choice in choices:
            found = [group for group in choice if any(name in have for name in group.split())]
            if len(found) != 1:
                what = "more than one" if found else "none"
                raise BenchError(
                    f"{self.path}: {what} of {' / '.join(choice)} among the columns {', '.join(have)}; {legal}"
                )
            for name in found[0].split():
                if name not in have:
                    raise BenchError(f"{self.path} has no column {name!r}{nearest(name, have)}; {legal}")

    def texts(self, name: str) -> list[str]:
        """Return a column as text, whole numbers without decimals. Raises BenchError where a field is empty or
        neither.
        """
        out = [_as_text(value) for value in self.table[name]]
        self._refuse(np.array([not text for text in out], dtype=bool), name, "a text")
        return out

    def numbers(self, name: str, expected: str, empty: bool = False, largest: float = sys.float_info.max) -> np.ndarray:
        """Return a column as (n,) float64; with `empty`, an empty field is NaN.

        Args:
            expected: what a message says that a field must be.

        Raises:
            BenchError: a field that is no finite number of at most `largest`, or empty without `empty`.
        """
        out = self._as_numbers(name)
        wrong = ~(np.abs(out) <= largest)
        if empty:  # not `isna`: a NaN in a Parquet file is an accident, null a statement
            wrong &= np.array([value is not None for value in self.table[name]], dtype=bool)
        self._refuse(wrong, name, expected)
        return out

    def positions(self, name: str, count: int) -> np.ndarray:
        """Return a column of whole numbers from 0 to below `count` as (n,) int64. Raises BenchError for any other."""
        out = self._as_numbers(name)
        wrong = np.flatnonzero(~((out >= 0) & (out < count) & (out == np.floor(out))))
        if len(wrong):
            shown = short(self.table[name].iloc[wrong[0]])
            legal = f"the {name}s are numbered 0 to {count - 1}"
            raise BenchError(f"{self.where(int(wrong[0]))}: unknown {name} {shown}; {legal}")
        return out.astype(np.int64)

    def check_once(self, keys: np.ndarray, called: Callable[[int], str]) -> None:
        """Raise BenchError at the first row whose key an earlier row has.

        Args:
            keys: (n,), what each row is about. called: key -> its name in the message.
        """
        import pandas

        again = np.flatnonzero(pandas.Index(keys).duplicated())
        if len(again):
            raise BenchError(f"{self.where(int(again[0]))}: {called(int(keys[again[0]]))} stands twice")

    def _as_numbers(self, name: str) -> np.ndarray:
        """Return a column as (n,) float64, NaN where a field is no finite number."""
        return np.array([as_number(value) for value in self.table[name]], dtype=np.float64)

    def _refuse(self, wrong: np.ndarray, name: str, expected: str) -> None:
        """Raise BenchError at the first row where `wrong` (n,) is true."""
        if wrong.any():
            i = int(np.argmax(wrong))
            raise BenchError(f"{self.where(i)}: {name} is {_shown(self.table[name].iloc[i])}; expected {expected}")


def lacking(given: np.ndarray, of: str, called: Callable[[int], str], start: int = 0) -> str:
    """Return "3 of 26 test pairs, first v0": what a file lacks; "" where it is complete.

    Args:
        given: (n,) bool, what it has. of: all that it should have, in words.
        called: position -> its name; start: the position of given[0].
    """
    missing = np.flatnonzero(~given)
    return f"{len(missing)} of {of}, first {called(start + int(missing[0]))}" if len(missing) else ""


def as_number(value: Any) -> float | None:
    """Return a JSON value, or the text of a CSV field, as a finite float64; None for anything else, true and false
    included.
    """
    if isinstance(value, str):
        try:
            value = None if "_" in value else float(value)
        except ValueError:
            return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
        return None
    return float(value)


def _as_text(value: Any) -> str:
    """Return a text, or a whole number as one; "" for anything else."""
    if isinstance(value, str):
        return value
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    return str(int(value)) if whole else ""


def short(value: Any) -> str:
    """Return a value as it may stand in a message: at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _shown(value: Any) -> str:
    number = as_number(value)
    return str(number) if number is not None else "empty" if value is None or value == "" else short(value)


# -- reading -----------------------------------------------------------------------------------------------------------
# The csv module, json and pyarrow read the fields, pandas holds them. Its readers lose what scores and messages need
# (2.2 to 3.1): `read_csv` fills up a row that is too short, or, with its Python engine, counts lines in the place of
# rows, and rounds floats by default in 2.2; `read_json` makes null NaN, and rounds floats or refuses the smallest;
# `read_parquet` makes null NaN and whole numbers beside a null floats.
def read_sheet(path: Path, key: str, needs: str) -> Sheet:
    """Read a table from a `.csv`, `.parquet` or `.json` file; its name says which.

    Args:
        key: under which a JSON object holds the list of its rows.
        needs: what the table must have, for messages.

    Raises:
        BenchError: unknown ending, unreadable or damaged file, no rows, or (Parquet) a missing package.
    """
    suffix = existing_file(path, FORMATS).suffix.lower()
    try:
        if not path.stat().st_size:
            raise BenchError(f"{path} is empty; expected {needs}")
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    if suffix == ".csv":
        sheet = make_sheet(path, _read_csv(path), "row", 2)
    elif suffix == ".parquet":
        sheet = make_sheet(path, _read_parquet(path), "row", 0)
    else:
        columns, info = _read_json_table(path, key, needs)
        sheet = make_sheet(path, columns, "entry", 0, info)
    if not len(sheet.table):
        raise BenchError(f"{path} has no rows; expected {needs}")
    return sheet


def make_sheet(
    path: Path, columns: Mapping[str, Sequence[Any]], word: str, first: int, info: Mapping[str, Any] | None = None
) -> Sheet:
    """Return a sheet of columns (n,) that keep their values as they are; `word`, `first`, `info` as in `Sheet`."""
    import pandas

    return Sheet(path, pandas.DataFrame(columns, dtype=object), word, first, info or {})


def _read_csv(path: Path) -> dict[str, list[Any]]:
    rows = read_csv(path)
    columns: dict[str, list[Any]] = {name: [row[name] or None for row in rows] for name in (rows[0] if rows else ())}
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(columns) == 1 and separator in next(iter(columns)):
            raise BenchError(f"{path} is separated by {name}; write it with commas")
    return columns


def existing_pyarrow(path: Path) -> tuple[Any, Any]:
    """Return the modules pyarrow and pyarrow.parquet. Raises BenchError saying how to do without, where they are not
    installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BenchError(f"{path}: Parquet needs pyarrow; pip install 'saropt-bench[parquet]', or take CSV") from error
    return pyarrow, pyarrow.parquet


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    pyarrow, parquet = existing_pyarrow(path)
    try:
        table = parquet.read_table(path)
        names = [str(name) for name in table.column_names]
        columns = {name: table.column(i).to_pylist() for i, name in enumerate(names)}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BenchError(f"{path} is no Parquet table that can be read ({first_line(error)})") from error
    if len(columns) < len(names):
        raise BenchError(f"{path} names a column twice; columns: {', '.join(names)}")
    return columns


def read_json_file(path: Path, expected: str) -> Any:
    """Return what a submitted JSON file holds. Raises BenchError where it is unreadable or no JSON; the message says
    what is expected.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not valid JSON ({first_line(error)}); is it whole? {expected}") from error


def _read_json_table(path: Path, key: str, needs: str) -> tuple[dict[str, list[Any]], Mapping[str, Any]]:
    expected = f'expected a JSON list of objects, or {{"info": {{...}}, "{key}": [...]}}, with {needs}'
    value = read_json_file(path, expected)
    info: Mapping[str, Any] = {}
    if isinstance(value, dict) and isinstance(value.get("info", {}), dict):
        info, value = value.get("info", {}), value.get(key)
    if not isinstance(value, list):
        raise BenchError(f"{path} holds no list of rows; {expected}")
    for i, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise BenchError(f"{path}: entry {i} is a {type(entry).__name__}; {expected}")
        if entry.keys() != value[0].keys():
            odd = sorted(entry.keys() ^ value[0].keys())[0]
            raise BenchError(f"{path}: entry {i} and entry 0 differ in having {odd!r}; write null for an empty field")
    return {name: [entry[name] for entry in value] for name in (value[0] if value else ())}, info
