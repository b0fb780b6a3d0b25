"""`bench` in forked processes where something goes wrong with the disk; a script that tests/cli/test_faults.py starts.

    python fault_harness.py trials TEMPLATE SCRATCH KINDS FIRST EVERY WORDS...
    python fault_harness.py cases TEMPLATE SCRATCH < CASES

Cases: a JSON list; each is a list of steps, done in a copy of TEMPLATE of its own: {"write": path, "hex": bytes},
{"remove": path} or {"bench": words}, {"worker": folder}. Prints one JSON line a case: what each command came to.

Trials: for n = FIRST, FIRST + EVERY, ...: copies TEMPLATE, runs `bench WORDS` in it with the n-th call that changes the
disk failing, looks at what is there, runs the same words again without a fault, and prints one JSON line. KINDS are
dealt to the trials in turn. It ends with the first n that is never reached. Runner and workers are forked from this one
process, so that a trial costs no imports; the calls of all of them are counted.
"""

from __future__ import annotations

import builtins
import errno
import importlib
import io
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.cli.main import main
from bench.core.arrays import load_arrays
from bench.core.errors import BenchError
from bench.core.store import read_json
from bench.execution import runner, worker
from bench.execution.records import load_record
from bench.models.states import load_state

NUMBERS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EROFS": errno.EROFS}
SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT}
COUNTER = mmap.mmap(-1, 8)  # shared by everything that is forked


def calls() -> int:
    return int(struct.unpack("q", COUNTER[:8])[0])


def set_calls(value: int) -> None:
    COUNTER[:8] = struct.pack("q", value)


def install(at: int, kind: str) -> None:
    """Count every call that changes the disk below the current folder; the one with number `at` (from 0) goes wrong."""
    here = os.getcwd()

    def ask() -> None:
        number = calls()
        set_calls(number + 1)
        if number != at:
            return
        if kind in SIGNALS:
            os.kill(os.getpid(), SIGNALS[kind])
            return
        raise OSError(NUMBERS[kind], os.strerror(NUMBERS[kind]))

    def guard(function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **keys: Any) -> Any:
            ask()
            return function(*args, **keys)

        return guarded

    def guard_open(function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(file: Any, mode: str = "r", *args: Any, **keys: Any) -> Any:
            if set(mode) & set("wax+") and not isinstance(file, int) and os.path.abspath(file).startswith(here):
                ask()
            return function(file, mode, *args, **keys)

        return guarded

    for owner, name in ((os, "mkdir"), (os, "fsync"), (os, "replace"), (os, "link"), (tempfile, "mkstemp")):
        setattr(owner, name, guard(getattr(owner, name)))
    builtins.open = guard_open(builtins.open)
    io.open = guard_open(io.open)


class ForkedWorker:
    """Stands in for the process that the runner starts."""

    def __init__(self, words: list[str], env: dict[str, str]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            leave(lambda: worker.main(Path(words[-1])))
        self.code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def leave(action: Callable[[], int]) -> None:
    """Run `action` and end this process with its exit code, whatever happens."""
    code = 70
    try:
        code = action()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def bench(
    folder: Path, words: list[str], at: int = -1, kind: str = "kill", action: Callable[[], int] | None = None
) -> tuple[int, str]:
    """Run `bench WORDS`, or `action`, in a forked process in `folder`; return its exit code (negative: the signal) and
    what it said.
    """
    said = folder / "said.txt"
    set_calls(0)
    pid = os.fork()
    if pid == 0:
        stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        os.chdir(folder)
        install(at, kind)
        forked = SimpleNamespace(Popen=ForkedWorker, TimeoutExpired=subprocess.TimeoutExpired)
        setattr(runner, "subprocess", forked)  # noqa: B010  # of that module alone
        leave(action or (lambda: main(words)))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, said.read_text()


def cases(template: Path, scratch: Path, wanted: list[list[dict[str, Any]]]) -> None:
    """Do the steps of every case; print one JSON line a case with (exit code, output) of each command."""
    for number, steps in enumerate(wanted):
        folder = scratch / f"case{number}"
        shutil.copytree(template, folder)
        told = []
        for step in steps:
            if "bench" in step:
                told.append(bench(folder, step["bench"]))
            elif "worker" in step:
                told.append(bench(folder, [], action=lambda step=step: worker.main(Path(step["worker"]))))  # type: ignore[misc]
            elif "remove" in step:
                path = folder / step["remove"]
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            else:
                (folder / step["write"]).parent.mkdir(parents=True, exist_ok=True)
                (folder / step["write"]).write_bytes(bytes.fromhex(step["hex"]))
        print(json.dumps({"told": told, "wrong": look(folder), "results": results_or_none(folder)}), flush=True)
        shutil.rmtree(folder)


def results_or_none(folder: Path) -> dict[str, str] | None:
    try:
        return results(folder)
    except BenchError:
        return None


def look(folder: Path) -> list[str]:
    """Return what is wrong with the files below `folder`: every one under its final name must be whole."""
    wrong = []
    for path in sorted([*(folder / "runs").rglob("*"), *(folder / "leaderboards").rglob("*")]):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            if path.name == "record.json" or path.parent.name == "entries" and path.suffix == ".json":
                load_record(path)
            elif path.suffix == ".json" and not path.is_relative_to(folder / "runs" / "cache"):
                read_json(path)
            elif path.suffix == ".npz":
                load_arrays(path, "file")
            elif path.suffix == ".safetensors":
                load_state(path)
        except BenchError as error:
            wrong.append(str(error))
    return wrong


def leftovers(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob(".*.tmp*")
        if not path.is_relative_to(folder / "runs" / "cache")
    ]


def results(folder: Path) -> dict[str, str]:
    """Return what two runs must agree on: arrays, models and boards byte by byte, records without their costs and
    machines.
    """
    out = {}
    for path in sorted([*(folder / "runs").glob("*/*/*"), *(folder / "leaderboards").rglob("*")]):
        name = path.relative_to(folder).as_posix()
        if path.suffix in (".npz", ".safetensors", ".md", ".csv") or path.name == "suite.json":
            out[name] = path.read_bytes().hex()
        elif path.name == "record.json" or path.parent.name == "entries" and path.suffix == ".json":
            record = load_record(path)
            out[name] = record.model_copy(update={"cost": {}, "provenance": {}}).model_dump_json()
    return out


def trials(template: Path, scratch: Path, kinds: list[str], first: int, every: int, words: list[str]) -> None:
    """Run the reference, then one trial after the other; print one JSON line each."""
    shutil.copytree(template, scratch / "reference")
    code, said = bench(scratch / "reference", words)
    reference = results(scratch / "reference")
    print(json.dumps({"reference": code, "calls": calls(), "said": said if code else ""}), flush=True)
    for turn, number in enumerate(range(first, calls(), every)):
        folder, kind = scratch / str(number), kinds[turn % len(kinds)]
        shutil.copytree(template, folder)
        code, said = bench(folder, words, number, kind)
        trial: dict[str, Any] = {
            "number": number,
            "kind": kind,
            "reached": calls() > number,
            "code": code,
            "said": said,
        }
        trial["wrong"] = look(folder)
        trial["left"] = leftovers(folder) if kind not in ("kill",) else []
        trial["again"], again = bench(folder, words)
        mine = results(folder)
        trial["differs"] = sorted(name for name in {*mine, *reference} if mine.get(name) != reference.get(name))
        trial["left_at_last"] = leftovers(folder)
        trial["said_again"] = again if trial["again"] else ""
        print(json.dumps(trial), flush=True)
        shutil.rmtree(folder)


def warm_up() -> None:
    """Import what a run would import, once, so that forked processes need not."""
    for name in (
        "torch",
        "bench.training.api",
        "bench.boards.leaderboard",
        "bench.suite.smoke",
        "bench.cli.run",
        "bench.cli.plan",
        "bench.cli.leaderboard",
    ):
        importlib.import_module(name)
    for name in (
        "task",
        "predict",
        "board.table",
        "scoring.score",
        "scoring.predictions",
        "matchers.histogram",
        "matchers.random_scores",
        "matchers.cfog",
    ):
        importlib.import_module(f"bench.matching.{name}")


if __name__ == "__main__":
    warm_up()
    mode, place, where, *rest = sys.argv[1:]
    if mode == "cases":
        cases(Path(place), Path(where), json.load(sys.stdin))
    else:
        trials(Path(place), Path(where), rest[0].split(","), int(rest[1]), int(rest[2]), rest[3:])
