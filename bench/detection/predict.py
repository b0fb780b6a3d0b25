"""The predict stage of a detection cell: every validation and test scene through the detector, one file with truth and
detections.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.data.ships.view import SceneView
from bench.detection.detectors.base import Detections, Detector, ScenePrediction
from bench.detection.scoring.predictions import (
    DetectionPredictions,
    PartPredictions,
    build_part,
    save_predictions,
    whole_scenes,
)
from bench.detection.submission.submission import read_submission
from bench.detection.tiles.tiling import boxes_in
from bench.execution.records import PREDICTIONS, predictions_left
from bench.execution.task import Job
from bench.tasks.data import LoadedScenes


def predict_cell(job: Job, data: LoadedScenes, detector: Detector) -> dict[str, Any]:
    """Predict the validation and test scenes and write the predictions file; return facts for the record."""
    validation, _ = _predict_part(job, data.validation, detector)
    test, cost = _predict_part(job, data.test, detector)
    return _write(job, data, validation, test, {"cost": cost})


def predict_submission(job: Job, data: LoadedScenes) -> dict[str, Any]:
    """Take the test scenes' boxes from the results file of another tool.

    Raises:
        BenchError: the file is no results file of these scenes (`bench.detection.submission.submission`).
    """
    scenes = [data.test.item(k) for k in range(len(data.test))]
    submitted = read_submission(job.cell, scenes, data.plan.identity())
    return _write(job, data, [], whole_scenes(submitted.detections), submitted.facts)


def _predict_part(job: Job, view: SceneView, detector: Detector) -> tuple[list[ScenePrediction], dict[str, float]]:
    """Return the predictions of the scenes in `view`, and how long a megapixel took."""
    out, pixels, started = [], 0, time.monotonic()
    if not len(view):
        return [], {}
    with job.context.progress.bar("detect", len(view), unit="scene") as bar:
        for k in range(len(view)):
            image = np.asarray(view.image(k))
            found = detector.predict(image)
            if found.merged.boxes.size and _outside(found.merged.boxes, *image.shape):
                raise BenchError(f"{type(detector).__name__} returned a box outside scene {view.ids[k]} {image.shape}")
            out.append(found)
            pixels += image.size
            bar.advance()
    return out, {"megapixels_per_second": pixels / 1e6 / max(time.monotonic() - started, 1e-9)}


def _outside(boxes: np.ndarray, height: int, width: int) -> bool:
    return bool(((boxes[:, 2:] <= 0) | (boxes[:, :2] >= (width, height))).any())


def _write(
    job: Job,
    data: LoadedScenes,
    validation: Sequence[ScenePrediction],
    test: Sequence[ScenePrediction],
    facts: dict[str, Any],
) -> dict[str, Any]:
    spec = job.cell.spec
    visible = spec["dataset"]["tiles"]["min_visible"]
    parts = [
        _part(job, data.part(name), found, visible) for name, found in (("validation", validation), ("test", test))
    ]
    tiled = any(len(part.tile_scene) for part in parts)
    save_predictions(job.folder / PREDICTIONS, DetectionPredictions(parts[0], parts[1], visible if tiled else None))
    return {**facts, **predictions_left(job.folder)}


def _part(job: Job, view: SceneView, found: Sequence[ScenePrediction], visible: float) -> PartPredictions:
    """Return one part of the file; a part that was not predicted (the validation of a submission) is empty."""
    protocol = job.cell.spec["protocol"]
    scenes = [view.item(k) for k in range(len(found))]
    floored = [_floored(each, protocol["score_floor"]) for each in found]
    truth = [
        [boxes_in(window, scene.boxes, scene.ignore, visible) for window in each.tiles]
        for scene, each in zip(scenes, found, strict=True)
    ]
    strata = [scene.attributes.get(protocol["strata"] or "", "") for scene in scenes]
    return build_part(scenes, floored, strata, truth)


def _floored(found: ScenePrediction, floor: float) -> ScenePrediction:
    def above(each: Detections) -> Detections:
        return each.take(each.scores >= floor) if floor > 0 else each

    return ScenePrediction(above(found.merged), found.tiles, tuple(above(each) for each in found.per_tile))
