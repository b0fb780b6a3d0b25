"""48 registered Sentinel-1/Sentinel-2 scene pairs, 42 of two California tiles and six of Texas: facts and layout."""

from __future__ import annotations

from bench.data.facts import DatasetFacts
from bench.data.scaling import SarScale
from bench.data.scene_pairs import ScenePairs


class S1S2Scenes(ScenePairs):
    """Scenes of 1024 px, cut into patches on the fly.

    Columns to group by: `tile` (the two tiles overlap at their common border, so use a guard distance) and `scene`.
    `position_certain` is "False" for names that were listed twice at the source. EPSG:3395 metres are longer than
    ground metres: by 1 / cos(latitude), 1.2 here.
    """

    default_crs = "EPSG:3395"
    facts = DatasetFacts(
        name="s1s2-scenes",
        title="48 Sentinel-1/Sentinel-2 scene pairs, 42 of California and 6 of Texas, 1024 px",
        sar_sensor="Sentinel-1A, IW GRD, C band",
        optical_sensor="Sentinel-2 L1C, RGB",
        gsd_m=10.0,
        polarisation="VH",
        sar_scale=SarScale.uint8,  # stretched to the 99th percentile at the source
        licence="Copernicus data: free to use and redistribute",
        citation="VolkovVl/Optical-SAR-dataset, revision 34d7e20; contains modified Copernicus Sentinel data (2020)",
        homepage="https://github.com/VolkovVl/Optical-SAR-dataset",
        folder="s1s2_scenes",
        place_what="""\
    s1s2_scenes/
      scenes.csv      scene, tile, products, dates, x_min_m, y_min_m, x_max_m, y_max_m (EPSG:3395), position_certain
      opt/<NNN>.png   Sentinel-2 RGB, 1024 x 1024, 8 bit
      sar/<NNN>.png   Sentinel-1 VH, 1024 x 1024, 8 bit, one channel""",
        expected_pairs=48,
        notes="""Scenes 220, 222, 232, 234, 245 and 246 show Texas, not California, so what scenes.csv says of their
            place is wrong: their names are listed twice at the source. Their position_certain is False; require
            {position_certain: "True"}, as the shipped suites do, to leave them out.""",
    )
