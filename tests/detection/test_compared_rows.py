"""A filter that re-targets rows keeps what they are compared with: the reference, and the rows that train nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cell_toys import SUITE, cells_of, changed

from bench.core.errors import BenchError


@pytest.mark.parametrize(
    ("reference", "filters", "rows"),
    [
        ("frcnn/none", {"pretrain": ("imagenet",)}, ["cfar", "frcnn/none", "frcnn/imagenet", "yolo/none", "yolo/imagenet"]),
        ("frcnn/osm", {"pretrain": ("none",)}, ["cfar", "frcnn/none", "frcnn/osm", "yolo/none"]),
        ("frcnn/osm", {"backbone": ("darknet53",)}, ["cfar", "frcnn/osm", "yolo/none", "yolo/imagenet"]),
        ("frcnn/osm", {"backbone": ("darknet53",), "detector": ("yolov3",)}, ["yolo/none", "yolo/imagenet"]),
    ],
)  # fmt: skip
def test_filters_that_retarget_keep_the_reference_and_what_trains_nothing(
    tmp_path: Path, reference: str, filters: dict[str, tuple[str, ...]], rows: list[str]
) -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["detection"]["reference"] = reference
        raw["detection"]["methods"]["frcnn"]["pretrain"] = ["none", "osm"]
        raw["detection"]["methods"]["yolo"] = {"detector": "yolov3", "pretrain": ["none", "imagenet"]}

    cells = cells_of(tmp_path, changed(change), seeds=(0,), filters=filters)
    assert [cell.method for cell in cells if cell.task == "detection"] == rows
    whole = cells_of(tmp_path, changed(change), seeds=(0,))
    assert all(cell in whole for cell in cells if cell.method in [one.method for one in whole]), "the same cells"


@pytest.mark.parametrize(
    ("reference", "filters", "rows"),
    [
        (None, {"backbone": ("resnet50",)}, ["bnn18", "cfog", "bnn18-resnet50", "bnn18-x-resnet50", "nce18-resnet50"]),
        ("nce18", {"backbone": ("resnet50",)}, ["cfog", "nce18", "bnn18-resnet50", "bnn18-x-resnet50", "nce18-resnet50"]),
        ("nce18", {"control": ("shuffled",)}, ["bnn18-x", "cfog", "nce18"]),
        ("nce18", {"control": ("shuffled",), "method": ("bnn18-x",)}, ["bnn18-x"]),
        ("nce18", {"backbone": ("resnet50",), "matcher": ("infonce",)}, ["nce18-resnet50"]),
        ("nce18", {"dataset": ("toy",), "matcher": ("cfog",)}, ["cfog"]),
    ],
)  # fmt: skip
def test_matching_rows_that_are_retargeted_have_baselines_beside_them(
    tmp_path: Path, reference: str | None, filters: dict[str, tuple[str, ...]], rows: list[str]
) -> None:
    raw = changed(lambda raw: raw["matching"].update(reference=reference))
    assert [cell.method for cell in cells_of(tmp_path, raw, ("matching",), seeds=(0,), filters=filters)] == rows


def test_baselines_alone_are_no_selection(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no method of the suite fits backbone shallow"):
        cells_of(tmp_path, SUITE, filters={"backbone": ("shallow",)})
