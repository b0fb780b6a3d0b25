"""Predictions -> metrics, without model, images or torch.

Metric names are `<negatives>.<metric>`: negatives "uniform" or "hard"; at the threshold chosen on the validation pairs
of the same kind unless the name says `fixed` (the method's own threshold). `gallery.*` is retrieval on the protocol's
sampled gallery, equal for every method; `full.*` on the whole test part, for methods with embeddings.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bench.execution.task import Scores
from bench.matching.matchers.distances import pairwise
from bench.matching.scoring.metrics import choose_threshold, decision_metrics, pair_metrics, rank_metrics
from bench.matching.scoring.pairs import HARD, UNIFORM
from bench.matching.scoring.predictions import Predictions
from bench.matching.scoring.retrieval import Retrieval, overlap_mask, retrieval_from_embeddings, retrieval_from_matrix

DECISIONS = ("accuracy", "precision", "recall", "f1")
RANKINGS = ("roc_auc", "average_precision", "fpr95")
RETRIEVALS = ("recall_at_1", "recall_at_5", "recall_at_10", "mrr")
DIRECTIONS = ("sar_to_optical", "optical_to_sar")
KEPT_GALLERY = 1000  # samples of a gallery whose distances an entry holds
KINDS = {"uniform": UNIFORM, "hard": HARD}


def score_predictions(predictions: Predictions) -> Scores:
    """Return every metric of a cell; None where it is not defined (no hard negatives, no embeddings, no positive
    prediction).
    """
    metrics: dict[str, float | None] = {}
    facts: dict[str, Any] = {}
    for name, kind in KINDS.items():
        values, kind_facts = _score_kind(predictions, name, kind)
        metrics |= values
        facts |= kind_facts
    places = predictions.test.place
    position = predictions.gallery_position
    sampled = retrieval_from_matrix(predictions.gallery_distance, overlap_mask(places[position]))
    metrics |= _retrieval("gallery", sampled)
    facts["gallery.size"] = len(position)
    sar, optical = predictions.sar_embedding, predictions.optical_embedding
    full = None
    if sar is not None and optical is not None and predictions.embedding_distance is not None:
        full = retrieval_from_embeddings(
            sar, optical, partial(pairwise, predictions.embedding_distance), exclude=overlap_mask(places)
        )
        facts["full.size"] = len(sar)
    metrics |= _retrieval("full", full)
    return Scores(metrics, facts, per_sample(predictions, sampled))


def _score_kind(predictions: Predictions, name: str, kind: int) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Return the metrics on one kind of negatives, and the facts behind them."""
    label, distance = predictions.test.select(kind)
    v_label, v_distance = predictions.validation.select(kind)
    names = [*RANKINGS, *DECISIONS, *(f"fixed.{metric}" for metric in DECISIONS)]
    metrics: dict[str, float | None] = {f"{name}.{metric}": None for metric in names}
    negatives = int((predictions.test.kind == kind).sum())
    facts: dict[str, Any] = {
        f"{name}.positives": int(label.sum()),
        f"{name}.negatives": negatives,
        f"{name}.threshold": None,
    }
    if not negatives:
        return metrics, facts
    ranked = pair_metrics(label, distance)
    metrics |= {f"{name}.{metric}": ranked[metric] for metric in RANKINGS}
    facts[f"{name}.failures"] = ranked["failures"]
    if v_label.any() and not v_label.all() and np.isfinite(v_distance).any():
        threshold = choose_threshold(v_label, v_distance)
        facts[f"{name}.threshold"] = threshold
        metrics |= {f"{name}.{key}": value for key, value in decision_metrics(label, distance, threshold).items()}
    if predictions.fixed_threshold is not None:
        fixed = decision_metrics(label, distance, predictions.fixed_threshold)
        metrics |= {f"{name}.fixed.{key}": value for key, value in fixed.items()}
        facts["fixed_threshold"] = predictions.fixed_threshold
    return metrics, facts


def _retrieval(prefix: str, retrieval: Retrieval | None) -> dict[str, float | None]:
    out: dict[str, float | None] = {}
    for direction in DIRECTIONS:
        ranks = rank_metrics(getattr(retrieval, direction)) if retrieval is not None else {}
        out |= {f"{prefix}.{direction}.{metric}": ranks.get(metric) for metric in RETRIEVALS}
    return out


def per_sample(predictions: Predictions, gallery: Retrieval) -> dict[str, np.ndarray]:
    """Return the compact per-sample scores that a board's entry keeps: enough to resample every pair metric and the
    sampled gallery.

    `gallery_<direction>` (2, g) int32 holds the ranks of the gallery's queries: items strictly closer than the partner,
    and items tied. The gallery's distances themselves are kept up to `KEPT_GALLERY` samples: of 6,000 they are 144 MB,
    and nothing is computed from them.
    """
    size = len(predictions.gallery_position)
    kept = {"gallery_distance": predictions.gallery_distance.astype(np.float32)} if size <= KEPT_GALLERY else {}
    test = predictions.test
    ranks = {
        f"gallery_{name}": np.stack([getattr(gallery, name).better, getattr(gallery, name).tied]).astype(np.int32)
        for name in DIRECTIONS
    }
    return {
        "id": test.id,
        "scene": test.scene,
        "group": test.group,
        "pair_sar": test.pair_sar.astype(np.int32),
        "pair_optical": test.pair_optical.astype(np.int32),
        "kind": test.kind,
        "distance": test.distance,
        "gallery_position": predictions.gallery_position.astype(np.int32),
        **kept,
        **ranks,
    }
