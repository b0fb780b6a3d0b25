"""The baselines without a deep network: `histogram` sees tones and nothing else, `random` sees nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from matching_toys import ToyView, fit_data

from bench.core.errors import BenchError
from bench.matching.matchers import distances
from bench.matching.matchers.base import Matcher
from bench.matching.matchers.histogram import Histogram, HistogramOptions
from bench.matching.matchers.random_scores import RandomOptions, RandomScores
from bench.matching.scoring import metrics, retrieval
from bench.matching.scoring.pairs import sample_pairs


def tones(n: int, seed: int, dtype: type = np.uint8) -> ToyView:
    """Patches without structure whose optical colour follows the SAR brightness, with spread."""
    rng = np.random.default_rng(seed)
    level = rng.random(n)
    sar = rng.gamma(8.0, 1 / 8, (n, 24, 24)) * (20 + 150 * level[:, None, None])
    colour = np.stack([40 + 150 * level, 190 - 120 * level, np.full(n, 90.0)], axis=1) + rng.normal(0, 8, (n, 3))
    optical = colour[:, None, None, :] + rng.normal(0, 6, (n, 24, 24, 3))
    gain = 1.0 if dtype == np.uint8 else 37.0
    return ToyView((np.clip(sar, 0, 255) * gain).astype(dtype), (np.clip(optical, 0, 255) * gain).astype(dtype))


def histogram(model: str, seed: int = 0, **options: object) -> tuple[Histogram, ToyView]:
    m, train = Histogram(HistogramOptions(model=model, **options)), tones(160, 1)  # type: ignore[arg-type]
    m.fit(fit_data(train, seed))
    return m, train


def paired(m: Matcher, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return distances.paired(m.embedding_distance(), a, b)


def pairwise(m: Matcher, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return distances.pairwise(m.embedding_distance(), a, b)


def auc(m: Matcher, view: ToyView, seed: int = 0) -> float:
    pairs = sample_pairs(len(view), seed)
    s, o = m.embed("sar", view.sar_images), m.embed("optical", view.optical_images)
    value = metrics.roc_auc(pairs.label, paired(m, s[pairs.sar], o[pairs.optical]))
    assert value is not None
    return value


@pytest.mark.parametrize("model", ["linear", "knn"])
def test_tone_is_learned_and_nothing_else(model: str) -> None:
    m, _ = histogram(model)
    test = tones(100, 2)
    assert auc(m, test) > 0.8
    unrelated = ToyView(test.sar_images, test.optical_images[np.random.default_rng(0).permutation(100)])
    assert auc(m, unrelated) == pytest.approx(0.5, abs=0.12)
    scrambled = test.sar_images.reshape(100, -1)[:, np.random.default_rng(1).permutation(576)].reshape(100, 24, 24)
    # position plays no part
    np.testing.assert_allclose(m.embed("sar", scrambled), m.embed("sar", test.sar_images), atol=1e-4)


@pytest.mark.parametrize("model", ["linear", "knn"])
def test_shuffled_control_collapses(model: str) -> None:
    train = tones(160, 1)
    m = Histogram(HistogramOptions(model=model))  # type: ignore[arg-type]
    m.fit(fit_data(train, pairing=np.roll(np.random.default_rng(5).permutation(160), 1)))
    assert auc(m, tones(200, 2)) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("model", ["linear", "knn"])
def test_state_goes_round_exactly_and_fit_is_deterministic(model: str) -> None:
    m, _ = histogram(model)
    again, _ = histogram(model)
    other = Histogram(HistogramOptions(model=model))  # type: ignore[arg-type]
    state = m.state()
    assert all(isinstance(v, np.ndarray) and v.dtype == np.float64 for v in state.values())
    other.load_state({k: v.copy() for k, v in state.items()})
    test = tones(30, 3)
    for view, images in (("sar", test.sar_images), ("optical", test.optical_images)):
        expected = m.embed(view, images)  # type: ignore[arg-type]
        assert np.array_equal(other.embed(view, images), expected)  # type: ignore[arg-type]
        assert np.array_equal(again.embed(view, images), expected)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="not the state of histogram"):
        other.load_state({"weights": np.zeros(3)})
    with pytest.raises(BenchError, match="not the state"):
        Histogram(HistogramOptions(model="knn" if model == "linear" else "linear")).load_state(state)


def test_negatives_follow_the_seed() -> None:
    one, two = histogram("linear", seed=0)[0], histogram("linear", seed=1)[0]
    assert not np.array_equal(one.state()["bilinear"], two.state()["bilinear"])
    assert np.array_equal(one.state()["sar_basis"], two.state()["sar_basis"])


@pytest.mark.parametrize("model", ["linear", "knn"])
def test_pairwise_equals_paired_in_any_block(model: str) -> None:
    m, train = histogram(model)
    s, o = m.embed("sar", train.sar_images), m.embed("optical", train.optical_images)
    whole = pairwise(m, s, o)
    assert whole.dtype == np.float32 and whole.shape == (160, 160) and whole.min() >= 0
    np.testing.assert_allclose(np.diagonal(whole), paired(m, s, o), atol=1e-4)
    np.testing.assert_allclose(pairwise(m, s[10:20], o[50:53]), whole[10:20, 50:53], atol=1e-6)
    if model == "linear":
        a, b = s[3].astype(np.float64), o[7].astype(np.float64)
        assert whole[3, 7] == pytest.approx(1 / (1 + np.exp(a @ b)), abs=1e-6) and whole.max() <= 1


def test_linear_equals_scikit_learn_probabilities() -> None:
    """The embeddings reproduce 1 - P(match) of the fitted logistic regression, written out with its explicit features
    [s, o, s x o].
    """
    m, train = histogram("linear", components=3)
    state = m.state()
    s = m._standard("sar", m._raw("sar", train.sar_images)) @ state["sar_basis"]
    o = m._standard("optical", m._raw("optical", train.optical_images)) @ state["optical_basis"]
    np.testing.assert_allclose(np.cov(s.T, bias=True), np.eye(3), atol=1e-6)  # PCA-whitened
    w = state["bilinear"]
    logit = s @ w[:3, 3] + o @ w[3, :3] + np.einsum("ni,ij,nj->n", s, w[:3, :3], o) + w[3, 3]
    got = paired(m, m.embed("sar", train.sar_images), m.embed("optical", train.optical_images))
    np.testing.assert_allclose(got, 1 / (1 + np.exp(logit)), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_histogram_takes_other_dtypes_and_constant_images(dtype: type) -> None:
    m, train = Histogram(HistogramOptions()), tones(120, 1, dtype)
    m.fit(fit_data(train))
    assert auc(m, tones(80, 2, dtype)) > 0.85
    assert np.isfinite(m.embed("sar", np.full((2, 24, 24), 5, dtype=dtype))).all()
    blank = ToyView(np.full((6, 8, 8), 9, dtype=dtype), np.full((6, 8, 8, 3), 9, dtype=dtype))
    for options in (HistogramOptions(), HistogramOptions(model="knn")):
        flat = Histogram(options)
        flat.fit(fit_data(blank))
        s, o = flat.embed("sar", blank.sar_images), flat.embed("optical", blank.optical_images)
        assert np.ptp(pairwise(flat, s, o)) < 1e-6  # nothing to tell apart


def test_histogram_refuses_what_it_cannot_do() -> None:
    one = ToyView(*(a[:1] for a in (tones(2, 0).sar_images, tones(2, 0).optical_images)))
    with pytest.raises(BenchError, match="at least 2 training pairs"):
        Histogram(HistogramOptions()).fit(fit_data(one))
    with pytest.raises(BenchError, match="not fitted"):
        Histogram(HistogramOptions()).embed("sar", one.sar_images)


def test_random_is_chance_everywhere() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (400, 8, 8)).astype(np.uint8)
    view = ToyView(images, np.repeat(images[..., None], 3, axis=3))  # the same content in both views: still chance
    m = RandomScores(RandomOptions())
    m.fit(fit_data(view, seed=3))
    assert auc(m, view) == pytest.approx(0.5, abs=0.08)
    s, o = m.embed("sar", view.sar_images), m.embed("optical", view.optical_images)
    got = retrieval.retrieval_from_embeddings(s, o, partial(pairwise, m), 150).sar_to_optical
    assert metrics.rank_metrics(got)["mean_rank"] == pytest.approx(200.5, abs=20)
    np.testing.assert_allclose(paired(m, s, o), np.diagonal(pairwise(m, s, o)), atol=1e-6)


def test_random_is_keyed_by_seed_view_and_content() -> None:
    images = np.random.default_rng(0).integers(0, 255, (6, 8, 8)).astype(np.uint8)
    view = ToyView(images, np.repeat(images[..., None], 3, axis=3))
    one, two, restored = (RandomScores(RandomOptions()) for _ in range(3))
    one.fit(fit_data(view, seed=1))
    two.fit(fit_data(view, seed=2))
    restored.load_state(one.state())
    expected = one.embed("sar", images)
    assert np.array_equal(restored.embed("sar", images[::-1])[::-1], expected)  # order and blocks play no part
    assert np.array_equal(one.embed("sar", images[2:3]), expected[2:3])
    assert not np.allclose(two.embed("sar", images), expected)
    twin = np.concatenate([images[:1], images[:1]])
    assert np.array_equal(one.embed("sar", twin)[0], one.embed("sar", twin)[1])
    assert one.embed("sar", images[:0]).shape == (0, 16)
    with pytest.raises(BenchError, match="not the state of the random matcher"):
        one.load_state({"weights": np.zeros(1)})


def test_registry_finds_them() -> None:
    from bench.core.registries import MATCHERS
    from bench.matching.matchers.cfog import Cfog

    assert [MATCHERS.get(n) for n in ("cfog", "histogram", "random")] == [Cfog, Histogram, RandomScores]
    classes: list[type[Matcher[Any]]] = [Cfog, Histogram, RandomScores]
    for kind in classes:
        kind(kind.Options())  # every option has a default
