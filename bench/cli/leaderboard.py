"""Rebuild the boards (Markdown and CSV) of one suite or of all, from the entries beside them. Needs no data, no model,
no torch.

Exit code 1 when an entry is damaged: its row then shows no mean, and the rest of the board stands.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from bench.boards.leaderboard import SUITE, build_boards
from bench.boards.rendering import to_text
from bench.cli.options import terminal_width
from bench.core.errors import BenchError
from bench.core.store import folder_lock
from bench.core.workspace import user_path

EXAMPLES = """  bench leaderboard
  bench leaderboard s1s2 --print
  bench leaderboard hrsid --cost     the tables with time, memory and throughput; the files stay as they are"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", nargs="*", help="suites to rebuild; all when left out")
    parser.add_argument(
        "--boards",
        type=user_path,
        default=Path("leaderboards"),
        metavar="DIR",
        help="where boards are (default: leaderboards)",
    )
    parser.add_argument("--print", action="store_true", dest="show", help="print the tables too")
    parser.add_argument(
        "--cost", action="store_true", help="print the tables with what each row cost, and write nothing"
    )


def execute(args: argparse.Namespace) -> int:
    names = args.suite or sorted(path.parent.name for path in args.boards.glob(f"*/{SUITE}"))
    if not names:
        raise BenchError(f"no boards under {args.boards}; run a suite first: bench run --config quickstart")
    problems: list[str] = []
    for name in names:
        try:
            writes = not args.cost and (args.boards / name / SUITE).is_file()
            with folder_lock(args.boards / name) if writes else nullcontext():
                built = build_boards(args.boards, name, write=not args.cost, cost=args.cost)
        except BenchError as error:
            if args.suite:
                raise
            problems.append(str(error))  # the other suites are not affected
            continue
        problems += built.problems
        for path, table in built.tables.items():
            if args.show or args.cost:
                print(to_text(table, terminal_width()))
            if not args.cost:
                print(f"wrote {path} and {path.with_suffix('.csv').name}")
    for problem in problems:
        print(f"PROBLEM {problem}", file=sys.stderr)
    return 1 if problems else 0
