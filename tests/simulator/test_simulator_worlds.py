"""Worlds: the share of land that was asked for, the same world again, and no spec within its bounds that breaks the
renderers.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from simulator_toys import EMPTY, port, rich_world

from bench.simulator.coast import Grid, inland_map, signed_distance
from bench.simulator.ground import layers_of
from bench.simulator.materials import WATER
from bench.simulator.optical import render_optical
from bench.simulator.sar import render_sar, sar_boxes
from bench.simulator.spec import OpticalSpec, PortSpec, SarSpec
from bench.simulator.world import World, world_of


@pytest.mark.parametrize("gsd_m", [1.0, 4.0])
@pytest.mark.parametrize("land_share", [0.0, 0.1, 0.35, 0.6, 0.9, 1.0])
def test_land_has_the_share_that_was_asked_for(land_share: float, gsd_m: float) -> None:
    for seed in range(3):
        world = World(PortSpec(height_px=500, width_px=700, seed=seed, gsd_m=gsd_m, land_share=land_share, **EMPTY))
        window = (0, 0, 500, 700)
        found = 1 - np.isin(layers_of(world, window).kind, WATER).mean()
        assert found == pytest.approx(land_share, abs=0.0 if land_share in (0.0, 1.0) else 0.03)
        assert world.land_share(window) == pytest.approx(land_share, abs=0.0 if land_share in (0.0, 1.0) else 0.03)


def test_islands_and_harbours_come_on_top() -> None:
    bare = World(port(600, land_share=0.3, seed=1, **EMPTY))
    more = World(port(600, land_share=0.3, seed=1, islands=20.0, ports=10.0, traffic=0, anchorages=0))
    assert more.land_share((0, 0, 600, 600)) > bare.land_share((0, 0, 600, 600))


def test_distance_to_a_straight_coast() -> None:
    land = np.zeros((60, 80), dtype=bool)
    land[:, 30:] = True
    found = signed_distance(land, 8.0)
    assert np.allclose(found[30, 35:60], (np.arange(35, 60) - 29.5) * 8.0, atol=0.5)
    assert np.allclose(found[30, 5:25], (np.arange(5, 25) - 29.5) * 8.0, atol=0.5)


def test_interpolation_at_points_is_the_one_at_pixels() -> None:
    grid = Grid.of(port(100, gsd_m=1.5))
    values = np.random.default_rng(0).normal(size=(grid.rows, grid.columns)).astype(np.float32)
    window = (-13, 5, 70, 90)
    y, x = np.meshgrid((np.arange(70) - 13 + 0.5) * 1.5, (np.arange(90) + 5 + 0.5) * 1.5, indexing="ij")
    assert np.allclose(grid.smooth(values, window), grid.interpolated(values, x, y), atol=1e-4)


def test_a_world_is_a_function_of_its_spec() -> None:
    spec = rich_world(1, 200, 2.0).spec
    one, two, other = World(spec), World(spec), World(spec.model_copy(update={"seed": 2}))
    window = (10, 20, 90, 80)
    assert one.fleet == two.fleet != other.fleet
    for images in (
        [render_optical(world, OpticalSpec(), window) for world in (one, two, other)],
        [render_sar(world, SarSpec(), window) for world in (one, two, other)],
    ):
        assert np.array_equal(images[0], images[1]) and not np.array_equal(images[0], images[2])
    assert world_of(spec) is world_of(spec)


def test_districts_are_forgotten_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.simulator import world as module

    spec = port(900, seed=2, gsd_m=2.0, land_share=0.9)
    whole = render_sar(World(spec), SarSpec(), (0, 0, 900, 900))
    monkeypatch.setattr(module, "_KEPT_DISTRICTS", 2)
    small = World(spec)
    for y0, x0 in ((0, 0), (450, 450), (0, 450), (0, 0)):
        assert np.array_equal(render_sar(small, SarSpec(), (y0, x0, 450, 450)), whole[y0 : y0 + 450, x0 : x0 + 450])


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**31), height=st.integers(32, 120), width=st.integers(32, 120), gsd_m=st.floats(0.25, 30.0),
    land_share=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)), relief_m=st.floats(1, 2000), urban=st.floats(0, 1),
    ships=st.one_of(st.none(), st.integers(0, 5)), ports=st.floats(0, 30), islands=st.floats(0, 5),
    look_deg=st.floats(-360, 360), incidence_deg=st.floats(10.1, 69.9), resolution_px=st.floats(0.5, 6), taper=st.floats(0.5, 1),
    bits=st.sampled_from([8, 16]), elevation_deg=st.floats(8, 89.9), season=st.sampled_from(["spring", "summer", "autumn", "winter"]),
)  # fmt: skip
def test_no_spec_breaks_the_renderers(
    seed: int, height: int, width: int, gsd_m: float, land_share: float, relief_m: float, urban: float, ships: int | None, ports: float,
    islands: float, look_deg: float, incidence_deg: float, resolution_px: float, taper: float, bits: int, elevation_deg: float, season: str,
) -> None:  # fmt: skip
    """Sizes, resolutions and angles at and between their bounds."""
    spec = PortSpec(
        seed=seed, height_px=height, width_px=width, gsd_m=gsd_m, land_share=land_share, relief_m=relief_m, urban=urban, ships=ships,
        ports=ports, islands=islands,
    )  # fmt: skip
    sar = SarSpec.model_validate(
        {
            "look_deg": look_deg,
            "incidence_deg": incidence_deg,
            "resolution_px": resolution_px,
            "taper": taper,
            "bits": bits,
        }
    )
    optical = OpticalSpec.model_validate({"sun_elevation_deg": elevation_deg, "season": season})
    world = World(spec)
    window = (0, 0, height, width)
    image, amplitude = render_optical(world, optical, window), render_sar(world, sar, window)
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
    assert amplitude.shape == (height, width) and amplitude.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert image.std() > 0 and amplitude.std() > 0
    boxes = sar_boxes(world, sar, window)
    assert boxes.shape == (len(boxes), 4) and (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes >= 0).all() and (boxes <= [width, height, width, height]).all()
    assert ships is None or len(world.fleet.sar) <= ships


def test_the_smallest_and_the_most_oblong_scene() -> None:
    for height, width, gsd_m in ((32, 32, 0.25), (32, 32, 30.0), (32, 900, 1.0), (900, 32, 3.0)):
        world = World(PortSpec(height_px=height, width_px=width, gsd_m=gsd_m))
        assert render_sar(world, SarSpec(), (0, 0, height, width)).shape == (height, width)
        grid = Grid.of(world.spec)
        assert inland_map(world.spec, grid).shape == (grid.rows, grid.columns)


@pytest.mark.parametrize(
    "wrong", [{"gsd_m": 0.2}, {"gsd_m": 31.0}, {"height_px": 31}, {"land_share": 1.1}, {"seed": -1}, {"colour": 1}]
)
def test_specs_refuse_what_lies_outside(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        PortSpec.model_validate(wrong)
