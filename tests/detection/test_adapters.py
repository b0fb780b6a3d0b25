"""The same boxes score the same whichever way they come: out of mmdet, or as a COCO results file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from coco_files import read_coco_results, write_coco_results
from evaluator_toys import as_scenes, random_scenes

from bench.detection.detectors.base import Detections
from bench.detection.detectors.mmdet.models import DetectorNetwork
from bench.detection.scoring.predictions import DetectionPredictions, build_part, whole_scenes
from bench.detection.scoring.score import score_predictions

SIZE = 800


def test_boxes_of_mmdet_and_of_a_coco_file_score_the_same(tmp_path: Path) -> None:
    truth, found = random_scenes(3, scenes=8)
    scenes = as_scenes(truth)
    of_mmdet = []
    for each in found:
        instances = SimpleNamespace(
            bboxes=torch.from_numpy(each.boxes.astype(np.float32)),
            scores=torch.from_numpy(each.scores.astype(np.float32)),
        )
        of_mmdet.append(DetectorNetwork._detections(SimpleNamespace(score_floor=-np.inf), instances, SIZE, SIZE))  # type: ignore[arg-type]
    write_coco_results(tmp_path / "boxes.json", scenes, of_mmdet)
    of_coco = read_coco_results(tmp_path / "boxes.json", scenes)
    metrics = [_metrics(scenes, each) for each in (of_mmdet, of_coco)]
    assert metrics[0] == metrics[1] and metrics[0]["scene.ap_area"]


def _metrics(scenes: object, found: list[Detections]) -> dict[str, float | None]:
    none = build_part([], [])
    part = build_part(scenes, whole_scenes(found))  # type: ignore[arg-type]
    return dict(score_predictions(DetectionPredictions(none, part)).metrics)
