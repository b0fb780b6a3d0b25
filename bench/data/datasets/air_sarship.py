"""AIR-SARShip-1.0 (Sun et al. 2019). Sources: Journal of Radars 8(6), doi 10.12000/JR19097; shore, resolution and the
count of 487 from `fileinfo.txt` of Gummary/SARShiptDevToolKit (revision 1686da5); the circulating split and its 461
boxes from GrokCV/GrokSAR (revision d41fb0e).
"""

from __future__ import annotations

from bench.data.facts import ShipFacts
from bench.data.scaling import SarScale
from bench.data.ships.dataset import ShipDataset
from bench.data.ships.voc_scenes import ANYWHERE, TIFF, PixelNumbers, VocLayout

SCENES = range(1, 32)
OFFSHORE = frozenset({3, 4, 6, 7, 10, 23, 24, 25, 29, 30})
ONE_METRE = frozenset({2, 8, 9, 10, 11, 12, 13, 14, 15, 25})
TEST = frozenset({5, 6, 8, 10, 12, 22, 24, 29, 30, 31})  # of the split in circulation, perhaps not the authors' own


class AirSarShip(ShipDataset):
    """31 scenes, known by the last integer of file names, since circulating copies differ in all else. Stated sizes
    are not relied upon: some labels say 3000 x 3000 px where the image is larger.
    """

    Options = PixelNumbers
    layout = VocLayout(
        images=ANYWHERE, annotations=ANYWHERE, suffixes=(TIFF,), match="number", id_is_scene=True, size_must_agree=False
    )
    numbers = SCENES
    columns = {
        "shore": {"offshore": OFFSHORE, "inshore": None},
        "resolution_m": {"1": ONE_METRE, "3": None},
        "split": {"test": TEST, "train": None},
    }
    facts = ShipFacts(
        name="air-sarship-1.0",
        title="AIR-SARShip-1.0: 31 Gaofen-3 scenes with 461 ships",
        sensors="Gaofen-3, spotlight and strip modes, C band",
        image_px="about 3000 x 3000; scene 13 is larger",
        resolution="1 m (10 scenes) and 3 m (21 scenes)",
        polarisation="single",
        sar_scale=SarScale.amplitude,  # 16-bit as released; its calibration is undocumented
        dtypes=("uint16",),
        expected_scenes=31,
        expected_ships=461,
        licence="not stated with the copies in circulation; see the publisher's page",
        citation="""Sun, Wang, Sun, Diao, Zhang, Fu: AIR-SARShip-1.0: High-resolution SAR Ship Detection Dataset,
            J. Radars 8(6), 2019""",
        homepage="https://radars.ac.cn/en/article/doi/10.12000/JR19097 (behind a form)",
        folder="AIR-SARShip-1.0",
        place_what="""\
    AIR-SARShip-1.0/                       folder names and stems may differ, the last integer counts
      AIR-SARShip-1.0-data/<n>.tiff        one channel, 16 bit
      AIR-SARShip-1.0-xml/<n>-label.xml    Pascal VOC""",
        notes="""The label files in circulation hold 461 ships (336 in the 21 training scenes, 125 in the 10 test
            scenes). A table of the scenes that circulates too adds up to 487: it gives scene 11 104 ships where the
            labels have 80, and scene 25 22 where they have 20. Corners are believed to be continuous coordinates from
            0 (a box at x = 0 occurs); nobody documents it.""",
    )
