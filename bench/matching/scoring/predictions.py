"""The predictions file of a matching cell: every pair's distance with what identifies it, and the embeddings where
there are any.

One compressed .npz without pickles. It holds all that scoring needs, so a metric can be recomputed without the model,
and another tool can enter a board with such a file alone. Arrays, for each part P of validation and test (n samples, p
pairs):

    P.id, P.scene, P.group   (n,) text; scene is "" where unknown
    P.place                  (n, 4) float64 ground rectangle in metres, NaN where unknown
    P.pair_sar, P.pair_optical  (p,) int64 positions in the part
    P.label (p,) bool, P.kind (p,) uint8: 0 pair, 1 uniform negative, 2 hard negative
    P.distance               (p,) float32, smaller = more alike
    test.sar_embedding, test.optical_embedding  (n, d) float32, with `embedding_distance`, its name
    gallery.position (g,) int64 in test; gallery.distance (g, g) float32, rows SAR, columns optical
    fixed_threshold          () float64, NaN for none
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.core.arrays import load_arrays
from bench.core.errors import BenchError, nearest
from bench.core.store import save_arrays
from bench.matching.matchers.distances import PAIRWISE
from bench.matching.scoring.pairs import POSITIVE

# array -> kinds of NumPy's data types that it may have, number of dimensions
_TYPES = {
    **dict.fromkeys(("id", "scene", "group"), ("U", 1)),
    **dict.fromkeys(("pair_sar", "pair_optical", "kind", "gallery.position"), ("iu", 1)),
    **dict.fromkeys(("place", "gallery.distance", "sar_embedding", "optical_embedding"), ("f", 2)),
    "label": ("b", 1),
    "distance": ("f", 1),
    "fixed_threshold": ("f", 0),
    "embedding_distance": ("U", 0),
}


@dataclass(frozen=True)
class PartPredictions:
    """Samples, pairs and distances of one part; shapes as in the module's docstring."""

    id: np.ndarray
    scene: np.ndarray
    group: np.ndarray
    place: np.ndarray
    pair_sar: np.ndarray
    pair_optical: np.ndarray
    label: np.ndarray
    kind: np.ndarray
    distance: np.ndarray

    def select(self, kind: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (label, distance) of the true pairs and of the negatives of one kind."""
        keep = (self.kind == POSITIVE) | (self.kind == kind)
        return self.label[keep], self.distance[keep]


@dataclass(frozen=True)
class Predictions:
    """All that a cell predicted."""

    validation: PartPredictions
    test: PartPredictions
    sar_embedding: np.ndarray | None
    optical_embedding: np.ndarray | None
    embedding_distance: str | None
    gallery_position: np.ndarray
    gallery_distance: np.ndarray
    fixed_threshold: float | None


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write the file atomically; equal predictions give equal bytes."""
    arrays: dict[str, np.ndarray] = {}
    for name in ("validation", "test"):
        part: PartPredictions = getattr(predictions, name)
        arrays |= {f"{name}.{key}": value for key, value in vars(part).items()}
    if predictions.sar_embedding is not None and predictions.optical_embedding is not None:
        arrays["test.sar_embedding"] = predictions.sar_embedding
        arrays["test.optical_embedding"] = predictions.optical_embedding
        arrays["embedding_distance"] = np.array(predictions.embedding_distance)
    arrays["gallery.position"] = predictions.gallery_position
    arrays["gallery.distance"] = predictions.gallery_distance
    arrays["fixed_threshold"] = np.array(np.nan if predictions.fixed_threshold is None else predictions.fixed_threshold)
    save_arrays(path, arrays)


def load_predictions(path: Path) -> Predictions:
    """Read and check a predictions file.

    Raises:
        BenchError: missing, damaged, an array missing, shapes that do not fit, or a pair that points outside its part.
    """
    try:
        arrays = load_arrays(path, "predictions file")
    except FileNotFoundError as error:
        raise BenchError(f"{path} does not exist; run the cell first") from error
    try:
        _check_types(arrays, path)
        parts = {name: _part(arrays, name, path) for name in ("validation", "test")}
        _check_test(arrays, len(parts["test"].id), path)
        threshold = float(arrays["fixed_threshold"])
        return Predictions(
            parts["validation"],
            parts["test"],
            arrays.get("test.sar_embedding"),
            arrays.get("test.optical_embedding"),
            str(arrays["embedding_distance"]) if "embedding_distance" in arrays else None,
            arrays["gallery.position"],
            arrays["gallery.distance"],
            None if np.isnan(threshold) else threshold,
        )
    except KeyError as error:
        raise BenchError(f"{path}: array {error} is missing; it is no predictions file of the matching task") from error


def _check_types(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raise BenchError unless every array has its type and number of dimensions (an empty one may have any type)."""
    for name, array in arrays.items():
        kinds, ndim = _TYPES.get(name.removeprefix("validation.").removeprefix("test."), (array.dtype.kind, array.ndim))
        if array.ndim != ndim or array.size and array.dtype.kind not in kinds:
            raise BenchError(
                f"{path}: array {name} is {array.ndim}-dimensional of {array.dtype}; expected {ndim} of kind {kinds!r}"
            )


def _check_test(arrays: dict[str, np.ndarray], n: int, path: Path) -> None:
    """Raise BenchError unless the gallery and the embeddings fit the `n` samples of the test part."""
    if "embedding_distance" in arrays and str(arrays["embedding_distance"]) not in PAIRWISE:
        name = str(arrays["embedding_distance"])
        raise BenchError(f"{path}: unknown embedding distance {name!r}{nearest(name, PAIRWISE)}")
    position, matrix = arrays["gallery.position"], arrays["gallery.distance"]
    if matrix.shape != (len(position), len(position)):
        raise BenchError(f"{path}: the gallery has {len(position)} samples but distances of shape {matrix.shape}")
    if len(position) and not (position.min() >= 0 and position.max() < n):
        raise BenchError(f"{path}: a gallery position lies outside the {n} test samples")
    for view in ("sar", "optical"):
        embedding = arrays.get(f"test.{view}_embedding")
        if embedding is not None and (embedding.ndim != 2 or len(embedding) != n):
            raise BenchError(f"{path}: {view} embeddings of shape {embedding.shape} for {n} test samples")


def _part(arrays: dict[str, np.ndarray], name: str, path: Path) -> PartPredictions:
    part = PartPredictions(**{key: arrays[f"{name}.{key}"] for key in PartPredictions.__dataclass_fields__})
    n, pairs = len(part.id), len(part.distance)
    if not all(len(getattr(part, key)) == n for key in ("scene", "group", "place")):
        raise BenchError(f"{path}: the {name} part has {n} ids but another number of scenes, groups or places")
    if not all(len(getattr(part, key)) == pairs for key in ("pair_sar", "pair_optical", "label", "kind")):
        raise BenchError(f"{path}: the {name} part has {pairs} distances but another number of pairs")
    if pairs and not all(index.min() >= 0 and index.max() < n for index in (part.pair_sar, part.pair_optical)):
        raise BenchError(f"{path}: a {name} pair points outside its {n} samples")
    return part
