"""Distances between embeddings, by name, so that predictions can be scored without the model that made them.

All are "smaller = more alike". Inputs are (n, d) and (m, d) float32; outputs float32, (n, m) for `pairwise` and (n,)
for `paired`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.core.errors import BenchError, nearest


def rms(sar: np.ndarray, optical: np.ndarray) -> np.ndarray:
    """Root mean square difference, (1/sqrt(d)) ||a - b||: the distance of the bridge neural network (Xu et al., AAAI
    2019).

    In [0, 1] for embeddings in [0, 1]. Expanded as a^2 + b^2 - 2ab in float64, so that a block costs one matrix
    product.
    """
    a, b = sar.astype(np.float64), optical.astype(np.float64)
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2.0 * (a @ b.T)
    distances: np.ndarray = np.sqrt(np.maximum(squared, 0.0) / a.shape[1]).astype(np.float32)
    return distances


def cosine(sar: np.ndarray, optical: np.ndarray) -> np.ndarray:
    """One minus the cosine similarity, in [0, 2]; a zero vector is at distance 1 of everything."""
    a, b = _unit(sar), _unit(optical)
    distances: np.ndarray = (1.0 - a @ b.T).astype(np.float32)
    return distances


def sigmoid_dot(sar: np.ndarray, optical: np.ndarray) -> np.ndarray:
    """sigmoid(-a.b), in [0, 1]: one minus the match probability of a bilinear logistic model."""
    logits = sar.astype(np.float64) @ optical.astype(np.float64).T
    return (1.0 / (1.0 + np.exp(np.clip(logits, -700, 700)))).astype(np.float32)


def _unit(x: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    return x / np.where(norm > 0, norm, 1.0)


PAIRWISE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "rms": rms,
    "cosine": cosine,
    "sigmoid-dot": sigmoid_dot,
}


def pairwise(name: str, sar: np.ndarray, optical: np.ndarray) -> np.ndarray:
    """Return all distances between two sets of embeddings, (n, m) float32.

    Raises:
        BenchError: unknown distance; embeddings of unequal length.
    """
    if name not in PAIRWISE:
        raise BenchError(f"unknown embedding distance {name!r}{nearest(name, PAIRWISE)}")
    if sar.ndim != 2 or optical.ndim != 2 or sar.shape[1] != optical.shape[1]:
        raise BenchError(f"embeddings of shapes {sar.shape} and {optical.shape} cannot be compared")
    return PAIRWISE[name](sar, optical)


def matrix(name: str, sar: np.ndarray, optical: np.ndarray, block: int = 1024) -> np.ndarray:
    """Return all distances between two sets of embeddings, (n, m) float32, without an array of that size in double
    precision.

    Raises:
        BenchError: as `pairwise`.
    """
    out = np.empty((len(sar), len(optical)), dtype=np.float32)
    for row in range(0, len(sar), block):
        for column in range(0, len(optical), block):
            rows, columns = slice(row, row + block), slice(column, column + block)
            out[rows, columns] = pairwise(name, sar[rows], optical[columns])
    return out


def paired(name: str, sar: np.ndarray, optical: np.ndarray) -> np.ndarray:
    """Return the distances between equal rows, (n,) float32. Computed row by row in float64."""
    a, b = sar.astype(np.float64), optical.astype(np.float64)
    distances: np.ndarray
    if name == "rms":
        distances = np.sqrt(((a - b) ** 2).mean(1))
    elif name == "cosine":
        distances = 1.0 - (_unit(sar) * _unit(optical)).sum(1)
    elif name == "sigmoid-dot":
        distances = 1.0 / (1.0 + np.exp(np.clip((a * b).sum(1), -700, 700)))
    else:
        raise BenchError(f"unknown embedding distance {name!r}{nearest(name, PAIRWISE)}")
    return distances.astype(np.float32)
