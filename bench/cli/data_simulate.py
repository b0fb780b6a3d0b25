"""`bench data simulate`: stand-ins of public sets in their genuine layouts, from the port simulator."""

from __future__ import annotations

import argparse
import importlib
import os

from bench.core.errors import BenchError
from bench.core.workspace import user_path

HELP = "write a simulated stand-in of a public set in its genuine layout: ports seen by both sensors, with known truth"
LIKE = ("qxs-saropt", "air-sarship-1.0", "ssdd", "hrsid")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bench data simulate`."""
    parser.add_argument("--like", required=True, metavar="NAME", help=f"whose layout: {', '.join(LIKE)}")
    parser.add_argument(
        "--out", type=user_path, required=True, metavar="DIR", help="new folder; give it to a run as --root NAME=DIR"
    )
    parser.add_argument("--pairs", type=int, metavar="N", help="qxs-saropt: number of pairs (default: all 20,000)")
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="the ship sets: number of images or tiles (default: as many as the genuine set)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything (default: 0)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes; changes no byte (default: all cores)",
    )
    parser.add_argument(
        "--misregistration-px",
        type=float,
        default=0.0,
        metavar="PX",
        help="qxs-saropt: standard deviation of the offset of optical patches",
    )
    parser.add_argument(
        "--ships-at",
        type=user_path,
        metavar="FILE",
        help="air-sarship-1.0: published boxes (CSV scene,x1,y1,x2,y2, or a folder of VOC files)",
    )


def simulate(args: argparse.Namespace) -> int:
    """Write the set that the arguments name."""
    from bench.core.errors import nearest
    from bench.core.progress import Progress
    from bench.simulator.like import LAYOUTS, Plan, Request
    from bench.simulator.like.air_sarship import read_positions
    from bench.simulator.produce import produce

    if args.like not in LAYOUTS:
        raise BenchError(f"--like {args.like!r} is no layout that can be simulated{nearest(args.like, LAYOUTS)}")
    pairs = args.like == "qxs-saropt"
    if (args.images if pairs else args.pairs) is not None:
        raise BenchError(f"{args.like} holds {'pairs: give --pairs' if pairs else 'images: give --images'}")
    if args.jobs < 1:
        raise BenchError(f"--jobs {args.jobs}: at least 1")
    if args.seed < 0:
        raise BenchError(f"--seed {args.seed}: 0 or more")
    boxes = None if args.ships_at is None else read_positions(args.ships_at)
    count = args.pairs if pairs else args.images
    request = Request(count, args.seed, args.misregistration_px, boxes)
    plan: Plan = importlib.import_module(LAYOUTS[args.like]).plan(request)
    with Progress().whole(f"simulate {args.like}", "block") as report:
        produce(args.out, plan.stamp, plan.tasks, plan.make, plan.finish, args.jobs, report)
    print(f"{plan.what}; read them with --root {args.like}={args.out}")
    return 0
