"""What a user writes under `matching:`: data sets with their splits, methods, and the protocol."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from bench.core.validation import Spec, check_seeds
from bench.data.splits import SplitSpec

TRAINING_VERSION = (
    1  # raise when the training of networks changes (batches, engine, losses): they are then trained again
)
METRICS_VERSION = 1  # raise when a metric's definition changes: every cell is then scored again, none is trained again
PAIRS_VERSION = 1  # raise when the drawing of test pairs changes: every cell is then predicted and scored again


class DatasetEntry(Spec):
    """One data set of a suite.

    Attributes:
        dataset: registry name; `options` are the reader's.
        splits: split label -> how the samples are parted; each is a block of the board.
        sar_scaling, optical_scaling: how native values become [0, 1]; null means by data type (see
            `bench.data.scaling`).
        root: where the data lie; context only. `--root` and the environment win over it.
    """

    dataset: str
    title: str = ""
    options: dict[str, Any] = {}
    splits: dict[str, SplitSpec] = Field(min_length=1)
    sar_scaling: str | None = None
    optical_scaling: str | None = None
    root: str | None = None


class MethodEntry(Spec):
    """One row of the board.

    Attributes:
        matcher, options: registry name and the matcher's own options.
        backbone: registry name, for matchers with a network.
        init: initial weights of the backbones: "none" (random), "imagenet", or the path of a checkpoint in any
            supported layout. A two-branch checkpoint of this task (`model.safetensors`) initialises each view's
            backbone with its own.
        init_branch: prefix under which the backbone stands in that checkpoint, e.g. "backbone." of a detector; "" for
            the whole file.
        control: "shuffled" trains on shuffled pairs: on a clean split the row must collapse to chance.
        precision: arithmetic of training (docs/many-gpus.md, section 2); predictions are fp32 always.
        datasets: run on these only (labels "data set" or "data set/split"); null means all.
        seeds: null means the suite's.
    """

    matcher: str
    backbone: str | None = None
    init: str = "none"
    init_branch: str = ""
    options: dict[str, Any] = {}
    control: Literal["none", "shuffled"] = "none"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    datasets: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if seeds is None else check_seeds(seeds)


class Protocol(Spec):
    """How trained methods are compared; equal for every row of a board.

    Attributes:
        name: identifier shown on the board (docs/protocols.md, section 8).
        hard: how the hard negatives are found: "scene" (another patch of the same scene), "cluster" (another patch of
            the same k-means cluster of low-level features, fitted on the training part), or "none".
        clusters: number of clusters for hard="cluster".
        negative_seed: seed of the one drawing of negatives and gallery; it is part of the protocol, not of a run.
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


class MatchingSection(Spec):
    """The `matching:` section of a suite.

    Attributes:
        reference: row that differences on the board are taken against; null: the first row. It enters no key.
    """

    protocol: Protocol = Field(default_factory=lambda: Protocol.model_validate({}))
    datasets: dict[str, DatasetEntry] = Field(min_length=1)
    methods: dict[str, MethodEntry] = Field(min_length=1)
    reference: str | None = None
    note: str = ""
