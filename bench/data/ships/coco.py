"""COCO annotation files: one JSON file with images, annotations and categories. Parsing and strict checks; it opens no
image and follows no file name.

A COCO `bbox` is x, y, width, height in continuous pixels, which become x1, y1, x2, y2 by addition. Segmentations are
not read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from bench.core.errors import BenchError, first_line, nearest
from bench.data.ships.fields import whole_number, with_known_names

_SIDES = ("height", "width")
_FLAGS = ("iscrowd", "ignore", "difficult")
_LISTS = ("images", "annotations", "categories")
_OWN = {"id", "file_name", *_SIDES, "license", "flickr_url", "coco_url", "date_captured"}
_IMAGE = frozenset({"id", "file_name", *_SIDES, "scene", "bright_frac"})
_ANNOTATION = frozenset({"image_id", "category_id", "bbox", *_FLAGS})
_CATEGORY = frozenset({"id", "name"})
_UNSTATED = (-1, 0)  # sizes as programs write them that did not look


@dataclass(frozen=True, eq=False)
class CocoImage:
    """One image of a COCO file.

    Attributes:
        image_id: as written. file_name: as written; a text of unknown trust, not a path to open.
        size: (height, width) in pixels as written, None where missing, 0 or -1.
        boxes: (k, 4) float64 x1, y1, x2, y2 in pixels, unchecked against the image.
        names: category of each box. ignore: (k,) bool: `iscrowd`, `ignore` or `difficult`.
        extra: further keys of the image with text, number or truth values, as text.
    """

    image_id: int
    file_name: str
    size: tuple[int, int] | None
    boxes: np.ndarray
    names: tuple[str, ...]
    ignore: np.ndarray
    extra: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class CocoAnnotation:
    """A COCO file: its images in order, and every problem that was found; an annotation with a problem is left out
    here.
    """

    images: tuple[CocoImage, ...]
    problems: tuple[str, ...]


def read_coco(path: Path) -> CocoAnnotation:
    """Read a COCO file, strictly, collecting its problems: a missing key, a wrong type, a number that is not finite, an
    image id or file name that stands twice, an annotation of an unknown image or category, a field whose name nearly is
    a known one. Known names match whatever their case; ids are whole numbers, also as 1.0 or "1".

    Raises:
        BenchError: unreadable file, no JSON, or one of the lists `images`, `annotations`, `categories` is missing.
    """
    path = Path(path)
    raw = _load(path)
    if not isinstance(raw, dict):
        raise BenchError(f"{path} is no COCO file: expected an object with images, annotations and categories")
    try:
        raw = with_known_names(raw, frozenset(_LISTS))
    except BenchError as error:
        raise BenchError(f"{path} {error}") from error
    for key in _LISTS:
        if not isinstance(raw.get(key), list):
            lacks = f"it has no list {key!r}{nearest(key, raw)}" if key not in raw else f"it needs a list {key!r}"
            raise BenchError(f"{path} is no COCO file: {lacks}")
    reader = _Reader(path)
    categories = reader.categories(raw["categories"])
    images = reader.images(raw["images"])
    boxes = reader.boxes(raw["annotations"], images, categories)
    out = [_image(image_id, item, boxes[image_id]) for image_id, item in images.items()]
    return CocoAnnotation(tuple(out), tuple(reader.problems))


_Box = tuple[list[float], str, bool]


class _Reader:
    """Goes through the three lists; an entry with a problem is passed over and reported in `problems`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []

    def categories(self, raw: list[Any]) -> dict[int, str]:
        out: dict[int, str] = {}
        for number, item in enumerate(raw, start=1):
            with _Collect(self, f"category {number}"):
                item = with_known_names(item, _CATEGORY)
                key = _integer(item, "id")
                if key in out:
                    raise BenchError(f"id {key} stands twice")
                out[key] = _text(item, "name")
        return out

    def images(self, raw: list[Any]) -> dict[int, dict[str, Any]]:
        out: dict[int, dict[str, Any]] = {}
        names: set[str] = set()
        for number, item in enumerate(raw, start=1):
            with _Collect(self, f"image {number}"):
                item = with_known_names(item, _IMAGE, _SIDES)
                key, name = _integer(item, "id"), _text(item, "file_name")
                _size(item)
                if key in out:
                    raise BenchError(f"id {key} stands twice ({out[key]['file_name']}, {name})")
                if name in names:
                    raise BenchError(f"file_name {name!r} stands twice")
                names.add(name)
                out[key] = item
        return out

    def boxes(self, raw: list[Any], images: Mapping[int, Any], categories: Mapping[int, str]) -> dict[int, list[_Box]]:
        out: dict[int, list[_Box]] = {key: [] for key in images}
        for number, item in enumerate(raw, start=1):
            with _Collect(self, f"annotation {number}"):
                item = with_known_names(item, _ANNOTATION, _FLAGS)
                image, category = _integer(item, "image_id"), _integer(item, "category_id")
                if image not in out:
                    raise BenchError(f"image_id {image} is not among the images")
                if category not in categories:
                    raise BenchError(f"category_id {category} is not among the categories")
                flags = [_truth(item, key) for key in _FLAGS]
                out[image].append((_corners(item), categories[category], any(flags)))
        return out


class _Collect:
    """Context that turns a BenchError about one entry into a line of the reader's problems."""

    def __init__(self, reader: _Reader, what: str) -> None:
        self.reader = reader
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, BenchError):
            return False
        self.reader.problems.append(f"{self.reader.path}, {self.what}: {error}")
        return True


def _load(path: Path) -> Any:
    def refuse(text: str) -> NoReturn:
        raise ValueError(f"{text} is no JSON number")

    try:
        return json.loads(path.read_bytes(), parse_constant=refuse)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is no valid JSON ({first_line(error)}): truncated or damaged?") from error


def _field(item: Mapping[str, Any], key: str) -> Any:
    if key not in item:
        raise BenchError(f"has no {key!r}{nearest(key, map(str, item))}")
    return item[key]


def _integer(item: Mapping[str, Any], key: str) -> int:
    value = _field(item, key)
    number = whole_number(value)
    if number is None:
        raise BenchError(f"{key} {str(value)[:40]!r} is no whole number")
    return number


def _size(item: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return (height, width) as stated, None where one of them is not."""
    sides = []
    for side in _SIDES:
        value = -1 if item.get(side) is None else _integer(item, side)
        if value < min(_UNSTATED):
            raise BenchError(f"{side} {value} is not positive")
        sides.append(value)
    return None if set(sides) & set(_UNSTATED) else (sides[0], sides[1])


def _text(item: Mapping[str, Any], key: str) -> str:
    value = _field(item, key)
    if not isinstance(value, str) or not value:
        raise BenchError(f"{key} {str(value)[:40]!r} is no text")
    return value


def _truth(item: Mapping[str, Any], key: str) -> bool:
    value = item.get(key, 0)
    number = int(value) if isinstance(value, bool) else whole_number(value)
    if number not in (0, 1):
        raise BenchError(f"{key} {str(value)[:40]!r} is neither 0 nor 1")
    return bool(number)


def _corners(item: Mapping[str, Any]) -> list[float]:
    box = _field(item, "bbox")
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in box)
    ):
        raise BenchError(f"bbox {repr(box)[:60]} is no list of four numbers x, y, width, height")
    if not all(abs(v) < 1e9 and math.isfinite(v) for v in box):
        raise BenchError(f"bbox {repr(box)[:60]} is not finite, or beyond any image")
    x, y, width, height = box
    return [x, y, x + width, y + height]


def _image(image_id: int, item: Mapping[str, Any], found: list[_Box]) -> CocoImage:
    extra = {key: str(value) for key, value in item.items() if key not in _OWN and isinstance(value, str | int | float)}
    return CocoImage(
        image_id=image_id,
        file_name=item["file_name"],
        size=_size(item),
        boxes=np.array([box for box, _, _ in found], dtype=np.float64).reshape(-1, 4),
        names=tuple(name for _, name, _ in found),
        ignore=np.array([ignore for _, _, ignore in found], dtype=bool),
        extra=extra,
    )
