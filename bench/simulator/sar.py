"""The SAR view: backscatter of the ground, what stands on it seen from the side, ships as point scatterers, speckle,
amplitude.

Ground-projected, so that flat ground registers to the pixel with the optical view; what has height is displaced towards
the sensor.
"""

from __future__ import annotations

import math

import numpy as np

from bench.data.windows import Window
from bench.simulator import clutter
from bench.simulator.ground import Layers, layers_of
from bench.simulator.materials import WATER, backscatter, parcel_weights, sar_textures
from bench.simulator.noise import gaussian_field, mix
from bench.simulator.optical import MARGIN_PX, wake_arm, wider
from bench.simulator.raster import inside
from bench.simulator.ships import Ship
from bench.simulator.spec import SarSpec
from bench.simulator.structures import level_power, raised_in_sar, sar_reach_m
from bench.simulator.targets import (
    LARGE_PX,
    Scatterers,
    add_scatterers,
    crane_scatterers,
    ghosts,
    glints,
    merged,
    ship_body,
    ship_box,
    ship_scatterers,
)
from bench.simulator.world import World

FULL_SCALE = {8: 255, 16: 65535}
_ROUGHNESS = 0.75  # standard deviation of the logarithm of what walls and roofs reflect, over about 2 m


def render_sar(world: World, sar: SarSpec, window: Window, layers: Layers | None = None) -> np.ndarray:
    """Return the SAR image of a window.

    Args:
        window: y0, x0, height, width in pixels of the scene.
        layers: the ground of `wider(window, MARGIN_PX)`, where the caller has it already.

    Returns:
        (height, width) amplitude, uint8 or uint16: gain times the square root of backscatter, clipped at full scale.
    """
    padded = wider(window, MARGIN_PX)
    ground = layers_of(world, padded) if layers is None else layers
    power = _clutter(world, sar, ground, padded)
    cut = slice(MARGIN_PX, MARGIN_PX + window[2]), slice(MARGIN_PX, MARGIN_PX + window[3])
    seen = np.ascontiguousarray(power[cut])
    seen *= clutter.speckle(mix(world.spec.seed, 81), window, sar)
    add_scatterers(seen, _points(world, sar, window), world.spec.gsd_m, window, sar)
    amplitude = np.sqrt(seen)
    amplitude *= np.float32(sar.gain)
    amplitude += np.float32(0.5)
    kind = np.uint8 if sar.bits == 8 else np.uint16
    out: np.ndarray = np.clip(amplitude, 0, FULL_SCALE[sar.bits]).astype(kind)
    return out


def sar_boxes(world: World, sar: SarSpec, window: Window) -> np.ndarray:
    """Return (k, 4) float64 boxes x1, y1, x2, y2 in pixels of the window: every ship of the SAR view that reaches into
    it, cut at its edges.

    Ships of which less than half of the box is left are not listed.
    """
    y0, x0, height, width = window
    gsd = world.spec.gsd_m
    boxes = []
    for ship in world.ships_in(world.extent(window), world.fleet.sar):
        box = ship_box(ship_scatterers(world.spec.seed, ship, sar), ship, gsd, sar) / gsd - np.array([x0, y0, x0, y0])
        cut = np.clip(box, 0, [width, height, width, height])
        if np.prod(cut[2:] - cut[:2]) >= 0.5 * np.prod(box[2:] - box[:2]):
            boxes.append(cut)
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _points(world: World, sar: SarSpec, window: Window) -> Scatterers:
    """Return every point scatterer whose response may reach into a window."""
    reach = LARGE_PX * world.spec.gsd_m + sar_reach_m(sar)
    extent = world.extent(window, reach)
    parts = []
    ghost_reach = sar.ambiguity_m if sar.ambiguity_db is not None else 0.0
    for ship in world.ships_in(world.extent(window, reach + ghost_reach), world.fleet.sar):
        points = ship_scatterers(world.spec.seed, ship, sar)
        parts.append(points)
        if sar.ambiguity_db is not None:
            parts.append(ghosts(points, sar))
    return merged(
        [*parts, crane_scatterers(world, extent, sar), glints(world.spec.seed, world.buildings_in(extent), sar)]
    )


def _clutter(world: World, sar: SarSpec, ground: Layers, padded: Window) -> np.ndarray:
    """Return (height, width) float32 mean backscatter with texture, before speckle."""
    power: np.ndarray = backscatter(sar.sea_db)[ground.kind]
    power *= clutter.land_texture(_textures(), ground.kind, ground.fine, ground.coarse)
    power *= np.float32(1.0) + parcel_weights("sar")[ground.kind] * (ground.parcel - np.float32(0.5))
    water = np.isin(ground.kind, WATER)
    if sar.sea_shape is not None and water.any():
        texture = clutter.sea_texture(mix(world.spec.seed, 82), padded, sar.sea_shape, world.spec.gsd_m)
        power[water] *= texture[water]
    for ship in world.ships_in(world.extent(padded), world.fleet.sar):
        if ship.speed_ms > 0:
            _wake(world, padded, ship, power)
        _body(world, padded, ship, sar, power)
    _stand(world, sar, padded, power)
    power += np.float32(10 ** (sar.noise_db / 10))
    return power


def _textures() -> np.ndarray:
    out = sar_textures()
    out[list(WATER)] = 0.0
    return out


def _stand(world: World, sar: SarSpec, padded: Window, power: np.ndarray) -> None:
    """Put shadows, walls, roofs and corners on the ground, in place. Drawn on a wider canvas, where no polygon that
    matters is clipped.
    """
    margin = math.ceil(sar_reach_m(sar) / world.spec.gsd_m) + 2
    canvas = wider(padded, margin)
    raised = raised_in_sar(world, canvas, world.buildings_in(world.extent(canvas)), sar)
    inner = slice(margin, margin + padded[2]), slice(margin, margin + padded[3])
    table = level_power()
    power[raised.shadow[inner] > 0] = 0.0
    rough = gaussian_field(mix(world.spec.seed, 83), max(2, round(1.6 / world.spec.gsd_m)), padded)
    power += table[raised.laid[inner]] * clutter.lognormal(_ROUGHNESS, rough)
    power += table[raised.corner[inner]]


def _body(world: World, padded: Window, ship: Ship, sar: SarSpec, power: np.ndarray) -> None:
    """Put the even part of a hull's return over the water, in place."""
    outline, level = ship_body(world.spec.seed, ship, sar)
    found = inside(outline, world.spec.gsd_m, padded)
    if found is not None:
        power[found[0]][found[1]] += np.float32(level)


def _wake(world: World, padded: Window, ship: Ship, power: np.ndarray) -> None:
    """Darken the turbulent wake and brighten the arms of the Kelvin wedge, in place (Lyden et al. 1988, *Synthetic
    Aperture Radar Imaging of Surface Ship Wakes*, J. Geophys. Res. 93).
    """
    gsd = world.spec.gsd_m
    length = 60.0 * ship.speed_ms + ship.length_m
    for angle, width, factor in ((0.0, 0.7, 0.45), (19.5, 0.15, 1.9), (-19.5, 0.15, 1.6)):
        found = inside(wake_arm(ship, angle, max(width * ship.beam_m, 2.0 * gsd), min(400.0, length)), gsd, padded)
        if found is not None:
            power[found[0]][found[1]] *= np.float32(factor)
