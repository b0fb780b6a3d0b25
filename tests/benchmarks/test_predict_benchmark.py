"""`bench predict` on generated scenes: memory does not follow the size of a scene, and the benchmark finds the ships
that it planted.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.detection.scenes.scene_reader import _CACHE_BYTES

pytest.importorskip("rasterio")
ROOT = Path(__file__).resolve().parents[2]
MORE_MIB = 60  # what a scene four times as large may cost more: lists of tiles, windows and detections
TILES = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from predict_toys import EIGHT_BIT, Blobs, context_of
from bench.detection.detectors.base import Setup
from bench.detection.scenes.scene_predictions import predict_scene
from bench.detection.scenes.scene_reader import open_scene
from bench.detection.spec import Merging, Tiles
from bench.core.provenance import peak_memory_bytes
from benchmarks.predict_scene import write_scene
place, height = Path({place!r}), {height}
place.mkdir()
write_scene(place / "scene.tif", height, 3000, "uint16")
"""
LOOK = """
detector = Blobs()
detector.prepare(Setup(None, EIGHT_BIT, Tiles(size_px=512, overlap_px=200), Merging.model_validate({{}}), context_of(place)))
detector._one = lambda tile: Blobs._one(tile // 20)
with open_scene(place / "scene.tif") as reader:
    found = predict_scene(detector, reader, place / "w", "cpu", "scene", context_of(place).progress).found
print("found", len(found.detections), peak_memory_bytes() // 2**20)
"""


def table(*words: str, code: int = 0) -> list[str]:
    """Run the benchmark; return the cells of its row."""
    command = [sys.executable, str(ROOT / "benchmarks" / "predict_scene.py"), "--threads", "1", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return [cell.strip() for cell in done.stdout.splitlines()[2].strip("|").split("|")]


def mebibytes(row: list[str]) -> float:
    return float(row[5].removesuffix(" MiB").replace(",", ""))


def cached(height: int, width: int, itemsize: int) -> float:
    """Return how many MiB of a scene's decoded blocks GDAL keeps: all of a small scene, and of a large one no more than
    its limit.
    """
    return min(height * width * itemsize, _CACHE_BYTES) / 2**20


@pytest.mark.slow
def test_the_memory_of_cfar_does_not_follow_the_size_of_the_scene(tmp_path: Path) -> None:
    how = ("--place", str(tmp_path), "--set", "land=none", "--dtype", "db")
    small, large = (
        table("--height", str(height), "--width", "3000", "--limit-gib", "0.6", *how) for height in (3000, 12_000)
    )
    assert mebibytes(large) - cached(12_000, 3000, 4) < mebibytes(small) - cached(3000, 3000, 4) + MORE_MIB
    for row in (small, large):
        hits, planted = (int(text) for text in row[3].split(" of "))
        assert hits > 0.95 * planted > 20
    assert not list(tmp_path.iterdir()), "the scene goes with the benchmark"


@pytest.mark.slow
def test_the_memory_of_tiles_does_not_follow_the_size_of_the_scene(tmp_path: Path) -> None:
    peaks = []
    for height in (3000, 12_000):
        names = {
            "tests": str(ROOT / "tests" / "detection"),
            "root": str(ROOT),
            "place": str(tmp_path / str(height)),
            "height": height,
        }
        subprocess.run([sys.executable, "-c", TILES.format(**names)], check=True, timeout=600)
        look = TILES.split("place.mkdir()")[0].format(**names) + LOOK.format()
        done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        _, found, peak = done.stdout.split()
        assert int(found) > 20
        peaks.append(int(peak) - cached(height, 3000, 2))
    assert peaks[1] < peaks[0] + MORE_MIB and peaks[1] < 400


@pytest.mark.slow
def test_a_scene_beyond_the_limit_fails_the_benchmark(tmp_path: Path) -> None:
    table("--height", "400", "--width", "300", "--limit-gib", "0.01", "--place", str(tmp_path), code=1)
