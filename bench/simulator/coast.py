"""Where land and sea are: a coarse map of the whole scene, and its interpolation to pixels.

The map's cells are a whole number of pixels wide (`step_px`, about 8 m). Heights are not modelled: land is flat, so
that optical and SAR views register exactly on the ground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.data.windows import Window
from bench.simulator.noise import gaussian_field, mix
from bench.simulator.spec import PortSpec

REACH_M = 128.0
"""Half of the strip around the scene that the coarse map knows; beyond it, the map's edge goes on."""
ROUGHNESS_M = 5.0
"""Standard deviation of the coast's place at pixels around the coarse map's."""
_CELL_M = 8.0
_OCTAVES = ((1.0, 2400.0), (0.5, 900.0), (0.22, 300.0), (0.09, 110.0))  # weight, wavelength in metres


@dataclass(frozen=True, eq=False)
class Grid:
    """The coarse grid of a scene.

    Attributes:
        step_px: pixels per cell. pad: cells that it reaches beyond the scene on every side. rows, columns: with the
            padding.
        gsd_m: metres per pixel of the scene.
    """

    step_px: int
    pad: int
    rows: int
    columns: int
    gsd_m: float

    @property
    def cell_m(self) -> float:
        """Edge of a cell in metres."""
        return self.step_px * self.gsd_m

    @classmethod
    def of(cls, spec: PortSpec) -> Grid:
        """Return the grid that covers the scene and what a window at its edge may ask for."""
        step = max(2, round(_CELL_M / spec.gsd_m))
        pad = math.ceil(2 * REACH_M / (step * spec.gsd_m)) + 4
        rows, columns = (math.ceil(side / step) + 2 * pad for side in (spec.height_px, spec.width_px))
        return cls(step, pad, rows, columns, spec.gsd_m)

    def window(self) -> Window:
        """Return the grid as a window counted in cells."""
        return -self.pad, -self.pad, self.rows, self.columns

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Return y (rows, 1) and x (1, columns) of the cells' centres in metres."""
        y = (np.arange(self.rows) - self.pad + 0.5) * self.cell_m
        x = (np.arange(self.columns) - self.pad + 0.5) * self.cell_m
        return y[:, None], x[None, :]

    def cell_of(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return row and column of the cells that hold the points, clipped to the grid."""
        rows = np.clip(np.floor(y / self.cell_m).astype(np.int64) + self.pad, 0, self.rows - 1)
        columns = np.clip(np.floor(x / self.cell_m).astype(np.int64) + self.pad, 0, self.columns - 1)
        return rows, columns

    def nearest(self, values: np.ndarray, window: Window) -> np.ndarray:
        """Return `values` (rows, columns) at the pixels of a window, each cell's value throughout the cell."""
        y0, x0, height, width = window
        rows = np.clip((y0 + np.arange(height)) // self.step_px + self.pad, 0, self.rows - 1)
        columns = np.clip((x0 + np.arange(width)) // self.step_px + self.pad, 0, self.columns - 1)
        out: np.ndarray = values[rows][:, columns]
        return out

    def smooth(self, values: np.ndarray, window: Window) -> np.ndarray:
        """Return float32 `values` (rows, columns) at the pixels of a window, linear between the cells' centres.

        Weights depend on the pixel alone, so that two windows agree in every shared pixel.
        """
        y0, x0, height, width = window
        (row, below, fy), (column, right, fx) = (
            self._between(*axis) for axis in ((y0, height, self.rows), (x0, width, self.columns))
        )
        one = np.float32(1.0)
        used = values[row[0] : below[-1] + 1]
        across = used[:, column] * (one - fx) + used[:, right] * fx
        out: np.ndarray = across[row - row[0]] * (one - fy)[:, None] + across[below - row[0]] * fy[:, None]
        return out

    def interpolated(self, values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return `values` (rows, columns) at points in metres, as `smooth` has them at pixels."""
        (row, below, fy), (column, right, fx) = (
            self._weights(at / self.cell_m, cells) for at, cells in ((y, self.rows), (x, self.columns))
        )
        above = values[row, column] * (1 - fx) + values[row, right] * fx
        out: np.ndarray = above * (1 - fy) + (values[below, column] * (1 - fx) + values[below, right] * fx) * fy
        return out

    def _between(self, start: int, count: int, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._weights((start + np.arange(count) + 0.5) / self.step_px, cells)

    def _weights(self, place: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the two cells next to places counted in cells from the scene's corner, and the share of the second."""
        at = place - 0.5 + self.pad
        low = np.clip(np.floor(at).astype(np.int64), 0, cells - 2)
        return low, low + 1, np.clip(at - low, 0, 1).astype(np.float32)


def inland_map(spec: PortSpec, grid: Grid) -> np.ndarray:
    """Return the signed distance to the coast in metres at the cells, positive on land; (rows, columns) float32.

    The level of the underlying noise is chosen so that `land_share` of the scene proper is land before islands are
    added.
    """
    field = _height(spec, grid)
    scene = field[grid.pad : grid.rows - grid.pad, grid.pad : grid.columns - grid.pad]
    level = np.quantile(scene, 1.0 - spec.land_share)
    if spec.land_share in (0.0, 1.0):
        level += (1e3 + np.ptp(field)) * (1 if spec.land_share == 0.0 else -1)
    land = field > level
    _add_islands(spec, grid, land)
    return signed_distance(land, grid.cell_m)


def signed_distance(land: np.ndarray, cell_m: float) -> np.ndarray:
    """Return the distance of cells to the border of the mask `land` in metres, negative outside; (rows, columns)
    float32.
    """
    import cv2

    far = np.float32(max(land.shape) * cell_m)
    if land.all() or not land.any():
        return np.full(land.shape, far if land.all() else -far, dtype=np.float32)
    inside = cv2.distanceTransform(land.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~land).astype(np.uint8), cv2.DIST_L2, 5)
    signed = (np.where(land, inside - 0.5, 0.5 - outside) * cell_m).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(signed, (0, 0), 0.8), dtype=np.float32)


def _height(spec: PortSpec, grid: Grid) -> np.ndarray:
    """Return a rough terrain in metres of distance: a plane that falls towards the sea, wound by noise."""
    rng = np.random.default_rng([spec.seed, 11])
    angle = rng.uniform(0, 2 * math.pi)
    y, x = grid.centres()
    field = (math.cos(angle) * x + math.sin(angle) * y).astype(np.float32)
    for number, (weight, wavelength_m) in enumerate(_OCTAVES):
        spacing = max(2, round(wavelength_m / 4 / grid.cell_m))
        winding = gaussian_field(mix(spec.seed, 12, number), spacing, grid.window())
        field += np.float32(2.0 * weight * spec.relief_m) * winding
    return field


def _add_islands(spec: PortSpec, grid: Grid, land: np.ndarray) -> None:
    """Put round islands and rocks into the sea of `land` (rows, columns), in place."""
    rng = np.random.default_rng([spec.seed, 13])
    y, x = grid.centres()
    area_km2 = land.size * grid.cell_m**2 / 1e6
    for _ in range(rng.poisson(spec.islands * area_km2 * (1.0 - land.mean()))):
        cy, cx = rng.uniform(y[0, 0], y[-1, 0]), rng.uniform(x[0, 0], x[0, -1])
        radius = 15.0 * math.exp(rng.normal(0.6, 0.7))
        row, column = grid.cell_of(np.array([cx]), np.array([cy]))
        reach = math.ceil(1.5 * radius / grid.cell_m) + 1
        inside = (
            slice(max(0, row[0] - reach), row[0] + reach + 1),
            slice(max(0, column[0] - reach), column[0] + reach + 1),
        )
        stretch = rng.uniform(0.6, 1.4)
        around = ((y[inside[0]] - cy) * stretch) ** 2 + ((x[:, inside[1]] - cx) / stretch) ** 2
        land[inside] |= around < radius**2
