"""What many cells cost the harness itself, as wall and processor seconds of whole commands; figures in
docs/performance.md.

    python benchmarks/scale.py [plan] [board] [idle] [--cells 10000] [--rows 400] [--seeds 5] [--out FILE.csv]

plan   `bench plan` of so many cells, nothing of them run: seeds of a few rows, and rows of one seed
board  `bench leaderboard` of a table of so many rows and seeds
idle   `bench run` of the same suite when every cell is finished and filed

The finished cells are made here: one `random` cell runs, and its predictions are drawn anew for every row and seed (rows
differ in how much the two views' embeddings agree), scored and recorded by the harness's own functions. So every number
on the board follows from files on disk, as it does in a genuine run.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # this file's own folder would hide the standard library's `statistics`

import numpy as np

import bench
from bench.core.store import read_json, save_arrays, write_json
from bench.execution.plan import PlanItem
from bench.execution.records import (
    PREDICT,
    PREDICTIONS,
    RECORD,
    SCORES,
    TRAIN,
    Record,
    load_record,
    new_record,
    write_stage,
)
from bench.execution.task import Task, get_task
from bench.matching.matchers.distances import pairwise
from bench.matching.scoring.predictions import PartPredictions, Predictions, load_predictions, save_predictions

PARTS = ("plan", "board", "idle")
GOALS = {"plan": 5.0, "board": 10.0, "idle": 5.0}  # wall seconds, at the default sizes on two cores
DIMENSIONS, PLANNED_ROWS = 16, 10
SUITE = """\
name: scale
title: many cells
seeds: [0]
matching:
  reference: row0
  protocol: {{name: match/clean-v1, hard: scene, gallery: 20}}
  datasets:
    toy:
      dataset: toy-pairs
      options: {{scenes: 40, patches_per_scene: 6, patch_px: 32}}
      splits:
        scenes: {{kind: grouped, by: scene, test: 0.5, validation: 0.2}}
  methods:
{methods}
"""


@dataclass(frozen=True)
class Row:
    """One line of the table: a command over so many cells, seconds of wall clock and of all its processes together."""

    what: str
    cells: int
    wall_s: float
    cpu_s: float
    goal_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts that were named (all by default), print each row when it is known; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    for name, default, text in (
        ("cells", 10_000, "cells that are planned"),
        ("rows", 400, "rows of the table"),
        ("seeds", 5, "seeds of each row of the table"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default: {default})")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write each row into this CSV file")
    args = parser.parse_args(arguments)
    if unknown := sorted(set(args.parts) - set(PARTS)):
        parser.error(f"unknown part {unknown[0]}; known: {', '.join(PARTS)}")
    parts = args.parts or list(PARTS)
    table = Table(args.out)
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
        place = Path(folder)
        if "plan" in parts:
            rows = min(PLANNED_ROWS, args.cells)
            plan_many(place / "seeds", rows, args.cells // rows, table)
            plan_many(place / "rows", args.cells, 1, table)
        if {"board", "idle"} & set(parts):
            made = finish(place / "finished", args.rows, args.seeds)
            what = f"{args.rows} rows x {args.seeds} seeds"
            if "board" in parts:
                table.add(
                    "board", f"a board of {what}", made, *bench_command(place / "finished", "leaderboard", "scale")
                )
            if "idle" in parts:
                seeds = [str(seed) for seed in range(args.seeds)]
                words = ("run", "--config", "scale.yaml", "--seeds", *seeds, "--no-figures")
                table.add("idle", f"nothing to do, {what}", made, *bench_command(place / "finished", *words))
    return 0


class Table:
    """Prints rows, and writes them into a CSV file where one is given, each as soon as it is there."""

    def __init__(self, out: Path | None) -> None:
        self.out = out
        print(f"CPU ({platform.machine()}, {os.cpu_count()} cores), Python {platform.python_version()}\n", flush=True)
        print("| what | cells | wall | processor | goal, wall |\n|---|---:|---:|---:|---:|", flush=True)
        if out is not None:
            self._write(list(Row.__dataclass_fields__), "w")

    def add(self, part: str, what: str, cells: int, wall: float, cpu: float) -> None:
        """Add a row of a part."""
        row = Row(what, cells, round(wall, 2), round(cpu, 2), GOALS[part])
        print(f"| {what} | {cells:,} | {wall:.1f} s | {cpu:.1f} s | {row.goal_s:g} s |", flush=True)
        if self.out is not None:
            self._write(list(asdict(row).values()), "a")

    def _write(self, values: list[Any], mode: str) -> None:
        assert self.out is not None
        with open(self.out, mode, encoding="utf-8", newline="") as file:
            csv.writer(file).writerow(values)


def bench_command(folder: Path, *words: str) -> tuple[float, float]:
    """Run `bench` with these words in a process of its own in `folder`; return wall and processor seconds."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "bench", *words]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"bench {' '.join(words[:2])} ended with {done.returncode}: {done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_suite(folder: Path, rows: int) -> Path:
    """Write the suite with so many rows that differ in an option; return its path."""
    folder.mkdir(parents=True)
    # an embedding has from 2 to 1024 dimensions; further rows differ in the option's other half
    options = (f"{{matcher: random, options: {{dimensions: {2 + row}}}}}" for row in range(min(rows, 1000)))
    methods = [f"    row{row}: {text}" for row, text in enumerate(options)]
    for row in range(1000, rows):
        methods.append(f"    row{row}: {{matcher: infonce, backbone: resnet18, options: {{entries: {row}}}}}")
    path = folder / "scale.yaml"
    path.write_text(SUITE.format(methods="\n".join(methods)), encoding="utf-8")
    return path


def plan_many(folder: Path, rows: int, seeds: int, table: Table) -> None:
    """Time the plan of `rows` x `seeds` cells of which none has run; the set itself is generated before."""
    write_suite(folder, rows)
    bench_command(folder, "data", "info", "toy-pairs")
    words = ("plan", "--config", "scale.yaml", "--seeds")
    bench_command(folder, *words, "0", "--method", "row0")
    timed = bench_command(folder, *words, *map(str, range(seeds)))
    table.add("plan", f"planned, {rows:,} rows x {seeds:,} seeds", rows * seeds, *timed)


# -- finished cells ----------------------------------------------------------------------------------------------------
def finish(folder: Path, rows: int, seeds: int) -> int:
    """Leave a suite in `folder` whose cells are all finished and filed; return their number."""
    suite = write_suite(folder, rows)
    bench_command(folder, "run", "--config", suite.name, "--method", "row0", "--no-figures")
    chosen = {"suite": suite, "seeds": range(seeds), "runs": folder / "runs", "boards": folder / "leaderboards"}
    template = bench.plan(**{**chosen, "seeds": [0]}, method="row0").items[0]
    assert template.record is not None
    predictions, task = load_predictions(template.folder / PREDICTIONS), get_task(template.cell.task)
    planned = bench.plan(**chosen)
    for number, item in enumerate(planned.items):
        if item.record is None:
            write_finished(item, template, drawn_again(predictions, number // seeds / rows, number), task)
    quiet = bench.run(**chosen, figures=False, device="cpu", say=lambda line: None)
    assert quiet.whole, quiet.problems
    return len(planned.items)


def drawn_again(old: Predictions, noise: float, seed: int) -> Predictions:
    """Return predictions over the same samples and pairs, of views whose embeddings agree but for `noise`."""
    rng = np.random.default_rng((1, seed))
    parts = {}
    for name in ("validation", "test"):
        part: PartPredictions = getattr(old, name)
        sar = rng.normal(size=(len(part.id), DIMENSIONS)).astype(np.float32)
        optical = (sar + (0.5 + 2 * noise) * rng.normal(size=sar.shape)).astype(np.float32)
        distance = pairwise("cosine", sar, optical)
        parts[name] = (sar, optical, distance, replace(part, distance=distance[part.pair_sar, part.pair_optical]))
    sar, optical, distance, test = parts["test"]
    gallery = distance[np.ix_(old.gallery_position, old.gallery_position)]
    return replace(
        old,
        validation=parts["validation"][3],
        test=test,
        sar_embedding=sar,
        optical_embedding=optical,
        embedding_distance="cosine",
        gallery_distance=gallery,
    )


def write_finished(item: PlanItem, template: PlanItem, predictions: Predictions, task: Task) -> None:
    """Leave in a cell's folder what its worker would have left: the stages' markers, scores, and the record."""
    item.folder.mkdir(parents=True)
    save_predictions(item.folder / PREDICTIONS, predictions)
    for stage, marker, key in (
        ("train", TRAIN, item.identity.keys.train),
        ("predict", PREDICT, item.identity.keys.predict),
    ):
        facts = read_json(template.folder / marker)
        write_stage(item.folder, stage, key, {name: facts[name] for name in ("facts", "cost", "made_by")})
    scores = task.score(item.folder)
    save_arrays(item.folder / SCORES, dict(scores.samples))
    old: Record = load_record(template.folder / RECORD)
    record = new_record(
        item.cell,
        item.identity,
        "finished",
        metrics=dict(scores.metrics),
        facts={**old.facts, **scores.facts},
        cost=old.cost,
        provenance=old.provenance,
    )
    write_json(item.folder / RECORD, record.model_dump())


if __name__ == "__main__":
    sys.exit(main())
