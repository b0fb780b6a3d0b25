"""Point scatterers and the SAR's point response: ships, cranes and bright corners, with side lobes and azimuth
ambiguities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bench.data.windows import Window
from bench.simulator.city import Buildings
from bench.simulator.noise import mix, uniform_grid
from bench.simulator.ships import Ship
from bench.simulator.spec import SarSpec
from bench.simulator.structures import layover_m, swept
from bench.simulator.world import World

PHASES = 4
"""Sub-pixel positions of a scatterer per axis."""
SMALL_PX, LARGE_PX = 8, 40
"""Half widths of the responses of faint and of bright scatterers."""
_BRIGHT = 30.0  # power above which side lobes are drawn
_HULL_SHARE = 0.62
_STEEL_M = (
    60.0  # shorter boats are more and more of wood and plastic, and reflect less than the formula for steel ships says
)
BODY_SHARE = 0.02
"""Share of a ship's cross section that comes evenly from the whole hull; the rest is points."""
_GLINTS = 2


@dataclass(frozen=True, eq=False)
class Scatterers:
    """Points in the image plane: (n, 2) x, y in metres as imaged, (n,) complex amplitudes (square root of power times
    pixel area in m2).
    """

    at: np.ndarray
    amplitude: np.ndarray

    def __len__(self) -> int:
        return len(self.amplitude)


def response(x: np.ndarray, taper: float) -> np.ndarray:
    """Return the amplitude of the point response at x, in units of the unweighted resolution: sinc weighted by a
    generalised Hamming window (Oliver and Quegan, *Understanding SAR Images*, sec. 2.7; Harris 1978, eq. 30).
    """
    out: np.ndarray = taper * np.sinc(x) + (1 - taper) / 2 * (np.sinc(x - 1) + np.sinc(x + 1))
    return out / taper


@lru_cache(maxsize=16)
def main_lobe(taper: float) -> float:
    """Return the half-power width of `response` in units of the unweighted resolution: 0.886 without a window, 1.30 for
    taper 0.54.
    """
    low, high = 0.4, 0.8  # half of it lies between, for every taper from 0.5 to 1
    for _ in range(50):
        middle = (low + high) / 2
        above = response(np.array([middle]), taper)[0] ** 2 > 0.5
        low, high = (middle, high) if above else (low, middle)
    return 2 * low


@lru_cache(maxsize=16)
def _kernels(sar: SarSpec, half: int) -> np.ndarray:
    """Return (PHASES, PHASES, 2 half + 1, 2 half + 1) float32 responses of unit energy for each sub-pixel position (y,
    x).
    """
    angle = math.radians(sar.look_deg)
    at = np.arange(-half, half + 1)
    scale = sar.resolution_px / main_lobe(sar.taper)
    out = np.empty((PHASES, PHASES, 2 * half + 1, 2 * half + 1), dtype=np.float32)
    for row in range(PHASES):
        for column in range(PHASES):
            y, x = (at - row / PHASES)[:, None], (at - column / PHASES)[None, :]
            along, across = (
                (x * math.cos(angle) + y * math.sin(angle)) / scale,
                (y * math.cos(angle) - x * math.sin(angle)) / scale,
            )
            kernel = response(along, sar.taper) * response(across, sar.taper)
            out[row, column] = kernel / np.sqrt((kernel**2).sum())
    return out


def add_scatterers(power: np.ndarray, points: Scatterers, gsd_m: float, window: Window, sar: SarSpec) -> None:
    """Add the power of coherently summed point responses to `power` (height, width), in place."""
    if len(points) == 0:
        return
    y0, x0, height, width = window
    field = np.zeros((height, width), dtype=np.complex64)
    quarter = np.rint((points.at / gsd_m - 0.5) * PHASES).astype(np.int64)
    amplitude = (points.amplitude / gsd_m).astype(np.complex64)
    for (qx, qy), value in zip(quarter.tolist(), amplitude.tolist(), strict=True):
        half = LARGE_PX if abs(value) ** 2 > _BRIGHT else SMALL_PX
        row, column = qy // PHASES - y0, qx // PHASES - x0
        top, bottom, left, right = (
            max(0, row - half),
            min(height, row + half + 1),
            max(0, column - half),
            min(width, column + half + 1),
        )
        if top >= bottom or left >= right:
            continue
        kernel = _kernels(sar, half)[qy % PHASES, qx % PHASES]
        part = kernel[top - row + half : bottom - row + half, left - column + half : right - column + half]
        field[top:bottom, left:right] += np.complex64(value) * part
    power += field.real**2 + field.imag**2


def axes(sar: SarSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit vectors of ground range (away from the sensor) and of azimuth in the image plane."""
    angle = math.radians(sar.look_deg)
    return np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])


def ship_scatterers(seed: int, ship: Ship, sar: SarSpec) -> Scatterers:
    """Return a ship as a cluster of point scatterers: the hull's edges, deck gear, superstructure and masts.

    The radar cross section of the whole follows Vachon et al. 1997 (*Ship Detection by the RADARSAT SAR*, Can. J.
    Remote Sensing 23), 0.08 l^(7/3) m2 for a length l in metres, times a lognormal factor, and l / 60 for boats below
    60 m; its shares are ours. Points lie `height` cot(incidence) closer to the sensor.
    """
    rng = np.random.default_rng([mix(seed, 71, ship.number)])
    count = int(np.clip(0.9 * ship.length_m, 14, 260))
    edge = int(_HULL_SHARE * count)
    u, v, height = (rng.uniform(-0.5, 0.5, count) for _ in range(3))
    height = np.full(count, _deck_m(ship))
    v[:edge] = np.where(rng.random(edge) < 0.5, -0.5, 0.5) * np.minimum(1.0, 3.6 * (0.5 - u[:edge]))
    height[:edge] *= rng.uniform(0.0, 1.0, edge)
    v[edge:] *= 0.8 * np.minimum(1.0, 3.6 * (0.5 - u[edge:]))
    tower = rng.random(count) < 0.16
    u[tower], height[tower] = rng.uniform(-0.44, -0.30, tower.sum()), height[tower] * rng.uniform(1.0, 2.4, tower.sum())
    strength = np.exp(rng.normal(0.0, 1.0, count)) * np.where(tower, 3.0, 1.0)
    range_axis, _ = axes(sar)
    cos, sin = math.cos(ship.heading), math.sin(ship.heading)
    sides = np.array([-sin, cos]) @ -range_axis
    strength[:edge] *= np.where(v[:edge] * sides > 0, 1.6, 0.5)  # the side towards the sensor
    steel = min(1.0, ship.length_m / _STEEL_M)
    section = (1 - BODY_SHARE) * 0.08 * ship.length_m ** (7 / 3) * steel * math.exp(rng.normal(0.0, 0.5))
    amplitude = np.sqrt(section * strength / strength.sum()) * np.exp(2j * math.pi * rng.random(count))
    along, across = u * ship.length_m, v * ship.beam_m
    ground = np.stack([ship.x + along * cos - across * sin, ship.y + along * sin + across * cos], axis=1)
    imaged = ground - np.asarray(layover_m(height, sar.incidence_deg))[:, None] * range_axis
    return Scatterers(_into_box(imaged, ship), amplitude)


def ship_body(seed: int, ship: Ship, sar: SarSpec) -> tuple[np.ndarray, float]:
    """Return the outline (k, 2) of a hull as imaged, from the waterline to the deck, in metres, and its mean
    backscatter as power.
    """
    section = float((np.abs(ship_scatterers(seed, ship, sar).amplitude) ** 2).sum()) * BODY_SHARE / (1 - BODY_SHARE)
    return _hull(ship, sar), section / (ship.length_m * ship.beam_m)


def _hull(ship: Ship, sar: SarSpec) -> np.ndarray:
    """Return the outline (k, 2) of a hull as imaged, from the waterline to the deck; within the box, where one was
    prescribed.
    """
    if ship.box is not None:
        return ship.outline()
    deck = float(layover_m(_deck_m(ship), sar.incidence_deg))
    out: np.ndarray = swept(ship.outline()[None], -deck * axes(sar)[0][None])[0]
    return out


def _deck_m(ship: Ship) -> float:
    return min(14.0, 2.0 + 0.035 * ship.length_m)


def _into_box(imaged: np.ndarray, ship: Ship) -> np.ndarray:
    """Return points moved and stretched to fill the box that was prescribed for the ship, if one was."""
    if ship.box is None:
        return imaged
    low, high = np.array(ship.box[:2]), np.array(ship.box[2:])
    inset = np.minimum(0.08 * (high - low), 2.0)
    least, span = imaged.min(axis=0), np.maximum(np.ptp(imaged, axis=0), 1e-9)
    out: np.ndarray = low + inset + (imaged - least) / span * (high - low - 2 * inset)
    return out


def ship_box(points: Scatterers, ship: Ship, gsd_m: float, sar: SarSpec) -> np.ndarray:
    """Return the outer box x1, y1, x2, y2 in metres of a ship's hull and main lobes, or the one that was prescribed.

    Scatterers below 1 / 1000 of the strongest do not count: nobody who labels an image would see them.
    """
    if ship.box is not None:
        return np.array(ship.box)
    power = np.abs(points.amplitude) ** 2
    seen = points.at[power > 1e-3 * power.max()]
    half = sar.resolution_px * gsd_m / 2
    hull = _hull(ship, sar)
    return np.concatenate(
        [np.minimum(seen.min(axis=0) - half, hull.min(axis=0)), np.maximum(seen.max(axis=0) + half, hull.max(axis=0))]
    )


def ghosts(points: Scatterers, sar: SarSpec) -> Scatterers:
    """Return the first azimuth ambiguities of a ship on both sides, fainter by `ambiguity_db` (Li and Johnson 1983,
    *Ambiguities in Spaceborne SAR*).
    """
    assert sar.ambiguity_db is not None
    _, azimuth = axes(sar)
    scale = 10 ** (sar.ambiguity_db / 20)
    at = np.concatenate([points.at + side * sar.ambiguity_m * azimuth for side in (-1, 1)])
    return Scatterers(at, np.tile(points.amplitude * scale, 2))


def crane_scatterers(world: World, extent: tuple[float, float, float, float], sar: SarSpec) -> Scatterers:
    """Return gantry cranes as lattices of points up to 50 m high, laid over towards the sensor."""
    from bench.simulator.harbour import CRANE_HEIGHT_M

    x1, y1, x2, y2 = extent
    range_axis, _ = axes(sar)
    at, amplitude = [np.zeros((0, 2))], [np.zeros(0, dtype=complex)]
    for number, (x, y, boom) in enumerate(world.works.cranes):
        if not (x1 < x < x2 and y1 < y < y2):
            continue
        rng = np.random.default_rng([world.spec.seed, 72, number])
        along, height = rng.uniform(-20, 40, 24), rng.uniform(0.0, CRANE_HEIGHT_M, 24)
        along[12:], height[12:] = rng.uniform(-8, 8, 12), height[12:]
        ground = np.stack([x + along * math.cos(boom), y + along * math.sin(boom)], axis=1)
        at.append(ground - np.asarray(layover_m(height, sar.incidence_deg))[:, None] * range_axis)
        amplitude.append(np.sqrt(120.0 * np.exp(rng.normal(0, 1.0, 24))) * np.exp(2j * math.pi * rng.random(24)))
    return Scatterers(np.concatenate(at), np.concatenate(amplitude))


def glints(seed: int, buildings: Buildings, sar: SarSpec) -> Scatterers:
    """Return the bright points of a town: trihedral corners of balconies, roofs and machines, two to a building, at any
    height.
    """
    ground = np.floor(buildings.centre * 8).astype(np.int64)
    parts = []
    range_axis, _ = axes(sar)
    turn = (
        np.stack([np.cos(buildings.angle), np.sin(buildings.angle)], axis=1),
        np.stack([-np.sin(buildings.angle), np.cos(buildings.angle)], axis=1),
    )
    for number in range(_GLINTS):
        draw = [
            uniform_grid(mix(seed, 73, number, salt), ground[:, 1], ground[:, 0]).astype(np.float64)
            for salt in range(5)
        ]
        side = np.where(draw[0] < 0.5, -1.0, 1.0) * buildings.half[:, 0], (2 * draw[1] - 1) * buildings.half[:, 1]
        height = draw[2] * buildings.height_m
        at = buildings.centre + side[0][:, None] * turn[0] + side[1][:, None] * turn[1]
        at = at - np.asarray(layover_m(height, sar.incidence_deg))[:, None] * range_axis
        area = 4 * buildings.half[:, 0] * buildings.half[:, 1]
        section = (
            0.02
            * area
            * 10 ** ((sar.contrast_db + 0.5 * buildings.strength_db) / 10)
            / np.maximum(draw[3], 3e-3) ** 1.1
        )
        parts.append(Scatterers(at, np.sqrt(section) * np.exp(2j * math.pi * draw[4])))
    return merged(parts)


def merged(parts: list[Scatterers]) -> Scatterers:
    """Return all points of all parts, in order."""
    if not parts:
        return Scatterers(np.zeros((0, 2)), np.zeros(0, dtype=complex))
    return Scatterers(np.concatenate([part.at for part in parts]), np.concatenate([part.amplitude for part in parts]))
