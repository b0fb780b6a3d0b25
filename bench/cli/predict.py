"""Find the ships in scenes of your own with the detector of a finished cell, or with one that needs no training.

Scenes may be of any size: they are read and looked at window by window, and an interrupted command goes on where it was
when it is given again. TIFF and GeoTIFF (needs the extra `geo`), NumPy arrays, PNG, JPEG; a folder stands for the
images in it. Guide: bench docs predicting.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import add_plugin_argument, plugin_gate
from bench.core.errors import BenchError, nearest
from bench.core.processes import available_cores
from bench.core.workspace import user_path

if TYPE_CHECKING:
    from bench.detection.scenes.folder import PredictedScene
    from bench.detection.scenes.predictor import Predictor

EXAMPLES = """  bench predict detection--hrsid-site--faster-rcnn-osm--seed0 scene.tif --out found
  bench predict runs/detection/CELL scenes/ --out found --score-threshold 0.5 --quicklook
  bench predict 2df415e2 VH_dB.tif --out found --value-range -35 5
  bench predict --detector cfar --set pfa=1e-10 --sar-scale db VH_dB.tif --out found --format geojson"""
INTERMIXED = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="+",
        metavar="CELL SCENE",
        help="a finished detection cell (fingerprint, folder or suite/task--slot), then scenes",
    )
    parser.add_argument(
        "--out",
        type=user_path,
        required=True,
        metavar="FOLDER",
        help="where results go; finished windows are kept there too",
    )
    parser.add_argument("--detector", metavar="NAME", help="a detector that needs no training (cfar), instead of CELL")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="an option of --detector"
    )
    _add_scene_arguments(parser)
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
    add_plugin_argument(how)
    how.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:N, or auto: cuda where there is one (default: auto)"
    )
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    how.add_argument(
        "--runs",
        type=user_path,
        default=Path("runs"),
        metavar="DIR",
        help="where cells keep their files (default: runs)",
    )
    how.add_argument(
        "--boards",
        type=user_path,
        default=Path("leaderboards"),
        metavar="DIR",
        help="where boards are (default: leaderboards)",
    )


def _add_scene_arguments(parser: argparse.ArgumentParser) -> None:
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
        "--gsd-m", type=float, metavar="M", help="ground sample distance, where the file does not state it"
    )


def execute(args: argparse.Namespace) -> int:
    from bench.core.context import ExecutionContext
    from bench.core.progress import Progress
    from bench.core.store import folder_lock, remove_stale
    from bench.detection.scenes import folder
    from bench.detection.scenes.scene_predictions import find_scenes
    from bench.tools.prediction import find_detector

    _check(args)
    stated = folder.Stated.checked(args.band, args.nodata, args.sar_scale, args.value_range, args.gsd_m)
    ready = (
        _from_options(args)
        if args.detector
        else find_detector(args.words[0], args.runs, args.boards, plugin_gate(args))
    )
    given = args.words if args.detector else args.words[1:]
    if not given:
        raise BenchError("name a scene after the cell: an image file, or a folder with images")
    scenes = folder.check_scenes(find_scenes([Path(word) for word in given]), ready, stated)
    threads = args.threads or available_cores()
    context = ExecutionContext(args.out, args.out, ready.device(args.device), threads, 0, lambda line: None, Progress())
    with folder_lock(args.out, wait=False) as free:
        if not free:
            raise BenchError(f"another process writes to {args.out}; wait for it, or choose another --out")
        remove_stale(args.out)
        folder.claim_scenes(scenes, args.out, stated, args.force)
        predicted = []
        for each in folder.predict_scenes(scenes, stated, context):
            predicted.append(each)
            print(_line(each), flush=True)
        paths, kept = folder.write_predictions(
            predicted, args.out, stated, args.format, args.score_threshold, args.quicklook
        )
    shown = ", ".join(str(path) for path in paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
    print(f"{kept:,} detections of {len(scenes)} scene{'' if len(scenes) == 1 else 's'} in {shown}")
    return 0


def _check(args: argparse.Namespace) -> None:
    from bench.detection.scenes.outputs import FORMATS

    for name in args.format:
        if name not in FORMATS:
            raise BenchError(f"unknown format {name!r}{nearest(name, FORMATS)}")
    if args.settings and not args.detector:
        raise BenchError("--set is for --detector; the options of a cell are those that it was trained and tested with")
    if args.threads is not None and args.threads < 1:
        raise BenchError(f"--threads {args.threads}: from 1")


def _from_options(args: argparse.Namespace) -> Predictor:
    from bench.core.yaml_text import read_yaml
    from bench.detection.scenes.predictor import without_training

    settings: dict[str, Any] = {}
    for setting in args.settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise BenchError(f"--set {setting}: expected KEY=VALUE, e.g. --set pfa=1e-10")
        settings[key] = read_yaml(value, f"--set {setting}: the value")
    return without_training(args.detector, settings, args.gsd_m)


def _line(each: PredictedScene) -> str:
    """Return what is said of a finished scene: what was found, its size, and what it cost."""
    from bench.core.provenance import peak_memory_bytes

    found, result = each.result.found, each.result
    windows = f"{found.windows} windows" + (f", {found.skipped} without data" if found.skipped else "")
    whole = f"{each.height * each.width / 1e6 / each.seconds:.2f} MP/s"
    cost = whole if result.steps == result.total else f"{result.steps} of {result.total} steps in {each.seconds:.1f} s"
    cost = f"{cost}, peak memory {peak_memory_bytes() / 2**20:,.0f} MiB" if result.steps else "finished before"
    size = f"{each.width} x {each.height} px"
    return f"{each.scene.path}: {len(found.detections):,} detections; {size}, {windows}; {cost}"
