"""SSDD: 1,160 small images of many sizes and resolutions, in VOC and in COCO style, with copies of the test part by
shore.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from bench.data.datasets.ssdd import TEST, Ssdd
from bench.data.ships.writing import CocoList, voc_text
from bench.simulator.like import Plan, Request
from bench.simulator.ship_scenes import ShipScene, draw_scene, render_scene, shares, whole_pixels
from bench.simulator.spec import VERSION

ROOT = "Official-SSDD-OPEN/BBox_SSDD"
_PER_TASK = 20
_QUALITY = 95
Task = tuple[tuple[int, ShipScene], ...]


def plan(request: Request) -> Plan:
    """Return how the set is made.

    Raises:
        BenchError: more images than the set has, or options of other sets.
    """
    count = request.images(Ssdd.facts, "images")
    stamp = {"like": "ssdd", "version": VERSION, "images": count, "seed": request.seed}
    scenes = _scenes(request.seed, count)
    tasks = [tuple(scenes[start : start + _PER_TASK]) for start in range(0, count, _PER_TASK)]
    return Plan(stamp, tasks, write_images, finish, f"{count} images in VOC and COCO style")


def part_of(number: int) -> Literal["train", "test"]:
    """Return the official part of an image."""
    return "test" if number in TEST else "train"


def _scenes(seed: int, count: int) -> list[tuple[int, ShipScene]]:
    rng, full = np.random.default_rng([seed, 98]), len(Ssdd.numbers)
    ships = shares(rng, Ssdd.facts.expected_ships or 0, full, 1, 0.9)
    widths, heights = rng.normal(500, 45, full).clip(214, 668), rng.normal(325, 50, full).clip(190, 526)
    gsd = rng.choice([1.0, 2.0, 3.0, 5.0, 8.0], full, p=[0.15, 0.2, 0.3, 0.25, 0.1])
    inshore = rng.random(full) < 0.2
    crowded = ships * 60.0**2 * 12 > widths * heights * gsd**2  # no room for so many ships at this resolution
    gsd = np.where(crowded, np.sqrt(ships * 60.0**2 * 12 / (widths * heights)).round(1), gsd)
    return [
        (
            place + 1,
            draw_scene(seed, place, (int(heights[place]), int(widths[place])), float(gsd[place]),
                       "inshore" if inshore[place] else "offshore", int(ships[place]), looks=1 + place % 3),
        )
        for place in range(count)
    ]  # fmt: skip


def write_images(folder: Path, task: Task) -> list[Any]:
    """Write some images with their VOC files; return number, size, boxes and shore of each."""
    rows = []
    for number, scene in task:
        amplitude, boxes = render_scene(scene)
        size = (amplitude.shape[0], amplitude.shape[1])
        boxes = whole_pixels(boxes, size)
        name = f"{number:06d}"
        image = Image.fromarray(np.repeat(amplitude[:, :, None], 3, axis=2))
        for place in _places(number, scene.shore):
            (folder / ROOT / place).mkdir(parents=True, exist_ok=True)
            image.save(folder / ROOT / place / f"{name}.jpg", quality=_QUALITY)
        labels = folder / ROOT / "voc_style/Annotations"
        labels.mkdir(parents=True, exist_ok=True)
        (labels / f"{name}.xml").write_text(voc_text(f"{name}.jpg", size, boxes, depth=3), encoding="utf-8")
        rows.append([number, *size, boxes.tolist()])
    return rows


def _places(number: int, shore: str) -> list[str]:
    """Return the folders that hold a copy of an image."""
    part = part_of(number)
    by_shore = [f"voc_style/JPEGImages_test_{shore}", f"coco_style/images/test_{shore}"] if part == "test" else []
    return ["voc_style/JPEGImages", f"coco_style/images/{part}", *by_shore]


def finish(folder: Path, rows: list[list[Any]]) -> None:
    """Write both COCO lists and the VOC lists of names."""
    root = folder / ROOT
    sets = root / "voc_style/ImageSets/Main"
    for place in (
        sets,
        root / "coco_style/annotations",
        *(root / "coco_style/images" / part for part in ("train", "test")),
    ):
        place.mkdir(parents=True, exist_ok=True)
    images = [row for some in rows for row in some]
    for part in ("train", "test"):
        listed = CocoList(outlines=True)
        chosen = [row for row in images if part_of(row[0]) == part]
        for number, height, width, boxes in chosen:
            listed.add(f"{number:06d}.jpg", (height, width), np.array(boxes).reshape(-1, 4), image_id=number)
        listed.write(root / f"coco_style/annotations/{part}.json")
        (sets / f"{part}.txt").write_text("".join(f"{row[0]:06d}\n" for row in chosen), encoding="utf-8")
