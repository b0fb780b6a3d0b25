"""Where patches lie, from their overlaps alone: connected groups, positions within each, and blocks of large groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.data.audit.overlaps import Overlaps


@dataclass(frozen=True, eq=False)
class Layout:
    """Positions of n patches.

    Attributes:
        component: int64 (n,), the connected group of each, numbered from 0 by falling size (then by first patch).
        y, x: int64 (n,), top-left pixel within the group, both from 0 on.
        contradictory: bool (e,), overlaps that do not fit the positions (the larger overlaps decided).
    """

    component: np.ndarray
    y: np.ndarray
    x: np.ndarray
    contradictory: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Patches of each group, int64, falling."""
        return np.bincount(self.component)


def lay_out(patches: int, overlaps: Overlaps) -> Layout:
    """Join `patches` patches along their overlaps, the largest first, and check every other overlap against the
    result.
    """
    parent, down, right = list(range(patches)), [0] * patches, [0] * patches
    find = _finder(parent, down, right)
    order = np.argsort(-overlaps.area, kind="stable")
    edges = np.stack([overlaps.a, overlaps.b, overlaps.dy, overlaps.dx], axis=1)[order].tolist()
    for a, b, dy, dx in edges:
        root_a, root_b = find(a), find(b)
        if root_a != root_b:
            parent[root_b] = root_a
            down[root_b], right[root_b] = down[a] + dy - down[b], right[a] + dx - right[b]
    roots = np.array([find(i) for i in range(patches)], dtype=np.int64)
    y, x = np.array(down, dtype=np.int64), np.array(right, dtype=np.int64)
    _, first, member, sizes = np.unique(roots, return_index=True, return_inverse=True, return_counts=True)
    number = np.empty(len(sizes), dtype=np.int64)
    number[np.lexsort([first, -sizes])] = np.arange(len(sizes))
    component = number[member]
    for position in (y, x):
        least = np.full(len(sizes), np.iinfo(np.int64).max)
        np.minimum.at(least, component, position)
        position -= least[component]
    wrong = (y[overlaps.b] - y[overlaps.a] != overlaps.dy) | (x[overlaps.b] - x[overlaps.a] != overlaps.dx)
    return Layout(component, y, x, wrong)


def _finder(parent: list[int], down: list[int], right: list[int]) -> Callable[[int], int]:
    """Return the find of a union-find whose `down` and `right` are offsets to the parent, to the root after a find."""

    def find(i: int) -> int:
        path = []
        while parent[i] != i:
            path.append(i)
            i = parent[i]
        for node in reversed(path[:-1]):  # from the root's side, so that each parent's offset is to the root already
            above = parent[node]
            down[node], right[node] = down[node] + down[above], right[node] + right[above]
            parent[node] = i
        return i

    return find


def neighbours(layout: Layout, shape: tuple[int, int]) -> np.ndarray:
    """Return all pairs whose rectangles intersect within their group, int64 (k, 4) rows a, b, dy, dx with a < b."""
    height, width = shape
    row, column = layout.y // height, layout.x // width
    rows, columns = int(row.max()) + 3, int(column.max()) + 3
    key = (layout.component * rows + row + 1) * columns + column + 1
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    found = []
    for step in (0, 1, columns - 1, columns, columns + 1):  # this cell, and half of those around it
        low, high = (
            np.searchsorted(ordered, key + step, side="left"),
            np.searchsorted(ordered, key + step, side="right"),
        )
        count = high - low
        i = np.repeat(np.arange(len(key)), count)
        j = order[np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)]
        dy, dx = layout.y[j] - layout.y[i], layout.x[j] - layout.x[i]
        keep = (np.abs(dy) < height) & (np.abs(dx) < width) & ((i < j) if step == 0 else True)
        found.append(np.stack([i, j, dy, dx], axis=1)[keep])
    table = np.concatenate(found)
    swap = table[:, 0] > table[:, 1]
    table[swap] = np.stack([table[swap, 1], table[swap, 0], -table[swap, 2], -table[swap, 3]], axis=1)
    return table


def blocks(layout: Layout, most: int) -> np.ndarray:
    """Return a block number of each patch within its group, int64 (n,): groups of more than `most` patches are halved
    along the longer side of their extent, at the median and never through a row or column of equal positions, until no
    block is larger. 0 for whole groups.
    """
    out = np.zeros(len(layout.component), dtype=np.int64)
    for number in np.flatnonzero(layout.sizes > most).tolist():
        waiting, done = [np.flatnonzero(layout.component == number)], 0
        while waiting:
            members = waiting.pop()
            halves = _halved(layout, members) if len(members) > most else None
            if halves is None:
                out[members] = done
                done += 1
            else:
                waiting += halves[::-1]
    return out


def _halved(layout: Layout, members: np.ndarray) -> list[np.ndarray] | None:
    """Return two parts of the members, None where all lie at one place."""
    along = max((layout.y[members], layout.x[members]), key=np.ptp)
    if np.ptp(along) == 0:
        return None
    cut = np.median(along)
    first = along < cut if (along < cut).any() else along <= cut
    return [members[first], members[~first]]
