"""The order in which an epoch shows its entries: by chance, or in groups of one scene, whose members are each other's
hard negatives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def by_chance(entries: int, rng: np.random.Generator) -> np.ndarray:
    """Return a drawn order of `entries` entries, (entries,) int64."""
    return rng.permutation(entries)


def by_scene(scenes: Sequence[str | None], entries: int, group: int, rng: np.random.Generator) -> np.ndarray:
    """Return an order in which runs of up to `group` entries stem from one scene; runs and their members in a drawn
    order.

    A batch of b then holds some b / group scenes, and for each of its samples about group - 1 negatives of the same
    scene. Each scene's last run is shorter where `group` does not divide it, so runs may straddle two batches.

    Args:
        scenes: of each sample of the training part; entry i shows sample i % len(scenes).
    """
    order = rng.permutation(entries)
    scene = np.unique(np.array([name or "" for name in scenes]), return_inverse=True)[1]
    by = order[np.argsort(scene[order % len(scenes)], kind="stable")]
    starts = np.flatnonzero(np.diff(scene[by % len(scenes)], prepend=-1))
    runs = [part[k : k + group] for part in np.split(by, starts[1:]) for k in range(0, len(part), group)]
    return np.concatenate([runs[i] for i in rng.permutation(len(runs))])
