"""The optical view: reflectance, sun, wakes, sensor blur and noise, the tone of a city's imagery.

Looks straight down, so that roofs stand where their walls do: registered with the ground to the pixel.
"""

from __future__ import annotations

import math

import numpy as np

from bench.data.windows import Window
from bench.simulator.ground import Layers, layers_of
from bench.simulator.materials import ROOFS, WATER, optical_textures, parcel_weights, reflectances
from bench.simulator.noise import gaussian_field, mix, white_noise
from bench.simulator.raster import inside, to_canvas
from bench.simulator.ships import Ship
from bench.simulator.spec import OpticalSpec
from bench.simulator.structures import raised_in_optical, reach_m
from bench.simulator.world import World

MARGIN_PX = 16
_SHADE = 0.42
_HULLS = np.array(
    [(0.45, 0.16, 0.12), (0.20, 0.22, 0.26), (0.15, 0.25, 0.42), (0.30, 0.31, 0.30), (0.55, 0.52, 0.47)],
    dtype=np.float32,
)


def wider(window: Window, margin: int) -> Window:
    """Return the window with `margin` more pixels on every side."""
    y0, x0, height, width = window
    return y0 - margin, x0 - margin, height + 2 * margin, width + 2 * margin


def render_optical(world: World, optical: OpticalSpec, window: Window, layers: Layers | None = None) -> np.ndarray:
    """Return the optical image of a window.

    Args:
        window: y0, x0, height, width in pixels of the scene.
        layers: the ground of `wider(window, MARGIN_PX)`, where the caller has it already.

    Returns:
        (height, width, 3) uint8, red, green, blue.
    """
    padded = wider(window, MARGIN_PX)
    ground = layers_of(world, padded) if layers is None else layers
    image = _ground_colour(world, optical, ground, padded)
    _stand(world, optical, padded, image)
    for ship in world.ships_in(world.extent(padded), world.fleet.optical):
        _draw_ship(world, padded, ship, image)
    return _sense(world, optical, window, image)


def _ground_colour(world: World, optical: OpticalSpec, ground: Layers, padded: Window) -> np.ndarray:
    """Return (3, height, width) float32 reflectance of the ground with texture."""
    fine, coarse = optical_textures()[:, 0], optical_textures()[:, 1]
    texture = fine[ground.kind] * ground.fine + coarse[ground.kind] * ground.coarse
    texture += parcel_weights("optical")[ground.kind] * (ground.parcel - np.float32(0.5))
    np.clip(texture, -1.5, 1.5, out=texture)
    texture += np.float32(1.0)  # exp to first order; exact enough for a texture, and the same on every machine
    table = reflectances(optical.season)
    image = np.empty((3, *ground.kind.shape), dtype=np.float32)
    for channel in range(3):
        np.multiply(table[:, channel][ground.kind], texture, out=image[channel])
    _shallows(world, ground, padded, image)
    return image


def _shallows(world: World, ground: Layers, padded: Window, image: np.ndarray) -> None:
    """Make open water brighter and greener close to the coast, and give it swell, in place."""
    water = np.isin(ground.kind, WATER)
    if not water.any():
        return
    near = np.clip(np.float32(1.0) - ground.depth_m / np.float32(90.0), 0.0, 1.0)
    near *= near * water
    swell = gaussian_field(mix(world.spec.seed, 65), max(2, round(6.0 / world.spec.gsd_m)), padded) * water
    for channel, (bottom, wave) in enumerate(((0.05, 0.004), (0.085, 0.006), (0.06, 0.007))):
        image[channel] += np.float32(bottom) * near
        image[channel] += np.float32(wave) * swell


def _stand(world: World, optical: OpticalSpec, padded: Window, image: np.ndarray) -> None:
    """Draw shadows, roofs and cranes, in place. Drawn on a wider canvas, where no polygon that matters is clipped."""
    gsd = world.spec.gsd_m
    margin = math.ceil(reach_m(1.0 / math.tan(math.radians(optical.sun_elevation_deg))) / gsd) + 2
    canvas = wider(padded, margin)
    buildings = world.buildings_in(world.extent(canvas))
    inner = slice(margin, margin + padded[2]), slice(margin, margin + padded[3])
    roofs, shadow = raised_in_optical(world, canvas, buildings, optical)
    _cranes(world, canvas, roofs)
    roofs, shadow = roofs[inner], shadow[inner]
    dark, roofed = (shadow > 0) & (roofs == 0), roofs > 0
    colour = roofs[roofed].astype(np.int64) - 1
    grain = gaussian_field(mix(world.spec.seed, 66), max(2, round(2.5 / gsd)), padded)[roofed]
    for channel in range(3):
        image[channel][dark] *= np.float32(_SHADE)
        image[channel][roofed] = ROOFS[colour, channel] * (np.float32(1.0) + np.float32(0.04) * grain)


def _cranes(world: World, canvas: Window, roofs: np.ndarray) -> None:
    """Draw gantry cranes as booms over quay and water, in place."""
    import cv2

    gsd = world.spec.gsd_m
    x1, y1, x2, y2 = world.extent(canvas)
    for x, y, angle in world.works.cranes:
        if x1 < x < x2 and y1 < y < y2:
            ends = np.array(
                [
                    [x - 22 * math.cos(angle), y - 22 * math.sin(angle)],
                    [x + 40 * math.cos(angle), y + 40 * math.sin(angle)],
                ]
            )
            start, end = to_canvas(ends, gsd, canvas).tolist()
            cv2.line(roofs, start, end, 4, max(1, round(3.0 / gsd)), lineType=8, shift=4)


def _draw_ship(world: World, padded: Window, ship: Ship, image: np.ndarray) -> None:
    """Draw a ship and its wake, in place: hull, deck with hatches or containers, superstructure at the stern."""
    rng = np.random.default_rng([world.spec.seed, 67, ship.number])
    gsd = world.spec.gsd_m
    if ship.speed_ms > 0:
        _wake(world, padded, ship, image)
    hull = _HULLS[rng.integers(len(_HULLS))]
    _paint(padded, gsd, ship.outline(), hull, image)
    cos, sin = math.cos(ship.heading), math.sin(ship.heading)

    def part(u0: float, u1: float, v: float, colour: np.ndarray) -> None:
        u, w = np.array([u0, u1, u1, u0]) * ship.length_m, np.array([-v, -v, v, v]) * ship.beam_m
        corners = np.stack([ship.x + u * cos - w * sin, ship.y + u * sin + w * cos], axis=1)
        _paint(padded, gsd, corners, colour, image)

    part(-0.48, 0.34, 0.40, ROOFS[rng.integers(len(ROOFS))] * np.float32(0.9))
    if ship.length_m > 50:
        holds = int(rng.integers(3, 8))
        for number in range(holds):
            start = -0.26 + number * 0.62 / holds
            part(start, start + 0.5 / holds, 0.30, ROOFS[rng.integers(len(ROOFS))])
    part(-0.42, -0.30, 0.36, np.array([0.85, 0.85, 0.83], dtype=np.float32))


def _wake(world: World, padded: Window, ship: Ship, image: np.ndarray) -> None:
    """Add the white turbulent wake and the two arms of the Kelvin wedge, 19.5 degrees to either side, in place."""
    gsd = world.spec.gsd_m
    length = min(400.0, 25.0 * ship.speed_ms + ship.length_m)
    for angle, width, gain, reach in ((0.0, 0.6, 0.10, 1.0), (19.5, 0.12, 0.045, 0.8), (-19.5, 0.12, 0.045, 0.8)):
        corners = wake_arm(ship, angle, max(width * ship.beam_m, 1.5 * gsd), reach * length)
        found = inside(corners, gsd, padded)
        if found is not None:
            for channel in range(3):
                image[channel][found[0]][found[1]] += np.float32(gain)


def wake_arm(ship: Ship, angle_deg: float, width_m: float, length_m: float) -> np.ndarray:
    """Return (3, 2) corners in metres of a thin triangle behind a ship, widest at the ship, `angle_deg` off its
    track.
    """
    back = ship.heading + math.pi + math.radians(angle_deg)
    start = -0.45 if angle_deg == 0 else 0.4
    x, y = (
        ship.x + start * ship.length_m * math.cos(ship.heading),
        ship.y + start * ship.length_m * math.sin(ship.heading),
    )
    across = np.array([-math.sin(back), math.cos(back)]) * width_m / 2
    tip = np.array([x + length_m * math.cos(back), y + length_m * math.sin(back)])
    return np.array([np.array([x, y]) - across, tip, np.array([x, y]) + across])


def _paint(padded: Window, gsd: float, corners: np.ndarray, colour: np.ndarray, image: np.ndarray) -> None:
    found = inside(corners, gsd, padded)
    if found is not None:
        for channel in range(3):
            image[channel][found[0]][found[1]] = colour[channel]


def _sense(world: World, optical: OpticalSpec, window: Window, image: np.ndarray) -> np.ndarray:
    """Return grey levels: haze and tone, blur by the sensor, noise, rounding."""
    import cv2

    noise = white_noise(mix(world.spec.seed, 68), window, 3)
    out = np.empty((*window[2:], 3), dtype=np.uint8)
    for channel in range(3):
        band = image[channel]
        if optical.blur_px > 0:
            band = cv2.GaussianBlur(band, (0, 0), optical.blur_px)
        band = band[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        gain, offset = optical.tone[channel], optical.tone[3 + channel]
        scale = 255.0 * 1.25 * gain * (1.0 - optical.haze)
        level = band * np.float32(scale) + np.float32(255.0 * (optical.haze * 0.7 + offset) + 0.5)
        level += np.float32(optical.noise) * noise[channel]
        out[:, :, channel] = np.clip(level, 0, 255).astype(np.uint8)
    return out
