"""The predictions file of a detection cell: truth and detections of every scene and tile. It holds all that scoring
needs: no data set, no image, no model. Another tool can enter a board with such a file alone.

One compressed .npz without pickles, full precision. Boxes are x1, y1, x2, y2 in pixels, float64. Arrays, for each part
P of validation and test (s scenes, w tiles; a part may be empty, and a detector that saw scenes whole has no tiles):

    P.id, P.image, P.group, P.stratum  (s,) text
                             name; image file relative to the set's root; leakage group (its own id where unknown);
                             value of the protocol's strata column, "" for none
    P.image_id, P.height, P.width  (s,) int64
    P.scene.truth_offset (s + 1,) int64, P.scene.truth_box (k, 4), P.scene.truth_ignore (k,) bool
                             ships of scene i stand at truth_offset[i]:truth_offset[i + 1]; ignored ones count neither
                             for nor against
    P.scene.offset (s + 1,) int64, P.scene.box (n, 4), P.scene.score (n,) float64
                             detections after merging, in the scene's frame
    P.tile_scene (w,) int64, P.tile_window (w, 4) int64   whose tile; y0, x0, height, width
    P.tile.*                 the same six arrays for tiles: boxes in the tile's frame, truth by the rule for cut ships
    min_visible              () float64: the share of a cut ship's area that made it count in a tile, NaN where there
                             are no tiles
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.core.arrays import load_arrays
from bench.core.errors import BenchError
from bench.core.store import save_arrays
from bench.data.ships.index import ShipScene
from bench.detection.detectors.base import Detections, ScenePrediction
from bench.detection.scoring.evaluator import BoxTable

PARTS = ("validation", "test")
TileTruth = Sequence[tuple[np.ndarray, np.ndarray]]  # of each tile: boxes (k, 4) in its frame, ignore (k,)

_TEXTS = ("id", "image", "group", "stratum")
_NUMBERS = ("image_id", "height", "width")
_TABLE = tuple(BoxTable.__dataclass_fields__)
# array -> kinds of NumPy's data types that it may have, number of dimensions
_TYPES = {
    **dict.fromkeys(_TEXTS, ("U", 1)),
    **dict.fromkeys((*_NUMBERS, "tile_scene", "truth_offset", "offset"), ("iu", 1)),
    **dict.fromkeys(("truth_box", "box"), ("f", 2)),
    "tile_window": ("iu", 2),
    "truth_ignore": ("b", 1),
    "score": ("f", 1),
    "min_visible": ("f", 0),
}


@dataclass(frozen=True, eq=False)
class PartPredictions:
    """Scenes of one part with their truth and detections; shapes as in the module's docstring."""

    id: np.ndarray
    image: np.ndarray
    group: np.ndarray
    stratum: np.ndarray
    image_id: np.ndarray
    height: np.ndarray
    width: np.ndarray
    scene: BoxTable
    tile_scene: np.ndarray
    tile_window: np.ndarray
    tile: BoxTable

    def __len__(self) -> int:
        return len(self.id)

    def scenes(self) -> tuple[ShipScene, ...]:
        """Return the scenes as an index holds them, with the stratum as attribute "stratum"."""
        out = []
        for i in range(len(self)):
            boxes, ignore = self.scene.truth_of(i)
            size = int(self.height[i]), int(self.width[i])
            where = str(self.id[i]), str(self.image[i]), int(self.image_id[i])
            out.append(ShipScene(*where, *size, boxes, ignore, str(self.group[i]), {"stratum": str(self.stratum[i])}))
        return tuple(out)


@dataclass(frozen=True, eq=False)
class DetectionPredictions:
    """All that a cell predicted; `min_visible` is None without tiles."""

    validation: PartPredictions
    test: PartPredictions
    min_visible: float | None = None


def build_part(
    scenes: Sequence[ShipScene],
    predicted: Sequence[ScenePrediction],
    strata: Sequence[str] | None = None,
    tile_truth: Sequence[TileTruth] | None = None,
) -> PartPredictions:
    """Return the predictions of one part.

    Args:
        predicted: of each scene. strata: of each scene, "" for none; None for none at all.
        tile_truth: of each scene, the truth of each of its tiles by the rule for cut ships; None where no scene has
            tiles.

    Raises:
        BenchError: numbers of scenes, tiles or boxes that do not fit, or boxes or scores that are not finite.
    """
    strata = [""] * len(scenes) if strata is None else strata
    tile_truth = [()] * len(scenes) if tile_truth is None else tile_truth
    if not len(scenes) == len(predicted) == len(strata) == len(tile_truth):
        lengths = (
            f"{len(scenes)} scenes, {len(predicted)} predictions, {len(strata)} strata, tile truth of {len(tile_truth)}"
        )
        raise BenchError(f"predictions do not fit together: {lengths}")
    for scene, prediction, truth in zip(scenes, predicted, tile_truth, strict=True):
        if not len(prediction.tiles) == len(prediction.per_tile) == len(truth):
            counts = (
                f"{len(prediction.tiles)} windows, {len(prediction.per_tile)} detections and {len(truth)} truths of"
                " tiles"
            )
            raise BenchError(f"scene {scene.id} has {counts}; they must be as many")
    windows = [window for prediction in predicted for window in prediction.tiles]
    part = PartPredictions(
        id=_text([scene.id for scene in scenes]),
        image=_text([scene.image for scene in scenes]),
        group=_text([scene.id if scene.scene is None else scene.scene for scene in scenes]),
        stratum=_text(strata),
        image_id=_int([scene.image_id for scene in scenes]),
        height=_int([scene.height for scene in scenes]),
        width=_int([scene.width for scene in scenes]),
        scene=BoxTable.of(
            [(scene.boxes, scene.ignore) for scene in scenes], [prediction.merged for prediction in predicted]
        ),
        tile_scene=_int([i for i, prediction in enumerate(predicted) for _ in prediction.tiles]),
        tile_window=_int(windows).reshape(-1, 4),
        tile=BoxTable.of(
            [truth for each in tile_truth for truth in each],
            [found for prediction in predicted for found in prediction.per_tile],
        ),
    )
    _check_part(part, "the predictions")
    return part


def whole_scenes(found: Sequence[Detections]) -> list[ScenePrediction]:
    """Return detections in scenes, of a detector or tool without tiles, as predictions."""
    return [ScenePrediction(each) for each in found]


def save_predictions(path: Path, predictions: DetectionPredictions) -> None:
    """Write the file atomically; equal predictions give equal bytes."""
    arrays: dict[str, np.ndarray] = {}
    for name in PARTS:
        for key, value in vars(getattr(predictions, name)).items():
            flat = (
                {f".{column}": array for column, array in vars(value).items()}
                if isinstance(value, BoxTable)
                else {"": value}
            )
            arrays |= {f"{name}.{key}{column}": array for column, array in flat.items()}
    arrays["min_visible"] = np.array(
        np.nan if predictions.min_visible is None else predictions.min_visible, dtype=np.float64
    )
    save_arrays(path, arrays)


def load_predictions(path: Path) -> DetectionPredictions:
    """Read and check a predictions file.

    Raises:
        BenchError: missing, damaged, an array missing, shapes that do not fit, or boxes or scores that no detector
            could have given.
    """
    try:
        arrays = load_arrays(path, "predictions file")
    except FileNotFoundError as error:
        raise BenchError(f"{path} does not exist; run the cell first") from error
    try:
        _check_types(arrays, path)
        validation, test = (_part(arrays, name, path) for name in PARTS)
        visible = float(arrays["min_visible"])
    except KeyError as error:
        raise BenchError(
            f"{path}: array {error} is missing; it is no predictions file of the detection task"
        ) from error
    return DetectionPredictions(validation, test, None if np.isnan(visible) else visible)


def _check_types(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raise BenchError unless every array has its type and number of dimensions (an empty one may have any type)."""
    for name, array in arrays.items():
        kinds, ndim = _TYPES.get(name.rpartition(".")[2], (array.dtype.kind, array.ndim))
        if array.ndim != ndim or array.size and array.dtype.kind not in kinds:
            raise BenchError(
                f"{path}: array {name} is {array.ndim}-dimensional of {array.dtype}; expected {ndim} of kind {kinds!r}"
            )


def _part(arrays: dict[str, np.ndarray], name: str, path: Path) -> PartPredictions:
    def numbers(key: str) -> np.ndarray:
        return arrays[f"{name}.{key}"].astype(np.int64)

    def table(key: str) -> BoxTable:
        columns = {column: arrays[f"{name}.{key}.{column}"] for column in _TABLE}
        for column in ("truth_offset", "offset"):
            columns[column] = columns[column].astype(np.int64)
        for column in ("truth_box", "box", "score"):
            columns[column] = columns[column].astype(np.float64)
        return BoxTable(**columns | {"truth_ignore": columns["truth_ignore"].astype(bool)})

    part = PartPredictions(
        **{key: arrays[f"{name}.{key}"].astype(str) for key in _TEXTS},
        **{key: numbers(key) for key in (*_NUMBERS, "tile_scene", "tile_window")},
        scene=table("scene"),
        tile=table("tile"),
    )
    _check_part(part, f"{path}, {name}")
    return part


def _check_part(part: PartPredictions, where: str) -> None:
    """Raise BenchError unless everything counts the same scenes and tiles, and sizes, names and windows make sense."""
    n, tiles = len(part.id), len(part.tile_scene)
    part.scene.check(f"{where}.scene")
    part.tile.check(f"{where}.tile")
    if len(part.scene) != n or any(len(getattr(part, key)) != n for key in (*_TEXTS, *_NUMBERS)):
        raise BenchError(f"{where}: {n} ids, but another number of images, groups, strata, sizes or truths")
    if len(np.unique(part.id)) < n or len(np.unique(part.image_id)) < n:
        raise BenchError(f"{where}: a scene id or image id occurs twice")
    if n and not min(part.height.min(), part.width.min()) > 0:
        raise BenchError(f"{where}: a scene has no pixels")
    if len(part.tile) != tiles or part.tile_window.shape != (tiles, 4):
        raise BenchError(
            f"{where}: {tiles} tiles, but {len(part.tile)} truths and windows of shape {part.tile_window.shape}"
        )
    if tiles and not (part.tile_scene.min() >= 0 and part.tile_scene.max() < n):
        raise BenchError(f"{where}: a tile points outside the {n} scenes")
    if tiles and not (part.tile_window[:, :2].min() >= 0 and part.tile_window[:, 2:].min() > 0):
        raise BenchError(f"{where}: a tile's window is empty or begins outside its scene")


def _text(values: Sequence[str]) -> np.ndarray:
    return np.array(list(values), dtype=str)


def _int(values: Sequence[object]) -> np.ndarray:
    return np.array(list(values), dtype=np.int64)
