"""Retrieval ranks in both directions, in blocks: 20,000 x 20,000 distances never exist at once.

Owns how the rank of the true partner is counted; recall@k and MRR of those ranks are in `metrics.py`. Query i of one
view has its true partner at position i of the other. Ties are kept as counts (`Ranks.tied`) and broken at random in
expectation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.errors import BenchError
from bench.data.places import TOUCH_M
from bench.matching.scoring.metrics import Ranks

Place = tuple[float, float, float, float]
Pairwise = Callable[[np.ndarray, np.ndarray], np.ndarray]
TileOf = Callable[[slice, slice], np.ndarray]


@dataclass(frozen=True)
class Retrieval:
    """Ranks of both directions: SAR queries in an optical gallery, and optical queries in a SAR gallery."""

    sar_to_optical: Ranks
    optical_to_sar: Ranks


def place_array(places: Sequence[Place | None] | np.ndarray | None) -> np.ndarray | None:
    """Return places as float64 (n, 4) rows x_min, y_min, x_max, y_max in metres, NaN where unknown; None where none is
    known.

    Raises:
        BenchError: an array of another shape.
    """
    if places is None:
        return None
    if isinstance(places, np.ndarray):
        out = places.astype(np.float64)
        if out.ndim != 2 or out.shape[1] != 4:
            raise BenchError(f"places have shape {places.shape}; expected (n, 4): x_min, y_min, x_max, y_max")
    else:
        out = np.array([(np.nan,) * 4 if p is None else p for p in places], dtype=np.float64).reshape(-1, 4)
    return out if np.isfinite(out).all(axis=1).any() else None


def same_place(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return whether rectangles a (..., 4) and b (..., 4) share ground, by broadcasting, as bool.

    They must share more than `TOUCH_M` along both axes, as in the leakage checks: touching edges do not count, nor do
    unknown (NaN) places.
    """
    shared_x = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    shared_y = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    out: np.ndarray = (shared_x > TOUCH_M) & (shared_y > TOUCH_M)
    return out


def overlap_mask(places: Sequence[Place | None] | np.ndarray | None) -> TileOf | None:
    """Return a callable (rows, columns) -> bool tile that marks pairs whose places intersect (partial true matches);
    None without them.
    """
    known = place_array(places)
    if known is None:
        return None
    return lambda rows, columns: same_place(known[rows, None, :], known[None, columns, :])


def retrieval_from_tiles(n: int, tile: TileOf, block: int = 1024, exclude: TileOf | None = None) -> Retrieval:
    """Return the ranks of both directions from tiles of the distance matrix (row = SAR sample, column = optical
    sample).

    Args:
        n: samples of each view.
        tile: (rows, columns) -> distances of these slices, at most (block, block). It is called for each tile once, the
            diagonal ones twice.
        block: largest side of a tile; memory is O(block^2 + n).
        exclude: (rows, columns) -> bool tile of pairs to leave out of the galleries; a true partner is never left out.

    Raises:
        BenchError: a tile of the wrong shape, or a block size below 1.
    """
    if block < 1:
        raise BenchError(f"the block size must be at least 1, not {block}")
    parts = [slice(start, min(start + block, n)) for start in range(0, n, block)]
    true = np.empty(n, dtype=np.float64)
    for part in parts:
        true[part] = np.diagonal(_tile(tile, part, part))
    counts = np.zeros((2, 3, n), dtype=np.int64)  # direction; better, tied, gallery
    for rows in parts:
        for columns in parts:
            distance = _tile(tile, rows, columns)
            keep = np.ones(distance.shape, dtype=bool)
            if exclude is not None:
                keep &= ~exclude(rows, columns)
            if rows == columns:
                np.fill_diagonal(keep, False)
            _count(distance, keep, true[rows, None], counts[0][:, rows], 1)
            _count(distance, keep, true[None, columns], counts[1][:, columns], 0)
    counts[:, 2] += 1
    failures = int(np.isinf(true).sum())
    forward, backward = (Ranks(better, tied, gallery, failures) for better, tied, gallery in counts)
    return Retrieval(forward, backward)


def retrieval_from_embeddings(
    sar: np.ndarray, optical: np.ndarray, pairwise: Pairwise, block: int = 1024, exclude: TileOf | None = None
) -> Retrieval:
    """Return the ranks of both directions from (n, d) SAR and (n, d) optical embeddings.

    `pairwise` (a matcher's own) turns (a, d) and (b, d) into (a, b) distances and is never given more than `block` rows
    of either.

    Raises:
        BenchError: the views have different numbers of embeddings.
    """
    if len(sar) != len(optical):
        raise BenchError(
            f"{len(sar)} SAR and {len(optical)} optical embeddings; retrieval needs pairs, one row of each per sample"
        )
    return retrieval_from_tiles(len(sar), lambda rows, columns: pairwise(sar[rows], optical[columns]), block, exclude)


def retrieval_from_matrix(distance: np.ndarray, exclude: TileOf | None = None) -> Retrieval:
    """Return the ranks of both directions from a whole (n, n) distance matrix, for matchers that only score pairs, on a
    sampled gallery.

    Raises:
        BenchError: the matrix is not square.
    """
    if distance.ndim != 2 or distance.shape[0] != distance.shape[1]:
        raise BenchError(f"the distance matrix has shape {distance.shape}; expected (n, n)")
    return retrieval_from_tiles(len(distance), lambda rows, columns: distance[rows, columns], exclude=exclude)


def _tile(tile: TileOf, rows: slice, columns: slice) -> np.ndarray:
    """Return one tile as float64 with failures as +inf (behind every finite distance)."""
    out = np.asarray(tile(rows, columns), dtype=np.float64)
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    if out.shape != shape:
        raise BenchError(f"pairwise distances have shape {out.shape}; expected {shape}")
    return np.where(np.isfinite(out), out, np.inf)


def _count(distance: np.ndarray, keep: np.ndarray, true: np.ndarray, counts: np.ndarray, axis: int) -> None:
    counts[0] += np.count_nonzero(keep & (distance < true), axis=axis)
    counts[1] += np.count_nonzero(keep & (distance == true), axis=axis)
    counts[2] += np.count_nonzero(keep, axis=axis)
