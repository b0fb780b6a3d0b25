"""Rows whose number depends on the order in which equal scores stand in a file: how a record says so, the mark on a
board, and the sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.execution.records import Record

EQUAL_SCORES = "equal_scores"  # a fact of a record: detections that share a score; metric -> [lowest, highest]
MARK = "≈"
FOOTNOTE = "detections of this row share their scores: its AP depends on the order in which they came in"


def order_note(record: Record) -> str:
    """Return how far a number of the record moves with the order of equal scores; "" where it does not."""
    spread = record.facts.get(EQUAL_SCORES)
    if not spread:
        return ""
    low, high = spread["ap_area"]
    return (
        f"{record.slot}: {spread['detections']} detections share their score with another; AP"
        f" {record.metrics['scene.ap_area']:.3f} holds for the order in which they came in, other orders give {low:.3f}"
        f" to {high:.3f}"
    )
