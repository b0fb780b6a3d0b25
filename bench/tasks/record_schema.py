"""What a record of a task with data sets, splits and registered components must hold, beside what every task's must
(`bench.execution.record_schema`).
"""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from bench.execution.record_schema import Count, Counts, Line, Stated, StatedInputs, StatedParts, StatedSpec


class StatedSplit(Stated):
    """`spec.dataset.split`."""

    kind: Line
    by: Line | None = None
    test_groups: list[Line] | None = None
    folds: Count | None = None

    @model_validator(mode="after")
    def _counted(self) -> StatedSplit:
        if self.kind == "folds" and not self.folds:
            raise ValueError("a cross-validation without a number of folds")
        return self


class StatedDataset(Stated):
    """`spec.dataset`."""

    name: Line
    options: dict[str, Any]
    split: StatedSplit
    sar_scaling: Line | None


class StatedMethod(Stated):
    """`spec.method`."""

    backbone: Line | None
    options: dict[str, Any]


class SectionSpec(StatedSpec):
    """`Record.spec`."""

    dataset: StatedDataset
    method: StatedMethod


class SectionInputs(StatedInputs):
    """`Record.inputs`."""

    split_counts: Counts


class SectionParts(StatedParts):
    """What a record of such a task must hold."""

    spec: SectionSpec
    inputs: SectionInputs

    @model_validator(mode="after")
    def _selected(self) -> SectionParts:
        missing = [name for name in ("dataset", "split") if name not in self.names]
        if missing:
            raise ValueError(f"names.{missing[0]} is missing")
        if not self.inputs.data.split:
            raise ValueError("inputs.data.split is missing")
        return self
