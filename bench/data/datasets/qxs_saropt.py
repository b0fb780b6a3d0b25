"""QXS-SAROPT (Huang et al. 2021). The numbers come from arXiv 2103.08259 and from public code that reads the set."""

from __future__ import annotations

from bench.data.dataset import OwnTable
from bench.data.facts import DatasetFacts
from bench.data.folders import FolderOptions, FolderPairs
from bench.data.scaling import SarScale


class QxsSaropt(FolderPairs):
    """20,000 pairs of 256 px; no split, no city labels (hence the option `table`), no coordinates."""

    Options = OwnTable
    layout = FolderOptions(optical="opt_256_oc_0.2", sar="sar_256_oc_0.2", pair_by="number")
    facts = DatasetFacts(
        name="qxs-saropt",
        title="QXS-SAROPT: 20,000 SAR-optical pairs over Qingdao, Shanghai and San Diego",
        sar_sensor="Gaofen-3, spotlight mode, C band",
        optical_sensor="Google Earth imagery",
        gsd_m=1.0,
        polarisation="single",
        sar_scale=SarScale.uint8,  # 8-bit amplitude as released; its processing is undocumented
        licence="CC BY",
        citation="""Huang, Xu, Qian, Shi, Zhang, Bao et al.: The QXS-SAROPT Dataset for Deep Learning in SAR-Optical
            Data Fusion, arXiv 2103.08259""",
        homepage="https://github.com/yaoxu008/QXS-SAROPT (behind a form)",
        folder="QXSLAB_SAROPT",
        place_what="""\
    QXSLAB_SAROPT/
      opt_256_oc_0.2/1.png ... 20000.png   optical, 256 x 256, 8 bit, RGB
      sar_256_oc_0.2/1.png ... 20000.png   SAR, 256 x 256, 8 bit, 1 or 3 equal channels""",
        expected_pairs=20_000,
        patch_px=256,
    )
