"""`bench list`, `leaderboard`, `data ...` and the help of every verb."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from command_line import Bench

from bench.cli.main import VERBS, main
from bench.data.images import write_image

DATA = ("info", "verify", "cut", "split", "toy", "weights")


def test_list_shows_every_kind_with_summaries(bench: Bench) -> None:
    out = bench("list").stdout
    kinds = ("tasks:", "datasets:", "matchers:", "detectors:", "backbones:", "configs:")
    for word in (*kinds, "qxs-saropt", "cfog", "faster-rcnn", "cfar", "darknet53", "quickstart", "s1s2", "hrsid"):
        assert word in out
    assert bench("list", "matchers").stdout == bench("list", "matcher").stdout
    assert all(len(line.split()) > 1 for line in out.splitlines() if line.startswith("  "))


@pytest.mark.parametrize(
    "words", [[], *([verb] for verb in VERBS), *(["data", action] for action in DATA)], ids=" ".join
)
def test_help_of_every_verb_has_a_worked_example(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code = main([*words, "--help"])
    out = capsys.readouterr().out
    assert code == 0 and "  bench " + " ".join(words) in re.split("examples?:", out)[1]


def test_version(bench: Bench) -> None:
    assert bench("--version").stdout.startswith("saropt-bench 0.")


def test_boards_are_rebuilt_in_an_empty_clone_without_runs(tiny_run: Bench, bench: Bench) -> None:
    shutil.copytree(tiny_run.folder / "leaderboards", bench.folder / "leaderboards")
    boards = ("leaderboards/tiny/matching.md", "leaderboards/tiny/matching.csv")
    for name in boards:
        (bench.folder / name).unlink()
    assert "wrote leaderboards/tiny/matching.md and matching.csv" in bench("leaderboard").stdout
    assert "toy/grouped: is it a match?" in bench("leaderboard", "tiny", "--print").stdout
    for name in boards:
        assert (bench.folder / name).read_bytes() == (tiny_run.folder / name).read_bytes()
    assert not (bench.folder / "runs").exists()


def test_the_csv_holds_full_precision_and_says_where_it_comes_from(tiny_run: Bench) -> None:
    with open(tiny_run.folder / "leaderboards/tiny/matching.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    accuracy = next(row for row in rows if row["method"].startswith("random") and row["metric"] == "uniform.accuracy")
    assert accuracy["n"] == "2" and len(accuracy["fingerprints"].split()) == 2
    assert float(accuracy["mean"]) == float(repr(float(accuracy["mean"])))


# -- data --------------------------------------------------------------------------------------------------------------
def test_info_says_what_to_place_where(bench: Bench) -> None:
    out = bench("data", "info", "qxs-saropt").stdout
    for word in (
        "sar_sensor",
        "licence",
        "citation",
        "expected pairs  20000",
        "BENCH_ROOT_QXS_SAROPT",
        "opt_256_oc_0.2",
        "options:",
    ):
        assert word in out


def test_toy_then_verify_then_split(bench: Bench) -> None:
    toy = ("data", "toy", "--out", "toy", "--scenes", "3", "--patches-per-scene", "6", "--patch-px", "32")
    assert "18 pairs in toy" in bench(*toy).stdout
    assert "exists and is not empty" in bench.error(*toy)
    assert (
        "patch_px" in bench.error("data", "toy", "--out", "new", "--patch-px", "2")
        and not (bench.folder / "new").exists()
    )

    verify = ("data", "verify", "toy-pairs", "--root", "toy", "--option", "patch_px: 32")
    assert "18 pairs" in bench(*verify, "--manifest", "toy.sha256").stdout
    subprocess.run(["sha256sum", "-c", "--quiet", "../toy.sha256"], cwd=bench.folder / "toy", check=True)
    assert (
        hashlib.sha256((bench.folder / "toy/patches.csv").read_bytes()).hexdigest()
        in (bench.folder / "toy.sha256").read_text()
    )
    (bench.folder / "toy/sar_32_oc_0/3.png").unlink()
    assert "PROBLEM" in bench(*verify, code=1).stdout
    assert "3 opened" in bench(*verify, "--limit", "3", code=1).stdout
    shutil.rmtree(bench.folder / "toy")
    bench(*toy)

    split = ("data", "split", "toy-pairs", "--root", "toy", "--option", "patch_px: 32", "--out", "split.csv")
    out = bench(*split, "--spec", "kind: grouped", "--spec", "{by: scene, test: 0.34, validation: 0.4}").stdout
    assert "wrote split.csv: 6 train, 6 validation, 6 test, 0 dropped" in out
    first = (bench.folder / "split.csv").read_bytes()
    assert first.startswith(b"id,part,group\n")
    bench(*split, "--spec", "kind: grouped", "--spec", "{by: scene, test: 0.34, validation: 0.4}")
    assert (bench.folder / "split.csv").read_bytes() == first
    for spec, wanted in (
        ("kin: grouped", "unknown key 'kin'"),
        ("kind", "expected 'key: value'"),
        ("by: [", "not valid YAML"),
    ):
        assert wanted in bench.error(*split, "--spec", spec)
    assert "the split leaves train empty (12 dropped by near_test" in bench.error(
        *split, "--spec", "{kind: grouped, guard_m: 1.0e9}"
    )
    assert (bench.folder / "split.csv").read_bytes() == first


def scenes(root: Path) -> None:
    """Write two registered scenes of 64 x 96 px, the left half of the first without texture."""
    rng = np.random.default_rng(3)
    for folder in ("opt", "sar"):
        (root / folder).mkdir(parents=True)
    lines = ["scene,tile,x_min_m,y_min_m,x_max_m,y_max_m,position_certain"]
    for number in range(2):
        optical = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
        if number == 0:
            optical[:, :32] = 80
        write_image(root / "opt" / f"{number:03d}", optical)
        write_image(root / "sar" / f"{number:03d}", rng.integers(1, 256, (64, 96), dtype=np.uint8))
        lines.append(f"{number:03d},T{number},{10_000 * number},0,{10_000 * number + 960},640,True")
    (root / "scenes.csv").write_text("\n".join(lines) + "\n")


def test_cut_writes_patches_with_positions_and_reasons(bench: Bench) -> None:
    scenes(bench.folder / "scenes")
    cut = ("data", "cut", "--root", "scenes", "--patch-px", "32", "--overlap-px", "0", "--min-std", "6")
    out = bench(*cut, "--out", "cut").stdout
    assert "10 pairs from 2 scenes in cut/" in out and "rejected by min_std: 2" in out
    names = bench.files("cut")
    assert (
        sum(name.endswith(".png") for name in names) == 20
        and "cut/patches.csv" in names
        and "cut/rejected.csv" in names
    )
    assert "cut" in bench.error(*cut, "--out", "cut")
    assert "no window of 900 px fits" in bench.error(*cut[:5], "900", "--overlap-px", "0", "--out", "large")
    assert not (bench.folder / "large").exists()
    bench.write("x/y", "")
    assert "holds patches, not scenes" in bench.error("data", "cut", "toy-pairs", "--out", "c", "--option", "scenes: 2")


def test_weights_say_where_they_are_looked_for_and_fail_offline(bench: Bench) -> None:
    closed = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    env = {**closed, "HOME": str(bench.folder), "TORCH_HOME": str(bench.folder), "no_proxy": "", "NO_PROXY": ""}
    message = bench.error("data", "weights", "resnet50", env=env)
    assert "resnet50-0676ba61.pth" in message and "bench data weights resnet50 --download" in message
    message = bench.error("data", "weights", "resnet50", "--download", env=env)
    assert "cannot fetch https://download.pytorch.org" in message and "offline?" in message
    assert bench.files() == []
    bench.write("weights/resnet50-0676ba61.pth", "short")
    assert "is damaged or not what it is called" in bench.error("data", "weights", "resnet50", env=env)
