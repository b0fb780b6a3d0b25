"""Reading a set through its memory map does not make the process as large as the set."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.data.cache import PairView, PatchCache
from bench.data.index import PairIndex, PairSample
from bench.data.mapped import forget_pages
from bench.data.ships.index import SceneIndex, ShipScene
from bench.data.ships.scene_cache import SceneStore
from bench.data.ships.view import SceneView

PAIRS, SIDE = 48, 256
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what is resident")


def resident(path: Path) -> int:
    """Return how many bytes of the maps of a file are resident in this process."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if "-" in line.split()[0] and not line.split()[0].endswith(":"):
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total


def mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    np.save(path, np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8))
    return np.lib.format.open_memmap(path, mode="r").view(np.ndarray)


def test_read_pairs_do_not_stay_resident(tmp_path: Path) -> None:
    sar = mapped(tmp_path / "sar.npy", (PAIRS, SIDE, SIDE))
    optical = mapped(tmp_path / "optical.npy", (PAIRS, SIDE, SIDE, 3))
    index = PairIndex(tuple(PairSample(str(n), f"o/{n}.png", f"s/{n}.png") for n in range(PAIRS)))
    view = PairView(PatchCache(tmp_path, optical, sar, {"optical": (), "sar": ()}), index, np.arange(PAIRS))
    assert sar.sum() > 0 and resident(tmp_path / "sar.npy") > 0.9 * sar.nbytes  # the test can see what stays
    for name, whole in (("sar", sar), ("optical", optical)):
        assert np.array_equal(np.concatenate(list(view.blocks(name, 5))), whole)
        view.sar(np.array([0])), view.optical(np.array([0]))
    for name in ("sar", "optical"):
        assert resident(tmp_path / f"{name}.npy") < 100_000, name


def test_of_the_scenes_only_the_last_stays_resident(tmp_path: Path) -> None:
    count, side = 8, 512
    pixels = mapped(tmp_path / "pixels.npy", (count * side * side,))
    nothing = np.zeros((0, 4)), np.zeros(0, dtype=bool)
    items = tuple(ShipScene(str(n), f"{n}.png", n, side, side, *nothing, None) for n in range(count))
    store = SceneStore(tmp_path, pixels, np.full((count, 2), side), side * side * np.arange(count))
    view = SceneView(store, SceneIndex(items, "the toy set"), np.arange(count))
    assert sum(int(view.image(k).sum()) for k in range(count)) == pixels.sum(dtype=np.int64)
    view.image(0)
    assert resident(tmp_path / "pixels.npy") < side * side


def test_arrays_outlive_the_giving_back(tmp_path: Path) -> None:
    array = mapped(tmp_path / "a.npy", (64, 1000))
    part, copy = array[3:5], np.array(array[3:5])
    forget_pages(part)
    assert np.array_equal(part, copy)
    forget_pages(np.zeros(5))  # ordinary memory: nothing happens
