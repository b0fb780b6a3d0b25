"""What a task is: cells, keys, and the three stages train, predict, score.

Owns the vocabulary that the runner, the store and the boards share; the two tasks live in `bench.matching` and
`bench.detection`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from bench.core.arrays import Schema
from bench.core.registries import TASKS
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Identity, Origin, Selection
from bench.execution.record_schema import StatedParts

if TYPE_CHECKING:
    from bench.boards.evidence import Evidence
    from bench.boards.tables import Table
    from bench.core.context import ExecutionContext
    from bench.execution.known_answers import Known
    from bench.execution.records import Record
    from bench.statistics.resampling import Resampled
    from bench.submissions.request import Submissions
    from bench.suite.config import Suite


@dataclass(frozen=True)
class Job:
    """One cell about to be executed, in its folder."""

    cell: Cell
    identity: Identity
    folder: Path
    workspace: Workspace
    context: ExecutionContext


@dataclass(frozen=True)
class Scores:
    """Outcome of the score stage: named metrics (None = unknown), facts about them, and per-sample arrays for the
    committed entry.
    """

    metrics: Mapping[str, float | None]
    facts: Mapping[str, Any]
    samples: Mapping[str, Any]


@dataclass(frozen=True)
class Settled:
    """What the per-sample scores of a record settle: numbers that it must hold, and no others. What they do not
    settle is missing.
    """

    metrics: Mapping[str, float | None]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Reference:
    """Metrics of one cell by another's code, to compare ours with.

    Attributes:
        name: whose: "pycocotools 2.0.11".
        metrics: by the names of `Scores.metrics`, as they are defined here.
        within: the largest difference that rounding explains.
        usual, setting: the same under that code's own usual setting, and which that is, in words.
    """

    name: str
    metrics: Mapping[str, float | None]
    within: float
    usual: Mapping[str, float | None]
    setting: str


class Task(ABC):
    """Behaviour of one task. Stages are pure functions of the job and of the files that earlier stages left in its
    folder.
    """

    name: ClassVar[str]
    Section: ClassVar[type[BaseModel]]
    filters: ClassVar[tuple[str, ...]]  # options of the command line that select among its cells
    headline: ClassVar[str]  # the metric that rows are compared by
    predicted: ClassVar[tuple[str, ...]] = ()  # per-sample arrays that the method itself gave, not the data
    record_schema: ClassVar[type[StatedParts]] = StatedParts  # what its records must hold to be read
    samples_schema: ClassVar[Schema | None] = None  # the arrays of its per-sample scores; None: any

    @abstractmethod
    def expand(self, suite: Suite, section: Any, selection: Selection, origin: Origin) -> list[Cell]:
        """Return the cells of the section, in board order. Raises BenchError on unknown names."""

    @abstractmethod
    def identify(self, cell: Cell, workspace: Workspace) -> Identity:
        """Return the keys of a cell, decoding no patch. Raises MissingInputs with all that is missing on disk,
        BenchError on bad input.
        """

    @abstractmethod
    def prepare(self, job: Job) -> None:
        """Read the job's data once, before a stage computes from them. Raises BenchError where they are damaged."""

    @abstractmethod
    def train(self, job: Job) -> dict[str, Any]:
        """Train or fit; leave `model.safetensors` where there is a state. Return facts for the record."""

    @abstractmethod
    def predict(self, job: Job) -> dict[str, Any]:
        """Write the predictions file. Return facts for the record."""

    @abstractmethod
    def score(self, folder: Path) -> Scores:
        """Score the predictions file in a cell's folder; needs neither the model, nor the images, nor the spec."""

    @abstractmethod
    def resampled(self, metric: str, record: Record, samples: Mapping[str, Any]) -> Resampled | None:
        """Return one metric of a finished record in a form that can be recomputed for any resampling of its clusters.

        Args:
            samples: the per-sample arrays of its entry or of its folder's scores file.

        Returns:
            None for a metric that cannot be recomputed from them.

        Raises:
            BenchError: the arrays are damaged, or do not give the number of the record.
        """

    def settled(self, record: Record, samples: Mapping[str, Any]) -> Settled:
        """Return the metrics of a finished record, and facts behind them, by its per-sample scores; by default what
        `resampled` makes of those that are not null.

        Raises:
            BenchError, KeyError, IndexError, ValueError, TypeError: the arrays are damaged.
        """
        known = [name for name, value in record.metrics.items() if value is not None]
        found = {name: self.resampled(name, record, samples) for name in known}
        return Settled({name: each.value for name, each in found.items() if each is not None}, {})

    def wrong_key(self, record: Record) -> str:
        """Return the name of the first key of a record that does not follow from what the record says of itself, ""
        where all do, or where the task cannot tell.

        Raises:
            KeyError, TypeError, AttributeError: the spec or the inputs lack what the keys are made of.
        """
        return ""

    @abstractmethod
    def draw(self, job: Job) -> list[Path]:
        """Write the pictures of a finished cell; return their paths."""

    @abstractmethod
    def table(
        self, suite_name: str, title: str, description: str, records: Sequence[Record], evidence: Evidence
    ) -> Table:
        """Return the task's results table from records, and the per-sample scores that `evidence` gives access to."""

    def trains(self, cell: Cell) -> bool:
        """Return whether the stage `train` of a cell learns from data; it does by default."""
        return True

    def submissions(self) -> Submissions | None:
        """Return how the task takes predictions of other tools; None, the default, where it does not."""
        return None

    def looks_like_truth(self, record: Record) -> str:
        """Return why the submitted predictions of a finished record look like the truth itself, "" where they do not;
        by default they never do.
        """
        return ""

    def reference(self, folder: Path) -> Reference | None:
        """Score the predictions file in a cell's folder by another's code; None for a task that knows none."""
        return None

    def selftest(self) -> Sequence[Known]:
        """Return predictions whose numbers are known without scoring them, for `bench selftest`; none by default."""
        return ()


def get_task(name: str) -> Task:
    """Return the task called `name`. Raises BenchError listing the nearest names."""
    task: Task = TASKS.get(name)()
    return task
