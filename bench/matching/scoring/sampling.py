"""Which pairs and which gallery a block of the board is measured on: sampled from data, split and protocol alone, the
same for every row.

Shared by the predict stage, by what is handed out to other tools, and by the check of what they hand back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bench.core.store import canonical_hash
from bench.data.index import PairIndex
from bench.matching.scoring.pairs import PairList, fit_clusters, sample_gallery, sample_pairs
from bench.suite.data_plan import PlannedData

PARTS = ("validation", "test")
Features = Callable[[str], np.ndarray]
"""Returns the low-level features of a part's SAR patches (`bench.matching.scoring.pairs.view_features`)."""

_NOBODY = np.zeros(0, dtype=np.int64)
NO_PAIRS = PairList(_NOBODY, _NOBODY, _NOBODY.astype(bool), _NOBODY.astype(np.uint8), {})


@dataclass(frozen=True)
class SampledPairs:
    """The sampled pairs of each part, and the gallery.

    Attributes:
        ids: sample ids of each part. pairs: of each part; empty for a validation of fewer than two samples.
        gallery: (g,) int64 positions in test.
    """

    ids: Mapping[str, tuple[str, ...]]
    pairs: Mapping[str, PairList]
    gallery: np.ndarray

    @cached_property
    def pairs_sha256(self) -> dict[str, str]:
        """Hash of each part's pairs with their kinds, in order."""
        return {part: pairs.sha256(self.ids[part]) for part, pairs in self.pairs.items()}

    @cached_property
    def gallery_sha256(self) -> str:
        """Hash of the gallery's ids, in order."""
        return canonical_hash([self.ids["test"][i] for i in self.gallery.tolist()])


def sample(plan: PlannedData, protocol: Mapping[str, Any], features: Features) -> SampledPairs:
    """Sample the pairs of validation and test and the gallery.

    Args:
        features: called only where the protocol's hard negatives come from clusters.
    """
    index: PairIndex = plan.index
    positions = {part: plan.part(part) for part in ("train", *PARTS)}
    clusters = None
    if protocol["hard"] == "cluster":
        k = min(protocol["clusters"], len(positions["train"]))
        clusters = fit_clusters(features("train"), k, protocol["negative_seed"])
    lists: dict[str, PairList] = {}
    for part in PARTS:
        chosen = positions[part].tolist()
        if part == "validation" and len(chosen) < 2:  # as `validation: 0` requests: no threshold is chosen
            lists[part] = NO_PAIRS
            continue
        scenes = tuple(index.scenes[i] for i in chosen)
        groups = scenes if clusters is None else clusters.assign(features(part))
        known = clusters is not None or any(scene is not None for scene in scenes)
        hard = protocol["hard"] if protocol["hard"] != "none" and known else None
        lists[part] = sample_pairs(
            len(chosen), protocol["negative_seed"], hard, groups if hard else None, index.places[positions[part]]
        )
    size = None if protocol["gallery"] == "all" else protocol["gallery"]
    gallery = sample_gallery(len(positions["test"]), size, protocol["negative_seed"])
    ids = {part: tuple(index.ids[i] for i in positions[part].tolist()) for part in PARTS}
    return SampledPairs(ids, lists, gallery)
