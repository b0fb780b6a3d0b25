"""The predict stage: which pairs are scored, by embeddings or pair by pair, and what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.data.cache import PairView
from bench.execution.records import PREDICTIONS, predictions_left
from bench.execution.task import Job
from bench.matching.matchers.base import Matcher, View
from bench.matching.matchers.distances import matrix, paired
from bench.matching.scoring.pairs import PairList, view_features
from bench.matching.scoring.predictions import PartPredictions, Predictions, save_predictions
from bench.matching.scoring.sampling import SampledPairs, sample
from bench.matching.submission.submission import read_submission
from bench.tasks.data import LoadedPairs

READ_BLOCK = 256  # images in memory at once
SIDE_BLOCK = 48  # images a side whose pairs are scored together by matchers without embeddings


def predict_cell(job: Job, data: LoadedPairs, matcher: Matcher) -> dict[str, Any]:
    """Score the sampled pairs of validation and test and the sampled gallery; write the predictions file; return
    facts.
    """
    protocol = job.cell.spec["protocol"]
    sampled = sample(data.plan, protocol, lambda part: view_features(data.part(part)))
    lists, gallery = dict(sampled.pairs), sampled.gallery
    with job.context.progress.bar(
        "predict", _work(matcher, data, lists, gallery), unit="image" if matcher.embeds else "pair"
    ) as bar:
        predict = _by_embeddings if matcher.embeds else _by_pairs
        predictions = predict(matcher, data, lists, gallery, bar)
    save_predictions(job.folder / PREDICTIONS, predictions)
    return facts_of(job, sampled)


def predict_submission(job: Job, data: LoadedPairs) -> dict[str, Any]:
    """Take the distances of the sampled pairs and of the gallery from the file of another tool.

    Raises:
        BenchError: the file does not hold what was requested (`bench.matching.submission.submission`).
    """
    sampled = sample(data.plan, job.cell.spec["protocol"], lambda part: view_features(data.part(part)))
    submitted = read_submission(job.cell, data.plan, sampled)
    parts = {part: _part(data.part(part), pairs, submitted.distance[part]) for part, pairs in sampled.pairs.items()}
    predictions = Predictions(
        validation=parts["validation"],
        test=parts["test"],
        sar_embedding=submitted.sar_embedding,
        optical_embedding=submitted.optical_embedding,
        embedding_distance=submitted.embedding_distance,
        gallery_position=sampled.gallery if submitted.gallery is not None else sampled.gallery[:0],
        gallery_distance=submitted.gallery if submitted.gallery is not None else np.zeros((0, 0), dtype=np.float32),
        fixed_threshold=submitted.fixed_threshold,
    )
    save_predictions(job.folder / PREDICTIONS, predictions)
    return facts_of(job, sampled) | submitted.facts


def facts_of(job: Job, sampled: SampledPairs) -> dict[str, Any]:
    """Return what a record says of the pairs that were scored, and the hash of the predictions file."""
    return {
        "pairs_sha256": sampled.pairs_sha256,
        "gallery_sha256": sampled.gallery_sha256,
        "pair_counts": {part: pairs.counts for part, pairs in sampled.pairs.items()},
        "missing_negatives": {part: pairs.missing for part, pairs in sampled.pairs.items()},
        "hard_negatives": job.cell.spec["protocol"]["hard"],
        **predictions_left(job.folder),
    }


def _work(matcher: Matcher, data: LoadedPairs, lists: dict[str, PairList], gallery: np.ndarray) -> int:
    if matcher.embeds:
        return 2 * (len(data.validation) + len(data.test))
    return sum(len(pairs) for pairs in lists.values()) + len(gallery) ** 2


def _by_embeddings(
    matcher: Matcher, data: LoadedPairs, lists: dict[str, PairList], gallery: np.ndarray, bar: Any
) -> Predictions:
    """Embed every image once; distances follow from the embeddings alone."""
    name = matcher.embedding_distance()
    embedded = {
        part: {view: _embed_all(matcher, data.part(part), view, bar) for view in ("sar", "optical")}
        for part in ("validation", "test")
    }
    parts = {}
    for part, pairs in lists.items():
        sar, optical = embedded[part]["sar"], embedded[part]["optical"]
        parts[part] = _part(data.part(part), pairs, paired(name, sar[pairs.sar], optical[pairs.optical]))
    sar, optical = embedded["test"]["sar"], embedded["test"]["optical"]
    return Predictions(
        validation=parts["validation"],
        test=parts["test"],
        sar_embedding=sar,
        optical_embedding=optical,
        embedding_distance=name,
        gallery_position=gallery,
        gallery_distance=matrix(name, sar[gallery], optical[gallery]),
        fixed_threshold=matcher.fixed_threshold(),
    )


def _embed_all(matcher: Matcher, part: PairView, view: View, bar: Any) -> np.ndarray:
    out = []
    for block in part.blocks(view, READ_BLOCK):
        out.append(matcher.embed(view, block))
        bar.advance(len(block))
    return np.concatenate(out) if out else np.zeros((0, 1), dtype=np.float32)


def _by_pairs(
    matcher: Matcher, data: LoadedPairs, lists: dict[str, PairList], gallery: np.ndarray, bar: Any
) -> Predictions:
    """Score the sampled pairs and the gallery's matrix block by block; each block reads its images once."""
    parts = {}
    for part, pairs in lists.items():
        view = data.part(part)
        distance = np.empty(len(pairs), dtype=np.float32)
        for chosen in _blocks_of_pairs(pairs, SIDE_BLOCK):
            distance[chosen] = _score(matcher, view, pairs.sar[chosen], pairs.optical[chosen])
            bar.advance(len(chosen))
        parts[part] = _part(view, pairs, distance)
    matrix = np.empty((len(gallery), len(gallery)), dtype=np.float32)
    for rows in _ranges(len(gallery), SIDE_BLOCK):
        for columns in _ranges(len(gallery), SIDE_BLOCK):
            r, c = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
            block = _score(matcher, data.test, gallery[r], gallery[c])
            matrix[np.ix_(rows, columns)] = block.reshape(len(rows), len(columns))
            bar.advance(len(r))
    return Predictions(
        validation=parts["validation"],
        test=parts["test"],
        sar_embedding=None,
        optical_embedding=None,
        embedding_distance=None,
        gallery_position=gallery,
        gallery_distance=matrix,
        fixed_threshold=matcher.fixed_threshold(),
    )


def _score(matcher: Matcher, view: PairView, sar: np.ndarray, optical: np.ndarray) -> np.ndarray:
    """Return the distances of pairs of positions, every image read and described once."""
    sar_used, sar_at = np.unique(sar, return_inverse=True)
    optical_used, optical_at = np.unique(optical, return_inverse=True)
    return matcher.score_pairs(view.sar(sar_used), view.optical(optical_used), np.stack([sar_at, optical_at], axis=1))


def _blocks_of_pairs(pairs: PairList, side: int) -> Iterator[np.ndarray]:
    """Yield blocks of pair indices that need at most `side` SAR images (and hence at most `side` times the kinds
    optical ones).
    """
    order = np.argsort(pairs.sar, kind="stable")
    block = pairs.sar[order] // side
    yield from np.split(order, np.flatnonzero(np.diff(block)) + 1)


def _ranges(n: int, size: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + size, n)) for start in range(0, n, size)]


def _part(view: PairView, pairs: PairList, distance: np.ndarray) -> PartPredictions:
    return PartPredictions(
        id=np.array(view.ids),
        scene=np.array([scene or "" for scene in view.scenes]),
        group=np.array(view.groups),
        place=view.places,
        pair_sar=pairs.sar,
        pair_optical=pairs.optical,
        label=pairs.label,
        kind=pairs.kind,
        distance=distance.astype(np.float32),
    )
