"""What the ground is made of, and how each kind of it looks to either sensor: the tables behind both views.

Optical values are rough broadband reflectances, red, green, blue, 0..1, chosen by eye for coastal cities seen at 1 m.
Mean backscatter is for about 35 degrees of incidence, like polarisation, C to X band, rounded from the tables of Ulaby
and Dobson, *Handbook of Radar Scattering Statistics for Terrain* (1989): wide distributions, of which these are
middles. Built structures are brighter than any of it and are handled in `structures.py`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import numpy as np


class Ground(IntEnum):
    """Kinds of ground."""

    SEA = 0
    BASIN = 1
    BEACH = 2
    SOIL = 3
    GRASS = 4
    FOREST = 5
    FIELD = 6
    ROAD = 7
    PAVED = 8
    LOT = 9
    QUAY = 10
    RUBBLE = 11
    TANK = 12
    BRIDGE = 13


WATER = (Ground.SEA, Ground.BASIN)

# red, green, blue; texture, fine and coarse (standard deviation of the logarithm); backscatter in dB; its texture
# likewise
_TABLE = {
    Ground.SEA: (0.075, 0.135, 0.165, 0.05, 0.06, None, 0.0, 0.0),
    Ground.BASIN: (0.085, 0.13, 0.135, 0.03, 0.05, None, 0.0, 0.0),
    Ground.BEACH: (0.62, 0.56, 0.45, 0.05, 0.08, -19.0, 0.15, 0.2),
    Ground.SOIL: (0.44, 0.37, 0.29, 0.10, 0.14, -14.5, 0.3, 0.3),
    Ground.GRASS: (0.27, 0.34, 0.19, 0.10, 0.14, -13.0, 0.3, 0.3),
    Ground.FOREST: (0.12, 0.19, 0.10, 0.28, 0.15, -9.0, 0.7, 0.25),
    Ground.FIELD: (0.33, 0.37, 0.20, 0.07, 0.10, -12.5, 0.25, 0.15),
    Ground.ROAD: (0.30, 0.30, 0.31, 0.05, 0.05, -21.0, 0.2, 0.2),
    Ground.PAVED: (0.47, 0.46, 0.44, 0.07, 0.10, -16.0, 0.5, 0.35),
    Ground.LOT: (0.38, 0.37, 0.32, 0.16, 0.12, -11.0, 0.6, 0.3),
    Ground.QUAY: (0.56, 0.55, 0.52, 0.05, 0.05, -15.0, 0.5, 0.3),
    Ground.RUBBLE: (0.40, 0.38, 0.35, 0.25, 0.05, -4.0, 0.9, 0.2),
    Ground.TANK: (0.78, 0.78, 0.76, 0.02, 0.02, -15.0, 0.2, 0.1),
    Ground.BRIDGE: (0.45, 0.45, 0.46, 0.04, 0.03, -12.0, 0.4, 0.2),
}
_SEASONS = {  # factor on red, green, blue of vegetation
    "spring": {Ground.GRASS: (0.95, 1.1, 0.9), Ground.FOREST: (1.0, 1.15, 0.9), Ground.FIELD: (0.85, 1.1, 0.85)},
    "summer": {},
    "autumn": {Ground.GRASS: (1.2, 1.0, 0.95), Ground.FOREST: (1.5, 1.05, 0.9), Ground.FIELD: (1.25, 1.0, 0.95)},
    "winter": {Ground.GRASS: (1.35, 1.05, 1.15), Ground.FOREST: (1.5, 1.1, 1.3), Ground.FIELD: (1.35, 1.05, 1.25)},
}
_PARCELS = {  # how much brightness (optical) and backscatter (SAR) vary from one lot or field to the next
    Ground.FIELD: (0.55, 1.5),
    Ground.LOT: (0.25, 0.8),
    Ground.PAVED: (0.3, 1.2),
    Ground.GRASS: (0.2, 0.5),
    Ground.SOIL: (0.4, 0.8),
}
# reflectance of roofs: red tile, light concrete, grey, blue sheet metal, white, dark bitumen, rust, green paint
ROOFS = np.array(
    [
        (0.50, 0.27, 0.20), (0.60, 0.58, 0.55), (0.40, 0.40, 0.41), (0.24, 0.42, 0.62),
        (0.80, 0.80, 0.79), (0.20, 0.20, 0.21), (0.44, 0.33, 0.27), (0.32, 0.44, 0.36),
    ],
    dtype=np.float32,
)  # fmt: skip


def reflectances(season: str) -> np.ndarray:
    """Return (kinds, 3) float32 reflectances of the ground in a season."""
    out = np.array([_TABLE[kind][:3] for kind in Ground], dtype=np.float32)
    for kind, factors in _SEASONS[season].items():
        out[kind] *= np.array(factors, dtype=np.float32)
    return out


def optical_textures() -> np.ndarray:
    """Return (kinds, 2) float32: standard deviation of the logarithm of reflectance, fine and coarse."""
    return np.array([_TABLE[kind][3:5] for kind in Ground], dtype=np.float32)


def backscatter(sea_db: float) -> np.ndarray:
    """Return (kinds,) float32 mean backscatter as power; enclosed water lies 3 dB below open sea of `sea_db`."""
    water = {Ground.SEA: sea_db, Ground.BASIN: sea_db - 3.0}
    decibels = np.array([water.get(kind, _TABLE[kind][5]) for kind in Ground], dtype=np.float64)
    return (10.0 ** (decibels / 10)).astype(np.float32)


def sar_textures() -> np.ndarray:
    """Return (kinds, 2) float32: standard deviation of the logarithm of backscatter (power), fine and coarse."""
    return np.array([_TABLE[kind][6:8] for kind in Ground], dtype=np.float32)


def parcel_weights(view: Literal["optical", "sar"]) -> np.ndarray:
    """Return (kinds,) float32: how much a view varies from one lot or field to the next, 0 for ground that has none."""
    out = np.zeros(len(Ground), dtype=np.float32)
    for kind, weights in _PARCELS.items():
        out[kind] = weights[("optical", "sar").index(view)]
    return out
