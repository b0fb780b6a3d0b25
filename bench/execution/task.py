"""What a task is: cells, keys, and the three stages train, predict, score.

Owns the vocabulary that the runner, the store and the boards share; the two tasks live in `bench.matching` and
`bench.detection`.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from bench.core.registries import TASKS
from bench.core.store import canonical_hash
from bench.core.workspace import Workspace

if TYPE_CHECKING:
    from bench.boards.evidence import Evidence
    from bench.boards.tables import Table
    from bench.core.context import ExecutionContext
    from bench.execution.records import Record
    from bench.statistics.resampling import Resampled
    from bench.suite.config import Suite
    from bench.tools.selftest import Known


@dataclass(frozen=True)
class Selection:
    """What the command line narrows a suite down to: filter name -> accepted values, and seeds (None: the suite's).

    With `smoke` the cells are those of a wiring check: a few samples and iterations (`bench.suite.smoke`).
    """

    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    limit: int | None = None
    smoke: bool = False


def slot_of(dataset: str, method: str, seed: int | None) -> str:
    """Return a measurement's place on its board, usable as a file name: "toy-grouped--bnn--seed0", "...--once" without
    a seed.
    """
    parts = [dataset, method, "once" if seed is None else f"seed{seed}"]
    return "--".join(part.replace("/", "-") for part in parts)


@dataclass(frozen=True)
class Origin:
    """Where a suite came from: the words that name it on a command line, and the folder that its relative paths start
    from.
    """

    words: str
    folder: Path


@dataclass(frozen=True)
class Cell:
    """One measurement: task x data set (with split) x protocol x method x seed.

    Attributes:
        dataset, method: labels in the suite; they name the row, and enter no key.
        seed: None for a method whose result does not depend on it.
        spec: everything that defines the measurement, resolved, JSON-able; labels and folders are not in it.
        config, config_folder: words that name the suite ("--config s1s2"), and where its relative paths start.
        names: what the filters of the command line compare with, and what reproduces the cell (`--backbone resnet18`).
        places: files and folders that the config names (data root, initial checkpoint); context, entering no key by
            name.
        limit: at most so many samples a part; a limited cell is marked and never enters a board.
        smoke: a wiring check of a few samples and iterations; likewise.
        requires: cells whose training this one starts from.
        verb: words of the command line that makes the cell, for one that `bench run TASK` does not make.
    """

    task: str
    suite: str
    dataset: str
    method: str
    seed: int | None
    spec: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    config: str = ""
    config_folder: str = "."
    places: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    smoke: bool = False
    requires: tuple[Cell, ...] = ()
    verb: str = ""

    @property
    def slot(self) -> str:
        """The cell's place on its board: one entry file per slot."""
        return slot_of(self.dataset, self.method, self.seed)

    @property
    def row_key(self) -> str:
        """Hash of the spec without the seed: entries that share it may be averaged."""
        marked = {"smoke": True} if self.smoke else {}
        return canonical_hash({"task": self.task, "spec": dict(self.spec), "limit": self.limit, **marked})

    @property
    def command(self) -> str:
        """The command line that reproduces this cell from its suite."""
        words = [
            "bench",
            self.verb or f"run {self.task}",
            self.config,
            *(f"--{name} {shlex.quote(value)}" for name, value in self.names.items()),
        ]
        words += (
            [f"{'--seed' if self.verb else '--seeds'} {self.seed}"] if self.seed is not None else []
        )  # a submission has one
        words += [f"--limit {self.limit}"] if self.limit else []
        words += ["--smoke"] if self.smoke else []
        return " ".join(words)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Cell:
        """Return the cell that `dataclasses.asdict` took apart, the cells that it requires included."""
        required = tuple(cls.from_json(cell) for cell in raw["requires"])
        return cls(**{**raw, "plugins": tuple(raw["plugins"]), "requires": required})

    def describe(self) -> str:
        """Return "bnn-resnet18 on s1s2-256/place, seed 1"."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        limit = f", limit {self.limit}" if self.limit else ""
        return f"{self.method} on {self.dataset}{seed}{limit}" + (", smoke" if self.smoke else "")


@dataclass(frozen=True)
class Keys:
    """SHA-256 of everything that can change a stage's outcome, and of nothing else; `score` is the cell's
    fingerprint.
    """

    train: str
    predict: str
    score: str


@dataclass(frozen=True)
class Identity:
    """What planning finds out about a cell: its keys, the hashes that stand for its inputs, and its size for cost
    estimates.

    Cells with an equal `data_key` read the same files: what is unreadable for one of them is so for all ("" says
    nothing). `requires` holds the train keys of the cells whose training this one starts from, by task.
    """

    keys: Keys
    inputs: Mapping[str, Any]
    samples: int
    data_key: str = ""
    requires: tuple[tuple[str, str], ...] = ()


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


class Task(ABC):
    """Behaviour of one task. Stages are pure functions of the job and of the files that earlier stages left in its
    folder.
    """

    name: ClassVar[str]
    Section: ClassVar[type[BaseModel]]
    filters: ClassVar[tuple[str, ...]]  # options of the command line that select among its cells
    headline: ClassVar[str]  # the metric that rows are compared by

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
        """Return one metric of a finished record in a form that any resampling of its clusters can be asked for.

        Args:
            samples: the per-sample arrays of its entry or of its folder's scores file.

        Returns:
            None for a metric that cannot be recomputed from them.

        Raises:
            BenchError: the arrays are damaged, or do not give the number of the record.
        """

    @abstractmethod
    def draw(self, job: Job) -> list[Path]:
        """Write the pictures of a finished cell; return their paths."""

    @abstractmethod
    def table(
        self, suite_name: str, title: str, description: str, records: Sequence[Record], evidence: Evidence
    ) -> Table:
        """Return the task's results table from records, and the per-sample scores that `evidence` gives access to."""

    def selftest(self) -> Sequence[Known]:
        """Return predictions whose numbers are known without scoring them, for `bench selftest`; none by default."""
        return ()


def get_task(name: str) -> Task:
    """Return the task called `name`. Raises BenchError listing the nearest names."""
    return TASKS.get(name)()
