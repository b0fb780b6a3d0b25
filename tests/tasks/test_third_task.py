"""A third task, registered by the entry point of another distribution, goes the whole way: plan, run, resume, score,
boards, statistics; the harness knows nothing of it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import REPOSITORY, Bench

TASK = Path(__file__).with_name("brightness_task.py")
LONGEST = 150  # lines: what a new task has to supply
KILLS = """
import os

_predict = BrightnessTask.predict_with


def _killed(self, component, job, data):
    if os.environ.get("KILL_IN_PREDICT"):
        os.kill(os.getpid(), 9)
    return _predict(self, component, job, data)


BrightnessTask.predict_with = _killed
"""
SUITE = """\
name: levels
seeds: [0, 1]
brightness:
  datasets:
    toy:
      dataset: toy-pairs
      options: {scenes: 8, patches_per_scene: 6, patch_px: 32}
      splits:
        grouped: {kind: grouped, by: scene, test: 0.6, validation: 0.2}
        cv: {kind: folds, by: scene, folds: 2}
  methods:
    constant: {guesser: polynomial}
    line: {guesser: polynomial, options: {degree: 1}, datasets: [toy/grouped]}
"""


@pytest.fixture
def outside(bench: Bench) -> Bench:
    """The command line where another distribution brings the task."""
    site = bench.folder / "site"
    info = site / "brightness-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brightness\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[saropt_bench.tasks]\nbrightness = brightness_task:BrightnessTask\n")
    (site / "brightness_task.py").write_text(TASK.read_text() + KILLS)
    bench.env["PYTHONPATH"] = f"{REPOSITORY}:{site}"
    bench.write("levels.yaml", SUITE)
    return bench


def test_the_smallest_task_is_small() -> None:
    assert len(TASK.read_text().splitlines()) < LONGEST
    assert "bench.matching" not in TASK.read_text() and "bench.detection" not in TASK.read_text()


def test_a_task_from_outside_is_planned_run_scored_and_shown(outside: Bench) -> None:
    assert re.search(r"brightness +from brightness", outside("list", "tasks").stdout)
    planned = outside("plan", "--config", "levels.yaml").stdout
    assert "constant" in planned and "toy/cv-1of2" in planned

    killed = outside("run", "--config", "levels.yaml", code=1, env={"KILL_IN_PREDICT": "1"})
    assert killed.stderr.count("was killed by signal 9") >= 1

    resumed = outside("run", "--config", "levels.yaml").stderr
    assert (
        resumed.count("predict, score") == 4 and "train, predict" not in resumed
    )  # the trained ones are not trained again
    again = outside("run", "--config", "levels.yaml")
    assert "4 cells, 4 finished already, 0 to run" in again.stderr

    records = [
        json.loads(path.read_text()) for path in sorted((outside.folder / "runs/brightness").glob("*/record.json"))
    ]
    found = {(record["dataset"], record["method"]): record["metrics"]["within"] for record in records}
    assert len(found) == 4 and all(0 <= value <= 1 for value in found.values())

    board = outside.folder / "leaderboards/levels/brightness.md"
    first = board.read_bytes()
    shown = found["toy/grouped", "line"]
    assert f"{shown:.3f} [" in first.decode()  # with its interval over scenes, from the harness's own statistics
    board.unlink()
    outside("leaderboard", "levels")
    assert board.read_bytes() == first
    assert outside("score", "--all").stdout.count("as recorded") == 8  # four cells and their entries
    difference = outside("compare", "levels:line", "levels:constant", "--dataset", "toy/grouped").stdout
    expected = shown - found["toy/grouped", "constant"]
    assert f"{expected:+.3f}" in difference


def test_a_number_of_the_third_task_that_was_edited_is_found(outside: Bench) -> None:
    outside("run", "--config", "levels.yaml", "--method", "line")
    (path,) = (outside.folder / "runs/brightness").glob("*/record.json")
    record = json.loads(path.read_text())
    record["metrics"]["within"] = 0.123
    path.write_text(json.dumps(record))
    assert "within" in outside("score", "--all", code=1).stdout


def test_wrong_names_in_the_third_section_end_in_one_line(outside: Bench) -> None:
    assert "unknown guesser 'polynomal'; nearest: polynomial" in outside.error(
        "plan", "--config", "levels.yaml", "--set", "brightness.methods.line.guesser=polynomal"
    )
    assert "degre" in outside.error(
        "plan", "--config", "levels.yaml", "--set", "brightness.methods.line.options={degre: 2}"
    )
