"""What the known predictions of the matching task are made of (`selftest.py`, `known_orders.py`): tables of expected
numbers by closed forms, and distances dealt out by kind.

With n positives and m negatives, p = n / (n + m) is what a constant answer gets. H_k is the k-th harmonic number,
1 + 1/2 + ... + 1/k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.execution.known_answers import Expected, Known
from bench.execution.records import PREDICTIONS
from bench.execution.task import Scores
from bench.matching.scoring.pairs import HARD, POSITIVE, UNIFORM
from bench.matching.scoring.predictions import PartPredictions, Predictions, save_predictions
from bench.matching.scoring.score import DIRECTIONS, score_predictions

N, M, G = 400, 100, 50  # samples tested, samples of the validation part, samples in the gallery
FIXED = 2.0 * (M - 1)  # the fixed threshold, above all distances
NEGATIVES = {"uniform": N, "hard": N // 2}
KS = (1, 5, 10)
Table = dict[str, Expected]


def for_both_kinds(table: Callable[[int], Table]) -> Table:
    """Return a table for either kind of negatives; `table` takes their number."""
    return {f"{kind}.{metric}": expected for kind, m in NEGATIVES.items() for metric, expected in table(m).items()}


def ranking(auc: float, ap: float, fpr95: float, why: Sequence[str], within: float = 1e-12) -> Table:
    """Return ROC-AUC, average precision and FPR95, in this order, each with its reason."""
    values = zip(("roc_auc", "average_precision", "fpr95"), (auc, ap, fpr95), why, strict=True)
    return {metric: Expected(value, text, within) for metric, value, text in values}


def decisions(tp: int, fp: int, m: int, why: str, prefix: str = "") -> Table:
    """Return accuracy, precision, recall and F1 when tp of N positives and fp of m negatives are called a match."""
    values = {
        "accuracy": (tp + m - fp) / (N + m),
        "precision": tp / (tp + fp) if tp + fp else None,
        "recall": tp / N,
        "f1": 2 * tp / (tp + fp + N),
    }
    return {
        f"{prefix}{metric}": Expected(value, f"{why}: tp {tp} of {N}, fp {fp} of {m}")
        for metric, value in values.items()
    }


def ranks(prefix: str, recall: Sequence[float], mrr: float, why: str, directions: Sequence[str] = DIRECTIONS) -> Table:
    """Return recall at 1, 5 and 10 and the MRR of `gallery` or `full`."""
    values = {f"recall_at_{k}": value for k, value in zip(KS, recall, strict=True)} | {"mrr": mrr}
    return {
        f"{prefix}.{direction}.{metric}": Expected(value, why)
        for direction in directions
        for metric, value in values.items()
    }


def harmonic(k: int) -> float:
    """Return H_k = 1 + 1/2 + ... + 1/k."""
    return math.fsum(1 / i for i in range(1, k + 1))


def chance_ranks(prefix: str, size: int, why: str, directions: Sequence[str] = DIRECTIONS) -> Table:
    """Return retrieval when every item of a gallery is equally far: recall@k = k / size, MRR = H_size / size."""
    return ranks(
        prefix, [k / size for k in KS], harmonic(size) / size, f"{why}: k / {size}, H_{size} / {size}", directions
    )


def perfect_ranks(prefix: str) -> Table:
    """Return retrieval when every partner is nearest."""
    return ranks(prefix, [1.0, 1.0, 1.0], 1.0, "every partner is nearest")


# -- predictions -------------------------------------------------------------------------------------------------------
Values = np.ndarray | float


@dataclass(frozen=True)
class Distances:
    """Distances (n,), (n,), (n / 2,) of positives, uniform and hard negatives; a number stands for all of a kind, None
    for no such pair.
    """

    positive: Values
    uniform: Values
    hard: Values | None

    def part(self, n: int) -> PartPredictions:
        """Return them as a part of n samples in groups of ten; the negative of i is i + n / 2 (uniform) or i + 1 (hard,
        i even).
        """
        at, half = np.arange(n), np.arange(0, n, 2)
        kinds = [(POSITIVE, at, at, self.positive), (UNIFORM, at, (at + n // 2) % n, self.uniform)]
        kinds += [] if self.hard is None else [(HARD, half, half + 1, self.hard)]
        kind = np.concatenate([np.full(len(sar), code, dtype=np.uint8) for code, sar, _, _ in kinds])
        group = np.array([f"g{i // 10}" for i in at], dtype=str)
        return PartPredictions(
            id=np.array([f"s{i}" for i in at], dtype=str),
            scene=group,
            group=group,
            place=np.full((n, 4), np.nan),
            pair_sar=np.concatenate([sar for _, sar, _, _ in kinds]),
            pair_optical=np.concatenate([optical for _, _, optical, _ in kinds]),
            label=kind == POSITIVE,
            kind=kind,
            distance=np.concatenate(
                [np.broadcast_to(np.asarray(values, np.float32), sar.shape) for _, sar, _, values in kinds]
            ),
        )


def known(
    name: str,
    about: str,
    expected: Table,
    test: Distances,
    validation: Distances | None = None,
    gallery: np.ndarray | None = None,
    embeddings: tuple[np.ndarray, np.ndarray] | None = None,
    distance: str = "rms",
) -> Known:
    """Return a known prediction; validation is like the test, the gallery and the embeddings are right, unless they are
    given.
    """
    sar, optical = embeddings or (np.eye(N), np.eye(N))
    return scored(
        name,
        about,
        expected,
        Predictions(
            validation=(validation or test).part(M),
            test=test.part(N),
            sar_embedding=sar.astype(np.float32),
            optical_embedding=optical.astype(np.float32),
            embedding_distance=distance,
            gallery_position=np.arange(0, N, N // G),
            gallery_distance=np.asarray(1 - np.eye(G) if gallery is None else gallery, dtype=np.float32),
            fixed_threshold=FIXED,
        ),
    )


def scored(name: str, about: str, expected: Table, predictions: Predictions) -> Known:
    """Return a case that is scored in memory and through the file."""

    def write(folder: Path) -> None:
        save_predictions(folder / PREDICTIONS, predictions)

    def score() -> Scores:
        return score_predictions(predictions)

    return Known(name, about, expected, write, score)
