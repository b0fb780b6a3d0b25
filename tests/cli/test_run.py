"""`bench run`, `plan`, `score`: what a run leaves, what is reused, what the filters, --force and --limit do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from command_line import TINY, Bench

HEAVY = ("torch", "torchvision", "pandas", "scipy", "sklearn", "matplotlib", "mmengine", "tqdm")
PICTURES = {"matches", "false_matches", "misses", "distances", "roc", "recall"}


def imported(bench: Bench, *words: str) -> set[str]:
    """Return the heavy packages that `bench WORDS` imports."""
    command = [sys.executable, "-X", "importtime", "-m", "bench.cli.main", *words]
    done = subprocess.run(
        command, cwd=bench.folder, env=bench.env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    modules = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "bench.core.errors" in modules  # the listing works
    return {name for name in HEAVY if name in modules}


def test_a_run_leaves_record_predictions_pictures_and_board(tiny_run: Bench) -> None:
    for method, slots in (("cfog", ("once",)), ("histogram", ("seed0",)), ("random", ("seed0", "seed1"))):
        for slot in slots:
            cell = tiny_run.cell(f"toy-grouped--{method}--{slot}--")
            assert {"record.json", "predictions.npz", "scores.npz", "train.json", "predict.json", "log.txt"} <= set(
                os.listdir(cell)
            )
            assert {path.stem for path in (cell / "figures").glob("*.png")} == PICTURES
            record = json.loads((cell / "record.json").read_text())
            assert record["status"] == "finished" and record["seed"] == (None if slot == "once" else int(slot[-1]))
            assert record["metrics"]["uniform.accuracy"] is not None
            assert (
                set(record["cost"]) == {"train", "predict", "score"}
                and record["cost"]["train"]["peak_memory_bytes"] > 0
            )
    assert tiny_run.files("leaderboards/tiny")[-4:] == [
        "leaderboards/tiny/matching.csv",
        "leaderboards/tiny/matching.md",
        "leaderboards/tiny/matching.svg",
        "leaderboards/tiny/suite.json",
    ]
    board = (tiny_run.folder / "leaderboards/tiny/matching.md").read_text()
    assert "# Tiny: generated pairs" in board and "| random" in board and "2 (0, 1)" in board
    assert "bench run matching --config tiny.yaml --dataset toy --split grouped --method random --seeds 0 1" in board


def test_a_trained_network_leaves_weights_curves_and_throughput(net_run: Bench) -> None:
    cell = net_run.cell("infonce")
    assert {"model.safetensors", "curves.csv"} <= set(os.listdir(cell)) and not (cell / "checkpoints").exists()
    rows = (cell / "curves.csv").read_text().splitlines()
    assert len(rows) == 5 and rows[0].startswith("epoch,lr,loss") and "val_auc" in rows[0]
    assert {path.stem for path in (cell / "figures").glob("*.png")} == PICTURES | {"curves"}
    record = json.loads((cell / "record.json").read_text())
    assert record["cost"]["train"]["samples_per_second"] > 0
    assert set(record["outputs"]) == {"weights_sha256", "predictions_sha256"}


def test_nothing_of_this_machine_is_in_a_record(net_run: Bench, tiny_run: Bench) -> None:
    private = {
        os.uname().nodename,
        os.environ.get("USER", ""),
        os.path.expanduser("~"),
        str(net_run.folder),
        str(tiny_run.folder),
    }
    for bench in (net_run, tiny_run):
        for name in bench.files("leaderboards"):
            text = (bench.folder / name).read_bytes().decode("utf-8", "replace")
            assert not [word for word in private if len(word) > 3 and word in text], name


def test_the_second_run_computes_nothing_and_imports_nothing_heavy(tiny: Bench) -> None:
    before = {name: (tiny.folder / name).stat().st_mtime_ns for name in tiny.files("runs/matching")}
    board = (tiny.folder / "leaderboards/tiny/matching.md").read_bytes()
    assert imported(tiny, "run", "--config", "tiny.yaml") <= {"pandas"}  # which writes the board's CSV
    assert {name: (tiny.folder / name).stat().st_mtime_ns for name in tiny.files("runs/matching")} == before
    assert (tiny.folder / "leaderboards/tiny/matching.md").read_bytes() == board
    assert "4 cells, 4 finished already, 0 to run" in tiny("run", "--config", "tiny.yaml").stderr


@pytest.mark.parametrize(
    "words", [["list"], ["plan", "--config", "tiny.yaml"], ["leaderboard"], ["clean"]], ids=lambda words: words[0]
)
def test_looking_imports_nothing_heavy(tiny_run: Bench, words: list[str]) -> None:
    written = {"pandas"} if words == ["leaderboard"] else set()  # it writes the board's CSV
    assert imported(tiny_run, *words) == written


def test_plan_tells_what_runs_what_is_reused_and_what_it_costs(tiny: Bench) -> None:
    fresh = tiny("plan", "--config", "tiny.yaml", "--cells", "--runs", "elsewhere", "--boards", "elsewhere").stdout
    assert (
        fresh.count("  train, predict, score") == 1
        and fresh.count("  predict, score") == 3
        and "4 to run, 1 of them with training" in fresh
        and "cost unknown: no finished record of these methods on such data yet" in fresh
    )
    assert tiny("plan", "--config", "tiny.yaml", "--cells").stdout.count("  finished") == 4
    more = tiny("plan", "--config", "tiny.yaml", "--seeds", "0", "7").stdout
    assert re.search(r"random on toy/grouped, seed 7 +[0-9a-f]{12}  predict, score, about \d+ s", more)
    assert "4 cells" not in more and re.search(r"3 finished, 2 to run, 1 of them with training; expected \d+ s", more)
    os.remove(tiny.cell("cfog") / "record.json")
    assert "reuse predictions; score" in tiny("plan", "--config", "tiny.yaml", "--matcher", "cfog").stdout
    os.remove(tiny.cell("cfog") / "predict.json")
    assert "reuse training; predict, score" in tiny("plan", "--config", "tiny.yaml", "--matcher", "cfog").stdout
    assert not (tiny.folder / "elsewhere" / "matching").exists()


def test_plan_lists_what_is_missing_and_ends_with_2(bench: Bench) -> None:
    done = bench("plan", "matching", code=2)
    assert done.stdout.count("missing: data set qxs-saropt is not here") == 1
    assert done.stdout.count("bench data weights resnet50 --download") == 1 and "darknet53" in done.stdout


def test_filters_choose_cells_and_retarget_backbones(bench: Bench, shared_cache: dict[str, str]) -> None:
    bench.env |= shared_cache

    def cells(*words: str) -> set[str]:
        lines = bench("plan", "--config", "quickstart", "--cells", *words).stdout.splitlines()
        return {line.split("  ")[1] for line in lines if line.startswith("  ")}

    assert cells("--matcher", "cfog") == {"cfog on port/cities"}
    assert cells("--method", "random", "--seeds", "3") == {"random on port/cities, seed 3"}
    assert cells("--dataset", "port-pairs", "--split", "cities", "--matcher", "random") == {
        f"random on port/cities, seed {s}" for s in (0, 1)
    }
    assert cells("--backbone", "resnet50", "--matcher", "bnn", "--seeds", "0") == {
        "bnn-resnet50 on port/cities, seed 0"
    }
    assert cells("--backbone", "resnet18", "--matcher", "bnn", "--seeds", "0") == {
        "bnn-resnet18 on port/cities, seed 0"
    }
    assert cells("--limit", "8", "--matcher", "cfog") == {"cfog on port/cities, limit 8"}


def test_a_matcher_without_a_row_joins_with_its_defaults(tiny: Bench) -> None:
    out = tiny("plan", "--config", "tiny.yaml", "--matcher", "bnn", "--seeds", "0").stdout
    assert "bnn-resnet18 on toy/grouped, seed 0" in out and "cfog" not in out


def test_a_root_given_or_in_the_environment_is_read(tiny: Bench) -> None:
    tiny(
        "data", "toy", "--out", "other", "--scenes", "3", "--patches-per-scene", "12", "--patch-px", "32", "--seed", "9"
    )
    tiny("data", "toy", "--out", "same", "--scenes", "3", "--patches-per-scene", "12", "--patch-px", "32")
    assert tiny("plan", "--config", "tiny.yaml", "--cells", "--root", "same").stdout.count("  finished") == 4
    for words in (["--root", "toy-pairs=other"], ["--root", "toy=other"], ["--root", "other"]):
        assert tiny("plan", "--config", "tiny.yaml", "--cells", *words).stdout.count("  finished") == 0


def test_force_computes_again_and_gives_the_same_bytes(tiny: Bench) -> None:
    cell = tiny.cell("random--seed1")
    before = {name: (cell / name).read_bytes() for name in ("predictions.npz", "scores.npz", "model.safetensors")}
    (cell / "predictions.npz").write_bytes(b"damaged")
    assert (
        "1 cell, 0 finished already, 1 to run"
        in tiny("run", "--config", "tiny.yaml", "--method", "random", "--seeds", "1", "--force").stderr
    )
    assert {name: (cell / name).read_bytes() for name in before} == before
    assert (cell / "log.txt").read_text().count("finished random") == 2


def test_limit_is_marked_and_never_on_a_board(tiny: Bench) -> None:
    before = {name: (tiny.folder / name).read_bytes() for name in tiny.files("leaderboards")}
    done = tiny("run", "--config", "tiny.yaml", "--method", "cfog", "--limit", "6", "--no-figures")
    assert "limited run: a wiring check, not on any board" in done.stdout and "limit 6" in done.stderr
    assert {name: (tiny.folder / name).read_bytes() for name in tiny.files("leaderboards")} == before
    records = [json.loads(path.read_text()) for path in (tiny.folder / "runs/matching").glob("*cfog*/record.json")]
    assert sorted(record["limit"] or 0 for record in records) == [0, 6]
    assert tiny.error("run", "--config", "tiny.yaml", "--limit", "2").startswith("--limit 2 is too small")
    assert tiny.error("run", "--config", "tiny.yaml", "--limit", "0").startswith("--limit 0")


def test_score_needs_neither_model_nor_data(tiny: Bench) -> None:
    shutil.rmtree(tiny.folder / "runs/cache")
    for path in (tiny.folder / "runs").glob("*/*/model.safetensors"):
        path.unlink()
    out = tiny("score").stdout
    assert out.count("numbers as recorded") == 4 and "moved" not in out
    cell = tiny.cell("histogram")
    assert "uniform.accuracy" in tiny("score", str(cell)).stdout
    assert not (tiny.folder / "runs/cache").exists()
    record = json.loads((cell / "record.json").read_text())
    record["metrics"]["uniform.accuracy"] = 0.123
    (cell / "record.json").write_text(json.dumps(record))
    moved = tiny("score", code=1).stdout
    assert "1 numbers moved" in moved and "(recorded: 0.123)" in moved and "1 of 4 cells moved" in moved


BUMP = """
from bench.matching.task import MatchingTask
MatchingTask.metrics_version = 99
"""


def test_a_new_metric_scores_again_and_trains_nothing(tiny: Bench) -> None:
    """Plug-ins are imported by the runner and by the worker alike, so one can stand for a changed metrics module."""
    old = tiny.cell("histogram")
    tiny.write("bump.py", BUMP)
    tiny.write("new.yaml", "extends: tiny.yaml\nplugins: [bump.py]\n")
    for path in (tiny.folder / "runs").glob("*/*random*/model.safetensors"):
        path.unlink()  # as `bench clean weights` does
    assert tiny("plan", "--config", "new.yaml", "--cells").stdout.count("reuse predictions; score") == 4
    done = tiny("run", "--config", "new.yaml", "--no-figures")
    assert done.stderr.count(": score\n") == 4 and "train" not in done.stderr
    (new,) = [path for path in (tiny.folder / "runs/matching").glob("*histogram*") if path != old]
    for name in ("model.safetensors", "predictions.npz", "train.json", "predict.json"):
        assert (new / name).samefile(old / name)
    was, now = (json.loads((cell / "record.json").read_text()) for cell in (old, new))
    assert was["keys"]["train"] == now["keys"]["train"] and was["keys"]["predict"] == now["keys"]["predict"]
    assert was["fingerprint"] != now["fingerprint"] and was["metrics"] == now["metrics"]


def test_a_gallery_of_the_whole_test_part(tiny: Bench) -> None:
    """`all` is what a number at least as large gives, whatever the size of the test part."""
    found = []
    for gallery in ("all", "6000"):
        words = ["--config", "tiny.yaml", "--method", "histogram", "--set", f"matching.protocol.gallery={gallery}"]
        tiny("run", *words, "--no-figures")
        (key,) = re.findall(r"seed 0 +(\w{12}) ", tiny("plan", *words).stdout)
        (cell,) = (tiny.folder / "runs/matching").glob(f"*{key}")
        record = json.loads((cell / "record.json").read_text())
        assert record["facts"]["gallery.size"] == record["inputs"]["split_counts"]["test"] > 8
        found.append({name: value for name, value in record["metrics"].items() if name.startswith("gallery.")})
    assert found[0] == found[1] and found[0]["gallery.sar_to_optical.mrr"] is not None


def test_a_model_that_was_cleaned_away_is_trained_again_when_it_must_predict(tiny: Bench) -> None:
    (tiny.cell("histogram") / "model.safetensors").unlink()
    words = ["--config", "tiny.yaml", "--method", "histogram", "--set", "matching.protocol.gallery=6"]
    assert "train, predict, score" in tiny("plan", *words).stdout
    tiny("run", *words, "--no-figures")


def test_pictures_that_were_not_drawn_are_drawn_by_the_next_run(tiny: Bench) -> None:
    figures = tiny.cell("cfog") / "figures"
    before = {path.name: path.read_bytes() for path in figures.iterdir()}
    shutil.rmtree(figures)
    record = (tiny.cell("cfog") / "record.json").read_bytes()
    assert "cfog on toy/grouped: pictures" in tiny("run", "--config", "tiny.yaml").stderr
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == before
    assert (tiny.cell("cfog") / "record.json").read_bytes() == record
    shutil.rmtree(figures)
    tiny("run", "--config", "tiny.yaml", "--no-figures")
    assert not figures.exists()


def test_rows_run_one_by_one_stand_in_the_order_of_the_suite(tiny: Bench) -> None:
    boards = tiny.folder / "leaderboards/tiny"
    whole = (boards / "matching.md").read_bytes()
    shutil.rmtree(boards)
    for method in ("random", "cfog", "histogram"):
        tiny("run", "matching", "--config", "tiny.yaml", "--method", method, "--no-figures")
    assert [row[2] for row in json.loads((boards / "suite.json").read_text())["order"]] == [
        "cfog",
        "histogram",
        "random",
    ]
    assert (boards / "matching.md").read_bytes() == whole, (
        "the first row is what the others are compared with, whatever was run first"
    )


def test_a_shared_measurement_is_computed_once_for_two_suites(tiny: Bench) -> None:
    tiny.write("twin.yaml", TINY.replace("name: tiny", "name: twin"))
    assert "4 cells, 4 finished already, 0 to run" in tiny("run", "--config", "twin.yaml").stderr
    entry = json.loads((tiny.folder / "leaderboards/twin/entries/matching--toy-grouped--cfog--once.json").read_text())
    assert entry["suite"] == "twin" and "--config twin.yaml" in entry["command"]
    tiny.write("twin.yaml", TINY.replace("name: tiny", "name: twin").replace("    cfog:", "    structure:"))
    # another label: a folder of its own, and everything reused
    done = tiny("run", "--config", "twin.yaml", "--no-figures")
    assert (
        "structure on toy/grouped: score" in done.stderr
        and "taken off the board, no longer in the suite" in done.stdout
    )
    board = (tiny.folder / "leaderboards/twin/matching.md").read_text()
    assert "| structure" in board and "| cfog" not in board
    assert "--config twin.yaml --dataset toy --split grouped --method structure" in board


def test_a_split_file_and_a_table_elsewhere_leave_no_path_in_the_record(bench: Bench) -> None:
    data, places = bench.folder / "data", bench.folder / "places"
    bench("data", "toy", "--out", "data", "--scenes", "3", "--patches-per-scene", "12", "--patch-px", "32")
    bench(
        "data",
        "split",
        "toy-pairs",
        "--root",
        "data",
        "--spec",
        "kind: grouped",
        "--option",
        "patch_px: 32",
        "--out",
        "places/split.csv",
    )
    (data / "patches.csv").rename(places / "patches.csv")
    bench.write(
        "own.yaml",
        f"""
name: own
matching:
  protocol: {{gallery: 8}}
  datasets:
    mine:
      dataset: two-folders
      root: data
      options: {{optical: opt_32_oc_0, sar: sar_32_oc_0, pair_by: number, table: {places / "patches.csv"}}}
      splits: {{fixed: {{kind: file, path: places/split.csv}}}}
  methods:
    random: {{matcher: random}}
""",
    )
    bench("run", "--config", "own.yaml", "--no-figures")
    cell = bench.cell("random")
    text = (cell / "record.json").read_text()
    assert str(bench.folder) not in text
    record = json.loads(text)
    assert record["spec"]["dataset"]["split"]["path"] == "split.csv"
    assert record["spec"]["dataset"]["options"]["table"] == "patches.csv"
    moved = bench.folder / "moved"
    moved.mkdir()
    places.rename(moved / "places")
    bench.write(
        "own.yaml",
        (bench.folder / "own.yaml").read_text().replace("places/", "moved/places/").replace("moved/moved", "moved"),
    )
    assert "  finished" in bench("plan", "--config", "own.yaml").stdout
    rows = (moved / "places/split.csv").read_text().splitlines()
    parts = [line.split(",")[1] for line in rows[1:]]
    flipped = {"train": "test", "test": "train"}
    body = [
        ",".join([line.split(",")[0], flipped.get(part, part), *line.split(",")[2:]])
        for line, part in zip(rows[1:], parts, strict=True)
    ]
    (moved / "places/split.csv").write_text("\n".join([rows[0], *body]) + "\n")
    assert "  predict, score" in bench("plan", "--config", "own.yaml").stdout


def test_predictions_hold_what_any_metric_needs(net_run: Bench) -> None:
    with np.load(net_run.cell("infonce") / "predictions.npz") as stored:
        names = set(stored.files)
        assert {
            "test.id",
            "test.scene",
            "test.group",
            "test.distance",
            "test.sar_embedding",
            "gallery.distance",
        } <= names
        assert stored["test.sar_embedding"].shape == (12, 8) and stored["test.sar_embedding"].dtype == np.float32
