"""What the papers report for this task, as data: value, source, table, protocol facts. Shown beside ours, never mixed with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reported:
    """One cell of a published table; `ap` in [0, 1]."""

    dataset: str
    detector: str
    pretrain: str
    ap: float
    source: str
    protocol: str


_TABLE_III = "Huang et al., QXS-SAROPT, arXiv 2103.08259, Table III"
_PROTOCOL = "AP, compatible with IoU 0.5; its definition, the split, tiles, 16-bit scaling, schedule and seeds are unpublished"

REPORTED = (
    Reported("air-sarship-1.0", "faster-rcnn", "imagenet", 0.8720, _TABLE_III, _PROTOCOL),
    Reported("air-sarship-1.0", "faster-rcnn", "osm", 0.8852, _TABLE_III, _PROTOCOL),
    Reported("air-sarship-1.0", "yolov3", "imagenet", 0.8712, _TABLE_III, _PROTOCOL),
    Reported("air-sarship-1.0", "yolov3", "osm", 0.8836, _TABLE_III, _PROTOCOL),
)


def find_reported(dataset: str, detector: str, pretrain: str) -> Reported | None:
    """Return the published number of a detector with a pretraining on a data set, or None where there is none."""
    for row in REPORTED:
        if (row.dataset, row.detector, row.pretrain) == (dataset, detector, pretrain):
            return row
    return None
