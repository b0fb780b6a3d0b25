"""AIR-SARShip-1.0 (Sun et al. 2019): facts, layout and what is known of each scene.

Sources: Journal of Radars 8(6), doi 10.12000/JR19097; shore, resolution and the count of 487 from `fileinfo.txt` of
Gummary/SARShiptDevToolKit (revision 1686da5); the circulating split and its 461 boxes from GrokCV/GrokSAR (revision
d41fb0e).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.data.dataset import DatasetOptions, missing
from bench.data.facts import ShipFacts
from bench.data.scaling import SarScale
from bench.data.ships.files import last_integer, walk
from bench.data.ships.voc_scenes import VocScenes

SCENES = range(1, 32)
OFFSHORE = frozenset({3, 4, 6, 7, 10, 23, 24, 25, 29, 30})
ONE_METRE = frozenset({2, 8, 9, 10, 11, 12, 13, 14, 15, 25})
TEST = frozenset({5, 6, 8, 10, 12, 22, 24, 29, 30, 31})
"""Test scenes of the split in circulation; whether it is the authors' own is not known."""


class AirSarShipOptions(DatasetOptions):
    """Options: `one_based`, whether corners count from 1. One public reader assumes so, but the labels in circulation
    hold x = 0.
    """

    one_based: bool = False


class AirSarShip(VocScenes):
    """31 scenes with VOC XML. Images and XML files are found below the root by suffix and matched by the last integer
    of their stems, since circulating copies differ in folder names and stems. That integer is the id, the image id and
    the scene.

    Columns: `shore` (inshore, offshore), `resolution_m` (1, 3), `split` (train, test: the circulating one).
    """

    Options = AirSarShipOptions
    # the scenes are not all 3000 x 3000 px, whatever is written about them; boxes must still lie in the image
    size_must_agree = False
    facts = ShipFacts(
        name="air-sarship-1.0",
        title="AIR-SARShip-1.0: 31 Gaofen-3 scenes with 461 ships",
        sensors="Gaofen-3, spotlight and strip modes, C band",
        image_px="about 3000 x 3000; scene 13 is larger",
        resolution="1 m (10 scenes) and 3 m (21 scenes)",
        gsd_m=None,
        polarisation="single",
        sar_scale=SarScale.amplitude,  # 16-bit as released; its calibration is undocumented
        dtypes=("uint16",),
        expected_scenes=31,
        expected_ships=461,
        licence="not stated with the copies in circulation; see the publisher's page",
        citation=(
            "Sun, Wang, Sun, Diao, Zhang, Fu: AIR-SARShip-1.0: High-resolution SAR Ship Detection Dataset, J. Radars"
            " 8(6), 2019"
        ),
        homepage="https://radars.ac.cn/en/article/doi/10.12000/JR19097 (behind a form)",
        folder="AIR-SARShip-1.0",
        place_what="""\
    AIR-SARShip-1.0/
      AIR-SARShip-1.0-data/<n>.tiff        one channel, 16 bit
      AIR-SARShip-1.0-xml/<n>-label.xml    Pascal VOC
    (folder names and stems may differ, the last integer counts)""",
        notes=(
            "The label files in circulation hold 461 ships (336 in the 21 training scenes, 125 in the 10 test scenes)."
            " A table of the scenes that circulates too adds up to 487: it gives scene 11 104 ships where the labels"
            " have 80, and scene 25 22 where they have 20. Corners are believed to be continuous coordinates from 0 (a"
            " box at x = 0 occurs); nobody documents it."
        ),
    )

    @classmethod
    def locate(cls, root: Path, options: Any) -> Path:
        """Return `root` when images and XML files lie anywhere below it."""
        for suffixes, what in (({".tif", ".tiff"}, "*.tiff"), ({".xml"}, "*.xml")):
            if next(walk(root, "", suffixes), None) is None:
                raise missing(cls.facts, [f"{root}/**/{what}"])
        return root

    def image_names(self) -> list[str]:
        return list(walk(self.root, "", {".tif", ".tiff"}))

    def annotation_names(self) -> list[str]:
        return list(walk(self.root, "", {".xml"}))

    def by_number(self) -> bool:
        return True

    def attributes_of(self, name: str) -> Mapping[str, str]:
        number = int(name)
        if number not in SCENES:
            raise BenchError(
                f"scene {number} is none of the {len(SCENES)} scenes of AIR-SARShip-1.0; remove its files from"
                f" {self.root}"
            )
        return {
            "shore": "offshore" if number in OFFSHORE else "inshore",
            "resolution_m": "1" if number in ONE_METRE else "3",
            "split": "test" if number in TEST else "train",
        }

    def scene_of(self, name: str) -> str | None:
        return str(last_integer(name))
