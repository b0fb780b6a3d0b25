"""Run a suite, or the part of it that the options select: train, predict, score, draw, and write the boards.

What is finished is never computed again; what was interrupted resumes from its last checkpoint. With --smoke every cell
runs for a few samples and iterations, in a folder of its own and on no board: the wiring check before a GPU is booked.
"""

from __future__ import annotations

import argparse
import sys

from bench.api import run
from bench.boards.equal_scores import order_note
from bench.boards.rendering import to_text
from bench.boards.run_result import RunResult
from bench.cli.options import (
    add_place_arguments,
    add_suite_arguments,
    place_arguments,
    suite_arguments,
    terminal_width,
)
from bench.core.errors import BenchError
from bench.execution.job import EXIT_INTERRUPTED
from bench.execution.records import Record

EXAMPLES = """  bench run --config quickstart
  bench run matching --backbone darknet53
  bench run --config paper --smoke
  bench run detection --pretrain osm --seeds 0 1 2
  bench run --config paper --executor slurm --slurm partition=gpu --slurm gpus=1
  bench run --config s1s2 --root DIR --matcher cfog --seeds 0 1 2
  bench run --config my.yaml --set matching.methods.bnn.options.epochs=5"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite_arguments(parser)
    add_place_arguments(parser)
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="wiring check: a few samples and iterations a cell, two seeds, in RUNS/smoke, on no board",
    )
    how = parser.add_argument_group("how (context: recorded, but entering no key)")
    how.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:N, or auto: cuda where there is one (default: auto)"
    )
    how.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of each process (default: all cores, divided by --processes)",
    )
    how.add_argument(
        "--workers", type=int, default=0, metavar="N", help="data-loading processes of each process (default: 0)"
    )
    how.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes that train a network together, a GPU each (default: 1)",
    )
    how.add_argument("--executor", choices=("local", "slurm"), default="local", help="where cells run (default: local)")
    how.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of each job, e.g. partition=gpu or gpus=1 (docs/slurm.md)",
    )
    how.add_argument("--no-figures", action="store_true", help="draw no pictures")
    how.add_argument("--force", action="store_true", help="compute again what is finished")


def execute(args: argparse.Namespace) -> int:
    if args.slurm and args.executor != "slurm":
        raise BenchError("--slurm is for --executor slurm; add that, or leave it out")
    result = run(
        **suite_arguments(args),
        **place_arguments(args),
        smoke=args.smoke,
        device=args.device,
        threads=args.threads,
        workers=args.workers,
        processes=args.processes,
        figures=not args.no_figures,
        force=args.force,
        slurm=args.slurm if args.executor == "slurm" else None,
    )
    print_result(result, each=args.smoke)
    if args.smoke:
        lost = {result.folder(record) for record in result.failures} | set(result.undrawn)
        print(f"smoke: {len(set(result.folders) - lost)} of {result.cells} cells ran")
    return exit_code(result)


def exit_code(result: RunResult) -> int:
    return EXIT_INTERRUPTED if result.interrupted else int(not result.whole)


def print_result(result: RunResult, each: bool = False) -> None:
    """Print the tables, what changed on the board, and the failures; with `each`, each failed cell by its name."""
    for task, table in result.tables.items():
        print(to_text(table, terminal_width()))
        if task in result.boards:
            print(f"board: {result.boards[task]}")
    for problem in result.problems:
        print(f"PROBLEM {problem}", file=sys.stderr)
    for note in filter(None, map(order_note, result.records)):
        print(f"WARNING {note}", file=sys.stderr)
    if result.removed:
        print(f"taken off the board, no longer in the suite: {', '.join(result.removed)}")
    if result.folders:
        print(
            f"each cell's pictures, log and predictions: {result.folders[0].parent}/<data"
            " set>--<method>--<seed>--<fingerprint>/"
        )
    alike: dict[str, list[Record]] = {}
    for record in result.failures:
        message = record.failure.message if record.failure else "?"
        alike.setdefault(f"{result.folder(record)} {message}" if each else message, []).append(record)
    for failed in alike.values():
        message = failed[0].failure.message if failed[0].failure else "?"
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        log = f"{result.folder(failed[0])}/log.txt"
        print(f"FAILED {failed[0].slot}{more}: {message} (details: {log})", file=sys.stderr)
    for folder in result.undrawn if each else ():
        print(f"FAILED pictures of {folder.name} (details: {folder}/log.txt)", file=sys.stderr)
