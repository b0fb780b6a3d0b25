"""Records of the matching task -> its results table, in the form of Table II with what the paper leaves out beside it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.matching.reported import find_reported
from bench.matching.scoring import DECISIONS, DIRECTIONS
from bench.records import Record
from bench.tables import Column, Row, Section, Table, TableCell, aggregate, group_blocks, group_rows, row_command, seeds_text

PAPER = "paper (acc / prec / rec)"
_LABELS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}


def matching_table(title: str, description: str, records: Sequence[Record]) -> Table:
    """Return the board: per data set and split the decisions (Table II's form), then ranking and retrieval."""
    sections: list[Section] = []
    for dataset, block in group_blocks(records):
        rows = group_rows(block)
        sections += [_decisions(dataset, rows), _rankings(dataset, rows)]
    return Table(title, description, tuple(sections), {})


Group = tuple[str, list[Record], tuple[str, ...]]


def _decisions(dataset: str, rows: Sequence[Group]) -> Section:
    """Table II's form: accuracy, precision, recall on 1:1 negatives, at the validation threshold and at the method's own."""
    columns = tuple(Column(f"uniform.{metric}", _LABELS[metric]) for metric in DECISIONS)
    out = []
    for label, records, marks in rows:
        out.append(_row(label, records, marks, columns, paper=True))
        fixed = _fixed_threshold(records)
        if fixed is not None:
            cells = {column.key: aggregate(records, column.key.replace("uniform.", "uniform.fixed.")) for column in columns}
            out.append(_row(f"{label}, at {fixed:g}", records, marks, columns, paper=True, cells=cells))
    note = f"{_size(rows)} Decisions at the threshold chosen on the validation part; rows “at …” use the method's own fixed threshold."
    return Section(f"{dataset}: is it a match?", note, columns, tuple(out), (PAPER,))


def _rankings(dataset: str, rows: Sequence[Group]) -> Section:
    """Threshold-free metrics, hard negatives, and retrieval on the gallery that all methods share."""
    columns = [
        Column("uniform.roc_auc", "AUC"),
        Column("uniform.average_precision", "AP"),
        Column("uniform.fpr95", "FPR95", higher_better=False),
        Column("hard.accuracy", "hard acc"),
        Column("hard.roc_auc", "hard AUC"),
        Column("hard.fpr95", "hard FPR95", higher_better=False),
    ]
    for direction, arrow in zip(DIRECTIONS, ("S→O", "O→S"), strict=True):
        columns.append(Column(f"gallery.{direction}.recall_at_1", f"R@1 {arrow}"))
    columns += [
        Column("gallery.sar_to_optical.recall_at_5", "R@5 S→O"),
        Column("gallery.sar_to_optical.recall_at_10", "R@10 S→O"),
        Column("gallery.sar_to_optical.mrr", "MRR S→O"),
        Column("full.sar_to_optical.recall_at_1", "R@1 S→O, all"),
    ]
    out = tuple(_row(label, records, marks, tuple(columns)) for label, records, marks in rows)
    finished = [record for _, group, _ in rows for record in group if record.status == "finished"]
    note = ""
    if finished:
        facts = finished[0].facts
        hard = {"scene": "another patch of the same scene", "cluster": "another patch of the same low-level cluster", "none": "none"}
        note = (
            f"Hard negatives: {hard[facts['hard_negatives']]}. Retrieval on one gallery of {facts['gallery.size']} test pairs for every "
            f"method; “all” is the whole test part ({finished[0].inputs['split_counts']['test']}), for methods with embeddings."
        )
    return Section(f"{dataset}: ranking, hard negatives, retrieval", note, tuple(columns), out)


def _row(
    label: str,
    records: Sequence[Record],
    marks: tuple[str, ...],
    columns: tuple[Column, ...],
    paper: bool = False,
    cells: dict[str, TableCell] | None = None,
) -> Row:
    cells = cells or {column.key: aggregate(records, column.key) for column in columns}
    reported = {}
    if paper:
        spec = records[0].spec
        found = find_reported(spec["dataset"]["name"], spec["method"]["matcher"], spec["method"]["backbone"])
        if found is not None and spec["method"]["control"] == "none":
            reported = {PAPER: " / ".join(f"{found.metrics[metric]:.3f}" for metric in DECISIONS[:3])}
    return Row(label, cells, seeds_text(records), row_command(records), reported, marks, tuple(records))


def _fixed_threshold(records: Sequence[Record]) -> float | None:
    for record in records:
        if record.facts.get("fixed_threshold") is not None:
            return float(record.facts["fixed_threshold"])
    return None


def _size(rows: Sequence[Group]) -> str:
    """Return the sentence that says what the numbers rest on."""
    for _, group, _ in rows:
        for record in group:
            if record.status == "finished":
                counts, facts = record.inputs["split_counts"], record.facts
                return (
                    f"{counts['train']} training, {counts['validation']} validation and {counts['test']} test pairs; "
                    f"{facts['uniform.positives']} matching and {facts['uniform.negatives']} non-matching test decisions, drawn once "
                    f"(pairs {facts['pairs_sha256']['test'][:8]}, split {record.inputs['data']['split'][:8]})."
                )
    return ""
