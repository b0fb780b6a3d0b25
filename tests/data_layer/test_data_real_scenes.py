"""The real Sentinel-1/Sentinel-2 scenes, where BENCH_ROOT_S1S2_SCENES says that they are here: counts, leakage,
orientation.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bench.data.dataset import open_dataset
from bench.data.images import read_image
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split

pytestmark = pytest.mark.skipif(
    "BENCH_ROOT_S1S2_SCENES" not in os.environ, reason="set BENCH_ROOT_S1S2_SCENES to the folder of the real scenes"
)


def test_counts_and_guard_between_the_tiles(tmp_path: Path) -> None:
    options = {"patch_px": 256, "require": {"position_certain": True}}
    index = open_dataset("s1s2-scenes", options, None, tmp_path).index()
    assert len(index) == 37 * 16
    dropped = []
    for guard_m in (0, 1, 500, 1000, 1500):
        spec = SplitSpec(
            kind="grouped", by="tile", test_groups=("T11SMT",), validation_by="scene", guard_m=guard_m, validation=0
        )
        split = make_split(index, spec)
        dropped.append(len(split.dropped))
        shared = split.summary["sharing_ground_with_test"]["train"]
        assert shared == (13 if guard_m == 0 else 0)  # the tiles overlap: without a guard 13 training places are tested
    assert dropped == [0, 13, 13, 27, 28]


def test_rows_go_down_while_y_decreases(tmp_path: Path) -> None:
    """Two scenes of different tiles show the same ground at the places that the index computes, and not upside down."""
    dataset = open_dataset("s1s2-scenes", {"patch_px": 64}, None, tmp_path)
    index = dataset.index()
    scenes = np.array(index.scenes)
    first, second = np.flatnonzero(scenes == "102"), np.flatnonzero(scenes == "187")
    images = {name: read_image(dataset.root / f"opt/{name}.png").mean(axis=2) for name in ("102", "187")}
    origin = {name: index.places[rows[0], [0, 3]] for name, rows in (("102", first), ("187", second))}
    metres = (index.places[first[0], 2] - index.places[first[0], 0]) / 64
    right, down = np.rint((origin["187"] - origin["102"]) / metres * [1, -1]).astype(int)
    height, width = 1024 + down, 1024 - right
    one = images["102"][:height, right:]
    two = images["187"][-down:, :width]
    assert one.shape == two.shape
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.95
    assert np.corrcoef(one.ravel(), two[::-1].ravel())[0, 1] < 0.5
