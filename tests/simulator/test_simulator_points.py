"""Point scatterers: where their responses peak, how wide they are, what side lobes and ambiguities they have, how much
energy.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from simulator_toys import open_sea, with_ships

from bench.simulator.sar import render_sar
from bench.simulator.ships import Ship
from bench.simulator.spec import SarSpec
from bench.simulator.targets import Scatterers, add_scatterers, axes, ghosts, main_lobe, response, ship_scatterers

SIDE = 160
LOOKS = (0.0, 37.0, 90.0, 200.0)


def image_of(at: list[tuple[float, float]], amplitude: list[complex], gsd_m: float, sar: SarSpec) -> np.ndarray:
    """Return the power of points at (x, y) in metres, (SIDE, SIDE)."""
    power = np.zeros((SIDE, SIDE), dtype=np.float32)
    add_scatterers(power, Scatterers(np.array(at), np.array(amplitude, dtype=complex)), gsd_m, (0, 0, SIDE, SIDE), sar)
    return power


def profile(
    power: np.ndarray, middle_px: float, look_deg: float, reach_px: float, across: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances in pixels and the power along range (or azimuth) through a point at (middle_px, middle_px)."""
    turn = math.radians(look_deg + 90 * across)
    at = np.linspace(-reach_px, reach_px, 4001)
    places = [middle_px - 0.5 + at * math.sin(turn), middle_px - 0.5 + at * math.cos(turn)]
    return at, map_coordinates(power.astype(float), places, order=5)


@pytest.mark.parametrize("look_deg", LOOKS)
@pytest.mark.parametrize("taper", [1.0, 0.75, 0.54])
def test_half_power_width_is_the_resolution(look_deg: float, taper: float) -> None:
    for resolution_px in (2.5, 5.0):
        sar = SarSpec(look_deg=look_deg, taper=taper, resolution_px=resolution_px)
        power = image_of([(80.5, 80.5)], [100.0], 1.0, sar)
        for across in (False, True):
            at, along = profile(power, 80.5, look_deg, resolution_px, across)
            wide = at[along > along.max() / 2]
            assert wide[-1] - wide[0] == pytest.approx(resolution_px, rel=0.02)


def test_width_of_the_main_lobe_by_window() -> None:
    """0.886 without a window and 1.303 for Hamming's: Harris 1978, table 1, -3 dB in bins (0.89, 1.30)."""
    assert main_lobe(1.0) == pytest.approx(0.8859, abs=1e-4)
    assert main_lobe(0.54) == pytest.approx(1.303, abs=1e-3)
    for taper in (0.5, 0.66, 0.8, 0.95):
        assert response(np.array([main_lobe(taper) / 2]), taper)[0] ** 2 == pytest.approx(0.5)


@pytest.mark.parametrize("look_deg", LOOKS)
def test_first_side_lobe_lies_13_db_under_the_peak(look_deg: float) -> None:
    power = image_of([(80.5, 80.5)], [1000.0], 1.0, SarSpec(look_deg=look_deg, taper=1.0, resolution_px=6.0))
    null = 6.0 / 0.8859
    at, along = profile(power, 80.5, look_deg, 2 * null, False)
    side = along[(np.abs(at) > null) & (np.abs(at) < 2 * null)].max()
    assert 10 * math.log10(side / along.max()) == pytest.approx(-13.26, abs=0.15)


def test_a_window_lowers_the_side_lobes() -> None:
    at = np.linspace(-8, 8, 16001)
    levels = []
    for taper in (1.0, 0.75, 0.54):
        power = response(at, taper) ** 2
        falling = np.nonzero(np.diff(power[8000:]) > 0)[0][0]  # the end of the main lobe
        levels.append(10 * math.log10(power[8000 + falling :].max()))
    assert levels[0] == pytest.approx(-13.26, abs=0.02) and levels[1] < levels[0] - 5
    assert levels[2] < -41  # Hamming: -43 dB with 0.54 to two digits (Harris 1978, table 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    x=st.floats(60, 100), y=st.floats(60, 100), gsd_m=st.sampled_from([0.5, 1.0, 3.0]), look_deg=st.floats(0, 360),
    taper=st.floats(0.5, 1.0), resolution_px=st.floats(1.5, 4.0),
)  # fmt: skip
def test_a_point_peaks_where_it_is(
    x: float, y: float, gsd_m: float, look_deg: float, taper: float, resolution_px: float
) -> None:
    sar = SarSpec(look_deg=look_deg, taper=taper, resolution_px=resolution_px)
    power = image_of([(x * gsd_m, y * gsd_m)], [50.0 * gsd_m], gsd_m, sar)
    row, column = np.unravel_index(int(power.argmax()), power.shape)
    fine = np.linspace(-1.5, 1.5, 61)
    rows, columns = (axis.ravel() for axis in np.meshgrid(row + fine, column + fine, indexing="ij"))
    best = int(map_coordinates(power.astype(float), [rows, columns], order=5).argmax())
    assert abs(rows[best] + 0.5 - y) <= 0.25 and abs(columns[best] + 0.5 - x) <= 0.25


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    x=st.floats(45, 115), y=st.floats(45, 115), gsd_m=st.sampled_from([0.5, 1.0, 3.0]), amplitude=st.floats(0.1, 500),
    look_deg=st.floats(0, 360), taper=st.floats(0.5, 1.0), resolution_px=st.floats(0.5, 6.0),
)  # fmt: skip
def test_energy_is_the_cross_section_over_the_pixel(
    x: float, y: float, gsd_m: float, amplitude: float, look_deg: float, taper: float, resolution_px: float
) -> None:
    sar = SarSpec(look_deg=look_deg, taper=taper, resolution_px=resolution_px)
    power = image_of([(x * gsd_m, y * gsd_m)], [amplitude * np.exp(1j)], gsd_m, sar)
    assert power.sum(dtype=np.float64) == pytest.approx(amplitude**2 / gsd_m**2, rel=1e-4)


def test_points_add_up_coherently() -> None:
    sar = SarSpec()
    here = (80.0, 80.0)
    one = image_of([here], [3.0], 1.0, sar)
    assert np.allclose(image_of([here, here], [3.0, 3.0], 1.0, sar), 4 * one, rtol=1e-5)
    assert image_of([here, here], [3.0, -3.0], 1.0, sar).max() < 1e-9
    assert np.allclose(image_of([here, here], [3.0, 3.0j], 1.0, sar), 2 * one, rtol=1e-5)


@pytest.mark.parametrize("look_deg", LOOKS)
def test_ambiguities_lie_at_their_offset_along_azimuth_at_their_level(look_deg: float) -> None:
    sar = SarSpec(look_deg=look_deg, ambiguity_db=-20.0, ambiguity_m=55.0)
    azimuth = np.array([-math.sin(math.radians(look_deg)), math.cos(math.radians(look_deg))])
    assert np.allclose(axes(sar)[1], azimuth)
    points = Scatterers(np.array([[80.5, 80.5]]), np.array([2000.0 + 0j]))
    copies = ghosts(points, sar)
    power = image_of([tuple(at) for at in copies.at], copies.amplitude.tolist(), 1.0, sar)
    for side in (-1, 1):
        x, y = 80.0 + side * 55.0 * azimuth
        row, column = round(float(y)), round(float(x))
        near = power[row - 8 : row + 9, column - 8 : column + 9]
        peak = np.unravel_index(int(near.argmax()), near.shape)
        assert abs(int(peak[0]) - 8) <= 1 and abs(int(peak[1]) - 8) <= 1
        assert near.sum(dtype=np.float64) == pytest.approx(0.01 * 2000.0**2, rel=0.03)


def test_ambiguities_of_a_ship_are_in_the_rendered_image() -> None:
    sar = SarSpec(sea_db=-60.0, noise_db=-60.0, sea_shape=None, bits=16, gain=3000.0)
    twofold = sar.model_copy(update={"ambiguity_db": -12.0, "ambiguity_m": 100.0})
    ship = Ship(150.0, 150.0, 0.3, 40.0, 8.0, 0.0, 1)
    world = with_ships(open_sea(300), ship)
    window = (0, 0, 300, 300)
    plain = (render_sar(world, sar, window).astype(float) / 3000) ** 2
    doubled = (render_sar(world, twofold, window).astype(float) / 3000) ** 2
    total = plain[100:200].sum()
    points = float((np.abs(ship_scatterers(0, ship, sar).amplitude) ** 2).sum())
    assert points / 3 < total < 3 * points  # coherent sums of points scatter about the sum of powers
    for rows in (slice(20, 80), slice(220, 280)):
        assert doubled[rows].sum() / total == pytest.approx(10**-1.2, rel=0.15)
        assert plain[rows].sum() < 0.2 * doubled[rows].sum()
