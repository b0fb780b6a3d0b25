"""Any images with Pascal VOC XML files: what the user declares, nothing assumed."""

from __future__ import annotations

from bench.data.facts import facts_of_users_own
from bench.data.ships.dataset import ShipDataset
from bench.data.ships.voc_scenes import VocLayout, VocOptions


class VocFolder(ShipDataset):
    """Images and XML files in two folders; see `VocOptions` for folder names, matching, and where corners count
    from.
    """

    Options = VocOptions
    layout = VocLayout()
    version = 2  # 2: pixels that a GeoTIFF marks as missing are dark
    facts = facts_of_users_own(
        name="voc-folder",
        title="any SAR images with Pascal VOC XML boxes",
        folder="voc",
        place_what="""\
    <folder>/
      JPEGImages/<name>.png    PNG, JPEG, BMP or TIFF; one channel or three equal channels (option `images`)
      Annotations/<name>.xml   object/name, object/bndbox, object/difficult (option `annotations`)""",
        notes="""Corners are taken as continuous coordinates; one_based: true for pixel numbers from 1, as in Pascal VOC
            itself.""",
    )
