"""`bench explain`, `compare`, `merge` and `score --all` as a user types them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import TINY, Bench
from lineage_toys import METRIC, detected, put_cell, put_entry, write

from bench.core.store import read_json, save_arrays, write_json

CFOG = "tiny/matching--toy-grouped--cfog--once"


def edited(path: Path, **changes: object) -> None:
    write_json(path, {**read_json(path), **changes})


# -- explain -----------------------------------------------------------------------------------------------------------
def test_explain_says_where_a_number_comes_from(tiny: Bench) -> None:
    fingerprint = json.loads((tiny.cell("cfog") / "record.json").read_text())["fingerprint"]
    out = tiny("explain", fingerprint[:6]).stdout
    said = {line[:13].strip(): line[13:] for line in out.splitlines() if line[:13].strip()}
    assert out.startswith("matching cfog on toy/grouped: finished\n")
    assert said["command"] == "bench run matching --config tiny.yaml --dataset toy --split grouped --method cfog"
    assert said["number"].startswith("uniform.roc_auc 0.9931") and said["data"].startswith(
        "toy-pairs (reader version 1), manifest "
    )
    assert said["boards"] == "leaderboards/tiny/matching.md" and "predictions.npz unchanged" in out
    assert said["used by"] == "no cell found" and "commit unknown" in said["code"] and "numpy " in said["versions"]
    assert max(map(len, out.splitlines())) <= 128 and str(tiny.folder) not in out
    for name in (
        CFOG,
        "toy-grouped--cfog--once",
        f"leaderboards/tiny/entries/{CFOG.split('/')[1]}.json",
        str(tiny.cell("cfog")),
    ):
        assert tiny("explain", name).stdout == out


def test_explain_takes_a_row_as_compare_does_and_says_each_seed(tiny: Bench) -> None:
    alone = tiny("explain", CFOG).stdout
    for name in (
        "cfog",
        "tiny:cfog",
        "toy/grouped/cfog",
        "tiny:toy/grouped/cfog",
        "tiny:matching/cfog",
        "toy-grouped/cfog",
    ):
        assert tiny("explain", name).stdout == alone, name
    both = tiny("explain", "tiny:random").stdout
    assert both == "\n".join(
        tiny("explain", f"tiny/matching--toy-grouped--random--seed{seed}").stdout for seed in (0, 1)
    )
    assert [each["seed"] for each in json.loads(tiny("explain", "random", "--json").stdout)] == [0, 1]
    assert "nearest: tiny:toy/grouped/cfog" in tiny.error("explain", "tiny:toy/grouped/cfo")


def test_explain_as_json_holds_every_hash_in_full_and_no_path_of_this_machine(tiny: Bench) -> None:
    told = json.loads(tiny("explain", CFOG, "--json").stdout)
    record = json.loads((tiny.cell("cfog") / "record.json").read_text())
    assert (
        told["fingerprint"] == record["fingerprint"] and told["metrics"] == record["metrics"] and told["problems"] == []
    )
    assert told["weights"]["predictions_sha256"] == record["outputs"]["predictions_sha256"]
    assert {file["path"] for file in told["files"]} == {
        f"tiny/entries/{CFOG.split('/')[1]}.json",
        f"matching/{tiny.cell('cfog').name}",
    }
    assert str(tiny.folder) not in json.dumps(told)


def test_explain_sees_a_file_that_changed_and_a_clone_without_runs(tiny: Bench) -> None:
    (tiny.cell("histogram") / "predictions.npz").write_bytes(b"other")
    out = tiny("explain", "toy-grouped--histogram--seed0", code=1).stdout
    assert "predictions.npz CHANGED" in out and "PROBLEM" in out
    shutil.rmtree(tiny.folder / "runs")
    out = tiny("explain", "toy-grouped--histogram--seed0").stdout
    assert "boards       leaderboards/tiny/matching.md" in out and "per-sample scores there" in out


def test_explain_shows_the_cell_that_a_detector_starts_from(bench: Bench) -> None:
    first, samples = detected("start", 0, [1, 2], command="bench run start")
    facts = {"initial_weights": {"sha256": first.outputs["weights_sha256"], "branch": "sar.backbone."}}
    second, _ = detected("net", 0, [1, 2], requires=[f"detection:{first.keys['train']}"], facts=facts)
    for record in (first, second):
        put_entry(bench.folder / "leaderboards", "ships", record, samples)
    out = bench("explain", "ships/detection--toy-half--net--seed0").stdout
    below = out.split("starts from the training of\n")[1]
    assert below.startswith("  detection start on toy/half, seed 0  ") and "    command      bench run start\n" in below
    assert "    versions     the same as above" in below and below.count("commit 000000000000, clean") == 1
    assert (
        "used by      detection net on toy/half, seed 0"
        in bench("explain", "ships/detection--toy-half--start--seed0").stdout
    )


def test_explain_tells_what_it_cannot_find(tiny: Bench, bench: Bench) -> None:
    assert "nearest: tiny/matching--toy-grouped--cfog--once" in tiny.error("explain", CFOG.replace("cfog", "cgof"))
    assert "'ab' is too short" in tiny.error("explain", "ab")
    assert "no record under nowhere or leaderboards" in bench.error(
        "explain", "abcd", "--runs", "nowhere", "--boards", "leaderboards"
    )
    write(tiny.folder / "leaderboards/tiny/entries/matching--x.json", b"[]")
    done = tiny("explain", CFOG, code=1)
    assert "left out: " in done.stderr and "matching--x.json" in done.stderr and "finished" in done.stdout


# -- compare -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def board(bench: Bench) -> Bench:
    """A board made by hand: ten scenes; `twin` finds what `good` finds, `poor` half of it, `once` has one seed."""
    found = {
        "good": [4, 4, 3, 4, 4, 4, 3, 4, 4, 4],
        "twin": [4, 4, 3, 4, 4, 4, 3, 4, 4, 4],
        "poor": [2, 1, 2, 2, 3, 2, 1, 2, 2, 2],
    }
    for method, ships in found.items():
        for seed in range(3):
            put_entry(
                bench.folder / "leaderboards", "ships", *detected(method, seed, [*ships[:-1], ships[-1] - seed % 2])
            )
    put_entry(bench.folder / "leaderboards", "ships", *detected("once", 0, found["poor"]))
    put_cell(bench.folder / "runs", *detected("cell", 0, found["good"]))
    return bench


def test_compare_prints_both_rows_their_difference_and_a_verdict(board: Bench) -> None:
    out = board("compare", "ships:good", "ships:poor").stdout
    rows = {line[0]: re.split(r"  +", line)[1:] for line in out.splitlines() if line[:3] in ("a  ", "b  ")}
    mean = (38 / 40 + 37 / 40 + 38 / 40) / 3
    assert rows["a"][:4] == [
        "ships:toy/half/good",
        "3 (0, 1, 2)",
        f"{mean:.4f}",
        f"{np.std([38 / 40, 37 / 40, 38 / 40], ddof=1):.4f}",
    ]
    assert rows["b"][0] == "ships:toy/half/poor" and rows["b"][2] == f"{mean - 19 / 40:.4f}"
    assert (
        f"a - b        {19 / 40:+.4f}, interval 95% +" in out and "clusters     10, effective sample size 10.0" in out
    )
    assert "paired seeds 0, 1, 2" in out and out.strip().splitlines()[-1].startswith("a is better (p ")
    assert board("compare", "ships:poor", "ships:good").stdout.strip().splitlines()[-1].startswith("b is better (p ")


def test_compare_says_so_where_nothing_can_be_concluded(board: Bench) -> None:
    last = board("compare", "good", "twin").stdout.strip().splitlines()[-1]
    assert last == "not separable on this test set (p 1.000)"
    assert (
        board("compare", "good", "once")
        .stdout.strip()
        .splitlines()[-1]
        .startswith("one seed: training scatter unknown")
    )
    out = board("compare", "runs:cell", "ships:good").stdout  # a cell that no board has yet
    assert "runs:toy/half/cell" in out and "paired seeds 0\n" in out


def test_compare_refuses_what_is_not_comparable(board: Bench, tiny: Bench) -> None:
    assert "no row is called 'goood'; nearest: good" in board.error("compare", "goood", "poor")
    assert "are the same row" in board.error("compare", "good", "good")
    assert "has no metric 'scene.ap'" in board.error("compare", "good", "poor", "--metric", "scene.ap")
    assert f"these can: {METRIC}" in board.error("compare", "good", "poor", "--metric", "scene.ap50")
    assert "no row 'good' is left" in board.error("compare", "good", "poor", "--dataset", "other")
    assert "no row under" in board.error("compare", "good", "poor", "--boards", "none", "--runs", "none")
    out = tiny("compare", "cfog", "histogram").stdout  # one test scene: there is nothing to resample
    assert "nothing can be said: one cluster" in out


# -- merge -------------------------------------------------------------------------------------------------------------
def test_cells_of_two_machines_come_together_and_are_filed(tiny: Bench, bench: Bench) -> None:
    bench.write("tiny.yaml", TINY)
    for machine, methods in (("a", ("cfog", "seed0")), ("b", ("seed1", "cfog"))):
        for path in (tiny.folder / "runs/matching").iterdir():
            if any(f"--{method}--" in path.name for method in methods):
                shutil.copytree(path, bench.folder / machine / "runs/matching" / path.name)
    assert "to be merged: matching cfog on toy/grouped" in bench("merge", "a/runs", "--dry-run").stdout
    assert not (bench.folder / "runs").exists() and "4 cells" in bench("plan", "--config", "tiny.yaml").stdout
    out = bench("merge", "a/runs", "b/runs").stdout
    assert out.count("merged: ") == 4 and out.strip().splitlines()[-1] == "4 merged, 1 finished here already"
    assert "4 finished, 0 to run" in bench("plan", "--config", "tiny.yaml").stdout
    before = {path: path.stat().st_mtime_ns for path in (bench.folder / "runs/matching").rglob("*.npz")}
    assert "4 finished already, 0 to run" in bench("run", "--config", "tiny.yaml").stderr
    assert before == {path: path.stat().st_mtime_ns for path in (bench.folder / "runs/matching").rglob("*.npz")}
    for name in ("matching.md", "matching.csv"):
        assert (bench.folder / "leaderboards/tiny" / name).read_bytes() == (
            tiny.folder / "leaderboards/tiny" / name
        ).read_bytes()
    assert bench("score").stdout.count("numbers as recorded") == 4


def test_a_conflict_and_a_damaged_cell_are_told_and_the_others_come(tiny: Bench) -> None:
    shutil.copytree(tiny.folder / "runs/matching", tiny.folder / "other/matching")
    shutil.rmtree(tiny.cell("random--seed0"))
    other = {
        path.name.split("--")[1] + path.name.split("--")[2]: path for path in (tiny.folder / "other/matching").iterdir()
    }
    metrics = json.loads((other["cfogonce"] / "record.json").read_text())["metrics"]
    edited(other["cfogonce"] / "record.json", metrics={**metrics, "uniform.accuracy": 0.5})
    (other["randomseed1"] / "record.json").write_text("{")
    out = tiny("merge", "other", code=1).stdout
    assert (
        "conflict: matching cfog on toy/grouped" in out
        and f"such as uniform.accuracy: {metrics['uniform.accuracy']!r} here" in out
        and "0.5 there; ours stays" in out
    )
    assert "damaged: " in out and "is not valid JSON" in out and "merged: matching random on toy/grouped, seed 0" in out
    assert out.strip().splitlines()[-1] == "1 conflict, 1 finished here already, 1 merged, 1 damaged"
    assert "is the runs folder itself" in tiny.error("merge", "runs") and "is not a folder" in tiny.error(
        "merge", "nowhere"
    )


# -- score -------------------------------------------------------------------------------------------------------------
def test_score_all_compares_every_cell_and_every_entry(tiny: Bench) -> None:
    out = tiny("score", "--all").stdout
    # predictions are at hand for the entries too
    assert out.count("numbers as recorded") == 8 and "from per-sample scores" not in out
    shutil.rmtree(tiny.folder / "runs")
    out = tiny("score", "--all").stdout
    assert out.count("numbers as recorded, of ") == 4 and out.count("from per-sample scores") == 4
    entry = tiny.folder / "leaderboards" / "tiny" / "entries" / (CFOG.split("/")[1] + ".json")
    metrics = json.loads(entry.read_text())["metrics"]
    edited(entry, metrics={**metrics, "uniform.accuracy": 0.75})
    out = tiny("score", "--all", code=1).stdout
    assert f"{CFOG}: 1 numbers moved" in out and "(recorded: 0.75)" in out and "1 of 4 cells moved" in out
    assert "no finished cell under runs" in tiny.error("score")


def test_score_goes_on_after_what_it_cannot_read(tiny: Bench) -> None:
    tiny.cell("cfog").joinpath("predictions.npz").write_bytes(b"damaged")
    out = tiny("score", code=1).stdout
    assert (
        out.count("numbers as recorded") == 3
        and "damaged predictions file" in out
        and "1 cells or entries have a problem" in out
    )
    source, target = (tiny.cell(f"random--seed{seed}") / "predictions.npz" for seed in (0, 1))
    shutil.copy(source, target)  # whole, but of another cell
    out = tiny("score", code=1).stdout
    assert "PROBLEM predictions.npz is not the file that its record was made of; " in out and "numbers moved" in out
    shutil.rmtree(tiny.folder / "runs")
    entries = tiny.folder / "leaderboards/tiny/entries"
    (entries / "matching--toy-grouped--cfog--once.npz").write_bytes(b"damaged")
    (entries / "matching--toy-grouped--random--seed0.npz").unlink()
    samples = dict(np.load(entries / "matching--toy-grouped--random--seed1.npz"))
    save_arrays(
        entries / "matching--toy-grouped--random--seed1.npz", {**samples, "pair_sar": samples["pair_sar"] + 1000}
    )
    write(entries / "matching--toy-grouped--zzz--once.json", b"{")
    out = tiny("score", "--all", code=1).stdout
    assert out.count("PROBLEM") == 4 and out.count("numbers as recorded") == 1
    for told in (
        "damaged per-sample scores",
        "neither per-sample scores beside it nor",
        "zzz--once.json is not valid JSON",
    ):
        assert told in out
    assert "give cells or --all, not both" in tiny.error("score", "--all", "x")


# -- numbers that were edited ------------------------------------------------------------------------------------------
def test_leaderboard_and_score_find_every_edited_metric_of_an_entry(tiny: Bench) -> None:
    shutil.rmtree(tiny.folder / "runs")
    path = tiny.folder / "leaderboards/tiny/entries/matching--toy-grouped--random--seed1.json"
    record = json.loads(path.read_text())
    assert sum(value is not None for value in record["metrics"].values()) == 30
    for name, value in record["metrics"].items():
        edited = {**record["metrics"], name: 0.5 if value is None else value + 0.01}
        write(path, json.dumps({**record, "metrics": edited}).encode())
        out = tiny.printed("score", "--all", code=1)
        assert f"  {name} " in out and "1 of 4 cells moved" in out and out.count("numbers as recorded") == 3, name
    out = tiny.printed("leaderboard", code=1)
    assert f"{name} is {edited[name]} in the record but" in out and "wrote leaderboards/tiny/matching.md" in out
    board = (tiny.folder / "leaderboards/tiny/matching.md").read_text()
    row = next(line for line in board.splitlines() if line.startswith("| random"))
    assert "1/2 failed" in row and board.count("| random ‡ |") == 5 and "| cfog | [record]" in board
    write(path, json.dumps(record).encode())
    assert "PROBLEM" not in tiny.printed("leaderboard")
    assert tiny.printed("score", "--all").count("numbers as recorded") == 4
