"""QXS-SAROPT: three cities, patches of 256 px that share 52, numbered in no order, and beside them the truth that the
set itself withholds.
"""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.data.images import write_image
from bench.data.patch_folder import folder_names
from bench.simulator.cities import LARGEST_PX, Block, Manner, Patch, blocks_of, kept_windows, offsets, render_block
from bench.simulator.like import Plan, Request
from bench.simulator.spec import VERSION

CITIES, PATCH_PX, OVERLAP_PX, GSD_M, FULL = 3, 256, 52, 1.0, 20_000
MANNERS = (Manner(looks=1), Manner(looks=4), Manner(looks=2))
TRUTH = "truth.csv"
_COLUMNS = ("id", "scene", "y0_px", "x0_px", "optical_dy_px", "optical_dx_px")


def plan(request: Request) -> Plan:
    """Return how the set is made.

    Raises:
        BenchError: fewer pairs than cities or more than they hold, or boxes, which pairs do not have.
    """
    count = FULL if request.count is None else request.count
    if count < CITIES:
        raise BenchError(f"--pairs {count}: at least {CITIES}, one for each city")
    most = CITIES * ((LARGEST_PX - PATCH_PX) // (PATCH_PX - OVERLAP_PX) + 1) ** 2
    if count > most:
        raise BenchError(
            f"--pairs {count}: at most {most}, all windows of {CITIES} scenes of {LARGEST_PX} px; ask for fewer"
        )
    if request.boxes is not None:
        raise BenchError("--ships-at places ships of scenes; pairs take none")
    if not 0 <= request.misregistration_px <= 16:
        raise BenchError(f"--misregistration-px {request.misregistration_px:g}: from 0 to 16")
    stamp = {
        "like": "qxs-saropt", "version": VERSION, "pairs": count, "seed": request.seed,
        "misregistration_px": float(request.misregistration_px),
    }  # fmt: skip
    tasks = _tasks(count, request)
    return Plan(
        stamp,
        tasks,
        write_block,
        finish,
        f"{count} pairs of {CITIES} cities in {len(tasks)} blocks; where each lies: {TRUTH}",
    )


def _tasks(count: int, request: Request) -> list[Block]:
    stride = PATCH_PX - OVERLAP_PX
    # numbers are dealt at random, so that neighbours in the scene are none in the numbering
    numbers = np.random.default_rng([request.seed, 94]).permutation(count) + 1
    shift = offsets(request.seed, count, request.misregistration_px)
    blocks: list[Block] = []
    first = 0
    for city_number in range(CITIES):
        wanted = count // CITIES + (city_number < count % CITIES)
        city, windows = kept_windows(city_number, request.seed, wanted, PATCH_PX, stride, GSD_M, MANNERS[city_number])
        patches = [
            Patch(int(numbers[first + place]), y0, x0, int(shift[first + place, 0]), int(shift[first + place, 1]))
            for place, (y0, x0, _, _) in enumerate(windows)
        ]
        blocks += blocks_of(city, patches, PATCH_PX, stride)
        first += wanted
    return blocks


def write_block(folder: Path, block: Block) -> list[Any]:
    """Write the pairs of a block; return their rows of the truth table."""
    root = folder / "QXSLAB_SAROPT"
    names = folder_names(PATCH_PX, OVERLAP_PX)
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
    rows: list[Any] = []
    for patch, optical, sar in render_block(block):
        for name, image in zip(names, (optical, sar), strict=True):
            write_image(root / name / str(patch.number), image, compress_level=1)
        rows.append([patch.number, block.city.name, patch.y0, patch.x0, patch.optical_dy, patch.optical_dx])
    return rows


def finish(folder: Path, rows: list[list[Any]]) -> None:
    """Write the truth table beside the set's own folder, where no reader looks."""
    with (folder / TRUTH).open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(_COLUMNS)
        by_number = {int(row[0]): row for row in itertools.chain.from_iterable(rows)}
        table.writerows(by_number[number] for number in sorted(by_number))
