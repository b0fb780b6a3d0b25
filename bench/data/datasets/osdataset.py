"""OSdataset (Xiang et al. 2020). Known from the paper (IEEE JSTARS 13, 5847-5861): sensors, 1 m, the numbers of pairs.
Known from public code that reads the set: folders and names. Inferred: that both sizes show the same ground at 1 m,
since 10,692 is four times 2,673; some public programs call the smaller one resampled, which would make it 2 m. Unknown:
positions, and how SAR became 8 bit.
"""

from __future__ import annotations

from typing import Literal

from bench.data.dataset import DatasetOptions
from bench.data.facts import DatasetFacts
from bench.data.placed_folders import PlacedFolders, PlacedLayout
from bench.data.scaling import SarScale


class OsDatasetOptions(DatasetOptions):
    """Options: `size_px`, which of the two published sizes is read (256: the same ground as 10,692 pairs)."""

    size_px: Literal[512, 256] = 512


class OsDataset(PlacedFolders):
    """Pairs of a number in one folder, or in opt/ and sar/ below it. Column: `split`, the official one. No scene is
    known, so each pair is its own leakage group, and nothing keeps one place out of two parts: look with `bench data
    audit`.
    """

    Options = OsDatasetOptions
    layout = PlacedLayout(
        column="split",
        outer={"train": "train", "val": "val", "test": "test"},
        below="{size_px}/{outer}",
        views=(("opt", "sar"), ("opt*", "sar*")),
        id="{outer}_{pair}",
    )
    facts = DatasetFacts(
        name="osdataset",
        title="OSdataset: 2,673 Gaofen-3 / Google Earth pairs of 512 px, or 10,692 of 256 px",
        sar_sensor="Gaofen-3, spotlight mode, C band",
        optical_sensor="Google Earth imagery, resampled to 1 m",
        gsd_m=1.0,
        polarisation="unknown",
        sar_scale=SarScale.uint8,  # 8 bit as released; its processing is undocumented
        licence="not stated with the copies in circulation; see the publisher's page",
        citation="""Xiang, Tao, Wang, You, Han: Automatic Registration of Optical and SAR Images via Improved Phase
            Congruency Model, IEEE JSTARS 13 (2020)""",
        homepage="https://sites.google.com/view/yumingxiang",
        folder="OSdataset",
        place_what="""\
    OSdataset/                          some copies have opt/ and sar/ below each part
      512/{train,val,test}/opt<n>.png   optical, 512 x 512; option size_px: 256 reads 256/
      512/{train,val,test}/sar<n>.png   SAR, one channel, or three equal channels""",
        sizes={512: 2_673, 256: 10_692},
    )
