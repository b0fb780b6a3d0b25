"""What the harness costs on the matching task, as ratios measured in one run; figures in docs/performance.md.

    python benchmarks/matching.py [training] [reading] [metrics] [--device cpu] [--threads N] [--workers N] [--rounds 3]
    ...

training  steps through the whole harness (decoded cache, pairing, augmentation, scaling, mmengine's Runner and our hooks, loss checks,
          checkpoint) against a bare PyTorch loop over the same batches as tensors in memory: same network, optimiser
          and thread count
reading   one shuffled epoch of patches out of the decoded cache against decoding the same PNG files with Pillow
metrics   every number of a cell with 20,000 test pairs, its full 20,000 x 20,000 retrieval included, in a process of its own: seconds
          and peak memory
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# this file's own folder would hide the standard library's `statistics`
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from bench.core.provenance import peak_memory_bytes
from bench.core.workspace import Workspace
from bench.data.cache import PairView
from bench.matching.scoring.predictions import PartPredictions, Predictions
from benchmarks.captured import (
    Captured,
    captured_matcher,
    context_of,
    matching_cells,
    run_bare,
    run_harness,
)
from benchmarks.generated_sets import compress, write_pairs
from benchmarks.ratios import Line, add_how, by_turns, clocked, compared, machine, parsed, table
from benchmarks.step_times import FewBatches

PARTS = ("training", "reading", "metrics")
TRAINING_GOAL, READING_GOAL, METRICS_SECONDS, METRICS_GIB = 0.95, 10.0, 30.0, 2.0
METRICS_CODE = "from benchmarks.matching import score_many; score_many({count})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts that were named (all by default), print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_how(parser, PARTS)
    parser.add_argument("--matcher", default="infonce", help="trained matcher (default: infonce)")
    parser.add_argument("--backbone", default="resnet18", help="its backbone (default: resnet18)")
    parser.add_argument(
        "--input-px", type=int, default=64, metavar="N", help="side of the network's input (default: 64)"
    )
    parser.add_argument(
        "--patch-px", type=int, default=256, metavar="N", help="side of the patches on disk (default: 256)"
    )
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="batch size (default: 32)")
    parser.add_argument("--steps", type=int, default=40, metavar="N", help="steps of a timed training (default: 40)")
    parser.add_argument(
        "--pairs", type=int, default=1000, metavar="N", help="pairs of the generated set (default: 1000)"
    )
    parser.add_argument(
        "--scored", type=int, default=20_000, metavar="N", help="test pairs for the metrics (default: 20000)"
    )
    args = parsed(parser, PARTS, arguments)
    parts = args.parts
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="bench-speed-") as folder:
        place = Path(folder)
        if {"training", "reading"} & set(parts):
            write_pairs(place / "data", args.pairs, args.patch_px)
            compress(place / "data")
        if "training" in parts:
            lines += training(args, place)
        if "reading" in parts:
            lines.append(reading(args, place))
    if "metrics" in parts:
        lines += metrics(args.scored)
    print(machine(args.device, args.threads), end="\n\n")
    print(table(lines))
    return 0


# -- training ----------------------------------------------------------------------------------------------------------
def training(args: argparse.Namespace, place: Path) -> list[Line]:
    """Return the lines on training steps and on a whole training call."""
    from bench.training.api import resolve_device

    taken = _captured(args, place)
    few = FewBatches(taken.batches, taken.spec.batch_size, args.steps)
    spec = replace(taken.spec, epochs=1, warmup_epochs=0.0)
    device = resolve_device(args.device)
    whole: list[float] = []
    number = iter(range(10**6))

    def through_harness() -> float:
        context = context_of(args, place / f"run{next(number)}", place)
        step, seconds = run_harness(copy.deepcopy(taken.model), few, spec, context)
        whole.append(seconds)
        return step

    def bare() -> float:
        return run_bare(copy.deepcopy(taken.model), few, spec, device, args.threads)

    ours, other, ratio = by_turns(through_harness, bare, args.rounds)
    about = f"{args.matcher}-{args.backbone}, {args.input_px} px, batch {args.batch}"
    rate = args.batch / ours
    total = args.steps * other / float(np.median(whole))
    return [
        compared(
            f"training step, {about}",
            f"{rate:.1f} pairs/s",
            f"bare loop: {args.batch / other:.1f} pairs/s",
            ratio,
            TRAINING_GOAL,
        ),
        compared(
            f"the same, whole call ({args.steps} steps, start, checkpoint)",
            f"{float(np.median(whole)):.1f} s",
            f"{args.steps * other:.1f} s",
            total,
        ),
    ]


def _captured(args: argparse.Namespace, place: Path) -> Captured:
    options = {"batch_size": args.batch, "input_px": args.input_px, "augment": "dihedral"}
    cell, workspace = matching_cells(place, args.matcher, args.backbone, options)
    return captured_matcher(cell, workspace, context_of(args, place / "capture", place))


# -- reading -----------------------------------------------------------------------------------------------------------
def reading(args: argparse.Namespace, place: Path) -> Line:
    """Return the line on reading every patch of the set once, in a shuffled order, batch by batch."""
    from PIL import Image

    cell, workspace = matching_cells(place, "random", None, {})
    index, cache = _decoded(cell, workspace)
    view = PairView(cache, index, np.arange(len(index)))
    order = np.random.default_rng(0).permutation(len(index))
    blocks = [order[start : start + args.batch] for start in range(0, len(order), args.batch)]

    def from_cache() -> None:
        for block in blocks:
            view.sar(block)
            view.optical(block)

    def with_pillow() -> None:
        for block in blocks:
            samples = [index.samples[i] for i in block]
            np.stack([np.asarray(Image.open(place / "data" / sample.sar).convert("L")) for sample in samples])
            np.stack([np.asarray(Image.open(place / "data" / sample.optical).convert("RGB")) for sample in samples])

    from_cache()
    with_pillow()
    ours, other, ratio = by_turns(clocked(from_cache), clocked(with_pillow), args.rounds)
    about = f"an epoch of {len(index):,} pairs of {args.patch_px} px, shuffled, batches of {args.batch}"
    rates = [f"{len(index) / seconds:,.0f} pairs/s" for seconds in (ours, other)]
    return compared(f"reading {about}", rates[0], f"Pillow: {rates[1]}", ratio, READING_GOAL)


def _decoded(cell: Any, workspace: Workspace) -> tuple[Any, Any]:
    from bench.suite.data_plan import plan_data
    from bench.tasks.data import load_pairs

    data = load_pairs(plan_data(cell, workspace), workspace.cache)
    return data.train.index, data.train.store


# -- metrics -----------------------------------------------------------------------------------------------------------
def metrics(count: int) -> list[Line]:
    """Return the lines on the metrics of `count` test pairs: seconds, and peak memory of the process that computed
    them.
    """
    code = METRICS_CODE.format(count=count)
    done = subprocess.run([sys.executable, "-c", code], cwd=sys.path[0], capture_output=True, text=True, check=True)
    seconds, gib, values = (float(word) for word in done.stdout.split())
    about = f"all {values:.0f} metrics of {count:,} test pairs"
    return [
        Line(about, f"{seconds:.1f} s", "", None, f"under {METRICS_SECONDS:g} s", seconds < METRICS_SECONDS),
        Line(
            "the same, peak memory of the process",
            f"{gib:.2f} GiB",
            "",
            None,
            f"under {METRICS_GIB:g} GiB",
            gib < METRICS_GIB,
        ),
    ]


def score_many(count: int) -> None:
    """Score random predictions of `count` test pairs; print seconds, peak GiB of this process, and how many metrics
    came out.
    """
    from bench.matching.scoring.score import score_predictions

    predictions = random_predictions(count)
    started = time.perf_counter()
    scores = score_predictions(predictions)
    seconds = time.perf_counter() - started
    known = sum(value is not None for value in scores.metrics.values())
    print(seconds, peak_memory_bytes() / 2**30, known)


def random_predictions(count: int, dim: int = 128) -> Predictions:
    """Return predictions of `count` test pairs (and an eighth as many of validation), with uniform and hard negatives
    and embeddings.
    """
    rng = np.random.default_rng(0)
    sar, optical = rng.normal(size=(2, count, dim)).astype(np.float32)
    optical += sar
    sar, optical = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (sar, optical))
    gallery = rng.permutation(count)[: min(120, count)]
    parts = [_part(rng, size, name) for size, name in ((max(2, count // 8), "v"), (count, "t"))]
    return Predictions(
        validation=parts[0],
        test=parts[1],
        sar_embedding=sar,
        optical_embedding=optical,
        embedding_distance="cosine",
        gallery_position=gallery,
        gallery_distance=1 - sar[gallery] @ optical[gallery].T,
        fixed_threshold=0.5,
    )


def _part(rng: np.random.Generator, count: int, name: str) -> PartPredictions:
    from bench.matching.scoring.pairs import HARD, POSITIVE, UNIFORM

    position = np.arange(count)
    kind = np.repeat([POSITIVE, UNIFORM, HARD], count).astype(np.uint8)
    label = kind == POSITIVE
    return PartPredictions(
        id=np.array([f"{name}{i}" for i in position]),
        scene=np.array([f"s{i % 200}" for i in position]),
        group=np.array([f"s{i % 200}" for i in position]),
        place=np.full((count, 4), np.nan),
        pair_sar=np.tile(position, 3),
        pair_optical=np.concatenate([position, np.roll(position, 1), np.roll(position, 2)]),
        label=label,
        kind=kind,
        distance=np.where(label, rng.normal(0.4, 0.2, 3 * count), rng.normal(0.8, 0.2, 3 * count)).astype(np.float32),
    )


if __name__ == "__main__":
    raise SystemExit(main())
