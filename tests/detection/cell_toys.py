"""A suite of both tasks, and its cells."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from bench.execution.cell import Cell, Origin, Selection
from bench.suite.config import load_suite
from bench.suite.expansion import expand

MATCHING: dict[str, Any] = {
    "protocol": {"gallery": 8},
    "datasets": {
        "toy": {
            "dataset": "toy-pairs",
            "options": {"scenes": 3, "patches_per_scene": 6, "patch_px": 32},
            "splits": {"grouped": {"kind": "grouped", "test": 0.34, "validation": 0.4}},
        }
    },
    "methods": {
        "cfog": {"matcher": "cfog"},
        "bnn18": {"matcher": "bnn", "backbone": "resnet18", "options": {"epochs": 2, "input_px": 32}},
        "nce18": {"matcher": "infonce", "backbone": "resnet18", "options": {"entries": 40, "input_px": 32}},
        "bnn18-x": {
            "matcher": "bnn",
            "backbone": "resnet18",
            "control": "shuffled",
            "options": {"epochs": 2, "input_px": 32},
        },
    },
}
DETECTION: dict[str, Any] = {
    "datasets": {
        "ships": {
            "dataset": "coco-folder",
            "options": {"sar_scale": "uint8"},
            "splits": {"half": {"kind": "random", "by": "id", "test": 0.5, "validation": 0}},
        },
    },
    "methods": {
        "cfar": {"detector": "cfar"},
        "frcnn": {
            "detector": "faster-rcnn",
            "backbone": "resnet18",
            "pretrain": ["none", "osm", "osm-shuffled"],
            "options": {"samples": 100},
        },
    },
}  # fmt: skip
SUITE: dict[str, Any] = {"name": "cells", "seeds": [0, 1], "matching": MATCHING, "detection": DETECTION}
Change = Callable[[dict[str, Any]], None]


def changed(change: Change) -> dict[str, Any]:
    raw = copy.deepcopy(SUITE)
    change(raw)
    return raw


def cells_of(
    folder: Path, raw: dict[str, Any], tasks: tuple[str, ...] = ("detection",), **selection: Any
) -> list[Cell]:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(raw))
    suite = load_suite(str(path))
    return expand(suite, Selection(**selection), tasks, Origin("--config suite.yaml", folder))


def labels(cells: list[Cell]) -> list[tuple[str, str, int | None]]:
    return [(cell.task, cell.method, cell.seed) for cell in cells]
