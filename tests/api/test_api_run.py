"""`bench.load_suite`, `plan`, `run`: the same cells, records and boards as the command line; what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import TINY, Bench

import bench
from bench.api import Filters
from bench.boards.tables import Table
from bench.cli.options import FILTERS

SAME = ("spec", "inputs", "outputs", "metrics", "facts", "keys", "fingerprint", "command", "names", "row_key", "status")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with `tiny.yaml`, in the environment of the command line's tests."""
    for name, value in Bench(tmp_path).env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY, encoding="utf-8")
    return tmp_path


def entries(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what has to be equal of every filed record."""
    paths = sorted((folder / "leaderboards/tiny/entries").glob("*.json"))
    return {path.stem: {name: json.loads(path.read_text())[name] for name in SAME} for path in paths}


def files(folder: Path, *patterns: str) -> dict[str, bytes]:
    """Return the bytes of the files below `folder` that match, by relative path."""
    found = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def quiet(line: str) -> None:
    pass


RESULTS = (
    "runs/*/*/predictions.npz",
    "runs/*/*/scores.npz",
    "leaderboards/tiny/[!.]*.*",
    "leaderboards/tiny/entries/*.npz",
)


@pytest.mark.parametrize("in_process", [False, True])
def test_keys_records_and_boards_are_those_of_the_command_line(tiny_run: Bench, folder: Path, in_process: bool) -> None:
    lines: list[str] = []
    suite = bench.load_suite("tiny.yaml")
    assert len(bench.plan(suite).pending) == 4
    result = bench.run(suite, threads=1, figures=False, in_process=in_process, say=lines.append)
    assert result.whole and not result.interrupted and result.failures == () and len(result.records) == 4
    assert entries(folder) == entries(tiny_run.folder)
    mine, theirs = files(folder, *RESULTS), files(tiny_run.folder, *RESULTS)
    assert mine.keys() == theirs.keys() and len(mine) == 4 * 3 + 4
    assert [name for name in mine if mine[name] != theirs[name]] == []
    assert isinstance(result.tables["matching"], Table) and result.boards == {
        "matching": Path("leaderboards/tiny/matching.md")
    }
    assert result.folder(result.records[0]).name.startswith("toy-grouped--cfog--once--")
    assert lines[0] == "tiny: 4 cells, 0 finished already, 4 to run" and "RunResult of tiny: 4 cells" in repr(result)
    # what the one left, the other finds finished
    assert "4 finished already, 0 to run" in Bench(folder)("run", "--config", "tiny.yaml", "--no-figures").stderr


def test_what_the_command_line_left_is_finished(tiny: Bench, folder: Path) -> None:
    planned = bench.plan("tiny.yaml", runs=tiny.folder / "runs")
    assert planned.pending == () and planned.missing == ()
    lines = repr(planned).splitlines()
    assert lines[0] == "Plan of 4 cells: 4 finished, 0 to run"
    assert lines[1].startswith("  matching cfog on toy/grouped ") and lines[1].endswith("  finished")
    before = files(tiny.folder, "runs/matching/*/*")
    result = bench.run("tiny.yaml", runs=tiny.folder / "runs", boards=tiny.folder / "leaderboards", say=quiet)
    assert result.whole and files(tiny.folder, "runs/matching/*/*") == before


def test_a_plan_lists_what_is_missing(folder: Path) -> None:
    planned = bench.plan("clean", method="random", seeds=[0])
    assert planned.pending == () and len(planned.missing) == 1
    assert "1 miss something" in repr(planned) and "missing: data set qxs-saropt is not here" in repr(planned)
    with pytest.raises(bench.BenchError, match="data set qxs-saropt is not here"):
        bench.run("clean", method="random", seeds=[0], say=quiet)


def test_a_failed_cell_stands_in_the_result(folder: Path) -> None:
    (folder / "fails.py").write_text(FAILS, encoding="utf-8")
    (folder / "fails.yaml").write_text(
        TINY.replace("name: tiny", "name: fails\nplugins: [fails.py]") + "    fails: {matcher: fails}\n",
        encoding="utf-8",
    )
    result = bench.run("fails.yaml", method=["fails", "histogram"], threads=1, figures=False, say=quiet)
    assert not result.whole and [record.method for record in result.failures] == ["fails"]
    failure = result.failures[0].failure
    assert failure is not None and failure.stage == "predict" and failure.message == "broken on purpose"
    assert [record.status for record in result.records] == ["finished", "failed"] and "broken on purpose" in repr(
        result
    )


FAILS = '''
import bench

@bench.MATCHERS.register("fails")
class Fails(bench.Matcher):
    """Fails."""

    def _score_pairs(self, sar, optical, pairs):
        raise RuntimeError("broken on purpose")
'''


def test_a_limited_run_makes_a_table_and_files_nothing(folder: Path) -> None:
    result = bench.run("tiny.yaml", method="histogram", limit=6, threads=1, figures=False, in_process=True, say=quiet)
    assert result.unfiled.startswith("limited run") and set(result.tables) == {"matching"} and result.boards == {}
    assert not (folder / "leaderboards/tiny").exists()


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": "quickstrat"}, "unknown config 'quickstrat'.*nearest: quickstart"),
        ({"suite": "nowhere.yaml"}, "config file nowhere.yaml does not exist"),
        ({"task": "matchin"}, "unknown task 'matchin'; nearest: matching"),
        ({"task": "detection"}, "suite 'tiny' has no section 'detection'"),
        ({"method": "cfgo"}, "'cfgo' is not in this suite; nearest: cfog"),
        ({"dataset": ["tyo"]}, "'tyo' is not in this suite; nearest: toy"),
        ({"matcher": "bn"}, "unknown matcher 'bn'; nearest: bnn"),
        ({"mehtod": "cfog"}, "unknown parameter 'mehtod'; nearest: method"),
        ({"seeds": [1, 1]}, "^seeds: seed 1 is given more than once"),
        ({"seeds": []}, "^seeds: at least one seed is needed"),
        ({"limit": 0}, "^limit 0: give a number of samples"),
        ({"roots": "nowhere"}, "^roots nowhere: nowhere is not a folder"),
        ({"roots": {"toy": "nowhere"}}, "^roots toy=nowhere: nowhere is not a folder"),
    ],
)
def test_bad_arguments_of_plan_and_run(folder: Path, arguments: dict[str, Any], message: str) -> None:
    for function in (bench.plan, bench.run):
        with pytest.raises(bench.BenchError, match=message) as refused:
            function(**{"suite": "tiny.yaml", **arguments})
        assert "--" not in str(refused.value) or "is not in this suite" in message or "not in this suite" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "^threads 0, workers 0: threads from 1, workers from 0"),
        ({"processes": 0}, "^processes 0: from 1"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"in_process": True, "processes": 2}, "leave processes and slurm out"),
        ({"slurm": ["partion=gpu"]}, "slurm: unknown key 'partion'; nearest: partition"),
        ({"slurm": ["partition"]}, "slurm 'partition' is not KEY=VALUE"),
        ({"boards": "tiny.yaml/inside"}, "cannot write to tiny.yaml/inside: .*; choose another folder$"),
    ],
)
def test_bad_arguments_of_run(folder: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(bench.BenchError, match=message):
        bench.run("tiny.yaml", method="histogram", say=quiet, **arguments)


def test_bad_settings(folder: Path) -> None:
    for setting, message in (
        ("matching.methods.cfog.options.max_shft=1", "unknown key|no option|nearest: max_shift"),
        ("matchng.x=1", "no section 'matchng'; nearest: matching"),
        ("seeds", "expected key=value"),
    ):
        with pytest.raises(bench.BenchError, match=message):
            bench.plan(bench.load_suite("tiny.yaml", settings=[setting]))


def test_the_command_line_shows_the_options_of_the_parameters(folder: Path) -> None:
    line = Bench(folder)
    run = ("run", "--config", "tiny.yaml")
    assert line.refused(*run, "--set", "seeds").startswith("--set 'seeds': expected key=value")
    assert line.refused(*run, "--limit", "0").startswith("--limit 0: ")
    assert line.refused(*run, "--root", "toy=nowhere").startswith("--root toy=nowhere: nowhere is not a folder")
    assert line.refused(*run, "--boards", "tiny.yaml/x").endswith("choose another folder (--boards)")


# -- the package -------------------------------------------------------------------------------------------------------
def test_importing_takes_no_time_and_loads_nothing_heavy() -> None:
    code = "import bench, sys; print(sorted({'numpy', 'torch', 'pandas', 'pydantic', 'yaml'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
    (spent,) = [line.split("|")[1] for line in done.stderr.splitlines() if line.endswith("| bench")]
    assert int(spent) < 100_000, f"import bench took {int(spent) / 1000:.0f} ms"


def test_planning_and_views_load_no_torch(folder: Path) -> None:
    code = "import bench, sys; bench.plan('tiny.yaml'); bench.Detector, bench.Matcher; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_the_names_of_the_package() -> None:
    assert set(bench.__all__) < set(dir(bench)) and not [name for name in dir(bench) if name.startswith("_H")]
    for name in bench.__all__:
        assert getattr(bench, name).__doc__ or name.isupper(), name
    with pytest.raises(AttributeError, match="no attribute 'evaluate'"):
        bench.evaluate  # noqa: B018


def test_the_filters_are_the_options_of_the_command_line() -> None:
    assert list(Filters.__annotations__) == list(FILTERS)
