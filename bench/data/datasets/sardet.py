"""SARDet-100K (Li et al., NeurIPS 2024); its ships. Known from the paper (arXiv 2403.06534): numbers of images, kinds,
the ten sets it was cut from. Known from the authors' code: folders, lists, names of the kinds; from their issues 3, 42
and 48: a few boxes without area, left over where images were cut, and JPEG, BMP and PNG side by side. Unknown: the
number of ships, which image came from which scene, whether all channels are equal.
"""

from __future__ import annotations

from typing import Literal

from bench.data.facts import ShipFacts
from bench.data.scaling import SarScale
from bench.data.ships.coco_scenes import CocoLayout
from bench.data.ships.dataset import ShipDataset
from bench.data.ships.layout import BandOption, BoxOptions


class SardetOptions(BoxOptions, BandOption):
    """Options: `categories`, which of the six kinds are ships; `parts`, of the official split; and others."""

    categories: tuple[str, ...] = ("ship",)
    parts: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")


class Sardet100k(ShipDataset):
    """No scene is known: each image is its own leakage group, though the ten sets share scenes between the parts."""

    Options = SardetOptions
    choosing = ("parts", "without_ships")
    layout = CocoLayout(
        images="JPEGImages",
        folders=("JPEGImages", "Images"),
        instead={"val": "train"},
        list_file="Annotations/{}.json",
        part_column="split",
        further_keys=False,
        any_case=True,
    )
    facts = ShipFacts(
        name="sardet-100k",
        title="SARDet-100K: 116,598 SAR images of ten sets with six kinds of objects; its ships",
        sensors="Gaofen-3, Sentinel-1, TerraSAR-X, RadarSat-2, airborne and others, not stated per image",
        image_px="512 x 512 mostly",
        resolution="0.1 m to 25 m, not stated per image",
        polarisation="mixed, not stated per image",
        sar_scale=SarScale.uint8,
        dtypes=("uint8",),
        expected_scenes=116_598,
        licence="CC BY-NC 4.0; the ten sets have terms of their own",
        citation="""Li, Li, Li, Hou, Liu, Cheng, Yang: SARDet-100K: Towards Open-Source Benchmark and ToolKit for
            Large-Scale SAR Object Detection, NeurIPS 2024""",
        homepage="https://github.com/zcablii/SARDet_100K",
        folder="SARDet_100K",
        place_what="""\
    SARDet_100K/
      JPEGImages/{train,val,test}/<name>.{jpg,bmp,png}   or all in JPEGImages/, or Images/{train,val,test}/
      Annotations/{train,val,test}.json                COCO: ship, aircraft, car, tank, bridge, harbor""",
        notes="""94,493 images train, 10,492 validate, 11,613 test. HRSID, SSDD, AIR-SARShip and others are among the
            ten sets: a model trained on it has seen their test images.""",
    )
