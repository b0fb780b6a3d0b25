"""Images that show the same pixels or the same place: near-duplicates, tiles that overlap, repeated passes. Knows no
split and no name.

How: (1) every image is described by fingerprints at the brightest points of its surroundings, which two images share
wherever they were cropped; a fingerprint is a grid of block means, so affine grey levels do not matter. One more
describes the image as a whole. (2) Equal hashes of fingerprints propose pairs of images; those that agree on one shift
make a candidate. (3) The candidate is judged on the pixels that both images then show, twice, by normalised
cross-correlations over blocks at the best shift of a few pixels:

    same pixels   the median over small blocks is high. Speckle decides, which no two acquisitions share; a coastline
                  or a bright ship alone cannot bring it about.
    same place    the mean over larger blocks is clearly above zero, and clearly above what it is at shifts far off:
                  another acquisition of one place, as repeated passes over a harbour.

Not found: copies that were scaled, turned or mirrored, overlaps narrower than about twice `WINDOW_PX`, images without
texture, and some repeated passes.

Measured on the 437 HRSID tiles of 800 px whose names tell 96 overlapping pairs of one acquisition: all 96 are found, 94
of them as the same pixels (the other two stem from differently processed copies); no pair across acquisitions is taken
for the same pixels. About 130 pairs
across acquisitions are found as the same place, and agree: shifts around the 250 triangles that they form add up within
6 px.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.errors import BenchError

Read = Callable[[int], np.ndarray]
Report = Callable[[int, int], None]
Candidate = tuple[int, int, int, int]

GRID = 8
BLOCK_PX = 4
WINDOW_PX = GRID * BLOCK_PX
"""Side of the square that a fingerprint describes."""

SAME_PIXELS = 0.9
"""Median correlation of small blocks from which two images count as showing the same pixels."""

SAME_PLACE, ABOVE_OTHER_SHIFTS = 0.15, 0.1
"""Mean correlation of larger blocks from which two images count as showing the same place, and by how much it must
exceed other shifts.
"""

_SIGMA_PX = 1.5  # smoothing of everything: speckle stays, JPEG noise and half pixels go
_SPACING_PX = 9  # fingerprints lie at points that are the brightest within so many pixels
_MIN_VOTES = 2  # fingerprints that must agree on one shift
_ALIKE = 0.85  # correlation of two fingerprints that match
_ALIKE_WHOLE = 0.95  # of two whole images reduced to the grid
_TABLES, _COMPONENTS = 12, 32
_ALL = 4096  # so many fingerprints are compared without hashes
_NEIGHBOURS = 4  # members of a bucket that are compared with each member
_SMALL, _LARGE, _MIN_LARGE = 16, 32, 6  # sides of blocks in px; fewer large ones than that judge no place
_SEARCH_PX, _FAR_PX, _LIMIT_PX = 2, 16, 768
_KEEP_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Overlap:
    """Two images that show the same pixels, or the same place in two acquisitions.

    Attributes:
        first, second: positions of the images, first < second.
        dy, dx: where the top-left pixel of the second image lies in the first, in pixels.
        height, width: of the shared rectangle, in pixels.
        pixels: median over small blocks of the normalised cross-correlation, at most 1.
        place: mean over larger blocks, None where the rectangle is too small for it.
    """

    first: int
    second: int
    dy: int
    dx: int
    height: int
    width: int
    pixels: float
    place: float | None

    @property
    def same_pixels(self) -> bool:
        """Whether the pixels themselves are shared, and not the place alone."""
        return self.pixels >= SAME_PIXELS


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


def find_overlaps(
    read: Read, count: int, between: Sequence[bool] | np.ndarray | None = None, progress: Report | None = None
) -> list[Overlap]:
    """Return the pairs of images that share pixels or show one place, in order of their positions.

    Args:
        read: position -> image (H, W) of any real type, all at one ground sample distance.
        count: number of images.
        between: (count,) bool; only pairs of an image with True and one with False are looked for. None for all pairs.
        progress: called with (images read, images in all).

    Raises:
        BenchError: `between` of another length; whatever `read` raises.
    """
    side = None if between is None else np.asarray(between, dtype=bool)
    if side is not None and side.shape != (count,):
        raise BenchError(f"`between` has shape {side.shape} for {count} images; give one value for each")
    images = _Smoothed(read)
    prints = fingerprints(images, count, progress)
    best: dict[tuple[int, int], Overlap] = {}
    for candidate in _candidates(prints, side):
        found = judge(candidate, images(candidate[0]), images(candidate[1]))
        if found is None:
            continue
        pair = found.first, found.second
        if pair not in best or _rank(found) > _rank(best[pair]):  # one pair may come from its parts and from its whole
            best[pair] = found
    return [best[pair] for pair in sorted(best)]


def _rank(overlap: Overlap) -> tuple[bool, int]:
    return overlap.same_pixels, overlap.height * overlap.width


def smoothed(image: np.ndarray) -> np.ndarray:
    """Return an image as float32, its bright targets compressed by the signed square root, slightly smoothed."""
    from scipy.ndimage import gaussian_filter

    values = np.asarray(image, dtype=np.float32)
    out: np.ndarray = gaussian_filter(np.sign(values) * np.sqrt(np.abs(values)), _SIGMA_PX)
    return out


class _Smoothed:
    """Smoothed images by position, the last ones kept in memory up to `_KEEP_BYTES`."""

    def __init__(self, read: Read) -> None:
        self.read = read
        self.images: OrderedDict[int, np.ndarray] = OrderedDict()
        self.bytes = 0

    def __call__(self, position: int) -> np.ndarray:
        image = self.images.pop(position, None)
        if image is None:
            image = smoothed(self.read(position))
            self.bytes += image.nbytes
        self.images[position] = image
        while self.bytes > _KEEP_BYTES and len(self.images) > 2:
            self.bytes -= self.images.popitem(last=False)[1].nbytes
        return image


# -- fingerprints ------------------------------------------------------------------------------------------------------
def fingerprints(read: Read, count: int, progress: Report | None = None) -> Prints:
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


# -- candidates --------------------------------------------------------------------------------------------------------
def _candidates(prints: Prints, side: np.ndarray | None) -> list[Candidate]:
    """Return (first, second, dy, dx) of pairs of images worth a look, in order."""
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


# -- judgement ---------------------------------------------------------------------------------------------------------
def judge(candidate: Candidate, a: np.ndarray, b: np.ndarray) -> Overlap | None:
    """Return what two smoothed images (H, W) share near the shift of a candidate (first, second, dy, dx), None where
    they do not agree.
    """
    first, second, dy, dx = candidate
    near = [(dy + y, dx + x) for y in range(-_SEARCH_PX, _SEARCH_PX + 1) for x in range(-_SEARCH_PX, _SEARCH_PX + 1)]
    scores = {
        shift: block_correlation(*shared(a, b, *shift, limit=_LIMIT_PX // 4), _SMALL, np.median) for shift in near
    }
    shift = max(near, key=lambda at: (scores[at], -abs(at[0] - dy) - abs(at[1] - dx)))
    height, width = shared(a, b, *shift)[0].shape
    pixels = block_correlation(*shared(a, b, *shift, limit=_LIMIT_PX), _SMALL, np.median)
    place = _place(a, b, *shift)
    found = Overlap(first, second, *shift, height, width, pixels, None if place is None else place[0])
    seen = place is not None and place[0] >= SAME_PLACE and place[0] - place[1] >= ABOVE_OTHER_SHIFTS
    return found if found.same_pixels or seen else None


def _place(a: np.ndarray, b: np.ndarray, dy: int, dx: int) -> tuple[float, float] | None:
    """Return the mean correlation of large blocks at a shift, and the largest at eight shifts far off; None where there
    are few blocks.
    """
    left, _ = shared(a, b, dy, dx)
    if (left.shape[0] // _LARGE) * (left.shape[1] // _LARGE) < _MIN_LARGE:
        return None
    far = [(y * _FAR_PX, x * _FAR_PX) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    here, *there = (
        block_correlation(*shared(a, b, dy + y, dx + x, limit=_LIMIT_PX), _LARGE, np.mean) for y, x in [(0, 0), *far]
    )
    return here, max(there)


def shared(a: np.ndarray, b: np.ndarray, dy: int, dx: int, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the rectangle that both images show when b's origin lies at (dy, dx) of a; with `limit`, its middle, at
    most so large.
    """
    y0, x0 = max(0, dy), max(0, dx)
    y1, x1 = min(a.shape[0], dy + b.shape[0]), min(a.shape[1], dx + b.shape[1])
    if y1 <= y0 or x1 <= x0:
        return a[:0, :0], b[:0, :0]
    if limit is not None:
        (y0, y1), (x0, x1) = _middle(y0, y1, limit), _middle(x0, x1, limit)
    return a[y0:y1, x0:x1], b[y0 - dy : y1 - dy, x0 - dx : x1 - dx]


def _middle(low: int, high: int, limit: int) -> tuple[int, int]:
    cut = max(0, high - low - limit)
    return low + cut // 2, high - (cut - cut // 2)


def block_correlation(
    a: np.ndarray, b: np.ndarray, side: int, summary: Callable[[np.ndarray], np.floating] = np.mean
) -> float:
    """Return the mean (or median) over blocks of `side` px of the normalised cross-correlation of two images (H, W), in
    [-1, 1].

    Images smaller than a block are one block. -1 where no block has texture, or the images have fewer than 4 px a side.
    """
    height, width = (min(length, side) for length in a.shape)
    if height < 4 or width < 4:
        return -1.0
    rows, columns = a.shape[0] // height, a.shape[1] // width
    blocks = []
    for image in (a, b):
        cut = image[: rows * height, : columns * width].reshape(rows, height, columns, width)
        flat = cut.transpose(0, 2, 1, 3).reshape(rows * columns, height * width)
        blocks.append(flat - flat.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32))
    left, right = blocks
    power = np.sqrt(
        np.einsum("np,np->n", left, left, dtype=np.float64) * np.einsum("np,np->n", right, right, dtype=np.float64)
    )
    textured = power > 1e-6
    if not textured.any():
        return -1.0
    return float(summary(np.einsum("np,np->n", left, right, dtype=np.float64)[textured] / power[textured]))
