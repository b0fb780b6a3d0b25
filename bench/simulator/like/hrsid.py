"""HRSID: tiles of 800 px that overlap by a quarter, cut from large scenes of three resolutions, as JPEG with COCO
lists.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.data.datasets.hrsid import OFFICIAL, Hrsid
from bench.data.ships.writing import CocoList
from bench.simulator.like import Plan, Request
from bench.simulator.sar import render_sar, sar_boxes
from bench.simulator.ship_scenes import ShipScene, draw_scene
from bench.simulator.spec import VERSION
from bench.simulator.world import world_of

ROOT = "HRSID_JPG"
TILE_PX, STRIDE_PX, SCENES = 800, 600, 136
TRAIN_SHARE = 0.65
_QUALITY = 95
Task = tuple[int, ShipScene, tuple[tuple[int, int], ...]]


def plan(request: Request) -> Plan:
    """Return how the set is made: scenes as large as the number of tiles asks for, all resolutions and shores in turn.

    Raises:
        BenchError: more tiles than the set has, or options of other sets.
    """
    count = request.images(Hrsid.facts, "tiles")
    scenes = min(SCENES, math.ceil(count / 4))
    tasks: list[Task] = []
    for number in range(scenes):
        tiles = count // scenes + (number < count % scenes)
        across = math.ceil(math.sqrt(tiles))
        side = TILE_PX + (across - 1) * STRIDE_PX
        gsd = (1.0, 3.0, 3.0, 0.5)[number % 4]
        scene = draw_scene(
            request.seed, number, (side, side), gsd, "inshore" if number % 5 < 2 else "offshore", 3 * tiles, looks=1
        )
        places = [(STRIDE_PX * row, STRIDE_PX * column) for row in range(across) for column in range(across)][:tiles]
        tasks.append((number + 1, scene, tuple(places)))
    stamp = {"like": "hrsid", "version": VERSION, "images": count, "seed": request.seed}
    return Plan(
        stamp,
        tasks,
        write_tiles,
        lambda folder, rows: finish(folder, rows, request.seed),
        f"{count} tiles of {scenes} scenes",
    )


def write_tiles(folder: Path, task: Task) -> list[Any]:
    """Write the tiles of a scene; return file name and boxes of each."""
    number, scene, places = task
    world = world_of(scene.port)
    images = folder / ROOT / "JPEGImages"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for y0, x0 in places:
        window = (y0, x0, TILE_PX, TILE_PX)
        amplitude = render_sar(world, scene.sar, window)
        name = f"P{number:04d}_{y0}_{y0 + TILE_PX}_{x0}_{x0 + TILE_PX}.jpg"
        Image.fromarray(np.repeat(amplitude[:, :, None], 3, axis=2)).save(images / name, quality=_QUALITY)
        rows.append([name, sar_boxes(world, scene.sar, window).round(2).tolist()])
    return rows


def finish(folder: Path, rows: list[list[Any]], seed: int) -> None:
    """Write the two official lists, which part tiles by chance and so share scenes, as the genuine ones do, and the
    list of all.
    """
    root = folder / ROOT / "annotations"
    root.mkdir(parents=True, exist_ok=True)
    tiles = [row for some in rows for row in some]
    order = np.random.default_rng([seed, 99]).permutation(len(tiles))
    cut = min(len(tiles) - 1, max(1, round(TRAIN_SHARE * len(tiles)))) if len(tiles) > 1 else 1
    parts = {OFFICIAL[0]: sorted(order[:cut]), OFFICIAL[1]: sorted(order[cut:]), "train_test2017": range(len(tiles))}
    for name, chosen in parts.items():
        listed = CocoList(outlines=True)
        for place in chosen:
            file_name, boxes = tiles[place]
            listed.add(file_name, (TILE_PX, TILE_PX), np.array(boxes).reshape(-1, 4), image_id=int(place) + 1)
        listed.write(root / f"{name}.json")
