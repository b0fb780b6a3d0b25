"""The VOC family: an image and an XML file for each scene, matched by their names. Owns the matching; `voc.py` reads
the XML.

What an XML file calls its image (`filename`) is not used: circulating copies carry the names of the machine they were
made on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from bench.core.errors import BenchError
from bench.data.dataset import DatasetOptions, missing
from bench.data.folders import natural_key
from bench.data.images import IMAGE_SUFFIXES
from bench.data.ships.dataset import Claim, ShipDataset, ShipOptions, ShipScan
from bench.data.ships.files import last_integer, stem, walk
from bench.data.ships.voc import VocAnnotation, parse_voc


class VocOptions(ShipOptions):
    """Options of a VOC folder.

    Attributes:
        images, annotations: folders below the root; their sub-folders are searched too.
        match: image and XML belong together by equal stems, or by the last integer in their stems ("7.tiff" and
            "AIR-SARShip-1.0-7-label.xml").
        one_based: corners are pixel numbers counted from 1, as in Pascal VOC itself: 1 is subtracted from xmin and
            ymin. Many tools write continuous coordinates or numbers from 0 instead, and hardly any set documents which.
    """

    images: str = Field(default="JPEGImages", min_length=1)
    annotations: str = Field(default="Annotations", min_length=1)
    match: Literal["stem", "number"] = "stem"
    one_based: bool = False


class VocScenes(ShipDataset):
    """Reader of images with VOC XML files beside them.

    The id of an image is its stem (with `match: number`, its number). Its image id is the last integer of the stem
    where all have one and no two the same, else its position from 1 on.
    """

    Options: ClassVar[type[DatasetOptions]] = VocOptions

    @classmethod
    def locate(cls, root: Path, options: Any) -> Path:
        """Return `root`, or the folder of the set's own name inside it, whichever holds both folders."""
        for candidate in (root, root / cls.facts.folder, root / cls.facts.folder / cls.facts.folder):
            if (candidate / options.images).is_dir() and (candidate / options.annotations).is_dir():
                return candidate
        raise missing(cls.facts, [f"{root}/{options.images}", f"{root}/{options.annotations}"])

    def image_names(self) -> list[str]:
        """Return the images, relative to the root."""
        return list(walk(self.root, self.options.images, IMAGE_SUFFIXES))

    def annotation_names(self) -> list[str]:
        """Return the XML files, relative to the root."""
        return list(walk(self.root, self.options.annotations, {".xml"}))

    def by_number(self) -> bool:
        """Return whether files match by the last integer of their stems."""
        return bool(self.options.match == "number")

    def one_based(self) -> bool:
        """Return whether corners count from 1."""
        return bool(self.options.one_based)

    def parse(self, path: Path) -> VocAnnotation:
        """Read one annotation file."""
        return parse_voc(path, self.one_based())

    def attributes_of(self, name: str) -> Mapping[str, str]:
        """Return declared facts of the image with id `name`.

        Raises:
            BenchError: there is no such image in the set.
        """
        return {}

    def _scan(self) -> ShipScan:
        problems: list[str] = []
        images = self._keyed(self.image_names(), "image", problems)
        annotations = self._keyed(self.annotation_names(), "annotation", problems)
        ids = sorted(images.keys() & annotations.keys(), key=natural_key)
        problems += [
            f"image {images[key]} has no annotation"
            for key in sorted(images.keys() - annotations.keys(), key=natural_key)
        ]
        problems += [
            f"annotation {annotations[key]} has no image"
            for key in sorted(annotations.keys() - images.keys(), key=natural_key)
        ]
        numbers = [last_integer(images[key]) for key in ids]
        if None in numbers or len(set(numbers)) < len(numbers):
            numbers = list(range(1, len(ids) + 1))
        claims = []
        for key, number in zip(ids, numbers, strict=True):
            try:
                claims.append(self._claim(key, images[key], annotations[key], int(number or 0)))
            except BenchError as error:
                problems.append(str(error))
        return ShipScan(tuple(claims), (*annotations.values(), *images.values()), tuple(problems))

    def _claim(self, key: str, image: str, annotation: str, number: int) -> Claim:
        found = self.parse(self.root / annotation)
        attributes = self.attributes_of(key)
        scene = self.scene_of(stem(image))
        return Claim(
            key, image, number, found.boxes, found.difficult, found.names, annotation, found.size, scene, attributes
        )

    def _keyed(self, names: list[str], what: str, problems: list[str]) -> dict[str, str]:
        """Return id -> file; two files of one id, or a file without a number, are problems."""
        key_of: Callable[[str], Any] = last_integer if self.by_number() else stem
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
