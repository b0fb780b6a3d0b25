"""Buildings, cranes and edges of works as either sensor sees them: outlines, shadows, layover and double bounce.

Geometry of a vertical wall of height h under incidence t (from the vertical), image projected to the ground plane
(Franceschetti, Iodice, Riccio 2002, *A Canonical Problem in Electromagnetic Backscattering From Buildings*, IEEE TGRS
40(8), fig. 2): the wall's top is displaced towards the sensor by h cot t (layover), the roof with it; the ground is in
shadow up to h tan t behind the far edge; the corner of wall and ground returns as a line at the foot of the wall
(double bounce), strongest where the wall faces the sensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.data.windows import Window
from bench.simulator.city import Buildings
from bench.simulator.coast import REACH_M
from bench.simulator.materials import Ground
from bench.simulator.noise import mix, uniform_grid
from bench.simulator.raster import fill_all, line_all, to_canvas
from bench.simulator.spec import OpticalSpec, SarSpec
from bench.simulator.world import World

LEVEL_OFFSET_DB, LEVELS_PER_DB = 30.0, 5.0
"""A level of a uint8 canvas is 1 + (backscatter in dB + offset) times this; level 0 is nothing."""
_WALL_DB, _ROOF_DB, _CORNER_DB = -11.0, -15.0, 1.0
_TANK_ROOF_DB, _RIM_DB = -21.0, -2.0
_TANK_COLOUR = 5  # 1 + index of white
# height and breadth that the tallest (towers, cranes) and the widest structures stay within
_TALL_M = ((50.0, 48.0), (14.0, 98.0))
_EDGES = {Ground.QUAY: 3.0, Ground.PAVED: 2.0, Ground.BRIDGE: 5.0, Ground.RUBBLE: 2.0, Ground.TANK: 6.0}


@dataclass(frozen=True, eq=False)
class Raised:
    """What stands on a window in the SAR view; (height, width) uint8 canvases.

    Attributes:
        shadow: 1 where the ground is hidden. laid: levels of roofs and walls in their displaced places. corner: levels
            of double bounce.
    """

    shadow: np.ndarray
    laid: np.ndarray
    corner: np.ndarray


def layover_m(height_m: np.ndarray | float, incidence_deg: float) -> np.ndarray | float:
    """Return how far a point of this height is displaced towards the sensor in metres: h cot t."""
    return height_m / math.tan(math.radians(incidence_deg))


def shadow_m(height_m: np.ndarray | float, incidence_deg: float) -> np.ndarray | float:
    """Return how far the shadow of an edge of this height reaches in metres: h tan t."""
    return height_m * math.tan(math.radians(incidence_deg))


def reach_m(slope: float) -> float:
    """Return the longest extent of a structure with its layover or shadow in metres; `slope` is what each metre of
    height adds.
    """
    return max(height * slope + breadth for height, breadth in _TALL_M)


def sar_reach_m(sar: SarSpec) -> float:
    """Return the longest extent of a structure in the SAR view in metres, shadow or layover included."""
    return reach_m(max(float(layover_m(1.0, sar.incidence_deg)), float(shadow_m(1.0, sar.incidence_deg))))


def to_level(decibels: np.ndarray) -> np.ndarray:
    """Return uint8 levels of backscatter in dB."""
    out: np.ndarray = np.clip(np.rint((decibels + LEVEL_OFFSET_DB) * LEVELS_PER_DB) + 1, 1, 255).astype(np.uint8)
    return out


def level_power() -> np.ndarray:
    """Return (256,) float32: the backscatter of each level, 0 for level 0."""
    out = 10.0 ** (((np.arange(256) - 1) / LEVELS_PER_DB - LEVEL_OFFSET_DB) / 10)
    out[0] = 0.0
    return out.astype(np.float32)


def swept(corners: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return (n, 2 k, 2) convex hulls of polygons (n, k, 2) and their copies displaced by (n, 2) `shift`.

    An edge whose outward normal has a part along the shift moves with it; each corner appears as the end of one edge
    and the start of the next.
    """
    edges = np.roll(corners, -1, axis=1) - corners
    moves = edges[:, :, 1] * shift[:, None, 0] - edges[:, :, 0] * shift[:, None, 1] > 0
    both = np.stack([np.roll(moves, 1, axis=1), moves], axis=2)
    points = corners[:, :, None, :] + both[..., None] * shift[:, None, None, :]
    out: np.ndarray = points.reshape(len(corners), 2 * corners.shape[1], 2)
    return out


def facing(corners: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return (n, k) cosines between the outward normals of the edges of (n, k, 2) polygons and a unit direction
    (2,).
    """
    edges = np.roll(corners, -1, axis=1) - corners
    length = np.maximum(np.hypot(edges[:, :, 0], edges[:, :, 1]), 1e-9)
    out: np.ndarray = (edges[:, :, 1] * direction[0] - edges[:, :, 0] * direction[1]) / length
    return out


def raised_in_sar(world: World, window: Window, buildings: Buildings, sar: SarSpec) -> Raised:
    """Return what stands on a window, seen from the side."""
    shadow, laid, corner = (np.zeros(window[2:], dtype=np.uint8) for _ in range(3))
    look = np.array([math.cos(math.radians(sar.look_deg)), math.sin(math.radians(sar.look_deg))])
    gsd = world.spec.gsd_m
    corners = buildings.corners()
    away = np.asarray(shadow_m(buildings.height_m, sar.incidence_deg))[:, None] * look
    towards = -np.asarray(layover_m(buildings.height_m, sar.incidence_deg))[:, None] * look
    fill_all(shadow, to_canvas(swept(corners, away), gsd, window), [1] * len(buildings))

    roofs = to_level(_ROOF_DB + sar.contrast_db + 0.5 * buildings.strength_db)
    fill_all(laid, to_canvas(corners + towards[:, None, :], gsd, window), roofs.tolist())
    cosine = facing(corners, -look)
    owner, edge = np.nonzero(cosine > 0.02)
    after = (edge + 1) % corners.shape[1]
    foot = np.stack([corners[owner, edge], corners[owner, after]], axis=1)
    wall = np.concatenate([foot, foot[:, ::-1] + towards[owner][:, None, :]], axis=1)
    square = cosine[owner, edge] ** 2
    strength = sar.contrast_db + buildings.strength_db[owner]
    fill_all(laid, to_canvas(wall, gsd, window), to_level(_WALL_DB + 5 * square + 0.7 * strength).tolist())
    high = 2.0 * np.log2(buildings.height_m[owner] / 6.0)
    levels = to_level(_CORNER_DB + 11 * square**3 + high + strength)
    line_all(corner, to_canvas(foot, gsd, window), levels.tolist(), _line_px(gsd))
    raised = Raised(shadow, laid, corner)
    _tanks_in_sar(world, window, sar, look, raised)
    _edges_of_works(world, window, sar, look, corner)
    return raised


def _tanks(world: World, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return the outlines (n, k, 2) and heights (n,) of the tanks that may reach into a window, in metres."""
    tanks = [work for work in world.works_in(world.extent(window, REACH_M)) if work.ground == Ground.TANK]
    if not tanks:
        return np.zeros((0, 4, 2)), np.zeros(0)
    return np.stack([tank.corners for tank in tanks]), np.array([tank.height_m for tank in tanks])


def _tanks_in_sar(world: World, window: Window, sar: SarSpec, look: np.ndarray, raised: Raised) -> None:
    """Draw shadow, wall, smooth roof and the near arc of the roof's rim of each tank; the arc lies towards the sensor,
    like the roof.
    """
    corners, height = _tanks(world, window)
    if len(corners) == 0:
        return
    gsd = world.spec.gsd_m
    away = np.asarray(shadow_m(height, sar.incidence_deg))[:, None] * look
    towards = -np.asarray(layover_m(height, sar.incidence_deg))[:, None] * look
    fill_all(raised.shadow, to_canvas(swept(corners, away), gsd, window), [1] * len(corners))
    wall, roof, rim = to_level(np.array([_WALL_DB, _TANK_ROOF_DB, _RIM_DB]) + sar.contrast_db).tolist()
    fill_all(raised.laid, to_canvas(corners + towards[:, None, :], gsd, window), [roof] * len(corners))
    owner, edge = np.nonzero(facing(corners, -look) > 0.02)
    foot = np.stack([corners[owner, edge], corners[owner, (edge + 1) % corners.shape[1]]], axis=1)
    top = foot + towards[owner][:, None, :]
    fill_all(raised.laid, to_canvas(np.concatenate([foot, top[:, ::-1]], axis=1), gsd, window), [wall] * len(foot))
    near = facing(corners, -look)[owner, edge] > 0.4
    line_all(raised.corner, to_canvas(top[near], gsd, window), [rim] * int(near.sum()), _line_px(gsd))


def _line_px(gsd_m: float) -> int:
    return 2 if gsd_m < 0.75 else 1


def _edges_of_works(world: World, window: Window, sar: SarSpec, look: np.ndarray, corner: np.ndarray) -> None:
    """Draw the corner of water and wall along quays, piers, tanks, breakwaters and bridges; a bridge returns three
    times, one for each further bounce on the water, each a layover behind the last (Robalo and Lichtenegger, ERS-SAR
    Images a Bridge, ESA 1999).
    """
    for work in world.works_in(world.extent(window, REACH_M)):
        if work.ground not in _EDGES:
            continue
        cosine = facing(work.corners[None], -look)[0]
        for edge in np.nonzero(cosine > 0.1)[0]:
            ends = np.stack([work.corners[edge], work.corners[(edge + 1) % len(work.corners)]])
            middles, lines = _runs(ends)
            if work.ground != Ground.TANK:
                across = np.array([ends[1, 1] - ends[0, 1], ends[0, 0] - ends[1, 0]]) / np.hypot(*(ends[1] - ends[0]))
                beyond = middles + across * 1.2 * world.grid.cell_m
                lines = lines[world.open_m[world.grid.cell_of(beyond[:, 0], beyond[:, 1])] > 0]
            behind = float(layover_m(work.height_m, sar.incidence_deg)) * look
            for bounce in (-1, 0, 1) if work.ground == Ground.BRIDGE else (0,):
                decibels = _EDGES[work.ground] + 8 * cosine[edge] ** 4 - 3 * abs(bounce) + sar.contrast_db
                _draw_runs(corner, lines + bounce * behind, world, window, decibels)


def _runs(ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a line (2, 2) as runs of about 9 m: middles (n, 2) and lines (n, 2, 2); no clipping bends a line as short
    as this.
    """
    count = max(1, round(float(np.hypot(*(ends[1] - ends[0]))) / 9.0))
    at = np.linspace(0.0, 1.0, count + 1)[:, None]
    points = ends[0] + at * (ends[1] - ends[0])
    return (points[:-1] + points[1:]) / 2, np.stack([points[:-1], points[1:]], axis=1)


def _draw_runs(corner: np.ndarray, lines: np.ndarray, world: World, window: Window, decibels: float) -> None:
    """Draw runs of uneven strength, since walls of quays are not smooth."""
    x1, y1, x2, y2 = world.extent(window, 30.0)
    lines = lines[((lines > [x1, y1]) & (lines < [x2, y2])).all(axis=(1, 2))]
    place = np.floor(lines[:, 0] * 4).astype(np.int64)
    uneven = 8.0 * (uniform_grid(mix(world.spec.seed, 84), place[:, 1], place[:, 0]).astype(np.float64) - 0.5)
    gsd = world.spec.gsd_m
    line_all(corner, to_canvas(lines, gsd, window), to_level(decibels + uneven).tolist(), _line_px(gsd))


def raised_in_optical(
    world: World, window: Window, buildings: Buildings, optical: OpticalSpec
) -> tuple[np.ndarray, np.ndarray]:
    """Return roofs (1 + index of a colour, 0 for none) and shadows (1 where the sun does not reach the ground), both
    uint8 canvases.
    """
    roofs, shadow = (np.zeros(window[2:], dtype=np.uint8) for _ in range(2))
    azimuth = math.radians(optical.sun_azimuth_deg)
    length = buildings.height_m / math.tan(math.radians(optical.sun_elevation_deg))
    shift = length[:, None] * np.array([math.cos(azimuth), math.sin(azimuth)])
    corners = buildings.corners()
    gsd = world.spec.gsd_m
    fill_all(shadow, to_canvas(swept(corners, shift), gsd, window), [1] * len(buildings))
    fill_all(roofs, to_canvas(corners, gsd, window), (buildings.roof.astype(int) + 1).tolist())
    tanks, height = _tanks(world, window)
    shift = (
        height[:, None]
        / math.tan(math.radians(optical.sun_elevation_deg))
        * np.array([math.cos(azimuth), math.sin(azimuth)])
    )
    fill_all(shadow, to_canvas(swept(tanks, shift), gsd, window), [1] * len(tanks))
    fill_all(roofs, to_canvas(tanks, gsd, window), [_TANK_COLOUR] * len(tanks))
    return roofs, shadow
