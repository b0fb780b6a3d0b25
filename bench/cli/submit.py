"""Put another tool's predictions on a suite's board, scored by the same code as every row: boxes, or distances of
pairs.

Detection takes a COCO results file (.json) or a table of boxes (.csv, .parquet); matching takes the table that
`bench data pairs` writes with a column `distance` or `similarity` added (.csv, .json, .parquet). Worked examples:
bench docs submitting.
"""

from __future__ import annotations

import argparse
import sys

from bench.api import to_stderr
from bench.cli.options import add_place_arguments, add_plugin_argument, place_arguments, plugin_gate
from bench.cli.run import exit_code, print_result
from bench.core.errors import BenchError
from bench.core.registries import TASKS
from bench.core.validation import MAX_SEED
from bench.core.workspace import Workspace, user_path
from bench.data.manifest import file_sha256
from bench.execution.job import Settings
from bench.execution.task import get_task
from bench.pipeline import Chosen, complete
from bench.submissions.request import Request, Submissions, reference_link
from bench.suite.config import load_suite
from bench.suite.roots import check_roots
from bench.tools.submitting import replaced_submission, submissions_of

EXAMPLES = """  bench submit boxes.json --task detection --config hrsid --name my-detector --reference https://example.org/paper
  bench submit pairs.csv --task matching --config s1s2 --dataset s1s2-256 --split place --name my-matcher
  bench submit seed1.parquet --task detection --config hrsid --name my-detector --seed 1 --empty-images-ok"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results",
        type=user_path,
        metavar="FILE",
        help="predictions: .json, .csv, .parquet; in matching also predictions.npz",
    )
    parser.add_argument(
        "--task", metavar="TASK", help=f"one of: {', '.join(TASKS.names())}; may be left out where the suite has one"
    )
    parser.add_argument("--config", required=True, metavar="FILE|NAME", help="the suite whose board it enters")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="override one key of the suite"
    )
    parser.add_argument("--name", required=True, help="label of the row")
    parser.add_argument(
        "--reference",
        default="",
        metavar="URL",
        help="where the method is described, an address or a DOI; the row links to it",
    )
    parser.add_argument("--dataset", nargs="+", metavar="NAME", help="block, where the suite has several data sets")
    parser.add_argument("--split", nargs="+", metavar="NAME", help="block, where the suite has several splits")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of the training behind the file; several seeds make one row"
    )
    parser.add_argument(
        "--category", type=int, metavar="ID", help="detection: take the boxes of this category_id alone"
    )
    parser.add_argument(
        "--empty-images-ok",
        action="store_true",
        help="detection: images that the file lacks were looked at, and nothing found",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="T",
        help="matching: a fixed threshold, in the file's own distance or similarity",
    )
    parser.add_argument("--no-figures", action="store_true", help="draw no pictures")
    add_plugin_argument(parser)
    add_place_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    if args.seed is not None and not 0 <= args.seed <= MAX_SEED:
        raise BenchError(f"--seed {args.seed}: seeds are whole numbers from 0 to {MAX_SEED}")
    suite = load_suite(args.config, args.settings, plugin_gate(args))
    submissions = submissions_of(suite, args.task)
    request = Request(
        file=args.results,
        name=args.name,
        seed=args.seed,
        reference=reference_link(args.reference),
        filters={name: tuple(getattr(args, name)) for name in ("dataset", "split") if getattr(args, name)},
        options=_options(args, submissions),
    )
    cell = submissions.cell(suite, suite.origin, request)
    workspace = Workspace.at(**place_arguments(args))
    check_roots(workspace, [cell], suite)
    sha256 = file_sha256(args.results, workspace.cache)
    earlier = replaced_submission(workspace.boards / suite.name, submissions, cell, sha256)
    submissions.check(cell, workspace)
    result = complete(Chosen(suite, (cell,), workspace), Settings(figures=not args.no_figures), to_stderr)
    print_result(result)
    for record in result.records:
        doubt = get_task(record.task).looks_like_truth(record) if record.status == "finished" else ""
        if doubt:
            print(f"WARNING {cell.describe()}: {doubt}; was the truth handed in? The row is marked ‼", file=sys.stderr)
    if result.whole and earlier is not None:
        old = str(earlier.inputs.get("files_sha256", {}).get("results"))
        same = "from the same file" if old == sha256 else f"file {old[:12]}, now {sha256[:12]}"
        print(f"replaced the earlier submission of {cell.describe()} ({same})")
    return exit_code(result)


def _options(args: argparse.Namespace, submissions: Submissions) -> dict[str, object]:
    """Return the options of this task's submissions; those of the other task are refused, not passed over."""
    given = {"category": args.category, "empty_images_ok": args.empty_images_ok or None, "threshold": args.threshold}
    for name, value in given.items():
        if value is not None and name not in submissions.options:
            raise BenchError(f"--{name.replace('_', '-')} does not apply to {submissions.task.name}; leave it out")
    return {name: value for name, value in given.items() if value is not None}
