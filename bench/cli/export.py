"""Write a trained backbone in the layout of another framework, and say how to load it there.

From a matching cell the SAR branch is taken (or the optical one), from a detection cell the detector's backbone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.core.errors import BenchError, nearest
from bench.core.registries import BACKBONES
from bench.core.workspace import user_path
from bench.execution.records import MODEL, RECORD, load_record

EXAMPLES = """  bench export runs/matching/CELL --to mmdet --out osm.pth
  bench export runs/matching/CELL --branch optical --to timm --out optical.pth
  bench export runs/detection/CELL --to torchvision --out ships.pth
  bench export darknet53.safetensors --backbone darknet53 --to darknet --out darknet53.conv.74"""

BRANCHES = {"sar": "sar.backbone.", "optical": "optical.backbone."}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", type=user_path, metavar="CELL|FILE", help="a finished cell's folder, or a weight file with --backbone"
    )
    parser.add_argument(
        "--to", required=True, metavar="FRAMEWORK", help="mmdet, torchvision, timm, ultralytics or darknet"
    )
    parser.add_argument(
        "--out", required=True, type=user_path, metavar="FILE", help="the file to write; FILE.txt says how to load it"
    )
    parser.add_argument(
        "--branch", choices=sorted(BRANCHES), help="of a matching cell or a two-branch file (default: sar)"
    )
    parser.add_argument("--backbone", metavar="NAME", help="what the weight file holds; a cell's record says it")


def execute(args: argparse.Namespace) -> int:
    from bench.models.exporting import TARGETS, check_target, write_export
    from bench.models.weights import load_initial_weights

    if args.to not in TARGETS:
        raise BenchError(f"unknown framework {args.to!r}{nearest(args.to, TARGETS)}")
    file, backbone, task = _source(args)
    BACKBONES.get(backbone)
    check_target(args.to, backbone)
    if args.out.is_dir():
        raise BenchError(
            f"--out {args.out} is a folder; name a file, e.g. {args.out / ('backbone' + TARGETS[args.to].suffix)}"
        )
    state = load_initial_weights(backbone, file, _prefix(args, file, task))
    text = write_export(backbone, state, args.to, args.out)
    print(
        f"{args.out}: {backbone} of {args.what} for {args.to}, {args.out.stat().st_size / 2**20:.1f} MiB\n\n{text}",
        end="",
    )
    return 0


def _source(args: argparse.Namespace) -> tuple[Path, str, str | None]:
    """Return the weight file, its backbone, and the task of the cell it belongs to (None for a bare file)."""
    what: Path = args.what
    if what.is_file():
        if args.backbone is None:
            raise BenchError(f"{what} is a weight file: say what it holds with --backbone, or name a cell's folder")
        return what, args.backbone, None
    if not (what / RECORD).is_file():
        raise BenchError(f"{what} is neither a weight file nor the folder of a finished cell (it has no {RECORD})")
    record = load_record(what / RECORD)
    if record.status != "finished":
        raise BenchError(f"{what} failed; run it again before exporting its backbone")
    backbone = record.spec["method"].get("backbone")
    if backbone is None:
        raise BenchError(f"{record.task} {record.method} has no backbone to export")
    if args.backbone not in (None, backbone):
        raise BenchError(f"the record says backbone {backbone}, and --backbone {args.backbone}; leave that out")
    if not (what / MODEL).is_file():
        raise BenchError(f"{what / MODEL} was cleaned away; run the cell again: {record.command}")
    return what / MODEL, str(backbone), record.task


def _prefix(args: argparse.Namespace, file: Path, task: str | None) -> str:
    """Return the prefix under which the backbone stands in the file.

    Raises:
        BenchError: --branch for a file that has no two branches.
    """
    from bench.models.weights import first_prefix, load_weights

    keys = load_weights(file)[0]
    two = first_prefix(keys, [BRANCHES["sar"]])
    if args.branch is not None and not two:
        raise BenchError(f"{file} has no two branches, so --branch {args.branch} does not apply; leave it out")
    if two:
        return BRANCHES[args.branch or "sar"]
    return first_prefix(keys, ("model.backbone.network.", "model.backbone.", "backbone."))
