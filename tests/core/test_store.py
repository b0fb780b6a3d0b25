"""Files that are whole or not there, canonical hashes, locks."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.arrays import load_arrays
from bench.core.errors import BenchError
from bench.core.store import (
    atomic_write,
    canonical_hash,
    canonical_json,
    finite_or_none,
    folder_lock,
    read_json,
    write_json,
    write_text,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value: Any) -> Any:
    """Return an equal value with every mapping's keys in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(VALUES)
def test_the_hash_ignores_the_order_of_keys_and_survives_json(value: Any) -> None:
    assert canonical_hash(value) == canonical_hash(shuffled(value)) == canonical_hash(json.loads(canonical_json(value)))
    assert canonical_json(value).isascii()


@given(VALUES, VALUES)
def test_different_json_different_hash(a: Any, b: Any) -> None:
    assert (canonical_hash(a) == canonical_hash(b)) == (canonical_json(a) == canonical_json(b))


def test_the_hash_is_the_same_for_ever_and_tells_types_apart() -> None:
    known = "dfed03ef31b54910f6a6f5e1e081c4ac0dfadf7c1dab5e3d26fd3f0548280e23"
    assert canonical_hash({"b": 1, "a": [True, None, 0.1]}) == canonical_hash({"a": [True, None, 0.1], "b": 1}) == known
    assert canonical_json({"b": 1, "a": [True, None, 0.1, "é"]}) == '{"a":[true,null,0.1,"\\u00e9"],"b":1}'
    assert len({canonical_hash(value) for value in (1, 1.0, "1", True, [1], None)}) == 6
    assert canonical_hash((1, 2)) == canonical_hash([1, 2])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, -float("inf")]])
def test_not_a_number_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_hash(value)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", value)
    assert os.listdir(tmp_path) == []
    assert finite_or_none(1) == 1.0 and finite_or_none(None) is None and finite_or_none(float("nan")) is None


@given(value=VALUES)
def test_json_files_round_trip(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")

    class Trouble(Exception):
        pass

    for error in (Trouble("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)), atomic_write(path) as temporary:
            assert temporary.parent == path.parent and temporary.suffix == ".txt" and temporary != path
            temporary.write_text("half")
            raise error
        assert path.read_text() == "old" and os.listdir(path.parent) == ["file.txt"]
    with (
        pytest.raises(BenchError, match="cannot write .*file.txt: .*free space or choose another output folder"),
        atomic_write(path),
    ):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old" and os.listdir(path.parent) == ["file.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BenchError, match="cannot write .*file/inside/x.json"):
        write_json(tmp_path / "file" / "inside" / "x.json", 1)
    with (
        pytest.raises(BenchError, match="cannot write to .*choose another output folder"),
        folder_lock(tmp_path / "file"),
    ):
        pass
    with pytest.raises(BenchError, match="cannot read"):
        read_json(tmp_path / "none.json")
    with pytest.raises(BenchError, match="is not valid JSON .* delete it and run the command again"):
        read_json(tmp_path / "file")


def _hold(folder: Path, held: Any, go: Any) -> None:
    with folder_lock(folder):
        held.set()
        go.wait(60)


def test_a_lock_keeps_others_out_and_goes_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for ending in ("leaves", "is killed"):
        held, go = context.Event(), context.Event()
        process = context.Process(target=_hold, args=(tmp_path / "cell", held, go))
        process.start()
        assert held.wait(60)
        with folder_lock(tmp_path / "cell", wait=False) as free:
            assert not free
        if ending == "leaves":
            go.set()
        else:
            process.kill()
        with folder_lock(tmp_path / "cell") as free:
            assert free
        process.join(60)
    with folder_lock(tmp_path / "cell", wait=False) as free:
        assert free


def _append(folder: Path, number: int) -> None:
    for _ in range(20):
        with folder_lock(folder):
            path = folder / "count.txt"
            count = int(path.read_text()) if path.exists() else 0
            time.sleep(0.0005)
            write_text(path, str(count + 1))


def test_a_lock_makes_reading_and_writing_one_step(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append, args=(tmp_path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert (tmp_path / "count.txt").read_text() == "80"


def test_an_array_whose_head_is_damaged_is_no_array(tmp_path: Path) -> None:
    """NumPy returns the raw bytes of a member that does not begin like a .npy file; it once went on as if it were an
    array.
    """
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(BenchError, match=r"a\.npz: damaged thing \(x is no array\); delete it and run the cell again"):
        load_arrays(path, "thing")
