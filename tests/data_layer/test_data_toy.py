"""The toy generator: repeatable, in the genuine layout, matchable by structure and not by grey level, and made once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.data import toy
from bench.data.cache import open_cache
from bench.data.dataset import open_dataset
from bench.data.datasets.qxs_saropt import QxsSaropt
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split
from bench.data.toy import ToyScene, render_scene, write_toy_pairs

SMALL: dict[str, Any] = {"scenes": 3, "patches_per_scene": 5, "patch_px": 32}


def test_scene_is_a_function_of_its_arguments() -> None:
    one, two = render_scene(1, 0, 48, 64), render_scene(1, 0, 48, 64)
    assert one[0].shape == (48, 64, 3) and one[1].shape == (48, 64)
    assert one[0].dtype == one[1].dtype == np.uint8
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    for other in (render_scene(2, 0, 48, 64), render_scene(1, 1, 48, 64), render_scene(1, 0, 48, 64, looks=1)):
        assert not np.array_equal(one[1], other[1])


def edges(image: np.ndarray) -> np.ndarray:
    """Gradient magnitude of box-smoothed log grey levels, zero mean and unit norm."""
    grey = np.log(image.astype(float) + 8.0)
    for axis in (0, 1):
        grey = np.mean([np.roll(grey, k, axis) for k in range(-2, 3)], axis=0)
    gradient = np.hypot(*np.gradient(grey))[4:-4, 4:-4]
    gradient -= gradient.mean()
    out: np.ndarray = (gradient / np.linalg.norm(gradient)).ravel()
    return out


def test_edges_match_and_tones_do_not() -> None:
    correct, tones = [], []
    for scene in range(3):
        optical, sar = render_scene(0, scene, 320, 320)
        grey = optical.mean(axis=2)
        cells = [(slice(y, y + 64), slice(x, x + 64)) for y in range(0, 320, 64) for x in range(0, 320, 64)]
        similar = np.array([edges(sar[c]) for c in cells]) @ np.array([edges(grey[c]) for c in cells]).T
        correct += (similar.argmax(axis=1) == np.arange(len(cells))).tolist()
        tones.append(np.corrcoef([sar[c].mean() for c in cells], [grey[c].mean() for c in cells])[0, 1])
    assert np.mean(correct) > 0.9
    assert min(tones) < 0.5  # the brightness of a patch in one view does not give its brightness in the other


def test_scenes_have_their_own_tones() -> None:
    means = np.array([[view.mean() for view in render_scene(0, scene, 128, 128)] for scene in range(6)])
    assert np.ptp(means[:, 0]) > 20 and np.ptp(means[:, 1]) > 20


def test_made_once_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset("toy-pairs", SMALL, None, tmp_path, env={})
    assert dataset.root.parent == tmp_path and dataset.root.name.startswith("toy-")
    index = dataset.index()
    assert len(index) == 15 and index.column("scene") == ["toy0"] * 5 + ["toy1"] * 5 + ["toy2"] * 5
    assert not np.isnan(index.places).any() and index.crs == "local metres"
    first = dataset.manifest().sha256

    def fail(*_: Any) -> None:
        raise AssertionError("made again")

    with monkeypatch.context() as patched:
        patched.setattr(toy, "write_toy_pairs", fail)
        assert open_dataset("toy-pairs", SMALL, None, tmp_path, env={}).root == dataset.root
    next((dataset.root / "sar_32_oc_0").iterdir()).unlink()
    again = open_dataset("toy-pairs", SMALL, None, tmp_path, env={})
    assert again.manifest().sha256 == first
    other = open_dataset("toy-pairs", SMALL | {"seed": 1}, None, tmp_path, env={})
    assert other.root != dataset.root and other.manifest().sha256 != first
    assert open_dataset("toy-pairs", SMALL, dataset.root, tmp_path, env={}).index().ids == index.ids


def test_grouped_split_and_cache_work_on_it(tmp_path: Path) -> None:
    dataset = open_dataset("toy-pairs", SMALL, None, tmp_path, env={})
    index = dataset.index()
    split = make_split(index, SplitSpec(kind="grouped", guard_m=1000))
    assert [len(split.train), len(split.validation), len(split.test), len(split.dropped)] == [5, 5, 5, 0]
    patches = open_cache(index, dataset.root, dataset.manifest().sha256, "", tmp_path)
    optical, sar = render_scene(0, 1, 64, 96)
    assert np.array_equal(patches.sar[5 + 3], sar[32:64, :32])
    assert np.array_equal(patches.optical[5 + 1], optical[:32, 32:64])
    place = index.samples[5 + 3].place
    assert place is not None and place[3] - place[1] == 32 and place[3] == -32


def test_neighbouring_patches_touch_on_the_ground(tmp_path: Path) -> None:
    index = open_dataset("toy-pairs", SMALL, None, tmp_path, env={}).index()
    with pytest.raises(BenchError, match="leaves train empty"):
        make_split(index, SplitSpec(kind="random", guard_m=1e7))
    assert index.samples[0].place == (0, -32, 32, 0) and index.samples[1].place == (32, -32, 64, 0)


def test_genuine_qxs_layout(tmp_path: Path) -> None:
    root = tmp_path / "QXSLAB_SAROPT"
    root.mkdir()
    write_toy_pairs(root, ToyScene(**SMALL), ("opt_256_oc_0.2", "sar_256_oc_0.2"))
    index = QxsSaropt.at(tmp_path, table="patches.csv").index()
    assert index.ids == tuple(str(n) for n in range(1, 16)) and index.scenes[14] == "toy2"


def test_bad_options(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no option 'scene'; nearest: scenes"):
        open_dataset("toy-pairs", {"scene": 3}, None, tmp_path, env={})
    with pytest.raises(BenchError, match="option scenes"):
        open_dataset("toy-pairs", {"scenes": 0}, None, tmp_path, env={})
    (tmp_path / "file").touch()
    with pytest.raises(BenchError, match="cannot write"):
        open_dataset("toy-pairs", SMALL, None, tmp_path / "file", env={})


KILLED = """
import os, sys, signal
from pathlib import Path
from bench.data import toy
from bench.data.dataset import open_dataset
original = toy.render_scene
def render(seed, scene, *rest):
    if scene == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(seed, scene, *rest)
toy.render_scene = render
open_dataset("toy-pairs", {"scenes": 3, "patches_per_scene": 5, "patch_px": 32}, None, Path(sys.argv[1]), env={})
"""


def test_killed_while_making(tmp_path: Path) -> None:
    clean = open_dataset("toy-pairs", SMALL, None, tmp_path / "clean", env={}).manifest().sha256
    cache = tmp_path / "cache"
    environment = {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(cache)], env=environment, check=False)
    assert done.returncode == -9 and any(".tmp-" in path.name for path in cache.iterdir())
    assert open_dataset("toy-pairs", SMALL, None, cache, env={}).manifest().sha256 == clean
    assert not any(".tmp-" in path.name for path in cache.iterdir())
