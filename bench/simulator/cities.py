"""Cities as sets of patch pairs: which windows of a scene are kept, what radiometry a city has, and the pairs
themselves.

Each city is one scene with its own sensor settings, as in sets that were cut from a few large images: tones separate
cities, and say nothing else about a patch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.core.errors import BenchError
from bench.data.windows import Window
from bench.simulator.ground import layers_of
from bench.simulator.noise import mix
from bench.simulator.optical import MARGIN_PX, render_optical, wider
from bench.simulator.sar import render_sar
from bench.simulator.spec import OpticalSpec, PortSpec, SarSpec, Season
from bench.simulator.world import World, world_of

LARGEST_PX = 60_000
"""Edge of the largest scene."""
_BLOCK = 5  # windows per axis that are rendered together
_SEASONS: tuple[Season, ...] = ("summer", "autumn", "spring", "winter")


@dataclass(frozen=True)
class Manner:
    """How the cities of a set are drawn.

    Attributes:
        looks: of the speckle. tones: how far apart the radiometry of the cities lies, 0 for one radiometry, 1 for
            cities that tones separate.
        least_land: windows with less land are left out, as step G of the QXS-SAROPT paper leaves out what shows no
            texture.
    """

    looks: int = 2
    tones: float = 1.0
    least_land: float = 0.4


@dataclass(frozen=True)
class City:
    """A city's scene and the sensors that see it."""

    name: str
    port: PortSpec
    optical: OpticalSpec
    sar: SarSpec


@dataclass(frozen=True)
class Patch:
    """A window to cut: number of the pair, top left corner in px, offset of its optical part in px."""

    number: int
    y0: int
    x0: int
    optical_dy: int
    optical_dx: int


@dataclass(frozen=True)
class Block:
    """Neighbouring patches of a city that are rendered together."""

    city: City
    patch_px: int
    patches: tuple[Patch, ...]

    def window(self) -> Window:
        """Return the window that holds all patches and the offsets of their optical parts."""
        slack = max(max(abs(patch.optical_dy), abs(patch.optical_dx)) for patch in self.patches)
        y0, x0 = min(patch.y0 for patch in self.patches) - slack, min(patch.x0 for patch in self.patches) - slack
        y1, x1 = max(patch.y0 for patch in self.patches), max(patch.x0 for patch in self.patches)
        return y0, x0, y1 - y0 + self.patch_px + slack, x1 - x0 + self.patch_px + slack


def city_of(number: int, seed: int, side_px: int, gsd_m: float, manner: Manner | None = None) -> City:
    """Return city `number` of a set: its own world, tone, season, sun, look direction and gain."""
    manner = manner or Manner()
    apart = manner.tones
    rng = np.random.default_rng([seed, 91, number])
    gains = (1 + apart * rng.uniform(-0.26, 0.26, 3)) * (0.78, 1.12, 0.95)[number % 3] ** apart
    offsets = apart * (rng.uniform(-0.03, 0.03, 3) + (0.06, -0.02, 0.02)[number % 3])
    gain = 310 * (0.74, 1.35, 1.0)[number % 3] ** apart * (1 + apart * rng.uniform(-0.15, 0.15))
    tone = tuple(round(float(value), 4) for value in (*gains, *offsets))
    port = PortSpec(
        seed=mix(seed, 92, number) >> 33, height_px=side_px, width_px=side_px, gsd_m=gsd_m,
        land_share=round(rng.uniform(0.66, 0.76), 3), urban=round(rng.uniform(0.6, 0.8), 3),
    )  # fmt: skip
    optical = OpticalSpec(
        sun_azimuth_deg=round(rng.uniform(0, 360), 1), sun_elevation_deg=round(rng.uniform(40, 62), 1),
        season=_SEASONS[(number + rng.integers(2)) % len(_SEASONS)], tone=tone, haze=round(rng.uniform(0.02, 0.14), 3),
    )  # fmt: skip
    sar = SarSpec(
        look_deg=round(float(rng.choice([0.0, 180.0]) + rng.uniform(-14, 14)), 1),
        incidence_deg=round(rng.uniform(26, 46), 1), looks=manner.looks,
        sea_db=round(rng.uniform(-26, -21), 1), gain=round(float(gain), 1),
        noise_db=round(rng.uniform(-31, -27), 1), contrast_db=round(rng.uniform(-2, 1), 1),
    )  # fmt: skip
    return City(f"city{number + 1}", port, optical, sar)


def kept_windows(
    number: int, seed: int, wanted: int, patch_px: int, stride_px: int, gsd_m: float, manner: Manner
) -> tuple[City, list[Window]]:
    """Return a city large enough for `wanted` patches, and its first so many windows with enough land, row by row.

    Raises:
        BenchError: the city would be larger than a scene may be.
    """
    across = max(2, math.ceil(math.sqrt(wanted / 0.8)))
    while True:
        side = (across - 1) * stride_px + patch_px
        if side > LARGEST_PX:
            raise BenchError(
                f"{wanted} patches of one scene need more than {LARGEST_PX} x {LARGEST_PX} px; ask for fewer, or for"
                " more scenes"
            )
        city = city_of(number, seed, side, gsd_m, manner)
        world = world_of(city.port)
        grid = [
            (row * stride_px, column * stride_px, patch_px, patch_px)
            for row in range(across)
            for column in range(across)
        ]
        kept = [window for window in grid if world.land_share(window) >= manner.least_land]
        if len(kept) >= wanted:
            return city, kept[:wanted]
        across = max(across + 1, math.ceil(across * math.sqrt(wanted / max(len(kept), wanted // 4, 1)) * 1.02))


def blocks_of(city: City, patches: list[Patch], patch_px: int, stride_px: int) -> list[Block]:
    """Return the patches grouped into blocks of neighbours, in a fixed order."""
    groups: dict[tuple[int, int], list[Patch]] = {}
    for patch in patches:
        groups.setdefault((patch.y0 // (_BLOCK * stride_px), patch.x0 // (_BLOCK * stride_px)), []).append(patch)
    return [Block(city, patch_px, tuple(groups[key])) for key in sorted(groups)]


def render_block(block: Block) -> Iterator[tuple[Patch, np.ndarray, np.ndarray]]:
    """Yield each patch of a block with its optical (px, px, 3) and SAR (px, px) image, uint8."""
    world = world_of(block.city.port)
    window = block.window()
    optical, sar = render_pair(world, block.city, window)
    for patch in block.patches:
        top, left = patch.y0 - window[0], patch.x0 - window[1]
        side = block.patch_px
        y, x = top + patch.optical_dy, left + patch.optical_dx
        yield patch, optical[y : y + side, x : x + side], sar[top : top + side, left : left + side]


def render_pair(world: World, city: City, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return both views of a window; the ground is worked out once."""
    layers = layers_of(world, wider(window, MARGIN_PX))
    return render_optical(world, city.optical, window, layers), render_sar(world, city.sar, window, layers)


def offsets(seed: int, count: int, deviation_px: float) -> np.ndarray:
    """Return (count, 2) whole-pixel offsets y, x: normal with this standard deviation, cut at three of it and
    rounded.
    """
    if deviation_px == 0:
        return np.zeros((count, 2), dtype=np.int64)
    drawn = np.random.default_rng([seed, 93]).normal(0.0, deviation_px, (count, 2))
    return np.rint(np.clip(drawn, -3 * deviation_px, 3 * deviation_px)).astype(np.int64)
