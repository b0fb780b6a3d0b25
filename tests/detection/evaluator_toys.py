"""Random scenes with truth and detections for the evaluator's tests, and the reference implementations that it is
compared with.

All coordinates are multiples of 1/4, so every implementation computes the same IoU to the last bit.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.data.ships.index import ShipScene
from bench.detection.detectors.base import Detections

Truth = list[tuple[np.ndarray, np.ndarray]]


def random_scenes(
    seed: int,
    scenes: int = 8,
    most_ships: int = 12,
    most_found: int = 60,
    levels: int | None = None,
    ignored: float = 0.15,
) -> tuple[Truth, list[Detections]]:
    """Return truth and detections of some scenes; `levels` is the number of different scores (None: all differ)."""
    rng = np.random.default_rng(seed)
    truth: Truth = []
    found: list[Detections] = []
    for _ in range(scenes):
        boxes = _boxes(rng, int(rng.integers(0, most_ships + 1)))
        truth.append((boxes, rng.random(len(boxes)) < ignored))
        count = int(rng.integers(0, most_found + 1))
        near = boxes[rng.integers(0, len(boxes), count)] if len(boxes) else _boxes(rng, count)
        shift = np.round(rng.normal(0, 0.06, (count, 4)) * np.tile(near[:, 2:] - near[:, :2], 2) * 4) / 4
        near = near + shift
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        stray = rng.random(count) < 0.4
        near[stray] = _boxes(rng, int(stray.sum()))
        found.append(Detections(near, np.zeros(count)))
    total = sum(map(len, found))
    scores = rng.permutation(total) / max(total, 1) if levels is None else rng.integers(0, levels, total) / levels
    parts = np.split(scores.astype(np.float64), np.cumsum([len(each) for each in found])[:-1])
    return truth, [Detections(each.boxes, part) for each, part in zip(found, parts, strict=True)]


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes of all sizes in a scene of 800 x 800; some of exactly 32 x 32 and 96 x 96, the bounds of the size
    ranges.
    """
    size = np.round(np.exp(rng.uniform(np.log(8), np.log(220), (count, 2))) * 4) / 4
    bound = rng.random(count)
    size[bound < 0.08] = 32
    size[bound > 0.92] = 96
    low = np.round(rng.uniform(0, 400, (count, 2)) * 4) / 4
    return np.concatenate([low, low + size], axis=1)


def as_scenes(truth: Truth, side: int = 800) -> tuple[ShipScene, ...]:
    """Return truth as the scenes of an index, with alternating shore and two scenes a group."""
    return tuple(
        ShipScene(
            f"scene-{i}", f"images/scene-{i}.png", 10 + i, side, side, *each, f"port-{i // 2}", {"shore": shore_of(i)}
        )
        for i, each in enumerate(truth)
    )


def shore_of(i: int) -> str:
    return "inshore" if i % 2 else "offshore"


def coco_reference(truth: Truth, found: Sequence[Detections], coco: Any, evaluate: Any) -> dict[str, float]:
    """Return AP (mean), AP50, AP75 for each size by a COCO implementation, -1 where there is no ship; detections are
    not capped.
    """
    gt, count = coco(), 0
    annotations = []
    for image, (boxes, ignore) in enumerate(truth):
        for box, flag in zip(boxes.tolist(), ignore.tolist(), strict=True):
            count += 1
            annotations.append({"id": count, "image_id": image, "category_id": 1, **_bbox(box), "iscrowd": int(flag)})
    images = [{"id": i, "height": 800, "width": 800} for i in range(len(truth))]
    gt.dataset = {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "ship"}]}
    results = [
        {"image_id": image, "category_id": 1, "bbox": _bbox(box)["bbox"], "score": score}
        for image, each in enumerate(found)
        for box, score in zip(each.boxes.tolist(), each.scores.tolist(), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        gt.createIndex()
        run = evaluate(gt, gt.loadRes(results), "bbox")
        run.params.maxDets = [1, 10, 1_000_000]
        run.evaluate()
        run.accumulate()
    precision = np.asarray(run.eval["precision"])[:, :, 0, :, 2]
    out: dict[str, float] = {}
    for a, size in enumerate(("all", "small", "medium", "large")):
        out |= {
            f"{size}.mean": precision[:, :, a].mean(),
            f"{size}.50": precision[0, :, a].mean(),
            f"{size}.75": precision[5, :, a].mean(),
        }
    return out


def _bbox(box: list[float]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}


def voc_reference(truth: Truth, found: Sequence[Detections], iou: float = 0.5) -> tuple[float | None, float | None]:
    """Return AP by area and by 11 points with plain loops, after the definition of the VOC devkit, coordinates
    continuous.
    """
    ranked = [(-score, i, k) for i, each in enumerate(found) for k, score in enumerate(each.scores.tolist())]
    ranked.sort(key=lambda entry: entry[0])
    taken: set[tuple[int, int]] = set()
    positives = sum(int((~ignore).sum()) for _, ignore in truth)
    if not positives:
        return None, None
    tp = fp = 0
    points = []  # (tp, precision) after each detection
    for _, i, k in ranked:
        boxes, ignore = truth[i]
        best, at = -1.0, -1
        for j, box in enumerate(boxes.tolist()):
            overlap = _iou(found[i].boxes[k].tolist(), box)
            if overlap > best:
                best, at = overlap, j
        if best >= iou:
            if ignore[at]:
                continue
            if (i, at) in taken:
                fp += 1
            else:
                tp += 1
                taken.add((i, at))
        else:
            fp += 1
        points.append((tp, tp / (tp + fp)))
    area = 0.0
    for count in range(1, positives + 1):
        area += max((precision for reached, precision in points if reached >= count), default=0.0) / positives
    eleven = 0.0
    for i in range(11):
        eleven += max((precision for reached, precision in points if 10 * reached >= i * positives), default=0.0) / 11
    return area, eleven


def _iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
