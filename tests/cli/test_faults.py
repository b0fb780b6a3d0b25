"""Failing disks, damaged files, two runs at once: one clear message, the rest of the board stands, and the next run
repairs it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import REPOSITORY, TINY, Bench
from test_resume import WAITER, WAITING, alive, hold, release, wait_for

HARNESS = REPOSITORY / "tests" / "fault_harness.py"
RUN = ("run", "--config", "tiny.yaml", "--no-figures", "--threads", "1")
KINDS = ("ENOSPC", "kill", "EIO", "interrupt", "EROFS")


def harness(bench: Bench, mode: str, template: Path, *words: str, stdin: str = "") -> list[dict[str, Any]]:
    """Run the harness; return its JSON lines."""
    scratch = bench.folder / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, str(HARNESS), mode, str(template), str(scratch), *words], env={**bench.env, "OMP_NUM_THREADS": "1"},
        input=stdin, capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


# -- the n-th call that changes the disk fails -------------------------------------------------------------------------
def swept(tiny_run: Bench, bench: Bench, kinds: tuple[str, ...], first: int, every: int) -> int:
    """Let every `every`-th call of a run that adds a row to a board fail; check each trial, return how many there
    were.
    """
    template = bench.folder / "template"
    shutil.copytree(tiny_run.folder, template)
    for folder in (template / "runs" / "matching").glob("*random--seed0*"):
        shutil.rmtree(folder)
    for path in (template / "leaderboards/tiny/entries").glob("*random--seed0*"):
        path.unlink()
    words = (*RUN, "--method", "random", "--seeds", "0")
    head, *trials = harness(bench, "trials", template, ",".join(kinds), str(first), str(every), *words)
    assert head["reference"] == 0 and head["calls"] > 40, head
    for trial in trials:
        check(trial)
    return len(trials)


def check(trial: dict[str, Any]) -> None:
    """Check what one failing call led to."""
    said, code, kind = trial["said"], trial["code"], trial["kind"]
    assert trial["reached"] and "Traceback" not in said, trial
    if kind == "kill":  # the runner itself, or a worker: its cell is then a failed one, unless its record stood already
        assert code == -9 or code == 1 and "was killed by signal 9" in said or code == 0 and "FAILED" not in said, trial
    elif kind == "interrupt":
        assert code == 130 and "interrupted" in said, trial
    elif code != 0:  # 0: a call that is not needed, such as the mkdir of a folder that is there, or the log's
        assert code in (1, 2) and ("cannot write" in said or "cannot lock" in said), trial
    assert trial["wrong"] == [], "a file under its final name is not whole"
    assert trial["left"] == [], "a temporary file was left by a process that was not killed"
    assert trial["again"] == 0 and trial["differs"] == [], trial
    assert trial["left_at_last"] == [], "what a killed process left is still there after the next run"


def test_a_disk_that_fails_at_a_call(tiny_run: Bench, bench: Bench) -> None:
    assert swept(tiny_run, bench, KINDS, 4, 13) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fails_at_any_call(tiny_run: Bench, bench: Bench, kind: str) -> None:
    assert swept(tiny_run, bench, (kind,), 0, 1) > 40


def test_a_real_full_disk(bench: Bench) -> None:
    """A file system of 96 kB, mounted where the kernel lets us: runs and boards do not fit."""
    bench.write("tiny.yaml", TINY)
    (bench.folder / "full").mkdir()
    shell = (
        'mount -t tmpfs -o size=96k tmpfs full 2>/dev/null || exit 77; "$@"; code=$?; find full -name "*.tmp*" -type f;'
        " exit $code"
    )
    words = bench.words(*RUN, "--method", "cfog", "--runs", "full/runs", "--boards", "full/boards")
    try:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", shell, "sh", *words],
            cwd=bench.folder,
            env=bench.env,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip("this machine lets nobody mount a file system")
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stderr
    assert re.search(r"No space left on device|disk is full|GB are free", done.stderr), done.stderr
    assert ".tmp" not in done.stdout


# -- damaged files -----------------------------------------------------------------------------------------------------
def write(path: str, content: bytes) -> dict[str, str]:
    return {"write": path, "hex": content.hex()}


SAID: list[tuple[Any, ...]] = [  # case, number of its command, exit code, what it says
    ("untouched", 0, 0, '1 finished already'),
    ("scores", 0, 1, 'FAILED', 'damaged per-sample scores', 'delete it and the record.json beside it, then run the cell again'),
    ("record", 0, 1, 'FAILED: ', 'record.json is not valid JSON', 'delete it and run the command again', '2 (0, 1)'),
    ("record", 1, 1, 'PROBLEM', 'record.json is not valid JSON', '3 finished'),
    ("predictions", 0, 1, 'FAILED in score: ', 'predictions.npz: damaged predictions file', 'delete it and run the cell again'),
    ("entry", 0, 1, 'PROBLEM', 'histogram--seed0.json is not valid JSON', 'wrote leaderboards/tiny/matching.md'),
    ("entry of another slot", 0, 1, 'PROBLEM', 'histogram--seed0.json', 'cfog--once.json; delete it and run the suite again'),
    ("scores of an entry", 0, 1, 'PROBLEM', 'histogram--seed0.npz', 'delete it and run the suite again'),
    ("suite", 0, 1, 'suite.json is damaged; delete it and run the suite again'),
    ("suite", 1, 2, 'suite.json is damaged; delete it and run the suite again'),
    ("suite beside another", 0, 1, 'a/suite.json is damaged', 'wrote leaderboards/tiny/matching.md'),
    ("job", 0, 2, 'bench.worker: error: ', 'job.json: damaged job', 'run the command again'),
    ("a file for a folder", 0, 1, 'FAILED: cannot write', 'Not a directory' if os.getuid() else '', '2 (0, 1)'),
    ("a file for the entries", 0, 2, 'bench: error: cannot write', 'leaderboards/tiny/entries'),
]  # fmt: skip


def said(told: list[Any], number: int, code: int, *wanted: str) -> None:
    """Check one command of a case: its exit code, no traceback, and the words in what it said."""
    mine, text = told[number]
    assert mine == code and "Traceback" not in text, text
    assert all(words in text for words in wanted), text


def test_damaged_files_of_a_cell_and_of_a_board(tiny_run: Bench, bench: Bench) -> None:
    """One damage a case: what `bench` says of it, and that what the message says to do repairs it."""
    cell, entries = "runs/matching/" + tiny_run.cell("histogram").name, "leaderboards/tiny/entries"
    stem = f"{entries}/matching--toy-grouped--histogram--seed0"
    mine = {"bench": [*RUN, "--method", "histogram"]}
    board = {"bench": ["leaderboard"]}
    scores = (tiny_run.folder / cell / "scores.npz").read_bytes()
    marker = json.loads((tiny_run.folder / cell / "predict.json").read_text())
    other = json.loads((tiny_run.folder / f"{entries}/matching--toy-grouped--cfog--once.json").read_text())
    suite = json.loads((tiny_run.folder / "leaderboards/tiny/suite.json").read_text())
    record = f"{cell}/record.json"
    steps: dict[str, list[dict[str, Any]]] = {
        "untouched": [mine],
        "scores": [write(f"{cell}/scores.npz", scores[:-99]), mine, {"remove": f"{cell}/scores.npz"}, {"remove": record}, mine],
        "marker": [{"remove": record}, write(f"{cell}/predict.json", json.dumps({**marker, "files": 5}).encode()), mine],
        "marker of another key": [{"remove": record}, write(f"{cell}/predict.json", json.dumps({**marker, "key": "x"}).encode()), mine],
        "marker of another shape": [{"remove": record}, write(f"{cell}/train.json", b"\xff\x00"), mine],
        "record": [write(record, b""), mine, {"bench": ["plan", "--config", "tiny.yaml"]}, board, {"remove": record}, mine],
        "record by force": [write(record, b"{}"), {"bench": [*mine["bench"], "--force"]}],
        "predictions": [{"remove": record}, write(f"{cell}/predictions.npz", b"PK"), mine, {"remove": f"{cell}/predictions.npz"}, mine],
        "entry": [write(f"{stem}.json", b'{"schema_version": 1'), board, mine],
        "entry of another slot": [write(f"{stem}.json", json.dumps(other).encode()), board, mine],
        "scores of an entry": [write(f"{stem}.npz", b"\x00" * 99), board, mine],
        "suite": [write("leaderboards/tiny/suite.json", json.dumps({**suite, "order": 5}).encode()), board, mine,
                  {"remove": "leaderboards/tiny/suite.json"}, {"bench": [*RUN]}],
        "suite beside another": [write("leaderboards/a/suite.json", b"[]"), board],
        "job": [{"remove": record}, write(f"{cell}/job.json", b'{"cell": {}}'), {"worker": cell}, mine],
        "a file for a folder": [{"remove": cell}, write(cell, b""), mine, {"remove": cell}, mine],
        "a file for the entries": [{"remove": entries}, write(entries, b""), mine, {"remove": entries}, {"bench": [*RUN]}],
    }  # fmt: skip
    lines = harness(bench, "cases", tiny_run.folder, stdin=json.dumps(list(steps.values())))
    found = dict(zip(steps, lines, strict=True))
    told = {name: line["told"] for name, line in found.items()}
    for case, number, code, *words in SAID:
        said(told[case], number, code, *words)
    reference = found["untouched"]["results"]
    for name, line in found.items():
        assert line["wrong"] == [] or name == "suite beside another", (name, line["wrong"])
        code, text = line["told"][-1]
        assert code == (1 if name == "suite beside another" else 0), (name, text)
        results = {path: value for path, value in line["results"].items() if not path.startswith("leaderboards/a/")}
        differs = [path for path in {*results, *reference} if results.get(path) != reference.get(path)]
        assert differs == [], f"{name}: not repaired by what the message says"


# -- two runs at once --------------------------------------------------------------------------------------------------
def test_overlapping_runs_at_once_from_nothing_compute_each_cell_once(tiny_run: Bench, bench: Bench) -> None:
    """Two runs that start together, with an empty cache and no board, one of them of a part of the suite."""
    bench.write("tiny.yaml", TINY)
    processes = [bench.start(*RUN), bench.start(*RUN, "--method", "random", "histogram")]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert not any("Traceback" in text for output in outputs for text in output)
    logs = {path.parent.name: path.read_text() for path in (bench.folder / "runs/matching").glob("*/log.txt")}
    assert len(logs) == 4 and {log.count(" finished ") - log.count("finished by another") for log in logs.values()} == {
        1
    }, logs
    for name in ("matching.md", "matching.csv", "suite.json"):
        path = Path("leaderboards/tiny") / name
        assert (bench.folder / path).read_bytes() == (tiny_run.folder / path).read_bytes(), name
    assert bench.files("leaderboards/tiny/entries") == tiny_run.files("leaderboards/tiny/entries")


def test_a_cell_that_fails_while_another_run_waits_for_it_is_not_computed_again(bench: Bench) -> None:
    bench.write("waiter.py", WAITER.replace("        return {}\n", "        raise ValueError('no luck')\n"))
    bench.write("waiting.yaml", WAITING)
    words = ("run", "--config", "waiting.yaml", "--no-figures", "--seeds", "0")
    hold(bench, 0)
    first = bench.start(*words)
    wait_for((bench.folder / "started-0").is_file, first)
    second = bench.start(*words)
    (cell,) = (bench.folder / "runs/matching").glob("*seed0*")
    wait_for(lambda: "another process works on this cell" in (cell / "log.txt").read_text(), second)
    release(bench, 0)
    outputs = [process.communicate(timeout=300) for process in (first, second)]
    assert [first.returncode, second.returncode] == [1, 1], outputs
    assert all("FAILED in train: no luck" in stderr for _, stderr in outputs), outputs
    assert (bench.folder / "fits.txt").read_text().split() == ["0"]
    assert not alive(int((bench.folder / "started-0").read_text()))
