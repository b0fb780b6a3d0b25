"""What submissions of all tasks share: tables in three formats, names, references, hashes; what cannot be read is told
in one line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.submissions.claims import check_claims, claims_in, claims_of
from bench.submissions.request import check_name, reference_link
from bench.submissions.sheets import Sheet, as_number, lacking, read_sheet

ROWS = [{"id": "a", "n": 1, "v": 0.5}, {"id": "b", "n": 2, "v": None}]
CSV = "id,n,v\na,1,0.5\nb,2,\n"


def sheet_of(folder: Path, name: str, content: str | bytes) -> Sheet:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_sheet(path, "rows", "the columns id, n, v")


def parquet(folder: Path, rows: list[dict[str, Any]], name: str = "x.parquet") -> Path:
    arrow = pytest.importorskip("pyarrow")
    columns = {key: [row[key] for row in rows] for key in rows[0]} if rows else {"id": arrow.array([], arrow.string())}
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), folder / name)
    return folder / name


# -- tables ------------------------------------------------------------------------------------------------------------
SAME: dict[str, tuple[str, str]] = {
    "csv": ("x.csv", CSV),
    "windows line ends": ("x.csv", CSV.replace("\n", "\r\n")),
    "byte order mark": ("x.csv", "\ufeff" + CSV),
    "upper case": ("X.CSV", CSV),
    "blanks and blank lines": ("x.csv", "id, n ,v\n\na, 1 ,0.5\n\nb,2,\n\n"),
    "quotes": ("x.csv", 'id,n,v\n"a","1","0.5"\n"b","2",""\n'),
    "json": ("x.json", json.dumps(ROWS)),
    "json with a mark": ("x.json", "\ufeff" + json.dumps(ROWS)),
    "json with info": ("x.json", json.dumps({"info": {"made_for": "x"}, "rows": ROWS})),
}


@pytest.mark.parametrize("case", SAME)
def test_the_same_table_however_it_is_written(tmp_path: Path, case: str) -> None:
    sheet = sheet_of(tmp_path, *SAME[case])
    assert sheet.texts("id") == ["a", "b"] and sheet.texts("n") == ["1", "2"] and len(sheet.table) == 2
    assert np.array_equal(sheet.numbers("v", "a number", empty=True), [0.5, np.nan], equal_nan=True)
    with pytest.raises(BenchError, match="(row 3|entry 1): v is empty; expected a number"):
        sheet.numbers("v", "a number")
    assert claims_in(sheet) == ({"made_for": "x"} if case == "json with info" else {})


def test_parquet_is_the_same_table(tmp_path: Path) -> None:
    sheet = read_sheet(parquet(tmp_path, ROWS), "rows", "columns")
    assert sheet.texts("id") == ["a", "b"] and sheet.texts("n") == ["1", "2"]
    assert np.array_equal(sheet.numbers("v", "a number", empty=True), [0.5, np.nan], equal_nan=True)
    nan = read_sheet(parquet(tmp_path, [{"v": 1.0}, {"v": float("nan")}]), "rows", "columns")
    with pytest.raises(BenchError, match="row 1: v is nan"):  # an empty field is a statement, NaN is an accident
        nan.numbers("v", "a number", empty=True)
    with pytest.raises(BenchError, match="has no rows"):
        read_sheet(parquet(tmp_path, []), "rows", "columns")


BITS = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -2.2250738585072011e-308, 1e22, 0.8999999999999999]


@pytest.mark.parametrize("name", ["x.csv", "x.json", "x.parquet"])
def test_fields_arrive_as_they_were_written(tmp_path: Path, name: str) -> None:
    """Ids stay text, numbers keep their last bit: what the readers of pandas do not promise in every version."""
    ids = ["007", "NA", "null", "1e5", "True", "nan"]
    rows = [{"id": text, "v": value} for text, value in zip(ids, BITS, strict=True)]
    if name == "x.parquet":
        parquet(tmp_path, rows)
    else:
        lines = "".join(f"{row['id']},{row['v']!r}\n" for row in rows)
        (tmp_path / name).write_text(json.dumps(rows) if name == "x.json" else "id,v\n" + lines)
    sheet = read_sheet(tmp_path / name, "rows", "columns")
    assert sheet.texts("id") == ids and sheet.numbers("v", "a number").tolist() == BITS


def test_whole_numbers_beside_null_are_not_rounded(tmp_path: Path) -> None:
    for sheet in (
        sheet_of(tmp_path, "x.json", json.dumps([{"id": 2**60 + 1}, {"id": None}])),
        read_sheet(parquet(tmp_path, [{"id": 2**60 + 1}, {"id": None}]), "rows", "columns"),
    ):
        assert sheet.table["id"].tolist() == [2**60 + 1, None]
        with pytest.raises(BenchError, match="(row|entry) 1: id is empty; expected a text"):
            sheet.texts("id")


@pytest.mark.parametrize("content", [b"no parquet", b"PAR1", b"PAR1" + bytes(400) + b"PAR1", CSV.encode()])
def test_no_parquet(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(BenchError, match="x.parquet is no Parquet table") as error:
        sheet_of(tmp_path, "x.parquet", content)
    assert "\n" not in str(error.value)


def test_parquet_without_pyarrow_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BenchError, match=r"pip install 'saropt-bench\[parquet\]', or take CSV"):
        sheet_of(tmp_path, "x.parquet", b"PAR1")


BAD: dict[str, tuple[str, str | bytes, str]] = {
    "nothing": ("x.csv", "", "x.csv is empty; expected the columns id, n, v"),
    "empty json": ("x.json", "", "x.json is empty"),
    "header alone": ("x.csv", "id,n,v\n", "x.csv has no rows"),
    "empty list": ("x.json", "[]", "x.json has no rows"),
    "blank lines": ("x.csv", "\n\n", "is empty"),
    "ending": ("x.txt", CSV, "unknown kind of file '.txt'"),
    "no ending": ("x", CSV, "unknown kind of file ''"),
    "semicolons": ("x.csv", CSV.replace(",", ";"), "separated by semicolons; write it with commas"),
    "tabs": ("x.csv", CSV.replace(",", "\t"), "separated by tabs"),
    "short row": ("x.csv", "id,n,v\na,1\n", "row 2: 2 fields where the header has 3"),
    "column twice": ("x.csv", "id,id,v\na,1,2\n", "names a column twice"),
    "latin": ("x.csv", "id,n,v\n\xe4,1,2\n".encode("latin-1"), "no UTF-8 text"),
    "utf-16": ("x.csv", CSV.encode("utf-16"), "no UTF-8 text"),
    "truncated": ("x.json", json.dumps(ROWS)[:-4], "is not valid JSON"),
    "a number": ("x.json", "3", "holds no list of rows"),
    "an object": ("x.json", '{"info": {}, "row": []}', "holds no list of rows"),
    "columns of pandas": ("x.json", '{"id": {"0": "a"}}', "holds no list of rows"),
    "a list of lists": ("x.json", "[[1, 2]]", "entry 0 is a list"),
    "a key forgotten": (
        "x.json",
        '[{"id": "a", "v": 1}, {"id": "b"}]',
        "entry 1 and entry 0 differ in having 'v'; write null",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_table_is_told_in_one_line(tmp_path: Path, case: str) -> None:
    name, content, wanted = BAD[case]
    with pytest.raises(BenchError) as error:
        sheet_of(tmp_path, name, content)
    assert wanted in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no predictions file at"):
        read_sheet(tmp_path / "none.csv", "rows", "columns")


@pytest.mark.parametrize(
    ("value", "number"),
    [("1.5", 1.5), ("-3e2", -300.0), (7, 7.0), (0.1, 0.1), ("nan", None), ("inf", None), ("1_000", None), ("", None), ("1,5", None),
     (True, None), (None, None), (float("inf"), None), (10**400, None), ("1e999", None), ([1], None), ("0x10", None)],
)  # fmt: skip
def test_what_counts_as_a_number(value: Any, number: float | None) -> None:
    assert as_number(value) == number


def test_columns_are_exactly_the_legal_ones(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path, "x.csv", CSV)
    sheet.check_columns((("id",), ("v", "w")), ("n",), "legal")
    pandas = sheet_of(tmp_path, "x.csv", ",id,v\n0,a,1\n")  # written without index=False
    pandas.check_columns((("id",), ("v", "w")), (), "legal")
    for choices, optional, wanted in (
        ((("id",), ("v",)), (), "unknown column 'n'"),
        ((("id",), ("n", "v")), (), "more than one of n / v among the columns id, n, v"),
        ((("id",), ("n",), ("w",)), ("v",), "none of w among the columns"),
        ((("id n m",),), ("v",), "no column 'm'"),
    ):
        with pytest.raises(BenchError) as error:
            sheet.check_columns(choices, optional, "legal is this")
        assert wanted in str(error.value) and str(error.value).endswith("legal is this")


def test_rows_are_numbered_finite_and_there_once(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path, "x.csv", "pair,v\n2,1e39\n0,-1\n2.0,7\n")
    assert sheet.positions("pair", 3).tolist() == [2, 0, 2] and sheet.numbers("v", "a number").tolist() == [1e39, -1, 7]
    with pytest.raises(BenchError, match="row 2: v is 1e\\+39; expected a small number"):
        sheet.numbers("v", "a small number", largest=1e38)
    with pytest.raises(BenchError, match="row 2: unknown pair '2'; the pairs are numbered 0 to 1"):
        sheet.positions("pair", 2)
    sheet.check_once(np.array([2, 0, 1]), str)
    with pytest.raises(BenchError, match="row 4: pair 2 stands twice"):
        sheet.check_once(np.array([2, 0, 2]), "pair {}".format)


def test_what_a_file_lacks() -> None:
    assert lacking(np.array([True, True]), "2 pairs", str) == ""
    assert (
        lacking(np.array([True, False, False]), "the 3 pairs", "pair {}".format, 7) == "2 of the 3 pairs, first pair 8"
    )


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode), name=st.sampled_from(["x.csv", "x.json"]))
def test_any_bytes_are_a_table_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str) -> None:
    try:
        sheet = sheet_of(tmp_path_factory.getbasetemp(), name, content)
    except BenchError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert len(sheet.table) > 0


# -- names, references, hashes -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["", "a b", "../x", ".x", "a/b", "a" * 81, "ä", "x\n", "faster-rcnn", "Faster-RCNN-none", "cfar"]
)
def test_names_that_cannot_label_a_row(name: str) -> None:
    with pytest.raises(BenchError, match="^name "):
        check_name(name, ["faster-rcnn/none", "cfar"])


@pytest.mark.parametrize("name", ["a", "my-net_2.1+x", "a" * 80, "faster-rcnn-mine"])
def test_names_that_can(name: str) -> None:
    check_name(name, ["faster-rcnn/none", "cfar"])


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("", ""),
        ("https://example.org/a?b=c#d", "https://example.org/a?b=c#d"),
        ("http://example.org:8080/a", "http://example.org:8080/a"),
        ("doi:10.1000/182", "https://doi.org/10.1000/182"),
        ("10.1109/TGRS.2020.1(a)", "https://doi.org/10.1109/TGRS.2020.1%28a%29"),
        ("https://dx.doi.org/10.1000/182", "https://doi.org/10.1000/182"),
        ("https://example.org/a|b[c](d)", "https://example.org/a%7Cb%5Bc%5D%28d%29"),
    ],
)
def test_references(text: str, link: str) -> None:
    assert reference_link(text) == link


@pytest.mark.parametrize(
    "text",
    ["example.org", "ftp://example.org", "javascript:alert(1)", "https://", "https://localhost/x", "https://a b.org", "https://x.org/\n",
     "https://me:secret@example.org", "https://example.org/<x>", "https://[::1", "https://x.org:port/", "file:///etc",
     "https://x.org/" + "a" * 300],
)  # fmt: skip
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(BenchError, match="^reference ") as error:
        reference_link(text)
    assert "\n" not in str(error.value)


def test_hashes_that_a_file_carries() -> None:
    ours = claims_of({"manifest": "m" * 64, "split": "s" * 64})
    path = Path("x.json")
    assert check_claims({}, ours, path, "make it") is None
    assert check_claims({"year": 2026, "manifest_sha256": None}, ours, path, "make it") is None
    assert check_claims({"split_sha256": "s" * 64, "author": "me"}, ours, path, "make it") == {"split_sha256": "s" * 64}
    assert check_claims(ours, ours, path, "make it") == ours
    for name, wanted in (
        ("manifest_sha256", "data files"),
        ("split_sha256", "split"),
        ("made_for", "data, split or sampling"),
    ):
        with pytest.raises(
            BenchError, match=f"made for another {wanted}: its {name} is .*; predict what `make it` writes"
        ):
            check_claims({**ours, name: "0"}, ours, path, "make it")


def test_made_for_is_one_value_in_all_rows(tmp_path: Path) -> None:
    assert claims_in(sheet_of(tmp_path, "x.csv", "id,made_for\na,12\nb,12\n")) == {"made_for": "12"}
    with pytest.raises(BenchError, match="row 3: made_for is '13', but '12' before"):
        claims_in(sheet_of(tmp_path, "x.csv", "id,made_for\na,12\nb,13\n"))
    with pytest.raises(BenchError, match="row 3: made_for is empty"):
        claims_in(sheet_of(tmp_path, "x.csv", "id,made_for\na,12\nb,\n"))
