"""Harbours and other works at the water: quays, piers, basins, breakwaters, yards with containers, tanks and cranes,
bridges.

All are convex polygons, in the order in which they are laid over the ground, and berths along their edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from bench.simulator.city import Buildings
from bench.simulator.coast import Grid
from bench.simulator.materials import Ground
from bench.simulator.spec import PortSpec

_APART_M = 900.0
_EDGE_M = 60.0  # how far the quay's edge lies before the natural coast
_BRIDGE_M = (150.0, 1800.0)
_ROOT_M = 90  # length over which a breakwater may lie on land and quays, where it starts
CRANE_HEIGHT_M = 50.0


@dataclass(frozen=True, eq=False)
class Work:
    """A convex polygon of one material: (k, 2) float64 corners x, y in metres, turning from +x towards +y; height over
    the water.
    """

    corners: np.ndarray
    ground: Ground
    height_m: float


@dataclass(frozen=True)
class Berth:
    """A stretch of water's edge: its two ends in metres, and the unit vector that points to the water."""

    x1: float
    y1: float
    x2: float
    y2: float
    out_x: float
    out_y: float

    @property
    def length_m(self) -> float:
        """Length of the edge."""
        return math.hypot(self.x2 - self.x1, self.y2 - self.y1)


@dataclass(eq=False)
class Works:
    """Everything built at the water: `works` in the order of laying, `berths`, `blocks` (container stacks, sheds),
    cranes as (n, 3) x, y and direction of the boom.
    """

    works: list[Work] = field(default_factory=list)
    berths: list[Berth] = field(default_factory=list)
    blocks: list[Buildings] = field(default_factory=list)
    cranes: list[tuple[float, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class _Site:
    """A harbour's own frame: origin on the coast, s along the shore, n inland."""

    x: float
    y: float
    angle: float  # direction inland

    def at(self, s: float | np.ndarray, n: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return np.asarray(self.x + n * cos - s * sin), np.asarray(self.y + n * sin + s * cos)

    def box(self, s: tuple[float, float], n: tuple[float, float]) -> np.ndarray:
        """Return the corners of a rectangle, turning from +x towards +y."""
        x, y = self.at(np.array([s[0], s[0], s[1], s[1]]), np.array([n[0], n[1], n[1], n[0]]))
        return np.stack([x, y], axis=1)

    def berth(self, start: tuple[float, float], end: tuple[float, float], out: tuple[float, float]) -> Berth:
        """Return an edge from (s, n) to (s, n), open to the direction `out` (s, n)."""
        (x1, y1), (x2, y2), (xo, yo) = (self.at(*point) for point in (start, end, (out[0], out[1])))
        return Berth(float(x1), float(y1), float(x2), float(y2), float(xo - self.x), float(yo - self.y))


def build(spec: PortSpec, grid: Grid, inland_m: np.ndarray) -> Works:
    """Return the works of a scene whose coast is `inland_m` (rows, columns)."""
    works = Works()
    rng = np.random.default_rng([spec.seed, 31])
    edge_km = (spec.height_px + spec.width_px) / 2 * spec.gsd_m / 1000
    if spec.bridges:
        _bridges(rng, grid, inland_m, works, max(1, round(edge_km / 3)))
    wanted = max(1, round(spec.ports * edge_km / 10)) if spec.ports > 0 else 0
    for site in _sites(rng, spec, grid, inland_m, wanted):
        _harbour(rng, site, works)
    _drop_crossing_breakwaters(grid, inland_m, works)
    return works


def _sites(rng: np.random.Generator, spec: PortSpec, grid: Grid, inland_m: np.ndarray, wanted: int) -> list[_Site]:
    """Return up to `wanted` places on the coast, apart from each other."""
    rows, columns = np.nonzero(np.abs(inland_m) < 0.7 * grid.cell_m)
    y, x = (rows - grid.pad + 0.5) * grid.cell_m, (columns - grid.pad + 0.5) * grid.cell_m
    inside = (y > 0) & (x > 0) & (y < spec.height_px * spec.gsd_m) & (x < spec.width_px * spec.gsd_m)
    rows, columns, y, x = rows[inside], columns[inside], y[inside], x[inside]
    sites: list[_Site] = []
    for pick in rng.permutation(len(x))[: 40 * wanted]:
        if len(sites) == wanted:
            break
        if all(math.hypot(site.x - x[pick], site.y - y[pick]) > _APART_M for site in sites):
            angle = _inward(grid, inland_m, rows[pick], columns[pick])
            if angle is not None:
                sites.append(_Site(float(x[pick]), float(y[pick]), angle))
    return sites


def _inward(grid: Grid, inland_m: np.ndarray, row: int, column: int) -> float | None:
    """Return the direction inland at a coast cell, None where the coast is no line (a small island, a corner of the
    grid).
    """
    reach = max(3, round(120 / grid.cell_m))
    if not (reach <= row < grid.rows - reach and reach <= column < grid.columns - reach):
        return None
    around = inland_m[row - reach : row + reach + 1, column - reach : column + reach + 1]
    dy, dx = float(around[-1].mean() - around[0].mean()), float(around[:, -1].mean() - around[:, 0].mean())
    if math.hypot(dy, dx) < 1.0 * reach * grid.cell_m:
        return None
    return math.atan2(dy, dx)


def _harbour(rng: np.random.Generator, site: _Site, works: Works) -> None:
    """Lay one harbour over the coast."""
    half, depth = rng.uniform(180, 420), rng.uniform(130, 240)
    works.works.append(Work(site.box((-half, half), (-_EDGE_M, depth)), Ground.PAVED, 3.0))
    kind = rng.choice(["quay", "piers", "basin"], p=[0.35, 0.4, 0.25])
    free = [(-half, half)]
    if kind == "basin":
        width, inner = rng.uniform(110, 170), depth - 50
        middle = rng.uniform(-0.4, 0.4) * half
        s0, s1 = middle - width / 2, middle + width / 2
        works.works.append(Work(site.box((s0, s1), (-_EDGE_M - 1, inner)), Ground.BASIN, 0.0))
        works.berths += [
            site.berth((s0, -_EDGE_M), (s0, inner), (1, 0)),
            site.berth((s1, inner), (s1, -_EDGE_M), (-1, 0)),
        ]
        free = [(-half, s0), (s1, half)]
    elif kind == "piers":
        _piers(rng, site, works, half)
    for s0, s1 in free:
        if kind != "piers" and s1 - s0 > 60:
            works.works.append(Work(site.box((s0, s1), (-_EDGE_M, -_EDGE_M + 24)), Ground.QUAY, 3.0))
            works.berths.append(site.berth((s0, -_EDGE_M), (s1, -_EDGE_M), (0, -1)))
            _cranes(rng, site, works, (s0, s1))
        _yard(rng, site, works, (s0 + 12, s1 - 12), (-_EDGE_M + 45, depth - 14))
    if rng.random() < 0.6:
        _breakwater(rng, site, works, half)


def _piers(rng: np.random.Generator, site: _Site, works: Works, half: float) -> None:
    spacing = rng.uniform(140, 210)
    for number in range(int(2 * half / spacing)):
        s = -half + (number + 0.5) * spacing
        width, length = rng.uniform(14, 46), rng.uniform(120, 380)
        tip = -_EDGE_M - length
        works.works.append(Work(site.box((s - width / 2, s + width / 2), (tip, -_EDGE_M + 6)), Ground.QUAY, 3.5))
        works.berths += [
            site.berth((s - width / 2, tip), (s - width / 2, -_EDGE_M - 25), (-1, 0)),
            site.berth((s + width / 2, -_EDGE_M - 25), (s + width / 2, tip), (1, 0)),
        ]
        if width > 34:
            works.blocks.append(_grid(rng, site, (s - 8, s + 8), (tip + 20, -_EDGE_M - 20), (26, 12), (5.0, 9.0), 0.6))


def _cranes(rng: np.random.Generator, site: _Site, works: Works, span: tuple[float, float]) -> None:
    if rng.random() < 0.35:
        return
    for s in np.arange(span[0] + 40, span[1] - 40, rng.uniform(70, 120)):
        x, y = site.at(s + rng.uniform(-15, 15), -_EDGE_M + 8)
        works.cranes.append((float(x), float(y), site.angle + math.pi))


def _yard(rng: np.random.Generator, site: _Site, works: Works, s: tuple[float, float], n: tuple[float, float]) -> None:
    """Fill a yard with container stacks, sheds or tanks."""
    if s[1] - s[0] < 50 or n[1] - n[0] < 50:
        return
    kind = rng.choice(["containers", "sheds", "tanks"], p=[0.5, 0.3, 0.2])
    if kind == "containers":
        works.blocks.append(_grid(rng, site, s, n, (40, 9), (2.6, 12.0), 0.7, gap=5.0))
    elif kind == "sheds":
        works.blocks.append(_grid(rng, site, s, n, (90, 34), (8.0, 13.0), 0.85, gap=14.0))
    else:
        diameter = rng.uniform(24, 56)
        turn = np.arange(20) * (2 * math.pi / 20)
        for middle_s in np.arange(s[0] + diameter, s[1] - diameter / 2, 1.6 * diameter):
            for middle_n in np.arange(n[0] + diameter / 2 + 8, n[1] - diameter / 2, 1.6 * diameter):
                if rng.random() < 0.85:
                    x, y = site.at(middle_s, middle_n)
                    ring = np.stack([x + diameter / 2 * np.cos(turn), y + diameter / 2 * np.sin(turn)], axis=1)
                    works.works.append(Work(ring, Ground.TANK, float(rng.uniform(10, 18))))


def _grid(
    rng: np.random.Generator, site: _Site, s: tuple[float, float], n: tuple[float, float], size: tuple[float, float],
    height: tuple[float, float], built: float, gap: float = 6.0,
) -> Buildings:  # fmt: skip
    """Return blocks of `size` (along s, along n) in rows that fill a rectangle."""
    along = np.arange(s[0] + size[0] / 2, s[1] - size[0] / 2 + 1e-6, size[0] + gap)
    across = np.arange(n[0] + size[1] / 2, n[1] - size[1] / 2 + 1e-6, size[1] + gap)
    at_s, at_n = (axis.ravel() for axis in np.meshgrid(along, across))
    count = len(at_s)
    x, y = site.at(at_s, at_n)
    half = np.stack([np.full(count, size[1] / 2), size[0] / 2 * rng.uniform(0.5, 1.0, count)], axis=1)
    heights = rng.uniform(*height, count)
    strength = rng.normal(2.0, 3.0, count)
    out = Buildings(
        np.stack([x, y], axis=1),
        half,
        np.full(count, site.angle),
        heights,
        rng.integers(0, 8, count).astype(np.uint8),
        strength,
    )
    return out.take(rng.random(count) < built)


def _breakwater(rng: np.random.Generator, site: _Site, works: Works, half: float) -> None:
    """Lay one or two arms of rubble around the water before the quay."""
    out = rng.uniform(350, 650)
    for side in (-1, 1) if rng.random() < 0.5 else (rng.choice([-1, 1]),):
        s0 = side * (half + rng.uniform(20, 80))
        bend, end = -_EDGE_M - out, s0 - side * rng.uniform(0.3, 0.8) * half
        width = rng.uniform(9, 16)
        for (sa, na), (sb, nb) in (((s0, 60.0), (s0, bend)), ((s0, bend), (end, bend - rng.uniform(-60, 60)))):
            works.works.append(Work(_strip(site, (sa, na), (sb, nb), width), Ground.RUBBLE, 4.0))


def _drop_crossing_breakwaters(grid: Grid, inland_m: np.ndarray, works: Works) -> None:
    """Remove the breakwaters that would run over land, other works or each other; their two arms stand and fall
    together.
    """
    rubble = [work for work in works.works if work.ground == Ground.RUBBLE]
    others = [work.corners for work in works.works if work.ground != Ground.RUBBLE]
    dropped: set[int] = set()
    for first, second in zip(rubble[::2], rubble[1::2], strict=True):
        points = np.concatenate([_middle_line(first.corners)[_ROOT_M // 10 :], _middle_line(second.corners)])
        free = (inland_m[grid.cell_of(points[:, 0], points[:, 1])] < -15.0).all()
        if free and not any(covers(corners, points).any() for corners in others):
            others += [first.corners, second.corners]
        else:
            dropped |= {id(first), id(second)}
    works.works = [work for work in works.works if id(work) not in dropped]


def _middle_line(corners: np.ndarray) -> np.ndarray:
    """Return points (n, 2) every 10 m along the middle of a strip, from its start."""
    start, end = (corners[0] + corners[3]) / 2, (corners[1] + corners[2]) / 2
    out: np.ndarray = start + np.linspace(0, 1, max(2, round(float(np.hypot(*(end - start))) / 10)))[:, None] * (
        end - start
    )
    return out


def covers(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return which points (n, 2) lie in a convex polygon that turns from +x towards +y."""
    edges = np.roll(corners, -1, axis=0) - corners
    to = points[:, None, :] - corners
    out: np.ndarray = (edges[:, 0] * to[..., 1] - edges[:, 1] * to[..., 0] >= 0).all(axis=1)
    return out


def _strip(site: _Site, start: tuple[float, float], end: tuple[float, float], width: float) -> np.ndarray:
    """Return the corners of a strip from (s, n) to (s, n), turning from +x towards +y."""
    (x1, y1), (x2, y2) = site.at(*start), site.at(*end)
    return strip(float(x1), float(y1), float(x2), float(y2), width)


def strip(x1: float, y1: float, x2: float, y2: float, width: float) -> np.ndarray:
    """Return (4, 2) corners of a strip between two points, half a width longer at both ends, turning from +x towards
    +y.
    """
    length = math.hypot(x2 - x1, y2 - y1)
    ux, uy = (x2 - x1) / length * width / 2, (y2 - y1) / length * width / 2
    return np.array(
        [
            (x1 - ux + uy, y1 - uy - ux),
            (x2 + ux + uy, y2 + uy - ux),
            (x2 + ux - uy, y2 + uy + ux),
            (x1 - ux - uy, y1 - uy + ux),
        ]
    )


def _bridges(rng: np.random.Generator, grid: Grid, inland_m: np.ndarray, works: Works, wanted: int) -> None:
    """Lay bridges where land faces land over narrow water."""
    rows, columns = np.nonzero((inland_m > 0) & (inland_m < 1.5 * grid.cell_m))
    for pick in rng.permutation(len(rows))[: 60 * wanted]:
        if wanted == 0:
            return
        angle = _inward(grid, inland_m, rows[pick], columns[pick])
        if angle is None:
            continue
        x, y = (columns[pick] - grid.pad + 0.5) * grid.cell_m, (rows[pick] - grid.pad + 0.5) * grid.cell_m
        along = np.arange(3 * grid.cell_m, _BRIDGE_M[1], grid.cell_m)
        line_x, line_y = x - along * math.cos(angle), y - along * math.sin(angle)
        land = inland_m[grid.cell_of(line_x, line_y)] > 30.0
        first = int(np.argmax(land)) if land.any() else 0
        if first and along[first] > _BRIDGE_M[0] and inland_m[grid.cell_of(line_x[:first], line_y[:first])].min() < -40:
            start_x, start_y = x + 60 * math.cos(angle), y + 60 * math.sin(angle)
            end_x, end_y = line_x[first] - 60 * math.cos(angle), line_y[first] - 60 * math.sin(angle)
            corners = strip(start_x, start_y, float(end_x), float(end_y), rng.uniform(14, 26))
            works.works.append(Work(corners, Ground.BRIDGE, float(rng.uniform(8, 20))))
            wanted -= 1
