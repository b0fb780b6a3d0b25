"""OSdataset (Xiang et al. 2020): facts and layout.

Known from the paper (IEEE JSTARS 13, 5847-5861): sensors, 1 m, the numbers of pairs. Known from public code that reads
the set: folders and names. Inferred: that both sizes show the same ground at 1 m, since 10,692 is four times 2,673;
some public programs call the smaller one resampled, which would make it 2 m. Unknown: positions, and how SAR became 8
bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from bench.data.dataset import DatasetOptions, Scan
from bench.data.facts import DatasetFacts
from bench.data.folders import Place, PlacedFolders
from bench.data.scaling import SarScale

PARTS = ("train", "val", "test")
PAIRS = {512: 2_673, 256: 10_692}


class OsDatasetOptions(DatasetOptions):
    """Options: `size_px`, which of the two published sizes is read (512: 2,673 pairs; 256: the same ground as 10,692
    pairs).
    """

    size_px: Literal[512, 256] = 512


class OsDataset(PlacedFolders):
    """Pairs of a number in one folder (or in opt/ and sar/ below it). Column: `split` (train, val, test: the official
    one); no scene is known, so each pair is its own leakage group, and nothing keeps one place out of two parts: look
    with `bench data audit`.
    """

    Options = OsDatasetOptions
    facts = DatasetFacts(
        name="osdataset",
        title="OSdataset: 2,673 Gaofen-3 / Google Earth pairs of 512 px, or 10,692 of 256 px",
        sar_sensor="Gaofen-3, spotlight mode, C band",
        optical_sensor="Google Earth imagery, resampled to 1 m",
        gsd_m=1.0,
        polarisation="unknown",
        sar_scale=SarScale.uint8,  # 8 bit as released; its processing is undocumented
        licence="not stated with the copies in circulation; see the publisher's page",
        citation=(
            "Xiang, Tao, Wang, You, Han: Automatic Registration of Optical and SAR Images via Improved Phase Congruency"
            " Model, IEEE JSTARS 13 (2020)"
        ),
        homepage="https://sites.google.com/view/yumingxiang",
        folder="OSdataset",
        place_what="""\
    OSdataset/
      512/{train,val,test}/opt<n>.png   optical, 512 x 512; option size_px: 256 reads 256/
      512/{train,val,test}/sar<n>.png   SAR, one channel, or three equal channels
    (some copies have opt/ and sar/ below each part)""",
        expected_pairs=None,  # 2,673 or 10,692 by size
        patch_px=None,  # by size
    )

    def expected_pairs(self) -> int:
        return PAIRS[self.options.size_px]

    def patch_px(self) -> int:
        return int(self.options.size_px)

    @classmethod
    def holds(cls, folder: Path, options: Any) -> bool:
        return any((folder / str(options.size_px) / part).is_dir() for part in PARTS)

    def _scan(self) -> Scan:
        places = []
        for part in PARTS:
            folder = f"{self.options.size_px}/{part}"
            if not (self.root / folder).is_dir():
                continue
            apart = (self.root / folder / "opt").is_dir()
            views = (f"{folder}/opt", f"{folder}/sar") if apart else (f"{folder}/opt*", f"{folder}/sar*")
            places.append((Place(part, {"split": part}), *views))
        return self.scan_places(places)
