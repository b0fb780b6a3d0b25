"""The data of a detection cell, loaded as views on the decoded scenes (planned by `bench.suite.data_plan`), and its
scaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data.manifest import file_hashes, shared_files
from bench.data.scaling import ScalingParams, check_scaling, default_scaling, fit_scaling
from bench.data.ships.scene_cache import open_scenes
from bench.data.ships.view import SceneView
from bench.suite.data_plan import PARTS, LoadedParts, PlannedData


class LoadedShips(LoadedParts[SceneView]):
    """The three parts as views on the decoded scenes."""


def load_ships(plan: PlannedData, cache: Path, progress: Any = None) -> LoadedShips:
    """Open (or build) the decoded scenes and return the views of the three parts."""
    store = open_scenes(plan.index, plan.root, plan.manifest.sha256, f"{plan.name}-v{plan.version}", cache, progress)
    return LoadedShips(plan, **{name: SceneView(store, plan.index, plan.part(name)) for name in PARTS})


def fit_sar_scaling(data: LoadedShips, name: str | None) -> ScalingParams:
    """Return the scaling of SAR values to [0, 1], its statistics taken from the training scenes alone.

    Raises:
        BenchError: the scaling does not suit the files or their declared scale.
    """
    declared, dtype = data.plan.dataset.sar_scale, data.train.store.dtype
    chosen = name or default_scaling(dtype, declared)
    check_scaling(chosen, dtype, declared)
    return fit_scaling(chosen, data.train.blocks())


def count_ships(plan: PlannedData) -> dict[str, int]:
    """Return how many ships that count each part holds."""
    return {name: sum(int((~plan.index.items[i].ignore).sum()) for i in plan.part(name).tolist()) for name in PARTS}


def count_shared_files(plan: PlannedData, pretraining: Sequence[PlannedData]) -> dict[str, int | None]:
    """Return how many test images are, byte by byte, images that train or validate, or files that the pretraining saw.

    Args:
        pretraining: the data of the matching cells that the backbone starts from; none where it starts otherwise (then
            unknown: None).
    """
    of = {
        part: file_hashes(plan.manifest, [plan.index.items[i].image for i in plan.part(part).tolist()])
        for part in PARTS
    }
    seen = [digest for other in pretraining for _, _, digest in other.manifest.files.values()]
    return {
        "test_files_in_training": shared_files(of["test"], of["train"] + of["validation"]),
        "pretraining_shares_files": shared_files(of["test"], seen) if pretraining else None,
    }
