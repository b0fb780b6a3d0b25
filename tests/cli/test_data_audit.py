"""`bench data audit` on patches as a user types it: the report, its files, and using them."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from command_line import Bench

from bench.data.images import write_image
from bench.data.toy import render_scene


@pytest.fixture
def overlapping(bench: Bench) -> Bench:
    """A folder "set" of 2 x 49 patches of 64 px with 20 px overlap, as two-folders, numbered at random."""
    numbers = iter(np.random.default_rng(0).permutation(98).tolist())
    for number in range(2):
        optical, sar = render_scene(1, number, 328, 328)
        for y in range(0, 265, 44):
            for x in range(0, 265, 44):
                name = f"{next(numbers):03d}"
                for folder, image in (("optical", optical), ("sar", sar)):
                    (bench.folder / "set" / folder).mkdir(parents=True, exist_ok=True)
                    write_image(bench.folder / "set" / folder / name, image[y : y + 64, x : x + 64])
    return bench


AUDIT = ("data", "audit", "two-folders", "--root", "set")


def test_a_leaking_split_is_shown_and_a_tight_one_is_written(overlapping: Bench) -> None:
    out = overlapping(*AUDIT, "--out", "audit", code=1).stdout
    for part in (
        "98 patches of 64 x 64 px",
        "along x        overlap 20 px: 84",
        "along y        overlap 20 px: 84",
        "2 connected (the largest: 49, 49",
    ):
        assert part in out
    assert "PROBLEM test patches share ground" in out and out.strip().endswith("wrote audit/report.json")
    assert overlapping.files("audit") == ["audit/layout.csv", "audit/pairs.csv", "audit/report.json", "audit/split.csv"]
    report = json.loads((overlapping.folder / "audit/report.json").read_text())
    assert report["overlaps"]["pairs"] == 2 * (2 * 42 + 2 * 36) and report["split"]["touching_train_share"] > 0.9
    assert report["grouped_split"]["touching_train_or_validation"] == 0 and str(overlapping.folder) not in json.dumps(
        report
    )
    assert "0 of" in overlapping(*AUDIT, "--spec", "{kind: file, path: audit/split.csv}").stdout.split("this split")[1]
    with (overlapping.folder / "audit/pairs.csv").open(newline="") as stream:
        pairs = list(csv.DictReader(stream))
    assert len(pairs) == report["overlaps"]["pairs"] and {row["first_scene"] for row in pairs} == {"g00001", "g00002"}
    assert all(row["first_scene"] == row["second_scene"] and row["kind"] == "pixels" for row in pairs)
    example = re.search(r"such as (\S+) and (\S+);", out)
    assert example and any({row["first"], row["second"]} == set(example.groups()) for row in pairs)
    with (overlapping.folder / "audit/split.csv").open() as stream:
        assert sum(row["part"] == "dropped" for row in csv.DictReader(stream)) == report["grouped_split"]["dropped"]


def test_the_layout_is_a_table_for_grouped_splits(overlapping: Bench) -> None:
    overlapping(*AUDIT, "--out", "set", code=1)
    table = ("--option", "table: layout.csv")
    overlapping(*AUDIT, *table, "--spec", "{kind: grouped, by: scene, test: 0.5, validation: 0}")
    leaking = overlapping(*AUDIT, *table, "--spec", "{kind: grouped, by: block}", code=1).stdout
    assert "touch a training patch" in leaking
    overlapping(*AUDIT, *table, "--spec", "{kind: grouped, by: block, guard_m: 1}")
    done = overlapping("data", "split", *AUDIT[2:], *table, "--spec", "{kind: random}", "--out", "random.csv").stdout
    assert "sharing_ground_with_test: {'train':" in done


def test_a_set_without_overlap_has_no_problem(bench: Bench) -> None:
    bench("data", "toy", "--out", "toy", "--scenes", "3", "--patches-per-scene", "12", "--patch-px", "32")
    out = bench("data", "audit", "toy-pairs", "--root", "toy", "--option", "patch_px: 32").stdout
    assert (
        "0 pairs by equal pixels" in out
        and "0 connected, 36 single patches" in out
        and "no test patch shares ground" in out
    )


def test_bad_words_end_in_one_line(overlapping: Bench) -> None:
    overlapping.write("file", "")
    assert "--out file is a file" in overlapping.error(*AUDIT, "--out", "file")
    assert "--against is for scene sets" in overlapping.error(*AUDIT, "--against", "hrsid")
    assert "belong to --against" in overlapping.error(*AUDIT, "--against-root", "set")
    assert "invalid choice: 'all'" in overlapping(*AUDIT, "--match", "all", code=2).stderr


def test_help_has_a_worked_example(bench: Bench) -> None:
    assert "  bench data audit qxs-saropt" in bench("data", "audit", "--help").stdout.split("example:")[1]
