"""HRSID (Wei et al. 2020): facts and layout. The numbers come from the abstract of the paper (IEEE Access 8,
120234-120254) and from public code that reads the set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from bench.core.errors import BenchError
from bench.data.dataset import DatasetOptions
from bench.data.facts import ShipFacts
from bench.data.scaling import SarScale
from bench.data.ships.coco import CocoImage
from bench.data.ships.coco_scenes import CocoScenes

OFFICIAL = ("train2017", "test2017")


class HrsidOptions(DatasetOptions):
    """Options of HRSID.

    Attributes:
        annotations: stems of the lists in annotations/; each image keeps the name of its list as the attribute `list`.
        inshore_bright_frac: where every image of a list carries `bright_frac` (the share of bright pixels), its `shore`
            is "inshore" above this share and "offshore" otherwise, an estimate and no label; null for no shore. The
            published lists carry none.
        table: CSV of your own with a row for each image (`id`: its stem), for columns such as `shore`.
    """

    annotations: tuple[str, ...] = Field(default=OFFICIAL, min_length=1)
    inshore_bright_frac: float | None = Field(default=0.03, ge=0, le=1)
    table: str | None = None

    @field_validator("annotations", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Hrsid(CocoScenes):
    """Tiles of 800 px. The scene is the P<number> of the file name: neighbouring tiles overlap by 25 %, also across the
    official lists, so split by scene.
    """

    Options = HrsidOptions
    facts = ShipFacts(
        name="hrsid",
        title="HRSID: 5,604 tiles of 800 px with 16,951 ships",
        sensors="Sentinel-1B (C band), TerraSAR-X and TanDEM-X (X band)",
        image_px="800 x 800",
        resolution="1 m to 5 m by the abstract; others quote 0.5 m, 1 m and 3 m",
        gsd_m=None,
        polarisation="mixed (HH, HV, VV), not told by image",
        sar_scale=SarScale.uint8,  # 8-bit amplitude as released, JPEG
        dtypes=("uint8",),
        expected_scenes=5_604,
        expected_ships=16_951,
        licence="GPL-3.0",
        citation=(
            "Wei, Zeng, Qu, Wang, Su, Shi: HRSID: A High-Resolution SAR Images Dataset for Ship Detection and Instance"
            " Segmentation, IEEE Access 8 (2020)"
        ),
        homepage="https://github.com/chaozhong2010/HRSID",
        folder="HRSID_JPG",
        place_what="""\
    HRSID_JPG/
      JPEGImages/P<scene>_<y0>_<y1>_<x0>_<x1>.jpg   800 x 800, 8 bit, three equal channels
      annotations/{train2017,test2017}.json          COCO, one category""",
        notes=(
            "The official lists share scenes. Boxes are the bounds of polygons in continuous coordinates from 0, it is"
            " believed; nothing published says so. Counts are declared for the official lists only."
        ),
    )

    @classmethod
    def folder_and_lists(cls, options: Any) -> tuple[str, list[str]]:
        return "JPEGImages", [f"annotations/{name}.json" for name in options.annotations]

    def expected(self) -> tuple[int | None, int | None]:
        return super().expected() if self.lists_whole() else (None, None)

    def lists_whole(self) -> bool:
        return set(self.options.annotations) == set(OFFICIAL)

    def scene_of(self, name: str) -> str | None:
        return name.partition("_")[0] if name.startswith("P") else None

    def attributes_of(self, image: CocoImage) -> Mapping[str, str]:
        attributes = dict(super().attributes_of(image))
        limit = self.options.inshore_bright_frac
        if limit is not None and "bright_frac" in attributes:
            attributes["shore"] = "inshore" if _share(attributes["bright_frac"]) > limit else "offshore"
        return attributes


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise BenchError(f"bright_frac {text!r} is no share between 0 and 1")
    return share
