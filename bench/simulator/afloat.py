"""Whether a hull floats: the whole of it on water, clear of works, however rough the coast is drawn."""

from __future__ import annotations

import math

import numpy as np

from bench.simulator.coast import ROUGHNESS_M, Grid
from bench.simulator.harbour import Work, covers
from bench.simulator.materials import Ground
from bench.simulator.ships import Ship

_STEP_M = 4.0  # no work is narrower than twice this
_CLEAR_M = 4.2 * ROUGHNESS_M  # the roughest that a coast gets


class Waters:
    """The water of a world, asked hull by hull.

    Args:
        inland_m: (rows, columns) signed distance to the natural coast. works: in the order of laying.
    """

    def __init__(self, grid: Grid, inland_m: np.ndarray, works: list[Work]) -> None:
        self.grid = grid
        self.inland_m = inland_m
        self.works = works
        self._low = np.array([work.corners.min(axis=0) for work in works]).reshape(-1, 2)
        self._high = np.array([work.corners.max(axis=0) for work in works]).reshape(-1, 2)

    def carry(self, ship: Ship) -> bool:
        """Return whether all of a ship's hull is on water."""
        points = _deck(ship)
        near = (self._low < points.max(axis=0)).all(axis=1) & (self._high > points.min(axis=0)).all(axis=1)
        wet = self.grid.interpolated(self.inland_m, points[:, 0], points[:, 1]) < -_CLEAR_M
        for number in np.nonzero(near)[0]:
            work = self.works[number]
            wet[covers(work.corners, points)] = work.ground == Ground.BASIN
        return bool(wet.all())


def _deck(ship: Ship) -> np.ndarray:
    """Return points (n, 2) all over the rectangle around a hull, in metres."""
    along, across = (
        np.linspace(-side / 2, side / 2, max(2, math.ceil(side / _STEP_M) + 1)) for side in (ship.length_m, ship.beam_m)
    )
    u, v = (axis.ravel() for axis in np.meshgrid(along, across))
    cos, sin = math.cos(ship.heading), math.sin(ship.heading)
    return np.stack([ship.x + u * cos - v * sin, ship.y + u * sin + v * cos], axis=1)
