"""Where things lie: flat ground in the same pixels of both views, layover, shadow and sunlight as long as trigonometry
says.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial import ConvexHull
from simulator_toys import EMPTY, covered, no_buildings, one_building, open_sea, port, with_works

from bench.simulator.ground import layers_of
from bench.simulator.harbour import Work, Works, strip
from bench.simulator.materials import WATER, Ground
from bench.simulator.optical import render_optical
from bench.simulator.sar import render_sar
from bench.simulator.spec import OpticalSpec, SarSpec
from bench.simulator.structures import (
    facing,
    layover_m,
    level_power,
    raised_in_optical,
    raised_in_sar,
    shadow_m,
    swept,
    to_level,
)
from bench.simulator.world import World

CRISP = OpticalSpec(noise=0.0, blur_px=0.0, haze=0.0)
CLEAR = SarSpec(sea_db=-60.0, sea_shape=None, noise_db=-70.0, looks=16, bits=16, gain=20_000.0)
LOOKS = (0.0, 33.0, 90.0, 140.0, 180.0, 215.0, 270.0, 330.0)


# -- registration ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("gsd_m", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("angle", [0.0, 0.3, 2.0])
def test_a_flat_strip_lies_in_the_same_pixels_of_both_views(
    monkeypatch: pytest.MonkeyPatch, gsd_m: float, angle: float
) -> None:
    side = 120
    middle, reach = 60.3 * gsd_m, 41.7 * gsd_m
    dx, dy = reach * math.cos(angle), reach * math.sin(angle)
    corners = strip(middle - dx, middle - dy, middle + dx, middle + dy, 13.4 * gsd_m)
    with_works(monkeypatch, Works([Work(corners, Ground.SOIL, 0.0)]))  # a material without walls
    world = World(port(side, gsd_m=gsd_m, land_share=0.0, **EMPTY))
    window = (0, 0, side, side)
    truth = covered(corners, gsd_m, side)
    assert 300 < truth.sum() < side * side / 4
    assert np.array_equal(layers_of(world, window).kind == Ground.SOIL, truth)
    assert np.array_equal(render_optical(world, CRISP, window)[:, :, 0] > 48, truth)  # soil 0.44 in red, water 0.075
    # soil -14.5 dB, water -60 dB
    assert np.array_equal(render_sar(world, CLEAR, window) > 20_000 * 10 ** (-35 / 20), truth)


@pytest.mark.parametrize("seed", range(3))
def test_the_coast_lies_in_the_same_pixels_of_both_views(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    no_buildings(monkeypatch)
    side = 200
    world = World(port(side, seed=seed, gsd_m=2.0, relief_m=40.0, land_share=0.5, **EMPTY))
    window = (0, 0, side, side)
    water = np.isin(layers_of(world, window).kind, WATER)
    assert 0.3 < water.mean() < 0.7
    sar = CLEAR.model_copy(update={"sea_db": -90.0, "noise_db": -90.0})
    assert np.array_equal(render_sar(world, sar, window) < 20_000 * 10 ** (-60 / 20), water)
    red, _, blue = np.moveaxis(render_optical(world, CRISP, window), 2, 0)
    assert np.array_equal((red <= 48) & (red < blue), water)  # water is dark and bluish


def edges(image: np.ndarray) -> np.ndarray:
    """Return the gradient magnitude of smoothed log grey levels, zero mean and unit norm."""
    grey = gaussian_filter(np.log(image.astype(float) + 5.0), 1.5)
    gradient = np.hypot(*np.gradient(grey))
    gradient -= gradient.mean()
    out: np.ndarray = gradient / np.linalg.norm(gradient)
    return out


def shift_between(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Return the shift in pixels y, x at which the edges of `other` lie best on those of `one`."""
    product = np.fft.ifft2(np.fft.fft2(edges(one)) * np.conj(np.fft.fft2(edges(other)))).real
    y, x = np.unravel_index(int(product.argmax()), product.shape)
    return tuple(int(at if at < side / 2 else at - side) for at, side in zip((y, x), product.shape, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("look_deg", [0.0, 120.0, 250.0])
def test_rendered_views_of_flat_country_match_best_without_a_shift(
    monkeypatch: pytest.MonkeyPatch, look_deg: float
) -> None:
    no_buildings(monkeypatch)
    world = World(port(320, seed=3, land_share=0.6, relief_m=60.0, **EMPTY))
    window = (0, 0, 320, 320)
    optical = render_optical(world, OpticalSpec(), window).mean(axis=2)
    sar = render_sar(world, SarSpec(look_deg=look_deg, looks=4), window)
    assert shift_between(optical, sar) == (0, 0)
    assert shift_between(np.roll(optical, (1, -2), axis=(0, 1)), sar) == (1, -2)  # it would see a single pixel


# -- layover, shadow, sunlight -----------------------------------------------------------------------------------------
def span(mask: np.ndarray, direction: np.ndarray) -> tuple[float, float]:
    """Return the least and the largest coordinate along a direction of a mask's pixel centres, in pixels."""
    rows, columns = np.nonzero(mask)
    along = (columns + 0.5) * direction[0] + (rows + 0.5) * direction[1]
    return float(along.min()), float(along.max())


@pytest.mark.parametrize("look_deg", LOOKS)
@pytest.mark.parametrize(
    ("height_m", "incidence_deg", "gsd_m"), [(20.0, 35.0, 1.0), (45.0, 24.0, 2.0), (8.0, 60.0, 0.5)]
)
def test_layover_and_shadow_are_as_long_as_the_height_says(
    look_deg: float, height_m: float, incidence_deg: float, gsd_m: float
) -> None:
    look = np.array([math.cos(math.radians(look_deg)), math.sin(math.radians(look_deg))])
    sar = SarSpec(look_deg=look_deg, incidence_deg=incidence_deg)
    building = one_building((150.0 * gsd_m, 150.0 * gsd_m), half=(11.0, 7.0), angle=0.4, height_m=height_m)
    raised = raised_in_sar(open_sea(300, gsd_m), (0, 0, 300, 300), building, sar)
    corners = building.corners()[0] / gsd_m
    near, far = float((corners @ look).min()), float((corners @ look).max())
    layover_px = height_m / math.tan(math.radians(incidence_deg)) / gsd_m
    shadow_px = height_m * math.tan(math.radians(incidence_deg)) / gsd_m
    assert span(raised.laid > 0, look)[0] == pytest.approx(near - layover_px, abs=1.0)
    assert span(raised.shadow > 0, look)[1] == pytest.approx(far + shadow_px, abs=1.0)
    assert span(raised.shadow > 0, look)[0] == pytest.approx(near, abs=1.0)
    foot = span(raised.corner > 0, look)  # double bounce: walls that face the sensor, at their feet
    assert foot[0] == pytest.approx(near, abs=1.5) and foot[1] < far - 1  # a line two pixels thick at 0.5 m
    across = np.array([-look[1], look[0]])
    low, high = float((corners @ across).min()), float((corners @ across).max())
    for mask in (raised.laid > 0, raised.shadow > 0):
        assert list(span(mask, across)) == pytest.approx([low, high], abs=1.0)


@pytest.mark.parametrize("look_deg", LOOKS[1::2])
def test_shadow_and_layover_are_the_shapes_that_a_block_sweeps(look_deg: float) -> None:
    """Every pixel in the outline is covered, and none more than a pixel outside."""
    look = np.array([math.cos(math.radians(look_deg)), math.sin(math.radians(look_deg))])
    building = one_building((100.0, 100.0), half=(14.0, 8.0), angle=1.1, height_m=25.0)
    raised = raised_in_sar(open_sea(200), (0, 0, 200, 200), building, SarSpec(look_deg=look_deg, incidence_deg=40.0))
    length = 25.0 * math.tan(math.radians(40.0))
    hull = hull_of(np.concatenate([building.corners()[0], building.corners()[0] + length * look]))
    inner = covered(hull, 1.0, 200)
    middle = hull.mean(axis=0)
    outward = (hull - middle) / np.linalg.norm(hull - middle, axis=1, keepdims=True)
    outer = covered(hull + 2.5 * outward, 1.0, 200)
    assert inner.sum() > 300
    assert (raised.shadow[inner] > 0).all() and not raised.shadow[~outer].any()


@pytest.mark.parametrize("azimuth_deg", LOOKS)
@pytest.mark.parametrize(("height_m", "elevation_deg"), [(20.0, 50.0), (30.0, 25.0)])
def test_the_sun_throws_shadows_of_the_right_length_and_direction(
    azimuth_deg: float, height_m: float, elevation_deg: float
) -> None:
    sun = np.array([math.cos(math.radians(azimuth_deg)), math.sin(math.radians(azimuth_deg))])
    building = one_building((150.0, 150.0), half=(11.0, 7.0), angle=0.4, height_m=height_m)
    optical = OpticalSpec(sun_azimuth_deg=azimuth_deg, sun_elevation_deg=elevation_deg)
    roofs, shadow = raised_in_optical(open_sea(300), (0, 0, 300, 300), building, optical)
    corners = building.corners()[0] @ sun
    length = height_m / math.tan(math.radians(elevation_deg))
    assert span(shadow > 0, sun)[1] == pytest.approx(corners.max() + length, abs=1.0)
    assert list(span(roofs > 0, sun)) == pytest.approx([corners.min(), corners.max()], abs=1.0)
    assert (roofs > 0)[covered(building.corners()[0], 1.0, 300)].all()


def test_rendered_shadow_is_dark_and_rendered_layover_is_bright(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lengths in the image itself: one block on a field, looked at from the left."""
    no_buildings(monkeypatch)
    block = one_building((100.0, 100.0), half=(10.0, 10.0), height_m=30.0)
    with_works(monkeypatch, Works(blocks=[block]))
    world = World(port(200, land_share=1.0, urban=0.0, **EMPTY))
    sar = SarSpec(incidence_deg=45.0, looks=16, noise_db=-60.0, resolution_px=1.0, bits=16, gain=20_000.0)
    profile = ((render_sar(world, sar, (0, 0, 200, 200))[92:108] / sar.gain) ** 2).mean(axis=0)
    assert profile[112:138].max() < 0.01 * profile[150:190].mean()  # shadow from the far wall at 110, 30 m long
    assert profile[143:190].min() > 20 * profile[112:138].max()
    assert profile[[88, 89, 90, 91]].max() > 10 * profile[10:50].mean()  # double bounce at the near wall
    assert profile[62:88].mean() > profile[10:50].mean()  # layover from 60


@pytest.mark.parametrize("incidence_deg", [20.0, 45.0, 65.0])
def test_lengths_of_one_metre(incidence_deg: float) -> None:
    assert layover_m(1.0, incidence_deg) == pytest.approx(1 / math.tan(math.radians(incidence_deg)))
    assert shadow_m(1.0, incidence_deg) == pytest.approx(math.tan(math.radians(incidence_deg)))


# -- shapes ------------------------------------------------------------------------------------------------------------
def hull_of(points: np.ndarray) -> np.ndarray:
    """Return the convex hull of points (n, 2), turning from +x towards +y (counted as positive area)."""
    return points[ConvexHull(points).vertices]


def area(corners: np.ndarray) -> float:
    x, y = corners.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    turns=st.lists(st.integers(0, 359), min_size=3, max_size=9, unique=True), axes=st.tuples(st.floats(1, 50), st.floats(1, 50)),
    direction=st.floats(0, 2 * math.pi), length=st.floats(0.01, 100),
)  # fmt: skip
def test_swept_is_the_convex_hull(turns: list[int], axes: tuple[float, float], direction: float, length: float) -> None:
    angle = np.radians(sorted(turns))
    corners = np.stack([axes[0] * np.cos(angle), axes[1] * np.sin(angle)], axis=1)
    shift = length * np.array([math.cos(direction), math.sin(direction)])
    found = swept(corners[None], shift[None])[0]
    hull = hull_of(np.concatenate([corners, corners + shift]))
    assert area(found) == pytest.approx(area(hull), rel=1e-6, abs=1e-6)
    assert area(hull_of(found)) == pytest.approx(area(found), rel=1e-6, abs=1e-6)  # convex: its own hull, walked once


def test_facing_is_the_cosine_of_the_outward_normal() -> None:
    square = one_building((5.0, 5.0)).corners()
    assert facing(square, np.array([1.0, 0.0])).round(12).tolist() == [[0.0, 1.0, 0.0, -1.0]]
    assert facing(square, np.array([0.0, 1.0])).round(12).tolist() == [[-1.0, 0.0, 1.0, 0.0]]


def test_levels_hold_backscatter_to_a_tenth_of_a_decibel() -> None:
    decibels = np.linspace(-29.9, 20.0, 500)
    assert np.abs(10 * np.log10(level_power()[to_level(decibels)]) - decibels).max() < 0.101
    assert level_power()[0] == 0
