"""What stands on land: districts with streets of their own direction, and rows of rotated buildings with heights.

Districts are the Voronoi cells of jittered seeds. A district's buildings are made when a window first asks for them,
from the world's seed and the district's number alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from bench.simulator.coast import Grid
from bench.simulator.noise import mix, uniform_grid
from bench.simulator.spec import PortSpec

SPACING_M = 420.0
MAIN_ROAD_HALF_M = 7.0
_JITTER = 0.6


class District(IntEnum):
    """What a district is used for."""

    RESIDENTIAL = 0
    HIGHRISE = 1
    INDUSTRIAL = 2
    PARK = 3
    FOREST = 4
    FIELD = 5


BUILT = (District.RESIDENTIAL, District.HIGHRISE, District.INDUSTRIAL)
_KINDS = tuple(District)
_NEAR, _MIDDLE, _FAR = (  # share of each kind: within 350 m of the coast, to 1500 m, beyond
    np.array(shares) / sum(shares)
    for shares in ((25, 22, 35, 10, 5, 3), (42, 18, 13, 10, 7, 10), (22, 5, 10, 8, 25, 30))
)


@dataclass(frozen=True, eq=False)
class Style:
    """Streets and buildings of a kind of district: block edges, street width, lot edges, building edges (all in
    metres), heights, share of lots built on.
    """

    block_m: tuple[float, float]
    street_m: float
    lots: tuple[int, int]
    size_m: tuple[tuple[float, float], tuple[float, float]]
    height_m: tuple[float, float]
    built: float


STYLES = {
    District.RESIDENTIAL: Style((104.0, 52.0), 7.0, (6, 2), ((8.0, 13.0), (9.0, 16.0)), (5.0, 10.0), 0.86),
    District.HIGHRISE: Style((110.0, 104.0), 10.0, (2, 3), ((26.0, 44.0), (11.0, 16.0)), (16.0, 45.0), 0.8),
    District.INDUSTRIAL: Style((150.0, 116.0), 10.0, (2, 2), ((34.0, 62.0), (24.0, 44.0)), (7.0, 14.0), 0.75),
    District.PARK: Style((170.0, 150.0), 4.0, (1, 1), ((10.0, 18.0), (8.0, 14.0)), (4.0, 7.0), 0.12),
    District.FOREST: Style((400.0, 350.0), 4.0, (1, 1), ((8.0, 12.0), (7.0, 10.0)), (4.0, 6.0), 0.05),
    District.FIELD: Style((190.0, 120.0), 4.0, (1, 1), ((10.0, 20.0), (9.0, 14.0)), (4.0, 8.0), 0.1),
}


@dataclass(frozen=True, eq=False)
class Buildings:
    """A batch of rectangular blocks.

    Attributes:
        centre: (n, 2) float64 x, y in metres. half: (n, 2) half edges in metres. angle: (n,) direction of the first
            edge in radians.
        height_m: (n,). roof: (n,) uint8 index of a roof colour. strength_db: (n,) how much brighter than usual its
            walls reflect radar.
    """

    centre: np.ndarray
    half: np.ndarray
    angle: np.ndarray
    height_m: np.ndarray
    roof: np.ndarray
    strength_db: np.ndarray

    def __len__(self) -> int:
        return len(self.centre)

    def take(self, chosen: np.ndarray) -> Buildings:
        """Return the buildings that an index or mask chooses."""
        return Buildings(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def corners(self) -> np.ndarray:
        """Return (n, 4, 2) corners x, y in metres, turning from +x towards +y."""
        along = np.stack([np.cos(self.angle), np.sin(self.angle)], axis=1) * self.half[:, :1]
        across = np.stack([-np.sin(self.angle), np.cos(self.angle)], axis=1) * self.half[:, 1:]
        signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        return np.stack([self.centre + a * along + b * across for a, b in signs], axis=1)


def joined(batches: list[Buildings]) -> Buildings:
    """Return all batches as one, in order."""
    if not batches:
        empty = np.zeros(0)
        return Buildings(np.zeros((0, 2)), np.zeros((0, 2)), empty, empty, np.zeros(0, np.uint8), empty)
    return Buildings(
        *(np.concatenate([getattr(batch, name) for batch in batches]) for name in Buildings.__dataclass_fields__)
    )


@dataclass(frozen=True, eq=False)
class Districts:
    """All districts of a scene; arrays are indexed by a district's number.

    Attributes:
        x, y: seeds in metres. kind: (n,) values of `District`. angle: (n,) of the streets. block: (n, 2) block edges,
            street: (n,) width, metres.
        label: (rows, columns) int32 district of each cell of the coarse grid. margin_m: (rows, columns) float32
            distance to the next district.
    """

    x: np.ndarray
    y: np.ndarray
    kind: np.ndarray
    angle: np.ndarray
    block: np.ndarray
    street: np.ndarray
    label: np.ndarray
    margin_m: np.ndarray


def lay_out(spec: PortSpec, grid: Grid, inland_m: np.ndarray) -> Districts:
    """Return the districts of a scene whose coast is `inland_m` (rows, columns)."""
    y, x = grid.centres()
    rows, columns = (math.ceil((axis.ravel()[-1] - axis.ravel()[0]) / SPACING_M) + 3 for axis in (y, x))
    first_row, first_column = math.floor(y[0, 0] / SPACING_M) - 1, math.floor(x[0, 0] / SPACING_M) - 1
    at_row, at_column = np.arange(rows)[:, None] + first_row, np.arange(columns)[None, :] + first_column
    draw = [uniform_grid(mix(spec.seed, 20, number), at_row, at_column).astype(np.float64) for number in range(4)]
    seed_y = (at_row + 0.5 + _JITTER * (draw[0] - 0.5)) * SPACING_M
    seed_x = (at_column + 0.5 + _JITTER * (draw[1] - 0.5)) * SPACING_M
    label, margin = _cells(grid, seed_x, seed_y, (first_row, first_column))
    seed_x, seed_y = seed_x.ravel(), seed_y.ravel()
    kind = _kinds(spec, inland_m[grid.cell_of(seed_x, seed_y)[0], grid.cell_of(seed_x, seed_y)[1]], draw[2].ravel())
    rng = np.random.default_rng([spec.seed, 21])
    main = rng.uniform(0, math.pi / 2)  # the city's own direction; districts deviate from it
    angle = main + np.where(draw[3].ravel() < 0.5, 0.0, (draw[3].ravel() - 0.75) * math.pi)
    scale = rng.uniform(0.85, 1.2)
    block = np.array([STYLES[_KINDS[value]].block_m for value in kind]) * scale
    street = np.array([STYLES[_KINDS[value]].street_m for value in kind])
    return Districts(seed_x, seed_y, kind, angle, block, street, label, margin)


def _cells(grid: Grid, seed_x: np.ndarray, seed_y: np.ndarray, first: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest seed of every coarse cell, and the distance to the border with the second nearest in
    metres.
    """
    y, x = grid.centres()
    near_row, near_column = (
        np.floor(axis / SPACING_M).astype(np.int64) - start for axis, start in ((y, first[0]), (x, first[1]))
    )
    best = np.full((grid.rows, grid.columns), np.inf, dtype=np.float32)
    second, label = best.copy(), np.zeros(best.shape, dtype=np.int32)
    other = label.copy()
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            row = np.clip(near_row + dy, 0, seed_x.shape[0] - 1)
            column = np.clip(near_column + dx, 0, seed_x.shape[1] - 1)
            square = ((seed_y[row, column] - y) ** 2 + (seed_x[row, column] - x) ** 2).astype(np.float32)
            number = (row * seed_x.shape[1] + column).astype(np.int32)
            closer, between = square < best, (square >= best) & (square < second)
            second, other = (
                np.where(closer, best, np.where(between, square, second)),
                np.where(closer, label, np.where(between, number, other)),
            )
            best, label = np.where(closer, square, best), np.where(closer, number, label)
    apart = np.hypot(seed_x.ravel()[label] - seed_x.ravel()[other], seed_y.ravel()[label] - seed_y.ravel()[other])
    margin = ((second - best) / (2 * np.maximum(apart, 1.0))).astype(np.float32)
    return label, margin


def _kinds(spec: PortSpec, inland_m: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Return the kind of every district, by its seed's distance to the coast and a uniform draw."""
    kinds = np.full(len(draw), int(District.PARK), dtype=np.int64)
    for near, far, shares in ((-np.inf, 350.0, _NEAR), (350.0, 1500.0, _MIDDLE), (1500.0, np.inf, _FAR)):
        tilted = shares * np.where([kind in BUILT for kind in _KINDS], spec.urban, 1.0 - spec.urban)
        tilted = tilted / tilted.sum() if tilted.sum() > 0 else shares
        chosen = (inland_m >= near) & (inland_m < far)
        kinds[chosen] = np.searchsorted(np.cumsum(tilted), draw[chosen] * 0.999999)
    return np.minimum(kinds, len(_KINDS) - 1)


def buildings_of(spec: PortSpec, districts: Districts, number: int) -> Buildings:
    """Return the buildings that district `number` would have on open land, wherever its seed lies; the caller removes
    what does not fit.
    """
    style = STYLES[_KINDS[districts.kind[number]]]
    rng = np.random.default_rng([spec.seed, 22, number])
    block, street = districts.block[number], districts.street[number]
    reach = 0.75 * SPACING_M + max(block)
    # blocks are counted from the scene's origin, as `ground.py` counts streets; the district sees those around its seed
    cos, sin = math.cos(districts.angle[number]), math.sin(districts.angle[number])
    seed_u, seed_v = (
        districts.x[number] * cos + districts.y[number] * sin,
        districts.y[number] * cos - districts.x[number] * sin,
    )
    lots_u, lots_v = style.lots
    u = _lot_centres(seed_u, reach, block[0], street, lots_u)
    v = _lot_centres(seed_v, reach, block[1], street, lots_v)
    u, v = (axis.ravel() for axis in np.meshgrid(u, v))
    count = len(u)
    lot = np.array([(block[0] - street) / lots_u, (block[1] - street) / lots_v])
    size = np.stack([rng.uniform(*style.size_m[0], count), rng.uniform(*style.size_m[1], count)], axis=1)
    half = np.minimum(size, lot * 0.92) / 2
    slack = lot / 2 - half
    u, v = u + rng.uniform(-0.6, 0.6, count) * slack[:, 0], v + rng.uniform(-0.6, 0.6, count) * slack[:, 1]
    height = rng.uniform(*style.height_m, count)
    if districts.kind[number] == District.HIGHRISE:
        height = np.minimum(height, rng.choice([20.0, 32.0, 45.0]) * rng.uniform(0.8, 1.0, count))
    angle = districts.angle[number] + rng.normal(0.0, 0.02, count)
    centre = np.stack([u * cos - v * sin, u * sin + v * cos], axis=1)
    roof = _roofs(rng, int(districts.kind[number]), count)
    out = Buildings(centre, half, angle, height, roof, rng.normal(0.0, 3.5, count))
    return out.take(rng.random(count) < style.built)


def _lot_centres(seed: float, reach: float, block: float, street: float, lots: int) -> np.ndarray:
    """Return the centres of all lots along one axis of the streets, `reach` to both sides of `seed`, in metres."""
    blocks = np.arange(math.floor((seed - reach) / block), math.ceil((seed + reach) / block))
    inside = street / 2 + (np.arange(lots) + 0.5) * (block - street) / lots
    return (blocks[:, None] * block + inside[None, :]).ravel()


def _roofs(rng: np.random.Generator, kind: int, count: int) -> np.ndarray:
    """Return (count,) uint8 roof colours; a district has a favourite."""
    favourite = rng.integers(0, 4) if kind != District.INDUSTRIAL else rng.integers(3, 7)
    any_colour = rng.integers(0, 8, count)
    return np.where(rng.random(count) < 0.55, favourite, any_colour).astype(np.uint8)
