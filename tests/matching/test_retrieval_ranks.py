"""Ranks in blocks against brute force, under ties, failures and excluded neighbours, with bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.matching.matchers import distances
from bench.matching.scoring import metrics, retrieval
from bench.matching.scoring.metrics import Ranks


def euclid(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))


def brute(distance: np.ndarray, drop: np.ndarray | None = None) -> Ranks:
    """Rows are queries; plain loops."""
    n = len(distance)
    distance = np.where(np.isfinite(distance), distance, np.inf)
    better, tied, gallery = (np.zeros(n, dtype=np.int64) for _ in range(3))
    for i in range(n):
        for j in range(n):
            if i != j and drop is not None and drop[i, j]:
                continue
            gallery[i] += 1
            better[i] += distance[i, j] < distance[i, i]
            tied[i] += i != j and distance[i, j] == distance[i, i]
    return Ranks(better, tied, gallery)


def same(a: Ranks, b: Ranks) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("better", "tied", "gallery"))


@pytest.mark.parametrize("block", [1, 7, 16, 1000])
def test_blocks_equal_brute_force_in_both_directions(block: int) -> None:
    rng = np.random.default_rng(1)
    sar, optical = rng.integers(0, 3, (50, 2)).astype(float), rng.integers(0, 3, (50, 2)).astype(float)  # many ties
    got = retrieval.retrieval_from_embeddings(sar, optical, euclid, block)
    whole = euclid(sar, optical)
    assert same(got.sar_to_optical, brute(whole)) and same(got.optical_to_sar, brute(whole.T))
    assert same(retrieval.retrieval_from_matrix(whole).optical_to_sar, brute(whole.T))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 10**6))
def test_failures_and_exclusions_equal_brute_force(n: int, block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    distance = rng.choice([0.0, 1.0, 2.0, np.nan, np.inf], (n, n))
    drop = rng.random((n, n)) < 0.3
    got = retrieval.retrieval_from_tiles(n, lambda r, c: distance[r, c], block, lambda r, c: drop[r, c])
    assert same(got.sar_to_optical, brute(distance, drop)) and same(got.optical_to_sar, brute(distance.T, drop.T))
    assert got.sar_to_optical.failures == int((~np.isfinite(np.diagonal(distance))).sum())


def test_twenty_thousand_never_sit_in_memory_at_once() -> None:
    n, block = 20_000, 2_000
    tiles: list[tuple[int, int]] = []

    def pairwise(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        tiles.append((len(a), len(b)))
        return np.abs(a[:, :1] - b[:, 0][None])

    position = np.arange(n, dtype=np.float32)[:, None]
    tracemalloc.start()
    got = retrieval.retrieval_from_embeddings(position, position + np.float32(0.25), pairwise, block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(max(t) for t in tiles) <= block and len(tiles) == (n // block) ** 2 + n // block
    assert peak < 40 * block**2 and peak < n * n / 2  # bytes: some tiles of float64, far from 20,000 x 20,000
    assert metrics.recall_at_k(got.sar_to_optical, 1) == metrics.recall_at_k(got.optical_to_sar, 1) == 1.0


def test_known_answers() -> None:
    n = 40
    perfect = retrieval.retrieval_from_matrix(1.0 - np.eye(n)).sar_to_optical
    assert metrics.rank_metrics(perfect) == {
        "recall_at_1": 1.0, "recall_at_5": 1.0, "recall_at_10": 1.0, "mrr": 1.0, "mean_rank": 1.0,
        "queries": n, "gallery": n, "failures": 0,
    }  # fmt: skip
    for value in (0.5, np.nan):
        constant = retrieval.retrieval_from_matrix(np.full((n, n), value)).optical_to_sar
        assert np.all(constant.mean_rank == (n + 1) / 2)
        assert [metrics.recall_at_k(constant, k) for k in (1, 5, 10, n, 99)] == pytest.approx(
            [1 / n, 5 / n, 10 / n, 1.0, 1.0]
        )
        assert metrics.mrr(constant) == pytest.approx(np.mean(1 / np.arange(1, n + 1)))
    worst = retrieval.retrieval_from_matrix(np.eye(n)).sar_to_optical
    assert metrics.mrr(worst) == pytest.approx(1 / n) and metrics.recall_at_k(worst, n - 1) == 0.0
    empty = retrieval.retrieval_from_matrix(np.zeros((0, 0))).sar_to_optical
    assert [metrics.rank_metrics(empty)[k] for k in ("recall_at_1", "mrr", "mean_rank", "gallery")] == [None] * 4


def test_tied_recall_and_mrr_are_expectations_over_random_tie_breaks() -> None:
    ranks = Ranks(np.array([0, 2, 1]), np.array([3, 0, 4]), np.array([9, 9, 9]))
    rng = np.random.default_rng(0)
    draws = ranks.better + 1 + rng.integers(0, ranks.tied + 1, (200_000, 3))
    for k in (1, 2, 3, 5):
        assert metrics.recall_at_k(ranks, k) == pytest.approx((draws <= k).mean(), abs=5e-3)
    assert metrics.mrr(ranks) == pytest.approx((1 / draws).mean(), abs=5e-3)
    assert ranks.mean_rank == pytest.approx(draws.mean(axis=0), abs=2e-2)


def test_neighbours_that_share_ground_leave_the_gallery() -> None:
    places = [(0, 0, 10, 10), (5, 5, 15, 15), (10, 0, 20, 10), None]
    mask = retrieval.overlap_mask(places)
    assert mask is not None
    whole = slice(0, 4)
    assert mask(whole, whole).astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    distance = np.array([[0.5, 0.1, 0.9, 0.9]] * 4)
    got = retrieval.retrieval_from_matrix(distance, mask).sar_to_optical
    assert got.better[0] == 0 and got.gallery.tolist() == [3, 2, 3, 4]
    assert retrieval.overlap_mask([None, None]) is None and retrieval.overlap_mask(None) is None


def test_a_whole_test_part_as_gallery_takes_its_matrix_and_little_more() -> None:
    """6,000 x 6,000 distances as float32 are 144 MB; expanded at once in double precision they took seven times
    that.
    """
    sar, optical = np.random.default_rng(0).random((2, 2500, 20), dtype=np.float32)
    tracemalloc.start()
    got = distances.matrix("rms", sar, optical)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got.dtype == np.float32 and peak < got.nbytes + 1024**2 * 8 * 5
    assert np.allclose(got, distances.pairwise("rms", sar, optical), atol=1e-7)
    assert np.array_equal(distances.matrix("rms", sar[:9], optical), distances.pairwise("rms", sar[:9], optical)[:, :])


def test_bad_input_is_told() -> None:
    with pytest.raises(BenchError, match="3 SAR and 4 optical"):
        retrieval.retrieval_from_embeddings(np.zeros((3, 2)), np.zeros((4, 2)), euclid)
    with pytest.raises(BenchError, match=r"expected \(n, n\)"):
        retrieval.retrieval_from_matrix(np.zeros((3, 4)))
    with pytest.raises(BenchError, match="pairwise distances have shape"):
        retrieval.retrieval_from_tiles(3, lambda r, c: np.zeros((1, 1)))
    with pytest.raises(BenchError, match="block size"):
        retrieval.retrieval_from_tiles(3, lambda r, c: np.zeros((1, 1)), block=0)
    with pytest.raises(BenchError, match=r"expected \(n, 4\)"):
        retrieval.place_array(np.zeros((3, 2)))
