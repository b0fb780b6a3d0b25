"""The plain pair generator: textured shapes seen through two tone curves plus speckle. For tests; no physics.

What a matcher can use, by design: the edges of the shapes are shared by both views (structure). The tone of a surface
class rises monotonically in the optical view and jumps up and down in the SAR view, so equal grey levels carry no
information across views. Each scene has its own tones and its own mix of classes, so radiometry separates scenes (the
shortcut that real sets offer) but not the patches of one scene. Everything is a function of (seed, scene); NumPy only.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from pydantic import Field

from bench.data.dataset import DatasetOptions
from bench.data.patch_folder import PatchWriter, folder_names

VERSION = 1
GSD_M = 1.0

# Mean grey level of each surface class in 0..1: monotone in the optical view, up and down in the SAR view.
_OPTICAL_TONE = np.array([0.14, 0.27, 0.40, 0.53, 0.66, 0.80])
_SAR_TONE = np.array([0.10, 0.55, 0.24, 0.80, 0.16, 0.42])
_TINT = np.array(
    [[-0.04, 0, 0.06], [-0.03, 0.06, -0.04], [0.02, 0.03, -0.05], [0.04, 0, -0.03], [0, 0, 0], [0.02, 0.01, 0.02]]
)
_SCENE_DISTANCE_M = 50_000.0
_SHAPE_AREA_PX = 280


class ToyScene(DatasetOptions):
    """Options of the generator.

    Attributes:
        scenes: number of scenes. patches_per_scene: patches of each. patch_px: their edge length.
        looks: number of looks of the SAR speckle (gamma distributed intensity); fewer is noisier.
        seed: of everything.
    """

    scenes: int = Field(default=4, ge=1, le=1000)
    patches_per_scene: int = Field(default=50, ge=1, le=100_000)
    patch_px: int = Field(default=64, ge=16, le=2048)
    looks: float = Field(default=4.0, gt=0)
    seed: int = Field(default=0, ge=0)


def render_scene(seed: int, scene: int, height: int, width: int, looks: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Return one registered scene as optical (height, width, 3) uint8 and SAR amplitude (height, width) uint8, pixel
    on pixel.

    The result depends on all arguments; there are no borders, so any crop looks like any other.
    """
    rng = np.random.default_rng([VERSION, seed, scene])
    prior = rng.dirichlet(np.full(len(_OPTICAL_TONE), 2.0)) * 0.7 + 0.3 / len(_OPTICAL_TONE)
    classes = _class_map(rng, prior, height, width)
    relief = smooth_noise(rng, height, width, 6)
    shade = smooth_noise(rng, height, width, 48)

    cast = rng.uniform(-0.05, 0.05, 3)
    gain, offset = rng.uniform(0.8, 1.1), rng.uniform(-0.06, 0.06)
    colours = (_OPTICAL_TONE[:, None] + _TINT) * gain + offset + cast
    optical = colours.astype(np.float32)[classes]
    grain = 0.03 * relief + 0.03 * shade + rng.normal(0.0, 0.012, (height, width))
    optical += grain.astype(np.float32)[:, :, None]

    amplitude = (_SAR_TONE * rng.uniform(0.7, 1.15)).astype(np.float32)[classes]
    amplitude *= (1.0 + 0.08 * smooth_noise(rng, height, width, 5)).astype(np.float32)
    amplitude *= np.sqrt(rng.gamma(looks, 1.0 / looks, (height, width))).astype(np.float32)
    return _to_uint8(optical), _to_uint8(amplitude)


def write_toy_pairs(root: Path, options: ToyScene, folders: tuple[str, str] | None = None) -> None:
    """Write a toy set into the existing folder `root` in the QXS-SAROPT layout: two folders of numbered PNG files and
    patches.csv.

    Args:
        folders: names of the optical and SAR folder; default as `folder_names` for the patch size without overlap.
    """
    side = options.patch_px
    columns = math.ceil(math.sqrt(options.patches_per_scene))
    rows = math.ceil(options.patches_per_scene / columns)
    with PatchWriter(root, folders or folder_names(side, 0), compress_level=0) as writer:
        for scene in range(options.scenes):
            optical, sar = render_scene(options.seed, scene, rows * side, columns * side, options.looks)
            for number in range(options.patches_per_scene):
                y0, x0 = side * (number // columns), side * (number % columns)
                inside = slice(y0, y0 + side), slice(x0, x0 + side)
                x_min, y_max = scene * _SCENE_DISTANCE_M + x0 * GSD_M, -y0 * GSD_M
                place = (x_min, y_max - side * GSD_M, x_min + side * GSD_M, y_max)
                writer.add(optical[inside], sar[inside], f"toy{scene}", (y0, x0, side, side), place)


def _class_map(rng: np.random.Generator, prior: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return (height, width) uint8 classes: rectangles, ellipses and strips painted over each other, centres also
    outside the canvas.
    """
    count = math.ceil((height + 40) * (width + 40) / _SHAPE_AREA_PX)
    kinds = rng.integers(0, 3, count)
    centres = rng.uniform(-20, [height + 20, width + 20], (count, 2))
    half = np.where(kinds[:, None] == 2, rng.uniform([12, 1.5], [30, 3], (count, 2)), rng.uniform(4, 14, (count, 2)))
    angles = rng.uniform(0, math.pi, count)
    labels = rng.choice(len(prior), count, p=prior).astype(np.uint8)
    classes = np.full((height, width), int(np.argmax(prior)), dtype=np.uint8)
    for kind, (cy, cx), (a, b), angle, label in zip(kinds, centres, half, angles, labels, strict=True):
        reach = math.hypot(a, b)
        y0, y1 = max(0, int(cy - reach)), min(height, int(cy + reach) + 2)
        x0, x1 = max(0, int(cx - reach)), min(width, int(cx + reach) + 2)
        if y0 >= y1 or x0 >= x1:
            continue
        dy, dx = np.arange(y0, y1)[:, None] - cy, np.arange(x0, x1)[None, :] - cx
        u = (dx * math.cos(angle) + dy * math.sin(angle)) / a
        v = (dy * math.cos(angle) - dx * math.sin(angle)) / b
        inside = u * u + v * v <= 1 if kind == 1 else (np.abs(u) <= 1) & (np.abs(v) <= 1)
        classes[y0:y1, x0:x1][inside] = label
    return classes


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell: int) -> np.ndarray:
    """Return (height, width) float64 noise of about unit variance, linear between random values on a grid of `cell`
    pixels.
    """
    grid = rng.normal(0.0, 1.5, (height // cell + 2, width // cell + 2))
    y, x = np.arange(height) / cell, np.arange(width) / cell
    iy, ix = y.astype(int), x.astype(int)
    fy, fx = (y - iy)[:, None], x - ix
    rows = grid[iy] * (1 - fy) + grid[iy + 1] * fy
    out: np.ndarray = rows[:, ix] * (1 - fx) + rows[:, ix + 1] * fx
    return out


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values * 255.0), 0, 255).astype(np.uint8)
