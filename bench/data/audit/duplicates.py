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

Not found: copies that were scaled, turned or mirrored, overlaps narrower than about 64 px, images without texture, and
some repeated passes.

Measured on the 437 HRSID tiles of 800 px whose names state 96 overlapping pairs of one acquisition: all 96 are found,
94 of them as the same pixels (the other two stem from differently processed copies); no pair across acquisitions is
taken for the same pixels. About 130 pairs across acquisitions are found as the same place, and agree: shifts around the
250 triangles that they form add up within 6 px.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.errors import BenchError
from bench.core.progress import OnCount
from bench.data.audit.fingerprints import Candidate, Read, candidates, fingerprints

SAME_PIXELS = 0.9
"""Median correlation of small blocks from which two images count as showing the same pixels."""

SAME_PLACE, ABOVE_OTHER_SHIFTS = 0.15, 0.1
"""Mean correlation of larger blocks from which two images count as showing the same place, and by how much it must
exceed other shifts.
"""

_SIGMA_PX = 1.5  # smoothing of everything: speckle stays, JPEG noise and half pixels go
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


def find_overlaps(
    read: Read, count: int, between: Sequence[bool] | np.ndarray | None = None, progress: OnCount | None = None
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
    for candidate in candidates(prints, side):
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
