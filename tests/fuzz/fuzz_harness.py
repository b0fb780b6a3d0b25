"""Runs cases: a mutated file, or a command line, goes through the code that reads it, in this process.

A case is a kind and a number, and comes out the same each time. It may end well, or in a `BenchError` of one line
(`bench`: exit code 0, 1 or 2). Everything else is a finding: another exception, a traceback on the screen, no end within
`PATIENCE_S`, and a file that the call left half-written.

    PYTHONPATH=tests python tests/fuzz/fuzz_kinds.py KIND [FIRST [COUNT]]       runs cases and prints what was found
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import NoReturn

from bench.cli.main import main
from bench.core.errors import BenchError, MissingInputs

PATIENCE_S = 60.0  # of a machine that others use too; an honest case takes milliseconds
GROWTH_MIB = 1500  # how much the peak of memory may rise over all cases of a kind
Run = Callable[[Random, Path], None]


@dataclass(frozen=True)
class Kind:
    """One kind of cases.

    Attributes:
        name: of the kind. slow: how many cases the slow part runs; quick: the default part.
        make: leaves the unharmed files in a folder of the kind's own, once; returns what runs a case in it: given a
            generator of random numbers and the folder, it mutates, calls, and removes what it made.
    """

    name: str
    slow: int
    quick: int
    make: Callable[[Path], Run]


@dataclass
class Tally:
    """What the cases of a kind came to."""

    cases: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    seconds: float = 0.0
    growth_mib: float = 0.0
    findings: list[str] = field(default_factory=list)


class Endless(BaseException):
    """A case took longer than `PATIENCE_S`; no `except Exception` may swallow it."""


class Refused(Exception):
    """A case ended as bad input ends: in a `BenchError`, or in exit code 1 or 2."""


def run_kind(kind: Kind, scratch: Path, first: int = 0, count: int | None = None) -> Tally:
    """Run cases of a kind, the quick part's where no count is given; return what they came to."""
    tally, folder = Tally(), scratch / kind.name
    folder.mkdir(parents=True, exist_ok=True)
    run, before = kind.make(folder), _peak_mib()
    for number in range(first, first + (kind.quick if count is None else count)):
        started = time.monotonic()
        found = _case(run, kind.name, number, folder)
        took = time.monotonic() - started
        tally.cases += 1
        tally.seconds += took
        tally.slowest_s = max(tally.slowest_s, took)
        tally.refused += found is None
        if found:
            tally.findings.append(f"{kind.name} {number}: {found}")
    tally.growth_mib = _peak_mib() - before
    if tally.growth_mib > GROWTH_MIB:
        tally.findings.append(f"{kind.name}: the peak of memory rose by {tally.growth_mib:.0f} MiB")
    return tally


def _case(run: Run, name: str, number: int, folder: Path) -> str | None:
    """Run one case; return what is wrong, "" where it ended well, None where it was refused as it should be."""
    try:
        with _limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(Random(f"{name} {number}"), folder)
            refused = False
    except Refused:
        refused = True
    except BenchError as error:
        refused = True
        if "\n" in str(error) and not isinstance(error, MissingInputs) or not str(error).strip():
            return f"a message of several lines: {str(error)[:300]!r}"
    except Endless:
        return "no end:\n" + traceback.format_exc(limit=-6)
    except Exception:
        return "uncaught:\n" + traceback.format_exc(limit=-5)
    harm = half_written(folder)
    return harm or (None if refused else "")


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise Endless

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def half_written(folder: Path) -> str:
    """Return what in a folder is no whole file: a temporary file, or one outside `input` that is not what its ending
    says; "" where all is well.
    """
    for path in folder.rglob("*"):
        if "input" in path.parts or not path.is_file():
            continue
        if ".tmp" in path.name:
            return f"{path.relative_to(folder)}: a temporary file is left"
        try:
            if path.suffix == ".json":
                json.loads(path.read_bytes())
            elif path.suffix == ".npz":
                with zipfile.ZipFile(path) as archive:
                    archive.testzip()
            elif path.suffix in (".md", ".csv") and path.stat().st_size:
                assert path.read_bytes().endswith(b"\n")
        except (ValueError, AssertionError, zipfile.BadZipFile) as error:
            return f"{path.relative_to(folder)}: half-written ({error})"
    return ""


def bench(folder: Path, *words: str) -> None:
    """Run `bench WORDS` in a folder.

    Raises:
        Refused: exit code 1 or 2, without a traceback.
        AssertionError: another code, or a traceback on the screen.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    screen = out.getvalue() + err.getvalue()
    assert code in (0, 1, 2), f"{words}: exit code {code}"
    assert "Traceback" not in screen, f"{words}: {screen[-1500:]}"
    assert code != 2 or screen.strip(), f"{words}: exit code 2 without a word"
    if code:
        raise Refused


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # Linux counts KiB


def shown(name: str, tally: Tally) -> str:
    """Return a line on a kind's cases."""
    return (
        f"{name:12} {tally.cases:6} cases, {tally.refused:6} refused, {len(tally.findings):3} findings,"
        f" {tally.seconds:6.1f} s, slowest {tally.slowest_s:5.2f} s, memory + {tally.growth_mib / 1024:.2f} GiB"
    )


def run_from_command_line(kinds: dict[str, Kind], words: list[str]) -> int:
    """Run the cases that the words name; print what was found; return the exit code."""
    kind = kinds[words[0]]
    first, count = (int(words[1]) if words[1:] else 0), (int(words[2]) if words[2:] else 1 if words[1:] else kind.quick)
    os.environ["BENCH_DATA"] = ""
    with tempfile.TemporaryDirectory(prefix="bench-fuzz-") as scratch:
        tally = run_kind(kind, Path(scratch), first, count)
    print(*tally.findings, shown(kind.name, tally), sep="\n")
    return int(bool(tally.findings))
