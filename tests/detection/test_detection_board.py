"""The detection board: Table III's form with the paper's values, folds averaged, failures never averaged away."""

from __future__ import annotations

from typing import Any

import pytest

from bench.boards.evidence import Evidence
from bench.boards.rendering import to_csv, to_markdown
from bench.detection.board.table import detection_table
from bench.execution.records import Failure, Record

METRICS = ("scene.ap_area", "scene.ap_11pt", "scene.inshore.ap_area", "scene.inshore.best_f1")


def record(
    detector: str, arm: str, seed: int | None, ap: float | None, split: dict[str, Any] | None = None, label: str = "x"
) -> Record:
    """Return one finished record; `ap` None makes a failed one."""
    learned = detector != "cfar"
    spec = {
        "dataset": {
            "name": "air-sarship-1.0",
            "split": split or {"kind": "grouped"},
            "tiles": {"size_px": 512, "overlap_px": 200},
        },
        "method": {"detector": detector, "backbone": "resnet50" if learned else None, "pretrain": arm},
        "protocol": {"name": "det/test", "strata": "shore"},
    }
    facts = {f"scene{level}.{name}": 5 for level in ("", ".inshore") for name in ("ships", "scenes", "detections")}
    osm = [{"cell": f"bnn on q/random, seed {seed}", "task": "matching", "command": "", "train": "t", "score": "s"}]
    outcome: dict[str, Any] = {"status": "finished", "metrics": dict.fromkeys(METRICS, ap), "facts": facts}
    if ap is None:
        outcome = {"status": "failed", "failure": Failure(stage="train", message="m", traceback="")}
    return Record(
        task="detection",
        suite="s",
        dataset=f"air/{label}",
        method=f"{detector}/{arm}" if learned else detector,
        seed=seed,
        limit=None,
        names={"dataset": "air", "split": label},
        spec=spec,
        fingerprint=f"{detector}{arm}{seed}{label}",
        keys={},
        row_key=f"{detector}{arm}{label}",
        inputs={
            "data": {"split": f"hash-{label}"},
            "ships": {"train": 336, "validation": 0, "test": 125},
            "split_counts": {"train": 21, "validation": 0, "test": 10},
            "pretrained_by": osm if arm == "osm" else [],
        },
        command=f"bench run detection --config s --split {label} --pretrain {arm} --seeds {seed}",
        **outcome,
    )


ROWS = [
    record("cfar", "none", None, 0.2),
    record("faster-rcnn", "imagenet", 0, 0.80),
    record("faster-rcnn", "imagenet", 1, 0.90),
    record("faster-rcnn", "osm", 0, 0.86),
    record("faster-rcnn", "osm", 1, 0.88),
    record("yolov3", "imagenet", 0, 0.75),
    record("yolov3", "imagenet", 1, None),
]


def test_rows_are_pretrainings_and_columns_detectors_with_the_papers_values_beside() -> None:
    first = detection_table("t", "d", ROWS, Evidence()).sections[0]
    assert first.title == "air/x: ships found, by pretraining" and first.head == "pretraining"
    assert [column.label for column in first.columns] == ["faster-rcnn AP", "yolov3 AP"]
    assert [row.label for row in first.rows] == ["ImageNet", "OSM"]
    imagenet, osm = first.rows
    assert imagenet.cells["faster-rcnn"].value == pytest.approx(0.85) and imagenet.cells["faster-rcnn"].n == 2
    assert (
        imagenet.cells["yolov3"].value is None
        and imagenet.cells["yolov3"].note == "1/2 failed"
        and "‡" in imagenet.marks
    )
    assert osm.cells["yolov3"].value is None and osm.cells["yolov3"].note == "", "not measured, and not 0"
    verdict = "not comparable: data, split, method"
    values = {
        "paper: faster-rcnn": "0.8720",
        "verdict: faster-rcnn": verdict,
        "paper: yolov3": "0.8712",
        "verdict: yolov3": verdict,
    }
    assert imagenet.reported == values and first.reported == tuple(values)
    assert osm.reported == {"paper: faster-rcnn": "0.8852", "verdict: faster-rcnn": verdict}, (
        "the paper's value stands only beside ours"
    )
    assert any(
        line.startswith("faster-rcnn/osm: not comparable: data: the record does not count its scenes")
        for line in first.after
    )
    for words in ("125 ships in 10 test scenes", "336 ships in 21 scenes", "cfar 0.200", "osm: bnn on q/random"):
        assert words in first.note


def test_every_row_stands_below_and_in_the_csv_once() -> None:
    table = detection_table("t", "d", ROWS, Evidence())
    assert [row.label for row in table.sections[1].rows] == [
        "cfar",
        "faster-rcnn/imagenet",
        "faster-rcnn/osm",
        "yolov3/imagenet",
    ]
    lines = [line.split(",")[:3] for line in to_csv(table).splitlines()[1:]]
    assert ["air/x", "faster-rcnn/osm", "scene.ap_11pt"] in lines and len(lines) == len({tuple(line) for line in lines})
    text = to_markdown(table)
    assert "0.850 ± 0.071" in text and "air/x: by shore" in text and "inshore: 5 ships in 5 scenes" in text


def folds(values: list[float | None]) -> list[Record]:
    split = {"kind": "folds", "folds": 3}
    return [record("cfar", "none", None, ap, {**split, "fold": k}, f"cv-{k + 1}of3") for k, ap in enumerate(values)]


def test_folds_are_averaged_only_when_complete() -> None:
    titles = [section.title for section in detection_table("t", "d", folds([0.1, 0.2, 0.6]), Evidence()).sections]
    assert titles[0] == "air/cv, mean over 3 folds: all metrics" and sum("cv-" in title for title in titles) == 6
    first = detection_table("t", "d", folds([0.1, 0.2, 0.6]), Evidence()).sections[0]
    assert first.rows[0].cells["scene.ap_area"].value == pytest.approx(0.3)
    assert "375 ships in 30 test scenes" in first.note and "each tested in one of 3 folds" in first.note
    assert "--split cv " in first.rows[0].command
    assert not any(
        "mean over" in section.title
        for section in detection_table("t", "d", folds([0.1, 0.2, 0.6])[:2], Evidence()).sections
    )


def test_a_failed_fold_fails_the_mean() -> None:
    first = detection_table("t", "d", folds([0.1, None, 0.6]), Evidence()).sections[0]
    assert first.rows[0].cells["scene.ap_area"].value is None and "‡" in first.rows[0].marks
