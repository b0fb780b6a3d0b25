"""Records of the matching task -> its results table: first what needs no threshold, then the decisions in the form of
Table II, then hard negatives and retrieval.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.boards.comparisons import (
    comparison_cells,
    comparison_columns,
    comparison_note,
    metric_cell,
    metric_cells,
    sources,
)
from bench.boards.costs import cost_section
from bench.boards.evidence import Evidence, RowComparison, RowEvidence
from bench.boards.fused import fused_note
from bench.boards.reading import see
from bench.boards.tables import (
    DIFFERENCE,
    Block,
    Column,
    RowRecords,
    Section,
    Table,
    TableCell,
    TableRow,
    group_blocks,
    group_rows,
    table_row,
)
from bench.execution.records import Record
from bench.matching.board.reported import find_reported, judge
from bench.matching.board.shortcut import shortcut_section
from bench.matching.matchers.base import COMPARED_SHARE
from bench.matching.scoring.resampled import clusters_known, threshold_cost
from bench.matching.scoring.score import DECISIONS

MAIN = "uniform.accuracy"
LEADING, LEADING_EXPLAINED = "do true pairs come first?", "Do true pairs come first?"
THRESHOLD_COST = "uniform.threshold_cost"  # not of the record: `threshold_cost`
_LEADING = (
    Column("uniform.roc_auc", "AUC"),
    Column("uniform.fpr95", "FPR95", higher_better=False),
    Column("gallery.sar_to_optical.recall_at_1", "R@1 S→O"),
)
PAPER, VERDICT = "paper (acc / prec / rec)", "verdict"
_LABELS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}
_FURTHER = (
    Column("hard.accuracy", "hard acc"),
    Column("hard.roc_auc", "hard AUC"),
    Column("hard.fpr95", "hard FPR95", higher_better=False),
    Column("uniform.average_precision", "AP"),
    Column("gallery.optical_to_sar.recall_at_1", "R@1 O→S"),
    Column("gallery.sar_to_optical.recall_at_5", "R@5 S→O"),
    Column("gallery.sar_to_optical.recall_at_10", "R@10 S→O"),
    Column("gallery.sar_to_optical.mrr", "MRR S→O"),
    Column("full.sar_to_optical.recall_at_1", "R@1 S→O, all"),
)
_WITH_INTERVAL = ("hard.accuracy", "hard.roc_auc")
_HARD = {
    "scene": "another patch of the same scene",
    "cluster": "another patch of the same low-level cluster",
    "none": "none",
}


class PairBlock(Block):
    """A block of this task."""

    @property
    def cluster(self) -> str:
        """What is resampled."""
        for record in self.finished:
            samples = self.evidence.samples(record)
            if samples is not None:
                return "source scene" if clusters_known(samples) else "pair"
        return "cluster"


def matching_table(title: str, description: str, records: Sequence[Record], evidence: Evidence) -> Table:
    """Return the board: per data set and split what needs no threshold, the decisions (Table II's form), hard negatives
    and retrieval, and how far shortcuts go.
    """
    sections: list[Section] = []
    for label, group in group_blocks(records):
        rows = group_rows(group, evidence.parts)
        block = PairBlock(label, rows, evidence)
        by_accuracy = block.compare(MAIN)
        sections += [_leading(block, by_accuracy), _decisions(block, by_accuracy), _further(block)]
        shortcut = shortcut_section(label, rows, evidence.samples)
        sections += [] if shortcut is None else [shortcut]
        sections += [cost_section(label, rows)] if evidence.cost else []
    return Table(title, description, tuple(sections))


def _leading(block: PairBlock, by_accuracy: RowComparison) -> Section:
    """What rows are compared by: AUC, FPR95 and R@1, which hang on no threshold, each with its paired differences; and
    beside them accuracy at the validation threshold with what the transfer of that threshold costs.
    """
    first, *others = _LEADING
    found = {column.key: block.compare(column.key, ranks=column is first) for column in _LEADING}
    main = found[first.key]
    shown: list[Column] = []
    for column in _LEADING:
        shown += [column, *comparison_columns(found[column.key], column.label, rank=column is first)]
    accuracy = (Column(MAIN, _LABELS["accuracy"]), Column(THRESHOLD_COST, "threshold costs", higher_better=None))
    rows = []
    for row in block.rows:
        every = {**found, MAIN: by_accuracy}
        evidence = {metric: each.rows[row.label] for metric, each in every.items() if row.label in each.rows}
        cells = metric_cells(row.records, (*_LEADING, accuracy[0]), evidence)
        for comparison in found.values():
            cells |= comparison_cells(comparison, row.label)
        cells[THRESHOLD_COST] = _threshold_cost(row.records, block.evidence)
        rows.append(table_row(row, cells, evidence))
    lead, after = (
        comparison_note(main, first.label, block.cluster),
        (*_compared(block), *fused_note(block.rows), *sources(main, block.cluster)),
    )
    note = f"{_size(block)} ({see(LEADING_EXPLAINED)})." if block.finished else ""
    headline = (first.key, first.key + DIFFERENCE, *(column.key for column in others))
    return Section(
        block.label, LEADING, note, (*shown, *accuracy), tuple(rows), lead=lead, after=after, headline=headline
    )


def _threshold_cost(records: Sequence[Record], evidence: Evidence) -> TableCell:
    """Return the accuracy that the transfer of the validation threshold costs, over the seeds of a row; of a
    cross-validation the mean over its folds.
    """
    costs = []
    for record in records:
        parts = evidence.parts.get(record.fingerprint, (record,))
        read = [(part, evidence.samples(part)) for part in parts if part.status == "finished"]
        known = [threshold_cost(part, samples) for part, samples in read if samples is not None]
        costs.append([cost for cost in known if cost is not None] if len(known) == len(parts) else [])
        if len(costs[-1]) < len(parts):
            return TableCell(None, n=len(records))
    values = [statistics.fmean(each) for each in costs]
    return TableCell(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def _decisions(block: PairBlock, main: RowComparison) -> Section:
    """Table II's form: accuracy, precision, recall on 1:1 negatives, at the validation threshold and at the method's
    own.

    Args:
        main: the rows compared by accuracy.
    """
    numbers = tuple(Column(f"uniform.{metric}", _LABELS[metric]) for metric in DECISIONS)
    chosen, fixed = (
        block.estimates([f"{prefix}{name}" for name in DECISIONS if f"{prefix}{name}" != MAIN])
        for prefix in ("uniform.", "uniform.fixed.")
    )
    out: list[TableRow] = []
    after: dict[str, None] = {}
    for each in block.rows:
        label = each.label
        evidence = {**chosen[label], **({MAIN: main.rows[label]} if label in main.rows else {})}
        row, notes = _decision_row(each, "uniform.", evidence)
        out.append(replace(row, cells={**row.cells, **comparison_cells(main, label)}))
        after |= dict.fromkeys(notes)
        threshold = _fixed_threshold(each.records)
        if threshold is not None:
            shown = each._replace(label=f"{label}, at {threshold:g}")
            row, notes = _decision_row(shown, "uniform.fixed.", fixed[label])
            out.append(replace(row, cells={**row.cells, **comparison_cells(RowComparison(MAIN), label)}))
            after |= dict.fromkeys(notes)
    columns = (numbers[0], *comparison_columns(main, "accuracy"), *numbers[1:])
    reported = (PAPER, VERDICT) if any(row.reported for row in out) else ()
    lead, said = comparison_note(main, "accuracy", block.cluster), (*after, *sources(main, block.cluster))
    note = f"At the threshold chosen on the validation pairs ({see('Is it a match?')})."
    return Section(block.label, "is it a match?", note, columns, tuple(out), reported, lead=lead, after=said)


def _decision_row(row: RowRecords, prefix: str, evidence: Mapping[str, RowEvidence]) -> tuple[TableRow, list[str]]:
    """Return a row of Table II's form, and the notes on its verdict that stand below the table.

    Args:
        prefix: of the metrics, "uniform." or "uniform.fixed."; they stand in the same columns.
        evidence: metric -> what the statistics say.
    """
    records = row.records
    own = {name: evidence.get(f"{prefix}{name}") for name in DECISIONS}
    cells = {f"uniform.{name}": metric_cell(records, f"{prefix}{name}", own[name]) for name in DECISIONS}
    verdict = judge(records, {name: found.estimate if (found := own[name]) else None for name in DECISIONS[:3]})
    reported, notes = {}, []
    method = records[0].spec["method"]
    published = find_reported(records[0].spec["dataset"]["name"], method["matcher"], method["backbone"])
    if published is not None and verdict is not None:
        numbers = " / ".join(f"{published.metrics[metric]:.3f}" for metric in DECISIONS[:3])
        reported = {PAPER: numbers, VERDICT: verdict.short}
        notes = [f"{row.label}: {verdict.full}", *verdict.footnotes]
    return table_row(row, cells, evidence, reported), notes


def _further(block: PairBlock) -> Section:
    """Hard negatives, and retrieval on the gallery that all methods share."""
    found = block.estimates(_WITH_INTERVAL)
    out = [
        table_row(row, metric_cells(row.records, _FURTHER, found[row.label]), found[row.label]) for row in block.rows
    ]
    note = ""
    if block.finished:
        first = block.finished[0]
        size = max(record.facts["gallery.size"] for record in block.finished)  # a submission may leave the gallery out
        note = (
            f"Hard negatives: {_HARD[first.facts['hard_negatives']]}; gallery of {size} test pairs, “all” is"
            f" {first.inputs['split_counts']['test']} ({see('Hard negatives, retrieval')})."
        )
    return Section(block.label, "hard negatives, retrieval", note, _FURTHER, tuple(out))


def _compared(block: PairBlock) -> tuple[str, ...]:
    """Return a line on the rows that compare a part of each patch: the template's area over the patch's."""
    shares = [
        f"{row.label} {record.facts[COMPARED_SHARE]:.2f}"
        for row in block.rows
        for record in row.records[:1]
        if COMPARED_SHARE in record.facts
    ]
    return (f"Share of a patch that is compared: {', '.join(shares)}.",) if shares else ()


def _fixed_threshold(records: Sequence[Record]) -> float | None:
    for record in records:
        if record.facts.get("fixed_threshold") is not None:
            return float(record.facts["fixed_threshold"])
    return None


def _size(block: PairBlock) -> str:
    """Return the sentence that says what the numbers rest on."""
    for record in block.finished[:1]:
        counts, facts = record.inputs["split_counts"], record.facts
        return (
            f"{counts['train']} training, {counts['validation']} validation and {counts['test']} test pairs;"
            f" {facts['uniform.positives']} matching and {facts['uniform.negatives']} non-matching test decisions,"
            f" pairs {facts['pairs_sha256']['test'][:8]}, split {record.inputs['data']['split'][:8]}"
        )
    return ""
