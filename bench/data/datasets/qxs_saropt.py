"""QXS-SAROPT (Huang et al. 2021): facts and layout. The numbers come from arXiv 2103.08259 and from public code that
reads the set.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.data.dataset import DatasetOptions
from bench.data.facts import DatasetFacts
from bench.data.folders import FolderPairs, PairBy
from bench.data.scaling import SarScale


class QxsOptions(DatasetOptions):
    """Options: `table`, a CSV of your own with a row per pair number (`id`, `scene`, ...), since the set has no city
    labels.
    """

    table: str | None = None


class QxsSaropt(FolderPairs):
    """20,000 pairs of 256 px; paired by number; no split, no city labels, no coordinates."""

    Options = QxsOptions
    facts = DatasetFacts(
        name="qxs-saropt",
        title="QXS-SAROPT: 20,000 SAR-optical pairs over Qingdao, Shanghai and San Diego",
        sar_sensor="Gaofen-3, spotlight mode, C band",
        optical_sensor="Google Earth imagery",
        gsd_m=1.0,
        polarisation="single",
        sar_scale=SarScale.uint8,  # 8-bit amplitude as released; its processing is undocumented
        licence="CC BY",
        citation=(
            "Huang, Xu, Qian, Shi, Zhang, Bao et al.: The QXS-SAROPT Dataset for Deep Learning in SAR-Optical Data"
            " Fusion, arXiv 2103.08259"
        ),
        homepage="https://github.com/yaoxu008/QXS-SAROPT (behind a form)",
        folder="QXSLAB_SAROPT",
        place_what="""\
    QXSLAB_SAROPT/
      opt_256_oc_0.2/1.png ... 20000.png   optical, 256 x 256, 8 bit, RGB
      sar_256_oc_0.2/1.png ... 20000.png   SAR, 256 x 256, 8 bit, 1 or 3 equal channels""",
        expected_pairs=20_000,
        patch_px=256,
    )

    @classmethod
    def folders(cls, options: Any) -> tuple[str, str]:
        return "opt_256_oc_0.2", "sar_256_oc_0.2"

    def pair_by(self) -> PairBy:
        return "number"

    def table(self) -> Path | None:
        return self.root / self.options.table if self.options.table else None

    def crs(self) -> str | None:
        return None
