"""Which detections found a ship: matching of detections to truth over many scenes at once, and the APs that follow.
NumPy only.

Boxes are x1, y1, x2, y2 in pixels, continuous, no +1. "Scene" below is whatever holds boxes of its own: a scene, or a
tile. There is no cap on the detections of a scene.

Two rules, one code path. The detections of a scene choose in the order of their scores, equal scores in the order they
came in; over scenes, equal scores rank in the order of the scenes. (pycocotools does the same with scenes in the order
of their ids.) Each takes a truth that overlaps it by the threshold or more, and a truth is taken once:

    "coco"  the truth of highest IoU among those still free (the later one of equals). Truth outside the size range,
            and ignored truth, is only taken where no truth that counts is left; ignored truth takes any number, by the
            share of the detection that lies in it (COCO's crowd). A detection that took such truth is ignored, and so
            is one that took none and is outside the size range. This is pycocotools' definition, sizes by the area of
            the box, bounds included on both sides.
    "voc"   the truth of highest IoU (the first of equals), free or not: where it is taken already, the detection is a
            false positive. Ignored ("difficult") truth takes any number, by IoU, and its detections are ignored. This
            is the VOC devkit's definition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from bench.core.errors import BenchError
from bench.detection.detectors.base import Detections
from bench.detection.scoring.average_precision import Curve, Interpolation, find_hits, interpolated_ap, precision_recall

Rule = Literal["coco", "voc"]

IOUS = tuple(float(value) for value in np.linspace(0.5, 0.95, 10))  # COCO's, in its floating-point values
SIZES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"all": (0.0, np.inf), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
)
_BLOCK_PAIRS = 1 << 20  # detection-truth pairs looked at together: bounds the memory, some 100 MB
_NOBODY = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class BoxTable:
    """Truth and detections of many scenes as flat arrays; those of scene s stand at `offset[s]:offset[s + 1]`.

    Attributes:
        truth_offset: (s + 1,) int64. truth_box: (k, 4) float64. truth_ignore: (k,) bool.
        offset: (s + 1,) int64. box: (n, 4) float64. score: (n,) float64, finite, higher is more confident.
    """

    truth_offset: np.ndarray
    truth_box: np.ndarray
    truth_ignore: np.ndarray
    offset: np.ndarray
    box: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.offset) - 1

    @staticmethod
    def of(truth: Sequence[tuple[np.ndarray, np.ndarray]], found: Sequence[Detections]) -> BoxTable:
        """Return the table of scenes given one by one: (boxes (k, 4), ignore (k,)) and detections of each.

        Raises:
            BenchError: two numbers of scenes, or arrays that do not fit.
        """
        if len(truth) != len(found):
            raise BenchError(
                f"truth of {len(truth)} scenes and detections of {len(found)}; they must be the same scenes"
            )
        box = np.concatenate(
            [np.zeros((0, 4)), *(np.asarray(boxes, dtype=np.float64).reshape(-1, 4) for boxes, _ in truth)]
        )
        ignore = np.concatenate([np.zeros(0, dtype=bool), *(np.asarray(flags, dtype=bool) for _, flags in truth)])
        boxes = np.concatenate(
            [np.zeros((0, 4)), *(np.asarray(each.boxes, dtype=np.float64).reshape(-1, 4) for each in found)]
        )
        score = np.concatenate([np.zeros(0), *(np.asarray(each.scores, dtype=np.float64) for each in found)])
        table = BoxTable(
            _offsets([len(flags) for _, flags in truth]),
            box,
            ignore,
            _offsets([len(each) for each in found]),
            boxes,
            score,
        )
        table.check("the evaluator")
        return table

    def check(self, where: str) -> None:
        """Raise BenchError, with `where` in front, unless offsets, shapes and values fit: finite, x1 < x2, y1 < y2."""
        for name, offset, rows in (
            ("truth_offset", self.truth_offset, len(self.truth_box)),
            ("offset", self.offset, len(self.box)),
        ):
            if len(offset) == 0 or offset[0] != 0 or offset[-1] != rows or (np.diff(offset) < 0).any():
                raise BenchError(f"{where}: array {name} does not rise from 0 to {rows}, the number of its boxes")
        if len(self.truth_offset) != len(self.offset):
            raise BenchError(f"{where}: truth of {len(self.truth_offset) - 1} scenes but detections of {len(self)}")
        for name, boxes, values in (("truth", self.truth_box, self.truth_ignore), ("detections", self.box, self.score)):
            if boxes.shape != (len(values), 4):
                raise BenchError(f"{where}: {name} has boxes of shape {boxes.shape} and {len(values)} flags or scores")
            if not (np.isfinite(boxes).all() and np.isfinite(values).all()):
                raise BenchError(f"{where}: {name} has a box or a score that is NaN or infinite")
            if (boxes[:, 2:] <= boxes[:, :2]).any():
                raise BenchError(
                    f"{where}: {name} has a box without area; boxes are x1, y1, x2, y2 with x1 < x2 and y1 < y2"
                )

    def truth_of(self, scene: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (boxes (k, 4), ignore (k,)) of one scene."""
        rows = slice(int(self.truth_offset[scene]), int(self.truth_offset[scene + 1]))
        return self.truth_box[rows], self.truth_ignore[rows]


@dataclass(frozen=True, eq=False)
class Matches:
    """The outcome for every detection, ranked by score over all scenes: all that any AP, curve or resampling of scenes
    needs.

    Attributes:
        rule, ious, sizes: as requested; T thresholds, A size ranges.
        scene: (n,) int64, whose detection it is. score: (n,) float64, never rising. position: (n,) int64 in the table.
        tp, ignored: (A, T, n) bool; a detection that is neither is a false positive.
        truth: (T, n) int64, row of the truth that it took in the first size range, -1 for none.
        positives: (A, S) int64 ships that count, in each scene.
    """

    rule: Rule
    ious: tuple[float, ...]
    sizes: tuple[str, ...]
    scene: np.ndarray
    score: np.ndarray
    position: np.ndarray
    tp: np.ndarray
    ignored: np.ndarray
    truth: np.ndarray
    positives: np.ndarray

    def of(self, scenes: np.ndarray) -> Matches:
        """Return the matches of some scenes, (S,) bool: the others keep their numbers and hold nothing."""
        if scenes.all():
            return self
        keep = scenes[self.scene]
        return replace(
            self,
            scene=self.scene[keep],
            score=self.score[keep],
            position=self.position[keep],
            tp=self.tp[:, :, keep],
            ignored=self.ignored[:, :, keep],
            truth=self.truth[:, keep],
            positives=self.positives * scenes,
        )


@dataclass(frozen=True, eq=False)
class Pairs:
    """Detections (by rank) and truths (by row) of one scene that overlap by `floor` or more; all (p,) but `order`.

    Attributes:
        order: (n,) int64, the detections of the table by rank. iou; cover: the share of the detection that lies in the
            truth.
    """

    floor: float
    order: np.ndarray
    found: np.ndarray
    truth: np.ndarray
    iou: np.ndarray
    cover: np.ndarray


def match(
    table: BoxTable,
    rule: Rule,
    ious: Sequence[float] = IOUS,
    sizes: Sequence[str] = ("all",),
    pairs: Pairs | None = None,
) -> Matches:
    """Match detections to truth by a rule at every IoU threshold and size range.

    Args:
        sizes: names out of SIZES; "voc" takes "all" only.
        pairs: what `overlapping` returned for this table, where it is known already.

    Raises:
        BenchError: unknown rule, or sizes that the rule does not know.
    """
    if rule not in ("coco", "voc") or rule == "voc" and tuple(sizes) != ("all",):
        raise BenchError(
            f"no rule {rule!r} for sizes {list(sizes)}; known: coco with any of {', '.join(SIZES)}; voc with all"
        )
    pairs = overlapping(table, min(ious)) if pairs is None else pairs
    if pairs.floor > min(ious):
        raise BenchError(f"the pairs begin at IoU {pairs.floor}; matching at {min(ious)} needs smaller ones")
    scene = np.repeat(np.arange(len(table)), np.diff(table.offset))
    truth_scene = np.repeat(np.arange(len(table)), np.diff(table.truth_offset))
    found, truth, value = _preferences(table, pairs, rule)
    area, truth_area = _area(table.box)[pairs.order], _area(table.truth_box)
    n, shape = len(area), (len(sizes), len(ious), len(area))
    tp, ignored = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    taken = np.full((len(ious), n), -1, dtype=np.int64)
    positives = np.zeros((len(sizes), len(table)), dtype=np.int64)
    for a, size in enumerate(sizes):
        low, high = SIZES[size]
        counts = ~table.truth_ignore & (truth_area >= low) & (truth_area <= high)
        positives[a] = np.bincount(truth_scene[counts], minlength=len(table))
        # truth that counts comes first in each detection's list
        by = np.argsort(2 * found + ~counts[truth], kind="stable")
        outside = (area < low) | (area > high)
        for t, iou in enumerate(ious):
            keep = by[value[by] >= (min(iou, 1 - 1e-10) if rule == "coco" else iou)]
            got = keep[_take_turns(found[keep], truth[keep], table.truth_ignore[truth[keep]], len(truth_area))]
            tp[a, t, found[got]] = counts[truth[got]]
            ignored[a, t] = outside
            ignored[a, t, found[got]] = ~counts[truth[got]]
            if a == 0:
                taken[t, found[got]] = truth[got]
    return Matches(
        rule,
        tuple(ious),
        tuple(sizes),
        scene[pairs.order],
        table.score[pairs.order],
        pairs.order,
        tp,
        ignored,
        taken,
        positives,
    )


def overlapping(table: BoxTable, floor: float) -> Pairs:
    """Return every detection and truth of one scene whose IoU is at least `floor`, or `cover` where the truth is
    ignored.
    """
    order = np.argsort(-table.score, kind="stable")
    scene = np.repeat(np.arange(len(table)), np.diff(table.offset))[order]
    many = np.diff(table.truth_offset)[scene]  # truths to compare each detection with
    first, ends = table.truth_offset[scene], np.cumsum(many)
    box, truth_box = np.ascontiguousarray(table.box[order].T), np.ascontiguousarray(table.truth_box.T)
    area, truth_area = _area(table.box)[order], _area(table.truth_box)
    parts: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
    start = 0
    while start < len(order):
        before = ends[start] - many[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK_PAIRS, side="right")))
        d = np.repeat(np.arange(start, stop), many[start:stop])
        t = np.arange(len(d)) + np.repeat(first[start:stop] - (ends - many)[start:stop] + before, many[start:stop])
        width = np.minimum(box[2][d], truth_box[2][t]) - np.maximum(box[0][d], truth_box[0][t])
        d, t, width = _where(width > 0, d, t, width)
        height = np.minimum(box[3][d], truth_box[3][t]) - np.maximum(box[1][d], truth_box[1][t])
        d, t, width, height = _where(height > 0, d, t, width, height)
        shared = width * height
        iou, cover = shared / (area[d] + truth_area[t] - shared), shared / area[d]
        parts.append(
            _where(
                np.where(table.truth_ignore[t], np.maximum(iou, cover), iou) >= min(floor, 1 - 1e-10), d, t, iou, cover
            )
        )
        start = stop
    return Pairs(floor, order, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def _preferences(table: BoxTable, pairs: Pairs, rule: Rule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (detection, truth, overlap) of the pairs that the rule admits: detections by rank, the truth each likes
    best first.
    """
    if rule == "voc":
        order = np.lexsort((pairs.truth, -pairs.iou, pairs.found))
        order = order[np.diff(pairs.found[order], prepend=-1) > 0]  # the best truth of each detection, and no other
        return pairs.found[order], pairs.truth[order], pairs.iou[order]
    value = np.where(table.truth_ignore[pairs.truth], pairs.cover, pairs.iou)
    order = np.lexsort((-pairs.truth, -value, pairs.found))
    return pairs.found[order], pairs.truth[order], value[order]


def _take_turns(found: np.ndarray, truth: np.ndarray, shared: np.ndarray, truths: int) -> np.ndarray:
    """Let detections choose a truth in turn; return the positions of the pairs that come about.

    The same outcome as one detection after the other, but in a few rounds for all at once: each asks for the truth it
    likes best, a truth keeps the earliest asker, and whoever is turned down asks for its next. (Gale and Shapley 1962;
    as all truths prefer the earlier detection, there is one stable outcome.)

    Args:
        found, truth: (p,) pairs, sorted by the detection's turn and then by its preference. shared: (p,) truth that
            takes any number.
    """
    starts = np.flatnonzero(np.diff(found, prepend=-1) > 0)
    stops, at = np.append(starts[1:], len(found)), starts.copy()
    keeper = np.full(truths, _NOBODY)
    asking = np.arange(len(starts))
    while len(asking):
        asking = asking[~shared[at[asking]]]
        wanted = truth[at[asking]]
        before = keeper[wanted]
        np.minimum.at(keeper, wanted, asking)
        after = keeper[wanted]
        lost = np.unique(np.concatenate([asking[after != asking], before[(before != _NOBODY) & (before != after)]]))
        at[lost] += 1
        asking = lost[at[lost] < stops[lost]]
    return at[at < stops]


# -- from matches to numbers -------------------------------------------------------------------------------------------
def ap_from_matches(
    matches: Matches,
    interpolation: Interpolation,
    iou: float = 0.5,
    size: str = "all",
    weights: np.ndarray | None = None,
) -> float | None:
    """Return one AP over all scenes, without matching again; None where nothing was to be found.

    Args:
        weights: (S,) int, how often each scene counts: 0 and 1 choose scenes, a bootstrap draws multiplicities. The
            number is that of a set in which the scene stands so often (where a copy's equal scores rank next to each
            other).

    Raises:
        BenchError: the matches hold no such IoU or size.
    """
    a, t, weight, positives = _chosen(matches, iou, size, weights)
    return interpolated_ap(find_hits(matches.tp[a, t], positives, matches.ignored[a, t], weight), interpolation)


def mean_ap_from_matches(matches: Matches, size: str = "all", weights: np.ndarray | None = None) -> float | None:
    """Return COCO's AP: the mean of the 101-point APs over all IoU thresholds of the matches; None where nothing was to
    be found.
    """
    values = [ap_from_matches(matches, "101-point", iou, size, weights) for iou in matches.ious]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def curve_from_matches(
    matches: Matches, iou: float = 0.5, size: str = "all", weights: np.ndarray | None = None
) -> Curve:
    """Return the precision-recall curve over all scenes; `weights` as for `ap_from_matches`."""
    a, t, weight, positives = _chosen(matches, iou, size, weights)
    return precision_recall(matches.tp[a, t], matches.score, positives, matches.ignored[a, t], weight)


def _chosen(
    matches: Matches, iou: float, size: str, weights: np.ndarray | None
) -> tuple[int, int, np.ndarray | None, int]:
    """Return (size, threshold) positions, each detection's weight and the weighted number of ships."""
    near = np.flatnonzero(np.abs(np.array(matches.ious) - iou) < 1e-9)
    if size not in matches.sizes or not len(near):
        raise BenchError(
            f"no matches at IoU {iou} for size {size!r}; there are {list(matches.ious)} and {list(matches.sizes)}"
        )
    a = matches.sizes.index(size)
    if weights is None:
        return a, int(near[0]), None, int(matches.positives[a].sum())
    weights = np.asarray(weights).astype(np.int64)
    return a, int(near[0]), weights[matches.scene], int(matches.positives[a] @ weights)


def _offsets(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))]).astype(np.int64)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _where(mask: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(array[mask] for array in arrays)
