"""SEN1-2 (Schmitt, Hughes and Zhu 2018): facts and layout. Sources: ISPRS Annals IV-1, 141-146, arXiv 1807.01569; folders and names from
public code that reads the set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.data.dataset import DatasetOptions, Scan
from bench.data.facts import DatasetFacts
from bench.data.folders import Place, PlacedFolders
from bench.data.scaling import SarScale

SEASONS = ("ROIs1158_spring", "ROIs1868_summer", "ROIs1970_fall", "ROIs2017_winter")


class Sen12Options(DatasetOptions):
    """Options: `seasons`, the season folders that are read (of those named in `SEASONS`, all that lie there by default)."""

    seasons: tuple[str, ...] | None = None


class Sen12(PlacedFolders):
    """256 px pairs in one pair of folders for each scene. Columns: `season`; the scene is season and number, the leakage group.

    The same number in two seasons is another place: seasons were drawn from different lists of regions. Scenes do not overlap by
    construction; patches within a scene overlap by half, so split by `scene`.
    """

    Options = Sen12Options
    facts = DatasetFacts(
        name="sen1-2",
        title="SEN1-2: 282,384 Sentinel-1 / Sentinel-2 pairs of four seasons, 256 px",
        sar_sensor="Sentinel-1, IW GRD, C band",
        optical_sensor="Sentinel-2, RGB",
        gsd_m=10.0,
        polarisation="VV",
        sar_scale=SarScale.uint8,  # backscatter in dB, stretched to 8 bit at the source
        licence="CC BY",
        citation="Schmitt, Hughes, Zhu: The SEN1-2 Dataset for Deep Learning in SAR-Optical Data Fusion, ISPRS Annals IV-1 (2018)",
        homepage="https://mediatum.ub.tum.de/1436631",
        folder="SEN1-2",
        place_what="""\
    SEN1-2/
      ROIs1868_summer/s1_<k>/ROIs1868_summer_s1_<k>_p<m>.png   Sentinel-1, 256 x 256, 8 bit, one channel
      ROIs1868_summer/s2_<k>/ROIs1868_summer_s2_<k>_p<m>.png   Sentinel-2, RGB; likewise ROIs1158_spring, ROIs1970_fall, ROIs2017_winter""",
        expected_pairs=282_384,
        patch_px=256,
    )

    @classmethod
    def holds(cls, folder: Path, options: Any) -> bool:
        return any(next((folder / season).glob("s1_*"), None) is not None for season in SEASONS)

    def _scan(self) -> Scan:
        wanted = self.options.seasons or [season for season in SEASONS if (self.root / season).is_dir()]
        self.check_names("season", wanted, SEASONS)
        places = []
        for season in wanted:
            for number in self.numbers(season, ("s1_", "s2_")):
                where = Place(f"{season}_{number}", {"season": season.partition("_")[2]}, scene=f"{season}_{number}")
                places.append((where, f"{season}/s2_{number}", f"{season}/s1_{number}"))
        return self.scan_places(places, mark="p")
