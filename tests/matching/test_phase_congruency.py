"""Phase congruency: what the definition promises, and that pairs are found whatever their contrast."""

from __future__ import annotations

import numpy as np
import pytest
from matching_toys import toy_scene

from bench.core.errors import BenchError
from bench.matching.matchers.phase_congruency import PhaseCongruency, PhaseCongruencyOptions

VERSION_1 = [0.44024980068206787, 0.8279112577438354, 0.811279833316803, 0.5193649530410767]


def matcher(**options: float | str) -> PhaseCongruency:
    return PhaseCongruency(PhaseCongruencyOptions.model_validate(options))


def step(side: int = 48, at: int = 24) -> np.ndarray:
    image = np.zeros((side, side), dtype=np.float32)
    image[:, at:] = 100
    return image


def test_an_edge_has_congruency_near_one_and_flat_parts_have_none() -> None:
    m = matcher()
    whole = m.congruency(step()).sum(axis=0)
    assert whole.max() > 0.85 and whole.max() <= 1
    edge = 24 - m.reach
    assert whole[:, edge - 1 : edge + 1].min() > 0.8
    assert whole[:, : edge - m.reach - 1].max() < 1e-3


def test_the_maximum_lies_at_the_edge() -> None:
    whole = matcher().congruency(step()).sum(axis=0)
    assert abs(int(whole[10].argmax()) + matcher().reach - 23.5) <= 1.5


def test_noise_reaches_its_threshold_and_an_edge_passes_it() -> None:
    noise = np.random.default_rng(0).normal(size=(96, 96)).astype(np.float32)
    kept, cut = (matcher(noise=k, smooth_sigma=0).congruency(noise).sum(axis=0).mean() for k in (0.0, 3.0))
    free = matcher(smooth_sigma=0).congruency(noise).sum(axis=0).mean()
    assert cut < 0.02 < 0.1 * free and cut < kept < free
    assert matcher(noise=3.0).congruency(step(96, 48)).sum(axis=0).max() > 0.8


def test_noise_by_scale_is_what_white_noise_shows() -> None:
    m = matcher(smooth_sigma=0, step=1.8)
    noise = np.random.default_rng(1).normal(size=(200, 200)).astype(np.float32)
    seen = np.abs(m.responses(noise)[0]).mean(axis=(1, 2))
    np.testing.assert_allclose(m.noise_by_scale, seen / seen[0], rtol=0.1)


def test_a_line_is_found_as_surely_as_an_edge() -> None:
    image = np.zeros((48, 48), dtype=np.float32)
    image[24] = 10
    assert matcher().congruency(image).sum(axis=0)[24 - matcher().reach].min() > 0.8


def test_orientations_are_told_apart() -> None:
    m = matcher(orientations=4)
    upright, lying = m.congruency(step()), m.congruency(step().T)
    strongest = [values.max(axis=(1, 2)).argmax() for values in (upright, lying)]
    assert abs(int(strongest[0]) - int(strongest[1])) == 2, "a right angle is half of the half turn"


@pytest.mark.parametrize(("gain", "offset"), [(3.0, 0.0), (-1.0, 255.0), (0.01, 7.0), (-250.0, 0.0)])
def test_gain_sign_and_offset_do_not_matter(gain: float, offset: float) -> None:
    image = toy_scene(1, side=64)[0].astype(np.float32)
    m = matcher()
    np.testing.assert_allclose(m.congruency(gain * image + offset), m.congruency(image), atol=2e-3)


def test_a_constant_patch_is_at_distance_one() -> None:
    flat = np.full((1, 64, 64), 9, dtype=np.uint8)
    _, optical = toy_scene(2, side=64)
    distance, shift = matcher().distances_and_shifts(flat, optical[None], np.array([[0, 0]]))
    assert distance.tolist() == [1.0] and np.isfinite(shift).all()


def test_displaced_pairs_are_found_with_unrelated_tones() -> None:
    scenes = [toy_scene(seed, side=120) for seed in range(4)]
    sar = np.stack([scene[0][8:104, 10:106] for scene in scenes])
    optical = np.stack([scene[1][5:101, 12:108] for scene in scenes])
    pairs = np.stack(np.meshgrid(np.arange(4), np.arange(4), indexing="ij"), axis=-1).reshape(-1, 2)
    m = matcher()
    distance, shift = m.distances_and_shifts(sar, optical, pairs)
    matrix = distance.reshape(4, 4)
    assert (matrix.argmin(axis=1) == np.arange(4)).all()
    true = pairs[:, 0] == pairs[:, 1]
    assert np.abs(shift[true] - [-3, 2]).max() <= 1


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.matching.matchers import correlation

    scenes = [toy_scene(seed, side=72) for seed in range(3)]
    sar, optical = (np.stack([scene[view] for scene in scenes]) for view in (0, 1))
    pairs = np.array([[2, 0], [0, 0], [1, 2], [2, 2]])
    whole = matcher().score_pairs(sar, optical, pairs)
    monkeypatch.setattr(correlation, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(correlation, "_PAIR_BLOCK", 1)
    np.testing.assert_allclose(matcher().score_pairs(sar, optical, pairs), whole, atol=1e-6)


def test_too_small_patches_are_told() -> None:
    with pytest.raises(
        BenchError, match="phase-congruency needs patches of at least .* set max_shift_px, scales or min_wav"
    ):
        matcher(border="crop").score_pairs(np.zeros((1, 40, 40)), np.zeros((1, 40, 40, 3)), np.array([[0, 0]]))
    distance = matcher().score_pairs(np.zeros((1, 40, 40)), np.zeros((1, 40, 40, 3)), np.array([[0, 0]]))
    assert distance.tolist() == [1.0], "with replicated borders they are large enough"


def test_the_rim_draws_no_peak() -> None:
    rng = np.random.default_rng(5)
    sar = rng.gamma(4.0, 20.0, (12, 80, 80)).astype(np.float32)
    optical = rng.integers(0, 255, (12, 80, 80, 3)).astype(np.uint8)
    pairs = np.array([(i, j) for i in range(12) for j in range(12) if i != j])
    found = np.abs(matcher(max_shift_px=3).distances_and_shifts(sar, optical, pairs)[1]).max(axis=1)
    shares = np.bincount(found, minlength=4) / len(pairs)
    assert shares[:2].sum() < 1.2 * 9 / 49 and shares[3] < 1.8 * 24 / 49, shares


def test_cropped_borders_reproduce_version_1() -> None:
    """Distances that version 1 gave for these pairs."""
    scenes = [toy_scene(seed, side=96) for seed in range(2)]
    sar, optical = (np.stack([scene[view] for scene in scenes]) for view in (0, 1))
    pairs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    got = matcher(border="crop", shift_range=0.75).score_pairs(sar, optical, pairs)
    np.testing.assert_allclose(got, VERSION_1, atol=2e-6)
