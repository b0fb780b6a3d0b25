"""Find the ships in scenes of your own with the detector of a finished cell, or with one that needs no training.

Scenes may be of any size: they are read and looked at window by window, and an interrupted command goes on where it was
when it is given again. TIFF and GeoTIFF (needs the extra `geo`), NumPy arrays, PNG, JPEG; a folder stands for the
images in it. Guide: bench docs predicting.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import available_cores
from bench.core.errors import BenchError, nearest
from bench.execution.records import RECORD, Record, load_record

if TYPE_CHECKING:
    from bench.detection.scenes.predictor import Predictor
    from bench.detection.scenes.scene_predictions import SceneResult

EXAMPLES = """  bench predict detection--hrsid-site--faster-rcnn-osm--seed0 scene.tif --out found
  bench predict runs/detection/CELL scenes/ --out found --score-threshold 0.5 --quicklook
  bench predict 2df415e2 VH_dB.tif --out found --value-range -35 5
  bench predict --detector cfar --set pfa=1e-10 --sar-scale db VH_dB.tif --out found --format geojson"""
INTERMIXED = True
# a folder of its own: scenes and results may share one, and pictures are no scenes
ABOUT, QUICKLOOKS = ("predict.json", "quicklook")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="+",
        metavar="CELL SCENE",
        help="a finished detection cell (fingerprint, folder or suite/task--slot), then scenes",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where results go; finished windows are kept there too",
    )
    parser.add_argument("--detector", metavar="NAME", help="a detector that needs no training (cfar), instead of CELL")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="an option of --detector"
    )
    scene = parser.add_argument_group("what the scenes are")
    scene.add_argument("--band", type=int, metavar="N", help="band of a file with several, counted from 1")
    scene.add_argument(
        "--nodata", type=float, metavar="X", help="value of pixels without data, instead of the file's own"
    )
    scene.add_argument("--sar-scale", metavar="SCALE", help="what the values are: amplitude, intensity, db or uint8")
    scene.add_argument(
        "--value-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="values that become 0 and 1, instead of the cell's own scaling",
    )
    scene.add_argument(
        "--gsd-m", type=float, metavar="M", help="ground sample distance, where the file does not tell it"
    )
    made = parser.add_argument_group("what is written")
    made.add_argument(
        "--format",
        nargs="+",
        default=["coco", "csv", "geojson"],
        metavar="F",
        help="coco, csv, geojson (default: all three)",
    )
    made.add_argument(
        "--score-threshold", type=float, metavar="S", help="write the detections from this score on (default: all)"
    )
    made.add_argument(
        "--quicklook", action="store_true", help="a reduced picture of each scene with its boxes, in FOLDER/quicklook"
    )
    made.add_argument(
        "--force", action="store_true", help="replace predictions of another model, scene or option in FOLDER"
    )
    how = parser.add_argument_group("how (context)")
    how.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:N, or auto: cuda where there is one (default: auto)"
    )
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    how.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="where cells keep their files (default: runs)"
    )
    how.add_argument(
        "--boards",
        type=Path,
        default=Path("leaderboards"),
        metavar="DIR",
        help="where boards are (default: leaderboards)",
    )


@dataclass(frozen=True)
class _Scene:
    """A scene that may be predicted: its short name, its file, and the detector as it is told of it."""

    name: str
    path: Path
    ready: Predictor


def execute(args: argparse.Namespace) -> int:
    from bench.core.store import folder_lock, remove_stale
    from bench.detection.scenes.scene_predictions import find_scenes

    _check(args)
    ready = _from_options(args) if args.detector else _from_cell(args.words[0], args.runs, args.boards)
    given = args.words if args.detector else args.words[1:]
    if not given:
        raise BenchError("name a scene after the cell: an image file, or a folder with images")
    paths = find_scenes([Path(word) for word in given])
    scenes = [_checked(name, path, ready, args) for name, path in paths.items()]
    device = _device(args.device, ready)
    with folder_lock(args.out, wait=False) as free:
        if not free:
            raise BenchError(f"another process writes to {args.out}; wait for it, or choose another --out")
        remove_stale(args.out)
        _claim(scenes, args)
        results = _run(scenes, device, args)
        _write(scenes, results, args)
    return 0


def _check(args: argparse.Namespace) -> None:
    from bench.data.scaling import SarScale
    from bench.detection.scenes.outputs import FORMATS

    for name in args.format:
        if name not in FORMATS:
            raise BenchError(f"unknown format {name!r}{nearest(name, FORMATS)}")
    if args.sar_scale is not None and args.sar_scale not in set(SarScale):
        raise BenchError(f"unknown --sar-scale {args.sar_scale!r}{nearest(args.sar_scale, SarScale)}")
    if args.settings and not args.detector:
        raise BenchError("--set is for --detector; the options of a cell are those that it was trained and tested with")
    if args.threads is not None and args.threads < 1:
        raise BenchError(f"--threads {args.threads}: from 1")
    if args.gsd_m is not None and not args.gsd_m > 0:
        raise BenchError(f"--gsd-m {args.gsd_m:g}: metres a pixel, above 0")


# -- the detector ------------------------------------------------------------------------------------------------------
def _from_options(args: argparse.Namespace) -> Predictor:
    import yaml

    from bench.detection.scenes.predictor import without_training

    settings: dict[str, Any] = {}
    for setting in args.settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise BenchError(f"--set {setting}: expected KEY=VALUE, e.g. --set pfa=1e-10")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise BenchError(f"--set {setting}: the value is not YAML") from error
    return without_training(args.detector, settings, args.gsd_m)


def _from_cell(text: str, runs: Path, boards: Path) -> Predictor:
    """Return the detector of the cell that `text` means, as the other verbs resolve it; a cell's folder may lie
    anywhere.

    Raises:
        BenchError: no such cell, or one without a detector that could run.
    """
    from bench.detection.scenes.predictor import from_cell
    from bench.execution.job import JOB
    from bench.tools.lineage import find_sources, look_up

    folder = Path(text)
    if (folder / RECORD).is_file():
        return _with_plugins(folder, load_record(folder / RECORD))
    if (folder / JOB).is_file():
        raise BenchError(
            f"{folder}: this cell is not finished; run it to its end first (the same `bench run` goes on where it was)"
        )
    if folder.is_dir() or (folder.is_file() and folder.suffix != ".json"):
        what = "no record.json there" if folder.is_dir() else "a file, and no cell"
        raise BenchError(f"{folder}: {what}; give a finished detection cell first, or --detector cfar, then scenes")
    sources, _ = find_sources(runs, boards)
    if not sources:
        raise BenchError(
            f"no record under {runs} or {boards}; run a detection suite first, or name the folders, or use --detector"
            " cfar"
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
    return _with_plugins(folders[0], load_record(folders[0] / RECORD))


def _with_plugins(folder: Path, record: Record) -> Predictor:
    """Return a cell's detector once the plug-ins that its suite names are imported, so that one of the user's own is
    known.
    """
    from bench.core.plugins import import_plugins
    from bench.detection.scenes.predictor import from_cell
    from bench.execution.job import JOB, read_job

    if record.task == "detection" and (folder / JOB).is_file():
        origin = read_job(folder / JOB).cell.origin
        import_plugins(origin.plugins, origin.folder)
    return from_cell(folder, record)


def _device(name: str, ready: Predictor) -> str:
    """Return the device to use, checked to exist; torch is imported for detectors with a network alone."""
    if not ready.cls.trains:
        if name not in ("auto", "cpu"):
            raise BenchError(
                f"--device {name}: {ready.detector} has no network and works on the CPU; leave --device out"
            )
        return "cpu"
    import torch

    from bench.training.api import resolve_device

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else str(resolve_device(name))


# -- the scenes --------------------------------------------------------------------------------------------------------
def _checked(name: str, path: Path, ready: Predictor, args: argparse.Namespace) -> _Scene:
    """Open a scene and find out, before anything is computed, whether the detector may be shown it."""
    from bench.data.scaling import SarScale
    from bench.data.tiff import rescaled
    from bench.detection.scenes.scene_predictions import check_values
    from bench.detection.scenes.scene_reader import open_scene

    stated = SarScale(args.sar_scale) if args.sar_scale else None
    values = tuple(args.value_range) if args.value_range else None
    with open_scene(path, args.band, args.nodata) as reader:
        reader.probe()
        gsd_m = args.gsd_m or (reader.geo.gsd_m if reader.geo else None)
        told = ready.for_scene(reader.dtype, stated, values, gsd_m, path)
        if reader.rescaled and told.sar_scale not in (None, SarScale.uint8):
            raise rescaled(path, reader.rescaled)
        if values is None and told.scales_values:
            check_values(told, reader)
    return _Scene(name, path, told)


def _folder(args: argparse.Namespace, scene: _Scene) -> Path:
    from bench.detection.scenes.scene_predictions import WINDOWS

    return Path(args.out / WINDOWS / scene.name)


def _claim(scenes: list[_Scene], args: argparse.Namespace) -> None:
    """Take the scenes' folders, or find them half done by the same command; nothing is removed unless all may be."""
    from bench.detection.scenes.scene_predictions import HASHES, WINDOWS, claim_folder, scene_identity
    from bench.detection.scenes.scene_reader import open_scene

    identities = []
    for scene in scenes:
        with open_scene(scene.path, args.band, args.nodata) as reader:
            identities.append(scene_identity(scene.ready, reader, args.band, args.nodata, args.out / WINDOWS / HASHES))
    for scene, identity in zip(scenes, identities, strict=True):
        claim_folder(_folder(args, scene), scene.path.name, identity, args.force)


def _run(scenes: list[_Scene], device: str, args: argparse.Namespace) -> list[SceneResult]:
    """Predict the scenes, one after the other; equal detectors are built once."""
    from bench.core.context import ExecutionContext
    from bench.core.progress import Progress
    from bench.core.provenance import peak_memory_bytes
    from bench.detection.scenes.scene_predictions import predict_scene
    from bench.detection.scenes.scene_reader import open_scene

    progress = Progress()
    context = ExecutionContext(
        args.out, args.out, device, args.threads or available_cores(), 0, lambda line: None, progress
    )
    results, built = [], None
    for scene in scenes:
        if built is None or built[0] != scene.ready:
            built = (scene.ready, scene.ready.build(context))
        started = time.monotonic()
        with open_scene(scene.path, args.band, args.nodata) as reader:
            result = predict_scene(built[1], reader, _folder(args, scene), device, scene.path.name, progress)
            megapixels = reader.height * reader.width / 1e6
            size = f"{reader.width} x {reader.height} px"
        results.append(result)
        told = f"{result.found.windows} windows" + (
            f", {result.found.skipped} without data" if result.found.skipped else ""
        )
        seconds = time.monotonic() - started
        part = f"{result.steps} of {result.total} steps in {seconds:.1f} s"
        cost = f"{megapixels / seconds:.2f} MP/s" if result.steps == result.total else part
        cost = f"{cost}, peak memory {peak_memory_bytes() / 2**20:,.0f} MiB" if result.steps else "finished before"
        print(f"{scene.path}: {len(result.found.detections):,} detections; {size}, {told}; {cost}", flush=True)
    return results


# -- what is written ---------------------------------------------------------------------------------------------------
def _write(scenes: list[_Scene], results: list[SceneResult], args: argparse.Namespace) -> None:
    from bench.core.store import write_json
    from bench.detection.scenes.outputs import SceneDetections, write_outputs, write_quicklook
    from bench.detection.scenes.scene_reader import open_scene

    names = [scene.path.name for scene in scenes]
    out, told = [], []
    for scene, result in zip(scenes, results, strict=True):
        found = result.found.detections
        for floor in (scene.ready.score_floor or None, args.score_threshold):
            found = found if floor is None else found.take(found.scores >= floor)
        file_name = scene.path.name if names.count(scene.path.name) == 1 else scene.name + scene.path.suffix
        with open_scene(scene.path, args.band, args.nodata) as reader:
            out.append(SceneDetections(scene.name, file_name, reader.height, reader.width, reader.geo, found))
            if args.quicklook:
                write_quicklook(args.out / QUICKLOOKS / f"{scene.name}.png", reader, found.boxes)
        told.append(_about(scene, result, file_name, len(found)))
    about = {"detector": scenes[0].ready.name, "score_threshold": args.score_threshold, **scenes[0].ready.made_of}
    paths = write_outputs(args.out, out, args.format, about)
    write_json(args.out / ABOUT, {**about, "scenes": told})
    kept = sum(len(each.detections) for each in out)
    shown = ", ".join(str(path) for path in paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
    print(f"{kept:,} detections of {len(out)} scene{'' if len(out) == 1 else 's'} in {shown}")


def _about(scene: _Scene, result: SceneResult, file_name: str, kept: int) -> dict[str, Any]:
    return {
        "name": scene.name,
        "file_name": file_name,
        "made_of": scene.ready.identity(),
        "detections": kept,
        "windows": result.found.windows,
        "windows_without_data": result.found.skipped,
        "devices": list(result.devices),
    }
