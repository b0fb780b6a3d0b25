"""Fixtures of the data layer's tests: small images, folders of pairs and registered scenes made on the spot."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.data.images import write_image

MakePairs = Callable[..., Path]


@pytest.fixture
def make_pairs(tmp_path: Path) -> MakePairs:
    """Write `count` random pairs into <tmp>/<name>/{optical,sar}; return the root."""

    def make(
        count: int = 4,
        side: int = 16,
        name: str = "pairs",
        folders: tuple[str, str] = ("optical", "sar"),
        dtype: type[np.generic] = np.uint8,
        start: int = 1,
    ) -> Path:
        root = tmp_path / name
        rng = np.random.default_rng(count)
        for folder in folders:
            (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(start, start + count):
            optical = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            sar = rng.integers(0, 256, (side, side)).astype(dtype)
            write_image(root / folders[0] / str(number), optical)
            write_image(root / folders[1] / str(number), sar)
        return root

    return make


@pytest.fixture
def make_scenes(tmp_path: Path) -> MakePairs:
    """Write registered scenes in the layout of s1s2-scenes; return the root. `sizes` gives (height, width) of each."""

    def make(sizes: tuple[tuple[int, int], ...] = ((40, 50), (40, 50)), blank_first: bool = False) -> Path:
        root = tmp_path / "scenes"
        rng = np.random.default_rng(7)
        for folder in ("opt", "sar"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        with (root / "scenes.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["scene", "tile", "x_min_m", "y_min_m", "x_max_m", "y_max_m", "position_certain"])
            for number, (height, width) in enumerate(sizes):
                optical = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                sar = rng.integers(1, 256, (height, width), dtype=np.uint8)
                if blank_first:
                    optical[:16, :16] = 0
                write_image(root / "opt" / f"{number:03d}", optical)
                write_image(root / "sar" / f"{number:03d}", sar)
                x, certain = 1000.0 * number, "False" if number == 1 else "True"
                table.writerow([f"{number:03d}", f"T{number % 2}", x, 0, x + 10 * width, 10 * height, certain])
        return root

    return make
