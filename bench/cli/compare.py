"""The paired difference of any two rows that were measured on the same data, split and protocol, from their per-sample
scores alone.

A row is named by its label, where needed with block and board before it, or by leading digits of a fingerprint of one
of its seeds. Exit code 1 when a record of another row could not be read; a row with such a seed is not compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.registries import TASKS
from bench.core.workspace import user_path
from bench.tools.comparison import BoardRow, compare, shown_p

if TYPE_CHECKING:
    from bench.statistics.inference import Difference, Estimate
    from bench.statistics.intervals import Interval

EXAMPLES = """  bench compare hrsid:faster-rcnn/osm hrsid:faster-rcnn/none
  bench compare bnn-resnet18 histogram --dataset s1s2-256/place --metric hard.accuracy
  bench compare 2df415e2 0c11a6d8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "a",
        metavar="A",
        help="a row: [BOARD:][DATASET/SPLIT/]LABEL or a fingerprint; the board 'runs' is the runs folder",
    )
    parser.add_argument("b", metavar="B", help="the row that A is compared with")
    parser.add_argument("--metric", metavar="NAME", help="name of a metric (default: the task's headline)")
    parser.add_argument("--task", choices=TASKS.names(), help="where both tasks have such rows")
    parser.add_argument(
        "--dataset", metavar="NAME", help="block ('s1s2-256/place') or data set, where several have such rows"
    )
    parser.add_argument(
        "--runs",
        type=user_path,
        default=Path("runs"),
        metavar="DIR",
        help="where cells keep their files (default: runs)",
    )
    parser.add_argument(
        "--boards",
        type=user_path,
        default=Path("leaderboards"),
        metavar="DIR",
        help="where boards are (default: leaderboards)",
    )


def execute(args: argparse.Namespace) -> int:
    left_out: list[str] = []

    def report(text: str) -> None:
        left_out.append(text)
        print(text, file=sys.stderr)

    found = compare(
        args.a,
        args.b,
        metric=args.metric,
        task=args.task,
        dataset=args.dataset,
        runs=args.runs,
        boards=args.boards,
        report=report,
    )
    print(f"{found.metric} on {found.a.dataset}, {found.a.task}\n")
    print("\n".join(_table([("a", found.a), ("b", found.b)], [found.a_estimate, found.b_estimate])))
    print("\n" + "\n".join(_paired(found.paired, found.a_estimate)))
    print("\n" + found.verdict)
    return 1 if left_out else 0


def _table(rows: Sequence[tuple[str, BoardRow]], estimates: Sequence[Estimate]) -> list[str]:
    lines = [["", "row", "seeds", "mean", "sd over seeds", "interval", "leaving one cluster out"]]
    for (name, row), each in zip(rows, estimates, strict=True):
        seeds = [str(seed) for seed, _ in row.by_seed if seed is not None]
        without = each.leave_one_out
        lines.append(
            [
                name,
                row.label,
                f"{len(seeds)} ({', '.join(seeds)})" if seeds else "none",
                _number(each.value),
                _number(each.seed_sd),
                _interval(each.interval),
                "unknown" if without is None else f"{without[0]:.4f} ({without[2]}) to {without[1]:.4f} ({without[3]})",
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _paired(difference: Difference, one: Estimate) -> list[str]:
    """Return the facts of the comparison, one a line."""
    seeds = [str(seed) for seed in difference.seeds if seed is not None]
    test = (
        f"not made: {difference.reason}"
        if difference.p is None
        else f"p {shown_p(difference.p)}, {_swaps(difference)}, for this one comparison"
    )
    lines = [
        ("a - b", f"{_signed(difference.value)}, interval {_interval(difference.interval, signed=True)}"),
        ("swap test", test),
        ("clusters", f"{one.clusters}, effective sample size {one.effective_clusters:.1f}"),
        ("paired seeds", ", ".join(seeds) if seeds else "none: nothing was trained"),
    ]
    if difference.resolvable is not None:
        lines.append(("resolvable", f"differences from {difference.resolvable:.4f} on (80 % power at 5 %)"))
    return [f"{label.ljust(13)}{text}" for label, text in lines]


def _swaps(difference: Difference) -> str:
    return f"all {difference.swaps:,} swaps" if difference.exact else f"{difference.swaps:,} random swaps"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.4f}"


def _interval(interval: Interval | None, signed: bool = False) -> str:
    if interval is None:
        return "unknown"
    show = _signed if signed else _number
    return f"{interval.level:.0%} {show(interval.low)} to {show(interval.high)}"
