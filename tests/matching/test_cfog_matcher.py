"""CFOG: it finds planted shifts, nothing but image content helps it, and blocks or threads change nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from matching_toys import toy_scene
from pydantic import ValidationError

from bench.core.errors import BenchError
from bench.matching.matchers import correlation
from bench.matching.matchers.base import Setup
from bench.matching.matchers.cfog import Cfog, CfogOptions
from bench.matching.scoring import metrics

SIDE = 128
LIMIT = 8  # floor(0.75 * sqrt(128))


def matcher(**options: object) -> Cfog:
    return Cfog(CfogOptions(**options))  # type: ignore[arg-type]


def cut(scene: np.ndarray, y: int, x: int, side: int = SIDE) -> np.ndarray:
    return scene[y : y + side, x : x + side].copy()


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray]]:
    return [toy_scene(seed, 250, 90) for seed in range(8)]


def all_pairs(n: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), axis=-1).reshape(-1, 2)


def shifted(scenes: list[tuple[np.ndarray, np.ndarray]], dy: int, dx: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut both views independently out of the larger scenes; optical content at (y, x) stands at (y + dy, x + dx) in
    the SAR patch.
    """
    sar = np.stack([cut(s, 60 - dy, 60 - dx) for s, _ in scenes])
    return sar, np.stack([cut(o, 60, 60) for _, o in scenes])


@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-LIMIT, LIMIT), (LIMIT, 0)])
def test_shift_within_the_range_is_found(scenes: list[tuple[np.ndarray, np.ndarray]], shift: tuple[int, int]) -> None:
    sar, optical = shifted(scenes, *shift)
    assert matcher().geometry(SIDE, SIDE).max_shift == LIMIT
    distance, found = matcher().distances_and_shifts(sar, optical, all_pairs(8))
    matrix = distance.reshape(8, 8)
    # speckle moves an edge by a pixel at most
    assert np.abs(found.reshape(8, 8, 2)[np.arange(8), np.arange(8)] - shift).max() <= 1
    assert np.all(matrix.argmin(axis=0) == np.arange(8)) and np.all(matrix.argmin(axis=1) == np.arange(8))


def test_shift_beyond_the_range_scores_like_a_wrong_pair(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    pairs, label = all_pairs(8), np.eye(8, dtype=bool).ravel()
    inside = matcher().score_pairs(*shifted(scenes, 5, 5), pairs)
    beyond = matcher().score_pairs(*shifted(scenes, 40, -40), pairs)
    assert metrics.roc_auc(label, inside) == 1.0
    auc = metrics.roc_auc(label, beyond)
    assert auc is not None and auc < 0.8 and beyond[label].mean() > inside[label].mean() + 0.1
    wide = matcher(max_shift_px=14).score_pairs(*shifted(scenes, 12, -12), pairs)
    assert metrics.roc_auc(label, wide) == 1.0  # the range is the option's, no hidden limit


def test_score_is_a_function_of_the_pixels_alone(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """A patch of its own file, a re-crop of a larger one, another memory layout, other neighbours in the batch: one and
    the same score.
    """
    sar, optical = shifted(scenes, 2, -3)
    pairs = all_pairs(8)
    together = matcher().score_pairs(sar, optical, pairs)
    assert np.array_equal(together, matcher().score_pairs(sar, optical, pairs))
    for (i, j), expected in zip(pairs, together, strict=True):
        padded = np.pad(sar[i], 9, constant_values=255)
        view = padded[None, 9:-9, 9:-9]  # not contiguous, with other surroundings
        alone = matcher().score_pairs(view, np.asfortranarray(optical[j])[None], np.array([[0, 0]]))
        assert alone[0] == pytest.approx(expected, abs=1e-5)


def test_borders_and_padding_do_not_enter(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    sar, optical = shifted(scenes, 2, -3)
    m = matcher()
    pairs = np.stack([np.arange(8), np.arange(8)[::-1]], axis=1)
    expected = m.score_pairs(sar, optical, pairs)
    framed = optical.copy()
    for edge in (np.s_[:, :LIMIT], np.s_[:, -LIMIT:], np.s_[:, :, :LIMIT], np.s_[:, :, -LIMIT:]):
        framed[edge] = 255  # the ring of the shift range is no part of the template
    assert np.array_equal(m.score_pairs(sar, framed, pairs), expected)
    inner = m.descriptor(sar[0][20:-20, 20:-20])
    wild = sar[0].copy()
    wild[:8], wild[-8:], wild[:, :8], wild[:, -8:] = 255, 0, 255, 0
    assert np.array_equal(m.descriptor(wild)[:, 20:-20, 20:-20], inner)  # the result of the interior, to the bit


def test_common_frame_does_not_make_a_match() -> None:
    """Both views of every patch get the same frame: unrelated content must not become alike through it more than the
    frame's own width.
    """
    rng = np.random.default_rng(0)
    sar, optical = rng.gamma(4.0, 20.0, (6, SIDE, SIDE)), rng.integers(0, 255, (6, SIDE, SIDE, 3))
    ring = LIMIT  # the optical ring is outside the template, and so the SAR frame meets nothing of it
    sar[:, :ring], sar[:, -ring:] = 0, 0
    optical[:, :ring], optical[:, -ring:] = 0, 0
    distance = matcher().score_pairs(sar.astype(np.float32), optical.astype(np.uint8), all_pairs(6))
    assert distance.min() > 0.8


@pytest.mark.parametrize(
    ("gain", "offset", "dtype"),
    [(200, 0, np.uint16), (1e-6, 0.0, np.float32), (0.1, -30.0, np.float32), (1e8, 0, np.float32)],
)
def test_gain_offset_and_dtype_do_not_matter(
    scenes: list[tuple[np.ndarray, np.ndarray]], gain: float, offset: float, dtype: type
) -> None:
    sar, optical = shifted(scenes, 1, 1)
    pairs = all_pairs(8)
    scaled: list[np.ndarray] = [(view.astype(np.float64) * gain + offset).astype(dtype) for view in (sar, optical)]
    got = matcher().score_pairs(scaled[0], scaled[1], pairs)
    np.testing.assert_allclose(got, matcher().score_pairs(sar, optical, pairs), atol=2e-3)


def test_constant_images_are_far_and_finite(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    sar, optical = shifted(scenes[:3], 0, 0)
    sar[0], optical[1] = 77, 255
    distance = matcher().score_pairs(sar, optical, all_pairs(3)).reshape(3, 3)
    assert np.isfinite(distance).all() and np.all(distance[0] == 1.0) and np.all(distance[:, 1] == 1.0)
    assert distance[2, 2] < 1.0 and distance.min() >= 0.0
    flat = np.full((1, SIDE, SIDE), 0.1, dtype=np.float32)  # not representable: rounding must not become texture
    assert matcher().score_pairs(flat, np.repeat(flat[..., None] * 3, 3, axis=3), np.array([[0, 0]])).tolist() == [1.0]


def test_blocks_and_threads_change_nothing(
    scenes: list[tuple[np.ndarray, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sar, optical = shifted(scenes, 0, 2)
    pairs = np.random.default_rng(0).permutation(all_pairs(8))[:40]
    expected = matcher().distances_and_shifts(sar, optical, pairs)
    calls: list[int] = []
    original = Cfog.descriptor

    def counted(self: Cfog, grey: np.ndarray) -> np.ndarray:
        calls.append(1)
        return original(self, grey)

    monkeypatch.setattr(Cfog, "descriptor", counted)
    matcher().distances_and_shifts(sar, optical, pairs)
    # once an image, however many pairs it is in
    assert len(calls) == len(np.unique(pairs[:, 0])) + len(np.unique(pairs[:, 1]))
    monkeypatch.setattr(correlation, "_BLOCK_BYTES", 3 * 9 * 110 * 56 * 8)  # room for about three images of a view
    monkeypatch.setattr(correlation, "_PAIR_BLOCK", 2)
    m = matcher()
    m.prepare(Setup(context=cast("Any", SimpleNamespace(threads=2))))
    assert m.workers == 2
    for ours, theirs in zip(m.distances_and_shifts(sar, optical, pairs), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert m.score_pairs(sar, optical, np.zeros((0, 2), dtype=np.int64)).shape == (0,)


def test_correlation_equals_brute_force() -> None:
    """The FFT over valid shifts against a plain loop over windows with explicit means and norms."""
    sar, optical = toy_scene(3, side=48)
    m = matcher(max_shift_px=3, orientations=5)
    got, shift = m.distances_and_shifts(sar[None], optical[None], np.array([[0, 0]]))
    search, template = (
        m.descriptor(sar),
        m.descriptor(optical[3:-3, 3:-3] @ np.array(correlation.LUMINANCE, dtype=np.float32)),
    )
    template = (template - template.mean(axis=(1, 2), keepdims=True)).astype(np.float64)
    size, best = template.shape[1], {}
    for y in range(7):
        for x in range(7):
            window = search[:, y : y + size, x : x + size].astype(np.float64)
            window -= window.mean(axis=(1, 2), keepdims=True)
            best[y - 3, x - 3] = (window * template).sum() / np.sqrt((window**2).sum() * (template**2).sum())
    assert got[0] == pytest.approx(1 - max(best.values()), abs=1e-5)
    assert tuple(shift[0]) == max(best, key=lambda k: best[k])


def test_default_range_rule_and_limits() -> None:
    assert [matcher().geometry(side, side + 9).max_shift for side in (256, 128, 64)] == [12, 8, 6]
    m = matcher(gradient_sigma=0, sigma=0)
    assert m.margin == 1 and m.geometry(64, 64).search == (62, 62)
    with pytest.raises(
        BenchError, match="needs patches of at least 36 px a side for shifts up to 5 px, and these are 32 x 32"
    ):
        matcher(max_shift_px=5).geometry(32, 32)
    with pytest.raises(BenchError, match="patches of one size"):
        matcher().score_pairs(np.zeros((1, 64, 64)), np.zeros((1, 64, 60, 3)), np.array([[0, 0]]))
    with pytest.raises(ValidationError):
        matcher(max_shift=3)
    assert (Cfog.embeds, Cfog.trains, Cfog.seeded, m.state()) == (False, False, False, {})
