"""COCO files at the border to other tools: reading a results file of any detector, writing ours, and the truth to go
with it.

A results file is a JSON list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}, in pixels of the
whole image, origin at the top-left corner of the top-left pixel, continuous, no +1. Inside the house boxes are x1, y1,
x2, y2. A plain list does not say which images were looked at without finding anything; {"info": {}, "images": [12, 13],
"annotations": [the list]} does.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError, nearest
from bench.core.store import write_text
from bench.data.ships.fields import with_known_names
from bench.data.ships.index import ShipScene
from bench.detection.submission.results_file import FAR, SIZES, Results, results_of
from bench.detection.submission.scene_names import Called
from bench.submissions.sheets import as_number, make_sheet, read_json_file, short

CATEGORY = {"id": 1, "name": "ship", "supercategory": "object"}

_ENTRY = frozenset({"image_id", "file_name", "category_id", "bbox", "score"})
_LIST = 'a JSON list of {"image_id", "bbox": [x, y, width, height], "score"}'
_EXPECTED = f"expected {_LIST}"


def read_coco(path: Path) -> Results:
    """Read a results file, a plain list or one that lists its images, without laying it onto scenes.

    Raises:
        BenchError: neither of the two, or a box or score that is no finite number.
    """
    value = read_json_file(path, _EXPECTED)
    listed: list[Called] | None = None
    info: dict[str, Any] = {}
    if isinstance(value, dict) and isinstance(value.get("annotations"), list) and isinstance(value.get("images"), list):
        listed = [_listed(image, f"{path}: image {i} of its list") for i, image in enumerate(value["images"])]
        info = value["info"] if isinstance(value.get("info"), dict) else {}
        value = value["annotations"]
        if any(isinstance(entry, dict) and "bbox" in entry and "score" not in entry for entry in value):
            raise BenchError(
                f"{path} is a COCO annotation file, not a results file: its boxes have no score; {_EXPECTED}"
            )
    if not isinstance(value, list):
        raise BenchError(f"{path} holds a JSON {type(value).__name__}; {_EXPECTED}")
    value = [_entry(entry, f"{path}: entry {i}") for i, entry in enumerate(value)]
    columns = {
        "image_id": [entry.get("image_id") for entry in value],
        "file_name": [entry.get("file_name") for entry in value],
        **dict(zip([*SIZES.split(), "score"], _numbers(value, path).T.tolist(), strict=True)),
        "category_id": [json.dumps(entry.get("category_id")) for entry in value],
    }
    sheet = make_sheet(path, columns, "entry", 0, info)
    return results_of(sheet, "image_id", listed or (), complete=listed is not None)


def _entry(entry: Any, where: str) -> dict[str, Any]:
    """Return an entry with its known names in lower case. Raises BenchError where something is missing."""
    if not isinstance(entry, dict):
        raise BenchError(f"{where} is a {type(entry).__name__}; {_EXPECTED}")
    guarded = {"file_name"} if "category_id" in entry else {"file_name", "category_id"}
    plain = _known(entry, _ENTRY, guarded, where)
    for key in ("image_id", "bbox", "score"):
        if key not in plain and not (key == "image_id" and plain.get("file_name") is not None):
            raise BenchError(f"{where} has no {key!r}{nearest(key, map(str, plain))}; {_EXPECTED}")
    return plain


def _listed(image: Any, where: str) -> Called:
    """Return what an entry of the list of images calls its image: an object with `id` or `file_name`, or an id."""
    if not isinstance(image, dict):
        return Called(image)
    image = _known(image, frozenset({"id", "file_name"}), {"file_name"}, where)
    return Called(image.get("id"), image.get("file_name"))


def _known(item: dict[str, Any], known: frozenset[str], guarded: Collection[str], where: str) -> dict[str, Any]:
    try:
        plain = with_known_names(item, known, guarded)
    except BenchError as error:
        raise BenchError(f"{where} {error}") from error
    name = plain.get("file_name")
    if name is not None and not isinstance(name, str):
        raise BenchError(f"{where}: file_name is {short(name)}; expected a text")
    return plain


def write_coco_truth(path: Path, scenes: Sequence[ShipScene], info: Mapping[str, str] | None = None) -> None:
    """Write scenes and their ships as a COCO annotation file, so that they can be scored elsewhere: area of the box,
    ignored as crowd.

    Args:
        info: what it was made for: a submission that hands it back is checked against it.
    """
    annotations: list[dict[str, Any]] = []
    for scene in scenes:
        for box, ignore in zip(to_xywh(scene.boxes).tolist(), scene.ignore.tolist(), strict=True):
            # from 1: 0 means "none" elsewhere
            one = {"id": len(annotations) + 1, "image_id": scene.image_id, "category_id": CATEGORY["id"]}
            annotations.append(one | {"bbox": box, "area": box[2] * box[3], "iscrowd": int(ignore)})
    images = [
        {"id": scene.image_id, "file_name": scene.image, "height": scene.height, "width": scene.width}
        for scene in scenes
    ]
    text = json.dumps(
        {"info": dict(info or {}), "images": images, "annotations": annotations, "categories": [CATEGORY]},
        allow_nan=False,
    )
    write_text(path, text + "\n")


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Return boxes (n, 4) x1, y1, x2, y2 as x, y, width, height."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _numbers(entries: Sequence[dict[str, Any]], path: Path) -> np.ndarray:
    """Return x, y, width, height and score of every entry, (n, 5) float64."""
    out = np.empty((len(entries), 5))
    for i, entry in enumerate(entries):
        box, score = entry["bbox"], entry["score"]
        if (
            not isinstance(box, list)
            or len(box) != 4
            or not all(_is_finite(value) and abs(value) < FAR for value in box)
        ):
            raise BenchError(
                f"{path}: entry {i}: bbox is {short(box)}; expected four finite numbers x, y, width, height"
            )
        if not _is_finite(score):
            raise BenchError(
                f"{path}: entry {i}: score is {short(score)}; expected a finite number, higher is more confident"
            )
        out[i] = (*box, score)
    return out


def _is_finite(value: Any) -> bool:
    return not isinstance(value, str) and as_number(value) is not None
