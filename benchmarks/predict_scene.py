"""Memory and speed of `bench predict` on one large generated GeoTIFF, 30,000 x 25,000 px by default (the size of
xView3's scenes).

    python benchmarks/predict_scene.py                                                     # cfar, the whole size
    python benchmarks/predict_scene.py --detector faster-rcnn                              # a network
    python benchmarks/predict_scene.py --detector faster-rcnn --height 4000 --width 6000   # the same on a part of it

The scene is put together, block by block, of sea with ships as `toy-ships` draws it, turned about, with a slanting edge
without data; tiled and deflated, its values rounded so that it stays small on disk (about 1 byte a pixel). Ships are
known, so that it is also told how many were found. The network is a small Faster R-CNN on a ResNet-18 which this script
trains for a minute or two on such scenes. The command is run as a user runs it, in a process of its own whose resident
memory is sampled (benchmarks/process_tree.py). Exit code 1 where it failed or went beyond the limit.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = str(Path(__file__).resolve().parents[1])
sys.path[0] = CHECKOUT  # this file's own folder would hide the standard library's `statistics`

import numpy as np

from bench.core.errors import BenchError
from bench.core.processes import available_cores
from bench.data.ships.toy import ToyShipScenes, render_ships
from benchmarks.process_tree import Usage, measure

BLOCK_PX, SHIPS = 1000, 4
OFFSHORE = (0, 2, 4, 6, 8)  # numbers of toy scenes without land; the third has no ship
NO_DATA = {"uint16": 0, "db": -32768}
ORIGIN = (300_000.0, 3_500_000.0)
SUITE = """\
name: predicting
seeds: [0]
detection:
  datasets:
    toy:
      dataset: toy-ships
      options: {scenes: 12, scene_px: 384, bits: 16}
      splits: {half: {kind: random, by: scene, test: 0.5, validation: 0}}
      tiles: {size_px: 256, overlap_px: 64}
  methods:
    faster-rcnn:
      detector: faster-rcnn
      backbone: resnet18
      options: {samples: 800, per_epoch: 100, crop_px: 128, batch_size: 8, optimizer: adamw, lr: 0.001, channels_last: true,
        anchor_scales: [2.0, 4.0], fpn_channels: 64, rpn_channels: 64, roi_fc: 256, roi_samples: 128, train_proposals: 300,
        test_proposals: 300}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the scene, run the command on it, print a line of a table; return the exit code."""
    args = _parse(arguments)
    with tempfile.TemporaryDirectory(dir=args.place, prefix="predict-scene-") as folder:
        place = Path(folder)
        try:
            ships = write_scene(place / "scene.tif", args.height, args.width, args.dtype)
            usage = predict(place, args)
        except BenchError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        size = (place / "scene.tif").stat().st_size
        if usage.code:
            print(usage.output, file=sys.stderr)
            return 1
        found, hits = recovered(place / "out" / "detections.csv", ships)
    peak, pixels = usage.peak_bytes / 2**20, args.height * args.width / 1e6
    print(
        "| scene | on disk | detector | ships found | detections | peak memory | time | speed"
        " |\n|---|---|---|---|---|---|---|---|"
    )
    print(
        f"| {args.height} x {args.width} px, {args.dtype} | {size / 2**20:,.0f} MiB | {args.detector} | {hits} of"
        f" {len(ships)} | {found} | {peak:,.0f} MiB | {usage.seconds:,.0f} s | {pixels / usage.seconds:.2f} MP/s |"
    )
    if peak > 1024 * args.limit_gib:
        print(f"beyond the limit of {args.limit_gib:g} GiB", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=30_000, metavar="N", help="of the scene in px (default: 30000)")
    parser.add_argument("--width", type=int, default=25_000, metavar="N", help="of the scene in px (default: 25000)")
    parser.add_argument(
        "--dtype", choices=tuple(NO_DATA), default="uint16", help="uint16 amplitude, or float32 dB (default: uint16)"
    )
    parser.add_argument("--detector", choices=("cfar", "faster-rcnn"), default="cfar", help="(default: cfar)")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="an option of cfar"
    )
    parser.add_argument(
        "--threads", type=int, default=available_cores(), metavar="N", help="CPU threads (default: all cores)"
    )
    parser.add_argument("--limit-gib", type=float, default=2.0, metavar="X", help="most resident memory (default: 2)")
    parser.add_argument(
        "--place",
        type=Path,
        metavar="DIR",
        help="where the scene is put meanwhile (default: the system's temporary folder)",
    )
    args = parser.parse_args(arguments)
    if min(args.height, args.width) < 64:
        parser.error("a scene has at least 64 x 64 px")
    if args.detector != "cfar" and (args.dtype != "uint16" or args.settings):
        parser.error("the network is trained on uint16 amplitudes, and --set is for cfar")
    return args


def write_scene(path: Path, height: int, width: int, dtype: str) -> np.ndarray:
    """Write the scene; return the boxes (n, 4) x1, y1, x2, y2 of the ships that lie whole in the part with data.

    Raises:
        BenchError: rasterio is not installed.
    """
    try:
        import rasterio
        from rasterio.windows import Window
    except ImportError as error:
        raise BenchError("writing a GeoTIFF needs rasterio: pip install 'saropt-bench[geo]'") from error
    rng = np.random.default_rng(0)
    options = ToyShipScenes(scene_px=BLOCK_PX, ships_per_scene=SHIPS, bits=16)
    blocks = [render_ships(options, number) for number in OFFSHORE]
    ships: list[np.ndarray] = []
    profile = {
        "driver": "GTiff",
        "count": 1,
        "crs": "EPSG:32651",
        "transform": rasterio.Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]),
    }
    tiles = {
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "zlevel": 1,
        "BIGTIFF": "IF_SAFER",
    }
    stored = "uint16" if dtype == "uint16" else "float32"
    with rasterio.open(
        path, "w", height=height, width=width, dtype=stored, nodata=NO_DATA[dtype], **profile, **tiles
    ) as stream:
        for top in range(0, height, 2 * BLOCK_PX):  # rows of two blocks
            rows = np.zeros((2 * BLOCK_PX, -(-width // BLOCK_PX) * BLOCK_PX), dtype=np.uint16)
            for y in range(0, len(rows), BLOCK_PX):
                for x in range(0, rows.shape[1], BLOCK_PX):
                    chosen = blocks[int(rng.integers(len(blocks)))]
                    pixels, boxes = turned(chosen.amplitude, chosen.boxes, int(rng.integers(4)))
                    rows[y : y + BLOCK_PX, x : x + BLOCK_PX] = pixels
                    ships.append(boxes + np.array([x, top + y, x, top + y]))
            rows = rows[: height - top, :width]
            edge = edge_of(np.arange(top, top + len(rows)), height, width)
            values = in_units(rows, dtype)
            values[np.arange(width)[None, :] < edge[:, None]] = NO_DATA[dtype]
            stream.write(values, 1, window=Window(0, top, width, len(rows)))
    found = np.concatenate(ships)
    inside = (found[:, 2] <= width) & (found[:, 3] <= height) & (found[:, 0] >= edge_of(found[:, 1], height, width))
    return np.asarray(found[inside])


def turned(pixels: np.ndarray, boxes: np.ndarray, how: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a square block and its boxes, flipped left and right (1), up and down (2), both (3) or not at all (0)."""
    boxes, side = boxes.copy(), len(pixels)
    if how & 1:
        pixels, boxes[:, [0, 2]] = pixels[:, ::-1], side - boxes[:, [2, 0]]
    if how & 2:
        pixels, boxes[:, [1, 3]] = pixels[::-1], side - boxes[:, [3, 1]]
    return pixels, boxes


def edge_of(y: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return up to which column the rows `y` hold no data: a tenth of the width at the top, none at the bottom."""
    return np.asarray(0.1 * width * (1 - y / height))


def in_units(amplitude: np.ndarray, dtype: str) -> np.ndarray:
    """Return amplitudes as they are stored, coarsely rounded: uint16 in steps of 32, or dB of their square in steps of
    a quarter.
    """
    if dtype == "uint16":
        return (amplitude // 32 * 32 + 16).astype(np.uint16)
    decibel: np.ndarray = np.round(4 * (20 * np.log10(np.maximum(amplitude, 1.0)) - 80)) / 4
    return decibel.astype(np.float32)


def predict(place: Path, args: argparse.Namespace) -> Usage:
    """Run `bench predict` on the scene and return what it cost. Raises BenchError where the network could not be
    trained.
    """
    env = {**os.environ, "PYTHONPATH": CHECKOUT}
    bench = [sys.executable, "-m", "bench.cli.main"]
    how = ["scene.tif", "--out", "out", "--threads", str(args.threads), "--format", "csv"]
    if args.detector == "cfar":
        scale = "db" if args.dtype == "db" else "amplitude"
        words = ["--detector", "cfar", "--sar-scale", scale, *(f"--set={setting}" for setting in args.settings)]
    else:
        (place / "suite.yaml").write_text(SUITE)
        made = measure(
            [*bench, "run", "--config", "suite.yaml", "--no-figures", "--threads", str(args.threads)], place, env
        )
        if made.code:
            raise BenchError(f"the network could not be trained: {made.output}")
        (cell,) = (place / "runs" / "detection").iterdir()
        words = [str(cell), "--device", "cpu"]
    return measure([*bench, "predict", *words, *how], place, env)


def recovered(table: Path, ships: np.ndarray) -> tuple[int, int]:
    """Return how many detections there are, and how many of the `ships` (n, 4) have one whose centre lies in their
    box.
    """
    with table.open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["score"]]
    centres = (
        np.array([[float(row["x1"]) + float(row["x2"]), float(row["y1"]) + float(row["y2"])] for row in rows]).reshape(
            -1, 2
        )
        / 2
    )
    centres = centres[np.argsort(centres[:, 0])]
    hits = 0
    for x1, y1, x2, y2 in ships.tolist():
        near = centres[slice(*np.searchsorted(centres[:, 0], [x1, x2]))]
        hits += bool(((near[:, 1] >= y1) & (near[:, 1] < y2)).any())
    return len(rows), hits


if __name__ == "__main__":
    raise SystemExit(main())
