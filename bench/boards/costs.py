"""What the rows of a block cost, as a section of a board."""

from __future__ import annotations

from collections.abc import Sequence

from bench.boards.tables import Column, RowRecords, Section, TableRow, aggregate, seeds_text
from bench.execution.records import Record

COSTS = (
    Column("cost.train.seconds", "training, s", None, 0),
    Column("cost.predict.seconds", "prediction, s", None, 1),
    Column("cost.peak_memory_gib", "peak memory, GiB", None, 2),
    Column("cost.train.samples_per_second", "training samples/s", None, 1),
    Column("cost.predict.megapixels_per_second", "prediction MP/s", None, 2),
)


def cost_section(block: str, rows: Sequence[RowRecords]) -> Section:
    """Return what each row cost, from the records; comparable only where the hardware is the same, which it names."""
    out = []
    for label, records, marks in rows:
        cells = {column.key: aggregate(records, column.key) for column in COSTS}
        out.append(TableRow(label, cells, seeds_text(records), "", marks=marks))
    machines = {_machine(record) for _, records, _ in rows for record in records if record.status == "finished"}
    note = (
        "Mean over seeds, of what the records say; a stage reused from another cell keeps that cell's cost."
        " Measured on: "
    )
    return Section(block, "cost", note + "; ".join(sorted(machines)) + ".", COSTS, tuple(out))


def _machine(record: Record) -> str:
    made = record.provenance.get("trained_by", record.provenance).get("hardware", {})
    chip = made.get("accelerator") or made.get("processor") or "unknown processor"
    together = f", {made['processes']} processes" if made.get("processes", 1) > 1 else ""
    return f"{chip}, {made.get('threads', '?')} threads{together}"
