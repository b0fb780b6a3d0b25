"""Rebuild the boards (Markdown and CSV) of one suite or of all, from the entries beside them. Needs no data, no model, no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import terminal_width
from bench.errors import BenchError
from bench.leaderboard import SUITE, build_boards, to_text

EXAMPLES = """  bench leaderboard
  bench leaderboard s1s2 --print"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", nargs="*", help="suites to rebuild; all when left out")
    parser.add_argument("--boards", type=Path, default=Path("leaderboards"), metavar="DIR", help="where boards are (default: leaderboards)")
    parser.add_argument("--print", action="store_true", dest="show", help="print the tables too")


def execute(args: argparse.Namespace) -> int:
    names = args.suite or sorted(path.parent.name for path in args.boards.glob(f"*/{SUITE}"))
    if not names:
        raise BenchError(f"no boards under {args.boards}; run a suite first: bench run --config quickstart")
    for name in names:
        for path, table in build_boards(args.boards, name).items():
            if args.show:
                print(to_text(table, terminal_width()))
            print(f"wrote {path} and {path.with_suffix('.csv').name}")
    return 0
