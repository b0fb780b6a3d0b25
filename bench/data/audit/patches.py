"""The audit of a set of SAR-optical patches: which share ground, how they lie, and what a split makes of it.

Nothing but the pixels of the SAR patches is used to find out; tables of places are not read.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import numpy as np

from bench.core.errors import BenchError
from bench.core.progress import OnStage
from bench.data.audit.codes import Mode
from bench.data.audit.layout import Layout, lay_out, neighbours
from bench.data.audit.leakage import Grouped, Leak, grouped_split, leak, placed
from bench.data.audit.overlaps import Overlaps, agree, find_overlaps, spans
from bench.data.audit.report import Implied, OpticalCheck, PatchReport
from bench.data.audit.spool import Spool, read_grey
from bench.data.dataset import PairDataset
from bench.data.index import PairIndex, PairSample
from bench.data.reading import PairReading
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split

MODES: dict[str, tuple[Mode, ...]] = {"both": ("exact", "order"), "exact": ("exact",), "order": ("order",)}
"""The ways to look for overlaps, as `--match` names them."""

_OPTICAL_PAIRS = 200


def audit_pairs(
    dataset: PairDataset,
    spec: SplitSpec,
    match: Literal["both", "exact", "order"] = "both",
    report: OnStage | None = None,
) -> PatchReport:
    """Audit the pairs of `dataset` under the split `spec`.

    Args:
        match: "exact" finds overlaps that are equal bit by bit, "order" those whose pixels have the same order (a
            contrast stretch of each patch keeps it), "both" the first, then what the second adds.
        report: called with (what, steps done, steps in all).

    Raises:
        BenchError: fewer than two pairs, no readable image, unequal images, a split that cannot be made, a full disk.
    """
    index = dataset.index()
    if len(index) < 2:
        raise BenchError(f"{index.where} has {len(index)} pair; an audit compares at least 2")
    split = make_split(index, spec)
    gsd_m = dataset.gsd_m or 1.0
    with Spool(index, dataset.root, dataset.cache or Path(tempfile.gettempdir()), report) as spool:
        overlaps = find_overlaps(spool, MODES[match], report)
        layout = lay_out(len(index), overlaps)
        overlaps, implied = _completed(spool, overlaps, layout, MODES[match][-1])
        damaged = dict(spool.damaged)
    layout = lay_out(len(index), overlaps)
    grouped: Grouped | None = None
    grouped_leak: Leak | None = None
    why_not = ""
    try:
        grouped = grouped_split(index, layout, overlaps, gsd_m, spec)
        grouped_leak = leak(grouped.split, overlaps)
    except BenchError as error:
        why_not = str(error)
    return PatchReport(
        name=dataset.facts.name,
        index=index,
        overlaps=overlaps,
        layout=layout,
        implied=implied,
        optical=_optical(index, dataset.root, overlaps, damaged),
        modes=MODES[match],
        gsd_m=gsd_m,
        spec=spec,
        split=split,
        leak=leak(split, overlaps),
        grouped=grouped,
        grouped_leak=grouped_leak,
        why_not=why_not,
        plain=placed(index, layout, overlaps.shape, gsd_m),
        damaged=damaged,
    )


def _completed(spool: Spool, overlaps: Overlaps, layout: Layout, mode: Mode) -> tuple[Overlaps, Implied]:
    """Add the pairs whose computed places intersect and whose pixels agree there, uniform ones included."""
    table = neighbours(layout, overlaps.shape)
    known = overlaps.a.astype(np.int64) * len(spool) + overlaps.b
    table = table[~np.isin(table[:, 0] * len(spool) + table[:, 1], known)]
    agreeing: list[list[int]] = []
    for a, b, dy, dx in table.tolist():
        exact = agree(spool, a, b, dy, dx, mode, bland=True)
        if exact is not None:
            agreeing.append([a, b, dy, dx, int(exact)])
    return overlaps.with_pairs(np.array(agreeing, dtype=np.int64)), Implied(len(agreeing), len(table) - len(agreeing))


def _optical(index: PairIndex, root: Path, overlaps: Overlaps, damaged: dict[str, str]) -> OpticalCheck | None:
    """Compare the optical images of a spread of overlaps; None where nothing overlaps. Those that cannot be read are
    passed over, and added to `damaged`.
    """
    if not len(overlaps):
        return None
    chosen = np.unique(np.linspace(0, len(overlaps) - 1, _OPTICAL_PAIRS).astype(int))
    rows = np.stack([overlaps.a, overlaps.b, overlaps.dy, overlaps.dx], axis=1)[chosen].tolist()
    related, unrelated, equal, compared = [], [], 0, 0
    before: np.ndarray | None = None
    for a, b, dy, dx in rows:
        one, two = (_grey_or_none(index.samples[i], root, index.reading, damaged) for i in (a, b))
        if one is None or two is None:
            continue
        compared += 1
        if one.shape != overlaps.shape or two.shape != overlaps.shape:
            raise BenchError(
                f"{index.samples[a].optical} or {index.samples[b].optical} differs in size from its SAR partner"
            )
        (ay, by), (ax, bx) = spans(overlaps.shape[0], dy), spans(overlaps.shape[1], dx)
        related.append(_pearson(one[ay, ax], two[by, bx]))
        equal += bool(np.array_equal(one[ay, ax], two[by, bx]))
        if before is not None:
            unrelated.append(_pearson(before[ay, ax], two[by, bx]))
        before = one
    return OpticalCheck(compared, equal, _median(related), _median(unrelated))


def _grey_or_none(sample: PairSample, root: Path, reading: PairReading, damaged: dict[str, str]) -> np.ndarray | None:
    try:
        return read_grey(sample, root, reading)
    except BenchError as error:
        damaged.setdefault(sample.optical, str(error))
        return None


def _pearson(one: np.ndarray, two: np.ndarray) -> float:
    """Return the correlation of two arrays of one shape, NaN where one is constant."""
    one, two = one - one.mean(), two - two.mean()
    norm = float(np.sqrt((one * one).sum() * (two * two).sum()))
    return float((one * two).sum()) / norm if norm > 0 else float("nan")


def _median(values: list[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return round(float(np.median(known)), 6) if known else None
