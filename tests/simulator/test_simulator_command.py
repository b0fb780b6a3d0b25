"""`bench data simulate` as a user types it: what it refuses, that it goes on after a kill, and that processes change no
byte.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import Bench

from bench.cli.main import main
from bench.core.errors import BenchError
from bench.simulator.like import Plan, Request, air_sarship, hrsid, qxs_saropt, ssdd
from bench.simulator.produce import produce

SIMULATE = ("data", "simulate", "--like")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def simulate(folder: Path, *words: str) -> dict[str, bytes]:
    """Run `bench data simulate --like WORDS --out FOLDER` in this process; return the files."""
    assert main([*SIMULATE, *words, "--out", str(folder)]) == 0
    return contents(folder)


# -- processes and seeds -----------------------------------------------------------------------------------------------
def small_air(request: Request) -> Plan:
    """A stand-in of AIR-SARShip-1.0 whose scenes are small: their size travels with the tasks."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(air_sarship, "SIDE_PX", 300)
        return air_sarship.plan(request)


def several_tasks(request: Request) -> Plan:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ssdd, "_PER_TASK", 2)
        return ssdd.plan(request)


PLANS: dict[str, tuple[Any, int]] = {
    "qxs-saropt": (qxs_saropt.plan, 9), "air-sarship-1.0": (small_air, 4), "ssdd": (several_tasks, 6), "hrsid": (hrsid.plan, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_the_number_of_processes_changes_no_byte_and_the_seed_does(tmp_path: Path, name: str) -> None:
    plan_of, count = PLANS[name]
    made = {}
    for out, seed, jobs in (("one", 5, 1), ("three", 5, 3), ("other", 6, 1)):
        plan = plan_of(Request(count, seed=seed))
        assert len(plan.tasks) > 1 or name == "hrsid"
        produce(tmp_path / out, plan.stamp, plan.tasks, plan.make, plan.finish, jobs)
        made[out] = contents(tmp_path / out)
    assert made["one"] == made["three"] and len(made["one"]) > count
    images = {name for name in made["one"] if name.endswith((".png", ".jpg", ".tiff"))}
    assert len(images) >= count and all(made["one"][name] != made["other"].get(name) for name in images)
    # no lock, no marker, no half-made folder
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


# -- what is refused ---------------------------------------------------------------------------------------------------
REFUSED = {
    "name": (("qxs-sarop", "--out", "a"), "--like 'qxs-sarop' is no layout that can be simulated; nearest: qxs-saropt"),
    "version": (("air-sarship-2.0", "--out", "a"), "nearest: air-sarship-1.0"),
    "images of pairs": (("qxs-saropt", "--images", "3", "--out", "a"), "qxs-saropt holds pairs: give --pairs"),
    "pairs of images": (("ssdd", "--pairs", "3", "--out", "a"), "ssdd holds images: give --images"),
    "too few pairs": (("qxs-saropt", "--pairs", "2", "--out", "a"), "--pairs 2: at least 3, one for each city"),
    "too many pairs": (("qxs-saropt", "--pairs", "999999999", "--out", "a"), "--pairs 999999999: at most"),
    "no image": (("hrsid", "--images", "0", "--out", "a"), "--images 0: HRSID has 5604 tiles"),
    "too many images": (("ssdd", "--images", "1161", "--out", "a"), "--images 1161: SSDD has 1160 images"),
    "too many scenes": (
        ("air-sarship-1.0", "--images", "32", "--out", "a"),
        "--images 32: AIR-SARShip-1.0 has 31 scenes",
    ),
    "jobs": (("ssdd", "--images", "1", "--jobs", "0", "--out", "a"), "--jobs 0: at least 1"),
    "seed": (("ssdd", "--images", "1", "--seed", "-1", "--out", "a"), "--seed -1: 0 or more"),
    "shift of scenes": (("ssdd", "--images", "1", "--misregistration-px", "1", "--out", "a"), "are not for ssdd"),
    "shift of tiles": (("hrsid", "--images", "1", "--misregistration-px", "1", "--out", "a"), "are not for hrsid"),
    "shift of scenes of 16 bit": (
        ("air-sarship-1.0", "--images", "1", "--misregistration-px", "1", "--out", "a"),
        "is for pairs",
    ),
    "large shift": (
        ("qxs-saropt", "--pairs", "3", "--misregistration-px", "17", "--out", "a"),
        "--misregistration-px 17: from 0 to 16",
    ),
    "no shift": (("qxs-saropt", "--pairs", "3", "--misregistration-px", "nan", "--out", "a"), "from 0 to 16"),
    "no positions": (("air-sarship-1.0", "--ships-at", "nowhere.csv", "--out", "a"), "cannot read nowhere.csv"),
    "below a file": (("ssdd", "--images", "1", "--out", "file/a"), "cannot write to"),
}


@pytest.mark.parametrize(("words", "told"), REFUSED.values(), ids=REFUSED)
def test_bad_input_ends_in_one_line(bench: Bench, words: tuple[str, ...], told: str) -> None:
    bench.write("file", "no folder")
    message = bench.refused(*SIMULATE, *words)
    assert told in message and "\n" not in message
    assert [path.name for path in bench.folder.iterdir()] == ["file"]


POSITIONS = {
    "no header": ("1,2,3,4,5\n", "has no column 'scene'"),
    "a column short": ("scene,x1,y1,x2\n1,2,3,4\n", "has no column 'y2'"),
    "a field short": ("scene,x1,y1,x2,y2\n1,2,3,4\n", "row 2: 4 fields where the header has 5"),
    "text": ("scene,x1,y1,x2,y2\n1,2,3,9,many\n", "row 2: could not convert string to float: 'many'"),
    "no scene": ("scene,x1,y1,x2,y2\nfirst,2,3,9,9\n", "row 2: invalid literal"),
    "empty": ("", "is empty"),
    "no rows": ("scene,x1,y1,x2,y2\n", "holds no ship positions"),
    "scene 32": ("scene,x1,y1,x2,y2\n32,2,3,9,9\n", "names scene 32"),
    "inside out": ("scene,x1,y1,x2,y2\n1,9,3,2,9\n", "scene 1: a box is no x1 < x2, y1 < y2"),
    "outside": ("scene,x1,y1,x2,y2\n1,-5,3,2,9\n", "scene 1: a box is no"),
    "nan": ("scene,x1,y1,x2,y2\n1,nan,3,2,9\n", "scene 1: a box is no"),
    "far away": ("scene,x1,y1,x2,y2\n1,2,3,20000,9\n", "scene 1: a box is no"),
}


@pytest.mark.parametrize(("text", "told"), POSITIONS.values(), ids=POSITIONS)
def test_malformed_positions_end_in_one_line(bench: Bench, text: str, told: str) -> None:
    bench.write("at.csv", text)
    message = bench.refused(*SIMULATE, "air-sarship-1.0", "--ships-at", "at.csv", "--out", "a")
    assert told in message and message.startswith("at.csv") and "\n" not in message
    assert [path.name for path in bench.folder.iterdir()] == ["at.csv"]


def test_a_folder_without_voc_files_holds_no_positions(bench: Bench) -> None:
    (bench.folder / "at").mkdir()
    assert "at holds no ship positions" in bench.refused(*SIMULATE, "air-sarship-1.0", "--ships-at", "at", "--out", "a")
    bench.write("at/1-label.xml", "<annotation><object>")
    assert "1-label.xml" in bench.refused(*SIMULATE, "air-sarship-1.0", "--ships-at", "at", "--out", "a")
    bench.write("ok.csv", "scene,x1,y1,x2,y2\n1,2,3,9,9\n")
    for other in ("ssdd", "hrsid"):
        assert "--ships-at" in bench.refused(*SIMULATE, other, "--images", "1", "--ships-at", "ok.csv", "--out", "a")
    assert "pairs take none" in bench.refused(
        *SIMULATE, "qxs-saropt", "--pairs", "3", "--ships-at", "ok.csv", "--out", "a"
    )


def test_a_folder_with_something_in_it_stays_as_it_is(bench: Bench) -> None:
    bench.write("taken/mine.txt", "kept")
    assert "taken exists and is not empty; choose a new folder" in bench.refused(
        *SIMULATE, "ssdd", "--images", "1", "--out", "taken"
    )
    bench.write("file", "kept")
    assert "choose a new folder" in bench.refused(*SIMULATE, "ssdd", "--images", "1", "--out", "file")
    assert bench.files() == ["file", "taken/mine.txt"] and sorted(path.name for path in bench.folder.iterdir()) == [
        "file",
        "taken",
    ]


def test_a_place_that_cannot_be_written_to(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root every folder can be written to, so that the refusal comes from the renaming itself."""

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("bench.simulator.produce.os.replace", refuse)
        message = bench.refused(*SIMULATE, "ssdd", "--images", "1", "--jobs", "1", "--out", "a")
    assert "cannot write" in message and "ermission denied" in message and "\n" not in message
    assert simulate(bench.folder / "a", "ssdd", "--images", "1") == simulate(
        bench.folder / "b", "ssdd", "--images", "1"
    )


# -- again, and after a kill -------------------------------------------------------------------------------------------
def test_the_same_command_twice_does_nothing_and_another_is_refused(bench: Bench) -> None:
    words = (*SIMULATE, "ssdd", "--images", "2", "--out", "set")
    bench(*words)
    before = {path: path.stat().st_mtime_ns for path in (bench.folder / "set").rglob("*")}
    assert "read them with --root ssdd=set" in bench(*words, "--jobs", "2").stdout
    assert {path: path.stat().st_mtime_ns for path in (bench.folder / "set").rglob("*")} == before
    assert "exists and is not empty" in bench.refused(*words, "--seed", "1")
    assert [path.name for path in bench.folder.iterdir()] == ["set"]


def test_an_empty_folder_and_new_parents_are_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    first = simulate(tmp_path / "empty", "ssdd", "--images", "1", "--jobs", "1")
    assert simulate(tmp_path / "new/parents/set", "ssdd", "--images", "1", "--jobs", "1") == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def killed_in_the_middle(folder: Path, *words: str) -> None:
    """Start a simulation into `folder`, kill all its processes once at least one task is done, with more to come."""
    from command_line import REPOSITORY

    process = subprocess.Popen(
        [sys.executable, "-m", "bench.cli.main", *SIMULATE, *words, "--out", str(folder)], cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    done = folder.parent / f".{folder.name}.partial" / ".done"
    end = time.monotonic() + 120
    while len(list(done.glob("[0-9]*.json"))) < 1:
        assert process.poll() is None and time.monotonic() < end, "it ended before it could be killed"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    assert not folder.exists() and done.exists()


@pytest.mark.parametrize(("first", "then"), [("1", "2"), ("2", "1")])
def test_killed_and_run_again_gives_the_bytes_of_an_undisturbed_run(tmp_path: Path, first: str, then: str) -> None:
    words = ("qxs-saropt", "--pairs", "75", "--seed", "4")
    killed_in_the_middle(tmp_path / "set", *words, "--jobs", first)
    markers = sorted((tmp_path / ".set.partial/.done").glob("[0-9]*.json"))
    kept = [row[0] for path in markers for row in json.loads(path.read_text())]
    assert 0 < len(kept) < 75
    images = [f"QXSLAB_SAROPT/sar_256_oc_0.2/{number}.png" for number in kept]
    moments = [(tmp_path / ".set.partial" / name).stat().st_mtime_ns for name in images]
    again = simulate(tmp_path / "set", *words, "--jobs", then)
    # finished work was not done again
    assert [(tmp_path / "set" / name).stat().st_mtime_ns for name in images] == moments
    assert again == simulate(tmp_path / "undisturbed", *words, "--jobs", "1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "undisturbed"]


def planned(seed: int) -> Plan:
    return several_tasks(Request(6, seed=seed))


def interrupted(folder: Path, plan: Plan) -> None:
    """Make a part of a set and stop, leaving what a kill leaves."""
    calls = 0

    def make(partial: Path, task: Any) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return plan.make(partial, task)

    with pytest.raises(KeyboardInterrupt):
        produce(folder, plan.stamp, plan.tasks, make, plan.finish, 1)


def test_what_is_left_of_another_command_is_thrown_away(tmp_path: Path) -> None:
    interrupted(tmp_path / "set", planned(1))
    (tmp_path / ".set.partial/stray").mkdir()
    (tmp_path / ".set.partial/stray/file").touch()
    plan = planned(2)
    for out in ("set", "clean"):
        produce(tmp_path / out, plan.stamp, plan.tasks, plan.make, plan.finish, 1)
    assert contents(tmp_path / "set") == contents(tmp_path / "clean")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "set"]


def test_a_kill_between_the_last_steps_is_mended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables stand, the markers are gone, the folder has not got its name."""
    plan = planned(1)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("bench.simulator.produce.os.replace", stop)
        with pytest.raises(KeyboardInterrupt):
            produce(tmp_path / "set", plan.stamp, plan.tasks, plan.make, plan.finish, 1)
    assert not (tmp_path / "set").exists()
    for out in ("set", "clean"):
        produce(tmp_path / out, plan.stamp, plan.tasks, plan.make, plan.finish, 1)
    assert contents(tmp_path / "set") == contents(tmp_path / "clean")


def test_two_at_once_do_not_write_into_one_folder(tmp_path: Path) -> None:
    plan = planned(1)

    def make(partial: Path, task: Any) -> list[Any]:
        with pytest.raises(BenchError, match="another process is writing"):
            produce(tmp_path / "set", plan.stamp, plan.tasks, plan.make, plan.finish, 1)
        return plan.make(partial, task)

    produce(tmp_path / "set", plan.stamp, plan.tasks, make, plan.finish, 1)
    assert (tmp_path / "set/simulated.json").exists()


def die(partial: Path, task: Any) -> list[Any]:
    if task:
        os.kill(os.getpid(), signal.SIGKILL)
    return [task]


def test_a_process_that_dies_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="a process of the simulation died.*fewer --jobs"):
        produce(tmp_path / "set", {}, [0, 1, 0], die, lambda folder, rows: None, 2)
    assert not (tmp_path / "set").exists()


def test_the_current_folder_is_refused_before_anything_is_made(bench: Bench) -> None:
    """It would be replaced under the feet of whoever stands in it."""
    assert "name a new one" in bench.refused(*SIMULATE, "ssdd", "--images", "1", "--out", ".")
    assert "name a new one" in bench.refused(*SIMULATE, "ssdd", "--images", "1", "--out", "..")
    assert not list(bench.folder.iterdir())
