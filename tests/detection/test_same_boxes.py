"""The same boxes as mmdet, ultralytics and a COCO file hold them give the same numbers, to the last digit."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_files import read_coco_results
from evaluator_toys import as_scenes, random_scenes

from bench.detection.detectors.base import Detections
from bench.detection.scoring.evaluator import IOUS, SIZES, BoxTable, ap_from_matches, match, mean_ap_from_matches

SIDE = 800


def numbers(truth: Any, found: Sequence[Detections]) -> dict[str, float | None]:
    table = BoxTable.of(truth, found)
    coco, voc = match(table, "coco", IOUS, tuple(SIZES)), match(table, "voc", (0.5,))
    out = {f"coco/{size}": mean_ap_from_matches(coco, size) for size in SIZES}
    return out | {"voc/area": ap_from_matches(voc, "area"), "voc/11": ap_from_matches(voc, "11-point")}


@pytest.fixture(scope="module")
def case() -> tuple[Any, list[Detections]]:
    truth, found = random_scenes(3, scenes=6, ignored=0.0)
    clipped = [Detections(np.clip(each.boxes, 0, SIDE), each.scores) for each in found]
    order = [np.argsort(-each.scores, kind="stable") for each in clipped]
    good = [each.take(which) for each, which in zip(clipped, order, strict=True)]
    return truth, [each.take(np.all(each.boxes[:, 2:] > each.boxes[:, :2], axis=1)) for each in good]


def by_mmdet(found: Sequence[Detections]) -> list[Detections]:
    """Through mmdet's own result type and the adapter that every mmdet detector here ends in."""
    from bench.detection.detectors.mmdet import mmcv_bridge

    mmcv_bridge.install()
    from mmengine.structures import InstanceData

    from bench.detection.detectors.mmdet.base import MmdetOptions
    from bench.detection.detectors.mmdet.models import DetectorNetwork

    network = DetectorNetwork(torch.nn.Identity(), "resnet18", MmdetOptions.model_construct(score_floor=0.0), {})
    out = []
    for each in found:
        instances = InstanceData(bboxes=torch.from_numpy(each.boxes), scores=torch.from_numpy(each.scores))
        out.append(network._detections(instances, SIDE, SIDE))
    return out


def by_ultralytics(found: Sequence[Detections]) -> list[Detections]:
    """Through the rows that an ultralytics head gives: x, y, width, height, score of every anchor."""
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("needs the extra ultralytics")
    from bench.detection.detectors.ultralytics.base import Yolo11Options
    from bench.detection.detectors.ultralytics.models import UltralyticsNetwork, library

    library()
    options = Yolo11Options(score_floor=1e-9, nms_iou=0.999999, max_per_tile=10_000)
    network = UltralyticsNetwork(torch.nn.Identity(), options)
    out = []
    for each in found:
        x1, y1, x2, y2 = torch.from_numpy(each.boxes).T
        row = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, torch.from_numpy(each.scores)])
        out.append(network._detections(row, SIDE, SIDE))
    return out


def by_coco(truth: Any, found: Sequence[Detections], folder: Path) -> list[Detections]:
    scenes = as_scenes(truth, SIDE)
    rows = [
        {"image_id": scene.image_id, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for scene, each in zip(scenes, found, strict=True)
        for (x1, y1, x2, y2), score in zip(each.boxes.tolist(), each.scores.tolist(), strict=True)
    ]
    (folder / "results.json").write_text(json.dumps(rows))
    return read_coco_results(folder / "results.json", scenes)


def test_three_ways_one_number(case: tuple[Any, list[Detections]], tmp_path: Path) -> None:
    truth, found = case
    found = [each.take(each.scores > 0) for each in found]
    assert sum(map(len, found)) > 100
    wanted = numbers(truth, found)
    assert all(value is not None and 0 < value < 1 for value in wanted.values())
    assert numbers(truth, by_mmdet(found)) == wanted
    assert numbers(truth, by_ultralytics(found)) == wanted
    assert numbers(truth, by_coco(truth, found, tmp_path)) == wanted


def test_mmdets_own_evaluator_agrees_on_the_coco_numbers(case: tuple[Any, list[Detections]], tmp_path: Path) -> None:
    from bench.detection.detectors.mmdet import mmcv_bridge

    mmcv_bridge.install()
    from mmdet.evaluation import CocoMetric

    truth, found = case
    scenes = as_scenes(truth, SIDE)
    boxes = [
        {"id": 100 * k + i, "image_id": scene.image_id, "category_id": 1, "iscrowd": 0, "area": (b[2] - b[0]) * (b[3] - b[1]),
         "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]]}
        for k, (scene, (own, _)) in enumerate(zip(scenes, truth, strict=True)) for i, b in enumerate(own.tolist(), start=1)
    ]  # fmt: skip
    images = [{"id": scene.image_id, "height": SIDE, "width": SIDE, "file_name": scene.image} for scene in scenes]
    content = {"info": {}, "images": images, "annotations": boxes, "categories": [{"id": 1, "name": "ship"}]}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        metric = CocoMetric(str(tmp_path / "truth.json"), metric="bbox", proposal_nums=(100, 300, 10_000))
        metric.dataset_meta = {"classes": ("ship",)}
        for scene, each in zip(scenes, found, strict=True):
            labels = torch.zeros(len(each), dtype=torch.int64)
            instances = {
                "bboxes": torch.from_numpy(each.boxes),
                "scores": torch.from_numpy(each.scores),
                "labels": labels,
            }
            sample = {"img_id": scene.image_id, "ori_shape": (SIDE, SIDE), "pred_instances": instances}
            metric.process({}, [sample])
        theirs = metric.evaluate(len(scenes))
    ours = numbers(truth, found)
    for name, size in (("mAP", "all"), ("mAP_s", "small"), ("mAP_m", "medium"), ("mAP_l", "large")):
        assert theirs[f"coco/bbox_{name}"] == pytest.approx(ours[f"coco/{size}"], abs=0.0006), (
            "mmdet rounds to three digits"
        )
