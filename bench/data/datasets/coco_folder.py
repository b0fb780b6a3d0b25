"""Any images with COCO JSON lists: what the user declares, nothing assumed."""

from __future__ import annotations

from bench.data.facts import facts_of_users_own
from bench.data.ships.coco_scenes import CocoLayout, CocoOptions
from bench.data.ships.dataset import ShipDataset


class CocoFolder(ShipDataset):
    """A folder of images and one or more COCO files; see `CocoOptions`."""

    Options = CocoOptions
    layout = CocoLayout()
    version = 2  # 2: pixels that a GeoTIFF marks as missing are dark
    facts = facts_of_users_own(
        name="coco-folder",
        title="any SAR images with COCO JSON boxes",
        folder="coco",
        place_what="""\
    <folder>/
      images/<name>.png   PNG, JPEG, BMP or TIFF; one channel or three equal channels (option `images`)
      annotations.json    COCO: images, annotations with bbox, categories (option `annotations`, one or several)""",
    )
