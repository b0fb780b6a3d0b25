"""The VOC family: an image and an XML file for each scene, matched by their names. Owns the matching; `voc.py` and
`points_xml.py` read the XML.

What an XML file calls its image (`filename`) matches nothing: circulating copies carry the names of the machine they
were made on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bench.core.errors import BenchError
from bench.data.dataset import DatasetOptions, lacking
from bench.data.folders import natural_key
from bench.data.images import IMAGE_SUFFIXES
from bench.data.nearby import by_likeness, nearest_of
from bench.data.ships.files import last_integer, stem, walk
from bench.data.ships.layout import Claim, ShipLayout, ShipOptions, ShipScan
from bench.data.ships.points_xml import parse_points
from bench.data.ships.voc import VocAnnotation, parse_voc

TIFF = frozenset({".tif", ".tiff"})
ANYWHERE = "."
"""A folder's name that means the root itself and all below it."""


class PixelNumbers(DatasetOptions):
    """The option of sets whose corners may be pixel numbers.

    Attributes:
        one_based: corners are pixel numbers counted from 1, as in Pascal VOC itself: 1 is subtracted from xmin and
            ymin. Many tools write continuous coordinates or numbers from 0 instead, and hardly any set documents which.
    """

    one_based: bool = False


class VocOptions(PixelNumbers, ShipOptions):
    """Options of a VOC folder.

    Attributes:
        images, annotations: folders below the root; their sub-folders are searched too.
        match: image and XML belong together by equal stems, or by the last integer in their stems ("7.tiff" and
            "AIR-SARShip-1.0-7-label.xml").
    """

    images: str = Field(default="JPEGImages", min_length=1)
    annotations: str = Field(default="Annotations", min_length=1)
    match: Literal["stem", "number"] = "stem"


class VocLayout(VocOptions, ShipLayout):
    """Images with XML files.

    The id of an image is its stem (with `match: number`, its number). Its image id is the last integer of the stem
    where all have one and no two the same, else its position from 1 on.

    Attributes:
        suffixes: those of images, in lower case; of several groups the first that any file has.
        parts: where a folder is not there, its parts are read instead: JPEGImages_train, JPEGImages_test.
        xml: the schema, "voc" or "points" (see `points_xml.py`).
        id_is_scene: whether each image is a scene of its own, known by its id.
        stated_numbers: whether a number in what an XML file calls its image is noted where it is another than
            its own.
    """

    suffixes: tuple[frozenset[str], ...] = (IMAGE_SUFFIXES,)
    parts: tuple[str, ...] = ()
    xml: Literal["voc", "points"] = "voc"
    id_is_scene: bool = False
    stated_numbers: bool = False

    def lacks(self, folder: Path) -> list[str]:
        lacks = []
        for name, suffixes in ((self.images, frozenset().union(*self.suffixes)), (self.annotations, {".xml"})):
            if name != ANYWHERE:
                lacks += lacking(folder, (name, *(f"{name}_{part}" for part in self.parts)))
            elif not folder.is_dir() or next(walk(folder, "", suffixes), None) is None:
                lacks.append(f"**/*{'.tiff' if '.tiff' in suffixes else '.xml'}")
        return lacks

    def read(self, root: Path) -> ShipScan:
        problems: list[str] = []
        notes: list[str] = []
        found = (names for group in self.suffixes if (names := self._files(root, self.images, group)))
        images = self._keyed(next(found, []), "image", problems)
        annotations = self._keyed(self._files(root, self.annotations, {".xml"}), "annotation", problems)
        ids = sorted(images.keys() & annotations.keys(), key=natural_key)
        problems += _lonely("image", images, "annotation", annotations)
        problems += _lonely("annotation", annotations, "image", images)
        numbers = [last_integer(images[key]) for key in ids]
        if None in numbers or len(set(numbers)) < len(numbers):
            numbers = list(range(1, len(ids) + 1))
        claims = []
        for key, number in zip(ids, numbers, strict=True):
            try:
                parsed = self._parse(root / annotations[key])
            except BenchError as error:
                problems.append(str(error))
                continue
            claims.append(self._claim(key, images[key], int(number or 0), annotations[key], parsed))
            stated = last_integer(parsed.filename or "") if self.stated_numbers else None
            if stated not in (None, last_integer(annotations[key])):
                notes.append(f"{Path(annotations[key]).name} is written for {parsed.filename}")
        return ShipScan(tuple(claims), (*annotations.values(), *images.values()), tuple(problems), _in_short(notes))

    def _files(self, root: Path, name: str, suffixes: Collection[str]) -> list[str]:
        folders = [f"{name}_{part}" for part in self.parts if not (root / name).exists()] or [name]
        return [path for folder in folders for path in walk(root, "" if folder == ANYWHERE else folder, suffixes)]

    def _parse(self, path: Path) -> VocAnnotation:
        return (parse_points if self.xml == "points" else parse_voc)(path, self.one_based)

    def _claim(self, key: str, image: str, number: int, source: str, found: VocAnnotation) -> Claim:
        scene = key if self.id_is_scene else self.scene_of(stem(image))
        return Claim(key, image, number, found.boxes, found.difficult, found.names, source, found.size, scene)

    def _keyed(self, names: list[str], what: str, problems: list[str]) -> dict[str, str]:
        """Return id -> file; two files of one id, or a file without a number, are problems."""
        key_of: Callable[[str], Any] = last_integer if self.match == "number" else stem
        keyed: dict[str, str] = {}
        for name in names:
            key = key_of(name)
            if key is None:
                problems.append(
                    f"{what} {name} has no number in its name, and files match by number; rename or remove it"
                )
            elif str(key) in keyed:
                problems.append(f"{keyed[str(key)]} and {name} are both the {what} of {str(key)!r}; remove one")
            else:
                keyed[str(key)] = name
        return keyed


def _lonely(what: str, have: Mapping[str, str], lack: str, other: Mapping[str, str]) -> list[str]:
    """Return a line for each file of `have` whose id is not in `other`."""
    near = by_likeness(other.keys() - have.keys())
    return [
        f"{what} {have[key]} has no {lack}{nearest_of(key, near, other)}"
        for key in sorted(have.keys() - other.keys(), key=natural_key)
    ]


def _in_short(notes: list[str]) -> tuple[str, ...]:
    """Return a note on annotations that are written for other images."""
    more = f" and {len(notes) - 3} more" if len(notes) > 3 else ""
    return (f"{'; '.join(notes[:3])}{more}: are images and annotations of one release?",) if notes else ()
