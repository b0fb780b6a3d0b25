"""What a split shares between its parts, given which patches overlap; and a split of blocks that shares nothing."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.data.audit.layout import Layout, blocks
from bench.data.audit.overlaps import Overlaps, spans
from bench.data.csv_files import PLACE_COLUMNS
from bench.data.index import PairIndex
from bench.data.split_spec import SplitSpec
from bench.data.splits import Split, make_split, without

APART_M = 100_000.0
"""Gap between groups in the table: more than any guard band."""

GUARD_PX = 1
"""Patches of other parts nearer to a test patch than this are dropped: overlapping and adjoining ones."""

_BLOCK_SHARES = (Fraction(1, 10), Fraction(1, 5), Fraction(1, 3), Fraction(1, 2))
_MOST_DROPPED = 0.15


@dataclass(frozen=True)
class Leak:
    """What the test part shares with the others.

    Attributes:
        test: test patches. train: of them, how many share pixels with a training patch. either: ... with a training or
            validation patch.
        seen: median share of a touched test patch's pixels that training patches hold; None where none is touched.
    """

    test: int
    train: int
    either: int
    seen: float | None

    @property
    def ok(self) -> bool:
        """Whether no test patch shares a pixel with another part."""
        return self.either == 0


@dataclass(frozen=True, eq=False)
class Grouped:
    """A split by blocks. `index`: the patches with their places and blocks (see `placed`); `split`: who is where."""

    index: PairIndex
    split: Split

    @property
    def largest(self) -> float:
        """The largest block as a share of all patches."""
        return max(Counter(self.split.groups).values()) / len(self.index)


def leak(split: Split, overlaps: Overlaps) -> Leak:
    """Count the test patches that share pixels with other parts."""
    masks = {name: np.zeros(len(split.groups), dtype=bool) for name in ("train", "validation", "test")}
    for name, mask in masks.items():
        mask[getattr(split, name)] = True
    train = masks["test"] & _next_to(overlaps, masks["train"])
    either = train | (masks["test"] & _next_to(overlaps, masks["validation"]))
    return Leak(len(split.test), int(train.sum()), int(either.sum()), _seen(overlaps, train, masks["train"]))


def _seen(overlaps: Overlaps, touched: np.ndarray, train: np.ndarray) -> float | None:
    """Return the median over the touched patches of the share of their pixels that training patches hold."""
    height, width = overlaps.shape
    rows: dict[int, list[tuple[int, int]]] = {i: [] for i in np.flatnonzero(touched).tolist()}
    for one, two, sign in ((overlaps.a, overlaps.b, 1), (overlaps.b, overlaps.a, -1)):
        use = touched[one] & train[two]
        for i, dy, dx in zip(
            one[use].tolist(), (sign * overlaps.dy[use]).tolist(), (sign * overlaps.dx[use]).tolist(), strict=True
        ):
            rows[i].append((dy, dx))
    shares = []
    for offsets in rows.values():
        known = np.zeros((height, width), dtype=bool)
        for dy, dx in offsets:
            known[spans(height, dy)[0], spans(width, dx)[0]] = True
        shares.append(float(known.mean()))
    return float(np.median(shares)) if shares else None


def placed(
    index: PairIndex, layout: Layout, shape: tuple[int, int], gsd_m: float, block: np.ndarray | None = None
) -> PairIndex:
    """Return the index with scene (the group), place (metres, y up; groups side by side, `APART_M` apart) and the
    attributes "block", "y0_px", "x0_px" and "group_size" of the layout; attributes of its own are kept.

    Args:
        block: block number within the group, as `blocks` returns; None for whole groups.
    """
    height, width = shape
    sizes = layout.sizes
    extent = np.zeros(len(sizes), dtype=np.int64)
    np.maximum.at(extent, layout.component, layout.x + width)
    start = np.concatenate([[0.0], np.cumsum(extent * gsd_m + APART_M)[:-1]])
    several = np.zeros(len(sizes), dtype=bool)
    if block is not None:
        several[layout.component[block > 0]] = True
    kept = [name for name in index.columns if name not in ("id", "scene")]
    samples = []
    for i, sample in enumerate(index.samples):
        group, y, x = int(layout.component[i]), int(layout.y[i]), int(layout.x[i])
        name = f"g{group + 1:05d}" if sizes[group] > 1 else f"single-{sample.id}"
        left = float(start[group]) + x * gsd_m
        place = (left, -(y + height) * gsd_m, left + width * gsd_m, -y * gsd_m)
        part = f"{name}-b{int(block[i]) + 1:03d}" if block is not None and several[group] else name
        attributes = {key: sample.attributes[key] for key in kept} | {
            "block": part,
            "group_size": str(int(sizes[group])),
            "y0_px": str(y),
            "x0_px": str(x),
        }
        samples.append(replace(sample, scene=name, place=place, attributes=attributes))
    return PairIndex(tuple(samples), None, index.where)


def grouped_split(index: PairIndex, layout: Layout, overlaps: Overlaps, gsd_m: float, spec: SplitSpec) -> Grouped:
    """Split by blocks with a guard band of `GUARD_PX`.

    Blocks are as small as possible (so that test ground is spread) while no more than 15 % of all patches are dropped;
    where every size drops more, the size that drops least is taken. Overlaps that fit no layout are cut by dropping
    their training patch.

    Args:
        spec: its shares and seed are used.

    Raises:
        BenchError: too few patches or groups, or the guard leaves a part empty, at every size of blocks.
    """
    wanted: dict[str, Any] = {"kind": "grouped", "by": "block", "guard_m": GUARD_PX * gsd_m, "seed": spec.seed}
    if spec.kind in ("random", "grouped") and spec.test_groups is None:
        wanted |= {name: getattr(spec, name) for name in ("train", "validation", "test", "validation_from")}
    best: Grouped | None = None
    problem = ""
    for share in _BLOCK_SHARES:
        laid = placed(index, layout, overlaps.shape, gsd_m, blocks(layout, max(1, int(share * len(index)))))
        try:
            split = _cut_loose(make_split(laid, SplitSpec(**wanted)), laid, overlaps)
        except BenchError as error:
            problem = str(error)
            continue
        if best is None or len(split.dropped) < len(best.split.dropped):
            best = Grouped(laid, split)
        if len(split.dropped) <= _MOST_DROPPED * len(index):
            break
    if best is None:
        raise BenchError(f"no grouped split can be made of {len(index)} patches: {problem}")
    return best


def layout_table(index: PairIndex) -> str:
    """Return a placed index as the CSV that the option `table` of a data set takes."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    extra = [name for name in index.columns if name not in ("id", "scene")]
    writer.writerow(["id", "scene", *PLACE_COLUMNS, *extra])
    for sample in index.samples:
        place = [repr(value) for value in sample.place or ()]
        writer.writerow([sample.id, sample.scene, *place, *(sample.attributes[name] for name in extra)])
    return stream.getvalue()


def _cut_loose(split: Split, index: PairIndex, overlaps: Overlaps) -> Split:
    """Drop what still shares pixels with the test part, then what shares pixels with the validation part."""
    for part in ("test", "validation"):
        others = np.zeros(len(index), dtype=bool)
        others[split.train] = True
        others[split.validation] |= part == "test"
        inside = np.zeros(len(index), dtype=bool)
        inside[getattr(split, part)] = True
        near = np.flatnonzero(others & _next_to(overlaps, inside))
        if len(near):
            split = without(split, index, near)
    return split


def _next_to(overlaps: Overlaps, inside: np.ndarray) -> np.ndarray:
    """Return which patches share pixels with a patch of the mask `inside`."""
    out = np.zeros(len(inside), dtype=bool)
    out[overlaps.a[inside[overlaps.b]]] = True
    out[overlaps.b[inside[overlaps.a]]] = True
    return out
