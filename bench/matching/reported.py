"""What the papers report for this task, as data: value, source, table, protocol facts. Shown beside ours, never mixed with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reported:
    """One row of a published table; `metrics` in [0, 1]."""

    dataset: str
    matcher: str
    backbone: str | None
    metrics: dict[str, float]
    source: str
    protocol: str


_TABLE_II = "Huang et al., QXS-SAROPT, arXiv 2103.08259, Table II"
_PROTOCOL = "70 % of the pairs for training; 1:1 negatives (by arithmetic); split list, threshold and seed unpublished"

REPORTED = (
    Reported("qxs-saropt", "bnn", "resnet50", {"accuracy": 0.829, "precision": 0.748, "recall": 0.993}, _TABLE_II, _PROTOCOL),
    Reported("qxs-saropt", "bnn", "darknet53", {"accuracy": 0.828, "precision": 0.746, "recall": 0.995}, _TABLE_II, _PROTOCOL),
)


def find_reported(dataset: str, matcher: str, backbone: str | None) -> Reported | None:
    """Return the published row of a method on a data set, or None where there is none."""
    for row in REPORTED:
        if (row.dataset, row.matcher, row.backbone) == (dataset, matcher, backbone):
            return row
    return None
