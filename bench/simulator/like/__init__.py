"""Simulated stand-ins of public sets in their genuine download layouts; one module for each, listed in `LAYOUTS`.

A layout module gives `plan(request)`: the tasks of `produce`, how a task is made, and how the lists are written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.data.facts import ShipFacts

LAYOUTS = {
    "qxs-saropt": "bench.simulator.like.qxs_saropt",
    "air-sarship-1.0": "bench.simulator.like.air_sarship",
    "ssdd": "bench.simulator.like.ssdd",
    "hrsid": "bench.simulator.like.hrsid",
}


@dataclass(frozen=True, eq=False)
class Request:
    """What the user requested.

    Attributes:
        count: pairs or images, None for the whole size of the genuine set. seed: of everything.
        misregistration_px: standard deviation of the offset of optical patches, per axis (qxs-saropt).
        boxes: scene number -> (k, 4) boxes in pixels that the scene's ships must fill (air-sarship-1.0), None for ships
            of the simulator's own.
    """

    count: int | None = None
    seed: int = 0
    misregistration_px: float = 0.0
    boxes: dict[int, np.ndarray] | None = None

    def images(self, facts: ShipFacts, noun: str) -> int:
        """Return how many images of the set to make.

        Raises:
            BenchError: more than it has, or options of other sets.
        """
        title, full = facts.title.partition(":")[0], facts.expected_scenes or 0
        count = full if self.count is None else self.count
        if not 1 <= count <= full:
            raise BenchError(f"--images {count}: {title} has {full} {noun}")
        if self.boxes is not None or self.misregistration_px:
            raise BenchError(f"--ships-at and --misregistration-px are not for {facts.name}")
        return count


@dataclass(frozen=True, eq=False)
class Plan:
    """How a set is made; see `bench.simulator.produce`.

    Attributes:
        stamp: JSON values that settle the content. tasks, make, finish: as `produce` takes them. what: one line for a
        person, once it is done.
    """

    stamp: dict[str, Any]
    tasks: Sequence[Any]
    make: Callable[[Path, Any], list[Any]]
    finish: Callable[[Path, list[list[Any]]], None]
    what: str
