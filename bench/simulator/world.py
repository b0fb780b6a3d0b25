"""The world of a spec: coast, districts, works at the water, buildings and ships, and what of it a window may see.

Coarse maps are made once; buildings district by district, when a window first asks. A world of 20 x 20 km takes about
150 MiB.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from bench.data.windows import Window
from bench.simulator import city, coast, harbour, ships
from bench.simulator.afloat import Waters
from bench.simulator.city import Buildings
from bench.simulator.harbour import Work
from bench.simulator.ships import Ship
from bench.simulator.spec import PortSpec

_KEPT_DISTRICTS = 512
_CLEAR_M = 25.0  # the coast is rough by up to 21 m
_BEYOND_HULL_M = 410.0  # no wake goes farther beyond the stern, and no mast is laid over as far
Extent = tuple[float, float, float, float]
"""x1, y1, x2, y2 in metres."""


class World:
    """Everything that can be seen in the scene of `spec`.

    Attributes:
        grid: the coarse grid. inland_m: (rows, columns) float32 signed distance to the natural coast. districts, works:
            see their modules.
        open_m: (rows, columns) float32 distance of water to the next land or structure, negative on either. fleet: the
            ships of both views.

    Args:
        boxes_px: (k, 4) outer boxes x1, y1, x2, y2 in pixels of ships that the SAR view must show there, in place of
            all others. Land and works keep away from them.
    """

    def __init__(self, spec: PortSpec, boxes_px: np.ndarray | None = None) -> None:
        self.spec = spec
        self.grid = coast.Grid.of(spec)
        wanted = [] if boxes_px is None else _prescribed(spec, boxes_px)
        self.inland_m = _cleared(self.grid, coast.inland_map(spec, self.grid), wanted)
        self.works = harbour.build(spec, self.grid, self.inland_m)
        self._clear_works(wanted)
        self.districts = city.lay_out(spec, self.grid, self.inland_m)
        self._built = _covered(self.grid, self.works.works)
        self.open_m = -coast.signed_distance((self.inland_m > -8.0) | self._built, self.grid.cell_m)
        if wanted:
            self._drop_unfounded((self.inland_m > 16.0) | self._built)
        afloat = Waters(self.grid, self.inland_m, self.works.works).carry
        self.fleet = ships.put_to_sea(spec, self.grid, self.works.berths, self.open_m, afloat)
        if boxes_px is not None:
            self.fleet = ships.Fleet(self.fleet.optical, tuple(wanted))
        self._work_extents = _extents([work.corners for work in self.works.works])
        self._blocks = [batch for batch in self.works.blocks if len(batch)]
        self._block_extents = _extents([batch.centre for batch in self._blocks])
        self._district_buildings: OrderedDict[int, Buildings] = OrderedDict()

    def extent(self, window: Window, margin_m: float = 0.0) -> Extent:
        """Return the ground that a window shows, `margin_m` wider on every side."""
        y0, x0, height, width = window
        gsd = self.spec.gsd_m
        return x0 * gsd - margin_m, y0 * gsd - margin_m, (x0 + width) * gsd + margin_m, (y0 + height) * gsd + margin_m

    def works_in(self, extent: Extent) -> list[Work]:
        """Return the works that reach into `extent`, in the order of laying."""
        return [self.works.works[number] for number in np.nonzero(_meet(self._work_extents, extent))[0]]

    def buildings_in(self, extent: Extent) -> Buildings:
        """Return the buildings whose centres lie in `extent` or close to it, always in the same order."""
        numbers = np.unique(self.grid_nearest(self.districts.label, extent))
        batches = [self._buildings(int(number)) for number in numbers]
        batches += [self._blocks[number] for number in np.nonzero(_meet(self._block_extents, extent))[0]]
        found = city.joined(batches)
        x1, y1, x2, y2 = extent
        x, y = found.centre[:, 0], found.centre[:, 1]
        return found.take((x > x1) & (x < x2) & (y > y1) & (y < y2))

    def grid_nearest(self, values: np.ndarray, extent: Extent) -> np.ndarray:
        """Return the part of a coarse map that covers `extent`."""
        rows, columns = self.grid.cell_of(np.array(extent[0::2]), np.array(extent[1::2]))
        return values[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]

    def ships_in(self, extent: Extent, fleet: Iterable[Ship]) -> list[Ship]:
        """Return the ships of a fleet whose hull, wake and side lobes may reach into `extent`."""
        x1, y1, x2, y2 = extent
        near = []
        for ship in fleet:
            reach = _BEYOND_HULL_M + ship.length_m / 2
            if x1 - reach < ship.x < x2 + reach and y1 - reach < ship.y < y2 + reach:
                near.append(ship)
        return near

    def land_share(self, window: Window) -> float:
        """Return the share of a window that is land or works, from the coarse maps."""
        extent = self.extent(window)
        land = (self.grid_nearest(self.inland_m, extent) > 0) | self.grid_nearest(self._built, extent)
        return float(land.mean())

    def _buildings(self, number: int) -> Buildings:
        """Return the buildings of a district that fit: on land, inside the district, off the main roads and the
        works.
        """
        if number in self._district_buildings:
            self._district_buildings.move_to_end(number)
            return self._district_buildings[number]
        found = city.buildings_of(self.spec, self.districts, number)
        cells = self.grid.cell_of(found.centre[:, 0], found.centre[:, 1])
        radius = np.hypot(found.half[:, 0], found.half[:, 1])
        fits = (self.districts.label[cells] == number) & (
            self.districts.margin_m[cells] > city.MAIN_ROAD_HALF_M + 0.8 * radius
        )
        fits &= (self.inland_m[cells] > radius + 10.0) & ~self._built[cells]
        kept = found.take(fits)
        self._district_buildings[number] = kept
        if len(self._district_buildings) > _KEPT_DISTRICTS:
            self._district_buildings.popitem(last=False)
        return kept

    def _clear_works(self, wanted: list[Ship]) -> None:
        """Remove works and blocks that would lie on prescribed ships."""
        for ship in wanted:
            reach = ship.length_m / 2 + 10.0
            extent = (ship.x - reach, ship.y - reach, ship.x + reach, ship.y + reach)
            self.works.works = [work for work in self.works.works if not _meet(_extents([work.corners]), extent)[0]]
            self.works.blocks = [
                batch for batch in self.works.blocks if len(batch) and not _meet(_extents([batch.centre]), extent)[0]
            ]
            self.works.cranes = [
                crane for crane in self.works.cranes if np.hypot(crane[0] - ship.x, crane[1] - ship.y) > reach + 60
            ]

    def _drop_unfounded(self, ground: np.ndarray) -> None:
        """Remove blocks and cranes of which the quay was removed; `ground` (rows, columns) is True where something can
        stand.
        """
        cell_of = self.grid.cell_of
        self.works.blocks = [
            batch.take(ground[cell_of(batch.centre[:, 0], batch.centre[:, 1])]) for batch in self.works.blocks
        ]
        self.works.cranes = [
            crane for crane in self.works.cranes if ground[cell_of(np.array(crane[0]), np.array(crane[1]))]
        ]


@lru_cache(maxsize=2)
def world_of(spec: PortSpec) -> World:
    """Return the world of `spec`; a process keeps the last two."""
    return World(spec)


def _prescribed(spec: PortSpec, boxes_px: np.ndarray) -> list[Ship]:
    flips = np.random.default_rng([spec.seed, 51]).random(len(boxes_px)) < 0.5
    metres = np.asarray(boxes_px, dtype=np.float64) * spec.gsd_m
    return [
        ships.ship_of_box((x1, y1, x2, y2), bool(flip), 8_000_000 + number)
        for number, ((x1, y1, x2, y2), flip) in enumerate(zip(metres.tolist(), flips, strict=True))
    ]


def _cleared(grid: coast.Grid, inland_m: np.ndarray, wanted: list[Ship]) -> np.ndarray:
    """Return `inland_m` with water around prescribed ships."""
    if not wanted:
        return inland_m
    y, x = grid.centres()
    out = inland_m.copy()
    for ship in wanted:
        reach = ship.length_m / 2 + ship.beam_m + _CLEAR_M + grid.cell_m
        row, column = grid.cell_of(np.array([ship.x]), np.array([ship.y]))
        around = int((reach + 150.0) / grid.cell_m) + 2
        inside = (
            slice(max(0, row[0] - around), row[0] + around + 1),
            slice(max(0, column[0] - around), column[0] + around + 1),
        )
        distance = np.hypot(y[inside[0]] - ship.y, x[:, inside[1]] - ship.x).astype(np.float32)
        out[inside] = np.minimum(out[inside], np.maximum(distance - np.float32(reach), -reach))
    return out


def _covered(grid: coast.Grid, works: list[Work]) -> np.ndarray:
    """Return (rows, columns) bool: cells whose centre a work covers, basins taken out again, since they are laid
    later.
    """
    import cv2

    from bench.simulator.materials import Ground

    canvas = np.zeros((grid.rows, grid.columns), dtype=np.uint8)
    for work in works:
        points = np.rint((work.corners / grid.cell_m + grid.pad - 0.5) * 16).astype(np.int32)
        cv2.fillConvexPoly(canvas, points, 0 if work.ground == Ground.BASIN else 1, shift=4)
    return canvas.astype(bool)


def _extents(parts: list[np.ndarray]) -> np.ndarray:
    """Return (n, 4) outer boxes x1, y1, x2, y2 of point sets."""
    return np.array([[*points.min(axis=0), *points.max(axis=0)] for points in parts]).reshape(-1, 4)


def _meet(extents: np.ndarray, extent: Extent) -> np.ndarray:
    """Return which of (n, 4) boxes meet a box."""
    x1, y1, x2, y2 = extent
    out: np.ndarray = (extents[:, 0] < x2) & (extents[:, 2] > x1) & (extents[:, 1] < y2) & (extents[:, 3] > y1)
    return out
