"""`bench data audit`: content that train and test share, by kind of data set; the work is in `bench.data.audit`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.core.errors import BenchError
from bench.core.store import write_json
from bench.core.validation import validate
from bench.core.workspace import Workspace, user_path
from bench.data.dataset import Dataset, PairDataset, open_dataset

if TYPE_CHECKING:
    from bench.data.ships.dataset import ShipDataset
    from bench.data.split_spec import SplitSpec

MATCHES = ("both", "exact", "order")
HELP = "content that train and test share: overlapping patches, their layout, and a split that leaks nothing"


class AuditReport(Protocol):
    """What an audit of any kind of data set returns."""

    @property
    def ok(self) -> bool:
        """Whether the audited split shares nothing between train and test."""

    @property
    def damaged(self) -> Mapping[str, str]:
        """Each image file that could not be read, and why."""

    def lines(self) -> list[str]:
        """Return the report for the terminal."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""

    def write_tables(self, out: Path) -> list[str]:
        """Write its tables into a folder; return their names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `bench data audit` takes beside the data set itself."""
    parser.add_argument(
        "--spec",
        action="append",
        default=[],
        metavar="'KEY: VALUE'",
        help="the split to audit, in YAML (default: random 70/30, seed 0)",
    )
    parser.add_argument(
        "--out",
        type=user_path,
        metavar="FOLDER",
        help="write report.json and pairs.csv here, and for patches layout.csv and split.csv",
    )
    parser.add_argument(
        "--match",
        choices=MATCHES,
        help="patches: look for equal pixels, for an equal order of pixels, or both (default)",
    )
    parser.add_argument(
        "--against", metavar="NAME", help="scene sets: another data set, e.g. one that a pretraining saw"
    )
    parser.add_argument("--against-root", type=user_path, metavar="DIR", help="where that one lies")
    parser.add_argument(
        "--against-option",
        action="append",
        default=[],
        metavar="'KEY: VALUE'",
        help="an option of its reader in YAML; may repeat",
    )


def audit(args: argparse.Namespace, dataset: Dataset, spec: dict[str, Any], against_options: dict[str, Any]) -> int:
    """Audit an opened data set, print and write the report.

    Args:
        spec: keys of the split to audit; empty for the default.
        against_options: options of the data set that `--against` names.

    Returns:
        0 where nothing is shared, 1 where the split leaks or an image could not be read.

    Raises:
        BenchError: bad options, data without an index.
    """
    from bench.data.ships.dataset import ShipDataset
    from bench.data.split_spec import SplitSpec

    if args.against is None and (args.against_root is not None or args.against_option):
        raise BenchError("--against-root and --against-option belong to --against: which data set?")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        raise BenchError(f"--out {args.out} is a file; give a folder")
    split_spec = validate(SplitSpec, spec, "--spec")
    report: AuditReport
    if isinstance(dataset, PairDataset):
        report = _audit_pairs(args, dataset, split_spec)
    else:
        assert isinstance(dataset, ShipDataset)
        report = _audit_scenes(args, dataset, split_spec, against_options)
    for line in report.lines():
        print(line)
    for problem in report.damaged.values():
        print(f"PROBLEM not compared: {problem}")
    if args.out is not None:
        tables = report.write_tables(args.out)
        write_json(args.out / "report.json", report.to_json())
        for name in (*tables, "report.json"):
            print(f"wrote {args.out}/{name}")
    return 0 if report.ok and not report.damaged else 1


def _audit_pairs(args: argparse.Namespace, dataset: PairDataset, spec: SplitSpec) -> AuditReport:
    from bench.data.audit.patches import audit_pairs

    if args.against is not None:
        raise BenchError(f"--against is for scene sets with ships; {dataset.facts.name} holds pairs")
    with _stages() as show:
        return audit_pairs(dataset, spec, args.match or "both", show)


@contextmanager
def _stages() -> Iterator[Callable[[str, int, int], None]]:
    """Give out report(what, done, total); each stage has a bar of its own."""
    from bench.core.progress import Bar, Progress

    bars: list[Bar] = []

    def show(what: str, done: int, total: int) -> None:
        if not bars or bars[-1].title != what:
            stack.close()
            bars.append(stack.enter_context(Progress().bar(what, total, unit="step")))
        bars[-1].advance(done - bars[-1].done)

    with ExitStack() as stack:
        yield show


def _audit_scenes(
    args: argparse.Namespace, dataset: ShipDataset, spec: SplitSpec, options: dict[str, Any]
) -> AuditReport:
    from bench.data.audit.scenes import audit_scenes

    if args.match is not None:
        raise BenchError(f"--match is for sets of patch pairs; {dataset.facts.name} holds scenes")
    against: Dataset | None = None
    if args.against is not None:
        if args.against_root is not None and not args.against_root.is_dir():
            raise BenchError(f"--against-root {args.against_root} is not a folder")
        against = open_dataset(args.against, options, args.against_root, Workspace(args.runs).cache)
    with _stages() as show:
        return audit_scenes(dataset, spec, against, show)
