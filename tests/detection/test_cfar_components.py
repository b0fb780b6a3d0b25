"""Components and boxes of pixels that stand out, against scipy's labels on images."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.detection.detectors.cfar.components import BrightPixels, bounds, components, largest


def pixels_of(mask: np.ndarray, top: int = 0) -> BrightPixels:
    """The True pixels of a mask, with ratios that rise in row-major order."""
    y, x = np.nonzero(mask)
    return BrightPixels(y + top, x, np.arange(1.0, len(y) + 1), np.ones(len(y), dtype=bool))


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.05, 0.6), st.integers(0, 10_000), st.integers(1, 3))
def test_components_are_those_of_an_image(height: int, width: int, share: float, seed: int, reach: int) -> None:
    from scipy import ndimage

    mask = np.random.default_rng(seed).random((height, width)) < share
    got = components(pixels_of(mask), reach)
    y, x = np.nonzero(mask)
    near = np.maximum(abs(y[:, None] - y), abs(x[:, None] - x)) <= reach
    linked = near.copy()
    for _ in range(len(y)):
        linked = linked @ near
    assert np.array_equal(got[:, None] == got, linked)
    if reach == 1 and mask.any():
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        assert got.max() + 1 == count
        assert np.array_equal(np.unique(got, return_index=True)[1], np.sort(np.unique(got, return_index=True)[1]))
        boxes = [[s[1].start, s[0].start, s[1].stop, s[0].stop] for s in ndimage.find_objects(labels)]
        assert sorted(bounds(pixels_of(mask), got).tolist()) == sorted(boxes)


def test_the_end_of_a_row_does_not_touch_the_next() -> None:
    mask = np.zeros((3, 5), dtype=bool)
    mask[0, 4] = mask[1, 0] = True
    assert components(pixels_of(mask)).tolist() == [0, 1]
    assert components(pixels_of(mask), 3).tolist() == [0, 1]
    assert components(pixels_of(mask), 4).tolist() == [0, 0]


def test_nothing_gives_nothing() -> None:
    none = pixels_of(np.zeros((4, 4), dtype=bool))
    assert components(none).size == 0 and bounds(none, components(none)).shape == (0, 4)


def test_parts_are_joined_taken_and_painted() -> None:
    mask = np.random.default_rng(0).random((20, 9)) < 0.3
    whole = BrightPixels.join([pixels_of(mask[:8]), pixels_of(mask[8:], 8)])
    assert np.array_equal(whole.mask(0, 20, 9), mask)
    assert np.array_equal(whole.mask(5, 13, 9), mask[5:13])
    assert np.array_equal(whole.take(whole.y < 4).mask(0, 20, 9)[:4], mask[:4])
    assert largest(np.array([3.0, 5.0, 1.0]), np.array([0, 1, 0])).tolist() == [3.0, 5.0]
