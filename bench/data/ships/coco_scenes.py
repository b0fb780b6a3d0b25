"""The COCO family: a folder of images and one or more JSON lists. Owns which file an entry means and how lists are
joined; `coco.py` reads the JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from bench.core.errors import BenchError
from bench.data.dataset import DatasetOptions, missing
from bench.data.images import IMAGE_SUFFIXES
from bench.data.ships.coco import CocoImage, read_coco
from bench.data.ships.dataset import Claim, ShipDataset, ShipOptions, ShipScan
from bench.data.ships.files import resolve, stem, walk


class CocoOptions(ShipOptions):
    """Options of a COCO folder.

    Attributes:
        images: folder below the root that file names are looked up in, with and without the folder that an entry names.
        annotations: JSON files below the root, one or several.
    """

    images: str = Field(default="images", min_length=1)
    annotations: tuple[str, ...] = Field(default=("annotations.json",), min_length=1)

    @field_validator("annotations", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class CocoScenes(ShipDataset):
    """Reader of images with COCO lists.

    The id of an image is its stem, or its path without suffix where stems repeat, or its path where those do. Its image
    id is that of its list, as long as no two images of the lists together share one; else all images are numbered from
    1 on in the order of the lists, and the attribute `list_image_id` remembers what the list said. The attribute `list`
    is the stem of the list; further keys of an image become attributes, and `scene` the leakage group.
    """

    Options: ClassVar[type[DatasetOptions]] = CocoOptions

    @classmethod
    def folder_and_lists(cls, options: Any) -> tuple[str, list[str]]:
        """Return the image folder and the JSON files, relative to the root."""
        return options.images, list(options.annotations)

    @classmethod
    def locate(cls, root: Path, options: Any) -> Path:
        """Return `root`, or the folder of the set's own name inside it, whichever holds the image folder and the
        lists.
        """
        folder, lists = cls.folder_and_lists(options)
        for candidate in (root, root / cls.facts.folder, root / cls.facts.folder / cls.facts.folder):
            if (candidate / folder).is_dir() and all((candidate / name).is_file() for name in lists):
                return candidate
        raise missing(cls.facts, [f"{root}/{name}" for name in (folder, *lists)])

    def image_names(self) -> list[str]:
        """Return the images that lists may name, relative to the root."""
        folder, _ = self.folder_and_lists(self.options)
        return list(walk(self.root, folder, IMAGE_SUFFIXES))

    def attributes_of(self, image: CocoImage) -> Mapping[str, str]:
        """Return the attributes that an entry gives its image."""
        return {key: value for key, value in image.extra.items() if key != "scene"}

    def places(self, folder: str, part: str) -> list[str]:
        """Return the folders that a name in the list with the stem `part` is looked up in, the first that has it
        wins.
        """
        return [folder, f"{folder}/{part}", ""]

    def lists_whole(self) -> bool:
        """Return whether the lists should name every image of the folder."""
        return False

    def _scan(self) -> ShipScan:
        folder, lists = self.folder_and_lists(self.options)
        problems: list[str] = []
        claims: list[Claim] = []
        for name in lists:
            found = read_coco(self.root / name)
            problems += found.problems
            for image in found.images:
                try:
                    claims.append(self._claim(image, folder, name))
                except BenchError as error:
                    problems.append(f"{name}, image {image.image_id}: {error}")
        claims, twice = _distinct(claims)
        unlisted = sorted(set(self.image_names()) - {claim.image for claim in claims})
        lines = (
            [f"{len(unlisted)} images of {folder}/ are in no list that is read, first {unlisted[0]}"]
            if unlisted
            else []
        )
        if self.lists_whole():
            twice += lines
            lines = []
        files = (*lists, *(claim.image for claim in claims))
        return ShipScan(tuple(_numbered(_named(claims))), files, (*problems, *twice), tuple(lines))

    def _claim(self, image: CocoImage, folder: str, source: str) -> Claim:
        path = resolve(self.root, image.file_name, self.places(folder, stem(source)))
        if path is None:
            raise BenchError(f"file {image.file_name!r} is not in {folder}/")
        name = stem(path)
        scene = self.scene_of(name) or image.extra.get("scene")
        attributes = {**self.attributes_of(image), "list": stem(source)}
        size = (image.height, image.width)
        return Claim(
            name, path, image.image_id, image.boxes, image.ignore, image.names, source, size, scene, attributes
        )


def _distinct(claims: list[Claim]) -> tuple[list[Claim], list[str]]:
    """Return the claims without a second one of the same image, and a line for each of those."""
    first: dict[str, Claim] = {}
    problems = []
    for claim in claims:
        if claim.image in first:
            problems.append(f"{claim.image} is listed twice, in {first[claim.image].source} and {claim.source}")
        else:
            first[claim.image] = claim
    return list(first.values()), problems


def _named(claims: list[Claim]) -> list[Claim]:
    """Return the claims with unique ids."""
    for names in ([claim.id for claim in claims], [claim.image.rpartition(".")[0] for claim in claims]):
        if len(set(names)) == len(claims):
            return [replace(claim, id=name) for claim, name in zip(claims, names, strict=True)]
    return [replace(claim, id=claim.image) for claim in claims]


def _numbered(claims: list[Claim]) -> list[Claim]:
    """Return the claims with unique image ids."""
    if not claims or max(Counter(claim.image_id for claim in claims).values()) == 1:
        return claims
    return [
        replace(claim, image_id=number, attributes={**claim.attributes, "list_image_id": str(claim.image_id)})
        for number, claim in enumerate(claims, start=1)
    ]
