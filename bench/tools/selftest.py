"""Known predictions and the numbers that must come out of them: what a check is, and how a task's checks are run.

A task offers known predictions (`Task.selftest`), each with numbers that follow from how it is made, by a formula that
needs none of the scored code. They are scored in memory and through the file, as a finished cell is, and every metric
that the task reports must be covered. No data, no model, no torch.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.errors import BenchError
from bench.execution.known_answers import Expected, Known
from bench.execution.task import get_task

if TYPE_CHECKING:
    from bench.execution.records import Record
    from bench.execution.task import Reference, Scores, Task
    from bench.statistics.inference import MetricRow

RESAMPLING = 1e-9  # between a metric and the same number from per-sample arrays, some of them float32
FILE, SAMPLES, COVERED = "(through the file)", "(from per-sample arrays)", "(covered)"


@dataclass(frozen=True)
class Check:
    """One number: what must come out, and what came out. `got` is a text where nothing came out at all.

    Attributes:
        reference: another's code that computed the same number, None where none did.
    """

    task: str
    prediction: str
    about: str
    metric: str
    expected: Expected
    got: float | None | str
    reference: Reference | None = None

    @property
    def ok(self) -> bool:
        """Whether `got` is as near as it must be to what is expected, and to the reference; not a number is never
        good.
        """
        if not _near(self.got, self.expected.value, self.expected.within):
            return False
        return self.reference is None or _near(self.got, self.by_reference, self.reference.within)

    @property
    def by_reference(self) -> float | None:
        """The same number by the reference."""
        return None if self.reference is None else self.reference.metrics[self.metric]


def _near(got: float | None | str, wanted: float | None, within: float) -> bool:
    if got is None or wanted is None or isinstance(got, str):
        return got is None and wanted is None
    return abs(got - wanted) <= within


def run_checks(tasks: Sequence[str], statistics: bool = True) -> Iterator[Check]:
    """Yield every check of the tasks and, with `statistics`, of the paired statistics; a task without known predictions
    yields none.
    """
    for name in tasks:
        yield from task_checks(name, get_task(name))
    if statistics:
        yield from statistics_checks()


def task_checks(name: str, task: Task) -> Iterator[Check]:
    """Yield the checks of one task, the last of them that every metric is covered by a number."""
    reported: set[str] = set()
    covered: set[str] = set()
    cases = task.selftest()
    for case in cases:
        scores, reference, checks = _score(name, task, case)
        yield from checks
        if scores is None:
            continue
        reported |= set(scores.metrics)
        covered |= {metric for metric, expected in case.expected.items() if expected.value is not None}
        for metric, expected in case.expected.items():
            got = scores.metrics[metric] if metric in scores.metrics else scores.facts.get(metric, "no such metric")
            by = reference if reference is not None and metric in reference.metrics else None
            yield Check(name, case.name, case.about, metric, expected, got, by)
        yield from _sample_checks(name, task, case, scores)
    about = f"each of the {len(reported)} metrics must be some number of some prediction"
    for metric in sorted(reported - covered):
        yield Check(name, COVERED, about, metric, Expected(1, "no known prediction says what it must be"), 0)
    if cases:
        yield Check(
            name,
            COVERED,
            about,
            "metrics",
            Expected(len(reported), "metrics that the task reports"),
            len(reported & covered),
        )


def _score(name: str, task: Task, case: Known) -> tuple[Scores | None, Reference | None, list[Check]]:
    """Score a prediction in memory and through the file, which must agree in every number; and by another's code where
    the task knows some.
    """
    with tempfile.TemporaryDirectory(prefix="bench-selftest-") as folder:
        try:
            case.write(Path(folder))
            stored = task.score(Path(folder))
            scores = stored if case.score is None else case.score()
            reference = task.reference(Path(folder))
        except BenchError as error:
            return None, None, [Check(name, case.name, case.about, FILE, Expected(1, "it can be scored"), str(error))]
    equal = sum(stored.metrics.get(metric, "none") == value for metric, value in scores.metrics.items())
    names = max(len(scores.metrics), len(stored.metrics))
    why = "metrics equal in memory and after saving and loading"
    return scores, reference, [Check(name, case.name, case.about, FILE, Expected(names, why, 0), equal)]


# -- what resampling starts from ---------------------------------------------------------------------------------------
def _sample_checks(name: str, task: Task, case: Known, scores: Scores) -> Iterator[Check]:
    """Yield how many of the metrics that can be recomputed from per-sample arrays come out the same, before it those
    that do not.
    """
    record = record_of(name, case, scores)
    checks = []
    for metric, value in scores.metrics.items():
        resampled = task.resampled(metric, record, scores.samples)
        if resampled is not None:
            expected = Expected(value, "the metric as scored", RESAMPLING)
            checks.append(Check(name, case.name, case.about, f"{metric} {SAMPLES}", expected, resampled.value))
    yield from (check for check in checks if not check.ok)
    good = sum(check.ok for check in checks)
    yield Check(
        name,
        case.name,
        case.about,
        SAMPLES,
        Expected(len(checks), "metrics equal as scored and as resampling sees them", 0),
        good,
    )


def record_of(name: str, case: Known, scores: Scores) -> Record:
    """Return a record with the scores of a known prediction, as far as statistics look into it."""
    from bench.execution.records import Record

    keys = dict.fromkeys(("train", "predict", "score"), "selftest")
    place: dict[str, Any] = {
        "task": name,
        "suite": "selftest",
        "dataset": "known",
        "method": case.name,
        "seed": None,
        "limit": None,
    }
    identity: dict[str, Any] = {
        "names": {},
        "spec": {},
        "inputs": {},
        "keys": keys,
        "fingerprint": "selftest",
        "row_key": case.name,
    }
    return Record(status="finished", **place, **identity, metrics=dict(scores.metrics), facts=dict(scores.facts))


# -- statistics --------------------------------------------------------------------------------------------------------
SHIPS = (15, 3, 2, 50, 18, 14, 6, 6, 8, 3)  # of the ten test scenes of AIR-SARShip-1.0: few and unequal, the hard case


def statistics_checks() -> Iterator[Check]:
    """Yield the checks of the paired statistics: what rows of recall on ten scenes must give, by counting."""
    for name, about, numbers in (*_tables(), _pair(), _seeds()):
        for metric, (expected, why, got) in numbers.items():
            yield Check("statistics", name, about, metric, Expected(expected, why), got)


Numbers = dict[str, tuple[float, str, float | None]]  # name -> (what must come out, why, what came out)


def _row(label: str, *missed: object) -> MetricRow:
    """Return a row whose seeds miss so many ships of each scene."""
    from bench.statistics.inference import MetricRow
    from bench.statistics.resampling import Clusters, Ratio

    ships = np.array(SHIPS, dtype=np.float64)
    clusters = Clusters.of([f"scene {i}" for i in range(len(ships))], ships)
    seeds = tuple(range(len(missed))) if len(missed) > 1 else (None,)
    return MetricRow(label, seeds, tuple(Ratio(clusters, ships - np.asarray(each), ships) for each in missed))


def _tables() -> Iterator[tuple[str, str, Numbers]]:
    """Yield tables of two rows: name, what they are, and numbers about the row that is compared with the reference."""
    from bench.statistics.inference import analyse

    worse, better, once = _row("worse", 1), _row("better", 0), _row("once", np.arange(len(SHIPS)) > 0)
    total, swaps = sum(SHIPS), 2 ** (len(SHIPS) - 1)
    cases: tuple[tuple[str, str, list[MetricRow], int, int, int, float, tuple[int, int]], ...] = (
        ("identical", "the same row twice", [worse, _row("again", 1)], 0, 0, swaps, 0.0, (0, 0)),
        ("planted", "one ship more in every scene", [worse, better], 0, len(SHIPS), 1, 1.0, (2, 1)),
        ("turned", "as planted, the rows the other way round", [better, worse], 1, len(SHIPS), 1, 1.0, (1, 2)),
        ("one-scene", "one ship more in one scene", [worse, once], 0, 1, swaps, 0.0, (0, 0)),
    )
    for name, about, rows, reference, more, as_far, marked, tiers in cases:
        analysis, other = analyse(rows, reference), 1 - reference
        difference = analysis.differences[other]
        numbers: Numbers = {
            "difference": (more / total, f"{more} ships more, of {total}", getattr(difference, "value", None)),
            "p": (as_far / swaps, f"{as_far} of {swaps} swaps as far from 0", getattr(difference, "p", None)),
            "marked": (marked, "the swap test, Holm-corrected", float(analysis.marked[other])),
        }
        for position, tier in enumerate(tiers):
            numbers[f"tier of row {position + 1}"] = (
                tier,
                "0 for none: no pair is separated",
                analysis.tiers[position] or 0,
            )
        yield name, about, numbers


def _pair() -> tuple[str, str, Numbers]:
    from bench.statistics.inference import compare

    found = compare(_row("worse", 1), _row("better", 0))
    value = (-len(SHIPS) / sum(SHIPS), "first minus second", found.value)
    return (
        "compared",
        "as planted, two rows alone",
        {"difference": value, "p": (2.0 ** (1 - len(SHIPS)), "one swap of all", found.p)},
    )


def _seeds() -> tuple[str, str, Numbers]:
    from bench.statistics.inference import analyse

    found, gap, total = analyse([_row("seeds", 1, 0)], None).estimates[0], len(SHIPS) / sum(SHIPS), sum(SHIPS)
    numbers: Numbers = {
        "mean": (1 - gap / 2, "mean of two seeds", found.value),
        "seed_sd": (gap / math.sqrt(2), "their distance by the square root of 2", found.seed_sd),
        "effective clusters": (total**2 / sum(n * n for n in SHIPS), "(sum n)^2 / sum n^2", found.effective_clusters),
    }
    return "seeds", "two seeds, one without a miss", numbers
