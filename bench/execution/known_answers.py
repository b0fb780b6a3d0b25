"""Predictions whose numbers are known without scoring them: what a task offers to `bench selftest`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.execution.task import Scores

ROUNDING = 1e-12  # of sums and quotients of a few hundred terms in float64


@dataclass(frozen=True)
class Expected:
    """A number that must come out.

    Attributes:
        value: None where the metric is not defined.
        why: the closed form, or why it is a constant.
        within: largest distance that is good; 0 for exactly.
    """

    value: float | None
    why: str
    within: float = ROUNDING


@dataclass(frozen=True)
class Known:
    """A prediction whose numbers are known without scoring it.

    Attributes:
        name: "truth".
        about: what the prediction is, in a few words.
        expected: by the name of a metric, or of a numeric fact.
        write: leaves the predictions file in a cell's folder.
        score: scores the same prediction in memory; None for a task that only knows files.
    """

    name: str
    about: str
    expected: Mapping[str, Expected]
    write: Callable[[Path], None]
    score: Callable[[], Scores] | None = None
