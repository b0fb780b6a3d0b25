"""Networks, scenes and setups small enough to train an mmdet detector in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scene_toys import view_of

from bench.core.context import ExecutionContext
from bench.core.progress import Progress
from bench.data.scaling import ScalingParams
from bench.data.ships.view import SceneView
from bench.detection.detectors.base import FitData, Setup
from bench.detection.detectors.mmdet.base import MmdetDetector
from bench.detection.detectors.mmdet.faster_rcnn import FasterRcnn
from bench.detection.detectors.mmdet.yolov3 import YoloV3
from bench.detection.spec import Merging, Tiles

SIZE = 96
SMALL: dict[str, Any] = {
    "fpn_channels": 16, "rpn_channels": 16, "roi_fc": 32, "roi_samples": 32, "train_proposals": 50, "test_proposals": 50,
    "anchor_scales": (4.0,),
}  # fmt: skip
TRAINING: dict[str, Any] = {"per_epoch": 6, "epochs": 2, "batch_size": 3}


def ship_scenes(folder: Path, scenes: int = 2, empty: int = 1) -> SceneView:
    """Scenes of 160 x 200 px, uint8: bright rectangles, two to a scene, on dark noise; the last `empty` ones
    without.
    """
    rng = np.random.default_rng(5)
    images, boxes = [], []
    for number in range(scenes + empty):
        image = rng.integers(0, 40, (160, 200)).astype(np.uint8)
        own = []
        if number < scenes:
            for left in (20, 110):
                x, y, w, h = (
                    left + int(rng.integers(30)),
                    int(rng.integers(10, 110)),
                    int(rng.integers(16, 30)),
                    int(rng.integers(12, 26)),
                )
                image[y : y + h, x : x + w] = rng.integers(190, 255)
                own.append([x, y, x + w, y + h])
        images.append(image)
        boxes.append(own)
    return view_of(folder, images, boxes)


def context_of(folder: Path, lines: list[str] | None = None, workers: int = 0) -> ExecutionContext:
    folder.mkdir(parents=True, exist_ok=True)
    log = (lambda text: None) if lines is None else lines.append
    return ExecutionContext(folder, folder, "cpu", 1, workers, log, Progress(log))


def prepared(detector: MmdetDetector, backbone: str, context: ExecutionContext) -> MmdetDetector:
    tiles = Tiles(size_px=SIZE, overlap_px=32, min_visible=0.5)
    detector.prepare(Setup(backbone, ScalingParams("uint8", 1, 0.0, 255.0), tiles, Merging.model_validate({}), context))
    return detector


def faster_rcnn(context: ExecutionContext, backbone: str = "resnet18", **options: Any) -> MmdetDetector:
    return prepared(FasterRcnn(FasterRcnn.Options(**{**SMALL, **TRAINING, **options})), backbone, context)


def yolov3(context: ExecutionContext, **options: Any) -> MmdetDetector:
    return prepared(YoloV3(YoloV3.Options(**{**TRAINING, **options})), "darknet53", context)


def fit_data(train: SceneView, seed: int = 0, **changes: Any) -> FitData:
    return FitData(train=train, validation=train.subset(np.zeros(0, dtype=np.int64)), seed=seed, **changes)


def batch_of(
    boxes: list[list[list[float]]], ignored: list[list[list[float]]] | None = None, size: int = SIZE, seed: int = 0
) -> dict[str, Any]:
    """A training batch: noise with a bright rectangle at every box."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.2 * torch.rand(len(boxes), size, size, generator=generator)
    for image, own in zip(images, boxes, strict=True):
        for x1, y1, x2, y2 in own:
            image[int(y1) : int(y2), int(x1) : int(x2)] = 0.9
    aside = ignored or [[] for _ in boxes]
    return {
        "image": images,
        "boxes": [torch.tensor(own).reshape(-1, 4) for own in boxes],
        "ignored": [torch.tensor(own).reshape(-1, 4) for own in aside],
    }


def total(values: dict[str, Any]) -> torch.Tensor:
    """Sum what has "loss" in its name, as `bench.training.api` does."""
    parts = [
        value if isinstance(value, torch.Tensor) else sum(value) for name, value in values.items() if "loss" in name
    ]
    return torch.stack([torch.as_tensor(part) for part in parts]).sum()
