"""Look at data: facts of a set, verification, cutting scenes into patches, splits, simulated and generated sets, weight
files.
"""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from bench.cli import data_audit, data_handout, data_simulate
from bench.core.errors import BenchError
from bench.core.registries import DATASETS
from bench.core.validation import validate
from bench.core.workspace import Workspace, user_path
from bench.core.yaml_text import read_yaml
from bench.data.dataset import Dataset, PairDataset, open_dataset, root_variable
from bench.data.nearby import Nearby

_FACTS = (
    "title",
    "sar_sensor",
    "optical_sensor",
    "sensors",
    "image_px",
    "resolution",
    "polarisation",
    "sar_scale",
    "gsd_m",
    "licence",
    "citation",
    "homepage",
)

EXAMPLES = """  bench data info qxs-saropt
  bench data verify qxs-saropt --root DIR --manifest qxs.sha256
  bench data verify hrsid --root DIR --option 'annotations: train2017'
  bench data cut s1s2-scenes --root DIR --out patches --patch-px 256 --overlap-px 52 --min-std 6 --max-blank 0.05
  bench data split two-folders --root DIR --spec 'kind: grouped' --spec 'by: scene' --out split.csv
  bench data split air-sarship-1.0 --root DIR --out fold0.csv \\
    --spec '{kind: folds, folds: 3, fold: 0, stratify: [shore, resolution_m]}'
  bench data audit qxs-saropt --root DIR --out audit
  bench data audit two-folders --root DIR --spec '{kind: grouped, by: scene}'
  bench data pairs --config s1s2 --dataset s1s2-256 --split place --out pairs.csv
  bench data coco --config hrsid --out truth.json
  bench data coco hrsid --root DIR --spec '{kind: random, by: scene, test: 0.3}' --part test --out truth.json
  bench data simulate --like qxs-saropt --pairs 600 --out port
  bench data simulate --like air-sarship-1.0 --out scenes
  bench data toy --out toy --scenes 4 --patches-per-scene 50
  bench data weights resnet50 --download"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_checks(actions)
    _add_cut(actions)
    _add_parts(actions)
    _add_handouts(actions)
    _add_makers(actions)


def _add_checks(actions: Any) -> None:
    info = _action(actions, "info", _info, "declared facts of a data set, and what to place where")
    info.add_argument("name", help="a data set of `bench list datasets`")
    check = _action(
        actions,
        "verify",
        _verify,
        "counts, files without partner, damaged or equal files, wrong boxes; SHA-256 manifest",
    )
    _add_dataset(check)
    check.add_argument("--limit", type=int, metavar="N", help="open only the first N pairs or images")
    check.add_argument(
        "--manifest", type=user_path, metavar="FILE", help="write the SHA-256 of every file (checked by `sha256sum -c`)"
    )


def _add_cut(actions: Any) -> None:
    cutting = _action(
        actions, "cut", _cut, "registered scenes -> patches in the QXS-SAROPT layout, with a CSV of scene and position"
    )
    _add_dataset(cutting, default="s1s2-scenes")
    cutting.add_argument("--out", type=user_path, required=True, metavar="DIR", help="new folder")
    cutting.add_argument("--patch-px", type=int, default=256, metavar="N", help="edge length (default: 256)")
    cutting.add_argument(
        "--overlap-px",
        type=int,
        default=52,
        metavar="N",
        help="pixels shared by neighbours (default: 52, the paper's 20 %%)",
    )
    cutting.add_argument(
        "--min-std",
        type=float,
        metavar="GREY",
        help="reject below this standard deviation of optical grey levels (0..255)",
    )
    cutting.add_argument(
        "--max-blank", type=float, metavar="SHARE", help="reject above this share of blank pixels in either view"
    )
    cutting.add_argument(
        "--min-gradient",
        type=float,
        metavar="SHARE",
        help="reject below this share of optical pixels with a strong gradient",
    )


def _add_parts(actions: Any) -> None:
    split = _action(
        actions, "split", _split, "write a split file: id, part, group; reusable as `split: {kind: file, path: ...}`"
    )
    _add_dataset(split)
    split.add_argument(
        "--spec", action="append", default=[], metavar="'KEY: VALUE'", help="keys of a split in YAML; may repeat"
    )
    split.add_argument("--out", type=user_path, required=True, metavar="CSV")
    audit = _action(actions, "audit", _audit, data_audit.HELP)
    _add_dataset(audit)
    data_audit.add_arguments(audit)


def _add_handouts(actions: Any) -> None:
    pairs = _action(actions, "pairs", data_handout.write_pairs, data_handout.PAIRS_HELP)
    data_handout.add_pairs_arguments(pairs)
    coco = _action(actions, "coco", _coco, data_handout.COCO_HELP)
    _add_dataset(coco, optional=True)
    data_handout.add_block_arguments(coco, required=False)
    coco.add_argument(
        "--spec",
        action="append",
        default=[],
        metavar="'KEY: VALUE'",
        help="keys of a split in YAML, for --part; may repeat",
    )
    coco.add_argument(
        "--part", choices=("train", "validation", "test"), help="this part of the split alone (default: all images)"
    )
    coco.add_argument("--out", type=user_path, required=True, metavar="JSON")


def _add_makers(actions: Any) -> None:
    simulating = _action(actions, "simulate", data_simulate.simulate, data_simulate.HELP)
    data_simulate.add_arguments(simulating)
    toy = _action(actions, "toy", _toy, "write the generated toy pairs in the QXS-SAROPT layout")
    toy.add_argument("--out", type=user_path, required=True, metavar="DIR")
    for name, default in (("scenes", 4), ("patches-per-scene", 50), ("patch-px", 64), ("seed", 0)):
        toy.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"default: {default}")
    weights = _action(
        actions, "weights", _weights, "where the published weights of a backbone are; --download fetches them"
    )
    weights.add_argument("name", help="a backbone of `bench list backbones`")
    weights.add_argument("--download", action="store_true", help="use the network, and check the published SHA-256")
    weights.add_argument(
        "--dest",
        type=user_path,
        default=Path("weights"),
        metavar="DIR",
        help="where to put the file (default: weights)",
    )


def execute(args: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace], int] = args.run
    return run(args)


def _action(actions: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    examples = "\n".join(line for line in EXAMPLES.splitlines() if f"data {name}" in line)
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=text,
        description=text,
        epilog="example:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def _add_dataset(parser: argparse.ArgumentParser, default: str | None = None, optional: bool = False) -> None:
    parser.add_argument(
        "name", nargs="?" if default or optional else None, default=default, help="a data set of `bench list datasets`"
    )
    parser.add_argument(
        "--root", type=user_path, metavar="DIR", help="where it lies; else $BENCH_ROOT_<NAME> or $BENCH_DATA/<folder>"
    )
    parser.add_argument(
        "--option", action="append", default=[], metavar="'KEY: VALUE'", help="a reader's option in YAML; may repeat"
    )
    parser.add_argument(
        "--runs", type=user_path, default=Path("runs"), metavar="DIR", help="its cache is used (default: runs)"
    )


def _open(args: argparse.Namespace, kind: Literal["pairs", "ships"] | None = None, **extra: Any) -> Dataset:
    if args.root is not None and not args.root.is_dir():
        near = Nearby(args.root.parent).tail(args.root.name)
        raise BenchError(f"--root {args.root} is not a folder{near}; give the folder that holds the data set")
    options = _yaml_pairs(args.option, "--option")
    for name in options.keys() & extra.keys():
        raise BenchError(f"--option {name}: this action has an option of its own for it, which wins; use that one")
    options |= extra
    dataset: Dataset = open_dataset(args.name, options, args.root, Workspace(args.runs).cache, kind=kind)
    return dataset


def _yaml_pairs(texts: list[str], flag: str) -> dict[str, Any]:
    """Read repeated 'key: value' texts into one mapping."""
    out: dict[str, Any] = {}
    for text in texts:
        value = read_yaml(text, f"{flag} {text!r}")
        if not isinstance(value, dict):
            raise BenchError(f"{flag} {text!r}: expected 'key: value', e.g. 'patch_px: 128'")
        out |= value
    return out


def _info(args: argparse.Namespace) -> int:
    cls: type[Dataset] = DATASETS.get(args.name)
    facts = cls.facts
    declared = asdict(facts)
    shown = [name for name in _FACTS if name in declared] + [name for name in declared if name.startswith("expected_")]
    for name in shown:
        value, label = declared[name], name.replace("_", " ") if name.startswith("expected_") else name
        unknown = "not declared" if name.startswith("expected_") or name == "sar_scale" else None
        print(f"{label.ljust(15)} {unknown if value is None else value}")
    for line in textwrap.wrap(declared.get("notes", ""), 120):
        print(line)
    print(
        f"what to place where (root: --root, ${root_variable(args.name)}, or"
        f" $BENCH_DATA/{facts.folder}):\n{facts.place_what}"
    )
    print("options: " + ", ".join(cls.Options.model_fields))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from bench.core.progress import Progress
    from bench.data.ships.dataset import ShipDataset
    from bench.data.ships.verify import verify_ships
    from bench.data.verify import DataReport, verify

    dataset = _open(args)
    assert isinstance(dataset, ShipDataset | PairDataset)
    samples = len(dataset.scan()) if args.limit is None else args.limit
    with Progress().bar("verify", samples, unit="pair" if dataset.kind == "pairs" else "image") as bar:

        def progress(done: int, total: int) -> None:
            bar.advance(done - bar.done)

        report: DataReport
        if isinstance(dataset, ShipDataset):
            report = verify_ships(dataset, args.limit, progress)
        else:
            report = verify(dataset, args.limit, progress)
    for line in report.summary:
        print(line)
    if args.manifest is not None:
        report.write_manifest(args.manifest)
        print(f"wrote {args.manifest}")
    for line in report.problems:
        print(f"PROBLEM {line}")
    print("no problem found" if report.ok else f"{len(report.problems)} problems")
    return 0 if report.ok else 1


def _cut(args: argparse.Namespace) -> int:
    from bench.core.progress import Progress
    from bench.data.cut import cut
    from bench.data.scene_pairs import ScenePairs

    reject = {"min_std": args.min_std, "max_blank_fraction": args.max_blank, "min_gradient_fraction": args.min_gradient}
    reject = {key: value for key, value in reject.items() if value is not None}
    if not issubclass(DATASETS.get(args.name), ScenePairs):
        held = "patches, not scenes" if DATASETS.get(args.name).kind == "pairs" else "scenes without optical partners"
        raise BenchError(f"{args.name} holds {held}; cutting needs a scene set such as scene-pairs")
    dataset = _open(args, patch_px=args.patch_px, overlap_px=args.overlap_px, reject=reject)
    assert isinstance(dataset, ScenePairs)
    bars: list[Any] = []

    def report(done: int, total: int) -> None:
        if not bars:
            bars.append(Progress().bar("cut", total, unit="scene").__enter__())
        bars[0].advance(done - bars[0].done)

    result = cut(dataset, args.out, report)
    for bar in bars:
        bar.__exit__(None, None, None)
    print(
        f"{result.written} pairs from {result.scenes} scenes in {result.out}/{{{result.optical},{result.sar}}},"
        " positions in patches.csv"
    )
    for criterion, count in result.rejected.items():
        print(f"rejected by {criterion}: {count} (rejected.csv)")
    return 0


def _split(args: argparse.Namespace) -> int:
    from bench.data.split_spec import SplitSpec
    from bench.data.splits import make_split, write_split

    dataset = _open(args)
    spec = validate(SplitSpec, _yaml_pairs(args.spec, "--spec"), "--spec")
    index = dataset.index()
    split = make_split(index, spec)
    write_split(split, index, args.out)
    print(
        f"wrote {args.out}: {len(split.train)} train, {len(split.validation)} validation, {len(split.test)} test, "
        f"{len(split.dropped)} dropped"
    )
    print(f"split {split.sha256}")
    for key, value in split.summary.items():
        print(f"  {key}: {value}")
    return 0


def _audit(args: argparse.Namespace) -> int:
    return data_audit.audit(
        args, _open(args), _yaml_pairs(args.spec, "--spec"), _yaml_pairs(args.against_option, "--against-option")
    )


def _coco(args: argparse.Namespace) -> int:
    if (args.name is None) == (args.config is None):
        raise BenchError(
            "say whose truth: a data set by name, or the test part of a suite's block with --config; one of the two"
        )
    strange = {"--dataset": args.dataset, "--split": args.split, "--set": args.settings}
    if args.config is not None:
        strange = {"--spec": args.spec, "--part": args.part, "--option": args.option}
    for flag, value in strange.items():
        if value:
            raise BenchError(
                f"{flag} does not go with {'--config' if args.config else 'a data set by name'}; leave it out"
            )
    opened: Any = None if args.config is not None else _open(args, kind="ships")
    return data_handout.write_truth(args, opened, _yaml_pairs(args.spec, "--spec"))


def _toy(args: argparse.Namespace) -> int:
    from bench.data.toy import ToyScene, write_toy_pairs

    options = validate(
        ToyScene,
        {
            "scenes": args.scenes,
            "patches_per_scene": args.patches_per_scene,
            "patch_px": args.patch_px,
            "seed": args.seed,
        },
        "bench data toy",
    )
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise BenchError(f"{args.out} exists and is not empty; choose a new folder")
    args.out.mkdir(parents=True, exist_ok=True)
    write_toy_pairs(args.out, options)
    print(
        f"{options.scenes * options.patches_per_scene} pairs in {args.out}; read them with --root {args.out} as"
        " toy-pairs"
    )
    return 0


def _weights(args: argparse.Namespace) -> int:
    from bench.core.registries import BACKBONES
    from bench.models.weight_files import download_weights, find_weights, verify_weights

    facts = BACKBONES.get(args.name)
    for variant, file in facts.weights.items():
        print(f"{variant}: {file.file} from {file.origin}")
    if args.download and facts.weight_file().url:  # what only a package carries is found, or the package is named
        print(f"wrote {download_weights(args.name, args.dest)}")
        return 0
    path = find_weights(args.name, os.environ)
    verify_weights(path, next(file for file in facts.weights.values() if file.file == path.name))
    print(f"found {path}")
    return 0
