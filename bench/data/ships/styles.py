"""The family of sets that are published twice, in VOC and in COCO style, each with a training and a test part and with
copies of parts by shore. Owns that names, folders and lists state the same split, and what the copies state; reading is
the business of `voc_scenes.py` and `coco_scenes.py`.

    voc_style/    JPEGImages, or JPEGImages_{train,test}       and copies: JPEGImages_{train,test}_{inshore,offshore}
                  Annotations, or Annotations_{train,test}     and copies: Annotations_{train,test}_{inshore,offshore}
    coco_style/   images/{train,test}                          and copies: images/{train,test}_{inshore,offshore}
                  annotations/{train,test}.json

The copies state the shore by their names; they are no images of the set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any, ClassVar

from bench.core.options import later
from bench.data.dataset import DatasetOptions, settled
from bench.data.images import IMAGE_SUFFIXES, Channels
from bench.data.ships.coco_scenes import CocoLayout
from bench.data.ships.dataset import ShipDataset
from bench.data.ships.files import stem, walk
from bench.data.ships.layout import ShipLayout, ShipScan
from bench.data.ships.voc_scenes import VocLayout

PARTS = ("train", "test")
SHORES = ("inshore", "offshore")
COPIES = {"voc": ("JPEGImages_", "Annotations_"), "coco": ("images/",)}
_PART = re.compile(r"[_/](train|test)(?=[./])")


class Composites(DatasetOptions):
    """The option of sets that are known to hold colour composites.

    Attributes:
        channels: how they are read: "luminance", the "first" of their three channels, or "refuse".
    """

    channels: Channels = later("luminance")


class TwoStyles(ShipDataset):
    """Reader of such a set. Its options have `style`, "voc" or "coco"; its root is the folder of that style.

    Columns: `split` (train, test), which the set declares by the numbers of its images, and `shore` where there are
    copies by shore: "" for images of which there is no copy.
    """

    layouts: ClassVar[Mapping[str, ShipLayout]] = {
        "voc": VocLayout(parts=PARTS),
        "coco": CocoLayout(
            list_file="annotations/{}.json",
            parts=PARTS,
            official=PARTS,
            folders=("images/train", "images/test"),
            looked_up=("images", "images/{part}", ""),
        ),
    }

    @classmethod
    def settings_of(cls, options: Any) -> Any:
        return settled(cls.layouts[options.style], options)

    def _with_columns(self, scan: ShipScan) -> ShipScan:
        """Add the shore too, and hold names against folders and lists."""
        scan = super()._with_columns(scan)
        problems = list(scan.problems)
        copies, shores = self._copies(problems)
        claims = []
        for claim in scan.claims:
            name, split = stem(claim.image), claim.attributes["split"]
            problems += [
                f"{path}: {name} is of the {split} part by its name; is the file in its place?"
                for path in (claim.image, claim.source)
                if set(_PART.findall(path)) - {split}
            ]
            shore = {"shore": shores.get(name, "")} if shores else {}
            claims.append(replace(claim, attributes={**claim.attributes, **shore}))
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
