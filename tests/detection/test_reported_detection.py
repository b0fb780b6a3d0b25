"""Table III as data, and every known difference from it that a record can show."""

from __future__ import annotations

from typing import Any

import pytest

from bench.detection.board.reported import REPORTED, differences, find_reported, judge
from bench.execution.records import Record
from bench.statistics.inference import Estimate
from bench.statistics.intervals import Interval

IMAGENET = {"faster-rcnn": "0676ba61" + "0" * 56, "yolov3": "a628ea1b" + "0" * 56}
BACKBONE = {"faster-rcnn": "resnet50", "yolov3": "darknet53"}
SCENES = {"train": 21, "validation": 0, "test": 10, "dropped": 0}
SHIPS = {"train": 336, "validation": 0, "test": 125}
CIRCULATING = {"kind": "grouped", "by": "split", "test_groups": ["test"]}


def source(detector: str, **changes: Any) -> dict[str, Any]:
    """Return what a record says about the matching cell that its OSM arm starts from."""
    saw = {
        "dataset": "qxs-saropt",
        "pairs": 20_000,
        "matcher": "bnn",
        "backbone": BACKBONE[detector],
        "init": "imagenet",
        "control": "none",
    }
    return {"task": "matching", "cell": "c", "command": "", "train": "t", "score": "s", **saw, **changes}


def row(detector: str = "faster-rcnn", pretrain: str = "imagenet", seed: int = 0, **changes: Any) -> Record:
    """Return a finished record on data of the genuine size; changes with a slash go into spec or inputs."""
    spec: dict[str, Any] = {
        "dataset": {"name": "air-sarship-1.0", "split": dict(CIRCULATING)},
        "method": {"detector": detector, "backbone": BACKBONE.get(detector), "pretrain": pretrain},
    }
    inputs: dict[str, Any] = {
        "split_summary": {"scenes": dict(SCENES)},
        "ships": dict(SHIPS),
        "files_sha256": {"initial": IMAGENET.get(detector, "")} if pretrain == "imagenet" else {},
        "pretrained_by": [source(detector)] if pretrain == "osm" else [],
    }
    for path in [name for name in changes if "/" in name]:
        first, *parents, last = path.split("/")
        inner = {"spec": spec, "inputs": inputs}[first]
        for name in parents:
            inner = inner[name]
        inner[last] = changes.pop(path)
    values: dict[str, Any] = {
        "status": "finished",
        "task": "detection",
        "suite": "paper",
        "dataset": "air-sarship-1.0/circulating",
        "method": f"{detector}/{pretrain}",
        "seed": seed,
        "limit": None,
        "names": {},
        "spec": spec,
        "fingerprint": f"f{seed}",
        "keys": {},
        "row_key": "r",
        "inputs": inputs,
    }
    return Record(**{**values, **changes})


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, None, None, Interval(low, high, 0.95), None, 10, 8.0)


def test_the_table_as_printed() -> None:
    assert {(found.detector, found.pretrain): found.ap for found in REPORTED} == {
        ("faster-rcnn", "imagenet"): 0.8720,
        ("faster-rcnn", "osm"): 0.8852,
        ("yolov3", "imagenet"): 0.8712,
        ("yolov3", "osm"): 0.8836,
    }
    for found in REPORTED:
        assert found.table == "Table III" and "2103.08259" in found.source
        assert find_reported("air-sarship-1.0", found.detector, found.pretrain) is found
        gain = {row.pretrain: row.ap for row in REPORTED if row.detector == found.detector}
        assert found.margin < gain["osm"] - gain["imagenet"], "a start without the gain must not pass for one with it"
    assert (
        find_reported("air-sarship-1.0", "faster-rcnn", "none") is None
        and find_reported("hrsid", "yolov3", "osm") is None
    )


@pytest.mark.parametrize("detector", ["faster-rcnn", "yolov3"])
@pytest.mark.parametrize("pretrain", ["imagenet", "osm"])
def test_the_circulating_split_of_data_of_the_genuine_size_has_no_known_difference(
    detector: str, pretrain: str
) -> None:
    assert differences(row(detector, pretrain)) == []
    found = find_reported("air-sarship-1.0", detector, pretrain)
    assert found is not None
    records = [row(detector, pretrain, seed) for seed in (0, 1)]
    wide = judge(records, estimate(found.ap + 0.01, found.ap - 0.04, found.ap + 0.05))
    assert wide is not None and wide.short == "within noise" and "definition of AP" in wide.footnotes[0]
    assert ("matching network" in wide.footnotes[0]) == (pretrain == "osm")
    close = judge(records, estimate(found.ap, found.ap - 0.008, found.ap + 0.008))
    far = judge(records, estimate(found.ap - 0.1, found.ap - 0.12, found.ap - 0.07))
    assert close is not None and far is not None and [close.short, far.short] == ["reproduced", "not reproduced"]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"limit": 4}, "run: limited to 4 scenes"),
        ({"smoke": True}, "run: a smoke test"),
        ({"inputs/split_summary/scenes": {**SCENES, "train": 20}}, "data: 30 scenes, the set has 31"),
        ({"inputs/ships": {**SHIPS, "train": 335}}, "data: 460 ships, the labels in circulation hold 461"),
        ({"inputs/split_summary": {}}, "data: the record does not count its scenes"),
        ({"spec/dataset/split": {"kind": "folds", "folds": 3}}, "split: 3 folds, the paper has one split"),
        ({"spec/dataset/split/kind": "random"}, "split: random, not the 21/10 scenes"),
        ({"spec/dataset/split/test_groups": ["train"]}, "split: grouped, not the 21/10 scenes"),
        ({"inputs/split_summary/scenes": {**SCENES, "train": 20, "dropped": 1}}, "split: 1 scenes dropped"),
        (
            {"inputs/ships": {"train": 311, "validation": 0, "test": 150}},
            "split: 150 ships in 10 test scenes, not 125 in 10",
        ),
        ({"spec/method/backbone": "resnet18"}, "method: backbone resnet18, the paper's row has resnet50"),
        (
            {"inputs/files_sha256": {"initial": "f" * 64}},
            "method: the initial weights are not the published ImageNet file",
        ),
    ],
)
def test_a_known_difference(changes: dict[str, Any], wanted: str) -> None:
    found = differences(row(**changes))
    assert any(wanted in text for text in found), found
    assert len({text.partition(":")[0] for text in found}) == 1 or "backbone" in wanted, "one change, one part"
    judged = judge([row(**changes)], estimate(0.872, 0.87, 0.874))
    assert judged is not None and judged.kind == "not comparable"


@pytest.mark.parametrize(
    "metric", ["scene.ap_coco", "scene.ap75", "scene.ap50_small", "scene.inshore.ap_area", "tile.ap_area"]
)
def test_another_metric_is_a_known_difference(metric: str) -> None:
    found = judge([row()], estimate(0.872, 0.87, 0.874), metric)
    assert found is not None and found.short == "not comparable: metric" and metric in found.full
    assert differences(row(), "scene.ap_11pt") == differences(row(), "scene.ap50") == []


def pretrained_by(source: dict[str, Any]) -> dict[str, Any]:
    return {"inputs/pretrained_by": [source]}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"dataset": "s1s2-scenes", "pairs": 1363}, "OSM pretraining on 1,363 pairs of s1s2-scenes"),
        ({"matcher": "infonce"}, "OSM pretraining by infonce with resnet50"),
        ({"control": "shuffled"}, "OSM pretraining by bnn with resnet50, control shuffled"),
        ({"backbone": "resnet18"}, "OSM pretraining by bnn with resnet18"),
    ],
)
def test_what_an_osm_arm_starts_from_counts(changes: dict[str, Any], wanted: str) -> None:
    (found,) = differences(row("faster-rcnn", "osm", **pretrained_by(source("faster-rcnn", **changes))))
    assert found.startswith(f"method: {wanted}")
    old = {"cell": "c", "task": "matching"}  # of records that do not say it
    (found,) = differences(row("faster-rcnn", "osm", **pretrained_by(old)))
    assert "does not say what its OSM pretraining saw" in found


def test_arms_without_a_published_value_have_no_verdict() -> None:
    for pretrain in ("none", "osm-shuffled", "imagenet+compute"):
        assert judge([row(pretrain=pretrain)], estimate(0.872, 0.87, 0.874)) is None
        assert any(f"pretraining {pretrain} is in none" in text for text in differences(row(pretrain=pretrain)))
    assert judge([row("cfar", "none")], None) is None
