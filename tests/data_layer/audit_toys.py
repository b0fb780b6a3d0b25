"""Patch sets for the tests of the audit: cut out of generated scenes with overlap, numbered at random, with their true
places.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.data.audit.overlaps import Overlaps
from bench.data.datasets.qxs_saropt import QxsSaropt
from bench.data.images import write_image
from bench.data.toy import render_scene

FOLDERS = ("opt_256_oc_0.2", "sar_256_oc_0.2")
Place = tuple[int, int, int]


@dataclass
class PatchSet:
    """Patches to be written. `patches`: (scene, y, x) or None for no true place, SAR image, optical image."""

    side: int
    patches: list[tuple[Place | None, np.ndarray, np.ndarray]] = field(default_factory=list)

    def cut(self, scene: int, windows: list[tuple[int, int]], image: tuple[np.ndarray, np.ndarray]) -> None:
        """Add the windows (y, x) of one registered scene, (optical, SAR)."""
        for y, x in windows:
            inside = slice(y, y + self.side), slice(x, x + self.side)
            self.patches.append(((scene, y, x), image[1][inside], image[0][inside]))

    def add(self, sar: np.ndarray, place: Place | None = None) -> None:
        """Add one patch with a black optical image."""
        self.patches.append((place, sar, np.zeros((*sar.shape, 3), dtype=np.uint8)))

    def write(self, root: Path, seed: int) -> dict[str, Place | None]:
        """Write the set in the QXS-SAROPT layout in an order of chance; return id -> true place."""
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True)
        truth: dict[str, Place | None] = {}
        for number, i in enumerate(np.random.default_rng(seed).permutation(len(self.patches)).tolist(), start=1):
            place, sar, optical = self.patches[i]
            write_image(root / FOLDERS[0] / str(number), optical)
            write_image(root / FOLDERS[1] / str(number), sar)
            truth[str(number)] = place
        return truth


def grid(rows: int, columns: int, stride: int, keep: float = 1.0, seed: int = 0) -> list[tuple[int, int]]:
    """Return the windows of a regular grid, of which a share `keep` is left."""
    rng = np.random.default_rng(seed)
    return [(y * stride, x * stride) for y in range(rows) for x in range(columns) if rng.random() < keep]


def scene(number: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one registered scene of `side` pixels."""
    return render_scene(5, number, side, side)


def stretched(sar: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a patch with a contrast stretch of its own: linear between two percentiles, clipped, rounded to 8 bits."""
    low, high = np.percentile(sar, [rng.uniform(0, 2), rng.uniform(97, 100)])
    out: np.ndarray = np.rint(np.clip((sar - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return out


def true_pairs(truth: dict[str, Place | None], side: int) -> set[tuple[str, str, int, int]]:
    """Return (id, id, dy, dx) of all patches of one scene that share pixels, from their true places."""
    known = [(name, place) for name, place in truth.items() if place is not None]
    out = set()
    for i, (one, (scene_1, y1, x1)) in enumerate(known):
        for two, (scene_2, y2, x2) in known[i + 1 :]:
            if scene_1 == scene_2 and abs(y2 - y1) < side and abs(x2 - x1) < side:
                out.add((one, two, y2 - y1, x2 - x1))
    return out


def found_pairs(overlaps: Overlaps, ids: tuple[str, ...]) -> set[tuple[str, str, int, int]]:
    """Return the overlaps with the ids of their patches."""
    columns = (overlaps.a.tolist(), overlaps.b.tolist(), overlaps.dy.tolist(), overlaps.dx.tolist())
    return {(ids[a], ids[b], dy, dx) for a, b, dy, dx in zip(*columns, strict=True)}


def groups(ids: tuple[str, ...], pairs: set[tuple[str, str, int, int]]) -> set[frozenset[str]]:
    """Return the connected groups of patches, by flooding."""
    near: dict[str, set[str]] = {name: set() for name in ids}
    for one, two, _, _ in pairs:
        near[one].add(two)
        near[two].add(one)
    out, left = set(), set(ids)
    while left:
        group, edge = set(), {min(left)}
        while edge:
            group |= edge
            edge = {other for name in edge for other in near[name]} - group
        out.add(frozenset(group))
        left -= group
    return out


def opened(root: Path, **options: object) -> QxsSaropt:
    """Open a written set, with a cache folder beside it."""
    return QxsSaropt.at(root, root.parent / "cache", **options)
