"""Pascal VOC annotation files: one XML file an image, an `object` with a `bndbox` for each ship. Parsing only; it opens
no image and follows no file name.

Files come from anywhere: `defusedxml` refuses document type declarations, so there are no entities to expand and
nothing outside the file to fetch; the size of a file is bounded here.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from bench.core.errors import BenchError
from bench.data.ships.fields import spelled

MAX_BYTES = 16 * 2**20
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_KNOWN = {  # element -> its children that are read; see `points_xml.py` for some of them
    "annotation": frozenset({"object", "objects", "filename", "size", "source"}),
    "size": frozenset({"height", "width"}),
    "source": frozenset({"filename"}),
    "objects": frozenset({"object"}),
    "object": frozenset({"name", "difficult", "bndbox", "possibleresult", "points"}),
    "bndbox": frozenset(_CORNERS),
    "possibleresult": frozenset({"name"}),
    "points": frozenset({"point"}),
}
_GUARDED = {
    "annotation": frozenset({"object", "size"}),
    "size": frozenset({"height", "width"}),
    "objects": frozenset({"object"}),
    "object": frozenset({"difficult"}),
}


@dataclass(frozen=True, eq=False)
class VocAnnotation:
    """What one XML file says.

    Attributes:
        filename: as written, None where missing; a text of unknown trust, not a path to open.
        size: (height, width) in pixels as written, None where missing or 0.
        boxes: (k, 4) float64 x1, y1, x2, y2 in pixels, unchecked against the image.
        names: what each object is called.
        difficult: (k,) bool.
    """

    filename: str | None
    size: tuple[int, int] | None
    boxes: np.ndarray
    names: tuple[str, ...]
    difficult: np.ndarray


def parse_voc(path: Path, one_based: bool = False) -> VocAnnotation:
    """Read one VOC XML file. Known elements match whatever their case.

    Args:
        one_based: the corners are pixel numbers counted from 1, both inside the box, as in Pascal VOC itself: 1 is
            subtracted from xmin and ymin. Otherwise they are taken as continuous coordinates as they stand.

    Raises:
        BenchError: unreadable or too large file, no well-formed XML, a document type declaration, another schema, an
            element whose name nearly is a known one, an object without name or with a box that is no four finite
            numbers, a box outside any object.
    """
    path = Path(path)
    root = read_tree(path)
    if root.tag != "annotation":
        raise BenchError(f"{path} is no VOC annotation: its root is <{root.tag}>, expected <annotation>")
    if root.find("objects") is not None:
        raise BenchError(
            f"{path} has <objects>, the schema of AIR-SARShip-2.0 (air-sarship-2.0 reads it) and FAIR1M, not VOC's"
            " <object>"
        )
    objects = root.findall("object")
    stray = sum(1 for _ in root.iter("bndbox")) - sum(len(item.findall(".//bndbox")) for item in objects)
    if stray:
        raise BenchError(f"{path} has {stray} <bndbox> that are in no <object> below <annotation>")
    return annotation_of(root, path, objects, _box, one_based, "name", "filename", _flag)


def annotation_of(
    root: ET.Element,
    path: Path,
    objects: list[ET.Element],
    box: Callable[[ET.Element], list[float]],
    one_based: bool,
    name: str,
    filename: str,
    flag: Callable[[ET.Element], bool] = lambda item: False,
) -> VocAnnotation:
    """Return what `objects` of a file say.

    Args:
        box, flag: return corners, and whether an object is difficult; they raise BenchError with what is wrong.
        name, filename: paths of these elements below an object and below the root.

    Raises:
        BenchError: an object has no name, or what `box` and `flag` raise; file and number of the object are named.
    """
    boxes, names, difficult = [], [], []
    for number, item in enumerate(objects, start=1):
        try:
            names.append((item.findtext(name) or "").strip())
            if not names[-1]:
                raise BenchError(f"has no <{name.replace('/', '><')}>")
            boxes.append(box(item))
            difficult.append(flag(item))
        except BenchError as error:
            raise BenchError(f"{path}: object {number} {error}") from error
    corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    if one_based:
        corners[:, :2] -= 1
    stated = (root.findtext(filename) or "").strip() or None
    return VocAnnotation(stated, _size(root, path), corners, tuple(names), np.array(difficult, dtype=bool))


def read_tree(path: Path) -> ET.Element:
    """Return the root element of a file, its known elements in lower case. Raises BenchError, as `parse_voc`."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise BenchError(f"{path} is larger than {MAX_BYTES // 2**20} MiB, too large for the annotation of one image")
    try:
        root: ET.Element = fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise BenchError(
            f"{path} declares a document type (DOCTYPE or ENTITY), which is refused; remove the declaration"
        ) from error
    except ET.ParseError as error:
        raise BenchError(f"{path} is no well-formed XML ({error}); fetch or save it again") from error
    except (ValueError, LookupError) as error:  # an encoding that Python lacks
        raise BenchError(f"{path} has an unusable encoding ({error}); save it as UTF-8") from error
    root.tag = root.tag.casefold() if root.tag.casefold() == "annotation" else root.tag
    try:
        _spell(root)
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from error
    return root


def _spell(parent: ET.Element) -> None:
    """Bring the known elements below `parent` into lower case. Raises BenchError for a name that nearly is known."""
    known = _KNOWN.get(parent.tag)
    if known is None:
        return
    try:
        other = spelled(tuple(child.tag for child in parent), known, _GUARDED.get(parent.tag, frozenset()))
    except BenchError as error:
        raise BenchError(f"<{parent.tag}> {error}") from error
    for child in parent:
        child.tag = other.get(child.tag, child.tag)
        _spell(child)


def _size(root: ET.Element, path: Path) -> tuple[int, int] | None:
    """Return (height, width) as <size> states them, None where it does not. Raises BenchError for other than whole
    numbers.
    """
    texts = [(root.findtext(f"size/{name}") or "").strip() for name in ("height", "width")]
    try:
        height, width = (int(text or 0) for text in texts)
    except ValueError as error:
        raise BenchError(f"{path}: size {' x '.join(texts)} is no pair of whole numbers") from error
    return (height, width) if height > 0 and width > 0 else None


def _flag(item: ET.Element) -> bool:
    texts = [(one.text or "0").strip() for one in item.findall("difficult")] or ["0"]
    for text in texts:
        if text not in ("0", "1") or text != texts[0]:
            raise BenchError(f"has difficult = {', '.join(map(repr, texts))}; expected 0 or 1")
    return texts[0] == "1"


def _box(item: ET.Element) -> list[float]:
    found = item.findall("bndbox")
    if len(found) != 1:
        raise BenchError(f"has {len(found)} <bndbox>; expected one (rotated boxes must be converted first)")
    texts = [(found[0].findtext(name) or "").strip() for name in _CORNERS]
    try:
        values = [float(text) for text in texts]
    except ValueError as error:
        raise BenchError(f"has the box {texts}; expected numbers in {', '.join(_CORNERS)}") from error
    if not np.isfinite(values).all():
        raise BenchError(f"has the box {texts}, which is not finite")
    return values
