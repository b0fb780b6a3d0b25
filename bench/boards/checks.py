"""Whether a record holds together: its keys follow from what it says, its numbers from its per-sample scores, and no
two seeds of a row share one result.

Owns what is compared, and the words for what does not agree. How numbers are recomputed is the task's (`Task.settled`),
and so is what the keys are made of (`Task.wrong_key`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.core.errors import BenchError, first_line
from bench.execution.records import Record, cell_of, output_hashes
from bench.execution.task import Settled, get_task

AGREE = 1e-9  # a recomputed number may differ from the recorded one by rounding, and by nothing else
ADVICE = "file the cell again with `bench run`"
Samples = Mapping[str, Any]


@dataclass(frozen=True)
class Checked:
    """The outcome for the records of one task.

    Attributes:
        problems: slot -> what is wrong with its record.
        unsettled: metric -> number of sound records whose per-sample scores do not settle it, so that it stands as
            recorded.
    """

    problems: Mapping[str, str] = field(default_factory=dict)
    unsettled: Mapping[str, int] = field(default_factory=dict)


def check_records(records: Iterable[Record], load: Callable[[Record], Samples | None]) -> Checked:
    """Check the finished records of one task, each by itself and against the other seeds of its row.

    Args:
        load: returns the per-sample arrays of a record, None where there are none; may raise BenchError.
    """
    problems: dict[str, str] = {}
    unsettled: dict[str, int] = {}
    twins = Twins()
    for record in records:
        if record.status != "finished":
            continue
        problem = wrong_identity(record)
        if not problem:
            try:
                samples = load(record)
                if samples is None:
                    raise BenchError(scores_missing(record))
                problem, open_ = wrong_numbers(record, samples)
                problem = problem or twins.add(record, samples)
            except BenchError as error:
                problem = str(error)
        if problem:
            problems[record.slot] = problem
        else:
            unsettled |= {name: unsettled.get(name, 0) + 1 for name in open_}
    return Checked(problems, unsettled)


def scores_missing(record: Record) -> str:
    """Return the sentence that nothing is there by which a record's numbers could be computed again."""
    return f"{record.task} {record.slot}: its per-sample scores are missing; {ADVICE}"


def wrong_identity(record: Record) -> str:
    """Return what in a record's keys does not follow from what it says of itself, "" where everything does."""
    name = f"{record.task} {record.slot}"
    try:
        if record.fingerprint != record.keys["score"]:
            return f"{name}: its fingerprint is not its score key; one of the two was changed: {ADVICE}"
        wrong = "row_key" if cell_of(record).row_key != record.row_key else get_task(record.task).wrong_key(record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"{name}: it lacks what its keys are made of ({first_line(error)}); {ADVICE}"
    if not wrong:
        return ""
    what = "its row_key" if wrong == "row_key" else f"its {wrong} key"
    return (
        f"{name}: {what} does not follow from its spec, seed and inputs; it was changed, or made by a newer"
        f" saropt-bench: {ADVICE}"
    )


def wrong_numbers(record: Record, samples: Samples) -> tuple[str, tuple[str, ...]]:
    """Return what in a finished record is not what its per-sample scores say, "" where everything agrees; and the
    metrics that these do not settle.

    Raises:
        BenchError: the per-sample scores are damaged.
    """
    found = recompute(record, samples)
    moved = [name for name, value in found.metrics.items() if not agree(record.metrics.get(name), value)]
    moved_facts = [name for name, value in found.facts.items() if not same_fact(record.facts.get(name), value)]
    problem = ""
    if moved or moved_facts:
        recorded, now = (record.metrics, found.metrics) if moved else (record.facts, found.facts)
        first = (moved or moved_facts)[0]
        problem = differs(record, first, recorded.get(first), now[first], len(moved) + len(moved_facts) - 1)
    open_ = [name for name, value in record.metrics.items() if value is not None and name not in found.metrics]
    return problem, tuple(open_)


def recompute(record: Record, samples: Samples) -> Settled:
    """Return what the per-sample scores of a finished record settle.

    Raises:
        BenchError: they are damaged.
    """
    try:
        return get_task(record.task).settled(record, samples)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # arrays of other shapes
        message = f"{record.task} {record.slot}: damaged per-sample scores ({first_line(error)}); {ADVICE}"
        raise BenchError(message) from error


def agree(recorded: float | None, value: float | None) -> bool:
    """Return whether two numbers are equal but for rounding; unknown equals unknown alone."""
    if recorded is None or value is None:
        return recorded is None and value is None
    return math.isclose(recorded, value, rel_tol=0, abs_tol=AGREE)


def same_fact(recorded: Any, value: Any) -> bool:
    """Return whether a fact of a record is the one that was computed again, numbers but for rounding."""
    number = isinstance(value, float) and isinstance(recorded, int | float) and not isinstance(recorded, bool)
    return agree(recorded, value) if number else bool(recorded == value)


def differs(record: Record, name: str, recorded: object, value: object, more: int = 0) -> str:
    """Return the sentence that a number of a record is not that of its per-sample scores."""
    others = f", and {more} more numbers differ" if more else ""
    return (
        f"{record.task} {record.slot}: {name} is {recorded} in the record but {value} by its per-sample scores{others};"
        f" one of the two files was changed: {ADVICE}"
    )


class Twins:
    """Finds records that share one result under two seeds, as they come by."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], Record] = {}

    def add(self, record: Record, samples: Samples) -> str:
        """Return what is wrong with a record beside those that came before, "" where nothing is."""
        if record.seed is None:
            return ""
        row = (record.task, record.dataset, record.method)
        marks = {"fingerprint": record.fingerprint, "predictions": predictions_digest(record, samples)}
        for what, mark in marks.items():
            first = record if mark is None else self._seen.setdefault((*row, what, mark), record)
            if first.seed != record.seed:
                return (
                    f"{record.task} {record.slot}: the same {what} as seed {first.seed}; one result counts as one seed"
                    " (a method without randomness declares `seeded = False`)"
                )
        return ""


def predictions_digest(record: Record, samples: Samples) -> str | None:
    """Return a hash of what the method itself predicted, equal for equal predictions; None where they say nothing: no
    detection at all, or one distance for all pairs, which any training may come to.
    """
    names = get_task(record.task).predicted
    if not names:
        digest = output_hashes(record).get("predictions_sha256")
        return None if digest is None else str(digest)
    missing = [name for name in names if name not in samples]
    if missing:
        raise BenchError(f"{record.task} {record.slot}: damaged per-sample scores (no {missing[0]}); {ADVICE}")
    arrays = [np.ascontiguousarray(samples[name]) for name in names]
    if not any(array.size and (array != array.flat[0]).any() for array in arrays):
        return None
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def unsettled_note(checked: Checked) -> str:
    """Return the sentence that names what could not be recomputed, "" where everything was."""
    kinds: dict[str, int] = {}
    for name, count in checked.unsettled.items():
        kind = f"`{name.split('.')[0]}.*`"
        kinds[kind] = max(kinds.get(kind, 0), count)
    if not kinds:
        return ""
    listed = ", ".join(f"{kind} of {count} entries" for kind, count in kinds.items())
    return f"Not recomputed, since the per-sample scores of early entries do not settle it: {listed}."
