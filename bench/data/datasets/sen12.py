"""SEN1-2 (Schmitt, Hughes and Zhu 2018). Known from the paper (ISPRS Annals IV-1, 141-146, arXiv 1807.01569): 282,384
pairs, 256 px cut every 128, VV stretched to 8 bit, four seasons whose regions of interest were drawn with a seed each
(the number in the folder's name). Known from public code that reads the set: folders and names. Inferred: that scenes
of different seasons are different places; no positions are published.
"""

from __future__ import annotations

from bench.data.dataset import DatasetOptions
from bench.data.facts import DatasetFacts
from bench.data.placed_folders import PlacedFolders, PlacedLayout
from bench.data.scaling import SarScale

ROIS = {"ROIs1158_spring": "spring", "ROIs1868_summer": "summer", "ROIs1970_fall": "fall", "ROIs2017_winter": "winter"}


class Sen12Options(DatasetOptions):
    """Options: `seasons`, the season folders that are read, by default all of `ROIS` that lie there."""

    seasons: tuple[str, ...] | None = None


class Sen12(PlacedFolders):
    """256 px pairs in one pair of folders for each scene. The same number in two seasons is another scene: each season
    has a list of regions of its own. Patches of a scene overlap by half, so split by `scene`; whether two scenes
    overlap is not known.
    """

    Options = Sen12Options
    layout = PlacedLayout(
        column="season",
        outer=ROIS,
        chosen_by="seasons",
        views=(("s2_{number}", "s1_{number}"),),
        id="{outer}_{number}_p{pair}",
        scene="{outer}_{number}",
        begin="{outer}_{inner}_p",
    )
    facts = DatasetFacts(
        name="sen1-2",
        title="SEN1-2: 282,384 Sentinel-1 / Sentinel-2 pairs of four seasons, 256 px",
        sar_sensor="Sentinel-1, IW GRD, C band",
        optical_sensor="Sentinel-2, RGB",
        gsd_m=10.0,
        polarisation="VV",
        sar_scale=SarScale.uint8,  # backscatter in dB, stretched to 8 bit at the source
        licence="CC BY",
        citation="""Schmitt, Hughes, Zhu: The SEN1-2 Dataset for Deep Learning in SAR-Optical Data Fusion, ISPRS Annals
            IV-1 (2018)""",
        homepage="https://mediatum.ub.tum.de/1436631",
        folder="SEN1-2",
        place_what="""\
    SEN1-2/                                                    likewise ROIs1158_spring, ROIs1970_fall, ROIs2017_winter
      ROIs1868_summer/s1_<k>/ROIs1868_summer_s1_<k>_p<m>.png   Sentinel-1, 256 x 256, 8 bit, one channel
      ROIs1868_summer/s2_<k>/ROIs1868_summer_s2_<k>_p<m>.png   Sentinel-2, RGB""",
        expected_pairs=282_384,
        patch_px=256,
    )
