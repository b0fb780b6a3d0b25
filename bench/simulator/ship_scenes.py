"""SAR scenes with ships: how a scene of a given kind is drawn, rendered whole, and where its ships are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.simulator.noise import mix
from bench.simulator.sar import render_sar, sar_boxes
from bench.simulator.spec import PortSpec, SarSpec
from bench.simulator.world import World

Shore = Literal["inshore", "offshore"]
_TILE_PX = 1024


@dataclass(frozen=True)
class ShipScene:
    """A scene to render. shore: inshore scenes have a coast with harbours, offshore ones at most an island."""

    port: PortSpec
    sar: SarSpec
    shore: Shore


def draw_scene(
    seed: int,
    number: int,
    size: tuple[int, int],
    gsd_m: float,
    shore: Shore,
    ships: int | None,
    bits: Literal[8, 16] = 8,
    looks: int = 1,
) -> ShipScene:
    """Return scene `number` of a set: coast, sea state, geometry and gain vary from scene to scene.

    Args:
        size: (height, width) in px. ships: exactly so many where there is room, None for what the scene gives.
    """
    rng = np.random.default_rng([seed, 95, number])
    inshore = shore == "inshore"
    port = PortSpec(
        seed=mix(seed, 96, number) >> 33, height_px=size[0], width_px=size[1], gsd_m=gsd_m, ships=ships,
        land_share=round(rng.uniform(0.25, 0.6), 3) if inshore else 0.0, urban=round(rng.uniform(0.3, 0.85), 3),
        ports=14.0 if inshore else 0.0, islands=0.15, traffic=0.6, anchorages=6.0 if inshore else 3.0, bridges=inshore,
    )  # fmt: skip
    strong = bits == 16
    sar = SarSpec(
        look_deg=round(float(rng.choice([0.0, 180.0]) + rng.uniform(-12, 12)), 1),
        incidence_deg=round(rng.uniform(24, 48), 1), looks=looks,
        resolution_px=round(rng.uniform(1.25, 1.75), 2), taper=round(rng.uniform(0.62, 0.9), 2),
        sea_db=round(rng.uniform(-27, -19), 1), sea_shape=round(rng.uniform(4, 25), 1), noise_db=-31.0,
        contrast_db=round(rng.uniform(-2, 1), 1), bits=bits,
        gain=round(float((2600 if strong else 210) * rng.uniform(0.85, 1.2)), 1),
        ambiguity_db=-26.0 if rng.random() < 0.2 else None, ambiguity_m=round(rng.uniform(300, 700)),
    )  # fmt: skip
    return ShipScene(port, sar, shore)


def render_scene(scene: ShipScene, boxes_px: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitude (height, width) and the boxes (k, 4) of its ships, x1, y1, x2, y2 in px, float64.

    Args:
        boxes_px: (k, 4) boxes that ships must fill, in place of the simulator's own.
    """
    world = World(scene.port, boxes_px)
    height, width = scene.port.height_px, scene.port.width_px
    out = np.empty((height, width), dtype=np.uint8 if scene.sar.bits == 8 else np.uint16)
    for y0 in range(0, height, _TILE_PX):
        for x0 in range(0, width, _TILE_PX):
            window = (y0, x0, min(_TILE_PX, height - y0), min(_TILE_PX, width - x0))
            out[y0 : y0 + window[2], x0 : x0 + window[3]] = render_sar(world, scene.sar, window)
    return out, sar_boxes(world, scene.sar, (0, 0, height, width))


def whole_pixels(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return boxes widened to whole pixels, as people draw them, inside an image of (height, width)."""
    low = np.floor(boxes[:, :2]).clip(0, [size[1] - 1, size[0] - 1])
    high = np.ceil(boxes[:, 2:]).clip(low + 1, [size[1], size[0]])
    return np.concatenate([low, high], axis=1)


def shares(rng: np.random.Generator, total: int, parts: int, least: int, spread: float) -> np.ndarray:
    """Return (parts,) whole numbers of at least `least` that add up to `total`, unequal by a lognormal of this
    spread.
    """
    weights = np.exp(rng.normal(0.0, spread, parts))
    out: np.ndarray = least + rng.multinomial(total - parts * least, weights / weights.sum())
    return out
