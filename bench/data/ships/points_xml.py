"""Annotation files with corner points, the schema of AIR-SARShip-2.0 and FAIR1M: `objects/object`, each with
`possibleresult/name` and `points/point`, a text "x,y" each, the first repeated at the end. Parsing only, with the XML
reader of `voc.py`; the box of an object is the bounding box of its points.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from bench.core.errors import BenchError
from bench.data.ships.voc import VocAnnotation, annotation_of, read_tree

_LEAST = 2  # points: two opposite corners, or four, with or without the first repeated


def parse_points(path: Path, one_based: bool = False) -> VocAnnotation:
    """Read one file of this schema.

    Args:
        one_based: as in `parse_voc`; otherwise points are continuous coordinates from 0, as they stand.

    Raises:
        BenchError: unreadable file, no well-formed XML, another schema, an object without a name or with points that
            are no finite pairs of numbers.
    """
    path = Path(path)
    root = read_tree(path)
    holder = root.find("objects")
    if root.tag != "annotation" or holder is None:
        hint = "; it is VOC: use voc-folder" if root.find("object") is not None else ""
        raise BenchError(f"{path} has no <objects> below <annotation>{hint}")
    objects = holder.findall("object")
    return annotation_of(root, path, objects, _box, one_based, "possibleresult/name", "source/filename")


def _box(item: ET.Element) -> list[float]:
    texts = [(point.text or "").strip() for point in item.findall("points/point")]
    try:
        points = np.array([[float(value) for value in text.split(",")] for text in texts], dtype=np.float64)
    except ValueError as error:
        raise BenchError(f"has the points {texts}; expected texts x,y") from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < _LEAST:
        raise BenchError(f"has the points {texts}; expected at least {_LEAST} texts x,y")
    if not np.isfinite(points).all():
        raise BenchError(f"has the points {texts}, which are not finite")
    return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
