"""Clutter statistics of CFAR: box sums at borders, thresholds against the closed form, looks, no-data areas, scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.data.scaling import SarScale
from bench.detection.detectors.cfar.clutter import (
    LOOKS_RANGE,
    FactorTable,
    box_sum,
    equivalent_looks,
    has_data,
    intensity_floor,
    intensity_of,
    ring_mean,
    threshold_factor,
)


def gamma_sea(looks: float, shape: tuple[int, int], seed: int = 0, mean: float = 1.0) -> np.ndarray:
    """Intensity of homogeneous clutter, float64."""
    return np.random.default_rng(seed).gamma(looks, mean / looks, shape)


def test_single_look_factor_is_that_of_finn_and_johnson() -> None:
    for pfa in (1e-2, 1e-6, 1e-12):
        for cells in (1, 8, 100, 5000):
            assert threshold_factor(pfa, 1.0, np.array([cells]))[0] == pytest.approx(
                cells * (pfa ** (-1 / cells) - 1), rel=1e-9
            )


def test_multi_look_factor_is_the_quantile_of_f() -> None:
    from scipy.stats import f

    for looks in (0.8, 4.0, 16.5):
        cells = np.array([8.0, 100.0, 4880.0])
        assert np.allclose(threshold_factor(1e-5, looks, cells), f.isf(1e-5, 2 * looks, 2 * looks * cells), rtol=1e-7)


def test_factor_falls_with_cells_and_looks() -> None:
    assert (np.diff(threshold_factor(1e-6, 1.0, np.array([4, 16, 64, 1024]))) < 0).all()
    by_looks = [threshold_factor(1e-6, looks, np.array([500]))[0] for looks in (0.5, 1, 4, 16, 64)]
    assert (np.diff(by_looks) < 0).all() and by_looks[-1] > 1


@pytest.mark.parametrize("looks", [0.7, 1.0, 4.0])
def test_table_of_factors_is_exact_enough(looks: float) -> None:
    counts = np.arange(1.0, 4881.0)
    for pfa in (1e-3, 1e-12):
        exact = threshold_factor(pfa, looks, counts * 0.5)
        table = FactorTable(pfa, looks, 4880, 0.5)
        assert np.allclose(table(counts), exact, rtol=2e-4)
        assert table.least == pytest.approx(exact[-1])
    assert np.isinf(table(np.array([0.0])))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 6), st.integers(0, 1000))
def test_box_sum_is_the_plain_sum(height: int, width: int, radius: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 65536, (height, width)).astype(float) ** 2
    got = box_sum(values, radius)
    for y in range(height):
        for x in range(width):
            square = values[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
            assert got[y, x] == pytest.approx(square.sum(), rel=1e-12, abs=1e-3)


@pytest.mark.parametrize("masked", [False, True])
def test_ring_mean_is_the_plain_mean(masked: bool) -> None:
    rng = np.random.default_rng(1)
    values = rng.gamma(1, 100.0, (23, 17))
    usable = rng.random(values.shape) > (0.4 if masked else -1)
    mean, count = ring_mean(values, usable, 2, 5)
    for y in range(23):
        for x in range(17):
            outer = np.zeros(values.shape, dtype=bool)
            outer[max(0, y - 5) : y + 6, max(0, x - 5) : x + 6] = True
            outer[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = False
            chosen = values[outer & usable]
            assert count[y, x] == chosen.size
            assert mean[y, x] == pytest.approx(chosen.mean() if chosen.size else 0.0)


def test_scales_agree_on_the_same_power() -> None:
    amplitude = np.random.default_rng(2).uniform(0.5, 300, (20, 30)).astype(np.float32)
    power = intensity_of(amplitude, SarScale.amplitude)
    assert np.allclose(power, amplitude.astype(float) ** 2)
    assert np.allclose(
        intensity_of((amplitude.astype(float) ** 2).astype(np.float32), SarScale.intensity), power, rtol=1e-6
    )
    assert np.allclose(intensity_of((20 * np.log10(amplitude)).astype(np.float32), SarScale.db), power, rtol=1e-4)
    whole = amplitude.astype(np.uint16)
    assert np.array_equal(intensity_of(whole, None), whole.astype(float) ** 2)
    assert np.array_equal(
        intensity_of(whole.astype(np.uint8), SarScale.uint8), whole.astype(np.uint8).astype(float) ** 2
    )


def test_undeclared_floats_and_broken_values_are_refused() -> None:
    with pytest.raises(BenchError, match="sar_scale"):
        intensity_of(np.ones((2, 2), dtype=np.float32), None)
    for bad in (np.nan, np.inf):
        with pytest.raises(BenchError, match="not finite"):
            intensity_of(np.array([[1.0, bad]], dtype=np.float32), SarScale.amplitude)


def test_floor_of_integers_is_half_a_grey_level() -> None:
    assert intensity_floor(np.zeros((3, 3), dtype=np.uint8), None) == 0.25
    assert intensity_floor(np.zeros((3, 3), dtype=np.uint16), SarScale.intensity) == 0.5
    sea = gamma_sea(1, (300, 300)).astype(np.float32)
    assert intensity_floor(sea, SarScale.intensity) == pytest.approx(1e-3 * np.median(sea), rel=0.2)
    assert intensity_floor(np.zeros((3, 3), dtype=np.float32), SarScale.intensity) == 0


def test_black_areas_are_no_data_and_single_zeros_are_sea() -> None:
    block = np.full((60, 60), 7, dtype=np.uint8)
    block[:20, :30] = 0
    block[40, 40] = block[50:58, 50:58] = 0
    data = has_data(block)
    assert not data[:20, :30].any() and data[20:, :].all() and data[:, 30:].all()
    assert not has_data(np.zeros((1, 1), dtype=np.uint8)).any() and has_data(np.ones((1, 1), dtype=np.uint8)).all()
    for shape in ((5, 300), (4, 4), (2, 9)):
        assert not has_data(np.zeros(shape, dtype=np.uint16)).any() and has_data(np.ones(shape, dtype=np.uint16)).all()


def test_looks_are_recovered_from_clutter() -> None:
    for looks in (1.0, 4.0):
        sea = gamma_sea(looks, (512, 512))
        assert equivalent_looks([(sea, np.ones(sea.shape, dtype=bool))]) == pytest.approx(looks, rel=0.1)
    flat = np.full((32, 32), 9.0)
    assert equivalent_looks([(flat, np.ones(flat.shape, dtype=bool))]) == LOOKS_RANGE[1]
    assert equivalent_looks([(flat, np.zeros(flat.shape, dtype=bool))]) is None
    assert equivalent_looks([(flat[:5], np.ones((5, 32), dtype=bool))]) is None
