"""Merge the finished cells of other runs folders, of other machines say, into this one: `bench run` then finds them
finished and files them.

A cell is known by its fingerprint: one that is finished here stays as it is. Exit code 1 when numbers differ under one
fingerprint, or a cell is damaged or in use.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from bench.core.workspace import user_path
from bench.tools.lineage import describe
from bench.tools.merge import HERE, MERGED, PROBLEMS, MergeOutcome, merge_runs

EXAMPLES = """  bench merge ../laptop/runs --dry-run     what would come, and what does not fit
  bench merge ../laptop/runs cluster/runs
  bench run --config paper                 then finds these cells finished, and files them"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "others",
        nargs="+",
        type=user_path,
        metavar="OTHER_RUNS",
        help="runs folders of other machines, or copies of them",
    )
    parser.add_argument(
        "--runs",
        type=user_path,
        default=Path("runs"),
        metavar="DIR",
        help="the runs folder that they come to (default: runs)",
    )
    parser.add_argument(
        "--no-models", action="store_true", help="leave the trained models there: a new metric still works without them"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, write nothing")


def execute(args: argparse.Namespace) -> int:
    counts: Counter[str] = Counter()
    for verdict in merge_runs(args.others, args.runs, not args.no_models, args.dry_run):
        counts[verdict.state] += 1
        if verdict.state != HERE:
            print(_line(verdict, args.dry_run), flush=True)
    print(", ".join(f"{number} {_state(state, args.dry_run)}" for state, number in counts.items()))
    return 1 if any(counts[state] for state in PROBLEMS) else 0


def _line(verdict: MergeOutcome, dry_run: bool) -> str:
    record = verdict.record
    name = verdict.folder.name if record is None else f"{record.task} {describe(record)}  {record.fingerprint[:12]}"
    return f"{_state(verdict.state, dry_run)}: {name}" + (f"\n  {verdict.reason}" if verdict.reason else "")


def _state(state: str, dry_run: bool) -> str:
    return f"to be {state}" if dry_run and state == MERGED else state
