"""The plain ship-scene generator: bright elongated ships on speckled sea, with land in every second scene. For tests;
no physics.

What a detector can use, by design: ships are elongated, 11 to 20 dB above the sea, with a brighter superstructure near
the stern and uneven sides. What makes it less than trivial: speckle, swell, round rocks as bright as ships (brightness
alone is not enough: the floor that `cfar` sets stays below 1), land with bright points, ships close to the coast, and
scenes without any ship. Everything is a function of (seed, scene); NumPy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from bench.data.dataset import DatasetOptions
from bench.data.generated import IMAGES, LIST
from bench.data.images import write_image
from bench.data.ships.writing import CocoList
from bench.data.toy import smooth_noise

VERSION = 1
GSD_M = 5.0
SHORES = ("offshore", "inshore")
LENGTH_PX = (12.0, 40.0)

_SEA_AMPLITUDE = 0.055  # of full scale
_FULL_SCALE = {8: 255.0, 16: 16000.0}
_COAST_SHARE, _COAST_PX = 0.7, 24.0  # share of the attempts at an inshore ship within this distance of the coast
_ROCKS, _ROCK_PX = 2.0, 6.0  # mean number in a scene, largest radius
_TRIES_PER_SHIP = 60
_EMPTY_EVERY, _EMPTY_AT = 6, 4


class ToyShipScenes(DatasetOptions):
    """Options of the generator.

    Attributes:
        scenes: number of scenes; numbers 2, 4, ... are inshore, 5, 11, ... hold no ship. scene_px: their edge length.
        ships_per_scene: ships of a scene where there is room for them.
        looks: number of looks of the speckle (gamma distributed intensity); fewer is noisier.
        bits: 8 or 16 bits per pixel of amplitude.
        seed: of everything.
    """

    scenes: int = Field(default=12, ge=1, le=10_000)
    scene_px: int = Field(default=384, ge=64, le=4096)
    ships_per_scene: int = Field(default=6, ge=1, le=1000)
    looks: float = Field(default=2.0, gt=0)
    bits: Literal[8, 16] = 8
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, eq=False)
class ToyScene:
    """One generated scene: amplitude (H, W) uint8 or uint16, boxes (k, 4) float64 x1, y1, x2, y2, shore, and land (H,
    W) bool.
    """

    amplitude: np.ndarray
    boxes: np.ndarray
    shore: str
    land: np.ndarray


def render_ships(options: ToyShipScenes, scene: int) -> ToyScene:
    """Return scene number `scene` (from 0). A box encloses the ship's pixels exactly; ships lie whole in the scene and
    do not touch.
    """
    rng = np.random.default_rng([VERSION, options.seed, scene])
    side = options.scene_px
    shore = SHORES[scene % 2]
    inland = _inland(rng, side) if shore == "inshore" else np.full((side, side), -np.inf)
    power = 1.0 + 0.15 * np.clip(smooth_noise(rng, side, side, 24), -3, 3)
    land = inland > 0
    if land.any():
        power[land] = _land_power(rng, side)[land]
    empty = scene % _EMPTY_EVERY == _EMPTY_AT
    boxes = [] if empty else _add_ships(rng, power, inland, options.ships_per_scene)
    _add_rocks(rng, power, inland, boxes)
    power *= rng.gamma(options.looks, 1.0 / options.looks, power.shape)
    full = _FULL_SCALE[options.bits]
    limit = np.iinfo(np.uint8 if options.bits == 8 else np.uint16)
    amplitude = np.clip(np.rint(np.sqrt(power) * _SEA_AMPLITUDE * full), 0, limit.max).astype(limit.dtype)
    return ToyScene(amplitude, np.array(boxes, dtype=np.float64).reshape(-1, 4), shore, land)


def write_toy_ships(root: Path, options: ToyShipScenes) -> None:
    """Write a toy set into the existing folder `root`: images/<n>.png and annotations.json in COCO's layout, with
    `shore` and `scene`.
    """
    (root / IMAGES).mkdir()
    listed = CocoList()
    for number in range(1, options.scenes + 1):
        made = render_ships(options, number - 1)
        path = write_image(root / IMAGES / str(number), made.amplitude, compress_level=1)
        height, width = made.amplitude.shape
        listed.add(path.name, (height, width), made.boxes, extra={"scene": f"toy{number}", "shore": made.shore})
    listed.write(root / LIST)


def _inland(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return about how far inland every pixel lies in px (negative at sea): a wavy coast that leaves some two thirds to
    the sea.
    """
    angle = rng.uniform(0, 2 * math.pi)
    at = np.arange(side) - side / 2
    across = math.cos(angle) * at[None, :] + math.sin(angle) * at[:, None]
    out: np.ndarray = (
        across - rng.uniform(0.1, 0.25) * side + 0.03 * side * smooth_noise(rng, side, side, max(8, side // 8))
    )
    return out


def _land_power(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return intensity of land over that of the sea: 9 dB, patchy, with bright points."""
    power = 8.0 * np.exp(0.4 * smooth_noise(rng, side, side, 12) / 1.5)
    points = rng.random((side, side)) < 0.004
    power[points] *= rng.uniform(8, 30, int(points.sum()))
    return power


def _add_ships(
    rng: np.random.Generator, power: np.ndarray, inland: np.ndarray, wanted: int
) -> list[tuple[float, float, float, float]]:
    """Paint ships into `power` (side, side), one after the other where there is room; return their boxes."""
    side = len(power)
    taken = inland > -2.0
    coast = np.argwhere((inland > -_COAST_PX) & (inland < -4.0))
    boxes: list[tuple[float, float, float, float]] = []
    for _ in range(_TRIES_PER_SHIP * wanted):
        if len(boxes) == wanted:
            break
        length = rng.uniform(*LENGTH_PX)
        width = max(3.0, length / rng.uniform(4.0, 6.5))
        at_coast = len(coast) > 0 and rng.random() < _COAST_SHARE
        cy, cx = (coast[rng.integers(len(coast))] + rng.uniform(0, 1, 2)) if at_coast else rng.uniform(0, side, 2)
        angle, strength = rng.uniform(0, math.pi), 10 ** rng.uniform(1.1, 2.0)
        hull = _hull(side, cy, cx, length, width, angle)
        if hull is None:
            continue
        rows, columns, along, across = hull
        x1, y1, x2, y2 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        if taken[max(0, y1 - 3) : y2 + 3, max(0, x1 - 3) : x2 + 3].any():
            continue
        shape = 1.0 + 1.5 * (np.abs(along + 0.3) < 0.1) + 0.5 * np.cos(9 * along + 3 * across) * (np.abs(across) > 0.2)
        power[rows, columns] = strength * shape
        taken[y1:y2, x1:x2] = True
        boxes.append((float(x1), float(y1), float(x2), float(y2)))
    return boxes


def _add_rocks(
    rng: np.random.Generator, power: np.ndarray, inland: np.ndarray, boxes: list[tuple[float, float, float, float]]
) -> None:
    """Paint round bright spots that are no ships into the sea of `power` (side, side), clear of ships and coast."""
    side = len(power)
    taken = inland > -_ROCK_PX
    for x1, y1, x2, y2 in boxes:
        taken[max(0, int(y1) - 6) : int(y2) + 6, max(0, int(x1) - 6) : int(x2) + 6] = True
    y, x = np.mgrid[0:side, 0:side]
    for _ in range(rng.poisson(_ROCKS)):
        cy, cx = rng.uniform(0, side, 2)
        spot = np.hypot(y - cy, x - cx) < rng.uniform(2.0, _ROCK_PX)
        if not taken[spot].any():
            power[spot] = 10 ** rng.uniform(1.2, 1.9)


def _hull(side: int, cy: float, cx: float, length: float, width: float, angle: float) -> tuple[np.ndarray, ...] | None:
    """Return (rows, columns, along, across) of a hull's pixels, None where it leaves the scene.

    along and across run from -0.5 to 0.5 of its length and width; the bow is pointed.
    """
    reach = length / 2 + 1
    if min(cy, cx) < reach or max(cy, cx) > side - 1 - reach:
        return None
    y, x = np.mgrid[int(cy - reach) : int(cy + reach) + 2, int(cx - reach) : int(cx + reach) + 2]
    along = ((x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)) / length
    across = ((y - cy) * math.cos(angle) - (x - cx) * math.sin(angle)) / width
    inside = (np.abs(along) <= 0.5) & (np.abs(across) <= np.minimum(0.5, 2.5 * (0.52 - along)))
    return y[inside], x[inside], along[inside], across[inside]
