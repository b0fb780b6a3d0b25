"""Simulated stand-ins of public sets in their genuine download layouts; one module for each, listed in `LAYOUTS`.

A layout module gives `plan(request)`: the tasks of `produce`, how a task is made, and how the lists are written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
