"""What the simulator's tests share: small worlds, empty or rich ones, and buildings set by hand."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from bench.simulator import city, harbour
from bench.simulator.city import Buildings
from bench.simulator.harbour import Works
from bench.simulator.ships import Fleet, Ship
from bench.simulator.spec import PortSpec
from bench.simulator.world import World

EMPTY: dict[str, Any] = {"ports": 0, "islands": 0, "traffic": 0, "anchorages": 0, "bridges": False}


def port(side_px: int = 200, **changes: Any) -> PortSpec:
    return PortSpec(height_px=side_px, width_px=side_px, **changes)


@lru_cache(maxsize=16)
def rich_world(seed: int, side_px: int, gsd_m: float) -> World:
    """A crowded world: coast, harbours, islands, and more ships than usual."""
    return World(
        port(side_px, seed=seed, gsd_m=gsd_m, relief_m=60.0, traffic=25.0, anchorages=60.0, ports=40.0, islands=4.0)
    )


def open_sea(side_px: int = 200, gsd_m: float = 1.0, seed: int = 0) -> World:
    """A world of nothing but water."""
    return World(port(side_px, seed=seed, gsd_m=gsd_m, land_share=0.0, **EMPTY))


def with_ships(world: World, *ships: Ship) -> World:
    """Put these ships into both views of a world, in place of its own."""
    world.fleet = Fleet(ships, ships)
    return world


def no_buildings(monkeypatch: Any) -> None:
    monkeypatch.setattr(city, "buildings_of", lambda *_: city.joined([]))


def with_works(monkeypatch: Any, works: Works) -> None:
    """Let every world that is made from now on have these works."""
    monkeypatch.setattr(harbour, "build", lambda *_: works)


def one_building(
    centre: tuple[float, float], half: tuple[float, float] = (9.0, 9.0), angle: float = 0.0, height_m: float = 20.0
) -> Buildings:
    return Buildings(
        np.array([centre]),
        np.array([half]),
        np.array([angle]),
        np.array([height_m]),
        np.zeros(1, dtype=np.uint8),
        np.zeros(1),
    )


def covered(corners_m: np.ndarray, gsd_m: float, side_px: int) -> np.ndarray:
    """Return the pixels whose centres lie in a convex polygon, (side, side) bool; by itself, so that the simulator's
    way is tested.
    """
    centres = (np.arange(side_px) + 0.5) * gsd_m
    out = np.ones((side_px, side_px), dtype=bool)
    for number, (ax, ay) in enumerate(corners_m):
        bx, by = corners_m[(number + 1) % len(corners_m)]
        out &= (bx - ax) * (centres[:, None] - ay) - (by - ay) * (centres[None, :] - ax) >= 0
    return out
