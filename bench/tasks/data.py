"""The data of a cell, loaded as views on the decoded cache: pairs or scenes, and the scaling of their SAR values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.data.cache import PairView, open_cache
from bench.data.scaling import SarScale, ScalingParams, check_scaling, default_scaling, fit_scaling
from bench.data.scene_areas import OffersScenes, SceneArea, areas_sha256, training_areas
from bench.data.scene_store import open_pair_scenes
from bench.data.ships.scene_cache import open_scenes
from bench.data.ships.view import SceneView
from bench.data.training_scenes import TrainingScenes
from bench.suite.data_plan import PARTS, LoadedParts, PlannedData


@dataclass(frozen=True)
class LoadedPairs(LoadedParts[PairView]):
    """The three parts as views on the decoded cache, with the leakage group of every sample.

    Attributes:
        scenes: the whole scenes of the training part, where a matcher samples them.
    """

    scenes: TrainingScenes | None = None


class LoadedScenes(LoadedParts[SceneView]):
    """The three parts as views on the decoded scenes."""


def load_pairs(plan: PlannedData, cache: Path, progress: Any = None) -> LoadedPairs:
    """Open (or build) the decoded cache and return the views of the three parts."""
    opened = open_cache(plan.index, plan.root, plan.manifest.sha256, f"{plan.name}-v{plan.version}", cache, progress)
    train, validation, test = (PairView(opened, plan.index, plan.part(name), plan.split.groups) for name in PARTS)
    return LoadedPairs(plan, train, validation, test)


def areas_of(plan: PlannedData) -> tuple[SceneArea, ...]:
    """Return the scenes that a training may sample, each with what is closed in it.

    Raises:
        BenchError: the data set has no scenes, only ready-made patches.
    """
    if not isinstance(plan.dataset, OffersScenes):
        raise BenchError(
            f"data set {plan.name} has no scenes, only ready-made patches; set sampling: patches, or take a set of"
            " scenes such as s1s2-scenes"
        )
    return training_areas(plan.dataset.whole_scenes(), plan.index, plan.uncut or plan.split, plan.guard_m)


def scenes_identity(plan: PlannedData) -> dict[str, Any]:
    """Return what stands in a train key for data that are sampled from whole scenes: files and offered areas, not how
    patches are cut, so that data sets which offer the same areas share a training.
    """
    return {
        "dataset": plan.name,
        "version": plan.version,
        "manifest": plan.manifest.sha256,
        "reading": plan.index.reading.key(),
        "sar_scale": str(plan.dataset.sar_scale),
        "areas": areas_sha256(areas_of(plan)),
        **({} if plan.uncut is None else {"split": plan.split.sha256}),
    }


def load_training_scenes(plan: PlannedData, cache: Path, progress: Any = None) -> TrainingScenes:
    """Open (or build) the decoded scenes of the whole set and return those of the training part.

    Raises:
        BenchError: the data set has no scenes; unreadable images.
    """
    areas, scenes = areas_of(plan), plan.dataset.whole_scenes()
    label = f"{plan.name}-v{plan.version}"
    store = open_pair_scenes(scenes, plan.index.reading, plan.root, plan.manifest.sha256, label, cache, progress)
    names = [scene.id for scene in scenes]
    return TrainingScenes(store, areas, [names.index(area.scene.id) for area in areas])


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
