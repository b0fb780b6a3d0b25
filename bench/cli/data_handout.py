"""`bench data pairs` and `bench data coco`: what a block of a board asks of another tool, as files that `bench submit`
knows again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.options import add_plugin_argument, plugin_gate
from bench.core.errors import BenchError
from bench.core.store import atomic_write, write_json, write_text
from bench.core.validation import validate
from bench.core.workspace import Workspace, user_path
from bench.execution.cell import Cell
from bench.execution.task import get_task
from bench.submissions.claims import claims_of
from bench.submissions.sheets import FORMATS, existing_pyarrow
from bench.suite.config import load_suite

if TYPE_CHECKING:
    import pandas

    from bench.data.ships.dataset import ShipDataset

PAIRS_HELP = (
    "write the pairs that another tool has to compare for a matching board: add a column `distance`, then `bench"
    " submit`"
)
COCO_HELP = "write the truth of a detection set as a COCO file, with the image ids that `bench submit` expects"


def add_block_arguments(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add the options that choose a block of a suite."""
    parser.add_argument("--config", required=required, metavar="FILE|NAME", help="the suite whose board it is for")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="override one key of the suite"
    )
    add_plugin_argument(parser)
    parser.add_argument("--dataset", nargs="+", metavar="NAME", help="block, where the suite has several data sets")
    parser.add_argument("--split", nargs="+", metavar="NAME", help="block, where the suite has several splits")


def add_pairs_arguments(parser: argparse.ArgumentParser) -> None:
    add_block_arguments(parser, required=True)
    parser.add_argument(
        "--root",
        type=user_path,
        metavar="DIR",
        help="where the data lie; else $BENCH_ROOT_<NAME> or $BENCH_DATA/<folder>",
    )
    parser.add_argument(
        "--runs", type=user_path, default=Path("runs"), metavar="DIR", help="its cache is used (default: runs)"
    )
    parser.add_argument(
        "--out",
        type=user_path,
        required=True,
        metavar="FILE",
        help=".csv, .json or .parquet; beside it FILE's name + .info.json, and the patches in a folder",
    )
    parser.add_argument(
        "--originals",
        action="store_true",
        help="name the ids and files of the data set instead of patches under opaque ids; they show which pairs match",
    )


def write_pairs(args: argparse.Namespace) -> int:
    """Write the distinct pairs of a block without labels, their patches, and what they were drawn from."""
    from bench.matching.submission.handout import handout, handout_of_originals, write_patches
    from bench.matching.submission.submission import REQUESTED, requested_pairs
    from bench.matching.submission.submit import sample_block
    from bench.tasks.data import load_pairs

    if args.out.suffix.lower() not in FORMATS:
        raise BenchError(f"--out {args.out}: give a name that ends in one of {', '.join(FORMATS)}")
    cell, workspace = _block(args, "matching"), _workspace(args)
    plan, sampled = sample_block(cell, workspace)
    requested, root = requested_pairs(plan.identity(), sampled), plan.root
    if args.originals:
        table = handout_of_originals(requested, plan.index)
    else:
        root = args.out.with_name(f"{args.out.stem}_patches")
        files = write_patches(root, requested, load_pairs(plan, workspace.cache))
        requested = requested.blinded
        table = handout(requested, files)
    _write_table(args.out, table)
    counts = {part: len(range(*requested.of(part).indices(len(requested)))) for part in REQUESTED}
    about = {
        "suite": cell.suite,
        "dataset": cell.dataset,
        "protocol": dict(cell.spec["protocol"]),
        "data": {key: value for key, value in plan.identity().items() if key in ("dataset", "version")},
        "pairs": counts,
        "gallery": len(sampled.gallery),
        **requested.hashes,
    }
    info = args.out.with_name(args.out.name + ".info.json")
    write_json(info, about)
    counted = ", ".join(f"{number} {part}" for part, number in counts.items())
    print(f"wrote {args.out}: {len(requested)} pairs ({counted}), and {info.name} about them; the files lie in {root}")
    block = " ".join(f"--{name} {cell.origin.names[name]}" for name in ("dataset", "split"))
    words = f"bench submit {args.out.name} --task matching --config {args.config} {block} --name ROW"
    print(f"add a column distance (smaller = more alike) or similarity, then: {words}")
    return 0


def write_truth(args: argparse.Namespace, opened: ShipDataset | None, spec: dict[str, Any]) -> int:
    """Write the truth of a suite's test part, or of a part of an opened data set.

    Args:
        opened: the data set that the command names, None where it names a suite.
        spec: keys of a split, for `--part` of an opened data set.
    """
    from bench.detection.submission.coco_results import write_coco_truth

    if opened is None:
        from bench.suite.data_plan import plan_data

        plan = plan_data(_block(args, "detection"), _workspace(args), "ships", smallest=1)
        root = plan.root
        index, info = (
            plan.index.take(plan.part("test")),
            {"dataset": plan.name, "part": "test", **claims_of(plan.identity())},
        )
    else:
        root = opened.root
        index, info = _part(args, opened, spec)
    write_coco_truth(args.out, index.items, info)
    print(
        f"wrote {args.out}: {len(index)} images, {sum(len(item.boxes) for item in index.items)} boxes; the files lie in"
        f" {root}"
    )
    return 0


def _part(args: argparse.Namespace, dataset: ShipDataset, spec: dict[str, Any]) -> tuple[Any, dict[str, str]]:
    """Return the index of the whole data set or of one part, and the hashes that say what it is."""
    from bench.data.manifest import build_manifest
    from bench.data.split_spec import SplitSpec
    from bench.data.splits import make_split

    if bool(spec) != (args.part is not None):
        raise BenchError("--spec and --part belong together: the split, and which part of it")
    index = dataset.index()
    manifest = build_manifest(dataset.root, dataset.files(), Workspace(args.runs).cache, dataset.declared()).sha256
    if args.part is None:
        return index, {"dataset": args.name, "manifest_sha256": manifest}
    split = make_split(index, validate(SplitSpec, spec, "--spec"))
    claims = claims_of({"manifest": manifest, "split": split.sha256})
    return index.take(getattr(split, args.part)), {"dataset": args.name, "part": args.part, **claims}


def _block(args: argparse.Namespace, task: str) -> Cell:
    """Return a cell of the one block that the options leave."""
    suite = load_suite(args.config, args.settings, plugin_gate(args))
    if task not in suite.tasks:
        raise BenchError(f"suite {suite.name!r} has no {task} section; it has: {', '.join(suite.tasks)}")
    filters = {name: tuple(getattr(args, name)) for name in ("dataset", "split") if getattr(args, name)}
    submissions = get_task(task).submissions()
    assert submissions is not None  # the two tasks that this module writes for take submissions
    return submissions.block_cell(suite, suite.origin, filters)


def _workspace(args: argparse.Namespace) -> Workspace:
    return Workspace.at(args.runs, "leaderboards", args.root)


def _write_table(path: Path, table: pandas.DataFrame) -> None:
    suffix = path.suffix.lower()
    if suffix == ".json":
        write_text(path, json.dumps(table.to_dict("records")) + "\n")
    elif suffix == ".csv":
        write_text(path, table.to_csv(index=False, lineterminator="\n"))
    else:
        existing_pyarrow(path)
        with atomic_write(path) as temporary:
            table.to_parquet(temporary, index=False)
