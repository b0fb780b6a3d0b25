"""Detectors that look at tiles: any scene size, blocks of bounded size, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.context import ExecutionContext
from bench.core.errors import BenchError
from bench.core.progress import Progress
from bench.data.scaling import ScalingParams
from bench.detection.detectors.base import Detections, DetectorOptions, Setup
from bench.detection.detectors.tiled import TiledDetector
from bench.detection.spec import Merging, Tiles
from bench.detection.tiles.tiling import tile_grid


class Bright(TiledDetector):
    """Finds the one bright rectangle of a tile, by looking at rows and columns."""

    def __init__(self) -> None:
        super().__init__(DetectorOptions())
        self.blocks: list[tuple[int, ...]] = []
        self.darkest: list[float] = []

    def _predict_tiles(self, tiles: np.ndarray) -> list[Detections]:
        self.blocks.append(tiles.shape)
        self.darkest.append(float(tiles.min()))
        return [self._one(tile) for tile in tiles]

    def _one(self, tile: np.ndarray) -> Detections:
        rows, columns = np.flatnonzero((tile > 200).any(axis=1)), np.flatnonzero((tile > 200).any(axis=0))
        if not rows.size:
            return Detections.none()
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        return Detections(np.array([box], dtype=np.float64), np.array([0.5]))


def prepared(
    detector: TiledDetector, folder: Path, size: int = 64, overlap: int = 24, dark: float | None = None
) -> TiledDetector:
    scaling = ScalingParams("uint8", 1, 0, 255) if dark is None else ScalingParams("percentile", 1, dark, 9.0)
    context = ExecutionContext(folder, folder, "cpu", 1, 0, lambda _: None, Progress())
    detector.prepare(Setup(None, scaling, Tiles(size_px=size, overlap_px=overlap), Merging(), context))
    return detector


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (64, 64), (65, 64), (40, 500), (333, 257)])
def test_any_scene_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    y, x = shape[0] // 2, shape[1] // 2
    image[y : y + 20, x : x + 12] = 255
    detector = Bright()
    out = prepared(detector, tmp_path).predict(image)
    assert out.merged.boxes.tolist() == [[x, y, min(x + 12, shape[1]), min(y + 20, shape[0])]]
    assert list(out.tiles) == tile_grid(*shape, Tiles(size_px=64, overlap_px=24)) and len(out.per_tile) == len(
        out.tiles
    )
    assert all(block[0] <= 8 and block[1:] == (64, 64) for block in detector.blocks)
    assert sum(block[0] for block in detector.blocks) == len(out.tiles)


def test_an_empty_scene(tmp_path: Path) -> None:
    assert len(prepared(Bright(), tmp_path).predict(np.zeros((100, 100), np.uint8)).merged) == 0


def test_padding_is_what_the_scaling_maps_to_zero(tmp_path: Path) -> None:
    detector = Bright()
    prepared(detector, tmp_path, dark=-30.0).predict(np.full((10, 10), -20, np.float32))
    assert detector.darkest == [pytest.approx(-30.0)]


def test_malformed_answers_are_refused_before_merging(tmp_path: Path) -> None:
    class Wrong(Bright):
        answer = [Detections(np.array([[1.0, 1, np.nan, 5]]), np.array([0.5]))]

        def _predict_tiles(self, tiles: np.ndarray) -> list[Detections]:
            return self.answer

    wrong = prepared(Wrong(), tmp_path)
    with pytest.raises(BenchError, match="Wrong returned boxes or scores that are not finite"):
        wrong.predict(np.zeros((10, 10), np.uint8))
    with pytest.raises(BenchError, match="Wrong answered 1 times to 4 tiles"):
        wrong.predict(np.zeros((100, 100), np.uint8))
