"""Codes of small blocks of pixels, and which of them are kept: how equal content is found wherever it lies in a patch.

A code is computed at every position of every patch by a rolling polynomial hash, and a position is kept if its code is
one of a fixed fraction of all codes. Whether it is kept thus depends on the content alone, so two patches that share
ground keep the same blocks of it, at any offset along both axes (winnowing: Schleimer, Wilkerson and Aiken, SIGMOD
2003, in two dimensions). Two codes:

* "exact": of the pixel values of 8 x 8 px. Equal for bit-identical content.
* "order": of which of two neighbouring pixels is brighter, over 10 x 10 px. Unchanged by any stretch of contrast that
keeps the order of
  grey levels; levels that a stretch merges change some codes and leave others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.core.errors import BenchError
from bench.core.progress import OnStage
from bench.data.audit.spool import Spool
from bench.data.decoded import read_ahead

Mode = Literal["exact", "order"]

BLOCK = 8
_APART = 3
_REACH = {"exact": BLOCK, "order": 7 + _APART}
MOST_KEPT = 20_000_000
_CHANGES = 14
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33))


@dataclass(frozen=True, eq=False)
class Codes:
    """The kept blocks of a set of patches, in the order of the patches.

    Attributes:
        code: uint64 (k,). patch: int32 (k,), where the block lies. y, x: uint16 (k,), its top-left pixel there.
        bits: one position in 2^bits is kept.
    """

    code: np.ndarray
    patch: np.ndarray
    y: np.ndarray
    x: np.ndarray
    bits: int


def block_codes(image: np.ndarray, mode: Mode) -> np.ndarray:
    """Return the code of the block whose top-left pixel is (y, x), uint64 (H - r + 1, W - r + 1) with r = 8 ("exact")
    or 10 ("order").

    Args:
        image: (H, W), uint8, uint16 or float32.
    """
    if mode == "exact":
        values, steps = _integers(image).astype(np.uint64), [1, 2, 4]
    else:
        values, steps = _comparisons(image).astype(np.uint64), [2, 4]
    for axis, multiplier in enumerate(_MULTIPLIERS):
        factor = multiplier
        for step in steps:
            near, far = (values[:, :-step], values[:, step:]) if axis == 0 else (values[:-step], values[step:])
            values = near * np.uint64(factor)
            values += far
            factor = factor * factor % 2**64
    values ^= values >> _MIX[2]
    values *= _MIX[0]
    values ^= values >> _MIX[2]
    values *= _MIX[1]
    return values


def collect(spool: Spool, mode: Mode, report: OnStage | None = None) -> Codes:
    """Return the kept blocks of all patches; those of too little texture (sea, blank, saturated) are left out.

    Raises:
        BenchError: patches smaller than two blocks, or so many or so large that offsets cannot be counted.
    """
    height, width = spool.shape
    if min(height, width) < 2 * _REACH[mode] or max(height, width) > 65_535:
        raise BenchError(
            f"patches of {height} x {width} px cannot be audited; at least {2 * _REACH[mode]} px a side are needed"
        )
    bits = sampling_bits(len(spool), spool.shape)

    def one(i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _kept(spool.rows(i), mode, bits)

    codes, counts, ys, xs = [], np.zeros(len(spool), dtype=np.int64), [], []
    for i, (code, y, x) in enumerate(read_ahead(one, range(len(spool)), each=32)):
        counts[i] = len(code)
        codes.append(code)
        ys.append(y)
        xs.append(x)
        if report is not None:
            report(f"look for equal blocks ({mode})", i + 1, len(spool))
    patch = np.repeat(np.arange(len(spool), dtype=np.int32), counts)
    return Codes(np.concatenate(codes), patch, np.concatenate(ys), np.concatenate(xs), bits)


def sampling_bits(patches: int, shape: tuple[int, int]) -> int:
    """Return b so that one position in 2^b of all patches makes at most about `MOST_KEPT` blocks; at least 4."""
    return max(4, math.ceil(math.log2(patches * shape[0] * shape[1] / MOST_KEPT)))


def least_overlap_px(bits: int, shape: tuple[int, int], mode: Mode) -> tuple[int, int]:
    """Return the width of the narrowest strip along a whole side, and of the smallest square corner, that is found in
    99 % of cases if it has texture: 4.6 kept blocks are expected there (Poisson).
    """
    wanted = -math.log(0.01) * 2**bits
    reach = _REACH[mode]
    return reach - 1 + math.ceil(wanted / (min(shape) - reach + 1)), reach - 1 + math.ceil(math.sqrt(wanted))


def changes(block: np.ndarray) -> np.ndarray:
    """Return how many neighbouring pixels differ along x and along y in blocks (..., h, w), int64 (..., 2)."""
    along_x = (block[..., :, 1:] != block[..., :, :-1]).sum(axis=(-2, -1))
    along_y = (block[..., 1:, :] != block[..., :-1, :]).sum(axis=(-2, -1))
    return np.stack([along_x, along_y], axis=-1)


def _kept(image: np.ndarray, mode: Mode, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return code, y and x of the kept blocks of one patch."""
    codes = block_codes(image, mode)
    y, x = np.nonzero(codes < np.uint64(1 << (64 - bits)))
    blocks = np.lib.stride_tricks.sliding_window_view(image, (BLOCK, BLOCK))[y, x]
    textured = (changes(blocks) >= _CHANGES).all(axis=1)
    y, x = y[textured], x[textured]
    return codes[y, x], y.astype(np.uint16), x.astype(np.uint16)


def _integers(image: np.ndarray) -> np.ndarray:
    """Return pixel values as unsigned integers that are equal exactly where the values are."""
    # -0.0 becomes 0.0
    return image if image.dtype.kind == "u" else np.ascontiguousarray(image + np.float32(0.0)).view(np.uint32)


def _comparisons(image: np.ndarray) -> np.ndarray:
    """Return for each pixel which of four others, 3 px away, are darker: uint8 (H - 3, W - 3), four bits."""
    here, right = image[:-_APART, :-_APART], image[:-_APART, _APART:]
    down, across = image[_APART:, :-_APART], image[_APART:, _APART:]
    bits: np.ndarray = (here > right).astype(np.uint8)
    bits |= (here > down).astype(np.uint8) << 1
    bits |= (here > across).astype(np.uint8) << 2
    bits |= (right > down).astype(np.uint8) << 3
    return bits
