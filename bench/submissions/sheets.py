"""What submissions of all tasks share: the request, tables as JSON, CSV or Parquet, names, references, and the hashes
that a file carries.

Owns how a table is read and told apart, and how a submitted cell is labelled. What its columns mean is each task's.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bench.core.errors import BenchError, first_line, nearest
from bench.core.store import canonical_hash
from bench.data.csv_files import read_csv
from bench.execution.cell import Cell
from bench.execution.records import Record

METHOD = "submission"  # what a submitted row's matcher or detector is called
FORMATS = (".json", ".csv", ".parquet")
MADE_FOR = "made_for"  # column, or key of a JSON file's info: for which data, split and drawing it was made
INDEX_COLUMNS = ("", "__index_level_0__")  # row numbers that pandas writes unless told not to
CLAIMS = {
    "manifest_sha256": "data files",
    "split_sha256": "split",
    "pairs_sha256": "drawing of pairs",
    MADE_FOR: "data, split or drawing",
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_DOI = re.compile(r"(?:doi:|https?://(?:dx\.)?doi\.org/)?(10\.\d{4,9}/\S+)", re.IGNORECASE)
_MAX_REFERENCE = 300


@dataclass(frozen=True)
class Request:
    """What a submission says of itself.

    Attributes:
        file: the predictions.
        name: label of the row.
        seed: of the training behind the file; files of several seeds under one name become one row.
        reference: where the method is described, as `reference_link` returns it; "" for none.
        filters: "dataset" and "split", where the suite has several blocks.
        options: the task's own (`SubmissionOptions` of its submission module); those at their default may be left out.
    """

    file: Path
    name: str
    seed: int | None = None
    reference: str = ""
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def check_name(name: str, rows: Iterable[str]) -> None:
    """Raise BenchError unless `name` can label a submitted row: usable in a file name, and no row of the suite.

    Args:
        rows: labels of the suite's own rows ("faster-rcnn/none").
    """
    own = list(rows)
    taken = {label.replace("/", "-").lower() for label in own} | {label.split("/")[0].lower() for label in own}
    if not _NAME.fullmatch(name):
        raise BenchError(f"--name {name!r}: choose up to 80 letters, digits, . _ + -, beginning with a letter or digit")
    if name.lower() in taken:
        raise BenchError(f"--name {name!r} is a row of the suite; choose a name of your own")


def reference_link(text: str) -> str:
    """Return a reference as a link that is safe in Markdown: an http(s) address as it is, a DOI as https://doi.org/...;
    "" stays "".

    Raises:
        BenchError: anything else: other schemes, blanks, a host without a dot, a user name in the address.
    """
    if not text:
        return ""
    doi = _DOI.fullmatch(text)
    url = f"https://doi.org/{doi[1]}" if doi else text
    told = (
        f"--reference {text!r}: give an address that begins with https:// or http://, or a DOI such as doi:10.1000/182"
    )
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise BenchError(told) from error
    strange = any(not 32 < ord(letter) < 127 for letter in url) or any(letter in url for letter in "\"'<>\\^`{}")
    if parts.scheme.lower() not in ("http", "https") or "." not in host.strip(".") or "@" in parts.netloc or strange:
        raise BenchError(told)
    if len(url) > _MAX_REFERENCE:
        raise BenchError(f"--reference has {len(url)} characters; give one of at most {_MAX_REFERENCE}")
    for letter, code in {"(": "%28", ")": "%29", "|": "%7C", "[": "%5B", "]": "%5D"}.items():
        url = url.replace(letter, code)
    return url


def one_block(cells: Sequence[Cell]) -> Cell:
    """Return the only cell. Raises BenchError naming the blocks where there are several."""
    if len(cells) > 1:
        raise BenchError(f"choose one block with --dataset and --split: {', '.join(cell.dataset for cell in cells)}")
    return cells[0]


def submitted_cell(cell: Cell, request: Request) -> Cell:
    """Return the cell of a request, with the command that makes it.

    Its spec names no file, so that seeds share a row. The reference stands in `names`, which are no part of a key: it
    can be corrected by submitting the same file again.
    """
    method = cell.spec["method"]
    spec = {**cell.spec, "method": {**method, "options": {**method["options"], "results": request.name}}}
    flags = []
    for name, value in request.options.items():
        if value is True:
            flags.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            flags.append(f"--{name.replace('_', '-')} {shlex.quote(str(value))}")
    verb = " ".join(["submit", shlex.quote(request.file.name), "--task", cell.task, *flags])
    names = {**{key: cell.origin.names[key] for key in ("dataset", "split")}, "name": request.name}
    if request.reference:
        names["reference"] = request.reference
    return replace(cell, spec=spec, origin=replace(cell.origin, names=names, verb=verb), seed=request.seed)


def is_submission(record: Record) -> bool:
    """Return whether a record, finished or failed, is of a submitted row."""
    method = record.spec.get("method", {})
    return METHOD in (method.get("matcher"), method.get("detector"))


def existing_file(path: Path, formats: Sequence[str]) -> Path:
    """Return `path`. Raises BenchError when there is no such file or its name ends in none of `formats`."""
    if not path.is_file():
        raise BenchError(f"no predictions file at {path}; give a file that ends in {', '.join(formats)}")
    if path.suffix.lower() not in formats:
        raise BenchError(
            f"{path}: unknown kind of file {path.suffix!r}; it must be what its name ends in, one of"
            f" {', '.join(formats)}"
        )
    return path


# -- what a file says it was made for ----------------------------------------------------------------------------------
def short_hash(*parts: str) -> str:
    """Return the 16 hexadecimal digits that stand for several hashes in a table's `made_for` column."""
    return canonical_hash(list(parts))[:16]


def check_claims(claimed: Mapping[str, Any], ours: Mapping[str, str], path: Path, again: str) -> dict[str, str] | None:
    """Return the hashes that a file carries of those we know, all equal to ours; None where it carries none.

    Args:
        claimed: what the file says; keys that are no hash are passed over.
        ours: name of a hash (`CLAIMS`) -> its value for the data, split and drawing it is scored on.
        again: the command that writes what has to be predicted.

    Raises:
        BenchError: a hash differs: the predictions are of other data, another split or another drawing.
    """
    agreed: dict[str, str] = {}
    for name, value in ours.items():
        stated = claimed.get(name)
        if stated is None:
            continue
        if stated != value:
            told = f"{path} was made for another {CLAIMS[name]}: its {name} is {short(stated)}, here it is {value[:16]}"
            raise BenchError(f"{told}; predict what `{again}` writes")
        agreed[name] = value
    return agreed or None


# -- tables ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Sheet:
    """A table of predictions, in whatever format it came.

    Attributes:
        columns: name -> values (n,); an empty field, null, is None. Those of a CSV file are text.
        rows: n. word, first: how a message calls a row and counts it ("row", from 2 with the header of a CSV; "entry",
            from 0).
        info: what a JSON file says beside its table.
    """

    path: Path
    columns: Mapping[str, list[Any]]
    rows: int
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
        have = [name for name in self.columns if name not in INDEX_COLUMNS]
        known = [name for choice in choices for group in choice for name in group.split()] + list(optional)
        for name in have:
            if name not in known:
                raise BenchError(f"{self.path}: column {name!r} means nothing here{nearest(name, known)}; {legal}")
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

    def claims(self) -> dict[str, Any]:
        """Return what the file says that it was made for: its info, and its `made_for` column, which has one value in
        all rows.
        """
        if MADE_FOR not in self.columns or not self.rows:
            return dict(self.info)
        values = self.texts(MADE_FOR)
        for i, value in enumerate(values):
            if value != values[0]:
                raise BenchError(
                    f"{self.where(i)}: {MADE_FOR} is {value!r}, but {values[0]!r} before; one file, one drawing"
                )
        return {**self.info, MADE_FOR: values[0]}

    def texts(self, name: str) -> list[str]:
        """Return a column as text, whole numbers without decimals. Raises BenchError where a field is empty or
        neither.
        """
        out = []
        for i, value in enumerate(self.columns[name]):
            text = value if isinstance(value, str) else None
            if (
                isinstance(value, int)
                and not isinstance(value, bool)
                or isinstance(value, float)
                and value.is_integer()
            ):
                text = str(int(value))
            if not text:
                raise BenchError(f"{self.where(i)}: {name} is {_told(value)}; expected a text")
            out.append(text)
        return out

    def numbers(self, name: str, expected: str, empty: bool = False) -> np.ndarray:
        """Return a column as (n,) float64; with `empty`, an empty field is NaN.

        Raises:
            BenchError: a field that is no finite number; the message says what is `expected`.
        """
        out = np.full(self.rows, np.nan)
        for i, value in enumerate(self.columns[name]):
            if value is None and empty:
                continue
            number = as_number(value)
            if number is None:
                raise BenchError(f"{self.where(i)}: {name} is {_told(value)}; expected {expected}")
            out[i] = number
        return out


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


def short(value: Any) -> str:
    """Return a value as it may stand in a message: at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _told(value: Any) -> str:
    return "empty" if value is None or value == "" else short(value)


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
    sheet = {".csv": _read_csv, ".parquet": _read_parquet}.get(suffix, _read_json_table)(path, key, needs)
    if not sheet.rows:
        raise BenchError(f"{path} has no rows; expected {needs}")
    return sheet


def _read_csv(path: Path, key: str, needs: str) -> Sheet:
    rows = read_csv(path)
    columns: dict[str, list[Any]] = {name: [row[name] or None for row in rows] for name in (rows[0] if rows else ())}
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(columns) == 1 and separator in next(iter(columns)):
            raise BenchError(f"{path} is separated by {name}; write it with commas")
    return Sheet(path, columns, len(rows), "row", 2)


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


def _read_parquet(path: Path, key: str, needs: str) -> Sheet:
    pyarrow, parquet = existing_pyarrow(path)
    try:
        table = parquet.read_table(path)
        names = [str(name) for name in table.column_names]
        columns = {name: table.column(i).to_pylist() for i, name in enumerate(names)}
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BenchError(f"{path} is no Parquet table that can be read ({first_line(error)})") from error
    if len(columns) < len(names):
        raise BenchError(f"{path} names a column twice; columns: {', '.join(names)}")
    return Sheet(path, columns, table.num_rows, "row", 0)


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


def _read_json_table(path: Path, key: str, needs: str) -> Sheet:
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
    columns = {name: [entry[name] for entry in value] for name in (value[0] if value else ())}
    return Sheet(path, columns, len(value), "entry", 0, info)
