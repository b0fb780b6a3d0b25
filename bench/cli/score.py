"""Score stored predictions again, without model, images or GPU, and compare every number with the record beside them.

Exit code 1 when a number moved: then a metric's code changed, or a file did.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.errors import BenchError
from bench.records import RECORD, Record, iter_records, load_record
from bench.task import get_task

EXAMPLES = """  bench score                        every finished cell under runs/
  bench score runs/matching/CELL     one cell, with all its metrics"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cell", nargs="*", type=Path, help="cell folders; every finished cell when left out")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the runs folder (default: runs)")


def execute(args: argparse.Namespace) -> int:
    cells = _named(args.cell) if args.cell else [(f, r) for f, r in iter_records(args.runs) if r.status == "finished"]
    if not cells:
        raise BenchError(f"no finished cell under {args.runs}; run a suite first: bench run --config quickstart")
    moved_cells = 0
    for folder, record in cells:
        scores = get_task(record.task).score(folder)
        moved = [name for name, value in scores.metrics.items() if record.metrics.get(name) != value]
        moved += [name for name in record.metrics if name not in scores.metrics]
        moved_cells += bool(moved)
        print(f"{folder.name}: " + (f"{len(moved)} numbers moved" if moved else f"{len(scores.metrics)} numbers as recorded"))
        for name in sorted(scores.metrics) if args.cell else sorted(moved):
            print(f"  {name.ljust(38)} {_shown(scores.metrics.get(name))}" + _was(record, name, name in moved))
    if moved_cells:
        print(f"{moved_cells} of {len(cells)} cells moved; `bench run` scores them again under the present metrics version")
    return 1 if moved_cells else 0


def _named(folders: list[Path]) -> list[tuple[Path, Record]]:
    out = []
    for folder in folders:
        if not (folder / RECORD).is_file():
            raise BenchError(f"{folder}: no record.json there; give the folder of a finished cell, runs/<task>/<cell>")
        record = load_record(folder / RECORD)
        if record.status != "finished":
            raise BenchError(f"{folder}: this cell failed; there is nothing to score")
        out.append((folder, record))
    return out


def _shown(value: float | None) -> str:
    return "unknown" if value is None else repr(value)


def _was(record: Record, name: str, moved: bool) -> str:
    return f"  (recorded: {_shown(record.metrics.get(name))})" if moved else ""
