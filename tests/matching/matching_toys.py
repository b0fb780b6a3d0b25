"""Toy scenes and views for the matching tests: structure shared by both views, tones that are not."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.core.context import ExecutionContext
from bench.core.progress import Progress
from bench.data.cache import PairView, open_cache
from bench.data.dataset import open_dataset
from bench.data.scaling import fit_scaling
from bench.matching.matchers.base import FitData, Scalings


def toy_scene(seed: int, side: int = 220, fields: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return one scene as (SAR (side, side), optical (side, side, 3)) uint8: random rectangles with unrelated tones,
    speckle in SAR.
    """
    rng = np.random.default_rng(seed)
    label = np.zeros((side, side), dtype=np.int64)
    for k in range(1, fields):
        y, x = rng.integers(0, side, 2)
        h, w = rng.integers(10, 60, 2)
        label[y : y + h, x : x + w] = k
    colour = rng.integers(30, 226, (fields, 3))
    tone = rng.integers(20, 120, fields)
    speckle = rng.gamma(20.0, 0.05, (side, side))
    optical = colour[label] + rng.normal(0, 3, (side, side, 3))
    return np.clip(tone[label] * speckle, 0, 255).astype(np.uint8), np.clip(optical, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class ToyView:
    """What a matcher reads of a `PairView`."""

    sar_images: np.ndarray
    optical_images: np.ndarray

    def __len__(self) -> int:
        return len(self.sar_images)

    def sar(self, i: np.ndarray) -> np.ndarray:
        return self.sar_images[i]

    def optical(self, i: np.ndarray) -> np.ndarray:
        return self.optical_images[i]


def fit_data(view: ToyView, seed: int = 0, pairing: np.ndarray | None = None) -> FitData:
    """Return what `fit` takes, with the toy view as training and validation part."""
    content: dict[str, Any] = {
        "train": view,
        "validation": view,
        "pairing": np.arange(len(view)) if pairing is None else pairing,
        "seed": seed,
        "scaling": None,
        "context": None,
    }
    return FitData(**cast("Any", content))


def context(folder: Path) -> ExecutionContext:
    """Return a context on one thread, with its files in `folder`, that says nothing."""
    return ExecutionContext(folder, folder, "cpu", 1, 0, lambda line: None, Progress(None, stream=io.StringIO()))


def decoded_pairs(cache: Path) -> PairView:
    """Return 24 generated pairs of 32 px, decoded."""
    dataset = open_dataset("toy-pairs", {"scenes": 2, "patches_per_scene": 12, "patch_px": 32}, None, cache)
    index = dataset.index()
    return PairView(
        open_cache(index, dataset.root, dataset.manifest().sha256, "t", cache), index, np.arange(len(index))
    )


def scalings_of(view: PairView) -> Scalings:
    return Scalings(fit_scaling("uint8", view.blocks("sar")), fit_scaling("uint8", view.blocks("optical")))
