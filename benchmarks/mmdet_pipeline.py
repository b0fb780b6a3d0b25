"""The other side of `detection.py`: training an mmdet detector the way mmdet's own `tools/train.py` does, from tiles as
image files.

`Runner` with its default hooks, `CocoDataset` with the stock pipeline (read the file, load the annotations, flip,
pack), mmdet's `DetDataPreprocessor`, `EpochBasedTrainLoop`, `OptimWrapper` with gradient clipping. The network is the
one that was handed in.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.training.spec import TrainSpec
from benchmarks.step_times import wait_for

Tile = tuple[np.ndarray, np.ndarray]
"""(size, size) uint8 and boxes (k, 4) x1, y1, x2, y2."""


def write_tiles(folder: Path, tiles: Sequence[Tile]) -> None:
    """Write `tiles` as JPEG files of three equal channels with COCO annotations, as HRSID and SARDet-100K are
    distributed.
    """
    from PIL import Image

    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, (pixels, boxes) in enumerate(tiles):
        name = f"{number:06d}.jpg"
        Image.fromarray(np.repeat(pixels[:, :, None], 3, axis=2)).save(folder / "images" / name, quality=95)
        images.append({"id": number, "file_name": name, "height": pixels.shape[0], "width": pixels.shape[1]})
        for x1, y1, x2, y2 in boxes.tolist():
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0, **box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "ship"}]}
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")


def dataset_of(folder: Path) -> dict[str, Any]:
    """Return mmdet's configuration of the data set in `folder`, with the stock training pipeline."""
    pipeline = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PackDetInputs"},
    ]
    return {
        "type": "CocoDataset",
        "data_root": str(folder),
        "ann_file": "annotations.json",
        "data_prefix": {"img": "images/"},
        "metainfo": {"classes": ("ship",), "palette": [(220, 20, 60)]},
        "filter_cfg": {"filter_empty_gt": False},
        "pipeline": pipeline,
    }


def read_by_mmdet(folder: Path, tiles: int) -> Callable[[], None]:
    """Return what reads `tiles` tiles once through mmdet's pipeline, in this process."""
    import mmdet.datasets  # noqa: F401 - fills the registry
    from mmdet.registry import DATASETS

    dataset = DATASETS.build(dataset_of(folder))

    def read() -> None:
        for i in range(tiles):
            dataset[i % len(dataset)]

    return read


def with_stock_roi_align(model: Any) -> Any:
    """Return an mmdet detector with mmcv's own RoIAlign where ours stands in a RoI extractor: the same numbers, on one
    core.
    """
    from mmcv.ops import RoIAlign
    from torch import nn

    extractor = getattr(getattr(model, "roi_head", None), "bbox_roi_extractor", None)
    if extractor is not None:
        old = list(extractor.roi_layers)
        new = [
            RoIAlign(each.output_size, each.spatial_scale, each.sampling_ratio, use_torchvision=True) for each in old
        ]
        extractor.roi_layers = nn.ModuleList(new)
    return model


def train_by_mmdet(
    model: Any,
    spec: TrainSpec,
    mean: Sequence[float],
    std: Sequence[float],
    folder: Path,
    workers: int,
    threads: int,
    device: str,
) -> float:
    """Train `model` (an mmdet detector) for one epoch over the tiles in `folder`; return the mean seconds of a step
    after the first two.

    Args:
        spec: batch size, optimiser and clipping: what a detector learns decides how many proposals it has to look at.
        mean, std: of the input normalisation, of pixels in 0..255.
    """
    import torch
    from mmdet.models import DetDataPreprocessor
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    ends: list[float] = []

    class Clock(Hook):
        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            wait_for(device)
            ends.append(time.perf_counter())

    model.data_preprocessor = DetDataPreprocessor(list(mean), list(std), pad_size_divisor=32, bgr_to_rgb=True)
    runner = Runner(
        model=model.to(device),
        work_dir=str(folder / f"work{time.monotonic_ns()}"),
        train_dataloader={
            "batch_size": spec.batch_size,
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "batch_sampler": {"type": "AspectRatioBatchSampler"},
            "dataset": dataset_of(folder),
        },
        train_cfg={"by_epoch": True, "max_epochs": 1},
        optim_wrapper={
            "type": "OptimWrapper",
            "optimizer": dict(spec.optimizer),
            "clip_grad": None if spec.clip_norm is None else {"max_norm": spec.clip_norm},
        },
        default_hooks={"checkpoint": None},
        custom_hooks=[Clock()],
        default_scope="mmdet",
        log_level="ERROR",
        experiment_name=f"speed{time.monotonic_ns()}",
        randomness={"seed": 0},
    )
    torch.set_num_threads(threads)
    for handler in logging.getLogger("mmengine").handlers:
        handler.setLevel(logging.ERROR)
    runner.train()
    return (ends[-1] - ends[1]) / (len(ends) - 2)
