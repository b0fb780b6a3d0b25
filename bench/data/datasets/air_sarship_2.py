"""AIR-SARShip-2.0. Known from lists of data sets that quote the publisher (Journal of Radars): number and size of the
images, sensor, resolutions, pixels. Known from public programs that read it: folders, names and the schema; some pair
files by their stems, one by `source/filename`, so the two should agree. Unknown: the number of ships (the table of
SARDet-100K, which took the set over whole, says 2,040, but is 18 off for HRSID), an official split (those programs
bring lists of their own), and where pixels count from (one program subtracts 1, others take points as they stand).
"""

from __future__ import annotations

from bench.data.dataset import OwnTable
from bench.data.facts import ShipFacts
from bench.data.images import IMAGE_SUFFIXES
from bench.data.scaling import SarScale
from bench.data.ships.dataset import ShipDataset
from bench.data.ships.voc_scenes import ANYWHERE, TIFF, PixelNumbers, VocLayout


class AirSarShip2Options(PixelNumbers, OwnTable):
    """Options: `one_based` and `table`, whose `id` is the number of the image."""


class AirSarShip2(ShipDataset):
    """300 images and XML files, matched by the last integer of file names. PNG and JPEG files count only where there is
    no TIFF, since they are previews otherwise. No scene is known: each image is its own leakage group.
    """

    Options = AirSarShip2Options
    layout = VocLayout(
        images=ANYWHERE,
        annotations=ANYWHERE,
        suffixes=(TIFF, IMAGE_SUFFIXES),
        match="number",
        xml="points",
        stated_numbers=True,
    )
    facts = ShipFacts(
        name="air-sarship-2.0",
        title="AIR-SARShip-2.0: 300 Gaofen-3 images of 1000 px",
        sensors="Gaofen-3, several modes, C band",
        image_px="1000 x 1000",
        resolution="1 m and 3 m, not stated per image",
        polarisation="single",
        sar_scale=SarScale.amplitude,  # 16 bit as released; its calibration is undocumented
        expected_scenes=300,
        licence="not stated with the copies in circulation; see the publisher's page",
        citation="""AIR-SARShip-2.0, Aerospace Information Research Institute, Chinese Academy of Sciences, published by
            J. Radars""",
        homepage="""https://radars.ac.cn/web/data/getData?newsColumnId=d25c94d7-8fe8-415f-a383-9b0ffd6d5a9a (behind a
            form)""",
        folder="AIR-SARShip-2.0",
        place_what="""\
    AIR-SARShip-2.0/                  folder names and stems may differ, the last integer counts
      AIR-SARShip-2.0-data/<n>.tiff   one channel, 1000 x 1000
      AIR-SARShip-2.0-xml/<n>.xml     objects/object with possibleresult/name and points/point""",
        notes="""Certain: 300 images of 1000 x 1000 px, corner points as texts x,y. Believed: continuous coordinates
            from 0; one public program takes them as pixel numbers from 1 (option one_based). The count of ships and an
            official split are not known, so neither is declared. No scene is known either: boards mark such rows as
            unknown; look with `bench data audit`.""",
    )
