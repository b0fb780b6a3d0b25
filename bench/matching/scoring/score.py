"""Predictions -> metrics, without model, images or torch.

Metric names are `<negatives>.<metric>`: negatives "uniform" or "hard"; at the threshold chosen on the validation pairs
of the same kind unless the name says `fixed` (the method's own threshold). `gallery.*` is retrieval on the protocol's
sampled gallery, equal for every method; `full.*` on the whole test part, for methods with embeddings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from bench.core.store import canonical_hash
from bench.execution.records import Record
from bench.execution.task import Scores, Settled
from bench.matching.matchers.distances import pairwise
from bench.matching.scoring.metrics import Ranks, choose_threshold, decision_metrics, pair_metrics, rank_metrics
from bench.matching.scoring.pairs import HARD, POSITIVE, UNIFORM, PairList
from bench.matching.scoring.predictions import Predictions
from bench.matching.scoring.retrieval import Retrieval, overlap_mask, retrieval_from_embeddings, retrieval_from_matrix

DECISIONS = ("accuracy", "precision", "recall", "f1")
RANKINGS = ("roc_auc", "average_precision", "fpr95")
RETRIEVALS = ("recall_at_1", "recall_at_5", "recall_at_10", "mrr")
DIRECTIONS = ("sar_to_optical", "optical_to_sar")
KEPT_GALLERY = 1000  # samples of a gallery whose distances an entry holds
# what was hashed already, by the bytes of its arrays: all rows of a block share their pairs
_KNOWN_PAIRS: dict[bytes, tuple[str, str]] = {}
_KEPT_PAIRS = 100
KINDS = {"uniform": UNIFORM, "hard": HARD}


def score_predictions(predictions: Predictions) -> Scores:
    """Return every metric of a cell; None where it is not defined (no hard negatives, no embeddings, no positive
    prediction).
    """
    metrics: dict[str, float | None] = {}
    facts: dict[str, Any] = {}
    for name, kind in KINDS.items():
        label, distance = predictions.test.select(kind)
        chosen = _threshold(*predictions.validation.select(kind)) if (predictions.test.kind == kind).any() else None
        facts[f"{name}.threshold"] = chosen
        values, kind_facts = score_pairs(name, label, distance, chosen, predictions.fixed_threshold)
        metrics |= values
        facts |= kind_facts
    places = predictions.test.place
    sampled = retrieval_from_matrix(predictions.gallery_distance, overlap_mask(places[predictions.gallery_position]))
    full = None
    sar, optical = predictions.sar_embedding, predictions.optical_embedding
    if sar is not None and optical is not None and predictions.embedding_distance is not None:
        full = retrieval_from_embeddings(
            sar, optical, partial(pairwise, predictions.embedding_distance), exclude=overlap_mask(places)
        )
    for prefix, retrieval in (("gallery", sampled), ("full", full)):
        for name in DIRECTIONS:
            metrics |= score_ranks(f"{prefix}.{name}", None if retrieval is None else getattr(retrieval, name))
    facts["gallery.size"] = len(predictions.gallery_position)
    if full is not None:
        facts["full.size"] = len(full.sar_to_optical.better)
    return Scores(metrics, facts, per_sample(predictions, sampled, full))


def _threshold(label: np.ndarray, distance: np.ndarray) -> float | None:
    """Return the threshold that is best on validation pairs; None where they do not settle one."""
    if not label.any() or label.all() or not np.isfinite(distance).any():
        return None
    return choose_threshold(label, distance)


def score_pairs(
    name: str, label: np.ndarray, distance: np.ndarray, threshold: float | None, fixed_threshold: float | None
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Return the metrics on one kind of negatives, and the facts behind them.

    Args:
        name: of the kind. label, distance: (n,) of the test pairs of this kind. threshold: chosen on validation pairs.
            fixed_threshold: the method's own.
    """
    names = [*RANKINGS, *DECISIONS, *(f"fixed.{metric}" for metric in DECISIONS)]
    metrics: dict[str, float | None] = {f"{name}.{metric}": None for metric in names}
    facts: dict[str, Any] = {f"{name}.positives": int(label.sum()), f"{name}.negatives": int((~label).sum())}
    if label.all():
        return metrics, facts
    ranked = pair_metrics(label, distance)
    metrics |= {f"{name}.{metric}": ranked[metric] for metric in RANKINGS}
    facts[f"{name}.failures"] = ranked["failures"]
    if threshold is not None:
        metrics |= {f"{name}.{key}": value for key, value in decision_metrics(label, distance, threshold).items()}
    if fixed_threshold is not None:
        fixed = decision_metrics(label, distance, fixed_threshold)
        metrics |= {f"{name}.fixed.{key}": value for key, value in fixed.items()}
        facts["fixed_threshold"] = fixed_threshold
    return metrics, facts


def score_ranks(prefix: str, ranks: Ranks | None) -> dict[str, float | None]:
    """Return the retrieval metrics of one direction, "gallery.sar_to_optical"; None without ranks."""
    values = {} if ranks is None else rank_metrics(ranks)
    return {f"{prefix}.{metric}": values.get(metric) for metric in RETRIEVALS}


def per_sample(predictions: Predictions, gallery: Retrieval, full: Retrieval | None) -> dict[str, np.ndarray]:
    """Return the compact per-sample scores that a board's entry keeps: enough to compute every metric again, and to
    resample every pair metric and the sampled gallery.

    `gallery_<direction>` (2, g) int32 holds the ranks of the gallery's queries: items strictly closer than the partner,
    and items tied; `full_<direction>` (2, n) those of the whole test part, (2, 0) without embeddings. The gallery's
    distances themselves are kept up to `KEPT_GALLERY` samples: of 6,000 they are 144 MB, and nothing is computed from
    them.
    """
    size = len(predictions.gallery_position)
    kept = {"gallery_distance": predictions.gallery_distance.astype(np.float32)} if size <= KEPT_GALLERY else {}
    test = predictions.test
    nobody = np.zeros((2, 0), dtype=np.int32)
    ranks = {f"gallery_{name}": _stacked(getattr(gallery, name)) for name in DIRECTIONS}
    ranks |= {f"full_{name}": nobody if full is None else _stacked(getattr(full, name)) for name in DIRECTIONS}
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


def _stacked(ranks: Ranks) -> np.ndarray:
    return np.stack([ranks.better, ranks.tied]).astype(np.int32)


def settled(record: Record, samples: Mapping[str, np.ndarray]) -> Settled:
    """Return the metrics of a record, and the facts behind them, by its per-sample scores.

    The thresholds are the record's: the validation pairs that they were chosen on stand in the predictions file alone.
    Entries of early releases hold no `full_<direction>`: their `full.*` is not settled.

    Raises:
        KeyError, IndexError, ValueError, TypeError: an array is missing or does not fit.
    """
    metrics: dict[str, float | None] = {}
    facts: dict[str, Any] = {"gallery.size": len(samples["gallery_position"]), **_pair_hashes(record, samples)}
    fixed = record.facts.get("fixed_threshold")
    label, kinds = samples["kind"] == POSITIVE, samples["kind"]
    for name, kind in KINDS.items():
        keep = label | (kinds == kind)
        values, kind_facts = score_pairs(
            name, label[keep], samples["distance"][keep], record.facts.get(f"{name}.threshold"), fixed
        )
        metrics |= values
        facts |= kind_facts
    for prefix in ("gallery", "full"):
        for name in DIRECTIONS:
            if f"{prefix}_{name}" in samples or prefix == "gallery":
                better, tied = samples[f"{prefix}_{name}"].astype(np.int64)
                metrics |= score_ranks(f"{prefix}.{name}", Ranks(better, tied, np.zeros_like(better)))
    return Settled(metrics, facts)


def _pair_hashes(record: Record, samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the facts that name the test pairs and the gallery, by their hashes; none of records that name none."""
    if "pairs_sha256" not in record.facts:
        return {}
    arrays = [samples[name] for name in ("id", "pair_sar", "pair_optical", "kind", "gallery_position")]
    mark = hashlib.sha256()
    for array in arrays:
        mark.update(f"{array.dtype}{array.shape}".encode())
        mark.update(np.ascontiguousarray(array).tobytes())
    if mark.digest() not in _KNOWN_PAIRS:
        if len(_KNOWN_PAIRS) >= _KEPT_PAIRS:
            _KNOWN_PAIRS.clear()
        ids, gallery = arrays[0].tolist(), arrays[4].tolist()
        pairs = PairList(arrays[1], arrays[2], arrays[3] == POSITIVE, arrays[3], {})
        _KNOWN_PAIRS[mark.digest()] = (pairs.sha256(ids), canonical_hash([ids[i] for i in gallery]))
    pairs_sha256, gallery_sha256 = _KNOWN_PAIRS[mark.digest()]
    return {
        "pairs_sha256": {**record.facts["pairs_sha256"], "test": pairs_sha256},
        "gallery_sha256": gallery_sha256 if len(arrays[4]) else None,  # a submission may leave the gallery out
    }
