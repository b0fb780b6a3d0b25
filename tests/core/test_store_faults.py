"""What reaches the disk when writing fails at any step, and what is read back from bytes that nobody wrote."""

from __future__ import annotations

import builtins
import errno
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.boards.entries import load_entries
from bench.core.arrays import load_arrays
from bench.core.errors import BenchError
from bench.core.store import (
    atomic_write,
    folder_lock,
    read_json,
    remove_stale,
    save_arrays,
    write_json,
    write_text,
)
from bench.execution.records import load_record
from bench.models.states import load_state, save_state

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
