"""Two parallel folders: pairing, order, tables, and every way in which a folder can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.data.csv_files import place_of, read_csv
from bench.data.datasets.qxs_saropt import QxsSaropt
from bench.data.datasets.two_folders import TwoFolders
from bench.data.folders import natural_key
from bench.data.index import PairIndex, PairSample

MakePairs = Callable[..., Path]


def test_natural_order_and_relative_paths(make_pairs: MakePairs) -> None:
    index = TwoFolders.at(make_pairs(11)).index()
    assert index.ids == tuple(str(number) for number in range(1, 12))
    assert index.samples[9] == PairSample("10", "optical/10.png", "sar/10.png")
    assert sorted(["b2", "b10", "a", "b02"], key=natural_key) == ["a", "b02", "b2", "b10"]


def test_genuine_qxs_layout(make_pairs: MakePairs, tmp_path: Path) -> None:
    inner = make_pairs(3, name="QXSLAB_SAROPT", folders=("opt_256_oc_0.2", "sar_256_oc_0.2"))
    for root in (inner, tmp_path):
        dataset = QxsSaropt.at(root)
        assert dataset.root == inner
        assert dataset.index().ids == ("1", "2", "3")
        assert len(dataset.files()) == 6 and all(path.is_file() for path in dataset.files())
    assert QxsSaropt.facts.expected_pairs == 20_000 and QxsSaropt.facts.gsd_m == 1.0


def test_pairing_by_number(make_pairs: MakePairs) -> None:
    root = make_pairs(2)
    (root / "optical" / "1.png").rename(root / "optical" / "opt_0001.png")
    (root / "sar" / "1.png").rename(root / "sar" / "sar-1.png")
    with pytest.raises(BenchError, match="lack a partner"):
        TwoFolders.at(root).index()
    assert TwoFolders.at(root, pair_by="number").index().ids == ("1", "2")
    (root / "sar" / "01.png").write_bytes(b"")
    with pytest.raises(BenchError, match="both claim pair '1'"):
        TwoFolders.at(root, pair_by="number").index()
    (root / "sar" / "01.png").rename(root / "sar" / "none.png")
    with pytest.raises(BenchError, match="no number in its name"):
        TwoFolders.at(root, pair_by="number").index()


def test_missing_partner_is_named_both_ways(make_pairs: MakePairs) -> None:
    root = make_pairs(3)
    (root / "sar" / "2.png").unlink()
    (root / "optical" / "3.png").unlink()
    with pytest.raises(BenchError) as error:
        TwoFolders.at(root).index()
    assert "optical/2.png has no SAR partner" in str(error.value)
    assert "sar/3.png has no optical partner" in str(error.value)
    assert "\n" not in str(error.value)


def test_empty_folder_and_foreign_files(make_pairs: MakePairs) -> None:
    root = make_pairs(0)
    (root / "sar" / "Thumbs.db").touch()
    (root / "sar" / ".1.png").touch()
    with pytest.raises(BenchError, match="no pairs found under.*optical/ and sar/"):
        TwoFolders.at(root).index()


def test_missing_folder_says_what_to_place(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="Place it like this"):
        TwoFolders.at(tmp_path)


def test_same_stem_in_two_formats(make_pairs: MakePairs) -> None:
    root = make_pairs(2)
    (root / "sar" / "1.jpg").write_bytes(b"")
    with pytest.raises(BenchError, match="sar/1.jpg and sar/1.png both claim"):
        TwoFolders.at(root).index()


def test_table_gives_scene_place_and_attributes(make_pairs: MakePairs) -> None:
    root = make_pairs(2)
    (root / "t.csv").write_text(
        "id,scene,city,x_min_m,y_min_m,x_max_m,y_max_m\n1,a,Q,0,0,10,10\n2,b,S,,,,\n9,c,S,,,,\n"
    )
    dataset = TwoFolders.at(root, table="t.csv", crs="EPSG:3395")
    index = dataset.index()
    assert index.crs == "EPSG:3395" and index.scenes == ("a", "b")
    assert index.columns == ("id", "scene", "city") and index.column("city") == ["Q", "S"]
    assert index.places.shape == (2, 4) and np.isnan(index.places[1]).all()
    assert index.samples[0].place == (0, 0, 10, 10)
    assert root / "t.csv" in dataset.files()
    with pytest.raises(BenchError, match="no column 'citi'; nearest: city"):
        index.column("citi")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,city\n1,Q\n", "no row for pair '2'"),
        ("id,city\n1,Q\n1,Q\n2,Q\n", "two rows for id '1'"),
        ("name,city\n1,Q\n", "no column 'id'"),
        ("id,id\n1,Q\n", "twice"),
        ("id,city\n1\n", "row 2: 1 fields"),
        ("", "is empty"),
        ("id,x_min_m,y_min_m,x_max_m,y_max_m\n1,0,0,10,10\n2,0,0,ten,10\n", "needs numbers"),
        ("id,x_min_m,y_min_m,x_max_m,y_max_m\n1,0,0,10,10\n2,5,0,5,10\n", "no rectangle"),
        ("id,x_min_m,y_min_m,x_max_m,y_max_m\n1,0,0,10,10\n2,nan,0,5,10\n", "no rectangle"),
        ('id,city\n1,"Q\n', "no valid CSV"),
    ],
)
def test_bad_tables(make_pairs: MakePairs, text: str, message: str) -> None:
    root = make_pairs(2)
    (root / "t.csv").write_text(text)
    with pytest.raises(BenchError, match=message):
        TwoFolders.at(root, table="t.csv").index()


def test_csv_encoding_and_quoting(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xff\xfe1")
    with pytest.raises(BenchError, match="UTF-8"):
        read_csv(path)
    path.write_text('﻿id,note\n1,"two\nlines, and a comma"\n\n')
    assert read_csv(path, ("id",)) == [{"id": "1", "note": "two\nlines, and a comma"}]
    with pytest.raises(BenchError, match="cannot read"):
        read_csv(tmp_path / "none.csv")
    assert place_of({"id": "1"}, path) is None
    with pytest.raises(BenchError, match="needs numbers"):
        place_of({"x_min_m": "1"}, path)


def test_index_rules() -> None:
    pair = PairSample("a", "o/a.png", "s/a.png")
    with pytest.raises(BenchError, match="no pairs"):
        PairIndex(())
    with pytest.raises(BenchError, match="'a' occurs twice"):
        PairIndex((pair, pair))
    index = PairIndex((pair, PairSample("b", "o/b.png", "s/b.png", scene="x", attributes={"k": "1"})))
    assert index.columns == ("id",) and index.scenes == (None, "x")
    with pytest.raises(BenchError, match="no column 'scene'"):
        index.column("scene")
    assert index.take(np.array([1])).ids == ("b",)
    assert index.sha256 != index.take(np.array([1, 0])).sha256
    with pytest.raises(ValueError, match="read-only"):
        index.places[0, 0] = 1.0
