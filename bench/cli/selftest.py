"""Feed known predictions through every metric and compare what comes out with what must, without data, model or GPU.

Truth, nothing, shuffled, constant and slightly shifted predictions, ties, failures, duplicates: for each, the numbers
follow from how it is made. COCO's APs of the detection task are computed by pycocotools too, and the difference is
shown. Exit code 1 when a number is off, or differs from pycocotools' by more than rounding; --all prints every number
with its derivation.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from bench.core.registries import TASKS
from bench.tools.selftest import Check, run_checks

EXAMPLES = """  bench selftest                     every task and the statistics, one line a prediction
  bench selftest detection --all     every number: expected, got, and why"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "task", nargs="?", help=f"one of: {', '.join(TASKS.names())}; all, and the statistics, when left out"
    )
    parser.add_argument("--all", action="store_true", help="print every number, not one line a prediction")


def execute(args: argparse.Namespace) -> int:
    names = TASKS.names() if args.task is None else [TASKS.entry(args.task).name]
    checks = list(run_checks(names, statistics=args.task is None))
    failed = [check for check in checks if not check.ok]
    if args.all:
        _print_numbers(checks)
    else:
        _print_predictions(checks)
        if failed:
            print()
            _print_numbers(failed)
    for name in names:
        if not any(check.task == name for check in checks):
            print(f"\n{name}: the task has no selftest")
    compared = [check for check in checks if check.reference is not None]
    if compared:
        print(f"\n{len(compared)} numbers computed by {_references(checks)} too: {_largest(compared)} at most")
    print(
        f"\n{len(checks) - len(failed)} of {len(checks)} numbers as expected"
        + (f", {len(failed)} FAILED" if failed else "")
    )
    return 1 if failed else 0


def _print_predictions(checks: Sequence[Check]) -> None:
    by_prediction: dict[tuple[str, str, str], list[Check]] = {}
    for check in checks:
        by_prediction.setdefault((check.task, check.prediction, check.about), []).append(check)
    rows = [("task", "prediction", "numbers", "result", _references(checks), "what goes in")]
    for (task, prediction, about), of in by_prediction.items():
        failed = sum(not check.ok for check in of)
        compared = [check for check in of if check.reference is not None]
        result, by = (
            f"{failed} FAILED" if failed else "ok",
            f"{len(compared)}, {_largest(compared)}" if compared else "",
        )
        rows.append((task, prediction, str(len(of)), result, by, about))
    _print_table(_without_empty(rows, 4), right=(2,))


def _print_numbers(checks: Sequence[Check]) -> None:
    rows = [("task", "prediction", "metric", "expected", "got", "result", _references(checks), "why")]
    for check in checks:
        expected = _shown(check.expected.value) + (
            f" +- {check.expected.within:.2g}" if check.expected.within > 1e-6 else ""
        )
        result = "ok" if check.ok else "FAILED"
        numbers = check.metric, expected, _shown(check.got), result, _by_reference(check)
        rows.append((check.task, check.prediction, *numbers, check.expected.why))
    _print_table(_without_empty(rows, 6))


def _by_reference(check: Check) -> str:
    """Return the number of another's code and how far ours is from it, "" where there is none."""
    if check.reference is None:
        return ""
    return f"{_shown(check.by_reference)} ({_largest([check])})"


def _largest(checks: Sequence[Check]) -> str:
    """Return the largest difference to a reference, in words; a number that only one of both has is no difference."""
    pairs = [(check.got, check.by_reference) for check in checks]
    known = [abs(got - by) for got, by in pairs if isinstance(got, int | float) and by is not None]
    alone = sum((got is None) != (by is None) or isinstance(got, str) for got, by in pairs)
    return f"off by {max(known, default=0.0):.2g}" + (f", {alone} undefined in one alone" if alone else "")


def _references(checks: Sequence[Check]) -> str:
    return ", ".join(sorted({check.reference.name for check in checks if check.reference is not None}))


def _without_empty(rows: Sequence[tuple[str, ...]], at: int) -> Sequence[tuple[str, ...]]:
    """Return the rows of a table without the column `at` where all of it is empty."""
    return rows if any(row[at] for row in rows) else [(*row[:at], *row[at + 1 :]) for row in rows]


def _print_table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> None:
    """Print rows in aligned columns, a blank line between tasks; the last column is as long as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    before = ""
    for row in rows:
        cells = [
            text.rjust(width) if i in right else text.ljust(width)
            for i, (text, width) in enumerate(zip(row[:-1], widths, strict=True))
        ]
        if before and row[0] != before:
            print()
        print("  ".join([*cells, row[-1]]).rstrip())
        before = row[0]


def _shown(value: float | int | str | None) -> str:
    return "undefined" if value is None else value if isinstance(value, str) else f"{value + 0.0:.15g}"  # no "-0"
