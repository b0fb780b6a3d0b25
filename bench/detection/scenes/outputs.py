"""What was found in scenes, as files for other tools: COCO results, CSV, GeoJSON, and a reduced picture with boxes.

The same detections give the same bytes: no time, no folder and no machine stands in them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.store import atomic_write, write_text
from bench.detection.detectors.base import Detections
from bench.detection.scenes.geo import Georeference, feature_collection
from bench.detection.scenes.scene_reader import SceneReader
from bench.detection.submission.coco_results import CATEGORY, to_xywh

FORMATS = ("coco", "csv", "geojson")
COCO, CSV = "detections.json", "detections.csv"
QUICKLOOK_PX = 1600
_SAMPLE_ROWS, _BLOCK_PIXELS = 64, 16_000_000
_DARK, _BRIGHT = 1.0, 99.5  # percentiles that become black and white in a picture
_COLOUR = (255, 64, 32)


@dataclass(frozen=True, eq=False)
class SceneDetections:
    """A scene's detections that are to be written.

    Attributes:
        name: unique short name, of its own files. file_name: of the image, with folders before it where names alone are
            not unique.
        geo: where its pixels lie, None where unknown.
    """

    name: str
    file_name: str
    height: int
    width: int
    geo: Georeference | None
    detections: Detections


def write_outputs(
    folder: Path, scenes: Sequence[SceneDetections], formats: Sequence[str], about: Mapping[str, Any]
) -> list[Path]:
    """Write the files of the formats, of all scenes together or one for each (GeoJSON); return their paths.

    Args:
        about: what the detections are made of, for files that can say it.
    """
    out = []
    if "coco" in formats:
        write_coco(folder / COCO, scenes, about)
        out.append(folder / COCO)
    if "csv" in formats:
        write_csv(folder / CSV, scenes)
        out.append(folder / CSV)
    for scene in scenes if "geojson" in formats else ():
        path = folder / f"{scene.name}.geojson"
        boxes, scores = scene.detections.boxes, scene.detections.scores
        write_text(
            path, json.dumps(feature_collection(scene.name, boxes, scores, scene.geo, about), allow_nan=False) + "\n"
        )
        out.append(path)
    return out


def write_coco(path: Path, scenes: Sequence[SceneDetections], about: Mapping[str, Any]) -> None:
    """Write COCO results with the list of images: every image that was looked at stands in it, those without a
    detection too.

    Boxes are x, y, width, height in pixels of the whole scene, continuous, origin at the top-left corner of the
    top-left pixel.
    """
    images = [
        {"id": number, "file_name": scene.file_name, "height": scene.height, "width": scene.width}
        for number, scene in enumerate(scenes, start=1)
    ]
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        boxes = to_xywh(scene.detections.boxes).tolist()
        for box, score in zip(boxes, scene.detections.scores.tolist(), strict=True):
            entry = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": CATEGORY["id"],
                "bbox": box,
                "score": score,
            }
            annotations.append(entry | {"area": box[2] * box[3], "iscrowd": 0})
    text = json.dumps(
        {"info": dict(about), "images": images, "annotations": annotations, "categories": [CATEGORY]}, allow_nan=False
    )
    write_text(path, text + "\n")


def write_csv(path: Path, scenes: Sequence[SceneDetections]) -> None:
    """Write a table with a row for each detection, and one with an empty box for each scene without.

    Columns: file_name; x1, y1, x2, y2 in pixels; score. Where a scene has a coordinate reference system, also crs and
    the coordinates of the box's centre in it.
    """
    placed = any(scene.geo is not None for scene in scenes)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["file_name", "x1", "y1", "x2", "y2", "score", *(["crs", "centre_x", "centre_y"] if placed else [])]
    )
    for scene in scenes:
        boxes, scores = scene.detections.boxes, scene.detections.scores
        if not len(scores):
            writer.writerow([scene.file_name, "", "", "", "", "", *(["", "", ""] if placed else [])])
            continue
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        where = scene.geo.at(centres).tolist() if scene.geo else [["", ""]] * len(boxes)
        crs = scene.geo.crs if scene.geo else ""
        for box, score, at in zip(boxes.tolist(), scores.tolist(), where, strict=True):
            writer.writerow([scene.file_name, *map(repr, box), repr(score), *([crs, *at] if placed else [])])
    write_text(path, stream.getvalue())


def write_quicklook(path: Path, reader: SceneReader, boxes: np.ndarray) -> None:
    """Write a reduced picture of a scene (PNG, the longer side 1600 px at most) with its boxes (n, 4), reading it in
    blocks of rows.

    A pixel of the picture is the mean of a square of the scene; boxes smaller than 5 px there are drawn larger.
    """
    from PIL import Image, ImageDraw

    step = -(-max(reader.height, reader.width) // QUICKLOOK_PX)
    low, high = _range(reader)
    rows = max(1, _BLOCK_PIXELS // (reader.width * step)) * step
    parts = []
    for top in range(0, reader.height, rows):
        values, known = reader.read((top, 0, min(rows, reader.height - top), reader.width), 0)
        grey = np.clip((values.astype(np.float32) - low) / (high - low), 0.0, 1.0)
        grey[~known] = 0.0
        at = [np.arange(0, length, step) for length in grey.shape]
        total = np.add.reduceat(np.add.reduceat(grey, at[0], axis=0), at[1], axis=1)
        number = np.outer(*(np.diff([*starts, length]) for starts, length in zip(at, grey.shape, strict=True)))
        parts.append(np.rint(255 * total / number).astype(np.uint8))
    picture = Image.fromarray(np.concatenate(parts)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    for x1, y1, x2, y2 in (boxes / step).tolist():
        middle, half = ((x1 + x2) / 2, (y1 + y2) / 2), (max(x2 - x1, 5.0) / 2, max(y2 - y1, 5.0) / 2)
        pen.rectangle(
            [middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]], outline=_COLOUR
        )
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG")


def _range(reader: SceneReader) -> tuple[float, float]:
    """Return the values that become black and white, out of rows all over the scene."""
    kept = []
    for y in range(0, reader.height, max(1, reader.height // _SAMPLE_ROWS)):
        values, known = reader.read((y, 0, 1, reader.width), 0)
        kept.append(values[known])
    used = np.concatenate(kept).astype(np.float64)
    if not used.size:
        return 0.0, 1.0
    low, high = np.percentile(used, [_DARK, _BRIGHT]).tolist()
    return float(low), float(high if high > low else low + 1.0)
