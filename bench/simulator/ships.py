"""Ships: how long, where, heading where, at either of two acquisitions.

Optical and SAR images are not taken at the same time. Between them most berthed ships stay, some leave and others come;
ships at anchor swing; ships under way are other ships elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bench.simulator.coast import Grid
from bench.simulator.harbour import Berth
from bench.simulator.spec import PortSpec

_STAYS_AT_BERTH, _STAYS_AT_ANCHOR = 0.7, 0.85
_GAP_M = 16.0
_TRIES = 1000  # in a row, before water counts as full
_CLASSES = (  # share, median length in metres, spread of its logarithm, length over beam
    (0.30, 32.0, 0.35, 4.2),  # fishing boats, tugs, yachts
    (0.30, 88.0, 0.25, 6.0),  # coasters, barges
    (0.28, 165.0, 0.22, 6.4),  # bulk carriers, tankers
    (0.12, 265.0, 0.18, 6.9),  # large container ships and tankers
)
_LENGTH_M = (14.0, 380.0)


@dataclass(frozen=True)
class Ship:
    """A ship afloat.

    Attributes:
        x, y: centre in metres. heading: direction of the bow in radians. length_m, beam_m: of the hull. speed_ms: 0
            unless under way.
        number: identifies the ship within its world; its looks derive from it.
        box: outer box x1, y1, x2, y2 in metres that its image must fill, where one was prescribed.
    """

    x: float
    y: float
    heading: float
    length_m: float
    beam_m: float
    speed_ms: float
    number: int
    box: tuple[float, float, float, float] | None = None

    def outline(self) -> np.ndarray:
        """Return (5, 2) corners x, y of the hull in metres, bow pointed, turning from +x towards +y at heading 0."""
        a, b = self.length_m / 2, self.beam_m / 2
        u, v = np.array([-a, 0.72 * a, a, 0.72 * a, -a]), np.array([-b, -b, 0.0, b, b])
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return np.stack([self.x + u * cos - v * sin, self.y + u * sin + v * cos], axis=1)


@dataclass(frozen=True)
class Fleet:
    """The ships at the two acquisitions."""

    optical: tuple[Ship, ...]
    sar: tuple[Ship, ...]


def lengths(rng: np.random.Generator, longest_m: float = _LENGTH_M[1]) -> tuple[float, float]:
    """Return a ship's length and beam in metres, no longer than `longest_m`.

    Mixture of lognormals for four classes of ships, with the length-to-beam ratios usual for them (Schneekluth and
    Bertram, *Ship Design for Efficiency and Economy*, ch. 1: 4 for small craft to 7 for container ships).
    """
    _, median, spread, ratio = _CLASSES[rng.choice(len(_CLASSES), p=[entry[0] for entry in _CLASSES])]
    length = float(np.clip(median * math.exp(rng.normal(0.0, spread)), _LENGTH_M[0], max(_LENGTH_M[0], longest_m)))
    return length, length / (ratio * rng.uniform(0.88, 1.12))


def put_to_sea(
    spec: PortSpec, grid: Grid, berths: list[Berth], open_m: np.ndarray, afloat: Callable[[Ship], bool]
) -> Fleet:
    """Return the ships of a world.

    Args:
        open_m: (rows, columns) distance of open water to the next land or structure in metres, negative on land.
        afloat: whether all of a hull is on water; ships for which it is not are left out.
    """
    rng = np.random.default_rng([spec.seed, 41])
    slots = _berthed(rng, spec, berths, open_m, grid) + _anchored(rng, spec, grid, open_m)
    under_way = [_traffic(np.random.default_rng([spec.seed, 42, view]), spec, grid, open_m, view) for view in (0, 1)]
    optical, sar = (
        [ship for ship in [*(slot[view] for slot in slots), *under_way[view]] if ship is not None and afloat(ship)]
        for view in (0, 1)
    )
    if spec.ships is not None:
        sar = _exactly(spec, sar, grid, open_m, afloat)
    return Fleet(_apart(optical), _apart(sar) if spec.ships is None else tuple(sar))


def _berthed(
    rng: np.random.Generator, spec: PortSpec, berths: list[Berth], open_m: np.ndarray, grid: Grid
) -> list[tuple[Ship | None, Ship | None]]:
    slots: list[tuple[Ship | None, Ship | None]] = []
    for berth in berths:
        at = rng.uniform(4, 20)
        while berth.length_m - at > 30:
            length, beam = lengths(rng, berth.length_m - at)
            if rng.random() < spec.occupancy and _berth_is_wet(berth, at, length, beam, open_m, grid):
                first = _at_berth(rng, berth, at, length, beam, 10_000 + 2 * len(slots))
                later = first if rng.random() < _STAYS_AT_BERTH else _other(rng, first, 10_001 + 2 * len(slots))
                slots.append((first, later))
            at += length + _GAP_M
    return slots


def _at_berth(rng: np.random.Generator, berth: Berth, at: float, length: float, beam: float, number: int) -> Ship:
    ux, uy = (berth.x2 - berth.x1) / berth.length_m, (berth.y2 - berth.y1) / berth.length_m
    off = beam / 2 + rng.uniform(1.0, 3.0)
    x = berth.x1 + ux * (at + length / 2) + berth.out_x * off
    y = berth.y1 + uy * (at + length / 2) + berth.out_y * off
    heading = math.atan2(uy, ux) + (math.pi if rng.random() < 0.5 else 0.0)
    return Ship(x, y, heading, length, beam, 0.0, number)


def _berth_is_wet(berth: Berth, at: float, length: float, beam: float, open_m: np.ndarray, grid: Grid) -> bool:
    """Return whether the water before a stretch of a berth is open over the ship's beam; the coast may have closed
    it.
    """
    ux, uy = (berth.x2 - berth.x1) / berth.length_m, (berth.y2 - berth.y1) / berth.length_m
    along, off = at + np.array([0.0, 0.5, 1.0]) * length, beam + 12.0
    cells = grid.cell_of(berth.x1 + ux * along + berth.out_x * off, berth.y1 + uy * along + berth.out_y * off)
    return bool((open_m[cells] > 0).all())


def _other(rng: np.random.Generator, ship: Ship, number: int) -> Ship | None:
    """Return another, not longer ship at the same berth, or none."""
    if rng.random() < 0.4:
        return None
    length, beam = lengths(rng, ship.length_m)
    # keep the gap to the quay: shift towards or from it, unknown side, so keep the centre for wider ships
    nearer = (ship.beam_m - beam) / 2
    return replace(ship, length_m=length, beam_m=beam, number=number) if nearer > -2.0 else None


def _anchored(
    rng: np.random.Generator, spec: PortSpec, grid: Grid, open_m: np.ndarray
) -> list[tuple[Ship | None, Ship | None]]:
    """Return groups of ships at anchor, all heading into the same current."""
    rows, columns = np.nonzero(open_m > 120)
    if len(rows) == 0:
        return []
    slots: list[tuple[Ship | None, Ship | None]] = []
    groups = rng.poisson(spec.anchorages * len(rows) * grid.cell_m**2 / 25e6)
    for _ in range(groups):
        pick = rng.integers(len(rows))
        cx, cy = (
            (columns[pick] - grid.pad + rng.random()) * grid.cell_m,
            (rows[pick] - grid.pad + rng.random()) * grid.cell_m,
        )
        heading, turn = rng.uniform(0, 2 * math.pi), rng.normal(0.0, 0.5)
        longest = float(np.clip(open_m[rows[pick], columns[pick]], 40, 320))
        spread = rng.uniform(1.2, 2.4) * longest
        for _ in range(rng.integers(4, 16)):
            length, beam = lengths(rng, longest)
            x, y = cx + rng.normal(0, spread), cy + rng.normal(0, spread)
            if float(open_m[grid.cell_of(np.array([x]), np.array([y]))][0]) < 0.7 * length:
                continue
            first = Ship(x, y, heading + rng.normal(0, 0.12), length, beam, 0.0, 20_000 + len(slots))
            swung = _swung(rng, first, turn)
            slots.append((first, swung if rng.random() < _STAYS_AT_ANCHOR else None))
    return slots


def _swung(rng: np.random.Generator, ship: Ship, turn: float) -> Ship:
    """Return a ship at anchor after the current turned by `turn` radians: it swings about its bow."""
    bow_x, bow_y = (
        ship.x + ship.length_m / 2 * math.cos(ship.heading),
        ship.y + ship.length_m / 2 * math.sin(ship.heading),
    )
    heading = ship.heading + turn + rng.normal(0, 0.06)
    return replace(
        ship,
        x=bow_x - ship.length_m / 2 * math.cos(heading),
        y=bow_y - ship.length_m / 2 * math.sin(heading),
        heading=heading,
    )


def _traffic(rng: np.random.Generator, spec: PortSpec, grid: Grid, open_m: np.ndarray, view: int) -> list[Ship]:
    """Return ships under way at one acquisition."""
    rows, columns = np.nonzero(open_m > 60)
    if len(rows) == 0:
        return []
    count = rng.poisson(spec.traffic * len(rows) * grid.cell_m**2 / 1e6)
    return [
        _one_under_way(rng, grid, open_m, rows, columns, 1_000_000 * (view + 1) + number) for number in range(count)
    ]


def _one_under_way(
    rng: np.random.Generator, grid: Grid, open_m: np.ndarray, rows: np.ndarray, columns: np.ndarray, number: int
) -> Ship:
    pick = rng.integers(len(rows))
    x, y = (columns[pick] - grid.pad + rng.random()) * grid.cell_m, (rows[pick] - grid.pad + rng.random()) * grid.cell_m
    length, beam = lengths(rng, float(1.4 * open_m[rows[pick], columns[pick]]))
    return Ship(x, y, rng.uniform(0, 2 * math.pi), length, beam, rng.uniform(2.0, 10.0), number)


def _exactly(
    spec: PortSpec, ships: list[Ship], grid: Grid, open_m: np.ndarray, afloat: Callable[[Ship], bool]
) -> list[Ship]:
    """Return exactly `spec.ships` ships of the scene proper: a choice of those that are there, or more under way."""
    assert spec.ships is not None
    rng = np.random.default_rng([spec.seed, 43])
    whole = [ship for ship in _apart(ships) if _is_whole(ship, spec)]
    chosen = [whole[index] for index in sorted(rng.permutation(len(whole))[: spec.ships])]
    number = 0
    for least in (60.0, 20.0, 8.0):
        rows, columns = np.nonzero(open_m > least)
        missed = 0 if len(rows) else _TRIES
        while missed < _TRIES:
            if len(chosen) >= spec.ships:
                return chosen
            ship = _one_under_way(rng, grid, open_m, rows, columns, 5_000_000 + number)
            number, missed = number + 1, missed + 1
            if _is_whole(ship, spec) and afloat(ship) and len(_apart([*chosen, ship])) > len(chosen):
                chosen.append(ship)
                missed = 0
    return chosen


def _is_whole(ship: Ship, spec: PortSpec) -> bool:
    """Return whether a ship lies in the scene with some room for its image."""
    reach = 0.5 * ship.length_m + 25.0
    return reach < ship.x < spec.width_px * spec.gsd_m - reach and reach < ship.y < spec.height_px * spec.gsd_m - reach


def _apart(ships: list[Ship]) -> tuple[Ship, ...]:
    """Return the ships without those that would lie on an earlier one."""
    kept: list[Ship] = []
    buckets: dict[tuple[int, int], list[Ship]] = {}
    size = 400.0
    for ship in ships:
        row, column = int(ship.y // size), int(ship.x // size)
        near = [other for dy in (-1, 0, 1) for dx in (-1, 0, 1) for other in buckets.get((row + dy, column + dx), ())]
        if not any(_touch(ship, other) for other in near):
            kept.append(ship)
            buckets.setdefault((row, column), []).append(ship)
    return tuple(kept)


def _touch(one: Ship, other: Ship) -> bool:
    """Return whether two hulls come closer than 3 m: no separating axis among those of the two (Gottschalk, Lin,
    Manocha 1996).
    """
    if math.hypot(one.x - other.x, one.y - other.y) > (one.length_m + other.length_m) / 2 + 3.0:
        return False
    for ship in (one, other):
        for angle, half in ((ship.heading, ship.length_m / 2), (ship.heading + math.pi / 2, ship.beam_m / 2)):
            axis = np.array([math.cos(angle), math.sin(angle)])
            partner = other if ship is one else one
            spread = (partner.outline() - [ship.x, ship.y]) @ axis
            if spread.min() > half + 3.0 or spread.max() < -half - 3.0:
                return False
    return True


def ship_of_box(box: tuple[float, float, float, float], flip: bool, number: int) -> Ship:
    """Return the ship whose hull's outer box is the given one, in metres.

    With beam = r length, the box of a rectangle at heading t is w = l (|cos t| + r |sin t|), h = l (|sin t| + r |cos
    t|), so that tan t = (h - r w) / (w - r h). A ratio of sides that no r of 1 / 6 allows lies along an axis with the
    beam that is left.

    Args:
        flip: heading -t instead of t, which has the same box.
    """
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    ratio = min(1 / 6, min(width, height) / max(width, height))
    across, along = height - ratio * width, width - ratio * height
    heading = math.atan2(max(across, 0.0), max(along, 0.0))
    length = width / (abs(math.cos(heading)) + ratio * abs(math.sin(heading)))
    if heading > math.pi / 4:
        length = height / (abs(math.sin(heading)) + ratio * abs(math.cos(heading)))
    return Ship((x1 + x2) / 2, (y1 + y2) / 2, -heading if flip else heading, length, length * ratio, 0.0, number, box)
