"""A detector of your own in one file: `bright-blob`, bright spots against their surroundings, with a threshold learned
from labelled ships.

Copy this file, change the marked places, and name it under `plugins:` in a config (see my_ships.yaml beside it). It is
meant to be read in two minutes and to find something, not to win: it knows no land and one size of ship.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from bench.core.registries import DETECTORS
from bench.detection.detectors.base import Detections, Detector, DetectorOptions, FitData, ScenePrediction


# 1. The options: what a user may write under `options:`. They are checked, their defaults are written into the record,
# and they
#    enter the train key. An unknown key is an error that names the nearest one, without a line of code here.
class BrightBlobOptions(DetectorOptions):
    """Options of `bright-blob`.

    Attributes:
        inner_px, outer_px: sides of the two boxes whose means are compared.
        recall: share of the training ships whose contrast the threshold lies below.
        min_px: smaller blobs are speckle.
    """

    inner_px: int = Field(default=5, ge=1)
    outer_px: int = Field(default=41, ge=3)
    recall: float = Field(default=0.9, gt=0, le=1)
    min_px: int = Field(default=12, ge=1)


# 2. The name and the one line of `bench list detectors`. In a plug-in this decorator is the whole registration.
@DETECTORS.register(
    "bright-blob", "bright spots against their surroundings (the template of docs/adding-a-detector.md)"
)
class BrightBlob(Detector[BrightBlobOptions]):
    """Boxes around connected pixels whose local mean exceeds the mean around them; the score is the highest contrast
    inside.
    """

    # 3. What the harness has to know. Raise `version` whenever the same options give other boxes: it enters the train
    # key, and
    #    without it an old result would be taken for the new code's.
    version: ClassVar[int] = 1
    Options: ClassVar[type[BaseModel]] = BrightBlobOptions
    trains: ClassVar[bool] = True  # `_fit` looks at the training scenes
    seeded: ClassVar[bool] = False  # the seed changes nothing: run once, whatever seeds the suite has

    def __init__(self, options: BrightBlobOptions) -> None:
        super().__init__(options)
        self._threshold = np.inf

    # 4. Fitting, where there is something to fit: training scenes with their boxes, never a test scene. What it returns
    # is kept in the
    #    record. A detector without training leaves this out.
    def _fit(self, data: FitData) -> dict[str, Any]:
        peaks = []
        for k in range(len(data.train)):
            contrast = self._contrast(np.asarray(data.train.image(k)))
            boxes = data.train.boxes(k)[~data.train.ignore(k)]
            for x1, y1, x2, y2 in boxes:
                peaks.append(contrast[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))].max())
        self._threshold = float(np.quantile(peaks, 1 - self.options.recall))
        return {"threshold": self._threshold, "training_ships": len(peaks)}

    # 5. What was fitted, as named arrays: kept as safetensors, so that predicting again needs no fitting.
    def state(self) -> dict[str, np.ndarray]:
        return {"threshold": np.array([self._threshold])}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        self._threshold = float(state["threshold"][0])

    # 6. The work: one scene (H, W) in the native dtype of the data set, of any size. Return boxes x1, y1, x2, y2 in its
    # pixels, and
    #    scores, higher = surer. Shapes, NaN and inverted boxes are checked by the caller.
    def _predict(self, image: np.ndarray) -> ScenePrediction:
        from scipy import ndimage  # imported here, so that `bench list` and `bench plan` do without

        contrast = self._contrast(image)
        labels, count = ndimage.label(contrast > self._threshold, structure=np.ones((3, 3)))
        places = ndimage.find_objects(labels)
        number = np.arange(1, count + 1)
        sizes = np.atleast_1d(ndimage.sum_labels(np.ones_like(labels), labels, number))
        scores = np.atleast_1d(ndimage.maximum(contrast, labels, number))
        boxes = np.array([[x.start, y.start, x.stop, y.stop] for y, x in places], dtype=np.float64).reshape(-1, 4)
        kept = sizes >= self.options.min_px
        return ScenePrediction(Detections(boxes[kept], scores[kept].astype(np.float64)))

    def _contrast(self, image: np.ndarray) -> np.ndarray:
        """Return log(local mean / mean of the surroundings) for every pixel, (H, W) float64."""
        from scipy.ndimage import uniform_filter

        values = image.astype(np.float64)
        inner, outer = (
            uniform_filter(values, side, mode="nearest") for side in (self.options.inner_px, self.options.outer_px)
        )
        return np.asarray(np.log((inner + 1.0) / (outer + 1.0)))
