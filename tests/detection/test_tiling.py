"""Tiles: the grid covers everything and loses no ship, pixels and boxes of a tile, the rule for cut ships."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench.data.scaling import ScalingParams, apply_scaling
from bench.data.windows import Window
from bench.detection.spec import Tiles
from bench.detection.tiles.tiling import (
    boxes_in,
    cut,
    dark_value,
    rescue_windows,
    tile_grid,
    visible_share,
    window_start,
)


def whole_in(window: Window, box: np.ndarray) -> bool:
    return bool(np.array_equal(visible_share(window, box[None]), [1.0]))


def starts(length: int, size: int, overlap: int) -> list[int]:
    return [x0 for _, x0, _, _ in tile_grid(1, length, Tiles(size_px=size, overlap_px=overlap))]


def test_known_grids() -> None:
    assert starts(3000, 512, 200) == [0, 312, 624, 936, 1248, 1560, 1872, 2184, 2488]
    assert starts(1000, 500, 0) == [0, 500]
    assert starts(1001, 500, 0) == [0, 500, 501]
    assert starts(512, 512, 200) == starts(1, 512, 200) == [0]
    assert starts(513, 512, 200) == [0, 1]
    grid = tile_grid(700, 900, Tiles(size_px=512, overlap_px=200))
    assert grid == [
        (0, 0, 512, 512),
        (0, 312, 512, 512),
        (0, 388, 512, 512),
        (188, 0, 512, 512),
        (188, 312, 512, 512),
        (188, 388, 512, 512),
    ]


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(32, 200), st.integers(0, 199), st.data())
def test_every_pixel_and_every_ship_up_to_the_overlap_is_whole_somewhere(
    h: int, w: int, size: int, overlap: int, data: st.DataObject
) -> None:
    assume(overlap < size)
    tiles = Tiles(size_px=size, overlap_px=overlap)
    grid = tile_grid(h, w, tiles)
    assert len(set(grid)) == len(grid) and all(window[2:] == (size, size) for window in grid)
    for length, axis in ((h, 0), (w, 1)):
        begins = sorted({window[axis] for window in grid})
        assert begins[0] == 0 and begins[-1] == max(length - size, 0)
        assert all(b - a <= size - overlap for a, b in zip(begins, begins[1:], strict=False))
    low, high = [], []
    for length in (w, h):
        side = data.draw(st.floats(0.01, min(max(overlap, 0.01), length)))
        low.append(data.draw(st.floats(0, length - side)))
        high.append(min(low[-1] + side, length))
    box = np.array([*low, *high])
    assume((box[2:] > box[:2]).all() and (box[2:] - box[:2] <= overlap).all())
    windows = np.array(grid)
    x, y = windows[:, 1], windows[:, 0]
    assert ((x <= box[0]) & (y <= box[1]) & (x + size >= box[2]) & (y + size >= box[3])).any()
    assert rescue_windows(h, w, box[None], tiles) == []


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(32, 128), st.data())
def test_ships_that_fit_a_tile_are_rescued(h: int, w: int, size: int, data: st.DataObject) -> None:
    tiles = Tiles(size_px=size, overlap_px=data.draw(st.integers(0, 16)))
    boxes = []
    for _ in range(3):
        x1, y1 = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
        boxes.append(
            [
                x1,
                y1,
                x1 + data.draw(st.integers(1, min(w - x1, size))),
                y1 + data.draw(st.integers(1, min(h - y1, size))),
            ]
        )
    ships = np.array(boxes, dtype=np.float64)
    extra = rescue_windows(h, w, ships, tiles)
    grid = tile_grid(h, w, tiles)
    assert all(any(whole_in(window, ship) for window in [*grid, *extra]) for ship in ships)
    assert all(window[0] >= 0 and window[1] >= 0 and window[2:] == (size, size) for window in extra)
    assert all(window[0] + size <= max(h, size) and window[1] + size <= max(w, size) for window in extra)


def test_rescue_of_a_known_ship() -> None:
    tiles = Tiles(size_px=512, overlap_px=200)
    ships = np.array([[300.0, 10, 577, 60], [310, 20, 580, 60], [0, 0, 600, 20]])
    # serves the second as well; the third fits no tile
    assert rescue_windows(3000, 3000, ships, tiles) == [(0, 182, 512, 512)]


def test_pixels_of_a_tile() -> None:
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    part = cut(image, (1, 1, 2, 2))
    assert part.tolist() == [[5, 6], [9, 10]] and part.dtype == np.uint16
    part[:] = 0
    assert image[1, 1] == 5
    assert cut(image, (2, 3, 2, 2), fill=7).tolist() == [[11, 7], [7, 7]]
    assert cut(image, (-1, -1, 2, 2)).tolist() == [[0, 0], [0, 0]] and cut(image, (-1, -1, 3, 3))[1:, 1:].tolist() == [
        [0, 1],
        [4, 5],
    ]
    assert cut(image, (9, 9, 2, 2)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("params", "dtype"),
    [
        (ScalingParams("uint8", 1, 0, 255), np.uint8),
        (ScalingParams("percentile", 1, 12, 900), np.uint16),
        (ScalingParams("log-percentile", 1, 0.3, 3.1), np.uint16),
        (ScalingParams("log-percentile", 1, -2.7, 1.1), np.float32),
        (ScalingParams("percentile", 1, -31.123456789, 4.2), np.float32),
        (ScalingParams("percentile", 1, 0.1, 4.2), np.float32),
    ],
)
def test_padding_is_dark_after_scaling(params: ScalingParams, dtype: type[np.generic]) -> None:
    padded = cut(np.zeros((0, 0), dtype), (0, 0, 2, 2), dark_value(params, np.dtype(dtype)))
    assert padded.dtype == dtype and (apply_scaling(params, padded) == 0).all()


def test_rule_for_cut_ships() -> None:
    window = (100, 200, 50, 50)  # y 100..150, x 200..250
    boxes = np.array(
        [
            [210, 110, 220, 130],  # whole
            [190, 110, 210, 120],  # half of it
            [190, 110, 209, 120],  # less than half
            [150, 110, 200, 120],  # beside: touches the edge
            [240, 149.5, 249, 160],  # a sliver below a pixel
            [150, 50, 300, 200],  # larger than the tile: a ninth of it
            [249.8, 110, 250.2, 110.4],  # tiny, half of it
            [230, 130, 240, 140],  # whole, to be ignored
        ],
        dtype=np.float64,
    )
    ignore = np.array([False] * 7 + [True])
    shown, ignored = boxes_in(window, boxes, ignore, 0.5)
    expected = [
        [10, 10, 20, 30],
        [0, 10, 10, 20],
        [0, 10, 9, 20],
        [0, 0, 50, 50],
        [49.8, 10, 50, 10.4],
        [30, 30, 40, 40],
    ]
    assert np.allclose(shown, np.array(expected), rtol=0, atol=1e-12) and ignored.tolist() == [
        False,
        False,
        True,
        True,
        False,
        True,
    ]
    # the tiny half is now a sliver
    assert boxes_in(window, boxes, ignore, 1.0)[1].tolist() == [False, True, True, True, True]
    none, flags = boxes_in(window, np.zeros((0, 4)), np.zeros(0, bool), 0.5)
    assert none.shape == (0, 4) and flags.shape == (0,)


def test_a_whole_ship_counts_even_where_all_must_be_visible() -> None:
    rng = np.random.default_rng(0)
    low = 1000 + rng.random((500, 2)) * 100
    boxes = np.concatenate([low, low + 0.1 + rng.random((500, 2)) * 100], axis=1)
    shown, ignored = boxes_in((999, 999, 300, 300), boxes, np.zeros(500, bool), 1.0)
    assert len(shown) == 500 and not ignored.any()


def test_window_starts() -> None:
    rng = np.random.default_rng(0)
    drawn = {window_start(40.5, 60.5, 100, 30, rng) for _ in range(300)}
    assert drawn == set(range(31, 41))  # from ceil(60.5) - 30 to floor(40.5)
    assert {window_start(0, 10, 100, 30, rng) for _ in range(50)} == {0}
    assert (
        window_start(40, 60, 100, 30, None) == 35
        and window_start(0, 10, 100, 30, None) == 0
        and window_start(95, 100, 100, 30, None) == 70
    )
    # longer than the window: its middle
    assert window_start(20, 80, 100, 30, rng) == 35 and window_start(0, 90, 100, 30, rng) == 30
    assert window_start(5, 15, 20, 30, rng) == 0 and window_start(-50, -20, 100, 30, None) == 0
