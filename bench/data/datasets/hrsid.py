"""HRSID (Wei et al. 2020). The numbers come from the abstract of the paper (IEEE Access 8, 120234-120254) and from
public code that reads the set.
"""

from __future__ import annotations

from pydantic import Field

from bench.data.dataset import OwnTable
from bench.data.facts import ShipFacts
from bench.data.scaling import SarScale
from bench.data.ships.coco_scenes import CocoLayout, Lists
from bench.data.ships.dataset import ShipDataset

OFFICIAL = ("train2017", "test2017")


class HrsidOptions(OwnTable):
    """Options: `table`; `annotations`, stems of the lists in annotations/, each the column `list` of its images; and
    `inshore_bright_frac`, as in `CocoLayout` (the published lists carry no `bright_frac`).
    """

    annotations: Lists = OFFICIAL
    inshore_bright_frac: float | None = Field(default=0.03, ge=0, le=1)


class Hrsid(ShipDataset):
    """Tiles of 800 px. The scene is the P<number> of the file name: neighbouring tiles overlap by 25 %, also across the
    official lists, so split by scene.
    """

    Options = HrsidOptions
    choosing = ("annotations",)
    layout = CocoLayout(
        images="JPEGImages", list_file="annotations/{}.json", official=OFFICIAL, scene_pattern="^P[^_]*"
    )
    facts = ShipFacts(
        name="hrsid",
        title="HRSID: 5,604 tiles of 800 px with 16,951 ships",
        sensors="Sentinel-1B (C band), TerraSAR-X and TanDEM-X (X band)",
        image_px="800 x 800",
        resolution="1 m to 5 m by the abstract; others quote 0.5 m, 1 m and 3 m",
        polarisation="mixed (HH, HV, VV), not stated per image",
        sar_scale=SarScale.uint8,  # 8-bit amplitude as released, JPEG
        dtypes=("uint8",),
        expected_scenes=5_604,
        expected_ships=16_951,
        licence="GPL-3.0",
        citation="""Wei, Zeng, Qu, Wang, Su, Shi: HRSID: A High-Resolution SAR Images Dataset for Ship Detection and
            Instance Segmentation, IEEE Access 8 (2020)""",
        homepage="https://github.com/chaozhong2010/HRSID",
        folder="HRSID_JPG",
        place_what="""\
    HRSID_JPG/
      JPEGImages/P<scene>_<y0>_<y1>_<x0>_<x1>.jpg   800 x 800, 8 bit, three equal channels
      annotations/{train2017,test2017}.json          COCO, one category""",
        notes="""The official lists share scenes. Boxes are the bounds of polygons in continuous coordinates from 0, it
            is believed; nothing published says so. Counts are declared for the official lists only.""",
    )
