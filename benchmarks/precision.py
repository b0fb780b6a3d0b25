"""What precision, memory format and compilation are worth: training and inference of five networks, relative to plain
fp32, in one run.

    python benchmarks/precision.py [--device cpu|cuda] [--quick] [--fp16] [--networks NAME ...] [--ways NAME ...]
    [--rounds N] [--bare] [--one-process] [--out FILE] [--csv FILE]

Each combination of {fp32, bf16, fp16 with --fp16} x {channels_last} x {compile} runs for a few steps through the
package's own `fit`, in a process of its own, from a random start, on generated pixels (benchmarks/step_times.py); the
combinations of a network follow one another, round by round, and the best round counts, so that a machine that others
use as well disturbs the ratios less. --quick takes small images,
small batches, and fewer combinations: some ten minutes on two cores, whose ratios are not those of full size.

--bare also times steps of the network alone, on a batch that is on the device already; "network alone" is their share
of a step through the package, above 1 where noise, or the wait for the device, is larger than what the package adds.
--one-process saves the imports of a process for each combination: for a GPU, whose memory is counted by torch. --csv
appends each combination as soon as it is measured.

"x" is relative to the network's first row. Inference is fp32 and never compiled, whatever the training was
(docs/many-gpus.md): only the memory format can move it. The first steps, which wait for the compiler, come before the
clock starts.
"""

from __future__ import annotations

import argparse
import csv
import gc
import itertools
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

# this file's own folder would hide the standard library's `statistics`
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.core.errors import BenchError, nearest
from bench.core.store import write_json
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Selection
from bench.suite.config import load_suite, origin_of
from bench.suite.expansion import expand
from benchmarks.step_times import How, Times, add_how, how_of, measured_on, reported, time_cell

MATCHERS = {"bnn-resnet18": "resnet18", "bnn-resnet50": "resnet50", "bnn-darknet53": "darknet53"}
DETECTORS = {"faster-rcnn": "resnet50", "yolov3": "darknet53"}
NETWORKS = (*MATCHERS, *DETECTORS)


@dataclass(frozen=True)
class Size:
    """How large the generated images and the batches are."""

    patch_px: int
    pairs: int
    tile_px: int
    tiles: int


FULL, QUICK = Size(256, 32, 512, 8), Size(64, 16, 160, 2)


@dataclass(frozen=True)
class Variant:
    """One way to compute."""

    precision: str
    channels_last: bool
    compile: bool

    @property
    def words(self) -> str:
        return ", ".join(
            [
                self.precision,
                *(["channels last"] if self.channels_last else []),
                *(["compiled"] if self.compile else []),
            ]
        )

    @property
    def name(self) -> str:
        """As --ways takes it."""
        return self.precision + "+channels-last" * self.channels_last + "+compile" * self.compile


@dataclass(frozen=True)
class Row:
    """The best times of one network computed in one way, or why there are none."""

    network: str
    variant: Variant
    batch: int
    times: Times | None
    problem: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_how(parser)
    parser.add_argument("--quick", action="store_true", help="small images and batches, fewer combinations")
    parser.add_argument("--fp16", action="store_true", help="fp16 as well")
    parser.add_argument(
        "--networks", nargs="+", default=list(NETWORKS), metavar="NAME", help=f"of {', '.join(NETWORKS)} (default: all)"
    )
    parser.add_argument(
        "--ways", nargs="+", metavar="NAME", help="only these of fp32, bf16, fp16, with '+channels-last', '+compile'"
    )
    parser.add_argument("--bare", action="store_true", help="time the network alone as well")
    parser.add_argument("--one-process", action="store_true", help="measure all in this process")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="append each row here as soon as it is measured")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="the best of N counts (default: 1)")
    return reported("precision", parser.parse_args(arguments), _lines)


def variants(quick: bool, fp16: bool) -> list[Variant]:
    """Return the ways to compute, plain fp32 first; `quick` compiles only once a network, which takes a processor a
    minute.
    """
    precisions = ["fp32", "bf16", *(["fp16"] if fp16 else [])]
    every = [Variant(*ways) for ways in itertools.product(precisions, (False, True), (False, True))]
    return [variant for variant in every if not quick or not variant.compile or variant == Variant("bf16", True, True)]


def _lines(args: argparse.Namespace) -> list[str]:
    """Return the output: the machine, the table, the combinations that do not work here."""
    how = how_of(args)
    if args.rounds < 1:
        raise BenchError("--rounds from 1")
    for name in args.networks:
        if name not in NETWORKS:
            raise BenchError(f"unknown network {name!r}{nearest(name, NETWORKS)}")
    ways = chosen(args.ways, args.quick, args.fp16)
    size = QUICK if args.quick else FULL
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="precision-") as temporary:
        folder = Path(temporary)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "compiled")
        workspace = Workspace(folder / "runs", folder / "boards", {}, {"BENCH_CACHE": str(folder / "cache")})
        for network in args.networks:
            rows += _rows(network, ways, size, args, folder, workspace, how)
    best = f", best of {args.rounds} rounds" if args.rounds > 1 else ""
    return [measured_on(how) + best, "", *table(rows), *_problems(rows)]


def chosen(names: Sequence[str] | None, quick: bool, fp16: bool) -> list[Variant]:
    """Return the ways to compute that are named, all of `variants` where none is.

    Raises:
        BenchError: an unknown name.
    """
    if names is None:
        return variants(quick, fp16)
    every = {variant.name: variant for variant in variants(quick=False, fp16=True)}
    for name in names:
        if name not in every:
            raise BenchError(f"unknown way {name!r}{nearest(name, every)}")
    return [every[name] for name in names]


def _rows(
    network: str,
    ways: Sequence[Variant],
    size: Size,
    args: argparse.Namespace,
    folder: Path,
    workspace: Workspace,
    how: How,
) -> list[Row]:
    """Return the rows of one network."""
    best: dict[Variant, Row] = {}
    for number, variant in itertools.product(range(args.rounds), ways):
        about = f"{network}, {variant.words}, round {number + 1} of {args.rounds}"
        print(f"precision: {about} ...", file=sys.stderr, flush=True)
        cell = cell_of(network, variant, size, folder)
        batch = cell.spec["method"]["options"]["batch_size"]
        try:
            where = folder / f"{network}-{number}-{len(best)}-{ways.index(variant)}"
            row = Row(network, variant, batch, _times(cell, workspace, where, how, args.one_process))
        except BenchError as error:
            row = Row(network, variant, batch, None, str(error))
        if args.csv:
            _append(args.csv, row)
        before = best.get(variant)
        if before is None or before.times is None or (row.times is not None and row.times.step_s < before.times.step_s):
            best[variant] = row
    return list(best.values())


def _times(cell: Cell, workspace: Workspace, where: Path, how: How, one_process: bool) -> Times:
    """Return the times of a cell, measured in a process of its own or in this one, which then gives back what the
    device keeps for it.
    """
    if not one_process:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(time_cell, cell, workspace, where, how).result()
    import torch

    try:
        return time_cell(cell, workspace, where, how)
    finally:
        gc.collect()
        if how.cuda:
            torch.cuda.empty_cache()


def _append(path: Path, row: Row) -> None:
    """Append what one combination came to as a line of comma-separated values, under a line of names."""
    values: dict[str, object] = {"network": row.network, "way": row.variant.name, "batch": row.batch}
    for name in (each.name for each in fields(Times)):
        values[name] = None if row.times is None else getattr(row.times, name)
    values["problem"] = row.problem
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(values)
        writer.writerow(values.values())


def cell_of(network: str, variant: Variant, size: Size, folder: Path) -> Cell:
    """Return the cell that trains `network` in the way of `variant` on a generated set."""
    ways: dict[str, Any] = {"channels_last": variant.channels_last, "compile": variant.compile}
    if network in MATCHERS:
        section = "matching"
        options = {
            "epochs": 1,
            "batch_size": size.pairs,
            "optimizer": "sgd",
            "lr": 0.001,
            "negatives": "in-batch",
            **ways,
        }
        method = {"matcher": "bnn", "backbone": MATCHERS[network], "precision": variant.precision, "options": options}
        data: dict[str, Any] = {
            "dataset": "toy-pairs",
            "options": {"scenes": 4, "patches_per_scene": 2 * size.pairs, "patch_px": size.patch_px},
            "splits": {"random": {"kind": "random", "train": 0.8, "validation": 0.05, "seed": 0}},
        }
    else:
        section = "detection"
        options = {"epochs": 1, "batch_size": size.tiles, "per_epoch": 8 * size.tiles, "clip_norm": 1.0, **ways}
        method = {
            "detector": network,
            "backbone": DETECTORS[network],
            "precision": variant.precision,
            "options": options,
        }
        data = {
            "dataset": "toy-ships",
            "options": {"scenes": 4, "scene_px": 2 * size.tile_px},
            "tiles": {"size_px": size.tile_px, "overlap_px": 32},
            "splits": {"random": {"kind": "random", "by": "scene", "test": 0.5, "validation": 0}},
        }
    path = folder / f"{network}.yaml"
    # JSON is YAML
    write_json(
        path, {"name": "precision", "seeds": [0], section: {"datasets": {"made": data}, "methods": {network: method}}}
    )
    suite = load_suite(str(path), [])
    (cell,) = expand(suite, Selection(), [section], origin_of(str(path), []))
    return cell


def table(rows: Sequence[Row]) -> list[str]:
    """Return the rows as a Markdown table: pairs or tiles a second, and what they are relative to the network's plain
    fp32.
    """
    bare = any(row.times is not None and row.times.bare_s is not None for row in rows)
    head = ["network", "computed in", "batch", "training 1/s", "x", "inference 1/s", "x", "peak MiB"]
    head += ["network alone"] if bare else []
    lines = ["| " + " | ".join(head) + " |", "|---|---" + "|---:" * (len(head) - 2) + "|"]
    plain = {row.network: row.times for row in rows if row.variant == Variant("fp32", False, False)}
    for row in rows:
        if row.times is None:
            continue
        trained, inferred = row.batch / row.times.step_s, 1 / row.times.inference_s
        first = plain.get(row.network)
        ratios = (
            ("", "")
            if first is None
            else (f"{first.step_s / row.times.step_s:.2f}", f"{first.inference_s / row.times.inference_s:.2f}")
        )
        cells = [
            row.network,
            row.variant.words,
            str(row.batch),
            f"{trained:.3g}",
            ratios[0],
            f"{inferred:.3g}",
            ratios[1],
        ]
        cells.append(f"{row.times.peak_bytes / 2**20:,.0f}")
        if bare:
            cells.append("" if row.times.bare_s is None else f"{row.times.bare_s / row.times.step_s:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _problems(rows: Sequence[Row]) -> list[str]:
    return [f"{row.network}, {row.variant.words}: {row.problem}" for row in rows if row.times is None]


if __name__ == "__main__":
    sys.exit(main())
