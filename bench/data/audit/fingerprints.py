"""Fingerprints of images, and the pairs of images that share some: the candidates for common pixels.

A fingerprint is a grid of block means at one of the brightest points of an image, so affine grey levels do not matter;
one more describes the image as a whole. Pairs whose fingerprints agree on one shift are candidates; `duplicates.py`
judges them on their pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.core.progress import OnCount

Read = Callable[[int], np.ndarray]
Candidate = tuple[int, int, int, int]

GRID = 8
BLOCK_PX = 4
WINDOW_PX = GRID * BLOCK_PX
"""Side of the square that a fingerprint describes."""

_SPACING_PX = 9  # fingerprints lie at points that are the brightest within so many pixels
_MIN_VOTES = 2  # fingerprints that must agree on one shift
_ALIKE = 0.85  # correlation of two fingerprints that match
_ALIKE_WHOLE = 0.95  # of two whole images reduced to the grid
_TABLES, _COMPONENTS = 12, 32
_ALL = 4096  # so many fingerprints are compared without hashes
_NEIGHBOURS = 4  # members of a bucket that are compared with each member


@dataclass(frozen=True)
class Prints:
    """The fingerprints of several images, one row each.

    Attributes:
        image: (n,) int64, which image. at: (n, 2) int64, y and x of the centre.
        code: (n, 64) float32, block means with mean 0 and norm 1.
        whole: (images, 64) float32, each image reduced to the grid; zeros for an image without texture.
    """

    image: np.ndarray
    at: np.ndarray
    code: np.ndarray
    whole: np.ndarray


def fingerprints(read: Read, count: int, progress: OnCount | None = None) -> Prints:
    """Return the fingerprints of the (smoothed) images 0 ... count - 1, each read once."""
    images, ats, codes = [], [], []
    whole = np.zeros((count, GRID * GRID), dtype=np.float32)
    for position in range(count):
        at, code, whole[position] = describe(read(position))
        images.append(np.full(len(at), position, dtype=np.int64))
        ats.append(at)
        codes.append(code)
        if progress is not None:
            progress(position + 1, count)
    if not count:
        return Prints(np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.zeros((0, GRID * GRID), np.float32), whole)
    return Prints(np.concatenate(images), np.concatenate(ats), np.concatenate(codes), whole)


def describe(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (centres (k, 2) int64 y, x; codes (k, 64) float32; whole (64,) float32) of one smoothed image (H, W)."""
    sums = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    np.cumsum(np.cumsum(image, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    at = _centres(image)
    steps = np.arange(GRID + 1) * BLOCK_PX - WINDOW_PX // 2
    rows, columns = at[:, :1] + steps, at[:, 1:] + steps
    code, textured = _unit(_block_sums(sums[rows[:, :, None], columns[:, None, :]]))
    return at[textured], code[textured], _whole(sums)


def _centres(smooth: np.ndarray) -> np.ndarray:
    """Return (k, 2) int64 y, x of the points that are strictly the brightest of their surroundings and whose window
    lies in the image.
    """
    from scipy.ndimage import maximum_filter, uniform_filter

    half = WINDOW_PX // 2
    if min(smooth.shape) < WINDOW_PX:
        return np.zeros((0, 2), dtype=np.int64)
    size = 2 * _SPACING_PX + 1
    top = (smooth == maximum_filter(smooth, size)).astype(np.float32)
    # plateaus, such as saturated roofs, have no point of their own
    alone = uniform_filter(top, size, mode="constant") * size**2 < 1.5
    chosen = (top > 0) & alone
    inside = np.zeros_like(chosen)
    inside[half : smooth.shape[0] - half + 1, half : smooth.shape[1] - half + 1] = True
    return np.argwhere(chosen & inside)


def _block_sums(corners: np.ndarray) -> np.ndarray:
    """Return the sums of the blocks between corners (k, g + 1, g + 1) of a summed-area table, as (k, g * g)."""
    blocks = np.diff(np.diff(corners, axis=1), axis=2)
    return blocks.reshape(len(blocks), blocks.shape[1] * blocks.shape[2])


def _whole(sums: np.ndarray) -> np.ndarray:
    """Return the image reduced to the grid (64,), from its summed-area table; zeros where it has no texture or is
    smaller than the grid.
    """
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    if min(height, width) < GRID:
        return np.zeros(GRID * GRID, dtype=np.float32)
    rows, columns = (np.linspace(0, side, GRID + 1).round().astype(np.int64) for side in (height, width))
    area = np.outer(np.diff(rows), np.diff(columns)).reshape(1, -1)
    code, textured = _unit(_block_sums(sums[np.ix_(rows, columns)][None]) / area)
    return code[0] if textured[0] else np.zeros_like(code[0])


def _unit(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with mean 0 and norm 1 as float32, and which rows had any texture."""
    centred = codes - codes.mean(axis=1, keepdims=True)
    norm = np.sqrt((centred**2).sum(axis=1))
    textured = norm > 1e-6 * (np.abs(codes).max(axis=1, initial=0.0) + 1e-12)
    return (centred / np.where(textured, norm, 1.0)[:, None]).astype(np.float32), textured


def candidates(prints: Prints, side: np.ndarray | None) -> list[Candidate]:
    """Return (first, second, dy, dx) of candidate pairs of images, in order."""
    a, b = _linked(prints, side)
    swap = prints.image[a] > prints.image[b]
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    shift = prints.at[a] - prints.at[b]
    rows = np.column_stack([prints.image[a], prints.image[b], shift])
    out = _voted(rows)
    out += [(first, second, 0, 0) for first, second in _alike_as_a_whole(prints.whole, side)]
    return sorted(set(out))


def _linked(prints: Prints, side: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (m,), (m,) of fingerprints of two images that match: few are compared with all others, many by
    equal hashes.
    """
    n = len(prints.code)
    if n <= _ALL:
        rows = (np.flatnonzero(prints.code[i] @ prints.code[i + 1 :].T >= _ALIKE) + i + 1 for i in range(n))
        found = [np.column_stack([np.full(len(row), i), row]) for i, row in enumerate(rows)]
    else:
        found = [_in_one_bucket(prints.code)]
    pairs = np.concatenate([np.zeros((0, 2), dtype=np.int64), *found])
    a, b = pairs[:, 0], pairs[:, 1]
    keep = prints.image[a] != prints.image[b]
    if side is not None:
        keep &= side[prints.image[a]] != side[prints.image[b]]
    a, b = a[keep], b[keep]
    alike = np.zeros(len(a), dtype=bool)
    for s in range(0, len(a), 65536):
        alike[s : s + 65536] = (
            np.einsum("nf,nf->n", prints.code[a[s : s + 65536]], prints.code[b[s : s + 65536]]) >= _ALIKE
        )
    return a[alike], b[alike]


def _in_one_bucket(code: np.ndarray) -> np.ndarray:
    """Return (m, 2) int64 distinct pairs of codes (n, 64) that share a hash in one of several tables."""
    projected = _projections(code)
    bits = int(np.ceil(np.log2(len(code)))) + 2
    pairs = []
    for table in range(_TABLES):
        hashed = _hash(projected, bits, table)
        order = np.argsort(hashed, kind="stable")
        ranked = hashed[order]
        for step in range(1, _NEIGHBOURS + 1):
            equal = np.flatnonzero(ranked[step:] == ranked[:-step])
            pairs.append(np.sort(np.column_stack([order[equal], order[equal + step]]), axis=1))
    out: np.ndarray = np.unique(np.concatenate(pairs), axis=0)
    return out


def _projections(code: np.ndarray) -> np.ndarray:
    """Return the whitened leading components (n, 32) of the codes, from the second moments of at most 50,000 of
    them.
    """
    sample = code[:: max(1, len(code) // 50_000)].astype(np.float64)
    centre = sample.mean(axis=0)
    moments = (sample - centre).T @ (sample - centre) / max(1, len(sample))
    values, vectors = np.linalg.eigh(moments)
    lead = np.argsort(values)[::-1][:_COMPONENTS]
    basis = vectors[:, lead] / np.sqrt(np.maximum(values[lead], 1e-12))
    out: np.ndarray = ((code - centre.astype(np.float32)) @ basis.astype(np.float32)).astype(np.float32)
    return out


def _hash(projected: np.ndarray, bits: int, table: int) -> np.ndarray:
    """Return (n,) int64: the signs of `bits` random directions."""
    rng = np.random.Generator(np.random.Philox(key=np.array([table, bits], dtype=np.uint64)))
    directions = rng.standard_normal((projected.shape[1], bits)).astype(np.float32)
    signs = projected @ directions > 0
    out: np.ndarray = signs @ (1 << np.arange(bits, dtype=np.int64))
    return out


def _voted(rows: np.ndarray) -> list[Candidate]:
    """Return (first, second, dy, dx) where at least `_MIN_VOTES` rows (first, second, dy, dx) of a pair agree within 2
    px.
    """
    if not len(rows):
        return []
    rows = rows[np.lexsort(rows.T[::-1])]
    starts = np.flatnonzero(np.append(True, (np.diff(rows[:, :2], axis=0) != 0).any(axis=1)))
    out = []
    for group in np.split(rows, starts[1:]):
        if len(group) < _MIN_VOTES:
            continue
        shifts, counts = np.unique(group[:, 2:], axis=0, return_counts=True)
        near = np.abs(shifts[:, None] - shifts[None]).max(axis=2) <= 2
        votes = (near * counts[None]).sum(axis=1)
        best = int(np.lexsort((counts, votes))[-1])
        if votes[best] >= _MIN_VOTES:
            out.append((int(group[0, 0]), int(group[0, 1]), int(shifts[best, 0]), int(shifts[best, 1])))
    return out


def _alike_as_a_whole(whole: np.ndarray, side: np.ndarray | None, block: int = 2048) -> list[tuple[int, int]]:
    """Return the pairs of images whose reductions to the grid correlate with at least `_ALIKE_WHOLE`."""
    out = []
    for start in range(0, len(whole), block):
        alike = whole[start : start + block] @ whole.T >= _ALIKE_WHOLE
        for row, column in np.argwhere(alike).tolist():
            first = start + row
            if first < column and (side is None or side[first] != side[column]):
                out.append((first, column))
    return out
