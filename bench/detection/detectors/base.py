"""The contract of a detector: fit on training scenes, predict on one scene; and the checks that no detector can skip.

A detector is a controller: it is built from its validated options, may be fitted, and turns one scene (H, W) in its
native dtype into boxes with scores. Public methods validate and hand over to hooks with a leading underscore; a plug-in
author writes the hooks. A detector that looks at tiles extends `bench.detection.detectors.tiled.TiledDetector` and
writes `_predict_tiles` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel

from bench.core.errors import BenchError
from bench.core.method import Method, MethodOptions, OptionsT

if TYPE_CHECKING:
    from bench.core.context import ExecutionContext
    from bench.data.scaling import SarScale, ScalingParams
    from bench.data.ships.view import SceneView
    from bench.data.windows import Window
    from bench.detection.spec import Merging, Tiles


class DetectorOptions(MethodOptions):
    """Base of every detector's options: frozen, unknown keys refused."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes (n, 4) float64 x1, y1, x2, y2 in pixels of the image or tile they belong to; scores (n,) float64, higher is
    more confident.
    """

    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, which: np.ndarray) -> Detections:
        """Return the detections at `which` (positions or mask)."""
        return Detections(self.boxes[which], self.scores[which])

    @staticmethod
    def none() -> Detections:
        """Return no detection."""
        return Detections(np.zeros((0, 4)), np.zeros(0))


@dataclass(frozen=True, eq=False)
class ScenePrediction:
    """What a detector found in one scene.

    Attributes:
        merged: in the scene's frame: what counts.
        tiles: windows (y0, x0, height, width) that it looked through; empty when it saw the scene as a whole.
        per_tile: what it found in each window, in the tile's frame, before merging.
    """

    merged: Detections
    tiles: tuple[Window, ...] = ()
    per_tile: tuple[Detections, ...] = ()


@dataclass(frozen=True)
class InitialWeights:
    """Where a detector's backbone starts from: a local file, the prefix under which the backbone stands in it (""
    for all), and whether the numbers of each tensor are permuted, by the cell's seed.
    """

    path: Path
    branch: str = ""
    permuted: bool = False


@dataclass(frozen=True)
class FitData:
    """What a detector may look at before it is tested: never a test scene.

    Attributes:
        train, validation: scenes with their boxes; `validation` may be empty.
        initial: of the backbone; None for a random start.
        extra_pixels: backbone input pixels to train beyond the method's own budget (the compute-matched control), else
            0.
    """

    train: SceneView
    validation: SceneView
    seed: int
    initial: InitialWeights | None = None
    precision: str = "fp32"
    extra_pixels: int = 0


@dataclass(frozen=True)
class Setup:
    """What a detector is given before it is fitted or loaded.

    Attributes:
        backbone: registered name, None for a detector without one.
        scaling: of SAR values to [0, 1], fitted on the training scenes.
        gsd_m: ground sample distance in metres, None where it varies or is unknown.
        sar_scale: what the native pixels are, as the data set declares it; None where nothing is declared.
    """

    backbone: str | None
    scaling: ScalingParams
    tiles: Tiles
    merging: Merging
    context: ExecutionContext
    gsd_m: float | None = None
    sar_scale: SarScale | None = None


class Detector(Method[OptionsT]):
    """Base class of every detector; see `Method` for `version`, `Options`, `trains` and `seeded`.

    Class attributes:
        backbones: registered backbones that it can be built on; empty for none.
    """

    Options: ClassVar[type[BaseModel]] = DetectorOptions
    backbones: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: OptionsT) -> None:
        super().__init__(options)
        self._setup: Setup | None = None

    @property
    def setup(self) -> Setup:
        """What `prepare` was given. Raises BenchError before that."""
        if self._setup is None:
            raise BenchError(f"{type(self).__name__} was asked to work before prepare()")
        return self._setup

    @property
    def prepared(self) -> bool:
        """Whether `prepare` was called."""
        return self._setup is not None

    def prepare(self, setup: Setup) -> None:
        """Take the backbone, scaling, tiles and context over; called once, before everything else."""
        self._setup = setup

    # -- public, checked -----------------------------------------------------------------------------------------------
    def fit(self, data: FitData) -> dict[str, Any]:
        """Fit on the training scenes; return facts for the record (epochs, samples per second, ...).

        Raises:
            BenchError: a detector that learns was given no training ship.
        """
        if self.trains and data.train.ships == 0:
            raise BenchError("the training scenes hold no ship; widen the split")
        return self._fit(data)

    def predict(self, image: np.ndarray) -> ScenePrediction:
        """Find the ships in one scene.

        Args:
            image: (H, W) in the data set's native dtype, any size from 1 x 1 on.

        Raises:
            BenchError: wrong shape; boxes or scores that are malformed, not finite or inverted.
        """
        if image.ndim != 2 or image.size == 0:
            raise BenchError(f"a scene has shape {image.shape}; expected (H, W) with at least one pixel")
        out = self._predict(image)
        for found in (out.merged, *out.per_tile):
            check_detections(found, type(self).__name__)
        return out

    # -- hooks ---------------------------------------------------------------------------------------------------------
    def _fit(self, data: FitData) -> dict[str, Any]:
        return {}

    def _predict(self, image: np.ndarray) -> ScenePrediction:
        raise NotImplementedError


def check_detections(found: Detections, who: str) -> None:
    """Raise BenchError unless `found` is well-formed: shapes agree, all finite, x1 < x2 and y1 < y2."""
    boxes, scores = found.boxes, found.scores
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes),):
        raise BenchError(f"{who} returned boxes {boxes.shape} and scores {scores.shape}; expected (n, 4) and (n,)")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise BenchError(
            f"{who} returned boxes or scores that are not finite; lower the learning rate or the precision"
        )
    if (boxes[:, 2:] <= boxes[:, :2]).any():
        raise BenchError(f"{who} returned a box without area; boxes are x1, y1, x2, y2 with x1 < x2 and y1 < y2")
