"""CFOG: it finds planted shifts, nothing but image content helps it whatever its border, and blocks or threads change
nothing.
"""

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
CROPPED = {"border": "crop", "shift_range": 0.75}  # as in version 1
VERSION_1 = [0.4031866788864136, 0.9059972167015076, 0.9240999221801758, 0.5059541463851929]
BORDERS = pytest.mark.parametrize("border", ["replicate", "crop"])


def matcher(**options: object) -> Cfog:
    """The matcher with a shift range of LIMIT, unless the options say otherwise."""
    return Cfog(CfogOptions(**{"shift_range": 0.75, **options}))  # type: ignore[arg-type]


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


@BORDERS
@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-LIMIT, LIMIT), (LIMIT, 0)])
def test_shift_within_the_range_is_found(
    scenes: list[tuple[np.ndarray, np.ndarray]], shift: tuple[int, int], border: str
) -> None:
    sar, optical = shifted(scenes, *shift)
    m = matcher(border=border)
    assert m.geometry(SIDE, SIDE).max_shift == LIMIT
    distance, found = m.distances_and_shifts(sar, optical, all_pairs(8))
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


@BORDERS
def test_score_is_a_function_of_the_pixels_alone(scenes: list[tuple[np.ndarray, np.ndarray]], border: str) -> None:
    """A patch of its own file, a re-crop of a larger one, another memory layout, other neighbours in the batch: one and
    the same score.
    """
    sar, optical = shifted(scenes, 2, -3)
    pairs = all_pairs(8)
    m = matcher(border=border)
    together = m.score_pairs(sar, optical, pairs)
    assert np.array_equal(together, matcher(border=border).score_pairs(sar, optical, pairs))
    for (i, j), expected in zip(pairs, together, strict=True):
        padded = np.pad(sar[i], 9, constant_values=255)
        view = padded[None, 9:-9, 9:-9]  # not contiguous, with other surroundings
        alone = m.score_pairs(view, np.asfortranarray(optical[j])[None], np.array([[0, 0]]))
        assert alone[0] == pytest.approx(expected, abs=1e-5)


def test_borders_and_padding_do_not_enter(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    sar, optical = shifted(scenes, 2, -3)
    m = matcher(**CROPPED)
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


def test_beside_the_template_only_what_filters_reach_enters(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """With replicated borders: pixels further from the template than the filters reach change nothing, and what is
    beyond the rim is the rim's own pixels.
    """
    sar, optical = shifted(scenes, 2, -3)
    m = matcher(max_shift_px=LIMIT + 9)
    assert m.margin == 9
    pairs = np.stack([np.arange(8), np.arange(8)[::-1]], axis=1)
    framed = optical.copy()
    for edge in (np.s_[:, :LIMIT], np.s_[:, -LIMIT:], np.s_[:, :, :LIMIT], np.s_[:, :, -LIMIT:]):
        framed[edge] = 255
    assert np.array_equal(m.score_pairs(sar, framed, pairs), m.score_pairs(sar, optical, pairs))
    whole = m.described(sar[0])
    assert whole.shape == (9, SIDE, SIDE)
    assert np.array_equal(whole[:, 9:-9, 9:-9], m.descriptor(sar[0])), "inside the rim both borders agree to the bit"
    assert np.array_equal(whole, m.descriptor(np.pad(sar[0], 9, mode="edge")))


def test_cropped_borders_reproduce_version_1(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Distances that version 1 gave for these pairs."""
    sar, optical = shifted(scenes, 2, -3)
    got = matcher(**CROPPED).score_pairs(sar[:2], optical[:2], all_pairs(2))
    np.testing.assert_allclose(got, VERSION_1, atol=2e-6)


@BORDERS
def test_the_rim_draws_no_peak(border: str) -> None:
    """Replicated rims look alike in every patch. Unrelated patches must not therefore fit best where their rims meet:
    neither undisplaced, nor at the largest shifts more than without a rim.
    """
    rng = np.random.default_rng(5)
    n = 24
    sar = rng.gamma(4.0, 20.0, (n, 64, 64)).astype(np.float32)
    optical = rng.integers(0, 255, (n, 64, 64, 3)).astype(np.uint8)
    pairs = np.array([pair for pair in all_pairs(n) if pair[0] != pair[1]])
    found = np.abs(matcher(border=border, max_shift_px=3).distances_and_shifts(sar, optical, pairs)[1]).max(axis=1)
    shares = np.bincount(found, minlength=4) / len(pairs)
    assert shares[:2].sum() < 1.2 * 9 / 49, shares
    assert shares[3] < 1.8 * 24 / 49, shares


@BORDERS
def test_a_displaced_pair_scores_like_one_in_place(scenes: list[tuple[np.ndarray, np.ndarray]], border: str) -> None:
    """Where a patch was cut helps nobody: true pairs, and wrong ones, lie equally far at every displacement."""
    m, pairs = matcher(border=border), all_pairs(8)
    same = np.eye(8, dtype=bool).ravel()
    distance = np.array([m.score_pairs(*shifted(scenes, *by), pairs) for by in ((0, 0), (4, -4), (-LIMIT, LIMIT))])
    for kind, most in ((same, 0.06), (~same, 0.02)):
        means = distance[:, kind].mean(axis=1)
        assert np.ptp(means) < most, means


@pytest.mark.parametrize(("border", "nearest"), [("crop", 0.85), ("replicate", 0.75)])
def test_common_frame_does_not_make_a_match(border: str, nearest: float) -> None:
    """Both views of every patch get the same frame: unrelated content must not become alike through it more than the
    frame's own width, or by what filters at the template's rim see of it, where they are not cut.
    """
    rng = np.random.default_rng(0)
    sar, optical = rng.gamma(4.0, 20.0, (6, SIDE, SIDE)), rng.integers(0, 255, (6, SIDE, SIDE, 3))
    ring = LIMIT  # the optical ring is outside the template, and so the SAR frame meets nothing of it
    sar[:, :ring], sar[:, -ring:] = 0, 0
    optical[:, :ring], optical[:, -ring:] = 0, 0
    distance = matcher(border=border).score_pairs(sar.astype(np.float32), optical.astype(np.uint8), all_pairs(6))
    assert distance.min() > nearest


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


@BORDERS
def test_constant_images_are_far_and_finite(scenes: list[tuple[np.ndarray, np.ndarray]], border: str) -> None:
    sar, optical = shifted(scenes[:3], 0, 0)
    sar[0], optical[1] = 77, 255
    distance = matcher(border=border).score_pairs(sar, optical, all_pairs(3)).reshape(3, 3)
    assert np.isfinite(distance).all() and np.all(distance[0] == 1.0) and np.all(distance[:, 1] == 1.0)
    assert distance[2, 2] < 1.0 and distance.min() >= 0.0
    flat = np.full((1, SIDE, SIDE), 0.1, dtype=np.float32)  # not representable: rounding must not become texture
    assert matcher(border=border).score_pairs(
        flat, np.repeat(flat[..., None] * 3, 3, axis=3), np.array([[0, 0]])
    ).tolist() == [1.0]


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
    m = matcher(max_shift_px=3, orientations=5, border="crop")
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
    plain = Cfog(CfogOptions())
    assert [plain.geometry(side, side + 9).max_shift for side in (256, 128, 64)] == [6, 4, 3]
    assert [matcher().geometry(side, side + 9).max_shift for side in (256, 128, 64)] == [12, 8, 6]
    m = matcher(gradient_sigma=0, sigma=0, border="crop")
    assert m.margin == 1 and m.geometry(64, 64).search == (62, 62)
    assert plain.geometry(64, 64).search == (64, 64) and plain.geometry(64, 64).template == (58, 58)
    with pytest.raises(
        BenchError, match="needs patches of at least 36 px a side for shifts up to 5 px, and these are 32 x 32"
    ):
        matcher(max_shift_px=5, border="crop").geometry(32, 32)
    with pytest.raises(BenchError, match="needs patches of at least 18 px a side for shifts up to 5 px"):
        matcher(max_shift_px=5).geometry(17, 32)
    with pytest.raises(BenchError, match="patches of one size"):
        matcher().score_pairs(np.zeros((1, 64, 64)), np.zeros((1, 64, 60, 3)), np.array([[0, 0]]))
    with pytest.raises(ValidationError):
        matcher(max_shift=3)
    assert (Cfog.embeds, Cfog.trains, Cfog.seeded, m.state()) == (False, False, False, {})


def test_the_share_of_a_patch_that_is_compared_is_a_fact_of_the_row() -> None:
    shares = [
        [
            round(Cfog(CfogOptions.model_validate(options)).geometry(side, side).share(side, side), 2)
            for side in (256, 128, 64)
        ]
        for options in ({}, CROPPED)
    ]
    assert shares == [[0.91, 0.88, 0.82], [0.7, 0.54, 0.28]]
    train = SimpleNamespace(sar=lambda _: np.zeros((1, 64, 128), dtype=np.uint8))
    fitted = Cfog(CfogOptions(max_shift_px=2))._fit(cast("Any", SimpleNamespace(train=train)))
    assert fitted == {"compared_share": 60 * 124 / (64 * 128)}
