"""COCO results files as tests read and write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.data.ships.index import ShipScene
from bench.detection.detectors.base import Detections
from bench.detection.submission.coco_results import CATEGORY, read_coco, to_xywh
from bench.detection.submission.results_file import lay_on_scenes


def read_coco_results(path: Path, scenes: Sequence[ShipScene], category: int | None = None) -> list[Detections]:
    """Return the detections of each scene, in the order of the file; a scene without entry has none."""
    return lay_on_scenes(read_coco(path), scenes, category).detections


def write_coco_results(path: Path, scenes: Sequence[ShipScene], found: Sequence[Detections]) -> None:
    """Write detections of scenes as a results file with integer image ids.

    Reading it gives the same boxes to the last bit where corners are not negative and have the precision of float32, as
    those of networks. Else x2 and y2 may come back rounded (2.3e-16 of the largest corner), and a number differs only
    where an IoU lies that near a threshold.
    """
    entries = [
        {"image_id": scene.image_id, "category_id": CATEGORY["id"], "bbox": box, "score": score}
        for scene, each in zip(scenes, found, strict=True)
        for box, score in zip(
            to_xywh(each.boxes).tolist(), np.asarray(each.scores, dtype=np.float64).tolist(), strict=True
        )
    ]
    path.write_text(json.dumps(entries, allow_nan=False) + "\n")
