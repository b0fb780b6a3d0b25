"""`fusion` of matching rows: the sum of their calibrated distances, from stored predictions alone.

The distance d of a member becomes the log-odds that a pair is true, a - b d with b >= 0, by logistic regression on the
*validation* pairs of all kinds (Platt 1999, "Probabilistic outputs for support vector machines"), true and other pairs
weighing the same. The log-odds of the members are added. With `weights: equal` each member's b comes from a regression
of its own; with `weights: validation` one regression over all distances gives every b at once, so that what repeats
another member counts once and what tells nothing counts for nothing (stacking with non-negative weights: Breiman 1996,
"Stacked regressions"). As in scikit-learn's `LogisticRegression`, half the squared b of standardised distances is added
to the loss: validation pairs that a member parts without a fault would otherwise give no finite b.

Stored is the weighted mean of the distances, sum(b d) / sum(b): it falls strictly where the sum of the log-odds rises,
so every rank is the same, and it stays on the members' scale. Where no member tells anything (all b are 0) all
distances are 0: chance. A pair at which a member failed (no finite distance) is a failure of the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from bench.core.errors import BenchError
from bench.core.store import read_json
from bench.execution.records import PREDICT, PREDICTIONS, predictions_left
from bench.execution.task import Job
from bench.matching.matchers.base import Matcher
from bench.matching.scoring.predictions import PartPredictions, Predictions, load_predictions, save_predictions
from bench.tasks.fusion import FusionOptions, Member, members_facts

SHARED_FACTS = ("pairs_sha256", "gallery_sha256", "pair_counts", "missing_negatives", "hard_negatives")
_DRAWN = ("id", "pair_sar", "pair_optical", "label", "kind")


class SumOptions(FusionOptions):
    """Options of a fused matching row.

    Attributes:
        method: "sum", of calibrated distances.
        weights: "validation", one regression over the distances of all members; "equal", one for each member.
    """

    method: Literal["sum"] = "sum"
    weights: Literal["validation", "equal"] = "validation"


class Fusion(Matcher[SumOptions]):
    """A row that is made of others; `fuse_rows` computes it from their predictions instead of asking for distances."""

    version = 1
    seeded = True
    Options = SumOptions


def fuse_rows(job: Job, members: Sequence[Member]) -> dict[str, Any]:
    """Write the predictions file of a fused cell; return facts for the record.

    Raises:
        BenchError: the members' predictions are of other pairs, or validation has no true or no other pair.
    """
    options = SumOptions.model_validate(job.cell.spec["method"]["options"])
    found = {member.label: load_predictions(member.predictions) for member in members}
    fused, facts = fuse(found, options)
    save_predictions(job.folder / PREDICTIONS, fused)
    drawn = read_json(members[0].folder / PREDICT)["facts"]
    return {
        **{name: drawn[name] for name in SHARED_FACTS},
        "fusion": facts,
        **members_facts(members),
        **predictions_left(job.folder),
    }


def fuse(members: Mapping[str, Predictions], options: SumOptions) -> tuple[Predictions, dict[str, Any]]:
    """Return the fused predictions, without embeddings and fixed threshold, and the calibration behind them as facts.

    Args:
        members: label -> predictions, of the same pairs and gallery.

    Raises:
        BenchError: they are of other pairs, or validation has no true or no other pair with finite distances.
    """
    (name, first), *others = members.items()
    for other, predictions in others:
        if not _same_pairs(first, predictions):
            raise BenchError(f"{name} and {other} did not score the same pairs; run both again with this version")
    validation = np.stack([each.validation.distance.astype(np.float64) for each in members.values()], axis=1)
    slopes = calibrate(validation, first.validation.label, joint=options.weights == "validation")
    total = slopes.sum()
    shares = slopes / total if total > 0 else slopes

    def mean(distances: Sequence[np.ndarray]) -> np.ndarray:
        out: np.ndarray = np.tensordot(shares, np.stack(distances).astype(np.float64), axes=1)
        return np.where(np.isfinite(out), out, np.nan).astype(np.float32)

    def part(of: str) -> PartPredictions:
        parts: list[PartPredictions] = [getattr(each, of) for each in members.values()]
        return replace(parts[0], distance=mean([each.distance for each in parts]))

    fused = Predictions(
        validation=part("validation"),
        test=part("test"),
        sar_embedding=None,
        optical_embedding=None,
        embedding_distance=None,
        gallery_position=first.gallery_position,
        gallery_distance=mean([each.gallery_distance for each in members.values()]),
        fixed_threshold=None,
    )
    facts = {
        "weights": dict(zip(members, shares.tolist(), strict=True)),
        "log_odds_per_distance": dict(zip(members, slopes.tolist(), strict=True)),
        "validation_pairs": int(np.isfinite(validation).all(axis=1).sum()),
    }
    return fused, facts


def calibrate(distance: np.ndarray, label: np.ndarray, joint: bool) -> np.ndarray:
    """Return by how much the log-odds of a true pair fall with each member's distance, (m,) float64, none negative.

    Args:
        distance: (n, m), of validation pairs; rows that are not finite are left out. label: (n,) bool, true pairs.
        joint: one regression over all members, else one for each.

    Raises:
        BenchError: no true or no other pair is left.
    """
    use = np.isfinite(distance).all(axis=1)
    distance, label = distance[use], label[use]
    if not label.any() or label.all():
        kind = "other" if label.any() else "true"
        raise BenchError(
            f"the validation part has no {kind} pair on which distances could be calibrated; widen validation"
        )
    if joint:
        return _slopes(distance, label)
    return np.concatenate([_slopes(column[:, None], label) for column in distance.T])


def _slopes(distance: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return b (m,) >= 0 of the log-odds a - b d: logistic loss with both classes of equal weight, plus half of |b|^2
    over standardised distances.
    """
    from scipy.optimize import minimize

    scale = distance.std(axis=0)
    known = scale > 1e-12 * np.maximum(np.abs(distance).max(axis=0), 1e-300)  # a constant distance tells nothing
    scale = np.where(known, scale, 1.0)
    z = np.where(known, (distance - distance.mean(axis=0)) / scale, 0.0)
    sign = np.where(label, 1.0, -1.0)
    weight = np.where(label, 0.5 / label.mean(), 0.5 / (1 - label.mean()))

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x[0] - z @ x[1:])
        slope = -weight * sign / (1.0 + np.exp(np.clip(margin, -700, 700)))  # of the loss, by the log-odds
        value = float((weight * np.logaddexp(0.0, -margin)).sum() + 0.5 * (x[1:] ** 2).sum())
        return value, np.concatenate([[slope.sum()], -(z.T @ slope) + x[1:]])

    m = distance.shape[1]
    found = minimize(
        loss,
        np.zeros(m + 1),
        jac=True,
        method="L-BFGS-B",
        bounds=[(None, None)] + [(0.0, None)] * m,
        options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000},
    )
    slopes: np.ndarray = np.asarray(found.x[1:], dtype=np.float64) / scale
    return slopes


def _same_pairs(one: Predictions, other: Predictions) -> bool:
    parts = [(one.validation, other.validation), (one.test, other.test)]
    return np.array_equal(one.gallery_position, other.gallery_position) and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for a, b in parts for name in _DRAWN
    )
