"""Any images with Pascal VOC XML files: what the user declares, nothing assumed."""

from __future__ import annotations

from bench.data.facts import ShipFacts
from bench.data.ships.voc_scenes import VocScenes


class VocFolder(VocScenes):
    """Images and XML files in two folders; see `VocOptions` for folder names, matching, and where corners count from."""

    facts = ShipFacts(
        name="voc-folder",
        title="any SAR images with Pascal VOC XML boxes",
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
        folder="voc",
        place_what="""\
    <folder>/
      JPEGImages/<name>.png    PNG, JPEG or TIFF; one channel or three equal ones (option `images`)
      Annotations/<name>.xml   object/name, object/bndbox, object/difficult (option `annotations`)""",
        notes="Corners are taken as continuous coordinates; one_based: true for pixel numbers from 1, as in Pascal VOC itself.",
    )
