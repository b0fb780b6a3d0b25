"""Ships in a scene of the user's own: which detector a name means, and one scene through it from Python.

The work is done in `bench.detection.scenes`; many scenes into a folder are the command line's `bench predict`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.core.context import ExecutionContext
from bench.core.errors import BenchError
from bench.core.plugins import Gate, import_plugins
from bench.core.processes import available_cores
from bench.core.progress import Progress
from bench.core.workspace import user_path
from bench.detection.detectors.base import Detections, Detector
from bench.detection.scenes.folder import Stated, settle
from bench.detection.scenes.predictor import Predictor, from_cell, of_instance
from bench.detection.scenes.scene_predictions import predict_scene
from bench.detection.scenes.scene_reader import ArrayReader, SceneReader
from bench.execution.job import JOB, read_job
from bench.execution.records import RECORD, Record, load_record
from bench.tools.lineage import find_sources, look_up


def predict(
    detector: str | Path | Detector,
    scene: str | Path | np.ndarray,
    *,
    band: int | None = None,
    nodata: float | None = None,
    sar_scale: str | None = None,
    value_range: Sequence[float] | None = None,
    gsd_m: float | None = None,
    score_threshold: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    runs: str | Path = "runs",
    boards: str | Path = "leaderboards",
) -> Detections:
    """Find the ships in one scene. A file of any size is read and looked at window by window.

    Args:
        detector: a finished detection cell (its folder, the first digits of its fingerprint, or "suite/task--slot"), or
            an instance of `Detector`: as it was prepared, or unprepared where it needs no training.
        scene: an image file, or an array (H, W) of uint8, uint16 or float.
        band: of a file with several, counted from 1. nodata: value of pixels without data.
        sar_scale: what the values are: "amplitude", "intensity", "db" or "uint8".
        value_range: (low, high), the values that become 0 and 1, instead of the cell's own scaling.
        gsd_m: ground sample distance in metres a pixel, where the file does not say it.
        score_threshold: return the detections from this score on; all that the cell's protocol keeps by default.
        device: "cpu", "cuda", "cuda:N", or "auto". threads: of the CPU, all cores by default.
        runs, boards: where a cell is looked for by name.

    Returns:
        Boxes (n, 4) x1, y1, x2, y2 in pixels of the scene, float64, and scores (n,), highest first.

    Raises:
        BenchError: no such cell, or one without a detector that could run; a scene that cannot be read; values that are
            not those that the detector knows.
    """
    stated = Stated.checked(band, nodata, sar_scale, value_range, gsd_m)
    if isinstance(detector, Detector):
        ready = of_instance(detector, gsd_m)
    else:
        ready = find_detector(str(detector), user_path(runs), user_path(boards))
    cores = available_cores() if threads is None else threads
    if cores < 1:
        raise BenchError(f"threads {cores}: from 1", "threads")
    with tempfile.TemporaryDirectory(prefix="bench-predict-") as scratch, _opened(scene, stated) as reader:
        folder, progress = Path(scratch), Progress()
        context = ExecutionContext(folder, folder, ready.device(device), cores, 0, lambda line: None, progress)
        settled = settle(ready, reader, stated)
        built = settled.build(context)
        result = predict_scene(built, reader, folder, context.device, reader.path.name, progress)
    return settled.kept(result.found.detections, score_threshold)


@contextmanager
def _opened(scene: str | Path | np.ndarray, stated: Stated) -> Iterator[SceneReader]:
    if not isinstance(scene, np.ndarray):
        with stated.open(user_path(scene)) as reader:
            yield reader
        return
    if scene.ndim != 2:
        raise BenchError(f"the scene is an array of shape {scene.shape}; expected (H, W)")
    yield ArrayReader(Path("scene"), scene, stated.nodata)


def find_detector(text: str, runs: Path, boards: Path, gate: Gate | None = None) -> Predictor:
    """Return the detector of the cell that `text` means, as the other verbs resolve it; a cell's folder may lie
    anywhere.

    Args:
        gate: gets the plug-ins of the cell's suite before any is imported.

    Raises:
        BenchError: no such cell, or one without a detector that could run.
    """
    folder = Path(text)
    if (folder / RECORD).is_file():
        return _with_plugins(folder, load_record(folder / RECORD), gate)
    if (folder / JOB).is_file():
        raise BenchError(f"{folder}: this cell is not finished; run it to its end first (the same run resumes it)")
    if folder.is_dir() or (folder.is_file() and folder.suffix != ".json"):
        what = "no record.json there" if folder.is_dir() else "a file, and no cell"
        raise BenchError(
            f"{folder}: {what}; give a finished detection cell, or a detector that needs no training", "detector"
        )
    sources, _ = find_sources(runs, boards)
    if not sources:
        raise BenchError(
            f"no record under {runs} or {boards}; run a detection suite first, or name the folders", "runs"
        )
    found = look_up(text, sources)
    folders = [source.path.parent for source in found if not source.board]
    if not folders:
        record = found[0].record
        if record.task != "detection":
            return from_cell(found[0].path.parent, record)  # which says so
        raise BenchError(
            f"{text}: the record stands on a board, but its cell is not under {runs}; make it again: {record.command}"
        )
    return _with_plugins(folders[0], load_record(folders[0] / RECORD), gate)


def _with_plugins(folder: Path, record: Record, gate: Gate | None) -> Predictor:
    """Return a cell's detector once the plug-ins that its suite names are imported, so that one of the user's own is
    known.
    """
    if record.task == "detection" and (folder / JOB).is_file():
        origin = read_job(folder / JOB).cell.origin
        import_plugins(origin.plugins, origin.folder, gate)
    return from_cell(folder, record)
