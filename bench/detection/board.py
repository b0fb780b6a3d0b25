"""Records of the detection task -> its results table, in the form of Table III with what the paper leaves out beside it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.detection.folds import merge_folds
from bench.detection.reported import find_reported
from bench.records import Record
from bench.tables import Column, Row, Section, Table, TableCell, aggregate, group_blocks, group_rows, row_command, seeds_text

MAIN = "scene.ap_area"
_ARMS = {"none": "none (random start)", "imagenet": "ImageNet", "osm": "OSM", "osm-shuffled": "OSM, shuffled pairs (control)"}
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
Group = tuple[str, list[Record], tuple[str, ...]]


def detection_table(title: str, description: str, records: Sequence[Record]) -> Table:
    """Return the board: per data set and split Table III (rows pretraining, columns detectors), all metrics, and the strata apart.

    The folds of a cross-validation are shown as their mean first, then one by one.
    """
    merged, single = merge_folds(records)
    sections: list[Section] = []
    for dataset, block in group_blocks(merged):
        sections += _block(f"{dataset}, mean over {block[0].facts['folds']} folds", block, keep=False)
    for dataset, block in group_blocks(single):
        sections += _block(dataset, block, keep=True)
    return Table(title, description, tuple(sections), {})


def _block(dataset: str, block: Sequence[Record], keep: bool) -> list[Section]:
    """Return the sections of one block; `keep` says that its rows are records on disk, for the CSV."""
    rows = group_rows(block)
    first = _table_iii(dataset, rows)
    tables = [first, _everything(dataset, rows, keep, alone=first is None), _strata(dataset, rows, keep)]
    return [table for table in tables if table is not None]


def _table_iii(dataset: str, rows: Sequence[Group]) -> Section | None:
    """Rows pretraining, columns detectors, the paper's values beside ours."""
    learned = [(records, marks) for _, records, marks in rows if records[0].spec["method"]["backbone"]]
    detectors = list(dict.fromkeys(_detector(records[0]) for records, _ in learned))
    arms = list(dict.fromkeys(_arm(records[0]) for records, _ in learned))
    if not detectors:
        return None
    columns = tuple(Column(name, f"{name} AP") for name in detectors)
    papers: dict[str, None] = {}
    out = []
    for arm in arms:
        group = [(records, marks) for records, marks in learned if _arm(records[0]) == arm]
        cells = {name: TableCell(None) for name in detectors}
        reported, marks = {}, {}
        for records, own in group:
            cells[_detector(records[0])] = aggregate(records, MAIN)
            marks.update(dict.fromkeys(own))
            spec = records[0].spec
            found = find_reported(spec["dataset"]["name"], spec["method"]["detector"], arm)
            if found is not None:
                reported[f"paper: {_detector(records[0])}"] = f"{found.ap:.4f}"
        papers.update(dict.fromkeys(reported))
        seeds = max((records for records, _ in group), key=len)
        out.append(Row(_ARMS.get(arm, arm), cells, seeds_text(seeds), "", reported, tuple(marks)))
    floor = [f"{label} {cell.value:.3f}" for label, records, _ in rows if (cell := _untrained(records)) and cell.value is not None]
    note = _size(rows) + (f" Without training: {', '.join(floor)}." if floor else "")
    return Section(f"{dataset}: ships found, by pretraining", note, columns, tuple(out), tuple(papers), head="pretraining")


def _untrained(records: Sequence[Record]) -> TableCell | None:
    return None if records[0].spec["method"]["backbone"] else aggregate(records, MAIN)


def _everything(dataset: str, rows: Sequence[Group], keep: bool, alone: bool) -> Section:
    """Every row with every definition of AP; `alone`: no table before it has said what the numbers rest on."""
    out = [_row(label, records, marks, _ALL, keep) for label, records, marks in rows]
    note = (
        "AP: area under the interpolated precision-recall curve at IoU 0.5 (VOC 2010 on), over whole scenes after merging tiles; "
        "11-point: VOC 2007 on the same matches; COCO AP: mean over IoU 0.50 to 0.95; S, M, L: below 32², to 96², above, in px². "
        "Best F1 takes its threshold from the test scenes. Tile AP counts cut ships once a tile and is no scene-level number."
    )
    return Section(f"{dataset}: all metrics", f"{_size(rows)} {note}".strip() if alone else note, _ALL, tuple(out))


def _strata(dataset: str, rows: Sequence[Group], keep: bool) -> Section | None:
    """AP of each stratum (inshore, offshore) apart."""
    finished = [record for _, records, _ in rows for record in records if record.status == "finished"]
    names = [key.split(".")[1] for record in finished[:1] for key in record.metrics if key.count(".") == 2 and key.endswith(".ap_area")]
    if not names:
        return None
    columns = tuple(
        Column(f"scene.{name}.{metric}", f"{name} {label}")
        for name in names
        for metric, label in (("ap_area", "AP"), ("best_f1", "best F1"))
    )
    out = [_row(label, records, marks, columns, keep) for label, records, marks in rows]
    facts = finished[0].facts
    sizes = [f"{name}: {facts[f'scene.{name}.ships']} ships in {facts[f'scene.{name}.scenes']} scenes" for name in names]
    return Section(f"{dataset}: by {finished[0].spec['protocol']['strata']}", "; ".join(sizes) + ".", columns, tuple(out))


def _row(label: str, records: Sequence[Record], marks: tuple[str, ...], columns: tuple[Column, ...], keep: bool) -> Row:
    cells = {column.key: aggregate(records, column.key) for column in columns}
    return Row(label, cells, seeds_text(records), row_command(records), {}, marks, tuple(records) if keep else ())


def _detector(record: Record) -> str:
    """Return the label of a row's detector: what stands before its pretraining."""
    return record.method.removesuffix(f"/{_arm(record)}")


def _arm(record: Record) -> str:
    return str(record.spec["method"]["pretrain"])


def _size(rows: Sequence[Group]) -> str:
    """Return the sentences that say what the numbers rest on."""
    for _, group, _ in rows:
        for record in group:
            if record.status == "finished":
                return _told(record, list(dict.fromkeys(_source(r) for _, some, _ in rows for r in some if r.inputs.get("pretrained_by"))))
    return ""


def _told(record: Record, sources: Sequence[str]) -> str:
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
