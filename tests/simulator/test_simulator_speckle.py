"""Speckle and sea clutter: the moments and distributions that theory gives, within sampling error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from simulator_toys import open_sea

from bench.data.windows import Window
from bench.simulator.clutter import HALO_PX, sea_texture, speckle
from bench.simulator.noise import gaussian_field, mix, white_noise
from bench.simulator.sar import render_sar
from bench.simulator.spec import SarSpec

SIDE, BLOCK = 832, 52
APART = 2 * HALO_PX + 1  # pixels so far apart share no noise
SWELL_GSD_M = 4.5  # a texture's lattice is 2 px wide here, so that an image holds many independent values


def estimate(image: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
    """Return a statistic of the moments 1 to 4 of an image and its standard error, by leaving out one block of 52 px at
    a time.

    Blocks are much wider than any correlation, so that they are as good as independent.
    """
    side = len(image) // BLOCK
    blocks = image.reshape(side, BLOCK, side, BLOCK).astype(np.float64)
    moments = np.stack([(blocks**power).mean(axis=(1, 3)).ravel() for power in (1, 2, 3, 4)])
    count = moments.shape[1]
    without = statistic((moments.sum(axis=1, keepdims=True) - moments) / (count - 1))
    return float(statistic(moments.mean(axis=1))), float(np.sqrt((count - 1) * without.var()))


def second(moments: np.ndarray) -> np.ndarray:
    out: np.ndarray = moments[1] / moments[0] ** 2
    return out


def third(moments: np.ndarray) -> np.ndarray:
    out: np.ndarray = moments[2] / moments[0] ** 3
    return out


def variation(moments: np.ndarray) -> np.ndarray:
    out: np.ndarray = np.sqrt(second(moments) - 1)
    return out


def check(image: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], expected: float, sharp: float) -> None:
    """The statistic must lie within four standard errors, and these must be small enough to tell wrong formulas
    apart.
    """
    found, error = estimate(image, statistic)
    assert error < sharp * expected, (
        f"{statistic.__name__}: standard error {error:.3g} of {expected:.3g} proves nothing"
    )
    assert abs(found - expected) < 4 * error, (
        f"{statistic.__name__} {found:.4f} +- {error:.4f}, expected {expected:.4f}"
    )


@pytest.mark.parametrize(
    ("looks", "resolution_px", "taper"), [(1, 1.3, 0.75), (2, 1.0, 1.0), (4, 2.0, 0.54), (16, 1.3, 0.9)]
)
def test_coefficient_of_variation_is_one_over_the_root_of_looks(looks: int, resolution_px: float, taper: float) -> None:
    sar = SarSpec(looks=looks, resolution_px=resolution_px, taper=taper)
    image = speckle(1, (0, 0, SIDE, SIDE), sar)
    check(image, lambda moments: moments[0], 1.0, 0.005)
    check(image, variation, looks**-0.5, 0.01)
    check(image, third, (1 + 1 / looks) * (1 + 2 / looks), 0.03)


@pytest.mark.parametrize("looks", [1, 3])
def test_speckle_is_gamma_distributed(looks: int) -> None:
    far = APART * 90
    values = speckle(2, (0, 0, far, far), SarSpec(looks=looks))[::APART, ::APART].ravel()
    right = stats.kstest(values, stats.gamma(looks, scale=1 / looks).cdf)
    wrong = stats.kstest(values, stats.gamma(looks * 1.2, scale=1 / looks / 1.2).cdf)
    assert right.pvalue > 1e-3 > wrong.pvalue


def test_speckle_is_as_wide_as_the_resolution() -> None:
    """Fields of a boxlike spectrum (no taper) are uncorrelated at the first null of the response, one resolution over
    0.886 away; half as far, their intensities correlate by sinc(1 / 2)^2 = 0.41, somewhat more where the kernel is cut
    after six pixels.
    """
    for resolution_px, lag, low, high in ((0.886, 1, -0.02, 0.02), (1.772, 2, -0.02, 0.02), (1.772, 1, 0.38, 0.50)):
        image = speckle(3, (0, 0, SIDE, SIDE), SarSpec(looks=1, resolution_px=resolution_px, taper=1.0))
        for one, other in ((image[lag:], image[:-lag]), (image[:, lag:], image[:, :-lag])):
            found = float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
            assert low < found < high, f"{resolution_px} px, lag {lag}: {found:.3f}"


def sea_clutter(seed: int, window: Window, sar: SarSpec, gsd_m: float) -> np.ndarray:
    """Return (height, width) float32 intensity of open sea of mean 1, as `render_sar` has it where there is nothing
    else.
    """
    out = speckle(mix(seed, 81), window, sar)
    return out if sar.sea_shape is None else out * sea_texture(mix(seed, 82), window, sar.sea_shape, gsd_m)


@pytest.mark.parametrize(("shape", "looks"), [(0.7, 1), (2.0, 1), (2.0, 4), (12.0, 2)])
def test_sea_is_k_distributed(shape: float, looks: int) -> None:
    side = 2 * SIDE if shape < 1 else SIDE
    image = sea_clutter(4, (0, 0, side, side), SarSpec(looks=looks, sea_shape=shape), SWELL_GSD_M)
    check(image, lambda moments: moments[0], 1.0, 0.03)
    check(image, second, (1 + 1 / looks) * (1 + 1 / shape), 0.05)
    check(image, third, (1 + 1 / looks) * (1 + 2 / looks) * (1 + 1 / shape) * (1 + 2 / shape), 0.15)


@pytest.mark.parametrize("shape", [0.5, 3.0, 20.0])
def test_texture_is_gamma_distributed(shape: float) -> None:
    spacing = round(9.0 / SWELL_GSD_M)
    apart = 6 * spacing  # no lattice point in common
    side = 100 * apart
    values = sea_texture(5, (0, 0, side, side), shape, SWELL_GSD_M)[::apart, ::apart].ravel()
    right = stats.kstest(values, stats.gamma(shape, scale=1 / shape).cdf)
    wrong = stats.kstest(values, stats.gamma(shape * 1.15, scale=1 / shape / 1.15).cdf)
    assert right.pvalue > 1e-3 > wrong.pvalue


def test_without_texture_sea_is_speckle() -> None:
    sar = SarSpec(looks=2, sea_shape=None)
    check(sea_clutter(6, (0, 0, SIDE, SIDE), sar, 1.0), second, 1.5, 0.01)


def test_rendered_sea_has_the_clutter_and_the_mean_that_the_spec_says() -> None:
    sar = SarSpec(sea_db=-18.0, sea_shape=5.0, noise_db=-80.0, bits=16, gain=40_000.0, looks=2)
    world = open_sea(3 * BLOCK, seed=7)
    window = (0, 0, 3 * BLOCK, 3 * BLOCK)
    intensity = (render_sar(world, sar, window) / sar.gain) ** 2
    expected = 10 ** (sar.sea_db / 10) * sea_clutter(7, window, sar, world.spec.gsd_m)
    assert np.allclose(np.sqrt(intensity), np.sqrt(expected), atol=1.0 / sar.gain, rtol=1e-5)


def test_noise_floor_adds_as_power() -> None:
    quiet = SarSpec(sea_db=-80.0, noise_db=-25.0, sea_shape=None, looks=4, bits=16, gain=40_000.0)
    image = (render_sar(open_sea(4 * BLOCK), quiet, (0, 0, 4 * BLOCK, 4 * BLOCK)) / quiet.gain) ** 2
    check(image, lambda moments: moments[0], 10**-2.5, 0.02)


def test_fields_are_standard_normal() -> None:
    white = white_noise(8, (-70, -10, 200, 300), 2)
    assert stats.kstest(white.ravel()[::5], "norm").pvalue > 1e-3
    assert abs(np.corrcoef(white[0].ravel(), white[1].ravel())[0, 1]) < 4 / np.sqrt(white[0].size)
    smooth = gaussian_field(9, 3, (0, 0, 18 * 100, 18 * 100))[::18, ::18]
    assert stats.kstest(smooth.ravel(), "norm").pvalue > 1e-3
