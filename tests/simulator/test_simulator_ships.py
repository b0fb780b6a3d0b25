"""Ships: where they lie, how many, how they move between the views, and whether boxes hold what the image shows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_toys import EMPTY, covered, open_sea, port, rich_world, with_ships

from bench.simulator.afloat import Waters
from bench.simulator.ground import layers_of
from bench.simulator.harbour import Work
from bench.simulator.materials import WATER, Ground
from bench.simulator.raster import inside
from bench.simulator.sar import render_sar, sar_boxes
from bench.simulator.ship_scenes import ShipScene, draw_scene, render_scene, shares, whole_pixels
from bench.simulator.ships import Ship, lengths, ship_of_box
from bench.simulator.spec import PortSpec, SarSpec
from bench.simulator.targets import add_scatterers, ship_box, ship_scatterers
from bench.simulator.world import World

LEAST_M, MOST_M = 14.0, 380.0


def rectangle(ship: Ship) -> np.ndarray:
    u, v = np.array([-1, 1, 1, -1]) * ship.length_m / 2, np.array([-1, -1, 1, 1]) * ship.beam_m / 2
    cos, sin = math.cos(ship.heading), math.sin(ship.heading)
    return np.stack([ship.x + u * cos - v * sin, ship.y + u * sin + v * cos], axis=1)


def small_scene(seed: int, **changes: object) -> ShipScene:
    scene = draw_scene(seed, 0, (300, 400), 2.0, "inshore", 4)
    return ShipScene(scene.port.model_copy(update=changes), scene.sar, scene.shore)


# -- where they lie ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(8))
def test_every_ship_is_afloat_and_none_lies_on_another(seed: int) -> None:
    """In the pixels: no hull has one on land or works, and no pixel has two hulls, in either view."""
    side, gsd_m = 500, (1.0, 2.0, 3.0)[seed % 3]
    world = rich_world(100 + seed, side, gsd_m)
    dry = ~np.isin(layers_of(world, (0, 0, side, side)).kind, WATER)
    for fleet in (world.fleet.optical, world.fleet.sar):
        hulls = np.zeros((side, side), dtype=int)
        for ship in fleet:
            hulls += covered(ship.outline(), gsd_m, side)
        assert hulls.any() and hulls.max() == 1
        assert not (hulls > 0)[dry].any()


def test_a_hull_on_land_or_works_is_not_afloat() -> None:
    world = open_sea(400)
    pier = Work(np.array([(200.0, 180.0), (300.0, 180.0), (300.0, 189.0), (200.0, 189.0)]), Ground.QUAY, 3.0)
    basin = Work(np.array([(0.0, 0.0), (120.0, 0.0), (120.0, 60.0), (0.0, 60.0)]), Ground.BASIN, 0.0)
    paved = Work(np.array([(-50.0, -50.0), (160.0, -50.0), (160.0, 100.0), (-50.0, 100.0)]), Ground.PAVED, 3.0)
    waters = Waters(world.grid, world.inland_m, [paved, basin, pier])
    for x, y, heading, afloat in (
        (250.0, 250.0, 0.0, True), (250.0, 200.0, math.pi / 2, False), (250.0, 200.0, 0.0, True), (60.0, 30.0, 0.0, True),
        (110.0, 30.0, 0.0, False), (140.0, 30.0, 0.0, False),
    ):  # fmt: skip
        assert waters.carry(Ship(x, y, heading, 80.0, 12.0, 0.0, 1)) == afloat, (x, y, heading)
    shore = Waters(
        world.grid, np.broadcast_to(world.grid.centres()[1] - 300, world.inland_m.shape).astype(np.float32), []
    )
    assert shore.carry(Ship(200.0, 200.0, 0.0, 100.0, 12.0, 0.0, 1))  # bow 50 m off the coast at x = 300
    assert not shore.carry(Ship(240.0, 200.0, 0.0, 100.0, 12.0, 0.0, 1))  # bow 10 m off it, which roughness may bridge


def test_lengths_stay_within_their_range() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([lengths(rng) for _ in range(4000)])
    assert drawn[:, 0].min() >= LEAST_M and drawn[:, 0].max() <= MOST_M
    assert (drawn[:, 0] / drawn[:, 1]).min() > 3.5 and (drawn[:, 0] / drawn[:, 1]).max() < 8.0
    assert 60 < np.median(drawn[:, 0]) < 140 and drawn[:, 0].std() > 50
    assert max(lengths(rng, 50.0)[0] for _ in range(500)) <= 50.0
    for seed in (1, 5, 7):
        world = rich_world(seed, 260, 8.0)
        found = [ship.length_m for ship in (*world.fleet.optical, *world.fleet.sar)]
        assert len(found) > 50 and min(found) >= LEAST_M and max(found) <= MOST_M


@pytest.mark.parametrize("wanted", [0, 1, 7, 40])
def test_as_many_ships_as_wanted_where_there_is_room(wanted: int) -> None:
    for seed in range(3):
        spec = port(600, seed=seed, gsd_m=3.0, land_share=(0.0, 0.3, 0.5)[seed], ships=wanted, ports=20.0)
        world = World(spec)
        assert len(world.fleet.sar) == wanted
        assert len(sar_boxes(world, SarSpec(incidence_deg=24.0), (0, 0, 600, 600))) == wanted


def test_without_room_there_are_fewer() -> None:
    fleet = World(port(200, land_share=0.0, ships=200, **EMPTY)).fleet.sar
    assert 0 < len(fleet) < 200
    assert len({ship.number for ship in fleet}) == len(fleet)  # two of one number would look alike


def test_berthed_ships_mostly_stay_and_traffic_does_not() -> None:
    stayed = berthed = anchored = swung = 0
    for seed in range(12):
        world = rich_world(seed, 260, 8.0)
        optical, sar = ({ship.number: ship for ship in fleet} for fleet in (world.fleet.optical, world.fleet.sar))
        for number, ship in optical.items():
            if 10_000 <= number < 20_000:
                berthed, stayed = berthed + 1, stayed + (sar.get(number) == ship)
            elif number < 1_000_000:
                anchored += 1
                swung += number in sar and sar[number] != ship
        under_way = [
            {(ship.x, ship.y) for ship in fleet if ship.speed_ms > 0}
            for fleet in (world.fleet.optical, world.fleet.sar)
        ]
        assert under_way[0] and under_way[1] and not under_way[0] & under_way[1]
    assert berthed > 60 and anchored > 100
    assert 0.55 < stayed / berthed < 0.85
    assert 0.6 < swung / anchored <= 0.95


def test_a_ship_at_anchor_swings_about_its_bow() -> None:
    world = rich_world(3, 260, 8.0)
    later = {ship.number: ship for ship in world.fleet.sar}
    pairs = [
        (ship, later[ship.number])
        for ship in world.fleet.optical
        if 20_000 <= ship.number < 1_000_000 and ship.number in later
    ]
    assert len(pairs) > 10
    for one, other in pairs:
        assert np.allclose(one.outline()[2], other.outline()[2], atol=1e-6) and one.length_m == other.length_m


# -- boxes -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", range(24))
def test_a_box_holds_the_ship(number: int) -> None:
    """95 % of a ship's power lies in its box, 90 % where it is but a few pixels long and side lobes weigh more."""
    rng = np.random.default_rng([5, number])
    length_m, beam_m = lengths(rng)
    gsd_m = float(rng.choice([0.5, 1.0, 3.0]))
    sar = SarSpec(
        look_deg=rng.uniform(0, 360),
        incidence_deg=rng.uniform(24, 48),
        resolution_px=rng.uniform(1.1, 1.5),
        taper=rng.uniform(0.62, 0.9),
    )
    side = int(length_m / gsd_m) + 2 * int(80 / gsd_m) + 40
    ship = Ship(side / 2 * gsd_m, side / 2 * gsd_m, rng.uniform(0, 2 * math.pi), length_m, beam_m, 0.0, number)
    power = np.zeros((side, side), dtype=np.float32)
    points = ship_scatterers(1, ship, sar)
    add_scatterers(power, points, gsd_m, (0, 0, side, side), sar)
    x1, y1, x2, y2 = whole_pixels(ship_box(points, ship, gsd_m, sar)[None] / gsd_m, (side, side))[0].astype(int)
    share = power[y1:y2, x1:x2].sum(dtype=np.float64) / power.sum(dtype=np.float64)
    assert share > (0.95 if length_m / gsd_m > 20 else 0.9), f"{length_m:.0f} m at {gsd_m} m"
    assert (x2 - x1) * (y2 - y1) < 4 * (length_m / gsd_m + 40 / gsd_m) ** 2  # and no box is as large as the image


def test_what_shows_over_quiet_water_lies_in_the_boxes() -> None:
    """From the rendered image alone: bright pixels lie in boxes, and every box has some."""
    for seed in range(3):
        spec = PortSpec(
            height_px=400, width_px=400, seed=seed, gsd_m=2.0, land_share=0.0, ships=6, **{**EMPTY, "traffic": 3.0}
        )
        world = World(spec)
        sar = SarSpec(sea_db=-40.0, noise_db=-50.0, sea_shape=None, looks=16, bits=16, gain=3000.0)
        intensity = (render_sar(world, sar, (0, 0, 400, 400)) / sar.gain) ** 2
        boxes = whole_pixels(sar_boxes(world, sar, (0, 0, 400, 400)), (400, 400)).astype(int)
        assert len(boxes) == 6
        held = np.zeros((400, 400), dtype=bool)
        for x1, y1, x2, y2 in boxes:
            held[y1:y2, x1:x2] = True
            assert intensity[y1:y2, x1:x2].max() > 100 * 10**-4.0
        assert intensity[held].sum() > 0.95 * (intensity.sum() - 160_000 * 10**-4.0)


def test_boxes_at_the_edge_of_a_window_are_cut_or_left_out() -> None:
    sar = SarSpec()
    world = with_ships(open_sea(300), Ship(150.0, 150.0, 0.0, 80.0, 14.0, 0.0, 1))
    ((x1, y1, x2, y2),) = sar_boxes(world, sar, (0, 0, 300, 300)).tolist()
    whole = x2 - x1
    near = math.floor(x1 + 0.4 * whole)
    ((cut_x1, cut_y1, cut_x2, cut_y2),) = sar_boxes(world, sar, (0, near, 300, 200)).tolist()
    assert (cut_x1, cut_y1, cut_x2, cut_y2) == (0.0, y1, x2 - near, y2)
    assert len(sar_boxes(world, sar, (0, math.ceil(x1 + 0.6 * whole), 300, 200))) == 0
    assert len(sar_boxes(world, sar, (0, math.ceil(x2) + 1, 300, 100))) == 0


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    corner=st.tuples(st.floats(0, 3000), st.floats(0, 3000)),
    size=st.tuples(st.floats(1, 600), st.floats(1, 600)),
    flip=st.booleans(),
)
def test_ship_of_box_has_that_box(corner: tuple[float, float], size: tuple[float, float], flip: bool) -> None:
    box = (*corner, corner[0] + size[0], corner[1] + size[1])
    ship = ship_of_box(box, flip, 1)
    hull = rectangle(ship)
    assert np.allclose([*hull.min(axis=0), *hull.max(axis=0)], box, atol=1e-6 * max(size) + 1e-6)
    assert ship.box == box and ship.beam_m <= ship.length_m / 6 * (1 + 1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(size=st.tuples(st.floats(2, 200), st.floats(2, 200)), flip=st.booleans(), look_deg=st.floats(0, 360))
def test_the_image_of_a_prescribed_ship_fills_its_box(size: tuple[float, float], flip: bool, look_deg: float) -> None:
    ship = ship_of_box((50.0, 60.0, 50.0 + size[0], 60.0 + size[1]), flip, 1)
    at = ship_scatterers(3, ship, SarSpec(look_deg=look_deg)).at
    low, high = at.min(axis=0) - (50.0, 60.0), np.add((50.0, 60.0), size) - at.max(axis=0)
    assert (low >= -1e-9).all() and (high >= -1e-9).all()
    assert (low <= np.minimum(0.09 * np.array(size), 2.01)).all() and (
        high <= np.minimum(0.09 * np.array(size), 2.01)
    ).all()


@pytest.mark.parametrize("seed", range(4))
def test_prescribed_boxes_come_back_exactly_and_lie_on_water(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(5, 230, (8, 2)).round(1)
    boxes = np.concatenate([low, low + rng.uniform(4, 45, (8, 2)).round(1)], axis=1)
    scene = small_scene(seed, height_px=300, width_px=300, gsd_m=(1.0, 3.0)[seed % 2], land_share=0.7, ships=None)
    world = World(scene.port, boxes)
    kind = layers_of(world, (0, 0, 300, 300)).kind
    for x1, y1, x2, y2 in boxes:
        assert np.isin(kind[int(y1) : math.ceil(y2), int(x1) : math.ceil(x2)], WATER).all()
    amplitude, found = render_scene(scene, boxes)
    assert np.allclose(found, np.clip(boxes, 0, 300), atol=1e-9) and len(world.fleet.sar) == 8
    sea = amplitude[np.isin(kind, WATER)]
    for x1, y1, x2, y2 in boxes.round().astype(int):
        assert amplitude[y1:y2, x1:x2].max() > 3 * np.median(sea)


def test_works_and_stacks_keep_away_from_prescribed_ships() -> None:
    seen = 0
    for seed in range(5):
        spec = port(1400, seed=seed, land_share=0.5, ports=20.0, relief_m=150.0)
        rng = np.random.default_rng(seed)
        low = rng.uniform(20, 1340, (12, 2))
        boxes = np.concatenate([low, low + rng.uniform(5, 50, (12, 2))], axis=1)
        world = World(spec, boxes)
        kind = layers_of(world, (0, 0, 1400, 1400)).kind
        for batch in world.works.blocks:
            for x, y in batch.centre:
                if 10 < x < 1390 and 10 < y < 1390:
                    seen += 1
                    assert not np.isin(kind[int(y) - 8 : int(y) + 9, int(x) - 8 : int(x) + 9], WATER).all()
        for work, ship in itertools.product(world.works.works, world.fleet.sar):
            if work.ground != Ground.BASIN:
                mask = inside(work.corners, 1.0, (int(ship.y) - 1, int(ship.x) - 1, 3, 3))
                assert mask is None or not mask[1].any()
    assert seen > 30


# -- scenes ------------------------------------------------------------------------------------------------------------
def test_a_scene_is_rendered_in_tiles_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.simulator import ship_scenes

    scene = small_scene(1)
    whole, boxes = render_scene(scene)
    monkeypatch.setattr(ship_scenes, "_TILE_PX", 128)
    tiled, same = render_scene(scene)
    assert whole.shape == (300, 400) and np.array_equal(whole, tiled) and np.array_equal(boxes, same)


def test_whole_pixels_hold_the_box_and_stay_in_the_image() -> None:
    boxes = np.array(
        [[1.2, 2.0, 3.0, 4.7], [-1.0, -2.0, 0.5, 0.5], [98.5, 49.9, 101.0, 60.0], [99.7, 49.99, 99.8, 50.0]]
    )
    found = whole_pixels(boxes, (50, 100))
    assert found.tolist() == [[1, 2, 3, 5], [0, 0, 1, 1], [98, 49, 100, 50], [99, 49, 100, 50]]


def test_shares_add_up() -> None:
    found = shares(np.random.default_rng(0), 461, 31, 2, 0.8)
    assert found.sum() == 461 and found.min() >= 2 and found.std() > 3
