"""The family of sets that are published twice, in VOC and in COCO style, each with a training and a test part and with
copies of parts by shore. Owns which folders are read, and that names, folders and lists tell the same split; reading
them is the business of `voc_scenes.py` and `coco_scenes.py`.

    voc_style/    JPEGImages, or JPEGImages_{train,test}       and copies: JPEGImages_{train,test}_{inshore,offshore}
                  Annotations, or Annotations_{train,test}     and copies: Annotations_{train,test}_{inshore,offshore}
    coco_style/   images/{train,test}                          and copies: images/{train,test}_{inshore,offshore}
                  annotations/{train,test}.json

The copies tell the shore by their names; they are no images of the set.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

from bench.core.errors import BenchError
from bench.data.dataset import missing
from bench.data.images import IMAGE_SUFFIXES
from bench.data.ships.coco_scenes import CocoScenes
from bench.data.ships.dataset import ShipDataset, ShipScan
from bench.data.ships.files import stem, walk
from bench.data.ships.voc_scenes import VocScenes

PARTS = ("train", "test")
SHORES = ("inshore", "offshore")
NEEDED = {
    "voc": ("JPEGImages", "Annotations"),
    "coco": ("images/train", "images/test", "annotations/train.json", "annotations/test.json"),
}
COPIES = {"voc": ("JPEGImages_", "Annotations_"), "coco": ("images/",)}
_PART = re.compile(r"[_/](train|test)(?=[./])")


class VocStyle(VocScenes):
    """The VOC half of such a set: names match by stem, corners stand as they are."""

    def image_names(self) -> list[str]:
        return self._below("JPEGImages", IMAGE_SUFFIXES)

    def annotation_names(self) -> list[str]:
        return self._below("Annotations", {".xml"})

    def by_number(self) -> bool:
        return False

    def one_based(self) -> bool:
        return False

    def _below(self, name: str, suffixes: Collection[str]) -> list[str]:
        return [path for folder in _folders(self.root, name) for path in walk(self.root, folder, suffixes)]


class CocoStyle(CocoScenes):
    """The COCO half of such a set: both lists, which name every image of both folders."""

    @classmethod
    def folder_and_lists(cls, options: Any) -> tuple[str, list[str]]:
        return "images", [f"annotations/{part}.json" for part in PARTS]

    def image_names(self) -> list[str]:
        return [path for part in PARTS for path in walk(self.root, f"images/{part}", IMAGE_SUFFIXES)]

    def lists_whole(self) -> bool:
        return True


class TwoStyles(ShipDataset):
    """Reader of such a set. Its options have `style`, "voc" or "coco"; its root is the folder of that style.

    Columns: `split` (train, test), and `shore` where there are copies by shore: "" for images that no copy tells of.

    Class attributes:
        styles: the readers of both halves, by style.
        variant: folder that holds both styles, in the set's outer folder.
    """

    styles: ClassVar[Mapping[str, type[ShipDataset]]]
    variant: ClassVar[str]

    @abstractmethod
    def split_of(self, name: str) -> str:
        """Return the official part, "train" or "test", of the image with the stem `name`.

        Raises:
            BenchError: the set has no such image.
        """

    @classmethod
    def locate(cls, root: Path, options: Any) -> Path:
        """Return the folder of the style, whether `root` is that folder, holds it, or is the outer one, single or
        doubled.
        """
        style = f"{options.style}_style"
        outer = (root, root / cls.facts.folder, root / cls.facts.folder / cls.facts.folder)
        for folder in (*(each / cls.variant / style for each in outer), root / style, root):
            if all((folder / part).exists() for name in NEEDED[options.style] for part in _folders(folder, name)):
                return folder
        raise missing(cls.facts, [f"{root / cls.variant / style}/{name}" for name in NEEDED[options.style]])

    def _scan(self) -> ShipScan:
        scan = self.styles[self.options.style](self.root, self.options)._scan()
        problems = list(scan.problems)
        copies, shores = self._copies(problems)
        claims = []
        for claim in scan.claims:
            try:
                split = self.split_of(stem(claim.image))
            except BenchError as error:
                problems.append(f"{claim.image}: {error}")
                continue
            problems += [
                f"{path}: {stem(claim.image)} is of the {split} part by its name; is the file in its place?"
                for path in (claim.image, claim.source)
                if set(_PART.findall(path)) - {split}
            ]
            shore = {"shore": shores.get(stem(claim.image), "")} if shores else {}
            claims.append(replace(claim, attributes={**claim.attributes, "split": split, **shore}))
        return replace(scan, claims=tuple(claims), files=(*scan.files, *copies), problems=tuple(problems))

    def _copies(self, problems: list[str]) -> tuple[list[str], dict[str, str]]:
        """Return the copies by shore (files of the set: their names decide the column), and the shore of each stem
        among them.
        """
        files: list[str] = []
        shores: dict[str, str] = {}
        for prefix, part, shore in product(COPIES[self.options.style], PARTS, SHORES):
            folder = f"{prefix}{part}_{shore}"
            if not (self.root / folder).is_dir():
                continue
            for path in walk(self.root, folder, {*IMAGE_SUFFIXES, ".xml"}):
                files.append(path)
                if shores.setdefault(stem(path), shore) != shore:
                    problems.append(
                        f"{path}: a copy of {stem(path)} lies in another folder as {shores[stem(path)]}; remove one"
                    )
        return files, shores


def _folders(root: Path, name: str) -> list[str]:
    """Return `name` where it is there, else its two parts."""
    return [name] if (root / name).exists() else [f"{name}_{part}" for part in PARTS]
