"""What reaches the disk when writing fails at any step, and what is read back from bytes that nobody wrote."""

from __future__ import annotations

import builtins
import errno
import io
import json
import multiprocessing
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import TINY
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.boards.entries import load_entries, read_samples
from bench.core.errors import BenchError
from bench.core.store import (
    atomic_write,
    folder_lock,
    load_arrays,
    read_json,
    remove_stale,
    save_arrays,
    write_json,
    write_text,
)
from bench.detection.scoring.predictions import load_predictions as load_detections
from bench.execution.cell import Origin, Selection
from bench.execution.records import RECORD, Keys, figures_drawn, finished_record, load_record, stage_done, write_stage
from bench.matching.scoring.predictions import load_predictions as load_pairs
from bench.models.states import load_state, save_state
from bench.suite.config import load_suite
from bench.suite.expansion import expand

V1 = Path(__file__).parent / "records_v1" / "finished.json"
STEPS = ("mkdir", "mkstemp", "open", "fsync", "replace")  # every system call of a write that can be refused
OLD, NEW = {"a": np.arange(3)}, {"a": np.arange(4.0)}
WRITERS: dict[str, tuple[Callable[[Path, Any], None], Callable[[Path], Any], Any, Any]] = {
    "value.json": (write_json, read_json, {"old": 1}, {"new": [1, 2]}),
    "text.md": (write_text, lambda path: path.read_text(), "old", "new" * 10_000),
    "arrays.npz": (save_arrays, lambda path: {k: v.tolist() for k, v in load_arrays(path, "x").items()}, OLD, NEW),
    "state.safetensors": (save_state, lambda path: {k: v.tolist() for k, v in load_state(path).items()}, OLD, NEW),
}


def content(value: Any) -> Any:
    return {name: array.tolist() for name, array in value.items()} if value is OLD or value is NEW else value


class Fault:
    """Fails the n-th of the calls in STEPS by `what`: an OSError of that number, KeyboardInterrupt, or kill -9 (-9)."""

    def __init__(self, at: int, what: int | type[BaseException]) -> None:
        self.left, self.what, self.calls = at, what, 0

    def __call__(self) -> None:
        self.calls += 1
        self.left -= 1
        if self.left != -1:
            return
        if isinstance(self.what, type):
            raise self.what()
        if self.what < 0:
            os._exit(9)
        raise OSError(self.what, os.strerror(self.what))


@contextmanager
def faulty(fault: Fault) -> Iterator[None]:
    """Have every call that writing needs ask `fault` first."""

    def guard(function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **keys: Any) -> Any:
            fault()
            return function(*args, **keys)

        return guarded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "mkdir", guard(os.mkdir))
        patch.setattr(tempfile, "mkstemp", guard(tempfile.mkstemp))
        patch.setattr(builtins, "open", guard(builtins.open))
        patch.setattr(os, "fsync", guard(os.fsync))
        patch.setattr(os, "replace", guard(os.replace))
        yield


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("what", [errno.ENOSPC, errno.EIO, errno.EROFS, KeyboardInterrupt], ids=str)
def test_a_write_that_fails_at_any_step_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, name: str, what: Any
) -> None:
    write, read, old, new = WRITERS[name]
    wanted = KeyboardInterrupt if what is KeyboardInterrupt else BenchError
    path = tmp_path / "folder" / name
    failed = 0
    for step in range(100):
        write(path, old)
        fault = Fault(step, what)
        try:
            with faulty(fault):
                write(path, new)
            # such as the mkdir of a folder that is there: its failure does not matter
            assert read(path) == content(new)
        except wanted as error:
            failed += 1
            assert not isinstance(error, BenchError) or (str(path) in str(error) and os.strerror(what) in str(error)), (
                error
            )
            assert read(path) == content(old), f"step {step} of {fault.calls}"
        assert os.listdir(path.parent) == [name], f"step {step} left a temporary file"
        if fault.left >= 0:  # it was never asked so often: every step has failed once
            break
    assert failed >= 3 and read(path) == content(new)


def _die(path: Path, name: str, at: int) -> None:
    with faulty(Fault(at, -9)):
        WRITERS[name][0](path, WRITERS[name][3])


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_killed_at_any_step_leaves_the_old_file_and_what_it_left_is_removed(tmp_path: Path, name: str) -> None:
    write, read, old, new = WRITERS[name]
    context = multiprocessing.get_context("fork")
    codes = []
    for step in range(8):
        path = tmp_path / str(step) / name
        write(path, old)
        process = context.Process(target=_die, args=(path, name, step))
        process.start()
        process.join(60)
        codes.append(process.exitcode)
        assert read(path) == content(old if process.exitcode == 9 else new)
        remove_stale(tmp_path)
        assert os.listdir(path.parent) == [name]
    assert codes[:3] == [9, 9, 9] and codes[-1] == 0


def test_an_error_of_the_cleaning_up_does_not_hide_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(BenchError, match="No space left"), atomic_write(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_a_killed_writer_left_is_no_entry(tmp_path: Path) -> None:
    record = load_record(V1)
    name = f"{record.task}--{record.slot}.json"
    write_json(tmp_path / "entries" / name, record.model_dump())
    (tmp_path / "entries" / f".{name[:-5]}.abc.tmp.json").write_text("{")
    assert load_entries(tmp_path).damaged == {} and len(load_entries(tmp_path).records) == 1


def test_a_disk_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(BenchError, match="cannot lock .*No locks available; choose an output folder on a local disk"),
        folder_lock(tmp_path),
    ):
        pass


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
    "scores.npz": read_samples.__wrapped__,
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
