"""The data of a cell, loaded as views on the decoded cache: pairs or scenes, and the scaling of their SAR values."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.cache import PairView, open_cache
from bench.data.scaling import SarScale, ScalingParams, check_scaling, default_scaling, fit_scaling
from bench.data.ships.scene_cache import open_scenes
from bench.data.ships.view import SceneView
from bench.suite.data_plan import PARTS, LoadedParts, PlannedData


class LoadedPairs(LoadedParts[PairView]):
    """The three parts as views on the decoded cache, with the leakage group of every sample."""


class LoadedScenes(LoadedParts[SceneView]):
    """The three parts as views on the decoded scenes."""


def load_pairs(plan: PlannedData, cache: Path, progress: Any = None) -> LoadedPairs:
    """Open (or build) the decoded cache and return the views of the three parts."""
    opened = open_cache(plan.index, plan.root, plan.manifest.sha256, f"{plan.name}-v{plan.version}", cache, progress)
    views = {name: PairView(opened, plan.index, plan.part(name), plan.split.groups) for name in PARTS}
    return LoadedPairs(plan, **views)


def load_scenes(plan: PlannedData, cache: Path, progress: Any = None) -> LoadedScenes:
    """Open (or build) the decoded scenes and return the views of the three parts."""
    store = open_scenes(plan.index, plan.root, plan.manifest.sha256, f"{plan.name}-v{plan.version}", cache, progress)
    return LoadedScenes(plan, **{name: SceneView(store, plan.index, plan.part(name)) for name in PARTS})


def fit_view(
    name: str | None, dtype: np.dtype, declared: SarScale | None, blocks: Iterable[np.ndarray]
) -> ScalingParams:
    """Return the scaling of one view's values to [0, 1].

    Args:
        name: of the scaling; None takes the one that suits data type and declared scale.
        blocks: the view's training images, from which the statistics are taken.

    Raises:
        BenchError: the scaling does not suit the files or their declared scale.
    """
    chosen = name or default_scaling(dtype, declared)
    check_scaling(chosen, dtype, declared)
    return fit_scaling(chosen, blocks)


def fit_sar_scaling(data: LoadedScenes, name: str | None) -> ScalingParams:
    """Return the scaling of the SAR values of scenes; see `fit_view`."""
    return fit_view(name, data.train.store.dtype, data.plan.dataset.sar_scale, data.train.blocks())
