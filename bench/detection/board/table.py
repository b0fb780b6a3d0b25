"""Records of the detection task -> its results table, in the form of Table III with what the paper leaves out beside
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.boards.comparisons import (
    comparison_cells,
    comparison_columns,
    comparison_limits,
    comparison_note,
    metric_cell,
    metric_cells,
    sources,
)
from bench.boards.costs import cost_section
from bench.boards.evidence import Evidence, RowComparison
from bench.boards.fused import fused_note, is_fused
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
    aggregate,
    group_blocks,
    group_rows,
    seeds_text,
    table_row,
)
from bench.detection.board.folds import merge_folds
from bench.detection.board.reported import find_reported, judge
from bench.execution.records import Record

MAIN = "scene.ap_area"
_ARMS = {
    "none": "none (random start)",
    "imagenet": "ImageNet",
    "imagenet-shuffled": "ImageNet, permuted within layers (control)",
    "osm": "OSM",
    "osm-shuffled": "OSM, shuffled pairs (control)",
    "osm-dense": "OSM, dense",
    "osm-dense-shuffled": "OSM, dense, shuffled pairs (control)",
}
_ALL = (
    Column(MAIN, "AP"),
    Column("scene.ap_11pt", "AP 11-point"),
    Column("scene.ap_coco", "COCO AP"),
    Column("scene.ap50", "AP50"),
    Column("scene.ap75", "AP75"),
    Column("scene.ap50_small", "AP50 S"),
    Column("scene.ap50_medium", "AP50 M"),
    Column("scene.ap50_large", "AP50 L"),
    Column("scene.best_f1", "best F1"),
    Column("tile.ap_area", "tile AP"),
)
_HEADLINE = (MAIN, MAIN + DIFFERENCE, "scene.ap_coco", "scene.best_f1")


@dataclass(frozen=True)
class ShipBlock(Block):
    """A block of this task; `keep` says that its rows are records on disk, for CSV and links."""

    keep: bool

    @property
    def cluster(self) -> str:
        """What is resampled: scenes, or acquisitions that several scenes were cut from."""
        for record in self.finished:
            samples = self.evidence.samples(self.evidence.parts.get(record.fingerprint, [record])[0])
            if samples is not None:
                return "scene" if len(set(samples["group"].tolist())) == len(samples["group"]) else "acquisition"
        return "cluster"


def detection_table(title: str, description: str, records: Sequence[Record], evidence: Evidence) -> Table:
    """Return the board: per data set and split Table III (rows pretraining, columns detectors), all metrics, and the
    strata apart.

    The folds of a cross-validation are shown as their mean first, then one by one.
    """
    merged, parts = merge_folds(records)
    evidence = replace(evidence, parts=parts)
    sections: list[Section] = []
    for label, group in group_blocks(merged):
        sections += _block(f"{label}, mean over {group[0].facts['folds']} folds", group, evidence, keep=False)
    folds = {part.fingerprint for some in parts.values() for part in some}
    for label, group in group_blocks(records):
        sections += _block(label, group, evidence, keep=True, headed=group[0].fingerprint not in folds)
    return Table(title, description, tuple(sections))


def _block(label: str, group: Sequence[Record], evidence: Evidence, keep: bool, headed: bool = True) -> list[Section]:
    rows = group_rows(group, evidence.parts)
    block = ShipBlock(label, rows, evidence, keep)
    main = block.compare(MAIN)
    first = _table_iii(block, main)
    everything = _everything(block, main, alone=first is None)
    tables = [first, everything if headed else replace(everything, headline=()), _strata(block)]
    tables += [cost_section(label, rows)] if evidence.cost and keep else []
    return [table for table in tables if table is not None]


def _table_iii(block: ShipBlock, main: RowComparison) -> Section | None:
    """Rows pretraining, columns detectors; differences inside each detector; the paper's values and the verdict beside
    ours.
    """
    learned = [row for row in block.rows if row.records[0].spec["method"]["backbone"]]
    by_detector: dict[str, list[RowRecords]] = {}
    for row in learned:
        by_detector.setdefault(_detector(row.records[0]), []).append(row)
    if not learned:
        return None
    lines = {arm: _Line(arm) for arm in dict.fromkeys(_arm(row.records[0]) for row in learned)}
    columns: list[Column] = []
    papers: dict[str, None] = {}
    after: dict[str, None] = {}
    notes: list[str] = []
    for detector, rows in by_detector.items():
        comparison = block.compare(MAIN, [row.label for row in rows])
        key, reference = detector, ""
        for label, records, marks in rows:
            line = lines[_arm(records[0])]
            reference = _arm(records[0]) if label == comparison.reference else reference
            line.cells[key] = metric_cell(records, MAIN, comparison.rows.get(label))
            line.cells[key + DIFFERENCE] = comparison_cells(comparison, label)[MAIN + DIFFERENCE]
            line.marks |= dict.fromkeys(marks)
            line.records = max(line.records, records, key=len)
            reported, verdict = _paper(detector, label, records, comparison)
            line.reported |= reported
            after |= dict.fromkeys(verdict)
        papers |= dict.fromkeys(title for line in lines.values() for title in line.reported)
        columns.append(Column(key, f"{detector} AP"))
        if reference and len(comparison.rows) > 1:
            columns.append(Column(key + DIFFERENCE, f"Δ to {_ARMS.get(reference, reference)}", None, signed=True))
            if not notes:
                shown = f"{reference} of the same detector"
                notes.append(comparison_note(comparison, f"AP of {detector}", block.cluster, shown, rank=False))
            else:
                notes.append(comparison_limits(comparison, f"AP of {detector}", rank=False))
    out = [line.row(columns) for line in lines.values()]
    floor = [
        f"{label} {cell.value:.3f}"
        for label, records, _ in block.rows
        if (cell := _untrained(records)) and cell.value is not None
    ]
    note = _size(block) + (f" Without training: {', '.join(floor)}." if floor else "")
    lead = " ".join(notes or [comparison_note(main, "AP", block.cluster, rank=False)])
    return Section(
        block.label,
        "ships found, by pretraining",
        note,
        tuple(columns),
        tuple(out),
        tuple(papers),
        "pretraining",
        lead,
        tuple(after),
    )


class _Line:
    """One row of Table III while it is put together from several detectors."""

    def __init__(self, arm: str) -> None:
        self.arm = arm
        self.cells: dict[str, TableCell] = {}
        self.marks: dict[str, None] = {}
        self.reported: dict[str, str] = {}
        self.records: list[Record] = []

    def row(self, columns: Sequence[Column]) -> TableRow:
        cells = {column.key: self.cells.get(column.key, TableCell(None)) for column in columns}
        label, seeds = _ARMS.get(self.arm, self.arm), seeds_text(self.records)
        return TableRow(label, cells, seeds, "", self.reported, tuple(self.marks))


def _paper(
    detector: str, label: str, records: Sequence[Record], comparison: RowComparison
) -> tuple[dict[str, str], list[str]]:
    """Return the columns with the paper's value and the verdict, and what is said of it below the table."""
    spec = records[0].spec
    published = find_reported(spec["dataset"]["name"], spec["method"]["detector"], _arm(records[0]))
    found = comparison.rows.get(label)
    verdict = judge(records, None if found is None else found.estimate, MAIN)
    if published is None or verdict is None:
        return {}, []
    reported = {f"paper: {detector}": f"{published.ap:.4f}", f"verdict: {detector}": verdict.short}
    return reported, [f"{label}: {verdict.full}", *verdict.footnotes]


def _untrained(records: Sequence[Record]) -> TableCell | None:
    return None if records[0].spec["method"]["backbone"] or is_fused(records[0]) else aggregate(records, MAIN)


def _everything(block: ShipBlock, main: RowComparison, alone: bool) -> Section:
    """Every row with every definition of AP; `alone`: no table before it has said what the numbers rest on."""
    out = []
    for row in block.rows:
        found = {MAIN: main.rows[row.label]} if row.label in main.rows else {}
        cells = {**metric_cells(row.records, _ALL, found), **comparison_cells(main, row.label)}
        out.append(table_row(row, cells, found, kept=block.keep))
    note = f"Every definition of AP, and F1 ({see('All metrics')})."
    columns = (_ALL[0], *comparison_columns(main, "AP"), *_ALL[1:])
    said = f"{_size(block)} {note}".strip() if alone else note
    lead, after = comparison_note(main, "AP", block.cluster), (*fused_note(block.rows), *sources(main, block.cluster))
    return Section(block.label, "all metrics", said, columns, tuple(out), lead=lead, after=after, headline=_HEADLINE)


def _strata(block: ShipBlock) -> Section | None:
    """AP of each stratum (inshore, offshore) apart."""
    finished = block.finished
    names = [
        key.split(".")[1]
        for record in finished[:1]
        for key in record.metrics
        if key.count(".") == 2 and key.endswith(".ap_area")
    ]
    if not names:
        return None
    columns = tuple(
        Column(f"scene.{name}.{metric}", f"{name} {label}")
        for name in names
        for metric, label in (("ap_area", "AP"), ("best_f1", "best F1"))
    )
    found = block.estimates([f"scene.{name}.ap_area" for name in names])
    out = []
    for row in block.rows:
        cells = metric_cells(row.records, columns, found[row.label])
        out.append(table_row(row, cells, found[row.label], kept=block.keep))
    facts = finished[0].facts
    sizes = [
        f"{name}: {facts[f'scene.{name}.ships']} ships in {facts[f'scene.{name}.scenes']} scenes" for name in names
    ]
    subject = f"by {finished[0].spec['protocol']['strata']}"
    return Section(block.label, subject, "; ".join(sizes) + ".", columns, tuple(out))


def _detector(record: Record) -> str:
    """Return the label of a row's detector: what stands before its pretraining."""
    return record.method.removesuffix(f"/{_arm(record)}")


def _arm(record: Record) -> str:
    return str(record.spec["method"]["pretrain"])


def _size(block: ShipBlock) -> str:
    """Return the sentences that say what the numbers rest on."""
    for record in block.finished[:1]:
        return _size_of(
            record,
            list(dict.fromkeys(_source(r) for _, some, _ in block.rows for r in some if r.inputs.get("pretrained_by"))),
        )
    return ""


def _size_of(record: Record, sources: Sequence[str]) -> str:
    ships, counts, tiles = record.inputs["ships"], record.inputs["split_counts"], record.spec["dataset"]["tiles"]
    rest = f"trained on {ships['train']} ships in {counts['train']} scenes"
    if "folds" in record.facts:
        rest = f"each tested in one of {record.facts['folds']} folds"
    return (
        f"AP at IoU 0.5 (area) over {ships['test']} ships in {counts['test']} test scenes; {rest} (split "
        f"{record.inputs['data']['split'][:8]}); tiles of {tiles['size_px']} px, {tiles['overlap_px']} px shared."
        + (f" Pretrained by: {'; '.join(sources)}." if sources else "")
    )


def _source(record: Record) -> str:
    """Return "osm: infonce-resnet18 on s1s2-128/random" of a row that starts from a matching cell."""
    cell = record.inputs["pretrained_by"][0]["cell"].split(", seed")[0]
    return f"{_arm(record)}: {cell}"
