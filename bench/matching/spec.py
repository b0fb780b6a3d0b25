"""What a user writes under `matching:`: data sets with their splits, methods, and the protocol."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from bench.core.validation import Spec
from bench.tasks.section import DatasetEntry, MethodEntry, Section

TRAINING_VERSION = (
    1  # raise when the training of networks changes (batches, engine, losses): they are then trained again
)
METRICS_VERSION = 1  # raise when a metric's definition changes: every cell is then scored again, none is trained again
PAIRS_VERSION = 1  # raise when the sampling of test pairs changes: every cell is then predicted and scored again


class PairsEntry(DatasetEntry):
    """One data set of a suite.

    Attributes:
        optical_scaling: as `sar_scaling`, for the optical images.
    """

    optical_scaling: str | None = None


class MatcherEntry(MethodEntry):
    """One row of the board.

    Attributes:
        matcher: registry name.
        init: initial weights of the backbones: "none" (random), "imagenet", or the path of a checkpoint in any
            supported layout. A two-branch checkpoint of this task (`model.safetensors`) initialises each view's
            backbone with its own.
        init_branch: prefix under which the backbone stands in that checkpoint, e.g. "backbone." of a detector; "" for
            the whole file.
        control: "shuffled" trains on shuffled pairs: on a clean split the row must collapse to chance.
    """

    component = "matcher"

    matcher: str
    init: str = "none"
    init_branch: str = ""
    control: Literal["none", "shuffled"] = "none"


class Protocol(Spec):
    """How trained methods are compared; equal for every row of a board.

    Attributes:
        name: identifier shown on the board (docs/protocols.md, section 8).
        hard: how the hard negatives are found: "scene" (another patch of the same scene), "cluster" (another patch of
            the same k-means cluster of low-level features, fitted on the training part), or "none".
        clusters: number of clusters for hard="cluster".
        negative_seed: seed of the one sampling of negatives and gallery; it is part of the protocol, not of a run.
        gallery: size of the sampled gallery on which every method's retrieval is reported; "all" takes the whole test
            part, which a matcher without embeddings pays for with a distance for each pair of test samples.
    """

    name: str = "match/clean-v1"
    hard: Literal["scene", "cluster", "none"] = "scene"
    clusters: int = Field(8, ge=2)
    negative_seed: int = Field(0, ge=0)
    gallery: int | str = 120

    @field_validator("gallery")
    @classmethod
    def _counted(cls, value: int | str) -> int | str:
        if value != "all" and (isinstance(value, str) or value < 2):
            raise ValueError(f"a number of test samples from 2 on, or all; got {value!r}")
        return value

    @model_validator(mode="after")
    def _each_does_something(self) -> Protocol:
        if self.clusters != 8 and self.hard != "cluster":
            raise ValueError(f"clusters are of hard: cluster, and hard is {self.hard}; give both or neither")
        return self


class MatchingSection(Section):
    """The `matching:` section of a suite."""

    protocol: Protocol = Field(default_factory=lambda: Protocol.model_validate({}))
    datasets: dict[str, PairsEntry] = Field(min_length=1)
    methods: dict[str, MatcherEntry] = Field(min_length=1)
