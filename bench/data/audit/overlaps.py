"""Which patches of a set show the same ground, and how they lie to each other, found in the SAR pixels alone.

Equal blocks (`codes.py`) propose an offset of one patch to another; the whole rectangle that the two then share is
compared before it counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.errors import BenchError
from bench.core.progress import OnStage
from bench.data.audit.codes import Codes, Mode, changes, collect
from bench.data.audit.spool import Spool

MIN_CHANGES = 100
"""A shared rectangle with fewer differences between neighbouring pixels than this proves nothing: sea, blank, a few
saturated spots.
"""

MIN_CORRELATION = (0.9, 0.5)
"""Least rank correlations (of pixels, and of differences) of the two views of a rectangle in mode "order"; see
`rank_correlation`.
"""

_PARTNERS = 32
_CROWD = 1024
_CHUNK = 1_000_000


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pairs of patches that share ground, sorted by (a, b), each pair once, a < b.

    Attributes:
        a, b: int32 (e,), positions of the patches.
        dy, dx: int32 (e,), position of b minus that of a in pixels, y down.
        exact: bool (e,), whether the shared rectangle is equal bit by bit; otherwise the order of its pixels agrees.
        shape: (height, width) of every patch.
        bits: see `Codes`.
    """

    a: np.ndarray
    b: np.ndarray
    dy: np.ndarray
    dx: np.ndarray
    exact: np.ndarray
    shape: tuple[int, int]
    bits: int

    def __len__(self) -> int:
        return len(self.a)

    @property
    def area(self) -> np.ndarray:
        """Shared pixels of each pair, int64 (e,)."""
        height, width = self.shape
        area: np.ndarray = (height - np.abs(self.dy.astype(np.int64))) * (width - np.abs(self.dx.astype(np.int64)))
        return area

    def touched(self, patches: int) -> np.ndarray:
        """Return which of `patches` patches share ground with any other, bool."""
        out = np.zeros(patches, dtype=bool)
        out[self.a] = out[self.b] = True
        return out

    def with_pairs(self, rows: np.ndarray) -> Overlaps:
        """Return these pairs and further ones, rows a, b, dy, dx, exact of an int64 (k, 5)."""
        own = np.stack([self.a, self.b, self.dy, self.dx, self.exact], axis=1).astype(np.int64)
        table = np.concatenate([own, rows.reshape(-1, 5)])
        table = table[np.lexsort([table[:, 1], table[:, 0]])].astype(np.int32)
        return Overlaps(
            table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4].astype(bool), self.shape, self.bits
        )


def find_overlaps(spool: Spool, modes: Sequence[Mode], report: OnStage | None = None) -> Overlaps:
    """Return all pairs of patches whose pixels agree at some offset in one of the `modes`, looked for in that order;
    one offset a pair.

    Raises:
        BenchError: patches too small, or too many.
    """
    known: set[tuple[int, int]] = set()
    found: list[list[int]] = []
    bits = 0
    for mode in modes:
        codes = collect(spool, mode, report)
        bits = codes.bits
        proposals = propose(codes, len(spool), spool.shape, least=1 if mode == "exact" else 2)
        del codes
        for done, (a, b, dy, dx) in enumerate(proposals.tolist(), start=1):
            if (a, b) not in known and (exact := agree(spool, a, b, dy, dx, mode)) is not None:
                known.add((a, b))
                found.append([a, b, dy, dx, int(exact)])
            if report is not None:
                report(f"compare whole overlaps ({mode})", done, len(proposals))
    nothing = np.zeros(0, dtype=np.int32)
    empty = Overlaps(nothing, nothing, nothing, nothing, nothing.astype(bool), spool.shape, bits)
    return empty.with_pairs(np.array(found, dtype=np.int64))


def propose(codes: Codes, patches: int, shape: tuple[int, int], least: int) -> np.ndarray:
    """Return offsets at which patches have equal blocks, int64 (c, 4) rows a, b, dy, dx, by (a, b) and then the most
    blocks first.

    A block that occurs more than `_CROWD` times is compared with its neighbour in the order of patches only.

    Args:
        least: equal blocks that an offset needs.

    Raises:
        BenchError: more patches, or larger ones, than fit the count.
    """
    height, width = shape
    if patches * patches * 4 * height * width >= 2**63:
        raise BenchError(
            f"{patches} patches of {height} x {width} px are too many to compare in one audit; audit parts of the set"
        )
    order = np.argsort(codes.code, kind="stable")
    code, patch = codes.code[order], codes.patch[order].astype(np.int64)
    y, x = codes.y[order].astype(np.int64), codes.x[order].astype(np.int64)
    keys, counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    for first, second in _equal(code):
        other = patch[first] != patch[second]
        i, j = first[other], second[other]
        key = (
            ((patch[i] * patches + patch[j]) * (2 * height) + y[i] - y[j] + height) * (2 * width) + x[i] - x[j] + width
        )
        both = np.concatenate([keys, key])
        weights = np.concatenate([counts, np.ones(len(key), dtype=np.int64)])
        keys, inverse = np.unique(both, return_inverse=True)
        counts = np.bincount(inverse, weights=weights, minlength=len(keys)).astype(np.int64)
    keys, counts = keys[counts >= least], counts[counts >= least]
    pair, offset = np.divmod(keys, 4 * height * width)
    best = np.lexsort([-counts, pair])
    pair, offset = pair[best], offset[best]
    down, right = np.divmod(offset, 2 * width)
    return np.stack([pair // patches, pair % patches, down - height, right - width], axis=1)


def agree(spool: Spool, a: int, b: int, dy: int, dx: int, mode: Mode, bland: bool = False) -> bool | None:
    """Compare two patches on the rectangle that they share where b lies at (dy, dx) of a.

    Args:
        mode: "order" accepts what "exact" accepts, too.
        bland: whether a rectangle too uniform to prove anything counts as agreeing, too.

    Returns:
        True: equal bit by bit. False: the pixels have the same order (`MIN_CORRELATION`). None: neither, or too uniform
            to decide.
    """
    left, right = shared(spool, a, b, dy, dx)
    textured = _textured(left) and _textured(right)
    if np.array_equal(left, right):
        return True if textured or bland else None
    if mode == "exact":
        return None
    if not textured:
        return False if bland else None
    alike = all(found >= least for found, least in zip(rank_correlation(left, right), MIN_CORRELATION, strict=True))
    return False if alike else None


def shared(spool: Spool, a: int, b: int, dy: int, dx: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rectangle that a and b share, as a shows it and as b shows it."""
    (ay, by), (ax, bx) = spans(spool.shape[0], dy), spans(spool.shape[1], dx)
    return spool.rows(a, ay.start, ay.stop)[:, ax], spool.rows(b, by.start, by.stop)[:, bx]


def spans(side: int, offset: int) -> tuple[slice, slice]:
    """Return the part of a side that two patches share, in the first and in the second, which lies `offset` further."""
    low, high = max(0, offset), min(side, side + offset)
    return slice(low, high), slice(low - offset, high - offset)


def rank_correlation(left: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Return Spearman's correlation of two images of one shape (ties get their mean rank), and the correlation of the
    differences of neighbouring ranks; 0 where one is constant.

    The second is not fooled by what unrelated images may have in common, a blank part with the same border.
    """
    ranks = [_ranks(image) for image in (left, right)]
    steps = [np.concatenate([np.diff(r, axis=0).ravel(), np.diff(r, axis=1).ravel()]) for r in ranks]
    return _cosine(ranks[0].ravel(), ranks[1].ravel()), _cosine(*steps)


def _cosine(one: np.ndarray, two: np.ndarray) -> float:
    norm = float(np.sqrt(np.dot(one, one) * np.dot(two, two)))
    return float(np.dot(one, two)) / norm if norm > 0 else 0.0


def _ranks(image: np.ndarray) -> np.ndarray:
    """Return the centred mean ranks of all pixels, float64 (h, w)."""
    flat = image.ravel()
    if image.dtype == np.uint8:
        counts, inverse = np.bincount(flat, minlength=256), flat
    else:
        _, inverse, counts = np.unique(flat, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - 0.5 * counts - 0.5 * len(flat)
    ranks: np.ndarray = middle[inverse].reshape(image.shape)
    return ranks


def _textured(block: np.ndarray) -> bool:
    return bool(changes(block).sum() >= MIN_CHANGES)


def _equal(code: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield positions i < j of equal entries of the sorted `code`, each with its next `_PARTNERS` equals, in bounded
    pieces.
    """
    starts = (
        np.flatnonzero(np.concatenate([[True], code[1:] != code[:-1]])) if len(code) else np.zeros(0, dtype=np.int64)
    )
    bounds = starts[np.searchsorted(starts, np.arange(0, len(code), _CHUNK))] if len(code) else starts
    for start, stop in zip(bounds, [*bounds[1:], len(code)], strict=True):
        i = np.arange(start, stop)
        sizes = np.diff(np.append(starts[(starts >= start) & (starts < stop)], stop))
        crowded = np.repeat(sizes > _CROWD, sizes)
        for lag in range(1, _PARTNERS + 1):
            i = i[i + lag < stop]
            i = i[code[i] == code[i + lag]]
            if lag == 2:
                i = i[~crowded[i - start]]
            if not len(i):
                break
            yield i, i + lag
