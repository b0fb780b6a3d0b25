"""The eight symmetries: parity with NumPy's own turns, for every pixel type and number of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.data.symmetries import all_turned, turned


def by_numpy(image: np.ndarray, turn: int) -> np.ndarray:
    out = np.rot90(image, turn % 4)
    return out[:, ::-1] if turn >= 4 else out


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 3), (1, 1), (4, 4, 1)])
def test_turns_are_numpys(dtype: Any, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    for turn in range(8):
        out = turned(image, turn)
        assert out.dtype == dtype and np.array_equal(out, by_numpy(image, turn)), turn
        assert not np.shares_memory(out, image)


def test_strided_images_and_stacks() -> None:
    images = np.random.default_rng(1).integers(0, 255, (8, 6, 12, 3)).astype(np.uint8)[:, :, ::2]
    turns = np.arange(8)
    expected = np.stack([by_numpy(image, int(turn)) for image, turn in zip(images, turns, strict=True)])
    assert np.array_equal(all_turned(images, turns), expected)
