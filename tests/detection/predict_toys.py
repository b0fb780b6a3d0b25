"""Scenes on disk, and detectors without a training, for the tests of windowed prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.core.context import ExecutionContext
from bench.core.progress import Progress
from bench.data.scaling import SarScale, ScalingParams
from bench.detection.detectors.base import Detections, DetectorOptions, Setup
from bench.detection.detectors.cfar.detector import Cfar, CfarOptions
from bench.detection.detectors.tiled import TiledDetector
from bench.detection.spec import Merging, Tiles

EIGHT_BIT = ScalingParams("uint8", 1, 0.0, 255.0)
NORTH_UP = (10.0, 0.0, 300_000.0, 0.0, -10.0, 3_500_000.0)


def context_of(folder: Path) -> ExecutionContext:
    return ExecutionContext(
        folder, folder, "cpu", 1, 0, lambda line: None, Progress(stream=(folder / "progress.txt").open("w"))
    )


def setup_of(folder: Path, scale: SarScale | None = None, size: int = 64, overlap: int = 24) -> Setup:
    return Setup(
        None,
        EIGHT_BIT,
        Tiles(size_px=size, overlap_px=overlap),
        Merging.model_validate({}),
        context_of(folder),
        None,
        scale,
    )


def cfar(folder: Path, scale: SarScale | None = None, **options: Any) -> Cfar:
    made = Cfar(CfarOptions.model_validate(options))
    made.prepare(setup_of(folder, scale))
    return made


class Blobs(TiledDetector):
    """Boxes what is connected and above 200 in a tile; its score is the brightest pixel. Counts the tiles that it looks
    at.
    """

    def __init__(self) -> None:
        super().__init__(DetectorOptions())
        self.tiles = 0

    def _predict_tiles(self, tiles: np.ndarray) -> list[Detections]:
        self.tiles += len(tiles)
        return [self._one(tile) for tile in tiles]

    @staticmethod
    def _one(tile: np.ndarray) -> Detections:
        from scipy import ndimage

        labels, count = ndimage.label(tile > 200)
        if not count:
            return Detections.none()
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in ndimage.find_objects(labels)]
        return Detections(
            np.array(boxes, dtype=np.float64), ndimage.maximum(tile, labels, np.arange(1, count + 1)) / 255.0
        )


def blobs(folder: Path) -> Blobs:
    made = Blobs()
    made.prepare(setup_of(folder))
    return made


def sea(height: int, width: int, ships: int = 8, land: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitude (H, W) float64 up to about 250 of sea with bright ships, and their boxes (n, 4); with `land`
    also a bright coast.
    """
    rng = np.random.default_rng(seed)
    power = rng.exponential(100.0, (height, width))
    if land:
        power[:, : width // 3] *= 30.0
    boxes = []
    for y, x in zip(
        rng.integers(20, height - 40, ships).tolist(),
        rng.integers(width // 3 + 30, width - 30, ships).tolist(),
        strict=True,
    ):
        power[y : y + 14, x : x + 6] = rng.uniform(50_000, 62_000)
        boxes.append([x, y, x + 6, y + 14])
    return np.sqrt(power), np.array(boxes, dtype=np.float64)


def write_tiff(path: Path, image: np.ndarray, crs: str | None = "EPSG:32651", **profile: Any) -> Path:
    import rasterio

    place = {"crs": rasterio.CRS.from_string(crs), "transform": rasterio.Affine(*NORTH_UP)} if crs else {}
    height, width = image.shape[-2:]
    layers = image if image.ndim == 3 else image[None]
    profile = {"tiled": True, "blockxsize": 64, "blockysize": 64, **place, **profile}
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=len(layers), dtype=layers.dtype, **profile
    ) as stream:
        stream.write(layers)
    return path
