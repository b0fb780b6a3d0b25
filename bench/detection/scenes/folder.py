"""Scenes through one detector into a folder: all of them checked before anything is computed, then predicted one after
the other, then written in the formats of other tools.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.context import ExecutionContext
from bench.core.errors import BenchError, nearest
from bench.core.store import write_json
from bench.data.scaling import SarScale
from bench.data.tiff import rescaled
from bench.detection.scenes.outputs import SceneDetections, write_outputs, write_quicklook
from bench.detection.scenes.predictor import Predictor
from bench.detection.scenes.scene_predictions import (
    HASHES,
    WINDOWS,
    SceneResult,
    check_values,
    claim_folder,
    predict_scene,
    scene_identity,
)
from bench.detection.scenes.scene_reader import SceneReader, open_scene

# a folder of its own for pictures: scenes and results may share one, and pictures are no scenes
ABOUT, QUICKLOOKS = ("predict.json", "quicklook")


@dataclass(frozen=True)
class Stated:
    """What the user says of scenes, None where the files themselves say it.

    Attributes:
        band: of a file with several, counted from 1. nodata: value of pixels without data.
        sar_scale: what the values are. value_range: which of them become 0 and 1, instead of the detector's scaling.
        gsd_m: ground sample distance in metres a pixel.
    """

    band: int | None = None
    nodata: float | None = None
    sar_scale: SarScale | None = None
    value_range: tuple[float, float] | None = None
    gsd_m: float | None = None

    @classmethod
    def checked(
        cls,
        band: int | None,
        nodata: float | None,
        sar_scale: str | None,
        value_range: Sequence[float] | None,
        gsd_m: float | None,
    ) -> Stated:
        """Return what the user says. Raises BenchError for an unknown scale, a range that is no pair, gsd_m below 0."""
        if sar_scale is not None and sar_scale not in set(SarScale):
            raise BenchError(f"sar_scale {sar_scale!r} is unknown{nearest(sar_scale, SarScale)}", "sar_scale")
        if value_range is not None and len(value_range) != 2:
            raise BenchError(
                f"value_range has {len(value_range)} values; give those that become 0 and 1", "value_range"
            )
        if gsd_m is not None and not gsd_m > 0:
            raise BenchError(f"gsd_m {gsd_m:g}: metres a pixel, above 0", "gsd_m")
        values = None if value_range is None else (float(value_range[0]), float(value_range[1]))
        return cls(band, nodata, None if sar_scale is None else SarScale(sar_scale), values, gsd_m)

    def open(self, path: Path) -> AbstractContextManager[SceneReader]:
        """Open a scene. Raises BenchError where it cannot be read."""
        return open_scene(path, self.band, self.nodata)


@dataclass(frozen=True)
class CheckedScene:
    """A scene that may be predicted: its short name, its file, and the detector as it was settled for it."""

    name: str
    path: Path
    ready: Predictor


@dataclass(frozen=True)
class PredictedScene:
    """A scene with its result, its size in pixels, and the seconds that this call took for it."""

    scene: CheckedScene
    result: SceneResult
    height: int
    width: int
    seconds: float


def settle(ready: Predictor, reader: SceneReader, stated: Stated) -> Predictor:
    """Return the detector as one scene needs it, found out before anything is computed.

    Raises:
        BenchError: the scene is damaged, or its values are not those that the detector knows.
    """
    reader.probe()
    gsd_m = stated.gsd_m or (reader.geo.gsd_m if reader.geo else None)
    settled = ready.for_scene(reader.dtype, stated.sar_scale, stated.value_range, gsd_m, reader.path)
    if reader.rescaled and settled.sar_scale not in (None, SarScale.uint8):
        raise rescaled(reader.path, reader.rescaled)
    reader.scale = settled.sar_scale
    check_values(settled, reader, of_training=stated.value_range is None and settled.scales_values)
    return settled


def check_scenes(paths: Mapping[str, Path], ready: Predictor, stated: Stated) -> list[CheckedScene]:
    """Open every scene and settle the detector for it. Raises BenchError as `settle`."""
    scenes = []
    for name, path in paths.items():
        with stated.open(path) as reader:
            scenes.append(CheckedScene(name, path, settle(ready, reader, stated)))
    return scenes


def claim_scenes(scenes: Sequence[CheckedScene], folder: Path, stated: Stated, force: bool) -> None:
    """Take the scenes' places in the folder, or find them half done by the same call; nothing is removed unless all may
    be. Raises BenchError where a place holds another prediction.
    """
    identities = []
    for scene in scenes:
        with stated.open(scene.path) as reader:
            cache = folder / WINDOWS / HASHES
            identities.append(scene_identity(scene.ready, reader, stated.band, stated.nodata, cache))
    for scene, identity in zip(scenes, identities, strict=True):
        claim_folder(folder / WINDOWS / scene.name, scene.path.name, identity, force)


def predict_scenes(
    scenes: Sequence[CheckedScene], stated: Stated, context: ExecutionContext
) -> Iterator[PredictedScene]:
    """Yield the scenes with what was found in them, going on from what `context.folder` holds; equal detectors are
    built once.
    """
    built = None
    for scene in scenes:
        if built is None or built[0] != scene.ready:
            built = (scene.ready, scene.ready.build(context))
        started = time.monotonic()
        with stated.open(scene.path) as reader:
            reader.scale = scene.ready.sar_scale
            place = context.folder / WINDOWS / scene.name
            result = predict_scene(built[1], reader, place, context.device, scene.path.name, context.progress)
            yield PredictedScene(scene, result, reader.height, reader.width, time.monotonic() - started)


def write_predictions(
    predicted: Sequence[PredictedScene],
    folder: Path,
    stated: Stated,
    formats: Sequence[str],
    score_threshold: float | None,
    quicklook: bool,
) -> tuple[list[Path], int]:
    """Write what was found from the threshold on, and `predict.json` about it; return the files, and how many
    detections are in them.
    """
    names = [each.scene.path.name for each in predicted]
    out, about_scenes = [], []
    for each in predicted:
        scene = each.scene
        found = scene.ready.kept(each.result.found.detections, score_threshold)
        file_name = scene.path.name if names.count(scene.path.name) == 1 else scene.name + scene.path.suffix
        with stated.open(scene.path) as reader:
            out.append(SceneDetections(scene.name, file_name, each.height, each.width, reader.geo, found))
            if quicklook:
                write_quicklook(folder / QUICKLOOKS / f"{scene.name}.png", reader, found.boxes)
        about_scenes.append(_about(each, file_name, len(found)))
    first = predicted[0].scene.ready
    about = {"detector": first.name, "score_threshold": score_threshold, **first.made_of}
    paths = write_outputs(folder, out, formats, about)
    write_json(folder / ABOUT, {**about, "scenes": about_scenes})
    return paths, sum(len(each.detections) for each in out)


def _about(each: PredictedScene, file_name: str, kept: int) -> dict[str, Any]:
    return {
        "name": each.scene.name,
        "file_name": file_name,
        "made_of": each.scene.ready.identity(),
        "detections": kept,
        "windows": each.result.found.windows,
        "windows_without_data": each.result.found.skipped,
        "devices": list(each.result.devices),
    }
