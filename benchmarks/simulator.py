"""How fast the port simulator is: each part of it on one thread, whole layouts with one and with two processes.

    python benchmarks/simulator.py

Prints Markdown. Pixels are pixels of the ground: a pair of patches counts once. A part's time is the best of several, a
layout's is one run, start of the processes and layout of the world included, scaled up to the whole set by the number
of pairs or scenes. Processor time, which other work on the machine hardly changes, stands beside wall time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.data.images import write_image
from bench.data.windows import Window
from bench.simulator.cities import city_of, render_pair
from bench.simulator.ground import layers_of
from bench.simulator.like import Request, air_sarship, qxs_saropt
from bench.simulator.optical import MARGIN_PX, render_optical, wider
from bench.simulator.produce import produce
from bench.simulator.sar import render_sar
from bench.simulator.world import World

PROCESSES = (1, 2)
PATCH_PX = 256
SCENES = 31


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--side", type=int, default=1024, metavar="PX", help="window that the parts render (default: 1024)"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="of each part (default: 5)")
    parser.add_argument(
        "--pairs", type=int, default=1200, metavar="N", help="of the qxs-saropt layout (default: 1200; 0 for none)"
    )
    parser.add_argument(
        "--images", type=int, default=4, metavar="N", help="of the air-sarship-1.0 layout (default: 4; 0 for none)"
    )
    args = parser.parse_args()
    if args.side < PATCH_PX or args.repeats < 1 or min(args.pairs, args.images) < 0:
        parser.error(f"--side from {PATCH_PX}, --repeats from 1, --pairs and --images from 0")
    print(
        f"Load average at the start, over 1, 5 and 15 minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}\n"
    )
    parts(args.side, args.repeats)
    layouts(args.pairs, args.images)


def parts(side: int, repeats: int) -> None:
    """Print the megapixels per second of each part, on one thread."""
    import cv2

    cv2.setNumThreads(1)
    city = city_of(0, 0, 4 * side, 1.0)
    started = time.perf_counter()
    world = World(city.port)
    built = time.perf_counter() - started
    window: Window = (side, side, side, side)
    layers = layers_of(world, wider(window, MARGIN_PX))
    optical, sar = render_pair(world, city, window)
    tiles = [(y, x) for y in range(0, side - PATCH_PX + 1, PATCH_PX) for x in range(0, side - PATCH_PX + 1, PATCH_PX)]

    def write(folder: Path) -> None:
        for y, x in tiles:
            for name, image in (("optical", optical), ("sar", sar)):
                write_image(folder / f"{name}-{y}-{x}", image[y : y + PATCH_PX, x : x + PATCH_PX], compress_level=1)

    with tempfile.TemporaryDirectory() as folder:
        pixels = side * side
        rows: list[tuple[str, Callable[[], object], int]] = [
            ("ground layers", lambda: layers_of(world, wider(window, MARGIN_PX)), pixels),
            ("optical view, layers given", lambda: render_optical(world, city.optical, window, layers), pixels),
            ("SAR view, layers given", lambda: render_sar(world, city.sar, window, layers), pixels),
            ("ground and both views", lambda: render_pair(world, city, window), pixels),
            ("writing pairs of 256 px as PNG", lambda: write(Path(folder)), len(tiles) * PATCH_PX**2),
        ]
        print("| part, one thread | megapixels per processor second |\n|---|---|")
        for name, run, count in rows:
            print(f"| {name} | {count / 1e6 / _best(run, repeats):.1f} |")
    print(f"\nThe world of {(4 * side / 1000) ** 2:.1f} km2 was laid out in {built:.2f} s.\n")


def layouts(pairs: int, images: int) -> None:
    """Print how long whole layouts take, and what that makes for the whole sets."""
    print(
        "| layout | processes | seconds | processor seconds | megapixels per second | whole set, minutes"
        " |\n|---|---|---|---|---|---|"
    )
    wanted = (("qxs-saropt", qxs_saropt, pairs, "pairs", PATCH_PX**2, qxs_saropt.FULL),
              ("air-sarship-1.0", air_sarship, images, "scenes", air_sarship.SIDE_PX**2, SCENES))  # fmt: skip
    for name, module, count, what, pixels, full in wanted:
        for processes in PROCESSES if count else ():
            with tempfile.TemporaryDirectory() as folder:
                started, used = time.perf_counter(), _processor_s()
                plan = module.plan(Request(count))
                produce(Path(folder) / "out", plan.stamp, plan.tasks, plan.make, plan.finish, processes)
                seconds, used = time.perf_counter() - started, _processor_s() - used
            numbers = (
                f"{seconds:.1f} | {used:.1f} | {count * pixels / 1e6 / seconds:.1f} | {seconds * full / count / 60:.1f}"
            )
            print(f"| {name}, {count:,} {what} | {processes} | {numbers} |", flush=True)


def _processor_s() -> float:
    """Return the processor time of this process and of its finished children in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _best(run: Callable[[], object], repeats: int) -> float:
    """Return the shortest processor time of a run in seconds; on one thread and without waiting, that is its time on a
    free core.
    """
    times = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return min(times)


if __name__ == "__main__":
    main()
