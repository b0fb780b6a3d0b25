"""Two rows of any boards, or of the runs folder, side by side: which rows a name means, whether they may be compared,
and what comes of it.

A row is what its records share: a place (board or runs folder), data, split, protocol and spec. Rows are compared when
data, split and protocol are the same, whatever suite they stand in.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.boards.entries import ENTRIES, read_samples
from bench.boards.evidence import Evidence
from bench.core.errors import BenchError, nearest
from bench.core.store import canonical_hash
from bench.core.workspace import user_path
from bench.execution.cell import row_names, slot_of
from bench.execution.records import Record
from bench.execution.task import get_task
from bench.suite.selection import fold_of
from bench.tools.lineage import RUNS, SHOWN_HASH, Source, find_sources

if TYPE_CHECKING:
    from bench.statistics.inference import Difference, Estimate, MetricRow
    from bench.statistics.intervals import Interval

LEVEL = 0.05
LOWER_IS_BETTER = ("fpr95",)


@dataclass(frozen=True)
class BoardRow:
    """One row of a table.

    Attributes:
        place: name of the board, or "runs".
        dataset: label of the block; that of all folds for a cross-validation.
        key: hash of the spec without the seed (and, for all folds together, without the fold).
        by_seed: (seed, the sources of its record or of its folds' records), seeds ascending.
    """

    place: str
    task: str
    dataset: str
    method: str
    key: str
    by_seed: tuple[tuple[int | None, tuple[Source, ...]], ...]

    @property
    def label(self) -> str:
        """What the user can type to mean this row."""
        return f"{self.place}:{self.dataset}/{self.method}"

    @property
    def records(self) -> Iterator[Record]:
        return (source.record for _, sources in self.by_seed for source in sources)

    @property
    def fingerprints(self) -> frozenset[str]:
        return frozenset(record.fingerprint for record in self.records)

    @property
    def measured_on(self) -> list[dict[str, Any]]:
        """What has to be equal for a comparison: data, split and protocol, once a fold."""
        return [_measured_on(source.record) for source in self.by_seed[0][1]]

    def names(self) -> set[str]:
        """Return everything that the row may be called."""
        return row_names(self.place, self.task, self.dataset, self.method, self.key)


@dataclass(frozen=True)
class Comparison:
    """Two rows by one metric, a minus b, paired by seed and test sample.

    Attributes:
        a, b: the rows. a_estimate, b_estimate: the number of each, with its interval.
        paired: the difference and all that is known of it.
        differs: what is not the same in the specs of the two methods, in words.
    """

    metric: str
    a: BoardRow
    b: BoardRow
    a_estimate: Estimate
    b_estimate: Estimate
    paired: Difference
    differs: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """Mean of a minus b over the paired seeds; None where it is not defined."""
        return self.paired.value

    @property
    def interval(self) -> Interval | None:
        """Of the difference, by seeds and clusters together; for reading, the swap test decides."""
        return self.paired.interval

    @property
    def p(self) -> float | None:
        """Two-sided, by the swap test, of this one comparison; None without a test (`paired.reason` says why)."""
        return self.paired.p

    @property
    def separable(self) -> bool | None:
        """Whether the test separates the rows; None where it says nothing: no test, or the scatter of training is
        unknown.
        """
        return None if self.p is None or not self.paired.seeds_known else self.p <= LEVEL

    @property
    def better(self) -> str | None:
        """ "a" or "b" where the rows are separable, else None."""
        if not self.separable or self.difference is None:
            return None
        lower = self.metric.rpartition(".")[2] in LOWER_IS_BETTER
        return "a" if (self.difference > 0) != lower else "b"

    @property
    def verdict(self) -> str:
        """What the comparison says, in one sentence."""
        if self.difference is None or self.p is None:
            return f"nothing can be said: {self.paired.reason}"
        if self.separable is None:
            return "one seed: training scatter unknown, so this says nothing about the methods"
        what = f"{self.better} is better" if self.separable else "not separable on this test set"
        return f"{what} (p {shown_p(self.p)})"


def shown_p(p: float) -> str:
    """Return a p value as it is shown."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def compare(
    a: str,
    b: str,
    *,
    metric: str | None = None,
    task: str | None = None,
    dataset: str | None = None,
    runs: str | Path = "runs",
    boards: str | Path = "leaderboards",
    report: Callable[[str], None] = warnings.warn,
) -> Comparison:
    """Compare two rows that were measured on the same data, split and protocol, from their per-sample scores alone.

    Args:
        a, b: "[BOARD:][DATASET/SPLIT/]LABEL" or the first digits of a fingerprint; the board "runs" is the runs folder.
        metric: the headline of the task by default.
        task, dataset: choose among several rows of these names.
        report: takes a line about each damaged record, which is left out.

    Raises:
        BenchError: no such row (the nearest are listed), several, rows that cannot be compared (what differs is named),
            a failed seed, missing per-sample scores, or a metric that they do not settle.
    """
    from bench.statistics.inference import compare as paired
    from bench.statistics.inference import estimate

    sources, damaged = find_sources(user_path(runs), user_path(boards))
    for problem in damaged:
        report(f"left out: {problem}")
    rows = find_rows(sources)
    if not rows:
        raise BenchError(f"no row under {runs} or {boards}; run a suite first, or name the folders", "runs")
    one, two = choose_pair(a, b, rows, task, dataset)
    for row in (one, two):
        _refuse_lost_seed(row, damaged)
    metric = metric or get_task(one.task).headline
    first, second = metric_row(one, metric), metric_row(two, metric)
    specs = [next(row.records).spec.get("method", {}) for row in (one, two)]
    differs = tuple(_differing("", *specs))
    return Comparison(metric, one, two, estimate(first), estimate(second), paired(first, second), differs)


def _refuse_lost_seed(row: BoardRow, damaged: Sequence[str]) -> None:
    """Raise BenchError where a seed of the row is among the damaged records: its mean would be that of the others."""
    seeds = {slot_of(record.dataset, record.method, 0).removesuffix("0") for record in row.records}
    here = f"/{row.task}/" if row.place == RUNS else f"{row.place}/{ENTRIES}/{row.task}--"
    for problem in damaged:
        if any(here + seed in problem for seed in seeds):
            raise BenchError(f"{row.label}: a seed of it cannot be read, and must not vanish from a mean: {problem}")


def find_rows(sources: Sequence[Source]) -> list[BoardRow]:
    """Return the rows of all boards and of the runs folder, and one more for each cross-validation whose folds are
    complete.
    """
    groups: dict[tuple[str, str, str, str, str, str], list[Source]] = {}
    for source in sources:
        record = source.record
        if record.limit is None and not record.smoke:
            same = canonical_hash(_measured_on(record))
            group = (source.board or RUNS, record.task, record.dataset, record.method, record.row_key, same)
            groups.setdefault(group, []).append(source)
    rows = []
    for (place, task, dataset, method, key, _), mine in groups.items():
        mine.sort(key=lambda source: -1 if source.record.seed is None else source.record.seed)
        rows.append(
            BoardRow(place, task, dataset, method, key, tuple((source.record.seed, (source,)) for source in mine))
        )
    return rows + _whole_folds(rows)


def _measured_on(record: Record) -> dict[str, Any]:
    return {"data": record.inputs.get("data"), "protocol": record.spec.get("protocol")}


def _whole_folds(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Return one row for each cross-validation: of the seeds that every fold has."""
    groups: dict[tuple[str, str, str, str, str], dict[int, BoardRow]] = {}
    wanted: dict[tuple[str, str, str, str, str], int] = {}
    for row in rows:
        split = next(row.records).spec.get("dataset", {}).get("split", {})
        data, _, label = row.dataset.rpartition("/")
        fold = fold_of(label) if split.get("kind") == "folds" else None
        if fold is not None:
            spec = next(row.records).spec
            same = canonical_hash({**spec, "dataset": {**spec["dataset"], "split": {**split, "fold": None}}})
            key = (row.place, row.task, f"{data}/{fold[0]}", row.method, same)
            groups.setdefault(key, {})[fold[1]] = row
            wanted[key] = int(split["folds"])
    out = []
    for key, folds in groups.items():
        if len(folds) == wanted[key]:
            each = [dict(folds[number].by_seed) for number in sorted(folds)]
            seeds = [seed for seed in each[0] if all(seed in fold for fold in each)]
            by_seed = tuple((seed, tuple(source for fold in each for source in fold[seed])) for seed in seeds)
            out += [BoardRow(*key, by_seed)] if by_seed else []
    return out


def choose_pair(
    one: str, two: str, rows: Sequence[BoardRow], task: str | None, dataset: str | None
) -> tuple[BoardRow, BoardRow]:
    """Return the two rows that the user means.

    Args:
        one, two: a row's label, with or without block and board before it, or leading digits of a fingerprint of one of
            its seeds.
        task, dataset: narrow the choice down.

    Raises:
        BenchError: nothing or several rows are called so, or the two cannot be compared (what differs is named).
    """
    firsts, seconds = (_candidates(text, rows, task, dataset) for text in (one, two))
    pairs = [(a, b) for a in firsts for b in seconds if a != b and a.task == b.task and a.measured_on == b.measured_on]
    if len(pairs) == 1:
        return pairs[0]
    if pairs:
        shown = [f"{a.label} with {b.label}" for a, b in pairs[:6]]
        more = f" and {len(pairs) - 6} more" if len(pairs) > 6 else ""
        raise BenchError(f"several comparisons are called so, say which block or board: {', '.join(shown)}{more}")
    if len(firsts) == len(seconds) == 1:
        if firsts == seconds:
            raise BenchError(f"{one} and {two} are the same row, {firsts[0].label}; name two")
        raise BenchError(
            f"{firsts[0].label} and {seconds[0].label} cannot be compared:"
            f" {'; '.join(differences(firsts[0], seconds[0]))}"
        )
    blocks = [", ".join(sorted({row.label for row in found})[:6]) for found in (firsts, seconds)]
    raise BenchError(f"no data, split and protocol that both were measured on; {one}: {blocks[0]}; {two}: {blocks[1]}")


def _candidates(text: str, rows: Sequence[BoardRow], task: str | None, dataset: str | None) -> list[BoardRow]:
    """Return the rows that `text` may mean; of rows with the same records, the one on a board.

    Raises:
        BenchError: none.
    """
    found = [row for row in rows if text in row.names()]
    if not found and len(text) >= 4:
        found = [row for row in rows if any(key.startswith(text.lower()) for key in row.fingerprints)]
    if not found:
        raise BenchError(
            f"no row is called {text!r}{nearest(text, {name for row in rows for name in (row.label, row.method)})}"
        )
    left = [row for row in found if task in (None, row.task) and _in_block(row, dataset)]
    if not left:
        shown = ", ".join(sorted({f"{row.task} {row.label}" for row in found})[:6])
        raise BenchError(f"no row {text!r} is left of this task and data set; there is: {shown}")
    left.sort(key=lambda row: (-len(row.fingerprints), row.place == RUNS, row.place))
    kept: list[BoardRow] = []
    for row in left:
        if not any(row.fingerprints <= other.fingerprints and row.key == other.key for other in kept):
            kept.append(row)
    return kept


def _in_block(row: BoardRow, dataset: str | None) -> bool:
    return dataset is None or dataset in (row.dataset, row.dataset.replace("/", "-"), row.dataset.rpartition("/")[0])


def differences(one: BoardRow, two: BoardRow) -> list[str]:
    """Return what keeps two rows from being compared, a few words each."""
    if one.task != two.task:
        return [f"one is of the task {one.task}, the other of {two.task}"]
    if len(one.measured_on) != len(two.measured_on):
        return [f"{len(one.measured_on)} folds against {len(two.measured_on)}"]
    found: list[str] = []
    for first, second in zip(one.measured_on, two.measured_on, strict=True):
        found += [text for text in _differing("", first, second) if text not in found]
    return found[:6]


def _differing(name: str, one: Any, two: Any) -> list[str]:
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        keys = sorted(set(one) | set(two))
        return [
            text for key in keys for text in _differing(f"{name}.{key}" if name else key, one.get(key), two.get(key))
        ]
    return [] if one == two else [f"{name} is {_short(one)} against {_short(two)}"]


def _short(value: Any) -> str:
    text = str(value)
    return text[:SHOWN_HASH] if len(text) == 64 else text


def metric_row(row: BoardRow, metric: str) -> MetricRow:
    """Return a row by one metric, recomputable for any draw of its clusters.

    Raises:
        BenchError: a seed failed or stands twice, has no per-sample scores, or these do not settle the metric or give
            another number.
    """
    from bench.statistics.inference import MetricRow

    for record in row.records:
        if record.status != "finished":
            stage = f" in {record.failure.stage}" if record.failure else ""
            raise BenchError(
                f"{row.label}: {record.slot} failed{stage}, and a failure must not vanish from a mean; run it again"
            )
    seeds = [seed for seed, _ in row.by_seed]
    if len(set(seeds)) < len(seeds):
        twice = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise BenchError(
            f"{row.label}: several records of seed {twice}, made by different versions; name the row of a board"
        )
    task = get_task(row.task)
    samples = {source.record.fingerprint: _samples(source) for _, sources in row.by_seed for source in sources}
    if metric not in next(row.records).metrics:
        raise BenchError(f"{row.label} has no metric {metric!r}{nearest(metric, next(row.records).metrics)}")
    evidence = Evidence(task.resampled, lambda record: samples[record.fingerprint])
    results = []
    for _, sources in row.by_seed:
        each = [evidence.resampled(metric, source.record) for source in sources]
        known = [result for result in each if result is not None]
        if len(known) < len(each):
            raise BenchError(f"{row.label}: {metric} {_cannot(row, metric, evidence)}")
        results.append(known)
    if len(results[0]) == 1:
        return MetricRow(row.label, tuple(seeds), tuple(known[0] for known in results))
    from bench.statistics.resampling import MeanOf

    return MetricRow(row.label, tuple(seeds), tuple(MeanOf(known) for known in results))


def _samples(source: Source) -> Mapping[str, Any]:
    if not os.path.lexists(source.samples):
        raise BenchError(
            f"{source.samples} is missing; without per-sample scores nothing can be compared: run the cell again"
        )
    return read_samples(source.samples, source.record.task)


def _cannot(row: BoardRow, metric: str, evidence: Evidence) -> str:
    """Return why a metric cannot be compared, and which ones can."""
    first = next(row.records)
    if first.metrics[metric] is None:
        return "is unknown there"
    can = [
        name
        for name, value in first.metrics.items()
        if value is not None and evidence.resampled(name, first) is not None
    ]
    return f"cannot be computed again from per-sample scores; these can: {', '.join(sorted(can)) or 'none'}"
