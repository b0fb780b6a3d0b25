"""The smallest third task, as another distribution would bring it: is the mean level of a SAR patch guessed from its
optical partner? Two guessers, one metric: the share of test patches guessed within `within` of a grey level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from bench.boards.comparisons import compared_section
from bench.boards.tables import Block, Column, Table, group_blocks, group_rows
from bench.core.method import Method, MethodOptions
from bench.core.registry import Registry
from bench.core.store import save_arrays
from bench.core.validation import Spec
from bench.data.manifest import file_sha256
from bench.execution.records import PREDICTIONS
from bench.execution.task import Scores
from bench.statistics.resampling import Clusters, Ratio
from bench.tasks.base import SectionTask
from bench.tasks.section import DatasetEntry, MethodEntry, Section

GUESSERS = Registry("guesser", "saropt_bench.guessers")


class Protocol(Spec):
    """How guesses are judged."""

    name: str = "brightness/v1"
    within: float = 12.0


class GuesserEntry(MethodEntry):
    """One row."""

    guesser: str


class BrightnessSection(Section):
    """The `brightness:` section of a suite."""

    protocol: Protocol = Protocol()
    datasets: dict[str, DatasetEntry] = Field(min_length=1)
    methods: dict[str, GuesserEntry] = Field(min_length=1)


class PolynomialOptions(MethodOptions):
    """No guesser has options of its own but the degree of its polynomial."""

    degree: int = Field(0, ge=0, le=3)


@GUESSERS.register("polynomial", "a polynomial of the optical patch's mean level")
class Polynomial(Method[PolynomialOptions]):
    """Guesses by a polynomial, fitted on the training part."""

    Options, trains = PolynomialOptions, True

    def __init__(self, options: PolynomialOptions) -> None:
        super().__init__(options)
        self.factors = np.zeros(options.degree + 1)

    def fit(self, optical: np.ndarray, sar: np.ndarray) -> dict[str, Any]:
        self.factors = np.polyfit(optical, sar, self.options.degree)
        return {}

    def guess(self, optical: np.ndarray) -> np.ndarray:
        return np.polyval(self.factors, optical)

    def state(self) -> dict[str, np.ndarray]:
        return {"factors": self.factors}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        self.factors = state["factors"]


def levels(part: Any, view: str) -> np.ndarray:
    """Return the mean grey level of each patch, (n,) float64."""
    return np.array([image.mean() for block in part.blocks(view) for image in block])


class BrightnessTask(SectionTask):
    """Is the level of the SAR patch guessed?"""

    name = "brightness"
    headline = "within"
    Section = BrightnessSection
    component, registry = "guesser", GUESSERS
    filters = ("dataset", "split", "method", "guesser")

    def predict_identity(self, cell: Any) -> dict[str, Any]:
        return {"within": cell.spec["protocol"]["within"]}

    def build(self, job: Any, scaling: Any, data: Any) -> Polynomial:
        return Polynomial(PolynomialOptions.model_validate(job.cell.spec["method"]["options"]))

    def fit(self, component: Polynomial, job: Any, data: Any, scaling: Any) -> dict[str, Any]:
        return component.fit(levels(data.train, "optical"), levels(data.train, "sar"))

    def predict_with(self, component: Polynomial, job: Any, data: Any) -> dict[str, Any]:
        error = np.abs(component.guess(levels(data.test, "optical")) - levels(data.test, "sar"))
        arrays = {"error": error, "scene": np.array(data.test.scenes), "within": np.array(self.limit(job))}
        save_arrays(job.folder / PREDICTIONS, arrays)
        return {"outputs": {"predictions_sha256": file_sha256(job.folder / PREDICTIONS, None)}}

    def limit(self, job: Any) -> float:
        return float(job.cell.spec["protocol"]["within"])

    def score(self, folder: Path) -> Scores:
        arrays = dict(np.load(folder / PREDICTIONS))
        near = arrays["error"] <= arrays["within"]
        return Scores({"within": float(near.mean())}, {"patches": len(near)}, {"near": near, "scene": arrays["scene"]})

    def resampled(self, metric: str, record: Any, samples: Mapping[str, Any]) -> Ratio:
        names, scene = np.unique(samples["scene"], return_inverse=True)
        size = np.bincount(scene).astype(np.float64)
        return Ratio(Clusters.of(names, size), np.bincount(scene, weights=samples["near"]), size)

    def draw(self, job: Any) -> list[Path]:
        return []

    def table(self, suite_name: str, title: str, description: str, records: Sequence[Any], evidence: Any) -> Table:
        columns = (Column("within", "guessed"),)
        sections = []
        for label, group in group_blocks(records):
            block = Block(label, group_rows(group), evidence)
            sections.append(compared_section(block, "is the level guessed?", "", columns, "scene"))
        return Table(title, description, tuple(sections))
