"""Any window rendered alone equals the crop of a larger one, byte for byte, in both views."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_toys import no_buildings, open_sea, port, rich_world, with_ships, with_works

from bench.data.windows import Window
from bench.simulator import city
from bench.simulator.clutter import speckle
from bench.simulator.ground import layers_of
from bench.simulator.harbour import Works
from bench.simulator.noise import gaussian_field, white_noise
from bench.simulator.optical import render_optical
from bench.simulator.sar import render_sar
from bench.simulator.ships import Ship
from bench.simulator.spec import OpticalSpec, SarSpec
from bench.simulator.structures import layover_m, reach_m
from bench.simulator.world import World

SIDE, BEYOND = 260, 40
LARGE: Window = (-BEYOND, -BEYOND, SIDE + 2 * BEYOND, SIDE + 2 * BEYOND)
CASES = {  # seed, gsd_m, look and incidence in degrees, elevation of the sun, bits
    "usual": (4, 1.0, 10.0, 35.0, 50.0, 8),
    "fine": (22, 0.5, 100.0, 60.0, 30.0, 16),
    "steep": (21, 2.0, 300.0, 11.0, 7.0, 16),
    "flat": (7, 1.0, 190.0, 69.0, 15.0, 8),
    "coarse": (2, 8.0, 45.0, 45.0, 50.0, 16),
}


def crop(image: np.ndarray, window: Window, large: Window = LARGE) -> np.ndarray:
    y, x = window[0] - large[0], window[1] - large[1]
    return image[y : y + window[2], x : x + window[3]]


def case(name: str) -> tuple[World, OpticalSpec, SarSpec]:
    seed, gsd_m, look_deg, incidence_deg, elevation_deg, bits = CASES[name]
    sar = SarSpec(
        look_deg=look_deg, incidence_deg=incidence_deg, bits=16 if bits == 16 else 8, gain=4000.0 if bits == 16 else 260.0,
        ambiguity_db=-15.0, ambiguity_m=150.0, looks=2,
    )  # fmt: skip
    return (
        rich_world(seed, SIDE, gsd_m),
        OpticalSpec(sun_elevation_deg=elevation_deg, sun_azimuth_deg=look_deg + 70),
        sar,
    )


@lru_cache(maxsize=8)
def rendered(name: str) -> tuple[np.ndarray, np.ndarray]:
    world, optical, sar = case(name)
    return render_optical(world, optical, LARGE), render_sar(world, sar, LARGE)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    height, width = (draw(st.integers(1, 100)) for _ in range(2))
    y0, x0 = (draw(st.integers(-BEYOND, SIDE + BEYOND - side)) for side in (height, width))
    return y0, x0, height, width


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(window=windows())
def test_a_window_is_the_crop_of_a_larger_one(name: str, window: Window) -> None:
    world, optical, sar = case(name)
    wide_optical, wide_sar = rendered(name)
    assert np.array_equal(render_optical(world, optical, window), crop(wide_optical, window))
    assert np.array_equal(render_sar(world, sar, window), crop(wide_sar, window))


def test_the_scenes_of_that_test_hold_everything() -> None:
    """A world without cranes, buildings or wakes would prove little."""
    kinds: set[int] = set()
    for name in CASES:
        world = case(name)[0]
        x1, y1, x2, y2 = world.extent(LARGE)
        assert len(world.buildings_in((x1, y1, x2, y2))) > 20, name
        assert any(x1 < x < x2 and y1 < y < y2 for x, y, _ in world.works.cranes), name
        kinds |= set(np.unique(layers_of(world, LARGE).kind).tolist())
    assert len(kinds) >= 10
    for view in ("optical", "sar"):
        fleets = [world.ships_in(world.extent(LARGE), getattr(world.fleet, view)) for world, _, _ in map(case, CASES)]
        assert sum(any(ship.speed_ms > 0 for ship in fleet) for fleet in fleets) > 2


@settings(max_examples=60, deadline=None, derandomize=True)
@given(window=windows(), looks=st.integers(1, 2), spacing=st.sampled_from([2, 3, 9, 40]))
def test_noise_agrees_in_its_last_bit(window: Window, looks: int, spacing: int) -> None:
    """Rendered images round, so that they would hide most differences of one bit."""
    sar = SarSpec(looks=looks)
    wide = wide_noise(looks, spacing)
    assert np.array_equal(speckle(3, window, sar), crop(wide[0], window))
    assert np.array_equal(gaussian_field(4, spacing, window), crop(wide[1], window))
    assert np.array_equal(
        white_noise(5, window, looks),
        wide[2][:, window[0] + BEYOND :, window[1] + BEYOND :][:, : window[2], : window[3]],
    )


@lru_cache(maxsize=16)
def wide_noise(looks: int, spacing: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return speckle(3, LARGE, SarSpec(looks=looks)), gaussian_field(4, spacing, LARGE), white_noise(5, LARGE, looks)


def test_a_wake_far_behind_a_long_ship_is_in_every_window() -> None:
    world = with_ships(open_sea(1100), Ship(850.0, 500.0, 0.0, 380.0, 55.0, 10.0, 1_000_001))
    window = (470, 280, 60, 40)  # 530 to 570 m behind the middle of the ship, the last of its wake
    large = (400, 250, 200, 700)
    assert np.array_equal(
        render_optical(world, OpticalSpec(), window), crop(render_optical(world, OpticalSpec(), large), window, large)
    )
    assert np.array_equal(
        render_sar(world, SarSpec(), window), crop(render_sar(world, SarSpec(), large), window, large)
    )
    still = with_ships(open_sea(1100), Ship(850.0, 500.0, 0.0, 380.0, 55.0, 0.0, 1_000_001))
    quiet = OpticalSpec(noise=0.0)
    # there is a wake
    assert not np.array_equal(render_optical(world, quiet, window), render_optical(still, quiet, window))


def test_a_crane_is_the_same_in_windows_that_cut_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with_works(monkeypatch, Works(cranes=[(100.0, 100.0, 0.4)]))
    for gsd_m in (1.0, 4.0):
        world = World(port(round(200 / gsd_m), gsd_m=gsd_m, land_share=0.0, islands=0, traffic=0, anchorages=0))
        whole = render_optical(world, OpticalSpec(), (0, 0, round(200 / gsd_m), round(200 / gsd_m)))
        for start in range(0, round(150 / gsd_m), 7):
            window = (start, start // 2, round(40 / gsd_m), round(40 / gsd_m))
            assert np.array_equal(render_optical(world, OpticalSpec(), window), crop(whole, window, (0, 0, 0, 0)))


def test_a_crane_on_the_far_side_of_a_window_is_laid_over_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    no_buildings(monkeypatch)
    with_works(monkeypatch, Works(cranes=[(600.0, 300.0, float(np.pi))]))
    world = World(port(900, land_share=0.0, islands=0, traffic=0, anchorages=0))
    sar = SarSpec(look_deg=0.0, incidence_deg=11.0, sea_db=-60.0, noise_db=-60.0, bits=16, gain=4000.0)
    whole = render_sar(world, sar, (200, 100, 200, 700))
    assert layover_m(50.0, 11.0) > 250
    for x0 in range(300, 620, 40):
        window = (260, x0, 80, 40)
        assert np.array_equal(render_sar(world, sar, window), crop(whole, window, (200, 100, 200, 700)))


def test_no_structure_reaches_farther_than_is_looked_for() -> None:
    """Margins follow from the tallest and the widest structures; a taller one would be cut at the edges of windows."""
    for seed in range(6):
        world = rich_world(seed, SIDE, (1.0, 2.0, 8.0)[seed % 3])
        found = city.joined([*world.works.blocks, world.buildings_in(world.extent(LARGE, 300.0))])
        breadth = 2 * np.hypot(found.half[:, 0], found.half[:, 1])
        for slope in (0.2, 1.0, 3.0, 8.0):
            assert (found.height_m * slope + breadth).max() <= reach_m(slope)
    for style in city.STYLES.values():
        size = np.hypot(style.size_m[0][1], style.size_m[1][1])
        assert all(style.height_m[1] * slope + size <= reach_m(slope) for slope in (0.2, 1.0, 3.0, 8.0))
