"""What a matching record and its per-sample scores must hold, so that its board can be made of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bench.core.arrays import ArraySpec
from bench.execution.record_schema import Count, Line, Number, Stated, StatedFacts
from bench.tasks.record_schema import SectionParts, SectionSpec, StatedDataset, StatedMethod


class PairsDataset(StatedDataset):
    """`spec.dataset`."""

    optical_scaling: Line | None


class MatcherMethod(StatedMethod):
    """`spec.method`."""

    matcher: Line
    init: Line
    init_branch: Line
    control: Line


class MatchingSpec(SectionSpec):
    """`Record.spec`."""

    dataset: PairsDataset
    method: MatcherMethod
    protocol: dict[str, Any]


class PairHashes(Stated):
    """`facts.pairs_sha256`."""

    test: Line


class MatchingFacts(StatedFacts):
    """`Record.facts`."""

    needed = ("gallery_size", "uniform_positives", "uniform_negatives", "hard_negatives", "pairs_sha256")

    gallery_size: Count | None = Field(None, alias="gallery.size")
    uniform_positives: Count | None = Field(None, alias="uniform.positives")
    uniform_negatives: Count | None = Field(None, alias="uniform.negatives")
    uniform_threshold: Number | None = Field(None, alias="uniform.threshold")
    hard_threshold: Number | None = Field(None, alias="hard.threshold")
    fixed_threshold: Number | None = None
    hard_negatives: Literal["scene", "cluster", "none"] | None = None
    pairs_sha256: PairHashes | None = None
    pair_counts: dict[str, dict[str, Count]] = {}
    initial_weights: dict[str, Line | None] | None = None


class MatchingParts(SectionParts):
    """What a record must hold."""

    spec: MatchingSpec
    facts: MatchingFacts


_TEXT = ArraySpec("U", ("n",))
_SAMPLE = ArraySpec("iu", ("p",), low=0, high="n")
# n samples, p pairs, g queries of the gallery; early entries hold neither scenes nor the ranks of the whole test part
SAMPLES = {
    "id": _TEXT,
    "scene": ArraySpec("U", ("n",), needed=False),
    "group": _TEXT,
    "pair_sar": _SAMPLE,
    "pair_optical": _SAMPLE,
    "kind": ArraySpec("iu", ("p",), low=0, high=3),
    "distance": ArraySpec("f", ("p",)),
    "gallery_position": ArraySpec("iu", ("g",), low=0, high="n"),
    "gallery_distance": ArraySpec("f", ("g", "g"), needed=False),
    "gallery_sar_to_optical": ArraySpec("iu", (2, "g"), low=0, high="g", needed=False),
    "gallery_optical_to_sar": ArraySpec("iu", (2, "g"), low=0, high="g", needed=False),
    "full_sar_to_optical": ArraySpec("iu", (2, "queries"), low=0, high="queries", needed=False),
    "full_optical_to_sar": ArraySpec("iu", (2, "queries"), low=0, high="queries", needed=False),
}
