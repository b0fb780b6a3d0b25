"""From detections in tiles to detections in the scene, each ship once; box overlap and greedy NMS in NumPy.

The rule, in five steps. Inner edges are those where the scene goes on behind the tile; a detection within 2 pixels of
one is *cut*.

1. Core. A tile answers for its core: the tile, shrunk at each inner edge to the middle of what it shares with the
   neighbour there, and widened by `margin_px`. A detection stays if its centre is in the core. (Centres in the padding
   go as well.)
2. Counterpart. A detection gives way only to its counterpart in another tile: the one that matches it best there, among
   those of at least its own score, so that of two ships side by side none goes for the other. The match is measured in
   the area that both tiles see: the IoU of what lies in it. Detections of one tile are never compared: the detector has
   judged them.
3. Join. Counterparts of each other in neighbouring tiles that match by more than `iou` and are cut by edges that face
   each other are the two ends of a ship longer than the overlap: they become their common hull, with the higher score.
4. Contained. A cut detection goes when at least `contained` of its area lies in a larger one: a piece never beats the
   whole, whatever its score.
5. NMS. Of two whose boxes overlap by more than `iou` the one of higher score stays; equal scores: the earlier tile,
   then the earlier detection. Here the counterpart must also be the one whose whole box overlaps most.

Perfect detections (of each ship what the tile shows of its box, all with one score) merge into exactly the ships:
always where no ship is longer than the overlap, and at any length where there is an overlap and boxes of ships do not
meet (what a tile shows of two crossing ships that both leave it may look the same). Axis by axis: if any tile shows a
ship whole, the tile in whose core its centre lies does (were it cut there at the far edge, it would start before the
next tile, which would cut it at the near edge, and so would all others). Its pieces elsewhere go by 4. If no tile shows
it whole, neighbouring pieces cross all of the shared area, agree there exactly, face each other and have their centres
in their cores: they are joined by 3. A very large `margin_px` switches step 1 off, and the same holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.data.windows import Window
from bench.detection.detectors.base import Detections
from bench.detection.spec import Merging

EDGE_PX = 2.0
_BLOCK = 256
_PAIRS_AT_ONCE = 2_000_000
_SAME = 1e-9  # IoU values that differ by less are equal: moving boxes between frames rounds


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU of every box of `a` (n, 4) with every box of `b` (m, 4): (n, m) float64; 0 where both have no
    area.
    """
    x = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    y = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    both = np.clip(x, 0.0, None) * np.clip(y, 0.0, None)
    either = _area(a)[:, None] + _area(b)[None] - both
    out: np.ndarray = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return out


def nms(boxes: np.ndarray, scores: np.ndarray, iou: float) -> np.ndarray:
    """Return the positions that greedy non-maximum suppression keeps, highest score first.

    A box goes when a kept one of higher score overlaps it by more than `iou`. Of equal scores the lower position
    stays.

    Args:
        boxes: (n, 4). scores: (n,).

    Returns:
        (k,) int64. Memory grows with n, not with its square.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[np.ndarray] = []
    while order.size:
        head, order = order[:_BLOCK], order[_BLOCK:]
        close = iou_matrix(boxes[head], boxes[head]) > iou
        alive = np.ones(len(head), dtype=bool)
        for i in range(len(head)):
            if alive[i]:
                alive[i + 1 :] &= ~close[i, i + 1 :]
        kept.append(head[alive])
        gone = [(iou_matrix(boxes[part], boxes[kept[-1]]) > iou).any(axis=1) for part in _parts(order, 16 * _BLOCK)]
        order = order[~np.concatenate(gone)] if gone else order
    return np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64)


def merge_tiles(
    windows: Sequence[Window], per_tile: Sequence[Detections], height: int, width: int, merging: Merging
) -> Detections:
    """Merge what was found in tiles into detections of the scene, by the rule that this module states.

    Args:
        windows: the tiles (`tiling.tile_grid`). per_tile: what was found in each, in the tile's frame.
        height, width: of the scene in pixels; boxes are cut at its borders.

    Returns:
        the detections in the scene's frame, highest score first.
    """
    found = _gather(windows, per_tile, height, width)
    if not len(found.scores):
        return Detections.none()
    kept = _in_core(found, merging.margin_px)
    pairs = _counterparts(found, kept, merging.iou)
    found, kept, pairs = _join(found, kept, pairs, merging.iou)
    kept = _drop_contained(found, kept, pairs, merging.contained)
    kept = _suppress(found, kept, pairs, merging.iou)
    order = np.flatnonzero(kept)
    order = order[np.argsort(-found.scores[order], kind="stable")]
    return Detections(found.boxes[order], found.scores[order])


@dataclass(frozen=True, eq=False)
class _Found:
    """All detections of a scene, highest score first; equal scores in the order of tiles. A smaller position wins a
    tie.

    Attributes:
        boxes, scores: (n, 4) in the scene's frame, (n,).
        tile: (n,) which tile each comes from.
        cut: (n, 4) bool, whether the left, top, right and bottom side is at an inner edge of its tile.
        windows: (t, 4) float64 the tiles as x1, y1, x2, y2.
    """

    boxes: np.ndarray
    scores: np.ndarray
    tile: np.ndarray
    cut: np.ndarray
    windows: np.ndarray


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Directed pairs: `loser` (p,) may give way to `winner` (p,), of another tile.

    Attributes:
        match: (p,) their IoU in the area that both tiles see; no rival of `winner` in its tile matches better.
        most: (p,) bool, whether no rival's whole box overlaps more either.
    """

    loser: np.ndarray
    winner: np.ndarray
    match: np.ndarray
    most: np.ndarray

    def take(self, which: np.ndarray) -> _Pairs:
        return _Pairs(self.loser[which], self.winner[which], self.match[which], self.most[which])


def _gather(windows: Sequence[Window], per_tile: Sequence[Detections], height: int, width: int) -> _Found:
    tiles = np.array([(x0, y0, x0 + w, y0 + h) for y0, x0, h, w in windows], dtype=np.float64).reshape(-1, 4)
    tile = np.repeat(np.arange(len(tiles)), [len(found) for found in per_tile])
    boxes = np.concatenate([np.zeros((0, 4)), *(found.boxes for found in per_tile)]).astype(np.float64)
    boxes += tiles[tile][:, [0, 1, 0, 1]]
    scores = np.concatenate([np.zeros(0), *(found.scores for found in per_tile)]).astype(np.float64)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    boxes = np.clip(boxes, 0.0, [width, height, width, height])
    inside = (
        (centre >= 0).all(axis=1) & (centre < [width, height]).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    )
    order = np.flatnonzero(inside)
    order = order[np.argsort(-scores[order], kind="stable")]
    boxes, tile = boxes[order], tile[order]
    inner = np.concatenate([tiles[:, :2] > 0, tiles[:, 2:] < [width, height]], axis=1)
    gap = np.concatenate([boxes[:, :2] - tiles[tile, :2], tiles[tile, 2:] - boxes[:, 2:]], axis=1)
    return _Found(boxes, scores[order], tile, inner[tile] & (gap <= EDGE_PX), tiles)


def _in_core(found: _Found, margin_px: float) -> np.ndarray:
    centre = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    kept = np.ones(len(centre), dtype=bool)
    for axis in (0, 1):
        low, high = _core(found.windows[:, axis], found.windows[:, axis + 2])
        kept &= (centre[:, axis] >= low[found.tile] - margin_px) & (centre[:, axis] < high[found.tile] + margin_px)
    return kept


def _core(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each tile's core begins and ends on one axis; the outermost tiles' are open."""
    first, where, row = np.unique(starts, return_index=True, return_inverse=True)
    middle = (first[1:] + ends[where][:-1]) / 2
    low, high = np.concatenate([[-np.inf], middle]), np.concatenate([middle, [np.inf]])
    return low[row], high[row]


def _counterparts(found: _Found, kept: np.ndarray, iou: float) -> _Pairs:
    """Return every kept detection with its counterparts that are kept (step 2); several where they match equally."""
    first, second, match, overlap = (
        np.concatenate(parts) for parts in zip(*_comparable(found, kept, iou), strict=True)
    )
    loser, winner = np.concatenate([first, second]), np.concatenate([second, first])
    match, overlap = np.tile(match, 2), np.tile(overlap, 2)
    mine = kept[loser]
    loser, winner, match, overlap = loser[mine], winner[mine], match[mine], overlap[mine]
    _, group = np.unique(loser.astype(np.int64) * len(found.windows) + found.tile[winner], return_inverse=True)
    as_sure = found.scores[winner] >= found.scores[loser]
    pairs = _Pairs(loser, winner, match, _best(overlap, group, as_sure))
    return pairs.take(kept[winner] & _best(match, group, as_sure))


def _best(value: np.ndarray, group: np.ndarray, rivals: np.ndarray) -> np.ndarray:
    """Return where `value` (p,) is not below that of any of the `rivals` (mask) of the same group: (p,) bool."""
    best = np.zeros(int(group.max(initial=-1)) + 1)
    np.maximum.at(best, group[rivals], value[rivals])
    not_below: np.ndarray = value >= best[group] - _SAME
    return not_below


def _comparable(
    found: _Found, kept: np.ndarray, iou: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (first, second, match, IoU) of pairs of different tiles that later steps may need, one of them kept at
    least, each once.

    Those are pairs that match or overlap by more than `iou` and pairs with a cut detection.
    """
    is_cut: Any = found.cut.any(axis=1)
    for first, second in _overlapping(found.boxes):
        apart = (found.tile[first] != found.tile[second]) & (kept[first] | kept[second])
        first, second = first[apart], second[apart]
        boxes, others = found.boxes[first], found.boxes[second]
        one, two = found.windows[found.tile[first]], found.windows[found.tile[second]]
        low, high = np.tile(np.maximum(one[:, :2], two[:, :2]), 2), np.tile(np.minimum(one[:, 2:], two[:, 2:]), 2)
        match = _overlap(np.clip(boxes, low, high), np.clip(others, low, high))[0]
        overlap = _overlap(boxes, others)[0]
        needed = (np.maximum(match, overlap) > iou) | is_cut[first] | is_cut[second]
        yield first[needed].astype(np.int32), second[needed].astype(np.int32), match[needed], overlap[needed]


def _overlapping(boxes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all pairs of positions whose boxes share area, each once, in portions of bounded size."""
    order = np.argsort(boxes[:, 0], kind="stable")
    left, top, right, bottom = boxes[order].T
    # those that begin, on x, before this one ends
    count = np.searchsorted(left, right, side="left") - np.arange(1, len(order) + 1)
    total = np.cumsum(count)
    start = 0
    while start < len(order):
        before = total[start] - count[start]
        stop = max(start + 1, int(np.searchsorted(total, before + _PAIRS_AT_ONCE, side="right")))
        part = count[start:stop]
        first = np.repeat(np.arange(start, stop), part)
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(part) - part, part)
        meet = (top[first] < bottom[second]) & (top[second] < bottom[first])
        yield order[first[meet]], order[second[meet]]
        start = stop


def _join(found: _Found, kept: np.ndarray, pairs: _Pairs, iou: float) -> tuple[_Found, np.ndarray, _Pairs]:
    """Put the ends of long ships together (step 3): the one of highest score becomes the hull, the others go, and pairs
    refer to the hull.
    """
    count, ends = len(found.scores), pairs.take(pairs.match > iou)
    forth, back = ends.loser.astype(np.int64) * count + ends.winner, ends.winner.astype(np.int64) * count + ends.loser
    ends = ends.take(np.isin(forth, back) & _facing(found, ends))
    if not len(ends.loser):
        return found, kept, pairs
    joined = _roots(count, ends)
    boxes, cut, kept = found.boxes.copy(), found.cut.copy(), kept & (joined == np.arange(count))
    members = np.unique(np.concatenate([ends.loser, ends.winner]))
    for root in np.unique(joined[members]):
        mine = members[joined[members] == root]
        outermost = [*mine[found.boxes[mine, :2].argmin(axis=0)], *mine[found.boxes[mine, 2:].argmax(axis=0)]]
        boxes[root], cut[root] = found.boxes[outermost, range(4)], found.cut[outermost, range(4)]
    pairs = replace(pairs, loser=joined[pairs.loser], winner=joined[pairs.winner])
    return replace(found, boxes=boxes, cut=cut), kept, pairs.take(pairs.loser != pairs.winner)


def _facing(found: _Found, pairs: _Pairs) -> np.ndarray:
    """Return for which pairs (p,) of neighbouring tiles the edges that face each other cut both: right and left, or
    bottom and top.
    """
    one, two = found.windows[found.tile[pairs.loser]], found.windows[found.tile[pairs.winner]]
    cut_one, cut_two = found.cut[pairs.loser], found.cut[pairs.winner]
    facing = np.zeros(len(pairs.loser), dtype=bool)
    for axis in (0, 1):
        facing |= (one[:, axis] < two[:, axis]) & cut_one[:, axis + 2] & cut_two[:, axis]
        facing |= (two[:, axis] < one[:, axis]) & cut_two[:, axis + 2] & cut_one[:, axis]
    for axis in (0, 1):
        line = np.unique(found.windows[:, axis], return_inverse=True)[1]
        facing &= np.abs(line[found.tile[pairs.loser]] - line[found.tile[pairs.winner]]) <= 1
    return facing


def _roots(count: int, pairs: _Pairs) -> np.ndarray:
    """Return, for each of `count` positions, the smallest one that a chain of pairs connects it with: (count,)
    int64.
    """
    root = np.arange(count)
    while True:
        lower = np.minimum(root[pairs.loser], root[pairs.winner])
        new = root.copy()
        np.minimum.at(new, pairs.loser, lower)
        np.minimum.at(new, pairs.winner, lower)
        if np.array_equal(new, root):
            return root
        root = new


def _drop_contained(found: _Found, kept: np.ndarray, pairs: _Pairs, contained: float) -> np.ndarray:
    """Return which detections stay once pieces have given way to what contains them (step 4), the largest judged
    first.
    """
    area = _area(found.boxes)
    share = _overlap(found.boxes[pairs.loser], found.boxes[pairs.winner])[1]
    rank = np.empty(len(area), dtype=np.int64)
    rank[np.argsort(-area, kind="stable")] = np.arange(len(area))
    gives_way = found.cut[pairs.loser].any(axis=1) & (rank[pairs.winner] < rank[pairs.loser]) & (share >= contained)
    return _greedy(kept, pairs.take(gives_way), rank)


def _suppress(found: _Found, kept: np.ndarray, pairs: _Pairs, iou: float) -> np.ndarray:
    """Return which detections stay after greedy NMS between tiles (step 5)."""
    overlap = _overlap(found.boxes[pairs.loser], found.boxes[pairs.winner])[0]
    close = pairs.most & (pairs.winner < pairs.loser) & (overlap > iou)
    return _greedy(kept, pairs.take(close), np.arange(len(kept)))


def _greedy(kept: np.ndarray, pairs: _Pairs, rank: np.ndarray) -> np.ndarray:
    """Return `kept` without every loser one of whose winners is still kept; a winner's rank is below its loser's."""
    order = np.argsort(rank[pairs.loser], kind="stable")
    losers, starts = np.unique(rank[pairs.loser[order]], return_index=True)
    kept, by_rank = kept.copy(), np.argsort(rank)
    for loser, winners in zip(losers, np.split(pairs.winner[order], starts[1:]), strict=False):
        if kept[winners].any():
            kept[by_rank[loser]] = False
    return kept


def _overlap(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, box by box, the IoU of `a` and `b` (n, 4) and which share of `a` lies in `b`: two (n,) float64."""
    sides = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0.0, None)
    both, area = sides[:, 0] * sides[:, 1], _area(a)
    either = area + _area(b) - both
    zeros = np.zeros_like(both)
    return np.divide(both, either, out=zeros.copy(), where=either > 0), np.divide(both, area, out=zeros, where=area > 0)


def _area(boxes: np.ndarray) -> np.ndarray:
    area: np.ndarray = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def _parts(order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
