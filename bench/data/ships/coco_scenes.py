"""The COCO family: a folder of images and one or more JSON lists. Owns which file an entry means and how lists are
joined; `coco.py` reads the JSON.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from bench.core.errors import BenchError
from bench.data.dataset import lacking
from bench.data.images import IMAGE_SUFFIXES
from bench.data.nearby import Nearby
from bench.data.ships.coco import CocoImage, read_coco
from bench.data.ships.files import resolve, stem, walk
from bench.data.ships.layout import Claim, ShipLayout, ShipOptions, ShipScan


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Lists = Annotated[tuple[str, ...], BeforeValidator(_one_or_many), Field(min_length=1)]
"""An option: one list, or several."""


class CocoOptions(ShipOptions):
    """Options of a COCO folder.

    Attributes:
        images: folder below the root that file names are looked up in, with and without the folder that an entry names.
        annotations: JSON files below the root, one or several.
    """

    images: str = Field(default="images", min_length=1)
    annotations: Lists = ("annotations.json",)


class CocoLayout(CocoOptions, ShipLayout):
    """Images with COCO lists.

    The id of an image is its stem, or its path without suffix where stems repeat, or its path where those do. Its image
    id is that of its list, as long as no two images of the lists together share one; else all images are numbered from
    1 on in the order of the lists, and the attribute `list_image_id` remembers what the list said. The stem of its list
    becomes a column, its part; further keys of an image become columns too, and `scene` the leakage group.

    Attributes:
        parts: names of the parts, each with a list; empty for those that `annotations` names.
        list_file: path of the list of a part, in which {} stands for its name.
        official: the parts that together name every image.
        folders: with images, where `images` is not the only one; those that are there are read.
        looked_up: folders that the file of an entry is looked for in, the first that has it wins; {part} stands for the
            name of the part. Empty for all `folders`, in each that of the part first; without `folders` in `images`, in
            that of the part below it, and in the root.
        instead: part -> another part, in whose folder its images lie where it has none of its own.
        part_column: name of the column that holds the part.
        further_keys: whether further keys of an image become columns.
        any_case: whether names of objects are read in lower case.
        inshore_bright_frac: where the images of a list carry `bright_frac` (the share of bright pixels), their `shore`
            is "inshore" above this share and "offshore" otherwise, an estimate and no label; None for no shore.
    """

    parts: tuple[str, ...] = ()
    list_file: str = "{}"
    official: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    looked_up: tuple[str, ...] = ()
    instead: Mapping[str, str] = {}
    part_column: str = "list"
    further_keys: bool = True
    any_case: bool = False
    inshore_bright_frac: float | None = None

    def lacks(self, folder: Path) -> list[str]:
        return lacking(folder, self.folders or (self.images,), *self._lists())

    def read(self, root: Path) -> ShipScan:
        problems: list[str] = []
        claims: list[Claim] = []
        near = Nearby(root)
        for source in self._lists():
            try:
                found, places = read_coco(root / source), self._places(root, stem(source))
            except BenchError as error:  # the other lists are read all the same; the index refuses the set
                problems.append(str(error))
                continue
            problems += found.problems
            for image in found.images:
                try:
                    claims.append(self._claim(root, places, image, source, near))
                except BenchError as error:
                    problems.append(f"{source}, image {image.image_id}: {error}")
        claims, twice = _distinct(claims)
        unlisted = sorted(set(self._images(root)) - {claim.image for claim in claims})
        first = f", first {unlisted[0]}" if unlisted else ""
        lines = (f"{len(unlisted)} images of {self.images}/ are in no list that is read{first}",) if unlisted else ()
        whole = set(self.official) == set(self.parts or self.annotations)
        problems += [*twice, *(lines if whole else ())]
        files = (*self._lists(), *(claim.image for claim in claims))
        return ShipScan(tuple(_numbered(_named(claims))), files, tuple(problems), () if whole else lines)

    def _lists(self) -> list[str]:
        """Return the lists, relative to the root."""
        return [self.list_file.format(name) for name in self.parts or self.annotations]

    def _images(self, root: Path) -> Iterator[str]:
        """Yield the images that lists may name."""
        for folder in self.folders or (self.images,):
            if not self.folders or (root / folder).is_dir():
                yield from walk(root, folder, IMAGE_SUFFIXES)

    def _places(self, root: Path, part: str) -> list[str]:
        """Return the folders that names in the list of `part` are looked up in."""
        texts = self.looked_up or [text for base in self.folders for text in (f"{base}/{{part}}", base)]
        texts = texts or [self.images, f"{self.images}/{{part}}", ""]
        own = [text.replace("{part}", part) for text in texts if "{part}" in text]
        if part in self.instead and not any((root / folder).is_dir() for folder in own):
            part = self.instead[part]
        return [text.replace("{part}", part) for text in texts]

    def _claim(self, root: Path, places: Sequence[str], image: CocoImage, source: str, near: Nearby) -> Claim:
        path = resolve(root, image.file_name, places)
        if path is None:
            wanted = image.file_name.replace("\\", "/").strip("/")
            tails = (near.tail(f"{place}/{wanted}" if place else wanted) for place in places)
            raise BenchError(f"file {image.file_name!r} is not in {self.images}/{next(filter(None, tails), '')}")
        name = stem(path)
        names = tuple(name.casefold() for name in image.names) if self.any_case else image.names
        scene = self.scene_of(name) or image.extra.get("scene")
        attributes = {**self._columns(image), self.part_column: stem(source)}
        return Claim(
            name, path, image.image_id, image.boxes, image.ignore, names, source, image.size, scene, attributes, True
        )

    def _columns(self, image: CocoImage) -> dict[str, str]:
        """Return the columns that an entry gives its image."""
        columns = {key: value for key, value in image.extra.items() if key != "scene" and self.further_keys}
        if self.inshore_bright_frac is not None and "bright_frac" in columns:
            inshore = _share(columns["bright_frac"]) > self.inshore_bright_frac
            columns["shore"] = "inshore" if inshore else "offshore"
        return columns


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise BenchError(f"bright_frac {text!r} is no share between 0 and 1")
    return share


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
