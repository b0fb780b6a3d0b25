"""Interrupted runs: killed, interrupted, run twice at once; the same command again ends in the same bytes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import NET, TINY, Bench

PATIENCE_S = 120.0
SAME = ("model.safetensors", "predictions.npz", "curves.csv", "scores.npz")
WAITER = """
import os, time
import numpy as np
from pathlib import Path
from bench.core.registries import MATCHERS
from bench.matching.matchers.base import Matcher

@MATCHERS.register("waiter", "fits as long as a file called hold-SEED is there")
class Waiter(Matcher):
    seeded = True
    embeds = True

    def embedding_distance(self):
        return "rms"

    def _fit(self, data):
        with open("fits.txt", "a") as stream:
            stream.write(f"{data.seed}\\n")
        Path(f"started-{data.seed}").write_text(str(os.getpid()))
        while Path(f"hold-{data.seed}").exists():
            time.sleep(0.01)
        self.scale = 1.0 + data.seed
        return {}

    def state(self):
        return {"scale": np.array([self.scale])}

    def load_state(self, state):
        self.scale = float(state["scale"][0])

    def _embed(self, view, images):
        means = images.reshape(len(images), -1).mean(1)
        return np.stack([means, 40 * np.sin(self.scale * means)], axis=1).astype("float32")
"""
WAITING = (
    TINY.split("  methods:")[0].replace("name: tiny", "name: waiting\nplugins: [waiter.py]")
    + """\
  methods:
    waiter: {matcher: waiter, seeds: [0, 1, 2]}
"""
)


def wait_for(what: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until `what()` is true; fail when `process` ends before."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "nothing happened"
        if process is not None and process.poll() is not None and not what():
            raise AssertionError(f"the run ended with {process.returncode}: {process.communicate()[1]}")
        time.sleep(0.002)


def kill_group(process: subprocess.Popen[str], number: signal.Signals = signal.SIGKILL) -> None:
    os.killpg(process.pid, number)
    process.communicate(timeout=PATIENCE_S)


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def epochs_done(cell: Path) -> int:
    """Return the rows of curves.csv, written after the checkpoint of each epoch."""
    path = cell / "curves.csv"
    return len(path.read_text().splitlines()) - 1 if path.is_file() else 0


def metrics(cell: Path) -> object:
    record = json.loads((cell / "record.json").read_text())
    return {name: record[name] for name in ("metrics", "keys", "outputs", "inputs", "spec", "row_key", "status")}


@pytest.fixture
def waiting(bench: Bench) -> Bench:
    """A folder with a suite of three cells that wait while a file `hold-SEED` is there."""
    bench.write("waiter.py", WAITER)
    bench.write("waiting.yaml", WAITING)
    return bench


RUN = ("run", "--config", "waiting.yaml", "--no-figures")


def hold(bench: Bench, seed: int) -> None:
    bench.write(f"hold-{seed}", "")


def release(bench: Bench, seed: int) -> None:
    (bench.folder / f"hold-{seed}").unlink()


def fits(bench: Bench) -> list[str]:
    return (bench.folder / "fits.txt").read_text().split()


def test_killed_in_training_predicting_and_scoring_the_run_ends_in_the_same_bytes(net_run: Bench, bench: Bench) -> None:
    """SIGINT after epoch 1, kill -9 after a later epoch, at the start of predicting and of scoring; with another number
    of workers.
    """
    bench.write("net.yaml", NET)
    words = ("run", "--config", "net.yaml", "--threads", "1", "--workers", "2")
    name = net_run.cell("infonce").name
    cell = bench.folder / "runs/matching" / name

    process = bench.start(*words)
    wait_for(lambda: (cell / "checkpoints/last.pt").is_file() and epochs_done(cell) >= 1, process)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130 and "the same command resumes from the last checkpoint" in stderr, stderr
    assert "Traceback" not in stderr and not (cell / "record.json").exists()
    assert "resumes from its last checkpoint" in bench("plan", "--config", "net.yaml").stdout

    reached = epochs_done(cell)
    process = bench.start(*words)
    wait_for(lambda: epochs_done(cell) > reached or (cell / "train.json").is_file(), process)
    kill_group(process)
    assert (cell / "checkpoints/last.pt").is_file() and not (cell / "record.json").exists()

    for marker in ("train.json", "predict.json"):
        process = bench.start(*words)
        wait_for((cell / marker).is_file, process)
        kill_group(process)

    bench(*words)
    log = (cell / "log.txt").read_text()
    assert re.search(r"training goes on after epoch [1-4] of 4", log)
    assert log.count("epoch 1/4") <= 1, "a finished epoch was trained again"  # 0: the signal came before its line
    for name in SAME:
        assert (cell / name).read_bytes() == (net_run.cell("infonce") / name).read_bytes(), name
    assert metrics(cell) == metrics(net_run.cell("infonce"))
    board = "leaderboards/net/matching.md"
    assert (bench.folder / board).read_bytes() == (net_run.folder / board).read_bytes()
    pictures = {path.name: path.read_bytes() for path in (cell / "figures").iterdir()}
    assert pictures == {path.name: path.read_bytes() for path in (net_run.cell("infonce") / "figures").iterdir()}
    assert not [
        name for name in bench.files("runs/matching") if ".tmp" in name or "checkpoints" in name or ".mmengine" in name
    ]


def test_two_runs_at_once_compute_no_cell_twice(waiting: Bench) -> None:
    hold(waiting, 0)
    first = waiting.start(*RUN)
    wait_for((waiting.folder / "started-0").is_file, first)
    second = waiting.start(*RUN)
    (cell,) = (waiting.folder / "runs/matching").glob("*seed0*")
    wait_for(lambda: "another process works on this cell" in (cell / "log.txt").read_text(), second)
    release(waiting, 0)
    outputs = [process.communicate(timeout=PATIENCE_S) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert sorted(fits(waiting)) == ["0", "1", "2"]
    records = [json.loads(path.read_text()) for path in (waiting.folder / "runs/matching").glob("*/record.json")]
    assert [record["status"] for record in records] == ["finished"] * 3
    assert "3 finished" in waiting("plan", "--config", "waiting.yaml").stdout
    assert "3 (0, 1, 2)" in (waiting.folder / "leaderboards/waiting/matching.md").read_text()


def test_a_worker_killed_alone_fails_its_cell_and_the_next_run_repairs_it(waiting: Bench) -> None:
    hold(waiting, 1)
    process = waiting.start(*RUN)
    wait_for((waiting.folder / "started-1").is_file, process)
    wait_for(lambda: (waiting.folder / "started-1").read_text())
    os.kill(int((waiting.folder / "started-1").read_text()), signal.SIGKILL)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "Traceback" not in stderr
    assert "FAILED in worker: the worker process was killed by signal 9 (out of memory?)" in stderr
    record = json.loads((waiting.cell("seed1") / "record.json").read_text())
    assert record["status"] == "failed" and record["failure"]["stage"] == "worker"
    assert fits(waiting) == ["0", "1", "2"]
    board = waiting.folder / "leaderboards/waiting/matching.md"
    assert "1/3 failed" in board.read_text() and "‡" in board.read_text()
    release(waiting, 1)
    assert "3 cells, 2 finished already, 1 to run" in waiting(*RUN).stderr
    assert fits(waiting) == ["0", "1", "2", "1"] and "failed" not in board.read_text()


def test_a_killed_runner_takes_its_worker_along(waiting: Bench) -> None:
    hold(waiting, 0)
    process = waiting.start(*RUN)
    wait_for((waiting.folder / "started-0").is_file, process)
    wait_for(lambda: (waiting.folder / "started-0").read_text())
    worker = int((waiting.folder / "started-0").read_text())
    assert alive(worker)
    process.kill()  # the runner alone
    process.communicate(timeout=PATIENCE_S)
    wait_for(lambda: not alive(worker))
    release(waiting, 0)
    waiting(*RUN)  # its lock went with it
    assert sorted(fits(waiting)) == ["0", "0", "1", "2"]


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_runner_killed_before_its_worker_has_loaded_anything_leaves_none(waiting: Bench) -> None:
    hold(waiting, 0)
    process = waiting.start(*RUN)
    wait_for(lambda: children(process.pid), process)
    workers = children(process.pid)
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    wait_for(lambda: not any(map(alive, workers)))
    assert not (waiting.folder / "started-0").exists()


def test_a_process_whose_parent_is_gone_already_ends_at_once() -> None:
    code = "from bench.core.processes import *; die_with_parent(starter()); print('alive', os.environ.get(STARTER))"
    for parent, told in ((os.getpid(), "alive None\n"), (os.getpid() + 1, "")):
        env = {**os.environ, "BENCH_STARTER": str(parent)}
        done = subprocess.run([sys.executable, "-c", "import os; " + code], env=env, capture_output=True, text=True)
        assert (done.stdout, done.returncode) == (told, 0 if told else 130), done.stderr


def test_an_interrupt_of_the_runner_alone_is_passed_on(waiting: Bench) -> None:
    hold(waiting, 1)
    process = waiting.start(*RUN)
    wait_for((waiting.folder / "started-1").is_file, process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130 and "interrupted" in stderr and "Traceback" not in stderr
    assert "board: " in stdout  # of what was finished
    assert not (waiting.cell("seed1") / "record.json").exists()
    release(waiting, 1)
    waiting(*RUN)
    assert fits(waiting) == ["0", "1", "1", "2"]


def test_clean_shows_then_frees_and_keeps_what_is_in_use(waiting: Bench) -> None:
    hold(waiting, 1)
    process = waiting.start(*RUN)
    wait_for((waiting.folder / "started-1").is_file, process)
    shown = waiting("clean", "unfinished", "cache").stdout
    assert "could be freed; add --yes to delete" in shown and "runs/cache/patches" in shown
    kept = waiting("clean", "unfinished", "cache", "--yes").stdout
    assert "deleted" not in kept and kept.count("kept (in use): ") == shown.count("\n  runs/") > 3
    assert "kept (in use): " not in waiting("clean", "finished", "--yes").stdout
    assert not list((waiting.folder / "runs/matching").glob("*seed0*"))
    release(waiting, 1)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    # the run cannot file the cell that was deleted behind its back: it says so, and the same command repairs it
    assert process.returncode == 1 and "seed0: its per-sample scores are missing" in stderr, stderr
    waiting(*RUN)
    assert fits(waiting) == ["0", "1", "2", "0"]
    assert "deleted " in waiting("clean", "cache", "--yes").stdout
    assert waiting.files("runs/cache") == []
    assert "3 places" in waiting("clean").stdout


def test_clean_touches_only_what_is_ours(tiny: Bench) -> None:
    shutil.move(tiny.folder / "leaderboards", tiny.folder / "runs/boards")
    (tiny.cell("cfog") / "record.json").write_text("damaged")
    tiny.write("mine/notes.txt", "not a cache")
    env = {"BENCH_CACHE": str(tiny.folder / "mine")}
    assert "unfinished" in tiny("clean").stdout
    out = tiny("clean", "unfinished", "cache", "--yes", env=env).stdout
    assert "cfog" in out and "boards" not in out
    assert (tiny.folder / "mine/notes.txt").is_file() and (tiny.folder / "runs/boards/tiny/matching.md").is_file()
    assert (tiny.folder / "runs/cache/patches").is_dir()
    weights = tiny("clean", "weights", "--yes").stdout
    assert weights.count("deleted ") == 3 and not list((tiny.folder / "runs").glob("*/*/model.safetensors"))
    assert "numbers as recorded" in tiny("score").stdout
