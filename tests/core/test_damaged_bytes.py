"""Bytes that nobody wrote and configs that somebody mistyped: read whole, or refused in one line."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import TINY
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.arrays import load_arrays
from bench.core.errors import BenchError
from bench.core.store import (
    read_json,
    save_arrays,
    write_json,
)
from bench.detection.scoring.predictions import load_predictions as load_detections
from bench.execution.cell import Keys, Origin, Selection
from bench.execution.records import RECORD, figures_drawn, finished_record, load_record, stage_done, write_stage
from bench.matching.scoring.predictions import load_predictions as load_pairs
from bench.models.states import load_state, save_state
from bench.suite.config import load_suite
from bench.suite.expansion import expand

V1 = Path(__file__).parent / "records_v1" / "finished.json"

# -- bytes that nobody wrote -------------------------------------------------------------------------------------------
DAMAGE = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(0, 7)),
    st.tuples(st.just("zeros"), st.floats(0, 1), st.integers(1, 64)),
    st.tuples(st.just("gone"), st.floats(0, 1), st.integers(1, 64)),
    st.tuples(st.just("twice"), st.floats(0, 1), st.integers(1, 64)),
)


def damaged(whole: bytes, harms: list[tuple[str, float, int]]) -> bytes:
    """Return `whole` after some accidents: cut off, a bit flipped, bytes zeroed, missing or doubled."""
    out = bytearray(whole)
    for kind, place, amount in harms:
        at = int(place * max(0, len(out) - 1))
        if kind == "cut":
            del out[at:]
        elif kind == "flip" and out:
            out[at] ^= 1 << amount
        elif kind == "zeros":
            out[at : at + amount] = bytes(len(out[at : at + amount]))
        elif kind == "gone":
            del out[at : at + amount]
        else:
            out[at:at] = out[at : at + amount]
    return bytes(out)


def whole_or_told(read: Callable[[Path], object], path: Path) -> None:
    """Read `path`, which must succeed or end in one line that names the file and what to do."""
    try:
        read(path)
    except BenchError as error:
        assert path.name in str(error) and "\n" not in str(error) and len(str(error)) > len(str(path)) + 8, error


def made(folder: Path, name: str) -> bytes:
    """Return the bytes of a small valid file of each kind."""
    n = np.arange(6)
    if name == "record.json":
        return V1.read_bytes()
    if name == "train.json":
        write_stage(
            folder, "train", "k" * 64, {"facts": {"scaling": {}}, "cost": {"seconds": 0.5}, "made_by": {"git": None}}
        )
    elif name == "model.safetensors":
        save_state(folder / name, {"weight": np.ones((3, 4), np.float32), "bias": np.zeros(3)})
    elif name == "pairs.npz":
        part = {
            "id": n.astype(str), "scene": n.astype(str), "group": n.astype(str), "place": np.full((6, 4), np.nan), "pair_sar": n,
            "pair_optical": n, "label": n < 3, "kind": (n > 2).astype(np.uint8), "distance": n.astype(np.float32),
        }  # fmt: skip
        arrays = {f"{name}.{key}": value for name in ("validation", "test") for key, value in part.items()}
        rest = {
            "gallery.position": n[:2],
            "gallery.distance": np.zeros((2, 2), np.float32),
            "fixed_threshold": np.array(0.38),
        }
        save_arrays(folder / "pairs.npz", arrays | rest)
    elif name == "boxes.npz":
        boxes = np.array([[0.0, 0.0, 4.0, 5.0], [2.0, 3.0, 9.0, 9.0]])
        table = {
            "truth_offset": np.array([0, 2]), "truth_box": boxes, "truth_ignore": np.zeros(2, bool), "offset": np.array([0, 2]),
            "box": boxes, "score": np.array([0.9, 0.1]),
        }  # fmt: skip
        words = {key: np.array(["a"]) for key in ("id", "image", "group", "stratum")}
        numbers = {key: np.array([20]) for key in ("image_id", "height", "width")}
        tiles = {"tile_scene": np.array([0]), "tile_window": np.array([[0, 0, 20, 20]])}
        part = {
            **words,
            **numbers,
            **tiles,
            **{f"{level}.{key}": value for level in ("scene", "tile") for key, value in table.items()},
        }
        arrays = {f"{name}.{key}": value for name in ("validation", "test") for key, value in part.items()}
        save_arrays(folder / "boxes.npz", arrays | {"min_visible": np.array(0.5)})
    else:
        save_arrays(folder / name, {"id": n.astype(str), "distance": n.astype(np.float32)})
    return (folder / name).read_bytes()


READERS: dict[str, Callable[[Path], object]] = {
    "record.json": load_record,
    "train.json": lambda path: stage_done(path.parent, "train", "k" * 64),
    "model.safetensors": load_state,
    "pairs.npz": load_pairs,
    "boxes.npz": load_detections,
    "scores.npz": lambda path: load_arrays(path, "per-sample scores"),
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=120, deadline=None, derandomize=True)
@given(harms=st.lists(DAMAGE, max_size=3))
def test_every_file_is_read_whole_or_refused_in_one_line(
    scratch: Path, name: str, harms: list[tuple[str, float, int]]
) -> None:
    original = scratch / f"{name}.whole"
    if not original.is_file():
        original.write_bytes(made(scratch, name))
        READERS[name](scratch / name if name != "record.json" else V1)  # the whole one is read
    (scratch / name).write_bytes(damaged(original.read_bytes(), harms))
    whole_or_told(READERS[name], scratch / name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_valid_json_of_another_shape_is_a_record_or_refused(scratch: Path, data: st.DataObject) -> None:
    raw = json.loads(V1.read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        node: Any = raw
        for _ in range(data.draw(st.integers(0, 2))):
            inner = [
                value
                for value in (node.values() if isinstance(node, dict) else node)
                if isinstance(value, dict | list) and value
            ]
            node = data.draw(st.sampled_from(inner)) if inner else node
        key = (
            data.draw(st.sampled_from(sorted(node)))
            if isinstance(node, dict)
            else data.draw(st.integers(0, len(node) - 1))
        )
        node[key] = data.draw(JSON)
    path = scratch / "record.json"
    path.write_text(json.dumps(raw))
    whole_or_told(load_record, path)
    whole_or_told(lambda path: finished_record(path.parent, Keys("t", "p", raw["fingerprint"])), path)
    try:
        record = load_record(path)
    except BenchError:
        return
    write_json(scratch / "again.json", record.model_dump())  # what is read can be filed again
    assert load_record(scratch / "again.json") == record


@settings(max_examples=100, deadline=None, derandomize=True)
@given(marker=JSON, parts=st.dictionaries(st.sampled_from(["key", "files", "facts", "cost", "made_by"]), JSON))
def test_a_stage_marker_of_any_shape_is_finished_or_not(scratch: Path, marker: Any, parts: dict[str, Any]) -> None:
    for value in (marker, {"key": "k", "files": [], "facts": {}, "cost": {}, "made_by": {}, **parts}):
        (scratch / "train.json").write_text(json.dumps(value))
        done = stage_done(scratch, "train", "k")
        assert done in (True, False) and not (done and not isinstance(value["facts"], dict))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": NaN}', '{"a": Infinity}', '{"a": 1e999}', '{"a": -1e999}', "\x00", "9" * 5000]
)
def test_json_that_we_never_write(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BenchError, match=r"x\.json is not valid JSON \(.*\); delete it and run the command again"):
        read_json(tmp_path / "x.json")


def test_a_single_array_and_an_array_that_would_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.save(tmp_path / "one.npy", np.arange(3))
    path.write_bytes((tmp_path / "one.npy").read_bytes())
    with pytest.raises(BenchError, match=r"x\.npz: damaged thing \(.*\); delete it and mend it"):
        load_arrays(path, "thing", "mend it")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    with pytest.raises(BenchError, match=r"x\.npz: damaged thing"):
        load_arrays(path, "thing")
    with pytest.raises(FileNotFoundError):
        load_arrays(tmp_path / "none.npz", "thing")


def test_a_drawn_mark_of_any_bytes_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    for content_, drawn in ((b"\xff\xfe", False), (b"f" * 8, False), (b"abc\n", True), (b"", False)):
        (tmp_path / "figures" / "drawn.txt").write_bytes(content_)
        assert figures_drawn(tmp_path, "abc") is drawn


def test_every_prefix_of_a_record_is_refused(tmp_path: Path) -> None:
    whole = V1.read_bytes().rstrip()
    path = tmp_path / RECORD
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(BenchError, match=r"record\.json"):
            load_record(path)


# -- a config that somebody mistyped -----------------------------------------------------------------------------------
VALUES = st.sampled_from(
    [
        "",
        "null",
        "-1",
        "0",
        "0.5",
        "1e999",
        ".nan",
        "[]",
        "{}",
        "[1, 2]",
        "x",
        "'",
        "2024-13-01",
        "*a",
        "&a",
        "<<",
        "9" * 40,
        "true",
        "!!x y",
    ]
)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_mistyped_config_gives_cells_or_is_refused_in_one_line(scratch: Path, data: st.DataObject) -> None:
    lines = TINY.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from(["value", "drop", "twice", "indent", "swap", "bytes"]))
        if kind == "value":
            key, colon, _ = lines[at].partition(":")
            lines[at] = f"{key}{colon} {data.draw(VALUES)}"
        elif kind == "drop" and len(lines) > 1:
            del lines[at]
        elif kind == "twice":
            lines.insert(at, lines[at])
        elif kind == "indent":
            lines[at] = " " * data.draw(st.integers(0, 8)) + lines[at].lstrip()
        elif kind == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = (
                damaged(lines[at].encode(), data.draw(st.lists(DAMAGE, max_size=2)))
                .decode("latin-1")
                .replace("plugins", "")
            )
    path = scratch / "suite.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        suite = load_suite(str(path))
        cells = expand(suite, Selection(), tuple(suite.tasks), Origin("--config suite.yaml", scratch))
    except BenchError as error:
        assert "\n" not in str(error) and len(str(error)) > 10, error
        return
    assert cells and all(len(cell.row_key) == 64 for cell in cells)
