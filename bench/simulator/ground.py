"""A window of the world as layers of pixels: what the ground is, before either sensor looks at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.data.windows import Window
from bench.simulator.city import MAIN_ROAD_HALF_M, District
from bench.simulator.coast import ROUGHNESS_M
from bench.simulator.materials import Ground
from bench.simulator.noise import gaussian_field, mix, uniform_grid
from bench.simulator.raster import inside
from bench.simulator.world import World

_BEACH_M = 14.0
_ROCKY = 0.6  # of the coarse field, over which the shore is rock
_BASE = np.array(  # ground of a district by its kind, where there is no street
    [Ground.LOT, Ground.LOT, Ground.PAVED, Ground.GRASS, Ground.FOREST, Ground.FIELD], dtype=np.uint8
)


@dataclass(frozen=True, eq=False)
class Layers:
    """The ground of a window; all arrays are (height, width).

    Attributes:
        kind: uint8 values of `Ground`. parcel: float32 in [0, 1), one value per lot or field.
        fine, coarse: float32 standard normal fields of about 3 m and 40 m. depth_m: float32 distance to the coast,
            negative on land.
    """

    kind: np.ndarray
    parcel: np.ndarray
    fine: np.ndarray
    coarse: np.ndarray
    depth_m: np.ndarray


def layers_of(world: World, window: Window) -> Layers:
    """Return the ground of a window of the scene."""
    seed, gsd = world.spec.seed, world.spec.gsd_m
    fine = gaussian_field(mix(seed, 61), max(2, round(3.0 / gsd)), window)
    coarse = gaussian_field(mix(seed, 62), max(2, round(40.0 / gsd)), window)
    inland = world.grid.smooth(world.inland_m, window)
    inland += np.float32(ROUGHNESS_M) * gaussian_field(mix(seed, 63), max(2, round(9.0 / gsd)), window)
    kind, parcel = _land(world, window, fine, coarse)
    kind[inland < _BEACH_M] = Ground.BEACH
    kind[(inland < _BEACH_M) & (coarse > _ROCKY)] = Ground.RUBBLE
    kind[inland < 0] = Ground.SEA
    for work in world.works_in(world.extent(window)):
        found = inside(work.corners, gsd, window)
        if found is not None:
            kind[found[0]][found[1]] = work.ground
    return Layers(kind, parcel, fine, coarse, -inland)


def _land(world: World, window: Window, fine: np.ndarray, coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return kind and parcel of a window as if all of it were land."""
    y0, x0, height, width = window
    gsd, districts = world.spec.gsd_m, world.districts
    label = world.grid.nearest(districts.label, window)
    use = districts.kind.astype(np.uint8)[label]
    x = ((x0 + np.arange(width) + 0.5) * gsd).astype(np.float32)[None, :]
    y = ((y0 + np.arange(height) + 0.5) * gsd).astype(np.float32)[:, None]
    cos, sin = np.cos(districts.angle).astype(np.float32)[label], np.sin(districts.angle).astype(np.float32)[label]
    u, v = x * cos + y * sin, y * cos - x * sin
    street = districts.street.astype(np.float32)[label]
    block_u, off_u = _block(u, districts.block[:, 0].astype(np.float32)[label], street)
    block_v, off_v = _block(v, districts.block[:, 1].astype(np.float32)[label], street)
    kind = _BASE[use]
    green = (use == District.PARK) | (use == District.FOREST)
    kind[green & (coarse > 0.4)] = Ground.FOREST
    kind[(use == District.FOREST) & (coarse < -1.0)] = Ground.GRASS
    kind[(use == District.FIELD) & (coarse < -1.2)] = Ground.SOIL
    kind[(kind == Ground.LOT) & (fine + coarse > 1.1)] = Ground.FOREST  # trees between houses
    kind[off_u | off_v] = Ground.ROAD
    main = world.grid.smooth(districts.margin_m, window) < np.float32(MAIN_ROAD_HALF_M)
    kind[main] = Ground.ROAD
    return kind, uniform_grid(mix(world.spec.seed, 64), block_u * 4099 + label, block_v)


def _block(along: np.ndarray, block: np.ndarray, street: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the block that holds each coordinate, and whether it lies on the street between two
    blocks.
    """
    number = np.floor(along / block)
    into = along - number * block
    half = street / 2
    return number.astype(np.int32), (into < half) | (into > block - half)
