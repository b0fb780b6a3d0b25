"""Fused rows of both tasks: planned, keyed, run, resumed, explained and filed like any row; what a config may not say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import TINY, Bench

import bench as api
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Origin, Selection
from bench.execution.plan import make_plan
from bench.execution.task import get_task
from bench.matching.scoring.predictions import load_predictions
from bench.suite.config import load_suite
from bench.suite.expansion import expand

BOTH = {"fusion": {"of": ["cfog", "random"]}}
SHIPS = """\
name: ships
seeds: [0, 1]
detection:
  datasets:
    toy:
      dataset: toy-ships
      options: {scenes: 4}
      splits:
        half: {kind: random, by: id, test: 0.5, validation: 0.25}
  methods:
    cfar: {detector: cfar}
    peak: {detector: cfar, options: {score: peak}}
    frcnn: {detector: faster-rcnn, backbone: resnet18, pretrain: [none, imagenet], options: {samples: 8}}
    nms: {fusion: {of: [cfar, peak], method: nms}}
"""


def fused(folder: Path, methods: Mapping[str, Any], base: str = TINY, **section: Any) -> str:
    """Write `f.yaml`, the base suite with further rows; return its name."""
    raw = yaml.safe_load(base)
    (task,) = set(raw) & {"matching", "detection"}
    raw[task]["methods"] |= methods
    raw[task] |= section
    (folder / "f.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return "f.yaml"


def cells_of(folder: Path, methods: Mapping[str, Any], base: str = TINY, **selected: Any) -> list[Cell]:
    suite = load_suite(str(folder / fused(folder, methods, base)))
    return expand(suite, Selection(**selected), list(suite.tasks), Origin("--config f.yaml", folder))


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of a run in this process that tells nothing."""
    monkeypatch.setenv("GIT_DIR", "/no-git")
    return {"in_process": True, "figures": False, "threads": 1, "say": lambda line: None}


# -- rows --------------------------------------------------------------------------------------------------------------
def test_members_come_along_before_the_row_and_each_seed_has_its_own(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, {"both": BOTH}, filters={"method": ("both",)})
    assert [(cell.method, cell.seed) for cell in cells] == [
        ("cfog", None),
        ("random", 0),
        ("both", 0),
        ("random", 1),
        ("both", 1),
    ]
    whole = cells_of(tmp_path, {"both": BOTH})
    assert all(cell in whole for cell in cells), "the very cells of the whole suite"
    for cell in (one for one in cells if one.method == "both"):
        assert [(each.method, each.seed) for each in cell.requires] == [("cfog", None), ("random", cell.seed)]
        assert cell.fused and "random" not in json.dumps(cell.spec), "labels are in no spec"


@pytest.mark.parametrize(
    ("methods", "row", "seeds"),
    [
        ({"x": {"fusion": {"of": ["cfog", "histogram", "random"]}}}, "x", [0]),  # what the seeded members share
        ({"x": {**BOTH, "seeds": [1]}}, "x", [1]),
        ({"b": {"matcher": "phase-congruency"}, "x": {"fusion": {"of": ["cfog", "b"]}}}, "x", [None]),
        ({"x": BOTH, "y": {"fusion": {"of": ["x", "histogram"]}}}, "y", [0]),  # of a fused row
    ],
)
def test_seeds_are_those_that_the_members_share(
    tmp_path: Path, methods: Mapping[str, Any], row: str, seeds: list[int | None]
) -> None:
    cells = [cell for cell in cells_of(tmp_path, methods) if cell.method == row]
    assert [cell.seed for cell in cells] == seeds
    assert all(required.seed in (None, cell.seed) for cell in cells for required in cell.requires)


def test_a_row_runs_where_all_its_members_run(tmp_path: Path) -> None:
    base = TINY.replace("      splits:\n", "      splits:\n        other: {kind: random, test: 0.4, validation: 0.3}\n")
    methods = {"h": {"matcher": "phase-congruency", "datasets": ["toy/other"]}, "x": {"fusion": {"of": ["cfog", "h"]}}}
    assert [cell.dataset for cell in cells_of(tmp_path, methods, base) if cell.method == "x"] == ["toy/other"]


def test_filters_of_other_rows_leave_fused_ones_out(tmp_path: Path) -> None:
    def rows(**filters: tuple[str, ...]) -> list[str]:
        return list(
            dict.fromkeys(cell.method for cell in cells_of(tmp_path, methods, SHIPS, filters=filters, beside=True))
        )

    methods = {"both": {"fusion": {"of": ["frcnn/none", "frcnn/imagenet"]}}}
    assert rows(pretrain=("imagenet",)) == ["cfar", "peak", "frcnn/none", "frcnn/imagenet", "nms"]
    assert rows(backbone=("resnet34",), pretrain=("none",)) == ["cfar", "peak", "nms", "frcnn-resnet34/none"]
    assert rows(detector=("fusion",)) == ["cfar", "peak", "nms", "frcnn/none", "frcnn/imagenet", "both"]


def test_a_pretrained_member_brings_what_it_starts_from(tmp_path: Path) -> None:
    raw = yaml.safe_load(SHIPS)
    raw["matching"] = yaml.safe_load(TINY)["matching"]
    raw["matching"]["methods"]["nce"] = {"matcher": "infonce", "backbone": "resnet18", "options": {"epochs": 1}}
    raw["detection"]["methods"]["frcnn"]["pretrain"] = ["none", "osm"]
    raw["detection"]["methods"]["both"] = {"fusion": {"of": ["frcnn/none", "frcnn/osm"]}}
    (tmp_path / "f.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    suite = load_suite(str(tmp_path / "f.yaml"))
    cells = expand(suite, Selection({"method": ("both",)}, seeds=(0,)), ["detection"], Origin("", tmp_path))
    assert [cell.method for cell in cells] == ["frcnn/none", "nce", "frcnn/osm", "both"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "fewer than two": ({"x": {"fusion": {"of": ["cfog"]}}}, "two or more labels of rows are needed"),
    "none": ({"x": {"fusion": {"method": "sum"}}}, "two or more labels of rows are needed"),
    "no list": ({"x": {"fusion": {"of": "cfog, random"}}}, "two or more labels of rows are needed"),
    "twice": ({"x": {"fusion": {"of": ["cfog", "cfog"]}}}, "row 'cfog' is named twice"),
    "unknown": ({"x": {"fusion": {"of": ["cfog", "randon"]}}}, "no row 'randon'; nearest: random; members are rows of the same"),
    "another task's": ({"x": {"fusion": {"of": ["cfog", "detection/cfar"]}}}, "no row 'detection/cfar'"),
    "itself": ({"x": {"fusion": {"of": ["cfog", "x"]}}}, "made of itself: x <- x"),
    "a ring": (
        {"x": {"fusion": {"of": ["cfog", "y"]}}, "y": {"fusion": {"of": ["x", "random"]}}},
        "made of itself: x <- y <- x",
    ),
    "another split": (
        {"h": {"matcher": "cfog", "datasets": ["toy/other"]}, "x": {"fusion": {"of": ["h", "only"]}}, "only": {"matcher": "random", "datasets": ["toy/grouped"]}},
        "members share no data set with split (h: toy/other; only: toy/grouped)",
    ),
    "where a member is not": (
        {"h": {"matcher": "cfog", "datasets": ["toy/other"]}, "x": {"fusion": {"of": ["h", "random"]}, "datasets": ["toy"]}},
        "member 'h' does not run on toy/grouped; it runs on toy/other",
    ),
    "a seed": ({"x": {"fusion": {"of": ["cfog", "histogram"]}, "seeds": [1]}}, "member 'histogram' has no seed 1; it has 0"),
    "no seed": (
        {"r": {"matcher": "random", "seeds": [1]}, "x": {"fusion": {"of": ["r", "histogram"]}}},
        "members share no seed (r: 1; histogram: 0)",
    ),
    "seeds of nothing": (
        {"p": {"matcher": "phase-congruency"}, "x": {"fusion": {"of": ["cfog", "p"]}, "seeds": [1]}},
        "seeds change nothing of this row",
    ),
    "an option": ({"x": {"fusion": {"of": ["cfog", "random"], "weihgts": "equal"}}}, "unknown key 'weihgts'; nearest: weights"),
    "a method": ({"x": {"fusion": {"of": ["cfog", "random"], "method": "wbf"}}}, "method: input should be 'sum'"),
    "a matcher": ({"x": {**BOTH, "matcher": "cfog"}}, "matcher does not go with fusion"),
    "a backbone": ({"x": {**BOTH, "backbone": "resnet18"}}, "backbone does not go with fusion"),
    "no fusion": ({"x": {"matcher": "fusion"}}, "a fused row names its members; write fusion:"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_fused_is_refused_in_one_line(bench: Bench, name: str) -> None:
    base = TINY.replace("      splits:\n", "      splits:\n        other: {kind: random, test: 0.4, validation: 0.3}\n")
    methods, wanted = WRONG[name]
    assert wanted in bench.refused("plan", "--config", fused(bench.folder, methods, base))


def test_what_boxes_are_fused_by_is_checked(bench: Bench) -> None:
    def refused(**options: Any) -> str:
        row = {"fusion": {"of": ["cfar", "peak"], **options}}
        return bench.refused("plan", "--config", fused(bench.folder, {"x": row}, SHIPS))

    assert "weights: 3 for 2 members" in refused(weights=[1, 2, 3])
    assert "sigma is of method: soft-nms, and method is wbf" in refused(sigma=0.5)
    assert "iou changes nothing: with a sigma" in refused(method="soft-nms", sigma=0.5, iou=0.5)
    assert "weights.1" in refused(weights=[1, 0]) and "iou" in refused(iou=1.5)
    assert "no row 'frcn/none'; nearest: frcnn/none" in bench.refused(
        "plan", "--config", fused(bench.folder, {"x": {"fusion": {"of": ["cfar", "frcn/none"]}}}, SHIPS)
    )
    assert "no row 'frcnn'" in bench.refused(
        "plan", "--config", fused(bench.folder, {"x": {"fusion": {"of": ["cfar", "frcnn"]}}}, SHIPS)
    ), "of several rows one is meant"
    assert "no row of this suite is fused" in bench.refused(
        "plan", "matching", "--config", "quickstart", "--matcher", "fusion"
    )


# -- the whole way -----------------------------------------------------------------------------------------------------
def test_a_fused_row_goes_the_whole_way(tiny: Bench, monkeypatch: pytest.MonkeyPatch, quiet: dict[str, Any]) -> None:
    monkeypatch.chdir(tiny.folder)
    suite = fused(tiny.folder, {"both": BOTH})
    told = tiny.printed("plan", "--config", suite)
    assert "both on toy/grouped, seeds 0, 1" in told and "<- matching random on toy/grouped, seed by seed" in told
    assert "-> also fused into 2 matching cells: both" in told and "0 of them with training" in told
    assert "shared" not in told and "4 finished, 2 to run" in told

    result = api.run(suite, method="both", **quiet)
    records = {record.slot: record for record in result.records if record.method == "both"}
    assert sorted(records) == ["toy-grouped--both--seed0", "toy-grouped--both--seed1"] and not result.failures
    for seed in (0, 1):
        record = records[f"toy-grouped--both--seed{seed}"]
        cfog, random = tiny.cell("--cfog--"), tiny.cell(f"--random--seed{seed}")
        facts, members = record.facts["fusion"], record.inputs["fused"]
        assert facts["weights"]["cfog"] + facts["weights"]["random"] == pytest.approx(1)
        assert [member["row"] for member in members] == ["cfog", "random"]
        assert [member["score"] for member in members] == [
            json.loads((folder / "record.json").read_text())["fingerprint"] for folder in (cfog, random)
        ]
        made = load_predictions(tiny.cell(f"--both--seed{seed}") / "predictions.npz")
        parts = [load_predictions(folder / "predictions.npz") for folder in (cfog, random)]
        shares = [facts["weights"][name] for name in ("cfog", "random")]
        for of in ("validation", "test"):
            wanted = sum(share * getattr(part, of).distance for share, part in zip(shares, parts, strict=True))
            assert np.allclose(getattr(made, of).distance, wanted, rtol=1e-5, atol=1e-6)
        assert record.facts["pairs_sha256"] == json.loads((cfog / "record.json").read_text())["facts"]["pairs_sha256"]
        assert get_task("matching").wrong_key(record) == "", "its keys follow from its record"
    assert (tiny.folder / "leaderboards/tiny/entries/matching--toy-grouped--both--seed1.json").is_file()
    assert "both is made of the stored predictions of cfog and random" in (
        tiny.folder / "leaderboards/tiny/matching.md"
    ).read_text(encoding="utf-8")
    assert "6 finished, 0 to run" in tiny.printed("plan", "--config", suite)
    told = tiny.printed("explain", "tiny:both")
    assert "is made of the predictions of\n  matching cfog on toy/grouped" in told and "PROBLEM" not in told
    assert "uniform.roc_auc" in tiny.printed("compare", "tiny:both", "tiny:cfog", "--metric", "uniform.roc_auc")

    # predictions of a member that changed under its keys are noticed; those that are gone are made again
    path = tiny.cell("--random--seed1") / "record.json"
    record_text = path.read_text()
    path.write_text(record_text.replace(json.loads(record_text)["outputs"]["predictions_sha256"], "0" * 64))
    shutil.rmtree(tiny.folder / "leaderboards")
    assert "it was made of the predictions" in tiny.printed("explain", "runs:both", code=1)
    path.write_text(record_text)
    (tiny.cell("--random--seed1") / "predictions.npz").unlink()
    shutil.rmtree(tiny.cell("--both--seed1"))
    assert "random on toy/grouped, seed 1  " in (told := tiny.printed("plan", "--config", suite, "--cells"))
    assert "predict, score again: its predictions were cleaned away" in told
    again = api.run(suite, **quiet)
    assert not again.failures and len([one for one in again.records if one.method == "both"]) == 2
    assert {one.fingerprint for one in again.records if one.method == "both"} == {
        one.fingerprint for one in records.values()
    }


def test_keys_follow_the_members_and_the_options(tmp_path: Path) -> None:
    workspace = Workspace.at(runs=tmp_path / "runs", boards=tmp_path / "boards")

    def keys(rows: Mapping[str, Any], **options: Any) -> Any:
        methods = {**rows, "x": {"fusion": {"of": ["cfog", "random"], **options}}}
        (item,) = [
            i for i in make_plan(cells_of(tmp_path, methods, seeds=(0,)), workspace).items if i.cell.method == "x"
        ]
        return item.identity.keys

    first = keys({})
    assert first == keys({}) == keys({}, method="sum") == keys({"other": {"matcher": "cfog"}})
    for changed in (
        keys({}, weights="equal"),
        keys({"cfog": {"matcher": "cfog", "options": {"max_shift_px": 3}}}),
        keys({"random": {"matcher": "histogram", "options": {"model": "knn"}}}),
    ):
        assert changed.predict != first.predict and changed.score != first.score


def test_a_failed_member_fails_the_row(tiny: Bench, monkeypatch: pytest.MonkeyPatch, quiet: dict[str, Any]) -> None:
    from bench.matching.matchers.random_scores import RandomScores

    def broken(*_: Any) -> Any:
        raise RuntimeError("no scores today")

    monkeypatch.chdir(tiny.folder)
    suite = fused(tiny.folder, {"both": BOTH})
    shutil.rmtree(tiny.cell("--random--seed1"))
    monkeypatch.setattr(RandomScores, "_embed", broken)
    result = api.run(suite, method="both", seeds=[1], **quiet)
    told = {(record.method, record.seed): record for record in result.records}
    assert (
        told["cfog", None].status == "finished"
        and told["random", 1].status == "failed"
        and told["both", 1].failure is not None
    )
    assert told["both", 1].failure.message == "a row that it fuses failed: matching toy-grouped--random--seed1"
    monkeypatch.undo()
    monkeypatch.chdir(tiny.folder)
    again = api.run(suite, method="both", seeds=[1], **quiet)
    assert not again.failures and {record.status for record in again.records} == {"finished"}


def test_boxes_are_fused_the_whole_way(bench: Bench, monkeypatch: pytest.MonkeyPatch, quiet: dict[str, Any]) -> None:
    monkeypatch.chdir(bench.folder)
    result = api.run(fused(bench.folder, {}, SHIPS), method="nms", **quiet)
    assert not result.failures and [record.method for record in result.records] == ["cfar", "peak", "nms"]
    cfar, _, made = result.records
    assert made.metrics["scene.ap_area"] is not None and made.metrics["tile.ap_area"] is None
    assert made.facts["scene.ships"] == cfar.facts["scene.ships"] and get_task("detection").wrong_key(made) == ""
    text = (bench.folder / "leaderboards/ships/detection.md").read_text(encoding="utf-8")
    assert "nms is made of the stored predictions of cfar and peak (nms, iou 0.55, skip 0)" in text
    (folder,) = (bench.folder / "runs/detection").glob("*--nms--*")
    assert "made of the predictions of other rows; give the cell of one of them" in bench.refused(
        "predict", str(folder.relative_to(bench.folder)), "nothing.png", "--out", "o"
    )
