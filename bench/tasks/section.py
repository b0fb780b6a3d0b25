"""What the sections of all tasks share: entries of data sets, entries of methods, and the section that holds them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from bench.core.validation import Spec, check_seeds
from bench.data.split_spec import SplitSpec

FUSION = "fusion"  # the registry name of what fuses rows, in every task that can, and the key of a fused row's entry


class DatasetEntry(Spec):
    """One data set of a suite.

    Attributes:
        dataset: registry name; `options` are the reader's.
        splits: split label -> how the samples are parted; each is a block of the board, each fold of "folds" one of its
            own.
        sar_scaling: how native values become [0, 1]; null means by data type (see `bench.data.scaling`).
        root: where the data lie; context only. `--root` and the environment win over it.
    """

    dataset: str
    title: str = ""
    options: dict[str, Any] = {}
    splits: dict[str, SplitSpec] = Field(min_length=1)
    sar_scaling: str | None = None
    root: str | None = None


class MethodEntry(Spec):
    """One row of the board; a task adds the key that names the component, and says which it is (`component`) where its
    rows may be fused.

    Attributes:
        backbone: registry name, for components with a network.
        options: the component's own.
        precision: arithmetic of training (docs/many-gpus.md, section 2); predictions are fp32 always.
        datasets: run on these only (labels "data set" or "data set/split"); null means all.
        seeds: null means the suite's; of a fused row, those that its members share.
        fusion: the row is made of the stored predictions of others: `of`, their labels, and the options of the task's
            fusion (`bench.tasks.fusion`). Beside it stand `datasets` and `seeds` alone.
    """

    component: ClassVar[str] = ""

    backbone: str | None = None
    options: dict[str, Any] = {}
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    datasets: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    fusion: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _names_fusion(cls, values: Any) -> Any:
        named = values.get(cls.component) if isinstance(values, dict) else None
        if not isinstance(values, dict) or (named != FUSION and values.get("fusion") is None):
            return values
        if not cls.component:
            raise ValueError("rows of this task are not fused; remove fusion")
        if values.get("fusion") is None:
            raise ValueError(
                f"a fused row names its members; write fusion: {{of: [ROW, ROW]}}, not {cls.component}: {FUSION}"
            )
        others = sorted(set(values) - {"fusion", "datasets", "seeds", *([cls.component] if named == FUSION else [])})
        if others:
            raise ValueError(
                f"{others[0]} does not go with fusion, which takes datasets and seeds beside it; remove it"
            )
        return {**values, cls.component: FUSION}

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if seeds is None else check_seeds(seeds)


class Section(Spec):
    """A task's section of a suite; a task narrows the types of `datasets` and `methods` and adds its `protocol`.

    Attributes:
        reference: row that differences on the board are taken against; null: the first row. It enters no key.
    """

    reference: str | None = None
    note: str = ""
