"""SSDD (Li et al. 2017), with the labels and in the layout of its official release (Zhang et al. 2021). Sources: Remote
Sensing 13(18), 3690 (sensors, resolutions, polarisations, the rule of the split); Han-Ke/SL-SSDD, revision e9b3ffd
(names and sizes of all images); public programs that read the release and check its counts (folders, numbers of boxes).
"""

from __future__ import annotations

from typing import Literal

from bench.data.dataset import OwnTable
from bench.data.facts import ShipFacts
from bench.data.scaling import SarScale
from bench.data.ships.styles import TwoStyles

NUMBERS = range(1, 1_161)
TEST = frozenset(number for number in NUMBERS if number % 10 in (1, 9))


class SsddOptions(OwnTable):
    """Options: `style`, which of the two copies of images and boxes is read; `table`, whose `id` is the stem."""

    style: Literal["voc", "coco"] = "voc"


class Ssdd(TwoStyles):
    """1,160 images whose stem is their id. No scene is known: each image is its own leakage group."""

    Options = SsddOptions
    inside = "BBox_SSDD/{style}_style"
    numbers, image_id = NUMBERS, "{:06d}"
    columns = {"split": {"test": TEST, "train": None}}
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
        citation="""Zhang, Zhang, Li, Xu, Wang, Zhan et al.: SAR Ship Detection Dataset (SSDD): Official Release and
            Comprehensive Data Analysis, Remote Sensing 13(18), 3690 (2021); Li, Qu, Shao: Ship Detection in SAR Images
            Based on an Improved Faster R-CNN, BIGSARDATA 2017""",
        homepage="https://github.com/TianwenZhang0825/Official-SSDD",
        folder="Official-SSDD-OPEN",
        place_what="""\
    Official-SSDD-OPEN/                                as unpacked; style: coco reads BBox_SSDD/coco_style instead
      BBox_SSDD/voc_style/JPEGImages/<6 digits>.jpg    8 bit, many sizes; or in JPEGImages_train and JPEGImages_test
      BBox_SSDD/voc_style/Annotations/<6 digits>.xml   Pascal VOC; or in Annotations_train and Annotations_test""",
        notes="""Certain: 1,160 images, 000001 to 001160; those whose number ends in 1 or 9 are the official test part
            (232; 928 train). The 2,456 ships that most papers quote are those of the first labels (2017); the official
            release labelled all images anew, and public programs that read it count 2,587 boxes: 2,041 to train and 546
            to test, 172 of them in 46 inshore images. The declared count is that of the release. No scene is known:
            each image is its own leakage group. The official parts leak: `bench data audit` of a copy in circulation
            found that 195 of the 232 test images share pixels with training images, and ten groups of equal images that
            lie across the two, so numbers on them are optimistic, and boards mark the rows. Corners are believed to be
            continuous coordinates from 0; nobody documents it.""",
        audited={
            "split": "195 of 232 official test images share pixels with training images (`bench data audit ssdd`)"
        },
    )
