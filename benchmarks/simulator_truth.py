"""The audit of a simulated QXS-SAROPT stand-in, held against its truth file.

    bench data simulate --like qxs-saropt --out DIR
    python benchmarks/simulator_truth.py --root DIR

The audit sees pixels alone; `truth.csv` says where each patch lies. Prints which overlaps were found, missed and made
up, whether the layout is right, and what the random and the grouped split leak by the truth.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.data.audit.patches import audit_pairs
from bench.data.audit.report import PatchReport
from bench.data.csv_files import read_csv
from bench.data.dataset import open_dataset
from bench.data.splits import Split, SplitSpec
from bench.simulator.like.qxs_saropt import PATCH_PX, TRUTH

Truth = tuple[np.ndarray, np.ndarray, np.ndarray]
"""City number, y and x in px of each sample, in the index's order."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--root", type=Path, required=True, help="a folder that `bench data simulate --like qxs-saropt` wrote"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        started = time.process_time()
        report = audit_pairs(open_dataset("qxs-saropt", {}, args.root, Path(cache)), SplitSpec())
        seconds = time.process_time() - started
    truth = truth_of(args.root, report.index.ids)
    wanted = overlapping(truth)
    found = found_pairs(report)
    print(
        f"{len(report.index)} pairs, {len(np.unique(truth[0]))} cities; the audit took {seconds:.0f} s of processor"
        " time"
    )
    missed, made_up = len(wanted - found), len(found - wanted)
    print(
        f"overlaps by the truth file: {len(wanted)}; found: {len(wanted & found)}; missed: {missed}; made up: {made_up}"
    )
    print(
        f"groups of the layout: {len(report.layout.sizes)}; patches placed wrong within their group:"
        f" {misplaced(report, truth)}"
    )
    print(
        f"random split: {touched(report.split, wanted)} of {len(report.split.test)} test patches share ground with"
        " training or validation"
    )
    if report.grouped is None:
        print("grouped split: none could be made")
    else:
        split = report.grouped.split
        sizes = f"{len(split.train)} / {len(split.validation)} / {len(split.test)} / {len(split.dropped)}"
        print(
            f"grouped split: {touched(split, wanted)} of {len(split.test)} do (train / validation / test / dropped:"
            f" {sizes})"
        )


def truth_of(root: Path, ids: tuple[str, ...]) -> Truth:
    """Return where the samples lie, by the truth file."""
    rows = {row["id"]: row for row in read_csv(root / TRUTH, required=("id", "scene", "y0_px", "x0_px"))}
    city = np.unique([rows[name]["scene"] for name in ids], return_inverse=True)[1]
    y, x = (np.array([int(rows[name][column]) for name in ids]) for column in ("y0_px", "x0_px"))
    return city, y, x


def overlapping(truth: Truth) -> set[tuple[int, int, int, int]]:
    """Return (sample, later sample, dy, dx) of all samples that share pixels."""
    cells: dict[tuple[int, int, int], list[int]] = {}
    for i, (city, y, x) in enumerate(zip(*(column.tolist() for column in truth), strict=True)):
        cells.setdefault((city, y // PATCH_PX, x // PATCH_PX), []).append(i)
    out = set()
    for (city, row, column), members in cells.items():
        near = [j for dy in (-1, 0, 1) for dx in (-1, 0, 1) for j in cells.get((city, row + dy, column + dx), ())]
        for i in members:
            for j in near:
                dy, dx = int(truth[1][j] - truth[1][i]), int(truth[2][j] - truth[2][i])
                if i < j and max(abs(dy), abs(dx)) < PATCH_PX:
                    out.add((i, j, dy, dx))
    return out


def found_pairs(report: PatchReport) -> set[tuple[int, int, int, int]]:
    """Return the overlaps of the audit in the same form."""
    found = report.overlaps
    rows = zip(found.a.tolist(), found.b.tolist(), found.dy.tolist(), found.dx.tolist(), strict=True)
    return {(a, b, dy, dx) if a < b else (b, a, -dy, -dx) for a, b, dy, dx in rows}


def misplaced(report: PatchReport, truth: Truth) -> int:
    """Return how many patches lie elsewhere in their group than the first of it says, by the truth."""
    layout, wrong = report.layout, 0
    for group in range(len(layout.sizes)):
        members = np.flatnonzero(layout.component == group)
        off = [column[members] - position[members] for column, position in ((truth[1], layout.y), (truth[2], layout.x))]
        wrong += int(
            ((off[0] != off[0][0]) | (off[1] != off[1][0]) | (truth[0][members] != truth[0][members[0]])).sum()
        )
    return wrong


def touched(split: Split, wanted: set[tuple[int, int, int, int]]) -> int:
    """Return how many test patches share ground with training or validation."""
    part = np.zeros(int(max(max(a, b) for a, b, _, _ in wanted)) + 1, dtype=np.int8)
    for value, members in ((1, split.train), (1, split.validation), (2, split.test)):
        part[members[members < len(part)]] = value
    return len({i for a, b, _, _ in wanted for i, j in ((a, b), (b, a)) if part[i] == 2 and part[j] == 1})


if __name__ == "__main__":
    main()
