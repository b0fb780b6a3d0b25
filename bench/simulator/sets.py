"""The simulator's own sets: pairs and ship scenes of any size, made on demand for the quickstart, for tests and
examples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from bench.data.dataset import DatasetOptions
from bench.data.generated import IMAGES, LIST
from bench.data.images import write_image
from bench.data.patch_folder import PatchWriter, folder_names
from bench.data.ships.writing import CocoList
from bench.simulator.cities import Manner, Patch, blocks_of, kept_windows, render_block
from bench.simulator.ship_scenes import Shore, draw_scene, render_scene

_SCENE_DISTANCE_M = 50_000.0
_EMPTY_EVERY, _EMPTY_AT = 6, 4


class PortPairsSpec(DatasetOptions):
    """What to make.

    Attributes:
        scenes: cities, each one scene with a radiometry of its own. patches_per_scene: patches of each.
        patch_px, overlap_px: edge of a patch, and what neighbours share. gsd_m: metres per pixel.
        looks, tones, least_land: see `bench.simulator.cities.Manner`.
        seed: of everything.
    """

    scenes: int = Field(default=4, ge=1, le=1000)
    patches_per_scene: int = Field(default=50, ge=1, le=20_000)
    patch_px: int = Field(default=128, ge=16, le=2048)
    overlap_px: int = Field(default=0, ge=0)
    gsd_m: float = Field(default=2.0, ge=0.25, le=30.0)
    looks: int = Field(default=4, ge=1, le=16)
    tones: float = Field(default=0.5, ge=0.0, le=1.0)
    least_land: float = Field(default=0.15, ge=0.0, le=1.0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _overlap_is_a_part(self) -> PortPairsSpec:
        if self.overlap_px >= self.patch_px:
            raise ValueError(f"overlap_px {self.overlap_px} must be smaller than patch_px {self.patch_px}")
        return self


class PortShipsSpec(DatasetOptions):
    """What to make.

    Attributes:
        scenes: their number; numbers 2, 4, ... are inshore, 5, 11, ... hold no ship. scene_px: their edge. gsd_m:
            metres per pixel.
        ships_per_scene: ships of a scene where there is room for them. looks: of the speckle. bits: 8 or 16 bits of
            amplitude.
        seed: of everything.
    """

    scenes: int = Field(default=12, ge=1, le=10_000)
    scene_px: int = Field(default=384, ge=64, le=4096)
    gsd_m: float = Field(default=4.0, ge=0.5, le=30.0)
    ships_per_scene: int = Field(default=6, ge=1, le=1000)
    looks: int = Field(default=1, ge=1, le=16)
    bits: Literal[8, 16] = 8
    seed: int = Field(default=0, ge=0)


def write_port_pairs(root: Path, spec: PortPairsSpec) -> None:
    """Write pairs into the existing folder `root`: two folders of numbered PNG files and patches.csv with scene, window
    and place.

    Raises:
        BenchError: a scene would be larger than a scene may be.
    """
    stride = spec.patch_px - spec.overlap_px
    side = spec.patch_px
    manner = Manner(spec.looks, spec.tones, spec.least_land)
    with PatchWriter(root, folder_names(side, spec.overlap_px), compress_level=1) as writer:
        for number in range(spec.scenes):
            city, windows = kept_windows(number, spec.seed, spec.patches_per_scene, side, stride, spec.gsd_m, manner)
            patches = [Patch(place, y0, x0, 0, 0) for place, (y0, x0, _, _) in enumerate(windows)]
            for block in blocks_of(city, patches, side, stride):
                for patch, optical, sar in render_block(block):
                    x_min, y_max = number * _SCENE_DISTANCE_M + patch.x0 * spec.gsd_m, -patch.y0 * spec.gsd_m
                    place = (x_min, y_max - side * spec.gsd_m, x_min + side * spec.gsd_m, y_max)
                    writer.add(optical, sar, city.name, (patch.y0, patch.x0, side, side), place)


def write_port_ships(root: Path, spec: PortShipsSpec) -> None:
    """Write scenes into the existing folder `root`: images/<n>.png and annotations.json in COCO's layout, with `shore`
    and `scene`.
    """
    (root / IMAGES).mkdir()
    listed = CocoList()
    rng = np.random.default_rng([spec.seed, 100])
    for number in range(1, spec.scenes + 1):
        shore: Shore = "inshore" if number % 2 == 0 else "offshore"
        ships = 0 if (number - 1) % _EMPTY_EVERY == _EMPTY_AT else max(1, int(rng.poisson(spec.ships_per_scene)))
        size = (spec.scene_px, spec.scene_px)
        scene = draw_scene(spec.seed, number, size, spec.gsd_m, shore, ships, bits=spec.bits, looks=spec.looks)
        amplitude, boxes = render_scene(scene)
        path = write_image(root / IMAGES / str(number), amplitude, compress_level=1)
        listed.add(path.name, size, boxes.round(2), extra={"scene": f"port{number}", "shore": shore})
    listed.write(root / LIST)
