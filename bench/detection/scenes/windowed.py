"""A scene of any size through a detector, window by window: memory follows the window and what is found, and a killed
run goes on where it was.

A detector that looks at tiles is shown the very tiles, in the very batches, that it is shown when the scene is in
memory as a whole, and what it finds in them is merged once at the end; so the result is that of `Detector.predict`, and
no border of a window is seen in it. A window is a run of tiles in the order of the grid. Tiles without any data are not
looked at. CFAR goes the same way in strips (`windowed_cfar.py`). A detector that looks at whole scenes has one window,
the scene, as long as that is small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bench.core.arrays import load_arrays
from bench.core.errors import BenchError
from bench.core.store import save_arrays
from bench.data.windows import Window
from bench.detection.detectors.base import Detections, Detector
from bench.detection.detectors.cfar.detector import Cfar
from bench.detection.detectors.tiled import TiledDetector
from bench.detection.scenes.scene_reader import SceneReader
from bench.detection.tiles.merging import merge_tiles
from bench.detection.tiles.tiling import dark_value, tile_grid

BLOCKS = 8  # of tiles in a window
WHOLE_PIXELS = 100_000_000  # the largest scene for a detector that needs it whole


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in a scene.

    Attributes:
        detections: in the scene's frame, highest score first; none dropped.
        windows, skipped: number of windows, and how many of them held no data.
    """

    detections: Detections
    windows: int
    skipped: int


class FinishedWindows:
    """The windows of one scene that are finished, a file each in `folder`; a file is there whole or not at all.

    Attributes:
        device: what computes the windows that are put now; it can move the last digits of a network's answer.
        devices: of all windows that were taken out.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.folder, self.device = folder, device
        self.devices: set[str] = set()

    def has(self, name: str) -> bool:
        """Return whether the window is finished."""
        return self._path(name).is_file()

    def get(self, name: str) -> dict[str, Any]:
        """Return what a finished window left. Raises BenchError where its file is damaged."""
        arrays = load_arrays(self._path(name), "finished window", "give the same command again")
        self.devices.add(str(arrays.pop("device")))
        return arrays

    def put(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Keep what a window gave."""
        save_arrays(self._path(name), {**arrays, "device": np.array(self.device)})

    def drop(self, stage: str) -> None:
        """Forget the windows of a stage that nothing needs any more."""
        for path in self.folder.glob(f"{stage}-*.npz"):
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


def window_name(stage: str, number: int) -> str:
    """Return the name under which a window is kept."""
    return f"{stage}-{number:06d}"


class WindowedRun(Protocol):
    """How a detector works through a scene.

    Attributes:
        total: steps in all; done: of these, how many are finished already.
    """

    total: int
    done: int

    def run(self, advance: Callable[[], None]) -> Found:
        """Do what is not finished, calling `advance` after each step; return what was found."""
        ...


def windowed(detector: Detector, reader: SceneReader, kept: FinishedWindows) -> WindowedRun:
    """Return the way in which `detector` works through a scene.

    Raises:
        BenchError: a detector that needs whole scenes, and a scene too large for that.
    """
    from bench.detection.scenes.windowed_cfar import StripRun

    if isinstance(detector, TiledDetector):
        return TileRun(detector, reader, kept)
    if isinstance(detector, Cfar):
        return StripRun(detector, reader, kept)
    return WholeRun(detector, reader, kept)


class TileRun:
    """A detector that looks at tiles."""

    stage = "tiles"

    def __init__(self, detector: TiledDetector, reader: SceneReader, kept: FinishedWindows) -> None:
        self.detector, self.reader, self.kept = detector, reader, kept
        self.fill = dark_value(detector.setup.scaling, reader.dtype)
        self.tiles = tile_grid(reader.height, reader.width, detector.setup.tiles)
        size = BLOCKS * detector.block
        self.windows = [self.tiles[start : start + size] for start in range(0, len(self.tiles), size)]
        self.total = len(self.windows)
        self.done = sum(kept.has(window_name(self.stage, number)) for number in range(self.total))

    def run(self, advance: Callable[[], None]) -> Found:
        """Look at every window that is not finished, then merge what all of them hold."""
        for number, window in enumerate(self.windows):
            name = window_name(self.stage, number)
            if not self.kept.has(name):
                self.kept.put(name, self._look(window))
                advance()
        found, skipped = [], 0
        for number in range(self.total):
            arrays = self.kept.get(window_name(self.stage, number))
            skipped += not arrays["looked"].any()
            cuts = np.cumsum(arrays["count"])[:-1]
            parts = zip(np.split(arrays["boxes"], cuts), np.split(arrays["scores"], cuts), strict=True)
            found += [Detections(boxes, scores) for boxes, scores in parts]
        merged = merge_tiles(self.tiles, found, self.reader.height, self.reader.width, self.detector.setup.merging)
        return Found(merged, self.total, skipped)

    def _look(self, tiles: Sequence[Window]) -> dict[str, np.ndarray]:
        """Return the detections of the tiles, one tile after the other in their own frames: how many each has, and
        which were looked at.
        """
        found, looked = [Detections.none()] * len(tiles), np.zeros(len(tiles), dtype=bool)
        for start in range(0, len(tiles), self.detector.block):
            shown, pixels = [], []
            for position in range(start, min(start + self.detector.block, len(tiles))):
                values, known = self.reader.read(tiles[position], self.fill)
                if (values[known] != 0).any():
                    shown.append(position)
                    pixels.append(values)
            if shown:
                for position, answer in zip(shown, self.detector.look(np.stack(pixels)), strict=True):
                    found[position] = answer
            looked[shown] = True
        return {
            "boxes": np.concatenate([each.boxes.astype(np.float64).reshape(-1, 4) for each in found]),
            "scores": np.concatenate([each.scores.astype(np.float64) for each in found]),
            "count": np.array([len(each) for each in found], dtype=np.int64),
            "looked": looked,
        }


class WholeRun:
    """A detector that takes a scene as a whole: one window."""

    def __init__(self, detector: Detector, reader: SceneReader, kept: FinishedWindows) -> None:
        if reader.height * reader.width > WHOLE_PIXELS:
            raise BenchError(
                f"{reader.path} has {reader.height} x {reader.width} px, and {type(detector).__name__} looks at whole"
                f" scenes: at most {WHOLE_PIXELS // 10**6} megapixels; detectors that look at tiles, and cfar, take any"
                " size"
            )
        self.detector, self.reader, self.kept, self.total = detector, reader, kept, 1
        self.done = int(kept.has("whole"))

    def run(self, advance: Callable[[], None]) -> Found:
        """Look at the scene."""
        if not self.done:
            fill = dark_value(self.detector.setup.scaling, self.reader.dtype)
            values, known = self.reader.read((0, 0, self.reader.height, self.reader.width), fill)
            looked = (values[known] != 0).any()
            found = self.detector.predict(values).merged if looked else Detections.none()
            self.kept.put("whole", {"boxes": found.boxes, "scores": found.scores, "looked": looked})
            advance()
        arrays = self.kept.get("whole")
        return Found(Detections(arrays["boxes"], arrays["scores"]), 1, int(not arrays["looked"]))
