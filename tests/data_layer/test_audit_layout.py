"""The parts of the audit of patches: block codes, proposals, positions from overlaps, blocks of large groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from bench.data.audit.codes import Codes, Mode, block_codes, least_overlap_px, sampling_bits
from bench.data.audit.layout import Layout, blocks, lay_out, neighbours
from bench.data.audit.overlaps import Overlaps, propose, rank_correlation, spans


def overlaps_of(rows: list[tuple[int, int, int, int]], side: int = 10) -> Overlaps:
    none = np.zeros(0, dtype=np.int32)
    table = np.array([[*row, 1] for row in rows], dtype=np.int64).reshape(-1, 5)
    return Overlaps(none, none, none, none, none.astype(bool), (side, side), 4).with_pairs(table)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("mode", ["exact", "order"])
def test_codes_move_with_the_content(dtype: type[np.generic], mode: Mode) -> None:
    image = np.random.default_rng(0).integers(0, 250, (40, 50)).astype(dtype)
    whole = block_codes(image, mode)
    np.testing.assert_array_equal(
        block_codes(image[7:33, 11:45], mode),
        whole[7 : 7 + 26 - 40 + whole.shape[0], 11 : 11 + 34 - 50 + whole.shape[1]],
    )
    assert len(np.unique(whole)) == whole.size
    other = image.copy()
    other[20, 20] = 255
    changed = block_codes(other, mode) != whole
    assert changed[13:21, 13:21].all() if mode == "exact" else changed.any()
    assert changed.sum() == 64 if mode == "exact" else changed.sum() <= 100


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 3.0))
def test_order_codes_survive_every_stretch_that_keeps_the_order(seed: int, gamma: float) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (24, 24), dtype=np.uint8)
    bent = np.rint(60_000 * (image / 255.0) ** gamma + np.arange(256)[image]).astype(np.uint16)
    np.testing.assert_array_equal(block_codes(image, "order"), block_codes(bent, "order"))
    assert not np.array_equal(block_codes(image, "order"), block_codes(255 - image, "order"))


def test_what_is_kept_is_bounded_and_the_reach_is_stated() -> None:
    assert sampling_bits(768, (256, 256)) == 4 and sampling_bits(20_000, (256, 256)) == 7
    assert 20_000 * 256 * 256 / 2**7 < 20_000_000
    assert least_overlap_px(7, (256, 256), "exact") == (10, 32)


def test_equal_blocks_vote_for_offsets() -> None:
    rows = [
        (5, 0, 9, 4),
        (5, 1, 2, 3),
        (6, 0, 8, 8),
        (6, 1, 1, 7),
        (7, 0, 0, 0),
        (7, 0, 1, 1),
        (8, 1, 5, 5),
        (8, 2, 5, 0),
    ]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    codes = Codes(
        columns[0].astype(np.uint64),
        columns[1].astype(np.int32),
        columns[2].astype(np.uint16),
        columns[3].astype(np.uint16),
        4,
    )
    order = np.lexsort([columns[1]])
    codes = Codes(codes.code[order], codes.patch[order], codes.y[order], codes.x[order], 4)
    assert propose(codes, 3, (10, 10), least=1).tolist() == [[0, 1, 7, 1], [1, 2, 0, 5]]
    assert propose(codes, 3, (10, 10), least=2).tolist() == [[0, 1, 7, 1]]


def test_a_block_that_is_everywhere_links_each_patch_to_the_next_only() -> None:
    n = 2_000
    codes = Codes(
        np.full(n, 9, dtype=np.uint64), np.arange(n, dtype=np.int32), np.zeros(n, np.uint16), np.zeros(n, np.uint16), 4
    )
    proposed = propose(codes, n, (10, 10), least=1)
    assert len(proposed) == n - 1 and (proposed[:, 1] - proposed[:, 0] == 1).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_positions_come_out_of_overlaps(places: list[tuple[int, int]], random: object) -> None:
    rows = []
    for a in range(len(places)):
        for b in range(a + 1, len(places)):
            dy, dx = places[b][0] - places[a][0], places[b][1] - places[a][1]
            if abs(dy) < 10 and abs(dx) < 10:
                rows.append((a, b, dy, dx))
    random.shuffle(rows)  # type: ignore[attr-defined]
    layout = lay_out(len(places), overlaps_of(rows))
    assert not layout.contradictory.any()
    for a, b, dy, dx in rows:
        assert layout.component[a] == layout.component[b]
        assert (layout.y[b] - layout.y[a], layout.x[b] - layout.x[a]) == (dy, dx)
    assert (np.diff(layout.sizes) <= 0).all() and layout.sizes.sum() == len(places)
    assert all(
        layout.y[layout.component == g].min() == layout.x[layout.component == g].min() == 0
        for g in range(len(layout.sizes))
    )
    assert sorted(map(tuple, neighbours(layout, (10, 10)).tolist())) == sorted(rows)


def test_a_loop_that_does_not_close_is_reported_at_its_smallest_overlap() -> None:
    overlaps = overlaps_of([(0, 1, 0, 3), (1, 2, 0, 3), (0, 2, 0, 7)])
    layout = lay_out(4, overlaps)
    assert layout.x[:3].tolist() == [0, 3, 6] and layout.component.tolist() == [0, 0, 0, 1]
    assert [
        (int(a), int(b))
        for a, b in zip(overlaps.a[layout.contradictory], overlaps.b[layout.contradictory], strict=True)
    ] == [(0, 2)]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 15), st.integers(1, 15), st.integers(1, 60))
def test_blocks_are_small_enough_and_keep_rows_whole(rows: int, columns: int, most: int) -> None:
    y, x = (part.ravel() for part in np.mgrid[0:rows, 0:columns])
    layout = Layout(np.zeros(rows * columns, dtype=np.int64), y, x, np.zeros(0, dtype=bool))
    number = blocks(layout, most)
    assert np.bincount(number).max() <= most and set(number.tolist()) == set(range(int(number.max()) + 1))
    for block in range(int(number.max()) + 1):  # every block is a full rectangle
        inside = number == block
        assert inside.sum() == (np.ptp(y[inside]) + 1) * (np.ptp(x[inside]) + 1)
    same = Layout(layout.component, y * 0, x * 0, layout.contradictory)
    assert not blocks(same, most).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rank_correlation_is_spearmans(dtype: type[np.generic]) -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 12, (9, 11)).astype(dtype)
    two = (one * 3 + rng.integers(0, 12, (9, 11))).astype(dtype)
    assert rank_correlation(one, two)[0] == pytest.approx(spearmanr(one.ravel(), two.ravel()).statistic)
    assert rank_correlation(one, one * 2) == pytest.approx((1.0, 1.0))
    assert rank_correlation(one, np.zeros_like(one)) == (0.0, 0.0)


def test_spans_cover_the_shared_part() -> None:
    assert (
        spans(10, 3) == (slice(3, 10), slice(0, 7))
        and spans(10, -4) == (slice(0, 6), slice(4, 10))
        and spans(10, 0)[0] == slice(0, 10)
    )
