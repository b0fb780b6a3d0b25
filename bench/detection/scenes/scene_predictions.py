"""What a scene's prediction is made of, and its folder: the windows that are finished, and in the end what was found.

Every scene has a folder of its own below `windows/` in the output folder: `identity.json`, a file for each finished
window, and `found.npz` when all are finished (the windows then go). A folder that holds windows of another scene, model
or option is never mixed with: it is refused.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.arrays import load_arrays
from bench.core.errors import BenchError, first_line
from bench.core.progress import Progress
from bench.core.store import read_json, save_arrays, write_json
from bench.data.manifest import file_sha256, regular
from bench.data.scaling import SarScale
from bench.detection.detectors.base import Detections, Detector
from bench.detection.scenes.predictor import Predictor
from bench.detection.scenes.scene_reader import SUFFIXES, SceneReader
from bench.detection.scenes.windowed import FinishedWindows, Found, windowed
from bench.detection.spec import PREDICT_VERSION
from bench.detection.tiles.tiling import tile_grid

WINDOWS, HASHES = "windows", ".hashes"
_FOUND, _IDENTITY = "found.npz", "identity.json"
_SIDECARS = (".msk", ".aux.xml", ".ovr")  # GDAL reads them together with the image
_SAMPLED_TILES, _BEYOND = 48, 0.5


@dataclass(frozen=True)
class SceneResult:
    """A finished scene.

    Attributes:
        found: what was found. devices: that computed it.
        steps: how many of its `total` steps were done by this call, 0 where all were finished before.
    """

    found: Found
    devices: tuple[str, ...]
    steps: int
    total: int


def find_scenes(given: Sequence[Path]) -> dict[str, Path]:
    """Return the scenes that files and folders name, by unique short names: the stem, with folders before it where
    stems are equal.

    Raises:
        BenchError: a missing file, a folder without images, the same file twice.
    """
    paths: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES and each.is_file())
            if not inside:
                raise BenchError(
                    f"{path} holds no image ({', '.join(SUFFIXES)}); name a folder with scenes, or the files themselves"
                )
            paths += inside
        elif path.is_file():
            paths.append(path)
        elif os.path.lexists(path):
            regular(path)  # a pipe, a device or a link that leads nowhere is named as such
        else:
            raise BenchError(f"cannot read {path}: no such file or folder")
    full = [path.resolve() for path in paths]
    for number, path in enumerate(full):
        if path in full[:number]:
            raise BenchError(f"{paths[number]} is given twice; name each scene once")
    parts = [[*path.parent.parts[1:], path.stem] for path in full]
    stems = [path.stem for path in full]
    if len(set(stems)) == len(stems):
        return dict(zip(stems, paths, strict=True))
    depth = next((n for n in range(2, 64) if len({tuple(each[-n:]) for each in parts}) == len(parts)), 0)
    names = ["-".join(each[-depth:]) for each in parts] if depth else []
    if len(set(names)) < len(paths):
        raise BenchError(
            f"several scenes are called {stems[0]}, and their folders do not distinguish them; rename them, or"
            " give them one by one"
        )
    return dict(zip(names, paths, strict=True))


def scene_identity(
    ready: Predictor, reader: SceneReader, band: int | None, nodata: float | None, cache: Path
) -> dict[str, Any]:
    """Return everything that can change a detection in a scene, as JSON; no name and no folder."""
    beside = [reader.path.with_name(reader.path.name + suffix) for suffix in _SIDECARS]
    return {
        **ready.identity(),
        "predict_version": PREDICT_VERSION,
        "scene": {
            "sha256": file_sha256(reader.path, cache),
            "beside": {path.suffix: file_sha256(path, cache) for path in beside if path.is_file()},
            "band": band,
            "nodata": None if nodata is None else repr(float(nodata)),
            "shape": [reader.height, reader.width],
        },
    }


def claim_folder(folder: Path, name: str, identity: Mapping[str, Any], force: bool) -> None:
    """Make `folder` the one of a scene with this identity, or find it so; `force` removes what another one left.

    Raises:
        BenchError: it holds another prediction, and what differs is named; or it cannot be written to.
    """
    path = folder / _IDENTITY
    if path.is_file():
        before = read_json(path)
        if before == identity:
            return
        if not force:
            differs = ", ".join(_differences(before, identity)) or "what it was made of"
            raise BenchError(
                f"{folder.parent.parent} holds another prediction of {name}, with another {differs}; choose another"
                " folder, or start anew",
                "force",
            )
    if folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise BenchError(f"cannot remove {folder}: {first_line(error)}; choose another folder", "out") from error
    write_json(path, identity)


def _differences(before: Any, now: Mapping[str, Any]) -> list[str]:
    """Return in words which parts of two identities differ."""
    if not isinstance(before, dict):
        return []
    out = []
    for key in now:
        one, two = before.get(key), now[key]
        if one != two and isinstance(one, dict) and isinstance(two, dict):
            out += [f"{key} ({', '.join(sorted(name for name in two | one if one.get(name) != two.get(name)))})"]
        elif one != two:
            out.append(key)
    return out


def check_values(ready: Predictor, reader: SceneReader, of_training: bool = True) -> None:
    """Look at tiles all over a scene: they are of the reader's `scale`, and in the range that the detector's scaling
    knows.

    Args:
        of_training: whether they are compared with that range.

    Raises:
        BenchError: values that are none of the scale, or more than half of the pixels with data lie beyond one end of
            the range, where at training one in a thousand did.
    """
    scaling = ready.scaling
    assert scaling is not None, "settled for the scene before"
    of_training = of_training and scaling.name != "uint8"
    if not of_training and reader.scale in (None, SarScale.uint8):
        return
    tiles = tile_grid(reader.height, reader.width, ready.tiles)
    above = below = total = 0
    low, high = (10.0**end if scaling.name == "log-percentile" else end for end in (scaling.low, scaling.high))
    for tile in tiles[:: -(-len(tiles) // _SAMPLED_TILES)]:
        values, known = reader.read(tile, 0)
        used = values[known & (values != 0)]
        above, below, total = above + int((used > high).sum()), below + int((used < low).sum()), total + used.size
    for count, end, value in ((above, "above", high), (below, "below", low)):
        if of_training and total and count > _BEYOND * total:
            raise BenchError(
                f"{reader.path}: {count / total:.0%} of its pixels lie {end} {value:g}, where {ready.name} no longer"
                " distinguishes values; they are of another scale than its training: state the values that become 0"
                " and 1",
                "value_range",
            )


def predict_scene(
    detector: Detector, reader: SceneReader, folder: Path, device: str, title: str, progress: Progress
) -> SceneResult:
    """Find the ships of a scene, going on from the windows that `folder` holds, which `claim_folder` has checked.

    Raises:
        BenchError: a part of the scene or a finished window is damaged, or the folder cannot be written to.
    """
    path = folder / _FOUND
    if path.is_file():
        return _finished(path, 0, 0)
    kept = FinishedWindows(folder, device)
    run = windowed(detector, reader, kept)
    steps = run.total - run.done
    with progress.bar(title, run.total, unit="window", done=run.done) as bar:
        found = run.run(bar.advance)
    arrays: dict[str, Any] = {
        "boxes": np.asarray(found.detections.boxes, dtype=np.float64).reshape(-1, 4),
        "scores": np.asarray(found.detections.scores, dtype=np.float64),
        "windows": np.array([found.windows, found.skipped]),
        "devices": np.array(sorted(kept.devices), dtype=np.str_),
    }
    save_arrays(path, arrays)
    for window in folder.glob("*.npz"):
        if window != path:
            window.unlink(missing_ok=True)
    return _finished(path, steps, run.total)


def _finished(path: Path, steps: int, total: int) -> SceneResult:
    arrays = load_arrays(path, "prediction of a scene", "give the same command again")
    windows, skipped = arrays["windows"].tolist()
    found = Found(Detections(arrays["boxes"], arrays["scores"]), windows, skipped)
    return SceneResult(found, tuple(str(name) for name in arrays["devices"]), steps, total)
