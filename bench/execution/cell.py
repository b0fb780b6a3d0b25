"""A cell, one measurement: what identifies it, where it came from, how it is run; and the keys it has in a plan."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.store import canonical_hash
from bench.core.validation import label_problem

SLOT_BYTES = 200  # of a file name's 255: the task stands before, the fingerprint or a suffix behind


@dataclass(frozen=True)
class Selection:
    """What the command line narrows a suite down to: filter name -> accepted values, and seeds (None: the suite's).

    With `smoke` the cells are those of a wiring check: a few samples and iterations (`bench.suite.smoke`). With
    `beside` the reference and the rows that train nothing stay beside what a filter re-targets (`bench.tasks.rows`).
    """

    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    limit: int | None = None
    smoke: bool = False
    beside: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise BenchError(f"limit {self.limit}: give a number of samples, at least 4", "limit")


def slot_of(dataset: str, method: str, seed: int | None) -> str:
    """Return a measurement's place on its board, usable as a file name: "toy-grouped--bnn--seed0", "...--once" without
    a seed.
    """
    parts = [dataset, method, "once" if seed is None else f"seed{seed}"]
    return "--".join(part.replace("/", "-") for part in parts)


def row_names(place: str, task: str, dataset: str, method: str, key: str = "") -> set[str]:
    """Return everything that a row may be called, wherever one is named: "[PLACE:][TASK/][DATASET/SPLIT/]LABEL".

    Args:
        place: name of the board, or "runs". dataset: label of the block, "toy/grouped".
        key: hash of the row's spec; its first digits tell rows of one label apart.
    """
    blocks = {dataset, dataset.replace("/", "-")}
    short = {method, f"{method} ({key[:6]})"} if key else {method}
    short |= {f"{block}/{name}" for block in blocks for name in short}
    short |= {f"{task}/{name}" for name in short}
    return short | {f"{place}{mark}{name}" for mark in ":/" for name in short}


def slot_problem(dataset: str, method: str, seed: int | None) -> str:
    """Return what keeps two labels from naming a place on a board, "" where nothing does."""
    size = len(slot_of(dataset, method, seed).encode("utf-8", "surrogatepass"))
    long = f"labels of {size} bytes together name no file; shorten them to {SLOT_BYTES}" if size > SLOT_BYTES else ""
    return label_problem(dataset) or label_problem(method) or long


@dataclass(frozen=True)
class Origin:
    """Where a cell came from. No key depends on it.

    Attributes:
        words: the words that name the suite on a command line ("--config s1s2").
        folder: where the suite's relative paths start.
        plugins: what a worker imports first (`bench.core.plugins`).
        names: what the filters of the command line compare with, and what reproduces the cell (`--backbone resnet18`).
        places: files and folders that the config names (data root, initial checkpoint).
        verb: words of the command line that makes the cell, for one that `bench run TASK` does not make.
    """

    words: str = ""
    folder: Path = Path(".")
    plugins: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    verb: str = ""


@dataclass(frozen=True)
class Mode:
    """Whether a cell is a measurement or a wiring check, which never enters a board.

    Attributes:
        limit: at most so many samples a part.
        smoke: a few samples and iterations.
    """

    limit: int | None = None
    smoke: bool = False


@dataclass(frozen=True)
class Cell:
    """One measurement: task x data set (with split) x protocol x method x seed.

    Attributes:
        dataset, method: labels in the suite; they name the row, and enter no key.
        seed: None for a method whose result does not depend on it.
        spec: everything that defines the measurement, resolved, JSON-able; labels and folders are not in it.
        requires: cells whose training this one starts from, or, of a fused row, whose predictions it is made of.
    """

    task: str
    suite: str
    dataset: str
    method: str
    seed: int | None
    spec: Mapping[str, Any]
    origin: Origin = Origin()
    mode: Mode = Mode()
    requires: tuple[Cell, ...] = ()

    @property
    def slot(self) -> str:
        """The cell's place on its board: one entry file per slot."""
        return slot_of(self.dataset, self.method, self.seed)

    @property
    def row_key(self) -> str:
        """Hash of the spec without the seed: entries that share it may be averaged."""
        marked = {"smoke": True} if self.mode.smoke else {}
        return canonical_hash({"task": self.task, "spec": dict(self.spec), "limit": self.mode.limit, **marked})

    @property
    def fused(self) -> bool:
        """Whether its predictions are made of those of the cells that it requires (`bench.tasks.fusion`)."""
        return "fuses" in self.spec.get("method", {})

    def with_required(self) -> Iterator[Cell]:
        """Yield every cell that this one needs, dependencies before dependants, then itself."""
        for required in self.requires:
            yield from required.with_required()
        yield self

    @property
    def command(self) -> str:
        """The command line that reproduces this cell from its suite."""
        verb, limit = self.origin.verb, self.mode.limit
        words = ["bench", verb or f"run {self.task}", self.origin.words]
        words += [f"--{name} {shlex.quote(value)}" for name, value in self.origin.names.items()]
        # a submission has one seed
        words += [] if self.seed is None else [f"{'--seed' if verb else '--seeds'} {self.seed}"]
        words += [f"--limit {limit}"] if limit else []
        words += ["--smoke"] if self.mode.smoke else []
        return " ".join(words)

    def describe(self) -> str:
        """Return "bnn-resnet18 on s1s2-256/place, seed 1"."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        limit = f", limit {self.mode.limit}" if self.mode.limit else ""
        return f"{self.method} on {self.dataset}{seed}{limit}" + (", smoke" if self.mode.smoke else "")


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
    nothing). `requires` holds the train keys of the cells that this one requires, by task; `reads` the predict keys of
    those whose predictions it is made of, where it starts from no model of theirs.
    """

    keys: Keys
    inputs: Mapping[str, Any]
    samples: int
    data_key: str = ""
    requires: tuple[tuple[str, str], ...] = ()
    reads: tuple[tuple[str, str], ...] = ()
