"""SARDet-100K (Li et al., NeurIPS 2024): facts and layout; its ships.

Known from the paper (arXiv 2403.06534): the numbers of images of its parts, its six kinds, the ten sets it was cut
from. Known from the authors' code: folders, lists, names of the kinds; from their issues 3, 42 and 48: a few boxes
without area, left over where images were cut, and JPEG, BMP and PNG side by side. Unknown: the number of ships, which
image came from which scene, whether all channels are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from bench.core.options import later
from bench.data.dataset import DatasetOptions, missing
from bench.data.facts import ShipFacts
from bench.data.images import IMAGE_SUFFIXES
from bench.data.scaling import SarScale
from bench.data.ships.coco import CocoImage
from bench.data.ships.coco_scenes import CocoScenes
from bench.data.ships.dataset import Claim, ShipScan, without_flat
from bench.data.ships.files import walk

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
FOLDERS = ("JPEGImages", "Images")


class SardetOptions(DatasetOptions):
    """Options of SARDet-100K.

    Attributes:
        categories: which of the six kinds count as ships; objects of the others are background: a detection of one is a
            false alarm.
        without_ships: "keep" the images that show none of them, as background, or "drop" them.
        without_area: "drop" boxes of no width or no height, which nothing can find, or "refuse" to go on, as for every
            other set.
        parts: of the official split that are read.
        band: number of the channel that is read, counted from 1, should the three of some images differ.
    """

    categories: tuple[str, ...] = ("ship",)
    without_ships: Literal["keep", "drop"] = "keep"
    without_area: Literal["drop", "refuse"] = "drop"
    parts: tuple[Part, ...] = PARTS
    band: int | None = later(None, ge=1)


class Sardet100k(CocoScenes):
    """Images cut from ten public sets. Column: `split` (train, val, test: the official one). No scene is known: each
    image is its own leakage group, though the sets it was made from share scenes between its parts; boards mark such
    rows as unknown.
    """

    Options = SardetOptions
    facts = ShipFacts(
        name="sardet-100k",
        title="SARDet-100K: 116,598 SAR images of ten sets with six kinds of objects; its ships",
        sensors="Gaofen-3, Sentinel-1, TerraSAR-X, RadarSat-2, airborne and others, not told by image",
        image_px="512 x 512 mostly",
        resolution="0.1 m to 25 m, not told by image",
        gsd_m=None,
        polarisation="mixed, not told by image",
        sar_scale=SarScale.uint8,
        dtypes=("uint8",),
        expected_scenes=116_598,
        expected_ships=None,
        licence="CC BY-NC 4.0; the ten sets have terms of their own",
        citation=(
            "Li, Li, Li, Hou, Liu, Cheng, Yang: SARDet-100K: Towards Open-Source Benchmark and ToolKit for Large-Scale"
            " SAR Object Detection, NeurIPS 2024"
        ),
        homepage="https://github.com/zcablii/SARDet_100K",
        folder="SARDet_100K",
        place_what="""\
    SARDet_100K/
      JPEGImages/{train,val,test}/<name>.{jpg,bmp,png}   or all in JPEGImages/, or Images/{train,val,test}/
      Annotations/{train,val,test}.json                COCO: ship, aircraft, car, tank, bridge, harbor""",
        notes=(
            "94,493 images train, 10,492 validate, 11,613 test. HRSID, SSDD, AIR-SARShip and others are among the ten"
            " sets: a model trained on it has seen their test images."
        ),
    )

    @classmethod
    def folder_and_lists(cls, options: Any) -> tuple[str, list[str]]:
        return FOLDERS[0], [f"Annotations/{part}.json" for part in options.parts]

    @classmethod
    def locate(cls, root: Path, options: Any) -> Path:
        _, lists = cls.folder_and_lists(options)
        for candidate in (root, root / cls.facts.folder, root / cls.facts.folder / cls.facts.folder):
            if any((candidate / name).is_dir() for name in FOLDERS) and all(
                (candidate / name).is_file() for name in lists
            ):
                return candidate
        raise missing(cls.facts, [f"{root}/{name}" for name in (FOLDERS[0], *lists)])

    def expected(self) -> tuple[int | None, int | None]:
        whole = set(self.options.parts) == set(PARTS) and self.options.without_ships == "keep"
        return (self.facts.expected_scenes if whole else None), None

    def places(self, folder: str, part: str) -> list[str]:
        """The folder of the part, else the folder of all; where no part has images to validate apart, they lie among
        those to train.
        """
        if part == "val" and not any((self.root / base / part).is_dir() for base in FOLDERS):
            part = "train"
        return [f"{base}{tail}" for base in FOLDERS for tail in (f"/{part}", "")]

    def image_names(self) -> list[str]:
        return [
            name for base in FOLDERS if (self.root / base).is_dir() for name in walk(self.root, base, IMAGE_SUFFIXES)
        ]

    def attributes_of(self, image: CocoImage) -> Mapping[str, str]:
        return {}

    def _claim(self, image: CocoImage, folder: str, source: str) -> Claim:
        claim = super()._claim(image, folder, source)
        part = claim.attributes["list"]
        return replace(claim, names=tuple(name.casefold() for name in claim.names), attributes={"split": part})

    def _with_categories(self, scan: ShipScan) -> ShipScan:
        found = super()._with_categories(scan)
        if self.options.without_area == "drop":
            found = without_flat(found)
        if self.options.without_ships == "keep":
            return found
        return replace(found, claims=tuple(claim for claim in found.claims if len(claim.boxes)))
