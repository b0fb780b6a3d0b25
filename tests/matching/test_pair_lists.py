"""Pair lists: what is drawn, that it is drawn once and for all, and the clustering that stands in for scenes."""

from __future__ import annotations

import numpy as np
import pytest
from matching_toys import ToyView

from bench.core.errors import BenchError
from bench.matching.scoring import pairs
from bench.matching.scoring.retrieval import same_place

IDS = [f"p{i}" for i in range(60)]
SCENES = [f"s{i // 6}" for i in range(60)]
FROZEN_PAIRS = [2, 37, 54, 31, 41, 30]
FROZEN_GALLERY = [87, 258, 480, 656, 706]


def grid_places(n: int, step: float) -> np.ndarray:
    x = np.arange(n) * step
    return np.stack([x, np.zeros(n), x + 100, np.full(n, 100.0)], axis=1)


def test_every_sample_gets_one_of_each_kind() -> None:
    got = pairs.sample_pairs(60, seed=3, hard="scene", groups=SCENES)
    assert got.counts == {"positive": 60, "uniform": 60, "hard": 60} and got.missing == {"uniform": 0, "hard": 0}
    assert np.array_equal(got.label, got.kind == pairs.POSITIVE) and np.array_equal(got.label, got.sar == got.optical)
    hard = got.of(pairs.HARD)
    assert all(SCENES[s] == SCENES[o] for s, o in got.array()[hard])
    assert [a.dtype for a in (got.sar, got.optical, got.label, got.kind)] == [np.int64, np.int64, np.bool_, np.uint8]


def test_draws_are_repeatable_and_hashed() -> None:
    one, two = (pairs.sample_pairs(60, seed=3, hard="scene", groups=SCENES) for _ in range(2))
    assert np.array_equal(one.array(), two.array()) and one.sha256(IDS) == two.sha256(IDS)
    assert one.sha256(IDS) != pairs.sample_pairs(60, seed=4, hard="scene", groups=SCENES).sha256(IDS)
    assert one.sha256(IDS) != one.sha256([*IDS[:-1], "other"])
    plain = pairs.sample_pairs(60, seed=3)
    # hard ones change no other
    assert np.array_equal(plain.array(), one.array()[one.of(pairs.POSITIVE, pairs.UNIFORM)])


def test_first_draws_are_frozen() -> None:
    """The stored lists of earlier runs must stay reproducible: a change of these numbers needs a new protocol
    version.
    """
    assert pairs.sample_pairs(60, seed=0).optical[60:66].tolist() == FROZEN_PAIRS
    assert pairs.sample_gallery(1000, 5, seed=0).tolist() == FROZEN_GALLERY


def test_uniform_negatives_are_uniform() -> None:
    counts = np.zeros(5)
    for seed in range(4000):
        counts[pairs.sample_pairs(5, seed).optical[5]] += 1
    assert counts[0] == 0 and np.all(np.abs(counts[1:] - 1000) < 150)


def test_same_place_is_no_negative() -> None:
    places = grid_places(40, 60.0)  # each overlaps its two neighbours
    got = pairs.sample_pairs(40, 1, "scene", ["a"] * 40, places)
    wrong = ~got.label
    assert not same_place(places[got.sar[wrong]], places[got.optical[wrong]]).any()
    listed = pairs.sample_pairs(40, 1, "scene", ["a"] * 40, [tuple(p) for p in places.tolist()])
    assert listed.sha256(IDS) == got.sha256(IDS)
    # all of one place but one far away: rejection gives way to the list of allowed members, and the far one has
    # everybody
    crowded = np.tile([0.0, 0.0, 1.0, 1.0], (300, 1))
    crowded[7] += 500
    got = pairs.sample_pairs(300, 1, places=crowded)
    assert set(got.optical[300:][np.arange(300) != 7].tolist()) == {7} and got.missing["uniform"] == 0


def test_who_has_nobody_is_counted() -> None:
    got = pairs.sample_pairs(6, 0, "scene", ["a", "a", "b", None, None, "c"])
    assert got.counts["hard"] == 2 and got.missing == {"uniform": 0, "hard": 4}
    same = pairs.sample_pairs(3, 0, places=np.tile([0.0, 0.0, 1.0, 1.0], (3, 1)))
    assert same.counts["uniform"] == 0 and same.missing == {"uniform": 3}


def test_gallery_is_sorted_distinct_and_repeatable() -> None:
    got = pairs.sample_gallery(500, 100, seed=2)
    assert len(set(got.tolist())) == 100 and np.all(np.diff(got) > 0) and got.max() < 500
    assert np.array_equal(got, pairs.sample_gallery(500, 100, seed=2)) and not np.array_equal(
        got, pairs.sample_gallery(500, 100, seed=3)
    )
    assert np.array_equal(pairs.sample_gallery(10, 99, 0), np.arange(10))
    assert np.array_equal(pairs.sample_gallery(10, None, 0), np.arange(10))  # the whole test part


def test_clusters_follow_tone_and_are_repeatable() -> None:
    rng = np.random.default_rng(0)
    images = np.concatenate([rng.normal(level, 5, (20, 16, 16)) for level in (200, 40, 120)]).astype(np.float32)
    view = ToyView(images, images)
    features = pairs.view_features(view, block=7)
    np.testing.assert_allclose(features, pairs.cluster_features(images), rtol=1e-6)
    clusters = pairs.fit_clusters(features, 3, seed=1)
    label = clusters.assign(features)
    assert label.tolist() == [2] * 20 + [0] * 20 + [1] * 20
    assert np.array_equal(pairs.fit_clusters(features, 3, seed=1).centres, clusters.centres)
    drawn = pairs.sample_pairs(60, 0, "cluster", label)
    assert all(label[s] == label[o] for s, o in drawn.array()[drawn.of(pairs.HARD)])
    constant = pairs.cluster_features(np.full((4, 8, 8), 7, dtype=np.uint16))
    assert np.isfinite(pairs.fit_clusters(constant, 1, 0).assign(constant)).all()


def test_bad_input_is_told() -> None:
    with pytest.raises(BenchError, match="at least 2"):
        pairs.sample_pairs(1, 0)
    with pytest.raises(BenchError, match="seed"):
        pairs.sample_pairs(4, -1)
    with pytest.raises(BenchError, match="need the scene of every sample"):
        pairs.sample_pairs(4, 0, "scene")
    with pytest.raises(BenchError, match="known: scene, cluster"):
        pairs.sample_pairs(4, 0, "scnee", SCENES)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="60 groups for 4 samples"):
        pairs.sample_pairs(4, 0, "scene", SCENES)
    with pytest.raises(BenchError, match="gallery"):
        pairs.sample_gallery(5, 0, 0)
    with pytest.raises(BenchError, match="cannot make 9 clusters"):
        pairs.fit_clusters(np.zeros((4, 11)), 9, 0)
    with pytest.raises(BenchError, match="clustering needs"):
        pairs.cluster_features(np.zeros((4, 3, 3)))
