"""Put the boxes of any other tool on a suite's detection board, from a COCO results file; scored by the same evaluator as every row.

The file is a JSON list of {"image_id", "bbox": [x, y, width, height], "score"}, in pixels of the whole scenes of the test part.
`bench data coco` writes the truth with its image ids.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli.options import Chosen, add_place_arguments, make_workspace, origin_of
from bench.cli.run import complete
from bench.config import load_suite
from bench.detection.submit import submission_cell
from bench.errors import BenchError
from bench.runner import Settings

EXAMPLES = """  bench submit boxes.json --config hrsid --name my-detector
  bench submit seed1.json --config paper --dataset air-sarship-1.0 --name my-detector --seed 1 --link https://example.org"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="FILE", help="COCO results file")
    parser.add_argument("--config", required=True, metavar="FILE|NAME", help="the suite whose board it enters")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="override one key of the suite")
    parser.add_argument("--name", required=True, help="label of the row")
    parser.add_argument("--dataset", nargs="+", metavar="NAME", help="block, where the suite has several data sets")
    parser.add_argument("--split", nargs="+", metavar="NAME", help="block, where the suite has several splits")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the training behind the file; several seeds make one row")
    parser.add_argument("--category", type=int, metavar="ID", help="take the boxes of this category_id alone")
    parser.add_argument("--link", default="", metavar="URL", help="where the method is described; kept in the record")
    parser.add_argument("--no-figures", action="store_true", help="draw no pictures")
    add_place_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    if args.seed is not None and args.seed < 0:
        raise BenchError(f"--seed {args.seed}: seeds start at 0")
    suite = load_suite(args.config, args.settings)
    filters = {name: tuple(getattr(args, name)) for name in ("dataset", "split") if getattr(args, name)}
    origin = origin_of(args.config, args.settings)
    cell = submission_cell(suite, origin, args.results, args.name, filters, args.seed, args.category, args.link)
    chosen = Chosen(suite, (cell,), (), make_workspace(args))
    return complete(chosen, Settings(figures=not args.no_figures))
