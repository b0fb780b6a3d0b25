"""What the speed benchmarks share: two ways of doing the same, timed by turns in one process, and a table of their
ratios.

A ratio of two things that ran by turns on one machine says more than seconds: what else the machine does meanwhile
slows both.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.core.processes import available_cores

Action = Callable[[], float]
"""Does its work and returns the seconds that count."""


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        what: what is compared.
        ours, other: a measured figure each, with its unit.
        ratio: how many times better ours is than the other; None where the figure stands against a limit.
        goal: as the project states it. met: whether it is reached; None without a goal.
    """

    what: str
    ours: str
    other: str
    ratio: float | None
    goal: str = ""
    met: bool | None = None


def add_how(parser: argparse.ArgumentParser, parts: Sequence[str]) -> None:
    """Add the parts that may be named, and how they are measured."""
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)} (default: all)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument(
        "--threads", type=int, default=available_cores(), metavar="N", help="CPU threads (default: all cores)"
    )
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="data-loading processes of the harness (default: 0)"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of each comparison (default: 3)")


def parsed(
    parser: argparse.ArgumentParser, parts: Sequence[str], arguments: Sequence[str] | None
) -> argparse.Namespace:
    """Return the arguments; an unknown part ends with exit code 2."""
    args = parser.parse_args(arguments)
    args.parts = args.parts or list(parts)
    if unknown := sorted(set(args.parts) - set(parts)):
        parser.error(f"unknown part {unknown[0]}; known: {', '.join(parts)}")
    return args


def clocked(action: Callable[[], object]) -> Action:
    """Return the action as one that returns its own wall time."""

    def run() -> float:
        started = time.perf_counter()
        action()
        return time.perf_counter() - started

    return run


def by_turns(first: Action, second: Action, rounds: int) -> tuple[float, float, float]:
    """Run both `rounds` times by turns, the second one first in every other round.

    Returns:
        the median seconds of each, and the median over the rounds of (second / first).
    """
    a, b = [], []
    for number in range(rounds):
        for action, times in ((first, a), (second, b))[:: 1 if number % 2 == 0 else -1]:
            times.append(action())
    return statistics.median(a), statistics.median(b), statistics.median(y / x for x, y in zip(a, b, strict=True))


def compared(what: str, ours: str, other: str, ratio: float, least: float | None = None) -> Line:
    """Return the line of a comparison whose goal is a ratio of at least `least`."""
    if least is None:
        return Line(what, ours, other, ratio)
    return Line(what, ours, other, ratio, f"at least {least:g}", ratio >= least)


def table(lines: list[Line]) -> str:
    """Return the lines as a Markdown table."""
    rows = ["| what | ours | against | ratio | goal | reached |", "|---|---:|---:|---:|---|---|"]
    for line in lines:
        ratio = "" if line.ratio is None else f"{line.ratio:.3g}"
        reached = "" if line.met is None else "yes" if line.met else "**no**"
        rows.append(f"| {line.what} | {line.ours} | {line.other} | {ratio} | {line.goal} | {reached} |")
    return "\n".join(rows)


def machine(device: str, threads: int) -> str:
    """Return a line on what the figures were measured with; no host or user name."""
    import torch

    name = (
        torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    )
    return f"{name}, {threads} threads, torch {torch.__version__.split('+')[0]}, Python {platform.python_version()}"
