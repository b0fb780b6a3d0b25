"""Registered scene pairs of one's own, of any sensors: what the user declares, nothing assumed."""

from __future__ import annotations

from pydantic import Field

from bench.data.facts import DatasetFacts
from bench.data.scene_pairs import SceneOptions, ScenePairs


class OwnSceneOptions(SceneOptions):
    """Options of registered scenes of one's own: those of the family, and the facts that a named set declares itself.

    Attributes:
        gsd_m: ground sample distance in metres per pixel; None where it varies.
        sar_sensor, optical_sensor, polarisation: in words, for the record.
    """

    gsd_m: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    sar_sensor: str = Field(default="", max_length=200)
    optical_sensor: str = Field(default="", max_length=200)
    polarisation: str = Field(default="", max_length=200)


class OwnScenes(ScenePairs):
    """Two folders of registered scenes and a CSV that lists them; see `SceneOptions`.

    Columns of the CSV beside `scene` and the corners are there to group, to select and to require by.
    """

    Options = OwnSceneOptions
    facts = DatasetFacts(
        name="scene-pairs",
        title="any registered SAR-optical scenes, cut on the fly",
        sar_sensor="as the user declares (option sar_sensor)",
        optical_sensor="as the user declares (option optical_sensor)",
        polarisation="as the user declares (option polarisation)",
        sar_scale=None,  # the option sar_scale declares it
        licence="the data's own",
        citation="the data's own",
        homepage="your own data",
        folder="scenes",
        place_what="""\
    <folder>/
      scenes.csv        scene; x_min_m, y_min_m, x_max_m, y_max_m where known (option `crs`); columns to group by
      opt/<scene>.png   optical, 1 or 3 channels (PNG, JPEG, BMP or TIFF); folder names: options `optical`, `sar`
      sar/<scene>.png   SAR, one channel or three equal channels, same size and same name""",
    )
