"""COCO files at the border to other tools: reading a results file of any detector, writing ours, and the truth to go with it.

A results file is a JSON list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}, in pixels of the whole image, origin
at the top-left corner of the top-left pixel, continuous, no +1. Inside the house boxes are x1, y1, x2, y2.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bench.data.ships.index import ShipScene
from bench.detection.detector import Detections
from bench.errors import BenchError, first_line, nearest
from bench.store import write_text

CATEGORY = {"id": 1, "name": "ship", "supercategory": "object"}

_EXPECTED = 'expected a JSON list of {"image_id", "bbox": [x, y, width, height], "score"}'
_SUSPECT = 0.25  # share of boxes that must make sense as corners only; ships all over an image give three quarters
_FAR = 1e9  # pixels; no scene is so large


def read_coco_results(path: Path, scenes: Sequence[ShipScene], category: int | None = None) -> list[Detections]:
    """Read a results file; return the detections of each scene, in the order of the file.

    A scene without entry is a scene without detection; an empty list is legal; equal entries all count. Boxes that reach beyond the image
    are kept as they are.

    Args:
        scenes: of the test part. An entry's "image_id" is a scene's `image_id` where it is a number. A text is its id, else its image file
            (path, name, or name without suffix), else the digits of its `image_id`.
        category: keep the entries of this "category_id" alone; None where the file has only one.

    Raises:
        BenchError: no such list, unknown images, several categories, or boxes or scores that cannot be meant so. The message names
            the entry by its position from 0.
    """
    entries = _chosen_category(_read_list(path), category, path)
    if not entries:
        return [Detections.none() for _ in scenes]
    scene = _find_scenes(entries, scenes, path)
    numbers = _numbers(entries, path)
    size = np.array([[each.width, each.height] for each in scenes], dtype=np.float64)[scene]
    boxes = _checked_boxes(numbers[:, :4], size, path)
    order = np.argsort(scene, kind="stable")
    ends = np.searchsorted(scene[order], np.arange(len(scenes) + 1))
    return [Detections(boxes[order[a:b]], numbers[order[a:b], 4]) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def write_coco_results(path: Path, scenes: Sequence[ShipScene], found: Sequence[Detections]) -> None:
    """Write detections of scenes as a results file with integer image ids.

    Reading it gives the same boxes to the last bit where corners are not negative and have the precision of float32, as those of networks.
    Else x2 and y2 may come back rounded (2.3e-16 of the largest corner), and a number differs only where an IoU lies that near a threshold.

    Raises:
        BenchError: two numbers of scenes, or the file cannot be written.
    """
    if len(scenes) != len(found):
        raise BenchError(f"{len(scenes)} scenes but detections of {len(found)}; they must be the same scenes")
    entries = [
        {"image_id": scene.image_id, "category_id": CATEGORY["id"], "bbox": box, "score": score}
        for scene, each in zip(scenes, found, strict=True)
        for box, score in zip(to_xywh(each.boxes).tolist(), np.asarray(each.scores, dtype=np.float64).tolist(), strict=True)
    ]
    write_text(path, json.dumps(entries, allow_nan=False) + "\n")


def write_coco_truth(path: Path, scenes: Sequence[ShipScene]) -> None:
    """Write scenes and their ships as a COCO annotation file, so that they can be scored elsewhere: area of the box, ignored as crowd."""
    annotations: list[dict[str, Any]] = []
    for scene in scenes:
        for box, ignore in zip(to_xywh(scene.boxes).tolist(), scene.ignore.tolist(), strict=True):
            one = {
                "id": len(annotations) + 1,
                "image_id": scene.image_id,
                "category_id": CATEGORY["id"],
            }  # from 1: 0 means "none" elsewhere
            annotations.append(one | {"bbox": box, "area": box[2] * box[3], "iscrowd": int(ignore)})
    images = [{"id": scene.image_id, "file_name": scene.image, "height": scene.height, "width": scene.width} for scene in scenes]
    text = json.dumps({"info": {}, "images": images, "annotations": annotations, "categories": [CATEGORY]}, allow_nan=False)
    write_text(path, text + "\n")


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Return boxes (n, 4) x1, y1, x2, y2 as x, y, width, height."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _read_list(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_bytes())
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not valid JSON ({first_line(error)}); is it whole? {_EXPECTED}") from error
    if isinstance(entries, dict) and "annotations" in entries:
        raise BenchError(f"{path} is a COCO annotation file, not a results file; {_EXPECTED}")
    if not isinstance(entries, list):
        raise BenchError(f"{path} holds a JSON {type(entries).__name__}; {_EXPECTED}")
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise BenchError(f"{path}: entry {i} is a {type(entry).__name__}; {_EXPECTED}")
        for key in ("image_id", "bbox", "score"):
            if key not in entry:
                raise BenchError(f"{path}: entry {i} has no {key!r}{nearest(key, map(str, entry))}; {_EXPECTED}")
    return entries


def _chosen_category(entries: list[dict[str, Any]], category: int | None, path: Path) -> list[dict[str, Any]]:
    """Return the entries of one category."""
    names = [json.dumps(entry.get("category_id")) for entry in entries]
    counts = Counter(names)
    told = ", ".join(f"{name} ({number} boxes)" for name, number in sorted(counts.items()))
    if category is None:
        if len(counts) > 1:
            raise BenchError(f"{path} has boxes of several categories: {told}; choose the ships' category")
        return entries
    if entries and json.dumps(category) not in counts:
        raise BenchError(f"{path} has no box of category {category}; it has {told}")
    return [entry for entry, name in zip(entries, names, strict=True) if name == json.dumps(category)]


def _find_scenes(entries: Sequence[dict[str, Any]], scenes: Sequence[ShipScene], path: Path) -> np.ndarray:
    """Return the position of each entry's scene, (n,) int64."""
    numbers = {scene.image_id: i for i, scene in enumerate(scenes)}
    digits = {str(number): i for number, i in numbers.items()}
    names: dict[str, set[int]] = {}
    for i, scene in enumerate(scenes):
        file = PurePosixPath(scene.image)
        for name in (scene.id, scene.image, file.name, file.stem):
            names.setdefault(name, set()).add(i)
    ids = {scene.id: i for i, scene in enumerate(scenes)}
    out = np.zeros(len(entries), dtype=np.int64)
    for i, entry in enumerate(entries):
        wanted = entry["image_id"]
        found: int | None = None
        if isinstance(wanted, str):
            several = names.get(wanted, set())
            found = ids.get(wanted, next(iter(several)) if len(several) == 1 else digits.get(wanted))
            if found is None and several:
                raise BenchError(f"{path}: entry {i}: {len(several)} test scenes are called {wanted!r}; use their ids")
        elif _is_finite(wanted):
            found = numbers.get(int(wanted)) if wanted == int(wanted) else None
        if found is None:
            known = (*names, *digits) if isinstance(wanted, str) else tuple(digits)
            told = f"unknown image_id {_short(wanted)} among the {len(scenes)} test scenes{nearest(str(wanted), known)}"
            raise BenchError(f"{path}: entry {i}: {told}")
        out[i] = found
    return out


def _numbers(entries: Sequence[dict[str, Any]], path: Path) -> np.ndarray:
    """Return x, y, width, height and score of every entry, (n, 5) float64."""
    out = np.empty((len(entries), 5))
    for i, entry in enumerate(entries):
        box, score = entry["bbox"], entry["score"]
        if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(value) and abs(value) < _FAR for value in box):
            raise BenchError(f"{path}: entry {i}: bbox is {_short(box)}; expected four finite numbers x, y, width, height")
        if not _is_finite(score):
            raise BenchError(f"{path}: entry {i}: score is {_short(score)}; expected a finite number, higher is surer")
        out[i] = (*box, score)
    return out


def _is_finite(value: Any) -> bool:
    """Whether a JSON value is a number that fits into float64; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _checked_boxes(xywh: np.ndarray, size: np.ndarray, path: Path) -> np.ndarray:
    """Return the boxes as x1, y1, x2, y2, (n, 4).

    Args:
        size: (n, 2) width and height of each entry's image.

    Raises:
        BenchError: many boxes make sense as x1, y1, x2, y2 only, or all as shares of the image only; or a box without area or outside
            its image.
    """
    low, second = xywh[:, :2], xywh[:, 2:]
    high = low + second
    beyond = (high > size + 1).any(axis=1)
    as_corners = (low >= -1).all(axis=1) & (second > low).all(axis=1) & (second <= size + 1).all(axis=1)
    if (beyond & as_corners).mean() > _SUSPECT:
        share = f"{int((beyond & as_corners).sum())} of {len(xywh)} boxes leave their image as x, y, width, height"
        raise BenchError(f"{path}: bbox looks like x1, y1, x2, y2: {share}; write [x1, y1, x2 - x1, y2 - y1]")
    if high.max() <= 1 and second.max() < 1 and size.min() > 1:
        raise BenchError(f"{path}: bbox looks like shares of the image: no box is a pixel wide; multiply by the image's width and height")
    flat = np.flatnonzero(~((second > 0).all(axis=1) & (high > low).all(axis=1)))
    if len(flat):
        raise BenchError(
            f"{path}: entry {flat[0]}: bbox {_short(xywh[flat[0]].tolist())} has no area; expected x, y, width > 0, height > 0"
        )
    outside = np.flatnonzero((high <= 0).any(axis=1) | (low >= size).any(axis=1))
    if len(outside):
        width, height = size[outside[0]].astype(int).tolist()
        box = _short(xywh[outside[0]].tolist())
        told = f"bbox {box} lies outside its image, {width} wide and {height} high"
        raise BenchError(f"{path}: entry {outside[0]}: {told}; boxes are in pixels of the whole scene")
    return np.concatenate([low, high], axis=1)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
