"""What a table's numbers rest on: per-sample scores of records, and the statistics of its rows. A view; it reads, and
measures nothing.

Owns which rows are compared with which. How a metric is recomputed is the task's (`Task.resampled`), what is concluded
`statistics.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.boards.checks import agree, differs
from bench.core.errors import BenchError
from bench.execution.records import Record

if TYPE_CHECKING:
    from bench.statistics.inference import Difference, Estimate, MetricRow
    from bench.statistics.resampling import Resampled

Samples = Callable[[Record], Mapping[str, Any] | None]
Rows = Sequence[tuple[str, Sequence[Record]]]


@dataclass(frozen=True)
class RowEvidence:
    """What the statistics say of one row.

    Attributes:
        difference: to the reference row; None for the reference itself, and where nothing was compared.
        marked: the corrected test separates the row from the reference.
        rank: shared by rows that are not separable; None where nothing was compared or no pair is separable, and for a
            row that cannot be ranked (`bench.statistics.inference.Analysis.tiers`).
        trained_once: with one seed, so that the scatter of its training is unknown.
    """

    estimate: Estimate
    difference: Difference | None = None
    marked: bool = False
    rank: int | None = None
    trained_once: bool = False


@dataclass(frozen=True)
class RowComparison:
    """The rows of one table by one metric.

    Attributes:
        reference: label of the row that differences are taken against; "" for none.
        rows: by label; a row without per-sample scores, with a failed seed or an undefined value is not in it.
        resolvable: the smallest difference that this test set can resolve (80 % power at 5 %), None where unknown.
    """

    metric: str
    reference: str = ""
    rows: Mapping[str, RowEvidence] = field(default_factory=dict)
    resolvable: float | None = None

    @property
    def ranked(self) -> bool:
        """Whether some pair of rows is separable, so that rows have ranks."""
        return any(row.rank is not None for row in self.rows.values())

    @property
    def clusters(self) -> tuple[int, float]:
        """Number of clusters, and the effective sample size; (0, 0) without a row."""
        for row in self.rows.values():
            return row.estimate.clusters, row.estimate.effective_clusters
        return 0, 0.0


@dataclass(frozen=True)
class Evidence:
    """Access to the per-sample scores behind records.

    Attributes:
        recompute: `Task.resampled`.
        load: per-sample arrays of a record, None where they are not available.
        parts: the records of the folds behind a merged record, by its fingerprint.
        reference: the suite's reference row, None where it names none.
        cost: whether the tables shall say what the rows cost.
        problems: filled while tables are made: what was wrong with per-sample scores, whose rows then go without
            statistics.
    """

    recompute: Callable[[str, Record, Mapping[str, Any]], Resampled | None] | None = None
    load: Samples = lambda record: None
    parts: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    reference: str | None = None
    cost: bool = False
    problems: list[str] = field(default_factory=list)
    _seen: dict[tuple[str, str], Resampled | None] = field(default_factory=dict)

    def samples(self, record: Record) -> Mapping[str, Any] | None:
        """Return the per-sample arrays of a record; None where they are not available or damaged, which is kept in
        `problems`.
        """
        try:
            return self.load(record)
        except BenchError as error:
            self._keep(error)
            return None

    def resampled(self, metric: str, record: Record) -> Resampled | None:
        """Return `metric` of `record` as a function of cluster weights; None where it cannot be recomputed.

        Raises:
            BenchError: the per-sample scores do not give the number of the record: one of the two was changed.
        """
        if record.status != "finished":
            return None
        key = (metric, record.fingerprint)
        if key not in self._seen:
            self._seen[key] = self._resampled(metric, record)
        return self._seen[key]

    def _resampled(self, metric: str, record: Record) -> Resampled | None:
        if record.fingerprint in self.parts:
            from bench.statistics.resampling import MeanOf

            folds = [self.resampled(metric, fold) for fold in self.parts[record.fingerprint]]
            whole = [fold for fold in folds if fold is not None]
            return MeanOf(tuple(whole)) if whole and len(whole) == len(folds) else None
        samples = self.samples(record)
        if samples is None or self.recompute is None:
            return None
        result = self.recompute(metric, record, samples)
        recorded = record.metrics.get(metric)
        if result is not None and (recorded is None or not agree(recorded, result.value)):
            raise BenchError(differs(record, metric, recorded, result.value))
        return result

    def compare(self, metric: str, rows: Rows, reference: str | None = None, ranks: bool = True) -> RowComparison:
        """Return the statistics of a table's rows by one metric.

        Args:
            rows: (label, records by seed). reference: a label; None takes the suite's where the table has it, else the
                first row. ranks: whether rows are ranked, for which all pairs are compared.
        """
        from bench.statistics.inference import analyse, trained_once

        known = self._metric_rows(metric, rows)
        labels = [row.label for row in known]
        if not labels:
            return RowComparison(metric)
        every = [label for label, _ in rows]
        wanted = next((name for name in (reference, self.reference) if name in every), every[0])
        found = analyse(known, labels.index(wanted) if wanted in labels else None, ranks)
        once = map(trained_once, known)
        each = map(RowEvidence, found.estimates, found.differences, found.marked, found.tiers, once)
        return RowComparison(
            metric, wanted if wanted in labels else "", dict(zip(labels, each, strict=True)), found.resolvable
        )

    def estimates(self, metrics: Sequence[str], label: str, records: Sequence[Record]) -> dict[str, RowEvidence]:
        """Return a row's numbers with their intervals, by metric, without comparing rows."""
        from bench.statistics.inference import estimate

        known = ((metric, self._metric_rows(metric, [(label, records)])) for metric in metrics)
        return {metric: RowEvidence(estimate(rows[0])) for metric, rows in known if rows}

    def _metric_rows(self, metric: str, rows: Rows) -> list[MetricRow]:
        """Return the rows whose every seed can be recomputed."""
        from bench.statistics.inference import MetricRow

        out = []
        for label, records in rows:
            results = self._results(metric, records)
            known = [result for result in results if result is not None]
            if known and len(known) == len(results):
                out.append(MetricRow(label, tuple(record.seed for record in records), tuple(known)))
        return out

    def _results(self, metric: str, records: Sequence[Record]) -> list[Resampled | None]:
        """Return `metric` of each record; of a row with damaged per-sample scores nothing, and what is wrong is
        kept.
        """
        try:
            return [self.resampled(metric, record) for record in records]
        except BenchError as error:
            self._keep(error)
            return []

    def _keep(self, error: BenchError) -> None:
        if str(error) not in self.problems:
            self.problems.append(str(error))
