"""SSDD (Li et al. 2017) as released by Zhang et al. 2021. Sources: Remote Sensing 13(18), 3690; Han-Ke/SL-SSDD e9b3ffd
(names, sizes); public programs that read the release (folders, numbers of boxes)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bench.data.csv_files import numbers_by_value
from bench.data.dataset import OwnTable
from bench.data.facts import ShipFacts
from bench.data.scaling import SarScale
from bench.data.ships.styles import Composites, TwoStyles

TEST = frozenset(number for number in range(1, 1_161) if number % 10 in (1, 9))
# of one group: what shares pixels, is equal or shows one place, directly or through others (`bench data audit ssdd`)
GROUPS = numbers_by_value(Path(__file__).with_name("ssdd_groups.csv"), "group")


class SsddOptions(Composites, OwnTable):
    """Options: `style`, which of the two copies of images and boxes is read; `table`, whose `id` is the stem."""

    style: Literal["voc", "coco"] = "voc"


class Ssdd(TwoStyles):
    """1,160 images whose stem is their id. No scene is known: each image is its own leakage group."""

    Options = SsddOptions
    inside = "BBox_SSDD/{style}_style"
    numbers, image_id = range(1, 1_161), "{:06d}"
    columns = {"split": {"test": TEST, "train": None}, "group": GROUPS}
    facts = ShipFacts(
        name="ssdd",
        title="SSDD: 1,160 images of three sensors with 2,587 ships",
        sensors="RadarSat-2 and Sentinel-1 (C band), TerraSAR-X (X band), not stated per image",
        image_px="214 to 668 wide, 190 to 526 high",
        resolution="1 m to 15 m, not stated per image",
        polarisation="mixed (HH, HV, VV, VH), not stated per image",
        sar_scale=SarScale.uint8,  # 8-bit JPEG as released
        dtypes=("uint8",),
        expected_scenes=1_160,
        expected_ships=2_587,
        licence="not stated with the release; see the publisher's page",
        citation="Zhang et al., SAR Ship Detection Dataset (SSDD), Remote Sensing 13(18), 3690 (2021); Li et al. 2017",
        homepage="https://github.com/TianwenZhang0825/Official-SSDD",
        folder="Official-SSDD-OPEN",
        place_what="""\
    Official-SSDD-OPEN/                                as unpacked; style: coco reads BBox_SSDD/coco_style instead
      BBox_SSDD/voc_style/JPEGImages/<6 digits>.jpg    8 bit, many sizes; or in JPEGImages_train and JPEGImages_test
      BBox_SSDD/voc_style/Annotations/<6 digits>.xml   Pascal VOC; or in Annotations_train and Annotations_test""",
        notes="""Numbers that end in 1 or 9 are the official test part (232). Most papers quote the 2,456 ships of the
            first labels (2017); public programs that read the official release count 2,587: 546 to test, 172 of them in
            46 inshore images. No scene is known: each image is its own leakage group. The official parts leak: 196 of
            232 test images share pixels with training images. Column `group` joins what shares pixels or place (322
            groups): split by it. 34 images are colour composites. Corners are believed to count from 0.""",
        audited={
            "split": "196 of 232 official test images share pixels with training images (`bench data audit ssdd`)"
        },
    )
