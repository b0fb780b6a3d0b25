"""What a board says of rows that are made of others (`bench.tasks.fusion`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.boards.tables import RowRecords
from bench.execution.records import Record


def is_fused(record: Record) -> bool:
    """Return whether a record is of a row that is made of others."""
    return bool(record.inputs.get("fused"))


def fused_note(rows: Sequence[RowRecords]) -> tuple[str, ...]:
    """Return a line on each row that is made of others: of which, and how."""
    return tuple(_line(row.label, row.records[0]) for row in rows if is_fused(row.records[0]))


def _line(label: str, record: Record) -> str:
    members = [member["row"] for member in record.inputs["fused"]]
    options: dict[str, Any] = {
        name: value for name, value in record.spec["method"]["options"].items() if value is not None
    }
    how = ", ".join([str(options.pop("method", "")), *(f"{name} {_text(value)}" for name, value in options.items())])
    return f"{label} is made of the stored predictions of {', '.join(members[:-1])} and {members[-1]} ({how})."


def _text(value: Any) -> str:
    return (
        " / ".join(map(_text, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
