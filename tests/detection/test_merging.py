"""Merging: each ship once and whole, from perfect detections of any tiling; the steps of the rule one by one; NMS; a
crowded scene.
"""

from __future__ import annotations

import csv
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.windows import Window
from bench.detection.detectors.base import Detections
from bench.detection.spec import Merging, Tiles
from bench.detection.tiles import merging
from bench.detection.tiles.merging import iou_matrix, merge_tiles, nms
from bench.detection.tiles.tiling import boxes_in, tile_grid, visible_share

RULE = Merging()
LABELS = "air_sarship_1_labels/boxes.csv"


def shown(window: Window, ships: np.ndarray, least: float = 0.0) -> Detections:
    """What a perfect detector finds in a tile: the visible part of each ship that shows at least the share `least` of
    itself.
    """
    y0, x0, height, width = window
    part = np.clip(ships, [x0, y0, x0, y0], [x0 + width, y0 + height] * 2) - [x0, y0, x0, y0]
    there = (part[:, 2:] > part[:, :2]).all(axis=1) & (visible_share(window, ships) >= least)
    return Detections(part[there], np.ones(int(there.sum())))


def merged(
    ships: np.ndarray, height: int, width: int, tiles: Tiles, least: float = 0.0, rule: Merging = RULE
) -> np.ndarray:
    windows = tile_grid(height, width, tiles)
    return merge_tiles(windows, [shown(window, ships, least) for window in windows], height, width, rule).boxes


def in_order(boxes: np.ndarray) -> np.ndarray:
    rounded = np.round(boxes, 6)
    return rounded[np.lexsort(rounded.T)]


def assert_same(found: np.ndarray, ships: np.ndarray) -> None:
    assert len(found) == len(ships)
    assert np.allclose(in_order(found), in_order(ships), rtol=0, atol=1e-6)


def merge_two(
    first: list[list[float]], second: list[list[float]], scores: tuple[list[float], list[float]], rule: Merging = RULE
) -> list:
    """Merge detections, given in the scene's frame, of the two tiles x 0..100 and x 60..160 of a scene of 100 x 160."""
    windows = [(0, 0, 100, 100), (0, 60, 100, 100)]
    found = [
        Detections(np.array(boxes, dtype=np.float64).reshape(-1, 4) - [x0, 0, x0, 0], np.array(score))
        for boxes, x0, score in zip((first, second), (0, 60), scores, strict=True)
    ]
    return merge_tiles(windows, found, 100, 160, rule).boxes.tolist()


@st.composite
def scenes(draw: st.DrawFn, long: bool) -> tuple[np.ndarray, int, int, Tiles]:
    """Ships in a scene: none longer than the overlap; or of any length, on pieces of a grid of their own so that they
    do not meet.
    """
    size = draw(st.integers(32, 100))
    overlap = draw(st.integers(1, size - 16))
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if long:
        rows, columns = int(rng.integers(1, 6)), int(rng.integers(1, 6))
        cell = np.array([width / columns, height / rows])
        corner = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2) * cell
        low = corner + rng.random(corner.shape) * cell * 0.5
        high = low + (corner + cell - low) * (0.05 + 0.95 * rng.random(corner.shape))
    else:
        side = np.minimum(rng.random((12, 2)) * overlap, [width, height])
        low = rng.random((12, 2)) * ([width, height] - side)
        high = np.minimum(low + side, [width, height])
    ships = np.concatenate([low, high], axis=1)
    return ships[(high - low).min(axis=1) > 0.01], height, width, Tiles(size_px=size, overlap_px=overlap)


@settings(deadline=None)
@given(scenes(long=False), st.sampled_from([0.0, 8.0, 1e6]))
def test_ships_up_to_the_overlap_come_back_exactly(scene: tuple[np.ndarray, int, int, Tiles], margin_px: float) -> None:
    """Also where they cross each other, and whatever the margin."""
    ships, height, width, tiles = scene
    assert_same(merged(ships, height, width, tiles, rule=Merging(margin_px=margin_px)), ships)


@settings(deadline=None)
@given(scenes(long=True))
def test_separate_ships_of_any_length_come_back_exactly(scene: tuple[np.ndarray, int, int, Tiles]) -> None:
    ships, height, width, tiles = scene
    assert_same(merged(ships, height, width, tiles), ships)


@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="set BENCH_DATA to the folder of the real data")
@pytest.mark.parametrize(
    ("size", "overlap", "least"),
    [
        (512, 200, 0.0),
        (512, 200, 0.5),
        (512, 300, 0.0),
        (512, 300, 0.5),
        (800, 200, 0.5),
        (1000, 100, 0.0),
        (512, 64, 0.0),
        (128, 32, 0.0),
    ],
)
def test_real_labels_merge_into_exactly_461_ships(size: int, overlap: int, least: float) -> None:
    """AIR-SARShip-1.0, scene 13 beyond 3,600 px and the ship of 277 px included; every box of the truth is found
    exactly: AP 1.0.

    Found in a tile are all ships that show the share `least` of themselves: everything, or what `min_visible` keeps.
    (With the latter, a ship more than twice as long as the overlap may be seen by one tile alone, so the small overlaps
    are for the former.)
    """
    ships: dict[str, list[list[float]]] = {}
    with (Path(os.environ["BENCH_DATA"]) / LABELS).open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            ships.setdefault(row["scene"], []).append([float(row[side]) for side in ("x1", "y1", "x2", "y2")])
    total, longest = 0, 0.0
    for scene, boxes in ships.items():
        truth, side = np.array(boxes), 4140 if scene == "13" else 3000
        found = merged(truth, side, side, Tiles(size_px=size, overlap_px=overlap), least)
        assert_same(found, truth)
        total, longest = total + len(found), max(longest, float((found[:, 2:] - found[:, :2]).max()))
    assert (len(ships), total, longest) == (31, 461, 277.0)


def test_cut_pieces_below_min_visible_are_not_needed() -> None:
    ships = np.array([[150.0, 20, 210, 60], [190, 100, 230, 160], [30, 196, 90, 236]])
    tiles = Tiles(size_px=100, overlap_px=60)
    for window in tile_grid(300, 300, tiles):
        assert len(boxes_in(window, ships, np.zeros(3, bool), 0.5)[0]) >= len(shown(window, ships, 0.5))
    assert_same(merged(ships, 300, 300, tiles, 0.5), ships)


def test_core_decides_who_answers() -> None:
    box, beyond = [[70.0, 10, 74, 20]], [[86.0, 10, 90, 20]]  # the middle of the overlap 60..100 is 80
    assert merge_two(box, [], ([0.5], [])) == box
    assert merge_two([], box, ([], [0.5])) == box  # centre 72: in the margin of 8
    assert merge_two([], box, ([], [0.5]), Merging(margin_px=0)) == []
    assert merge_two(beyond, [], ([0.5], []), Merging(margin_px=0)) == []
    assert merge_two([], beyond, ([], [0.5]), Merging(margin_px=0)) == beyond


def test_the_last_tile_is_moved_inwards_and_its_core_begins_later() -> None:
    tiles = Tiles(size_px=100, overlap_px=20)
    windows = tile_grid(50, 190, tiles)
    assert [window[1] for window in windows] == [0, 80, 90]  # 80..180 and 90..190 share 90 px, with the middle at 135
    ship = np.array([[125.0, 10, 134, 20]])
    found = [Detections(np.zeros((0, 4)), np.zeros(0))] * 2
    last = Detections(ship - [90, 0, 90, 0], np.ones(1))
    assert len(merge_tiles(windows, [*found, last], 50, 190, Merging(margin_px=0))) == 0
    assert len(merge_tiles(windows, [*found, last], 50, 190, Merging(margin_px=6))) == 1


def test_padding_is_outside_and_boxes_end_with_the_scene() -> None:
    windows = tile_grid(40, 50, Tiles(size_px=64, overlap_px=10))
    found = Detections(
        np.array([[45.0, 5, 54, 12], [48, 20, 60, 30], [-3, -2, 9, 8], [20, 39.5, 30, 64]]),
        np.array([0.9, 0.8, 0.7, 0.6]),
    )
    out = merge_tiles(windows, [found], 40, 50, RULE)
    assert out.boxes.tolist() == [[45, 5, 50, 12], [0, 0, 9, 8]] and out.scores.tolist() == [0.9, 0.7]


def test_the_surer_of_two_stays_and_ties_go_to_the_earlier_tile() -> None:
    one, two = [[74.0, 10, 84, 20]], [[75.0, 10, 85, 20]]
    assert merge_two(one, two, ([0.5], [0.6])) == two
    assert merge_two(one, two, ([0.6], [0.5])) == one
    assert merge_two(one, two, ([0.5], [0.5])) == one
    assert merge_two(one, [[81.0, 10, 91, 20]], ([0.5], [0.6])) == [[81, 10, 91, 20], [74, 10, 84, 20]]  # IoU 3 / 17


def test_detections_of_one_tile_are_never_compared() -> None:
    twins = [[10.0, 10, 20, 20], [11.0, 10, 21, 20]]
    assert merge_two(twins, [], ([0.5, 0.4], [])) == twins


@pytest.mark.parametrize(
    "scores", [(0.9, 0.8, 0.7, 0.6), (0.6, 0.7, 0.8, 0.9), (0.5, 0.5, 0.5, 0.5), (0.9, 0.6, 0.6, 0.9)]
)
def test_of_two_ships_side_by_side_none_goes_for_the_other(scores: tuple[float, ...]) -> None:
    """Two boxes of IoU 0.69, one in each core: the other tile has a better match for each."""
    a, b = [62.0, 10, 92, 40], [68.0, 10, 98, 40]
    assert iou_matrix(np.array([a]), np.array([b]))[0, 0] > 0.5
    for margin_px in (0.0, 8.0):
        found = merge_two([a, b], [a, b], (list(scores[:2]), list(scores[:2])), Merging(margin_px=margin_px))
        assert sorted(found) == [a, b]


def test_a_piece_never_beats_the_whole() -> None:
    whole, piece = [[70.0, 10, 130, 20]], [[68.0, 10, 99, 20]]
    assert merge_two(piece, whole, ([0.9], [0.1]), Merging(margin_px=8)) == whole
    # not at the edge: a ship of its own
    assert merge_two([[60.0, 10, 97, 20]], whole, ([0.9], [0.1])) == [[60, 10, 97, 20], *whole]
    # half of it lies elsewhere
    assert merge_two([[40.0, 10, 100, 20]], whole, ([0.9], [0.1])) == [[40, 10, 100, 20], *whole]


def test_two_ends_of_a_long_ship_become_one() -> None:
    assert merge_two([[20.0, 10, 100, 20]], [[60.0, 10, 150, 20]], ([0.4], [0.7])) == [[20, 10, 150, 20]]
    # within 2 px of the edges
    assert merge_two([[20.0, 10, 99, 20]], [[61.0, 11, 150, 21]], ([0.4], [0.7])) == [[20, 10, 150, 21]]
    one, two = [[20.0, 10, 100, 20]], [[60.0, 18, 150, 28]]  # two ships that pass each other
    assert sorted(merge_two(one, two, ([0.4], [0.7]))) == [*one, *two]


def test_ends_of_two_ships_are_not_joined_across_a_tile() -> None:
    """The last tile, moved inwards, shares 7 px with the one before the last but one: both ships fill these 7 px in
    both tiles.
    """
    ships = np.array([[52.0, 0, 65.1, 1], [54.6, 0, 64.3, 1]])
    assert [window[1] for window in tile_grid(1, 89, Tiles(size_px=32, overlap_px=16))] == [0, 16, 32, 48, 57]
    assert_same(merged(ships, 1, 89, Tiles(size_px=32, overlap_px=16)), ships)


def test_order_of_tiles_and_detections_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    tiles = Tiles(size_px=64, overlap_px=24)
    windows = tile_grid(200, 200, tiles)
    found = []
    for _ in windows:
        low = rng.random((20, 2)) * 50
        found.append(Detections(np.concatenate([low, low + 1 + rng.random((20, 2)) * 13], axis=1), rng.random(20)))
    expected = merge_tiles(windows, found, 200, 200, RULE)
    turn = rng.permutation(len(windows))
    shuffled = [found[i].take(rng.permutation(20)) for i in turn]
    again = merge_tiles([windows[i] for i in turn], shuffled, 200, 200, RULE)
    assert np.array_equal(again.boxes, expected.boxes) and np.array_equal(again.scores, expected.scores)
    assert (np.diff(expected.scores) <= 0).all()


def test_nothing_found() -> None:
    windows = tile_grid(300, 1, Tiles())
    assert len(merge_tiles(windows, [Detections.none()] * len(windows), 300, 1, RULE)) == 0
    assert merge_tiles([], [], 1, 1, RULE).boxes.shape == (0, 4)


def test_ten_thousand_detections() -> None:
    """Time and memory stay bounded; 0.1 s on one core, with room for a busy machine."""
    rng = np.random.default_rng(0)
    tiles, low = Tiles(size_px=512, overlap_px=200), rng.random((4600, 2)) * 1000
    ships = np.concatenate([low, low + 5 + rng.random((4600, 2)) * 60], axis=1)
    windows = tile_grid(3000, 3000, tiles)
    found = [shown(window, ships, 0.3) for window in windows]
    assert sum(len(each) for each in found) > 10_000
    started = time.process_time()
    tracemalloc.start()
    out = merge_tiles(windows, found, 3000, 3000, RULE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - started < 10 and peak < 400e6
    assert len(out) == 4600


def test_portions_of_pairs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    low = rng.random((300, 2)) * 90
    boxes = np.concatenate([low, low + 1 + rng.random((300, 2)) * 20], axis=1)
    share = iou_matrix(boxes, boxes) > 0
    for portion in (1, 37, 10**6):
        monkeypatch.setattr(merging, "_PAIRS_AT_ONCE", portion)
        met = np.zeros_like(share)
        for first, second in merging._overlapping(boxes):
            assert not met[first, second].any()
            met[first, second] = met[second, first] = True
        assert np.array_equal(met | np.eye(300, dtype=bool), share)


def test_iou_known_answers() -> None:
    a = np.array([[0.0, 0, 2, 2], [0, 0, 0, 0]])
    b = np.array([[1.0, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2], [0, 0, 0, 0]])
    assert np.allclose(iou_matrix(a, b), np.array([[1 / 7, 1, 0, 0], [0, 0, 0, 0]]), rtol=0, atol=1e-15)
    assert iou_matrix(np.zeros((0, 4)), b).shape == (0, 4)


def plain_nms(boxes: np.ndarray, scores: np.ndarray, iou: float) -> list[int]:
    kept: list[int] = []
    overlap = iou_matrix(boxes, boxes)
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if all(overlap[i, j] <= iou for j in kept):
            kept.append(i)
    return kept


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(0, 60), st.floats(0.05, 0.95))
def test_nms_is_the_plain_loop(seed: int, count: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    low = rng.random((count, 2)) * 20
    boxes = np.concatenate([low, low + 1 + rng.random((count, 2)) * 20], axis=1)
    scores = rng.integers(0, 6, count) / 5  # many ties
    assert nms(boxes, scores, iou).tolist() == plain_nms(boxes, scores, iou)


def test_nms_beyond_one_block() -> None:
    rng = np.random.default_rng(1)
    low = rng.random((1500, 2)) * 150
    boxes, scores = np.concatenate([low, low + 10], axis=1), rng.integers(0, 50, 1500) / 50
    kept = nms(boxes, scores, 0.3)
    assert kept.tolist() == plain_nms(boxes, scores, 0.3) and 100 < len(kept) < 1000
