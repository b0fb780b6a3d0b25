"""Any images with COCO JSON lists: what the user declares, nothing assumed."""

from __future__ import annotations

from bench.data.facts import ShipFacts
from bench.data.ships.coco_scenes import CocoScenes


class CocoFolder(CocoScenes):
    """A folder of images and one or more COCO files; see `CocoOptions`."""

    facts = ShipFacts(
        name="coco-folder",
        title="any SAR images with COCO JSON boxes",
        sensors="as the user declares",
        image_px="any",
        resolution="as the user declares (option gsd_m)",
        gsd_m=None,
        polarisation="unknown",
        sar_scale=None,  # the option sar_scale declares it
        expected_scenes=None,
        expected_ships=None,
        licence="the data's own",
        citation="the data's own",
        homepage="your own data",
        folder="coco",
        place_what="""\
    <folder>/
      images/<name>.png   PNG, JPEG or TIFF; one channel or three equal ones (option `images`)
      annotations.json    COCO: images, annotations with bbox, categories (option `annotations`, one or several)""",
    )
