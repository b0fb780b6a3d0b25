"""SEN1-2 (Schmitt, Hughes and Zhu 2018): facts and layout.

Known from the paper (ISPRS Annals IV-1, 141-146, arXiv 1807.01569): 282,384 pairs, 256 px cut every 128, VV stretched
to 8 bit, four seasons whose regions of interest were drawn with a seed each (the number in the folder's name). Known
from public code that reads the set: folders and names. Inferred: that scenes of different seasons are different places;
no positions are published.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.data.dataset import DatasetOptions, Scan
from bench.data.facts import DatasetFacts
from bench.data.folders import Place, PlacedFolders
from bench.data.scaling import SarScale

SEASONS = ("ROIs1158_spring", "ROIs1868_summer", "ROIs1970_fall", "ROIs2017_winter")


class Sen12Options(DatasetOptions):
    """Options: `seasons`, the season folders that are read (of those named in `SEASONS`, all that lie there by
    default).
    """

    seasons: tuple[str, ...] | None = None


class Sen12(PlacedFolders):
    """256 px pairs in one pair of folders for each scene. Columns: `season`; the scene is season and number, the
    leakage group.

    The same number in two seasons is another scene: each season has a list of regions of its own. Patches of a scene
    overlap by half, so split by `scene`; whether two scenes overlap is not known.
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
        citation=(
            "Schmitt, Hughes, Zhu: The SEN1-2 Dataset for Deep Learning in SAR-Optical Data Fusion, ISPRS Annals IV-1"
            " (2018)"
        ),
        homepage="https://mediatum.ub.tum.de/1436631",
        folder="SEN1-2",
        place_what="""\
    SEN1-2/
      ROIs1868_summer/s1_<k>/ROIs1868_summer_s1_<k>_p<m>.png   Sentinel-1, 256 x 256, 8 bit, one channel
      ROIs1868_summer/s2_<k>/ROIs1868_summer_s2_<k>_p<m>.png   Sentinel-2, RGB
      and likewise ROIs1158_spring, ROIs1970_fall, ROIs2017_winter""",
        expected_pairs=282_384,
        patch_px=256,
    )

    @classmethod
    def holds(cls, folder: Path, options: Any) -> bool:
        return any(next((folder / season).glob("s1_*"), None) is not None for season in SEASONS)

    def _scan(self) -> Scan:
        wanted = self.options.seasons or [season for season in SEASONS if (self.root / season).is_dir()]
        self.check_names("season", wanted, SEASONS)
        places: list[tuple[Place, str, str]] = []
        for season in wanted:
            for number in self.numbers(season, ("s1_", "s2_")):
                where = Place(f"{season}_{number}", {"season": season.partition("_")[2]}, scene=f"{season}_{number}")
                places.append((where, f"{season}/s2_{number}", f"{season}/s1_{number}"))
        scan = self.scan_places(places, mark="p")
        strays = [line for pair in scan.pairs for line in (_stray(pair.optical), _stray(pair.sar)) if line]
        return replace(scan, unpaired=(*scan.unpaired, *strays))

    def expected_pairs(self) -> int | None:
        return self.facts.expected_pairs if set(self.options.seasons or SEASONS) == set(SEASONS) else None


def _stray(path: str) -> str:
    """Return a line on a file that is named for another scene than its folder, whose pixels would be paired wrongly; ""
    for others.
    """
    season, folder, name = path.split("/")
    return "" if name.startswith(f"{season}_{folder}_p") else f"{path} is named for another scene than its folder"
