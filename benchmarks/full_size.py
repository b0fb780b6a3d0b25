"""Memory and time of every stage at the size of the papers' sets: 20,000 pairs of 256 px, 31 scenes of about 3000 x
3000 px.

    python benchmarks/full_size.py --pairs-root DIR --scenes-root DIR [--stages cache train ...] [--out FILE]

DIR holds the genuine sets, or simulated ones of the same layout and size (docs/paper-on-one-gpu.md). Each stage is a
`bench run` of its own on a suite that is written into a temporary folder, so that what is measured is what users run:
the runner and its worker, fresh processes.

cache    the pairs: index, SHA-256 manifest, decoded patch cache of all of them (a smoke run of `random`, which scores a few)
train    one epoch of a small network (bnn on resnet18, `input_px: 64`), then its predictions on a gallery of two
score    the same model: predictions, 1:1 decisions with hard negatives, and the whole test part as retrieval gallery, both directions
scenes   the scenes: index, manifest, decoded scenes (a smoke run of `cfar`, which looks at one)
cfar     whole scenes: predicted, scored; two folds, so that every scene is a test scene once
detector the same with a small faster-rcnn (resnet18, pyramid of 64 channels) after two training steps, whose many weak boxes are the
         hard case for memory

The table says wall time, largest resident memory summed over runner, worker and whatever they start
(benchmarks/process_tree.py), the part of it that no file stands behind, and the worker's own seconds for the stage that
the row is about, by its record. Exit code 1 where a stage failed or went beyond the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = str(Path(__file__).resolve().parents[1])
sys.path[0] = CHECKOUT  # this file's own folder would hide the standard library's `statistics`

from bench.core.errors import BenchError
from bench.core.processes import available_cores
from benchmarks.process_tree import Usage, measure

LIMIT_GIB = 6.0
SUITE = """\
name: full-size
seeds: [0]
matching:
  protocol: {name: match/full-size-v1, hard: none, clusters: 8, gallery: 2}
  datasets:
    qxs-saropt:
      dataset: qxs-saropt
      splits:
        random: {kind: random, train: 0.7, validation: 0.1, validation_from: train, seed: 0}
  methods:
    random: {matcher: random}
    bnn-resnet18: {matcher: bnn, backbone: resnet18, options: {epochs: 1, input_px: 64}}
detection:
  protocol: {name: det/full-size-v1, strata: shore}
  datasets:
    air-sarship-1.0:
      dataset: air-sarship-1.0
      sar_scaling: percentile
      splits:
        halves: {kind: folds, folds: 2, by: id, validation: 0}
      tiles: {size_px: 512, overlap_px: 200, min_visible: 0.7}
  methods:
    cfar: {detector: cfar}
    faster-rcnn:
      detector: faster-rcnn
      backbone: resnet18
      pretrain: [none]
      options: {samples: 8, per_epoch: 8, batch_size: 4, optimizer: adamw, lr: 0.0001, fpn_channels: 64, rpn_channels: 64, roi_fc: 256}
"""
WHOLE = ("--set", "matching.protocol.gallery=all", "--set", "matching.protocol.hard=cluster")


@dataclass(frozen=True)
class Stage:
    """One row: what it is about, the command, the stages of a cell's record that it is about, and what must have run
    before.
    """

    title: str
    words: tuple[str, ...]
    recorded: tuple[str, ...] = ()
    after: str | None = None


STAGES = {
    "cache": Stage("index, manifest and cache of all pairs", ("matching", "--method", "random", "--smoke")),
    "train": Stage("one epoch, bnn on resnet18 at 64 px", ("matching", "--method", "bnn-resnet18"), ("train",)),
    "score": Stage(
        "test part: embeddings, 1:1 decisions, whole gallery",
        ("matching", "--method", "bnn-resnet18", *WHOLE),
        ("predict", "score"),
        "train",
    ),
    "scenes": Stage("index, manifest and cache of all scenes", ("detection", "--method", "cfar", "--smoke")),
    "cfar": Stage("whole scenes, cfar", ("detection", "--method", "cfar"), ("predict", "score")),
    "detector": Stage(
        "whole scenes, faster-rcnn on resnet18", ("detection", "--method", "faster-rcnn"), ("predict", "score")
    ),
}
PAIR_STAGES = ("cache", "train", "score")


@dataclass(frozen=True)
class Row:
    """What a stage came to; `own_seconds` is what the records say of the stages that it is about, None where that is
    not recorded.
    """

    stage: Stage
    usage: Usage
    own_seconds: float | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages that the command line names, print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs-root", type=Path, metavar="DIR", help="where qxs-saropt lies, or a simulated set in its layout"
    )
    parser.add_argument(
        "--scenes-root", type=Path, metavar="DIR", help="where air-sarship-1.0 lies, or a simulated set in its layout"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, help="all for which there is a root (default)")
    parser.add_argument(
        "--threads", type=int, default=available_cores(), metavar="N", help="CPU threads (default: all cores)"
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="data-loading processes (default: 0)")
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="keep suite, cache and cells here (default: a temporary folder, removed)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table here as well")
    args = parser.parse_args(arguments)
    try:
        names = _chosen(args)
        with tempfile.TemporaryDirectory(prefix="full-size-") as temporary:
            work = (args.work or Path(temporary)).resolve()
            work.mkdir(parents=True, exist_ok=True)
            rows = [_run(STAGES[name], work, args) for name in names]
    except BenchError as error:
        print(f"full_size: error: {error}", file=sys.stderr)
        return 2
    table = "\n".join(_table(rows)) + "\n"
    print(table, end="")
    if args.out:
        args.out.write_text(table, encoding="utf-8")
    return int(any(row.usage.code or row.usage.peak_bytes > LIMIT_GIB * 2**30 for row in rows))


def _chosen(args: argparse.Namespace) -> list[str]:
    """Return the stages to run, in order.

    Raises:
        BenchError: a stage whose data were not given, or that needs another which was not asked for.
    """
    roots = {name: args.pairs_root if name in PAIR_STAGES else args.scenes_root for name in STAGES}
    names = [name for name in STAGES if (name in args.stages if args.stages else roots[name] is not None)]
    if not names:
        raise BenchError("nothing to measure: give --pairs-root, --scenes-root or both")
    for name in names:
        if roots[name] is None:
            raise BenchError(f"stage {name} needs {'--pairs-root' if name in PAIR_STAGES else '--scenes-root'}")
        if not roots[name].is_dir():
            raise BenchError(f"{roots[name]} is not a folder; give the folder that holds the data set")
        if STAGES[name].after not in (None, *names) and args.work is None:
            raise BenchError(
                f"stage {name} measures what stage {STAGES[name].after} has trained; run both, or keep its folder with"
                " --work"
            )
    return names


def _run(stage: Stage, work: Path, args: argparse.Namespace) -> Row:
    """Run one stage; what the command said goes to <work>/<stage>.log and, where it failed, to stderr."""
    (work / "suite.yaml").write_text(SUITE, encoding="utf-8")
    root = args.pairs_root if stage.words[0] == "matching" else args.scenes_root
    places = ("--root", str(root.resolve()), "--runs", "runs", "--boards", "boards")
    how = ("--device", "cpu", "--threads", str(args.threads), "--workers", str(args.workers), "--no-figures")
    words = (
        sys.executable,
        "-m",
        "bench.cli.main",
        "run",
        stage.words[0],
        "--config",
        "suite.yaml",
        *stage.words[1:],
        *places,
        *how,
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    env["PYTHONPATH"] = CHECKOUT
    before = {path: path.stat().st_mtime_ns for path in work.glob("runs/*/*/record.json")}
    print(f"full_size: {stage.title} ...", file=sys.stderr, flush=True)
    usage = measure(words, work, env)
    if usage.code:
        print(usage.output, file=sys.stderr)
    records = [
        json.loads(p.read_bytes()) for p in work.glob("runs/*/*/record.json") if before.get(p) != p.stat().st_mtime_ns
    ]
    costs = [record["cost"].get(name, {}).get("seconds", 0.0) for record in records for name in stage.recorded]
    return Row(stage, usage, sum(costs) if costs else None)


def _table(rows: Sequence[Row]) -> list[str]:
    """Return the rows as a Markdown table."""
    head = [
        "stage",
        "wall time s",
        "of it the stage s",
        "peak memory MiB",
        "of it not backed by a file MiB",
        f"limit {LIMIT_GIB:g} GiB",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 2) + "|---|"]
    for row in rows:
        usage = row.usage
        kept = "failed" if usage.code else "kept" if usage.peak_bytes <= LIMIT_GIB * 2**30 else "EXCEEDED"
        own = "-" if row.own_seconds is None else f"{row.own_seconds:.0f}"
        cells = [
            row.stage.title,
            f"{usage.seconds:.0f}",
            own,
            f"{usage.peak_bytes / 2**20:.0f}",
            f"{usage.own_bytes / 2**20:.0f}",
            kept,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
