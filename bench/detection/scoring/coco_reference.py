"""COCO's own numbers: the APs of a predictions file by pycocotools, beside ours (`evaluator.py`, `score.py`).

Used on request, by `bench selftest` and `bench score --coco`; no board holds one. pycocotools is given
the same boxes, ignored truth as COCO's crowd, and as many detections of an image as there are; its usual cap of 100
gives a second number, which is the one that other tools report.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.detection.scoring.evaluator import IOUS, SIZES, BoxTable
from bench.detection.scoring.predictions import DetectionPredictions
from bench.detection.scoring.score import levels_of
from bench.execution.task import Reference

CAP = 100  # detections of an image in COCO's usual protocol
WITHIN = 1e-9  # between two evaluators that sum the same terms in another order

Aps = dict[str, float | None]


def coco_reference(predictions: DetectionPredictions) -> Reference:
    """Return the APs of all levels by pycocotools, by the names of our metrics."""
    test = predictions.test
    metrics: Aps = {}
    usual: Aps = {}
    tables = [(test.scene, levels_of(test.stratum))]
    if len(test.tile_scene):
        tables.append((test.tile, {"tile": np.ones(len(test.tile), dtype=np.int64)}))
    for table, levels in tables:
        for level, (own, capped) in coco_aps(table, levels).items():
            metrics |= {f"{level}.{metric}": value for metric, value in own.items()}
            usual |= {f"{level}.{metric}": value for metric, value in capped.items()}
    name = f"pycocotools {importlib.metadata.version('pycocotools')}"
    return Reference(name, metrics, WITHIN, usual, f"at most {CAP} detections an image")


def coco_aps(table: BoxTable, levels: Mapping[str, np.ndarray]) -> dict[str, tuple[Aps, Aps]]:
    """Return ap_coco, ap50, ap75, ap_<size>, ap50_<size> by pycocotools, without a cap and with COCO's, of each level.

    Args:
        levels: name -> (S,) which scenes of the table belong to it, by a weight of 0 or 1.
    """
    from pycocotools.cocoeval import COCOeval

    most = max(CAP, int(np.diff(table.offset).max(initial=0)))
    out = {}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints every step
        truth, found = _truth(table), _found(table)
        for level, weights in levels.items():
            judge = COCOeval(truth, found, "bbox")
            judge.params.imgIds = np.flatnonzero(weights).tolist()
            judge.params.maxDets = [CAP, most]
            judge.evaluate()
            judge.accumulate()
            precision = judge.eval["precision"]  # IoU, recall, category, size, cap; -1 where nothing was to be found
            out[level] = _aps(precision[:, :, 0, :, 1]), _aps(precision[:, :, 0, :, 0])
    return out


def _aps(precision: np.ndarray) -> Aps:
    """Return the APs from the precision (IoU, recall, size); pycocotools knows the sizes in the order of ours."""
    t50, t75 = (int(np.argmin(np.abs(np.array(IOUS) - iou))) for iou in (0.5, 0.75))
    out = {
        "ap_coco": _mean(precision[:, :, 0]),
        "ap50": _mean(precision[t50, :, 0]),
        "ap75": _mean(precision[t75, :, 0]),
    }
    for a, size in enumerate(SIZES):
        if size != "all":
            out |= {f"ap_{size}": _mean(precision[:, :, a]), f"ap50_{size}": _mean(precision[t50, :, a])}
    return out


def _mean(values: np.ndarray) -> float | None:
    known = values[values > -1]
    return float(known.mean()) if known.size else None


# -- in pycocotools' terms ---------------------------------------------------------------------------------------------
def _truth(table: BoxTable) -> Any:
    scene = np.repeat(np.arange(len(table)), np.diff(table.truth_offset))
    return _coco(len(table), scene, table.truth_box, iscrowd=table.truth_ignore.astype(int).tolist())


def _found(table: BoxTable) -> Any:
    scene = np.repeat(np.arange(len(table)), np.diff(table.offset))
    return _coco(len(table), scene, table.box, iscrowd=[0] * len(scene), score=table.score.tolist())


def _coco(images: int, scene: np.ndarray, box: np.ndarray, **columns: list[Any]) -> Any:
    """Return boxes as pycocotools holds them; scenes by their position, so that equal scores rank in our order."""
    from pycocotools.coco import COCO

    size = box[:, 2:] - box[:, :2]
    columns |= {
        "image_id": scene.tolist(),
        "bbox": np.hstack([box[:, :2], size]).tolist(),
        "area": size.prod(1).tolist(),
    }
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    made = COCO()
    made.dataset = {
        "images": [{"id": number} for number in range(images)],
        "categories": [{"id": 1}],
        "annotations": [{"id": number, "category_id": 1, **row} for number, row in enumerate(rows, 1)],
    }
    made.createIndex()
    return made
