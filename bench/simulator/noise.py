"""Noise that is a function of place: the same pixel gets the same value whichever window asks for it.

Two kinds: smooth Gaussian fields from a hashed lattice, and white noise drawn in cells of 64 px. All arithmetic is
elementwise, so that no result depends on the shape of the window (a matrix product would, in its last bit).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from bench.data.windows import Window

CELL_PX = 64
_TAPS = range(-2, 4)
_KERNEL_SIGMA = 0.75  # of the lattice's spacing; the sixth tap weighs 0.4 % of the first
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def mix(*values: int) -> int:
    """Return a 64-bit hash of integers (splitmix64 rounds: Steele, Lea, Flood, OOPSLA 2014)."""
    state = 0
    for value in values:
        state = (state ^ (value & _MASK)) + _GOLDEN & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


def hash_grid(key: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return uint64 hashes of integer positions; `rows` and `columns` broadcast against each other."""
    with np.errstate(over="ignore"):
        state = rows.astype(np.int64).view(np.uint64) * np.uint64(0xD6E8FEB86659FD93) + np.uint64(key & _MASK)
        state = (state ^ state >> np.uint64(32)) * np.uint64(0xBF58476D1CE4E5B9)
        state = state + columns.astype(np.int64).view(np.uint64) * np.uint64(0xA24BAED4963EE407)
        state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        out: np.ndarray = state ^ state >> np.uint64(31)
    return out


def uniform_grid(key: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return float32 values in [0, 1) at integer positions."""
    out: np.ndarray = (hash_grid(key, rows, columns) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
    return out


@lru_cache(maxsize=1)
def _normal_quantiles() -> np.ndarray:
    """Return 65536 float32 quantiles of the standard normal distribution."""
    from scipy.special import ndtri

    out: np.ndarray = ndtri((np.arange(65536) + 0.5) / 65536).astype(np.float32)
    return out


@lru_cache(maxsize=64)
def _tap_weights(spacing: int) -> np.ndarray:
    """Return (taps, spacing) float32 weights whose squares add up to 1 for each position within a lattice interval."""
    at = (np.arange(spacing) + 0.5) / spacing
    weights = np.exp(-0.5 * ((at[None, :] - np.array(_TAPS)[:, None]) / _KERNEL_SIGMA) ** 2)
    out: np.ndarray = (weights / np.sqrt((weights**2).sum(axis=0))).astype(np.float32)
    return out


def gaussian_field(key: int, spacing_px: int, window: Window) -> np.ndarray:
    """Return a smooth field, standard normal at every pixel, correlated over about `spacing_px` (e-folding at 1.5
    spacings).

    Args:
        window: (y0, x0, height, width) in px; may start below zero.

    Returns:
        (height, width) float32.
    """
    y0, x0, height, width = window
    first_row, first_column = y0 // spacing_px, x0 // spacing_px
    rows = (y0 + height - 1) // spacing_px - first_row + 1
    columns = (x0 + width - 1) // spacing_px - first_column + 1
    at_y = np.arange(first_row + _TAPS[0], first_row + rows + _TAPS[-1])
    at_x = np.arange(first_column + _TAPS[0], first_column + columns + _TAPS[-1])
    lattice = _normal_quantiles()[hash_grid(key, at_y[:, None], at_x[None, :]) >> np.uint64(48)]
    weights = _tap_weights(spacing_px)
    tall = _spread(lattice.T, rows, weights)[:, y0 - first_row * spacing_px :][:, :height]
    return _spread(np.ascontiguousarray(tall.T), columns, weights)[:, x0 - first_column * spacing_px :][:, :width]


def _spread(lattice: np.ndarray, cells: int, weights: np.ndarray) -> np.ndarray:
    """Interpolate along the last axis: (n, cells + taps - 1) values on the lattice -> (n, cells * spacing).

    The longer of cells and spacing is the inner axis of the arithmetic, for speed; the sums are the same.
    """
    rows, spacing = len(lattice), weights.shape[1]
    by_cell = cells > spacing
    out = np.zeros((rows, spacing, cells) if by_cell else (rows, cells, spacing), dtype=np.float32)
    term = np.empty_like(out)
    for tap in range(len(weights)):
        values = lattice[:, tap : tap + cells]
        if by_cell:
            np.multiply(values[:, None, :], weights[tap][:, None], out=term)
        else:
            np.multiply(values[:, :, None], weights[tap], out=term)
        out += term
    if by_cell:
        out = out.transpose(0, 2, 1)
    return out.reshape(rows, cells * spacing)


def white_noise(key: int, window: Window, channels: int) -> np.ndarray:
    """Return (channels, height, width) float32 independent standard normal values, a function of (key, pixel,
    channel).
    """
    y0, x0, height, width = window
    out = np.empty((channels, height, width), dtype=np.float32)
    for row in range(y0 // CELL_PX, (y0 + height - 1) // CELL_PX + 1):
        for column in range(x0 // CELL_PX, (x0 + width - 1) // CELL_PX + 1):
            rng = np.random.Generator(np.random.SFC64(mix(key, row, column)))
            cell = rng.standard_normal((channels, CELL_PX, CELL_PX), dtype=np.float32)
            top, left = row * CELL_PX - y0, column * CELL_PX - x0
            inside = cell[:, max(0, -top) : height - top, max(0, -left) : width - left]
            out[:, max(0, top) : top + CELL_PX, max(0, left) : left + CELL_PX] = inside
    return out


def lookup(table: np.ndarray, field: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return `table` read at `field`, whose range [low, high] the table spans; values beyond it take the table's
    ends.
    """
    scale = np.float32((len(table) - 1) / (high - low))
    at = (field - np.float32(low)) * scale + np.float32(0.5)
    np.clip(at, 0, len(table) - 1, out=at)
    out: np.ndarray = table[at.astype(np.int32)]
    return out
