"""Which detections found a ship: both rules by hand, against pycocotools, faster-coco-eval, plain loops and mmdet, and
in the large.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import types
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from evaluator_toys import Truth, coco_reference, random_scenes, voc_reference
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.detection.detectors.base import Detections
from bench.detection.scoring.average_precision import Interpolation
from bench.detection.scoring.evaluator import (
    IOUS,
    SIZES,
    BoxTable,
    Rule,
    ap_from_matches,
    curve_from_matches,
    match,
    mean_ap_from_matches,
    overlapping,
)

KINDS = get_args(Interpolation)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def one_scene(truth: np.ndarray, found: np.ndarray, scores: list[float], ignore: list[bool] | None = None) -> BoxTable:
    flags = np.array(ignore if ignore is not None else [False] * len(truth), dtype=bool)
    return BoxTable.of([(truth, flags)], [Detections(found, np.array(scores))])


def outcomes(table: BoxTable, rule: Rule, iou: float = 0.5, size: str = "all") -> str:
    """The detections in the order they came in: + found a ship, 0 ignored, - false."""
    got = match(table, rule, (iou,), (size,))
    signs = np.where(got.tp[0, 0], "+", np.where(got.ignored[0, 0], "0", "-"))
    return "".join(signs[np.argsort(got.position)])


# -- by hand -----------------------------------------------------------------------------------------------------------
SHIP = (0.0, 0.0, 10.0, 10.0)


def test_an_iou_at_the_threshold_counts_and_there_is_no_plus_one() -> None:
    """Half of a 10 x 10 box has IoU 1/2 exactly; a little less has not, though with the +1 of old devkits it would be
    0.54.
    """
    half = boxes((0, 0, 10, 5))
    for rule in ("coco", "voc"):
        assert outcomes(one_scene(boxes(SHIP), half, [0.5]), rule) == "+"
        assert outcomes(one_scene(boxes(SHIP), boxes((0, 0, 10, 4.9375)), [0.5]), rule) == "-"


def test_a_ship_is_found_once_by_the_surest() -> None:
    table = one_scene(boxes(SHIP), boxes(SHIP, SHIP, SHIP), [0.5, 0.9, 0.7])
    assert outcomes(table, "coco") == outcomes(table, "voc") == "-+-"


def test_equal_scores_choose_in_the_order_they_came_in() -> None:
    table = one_scene(boxes(SHIP), boxes((0, 0, 10, 9), SHIP), [0.5, 0.5])
    assert outcomes(table, "coco") == outcomes(table, "voc") == "+-"


def test_the_rules_differ_where_the_best_ship_is_taken() -> None:
    """The second detection likes the first ship best, which is taken: coco gives it the other ship, voc calls it
    false.
    """
    truth = boxes((0, 0, 10, 10), (0, 3, 10, 13))
    table = one_scene(truth, boxes((0, 0, 10, 10), (0, 1, 10, 11)), [0.9, 0.8])
    assert outcomes(table, "coco") == "++"
    assert outcomes(table, "voc") == "+-"


def test_ignored_truth_absorbs_any_number() -> None:
    table = one_scene(boxes(SHIP), boxes(SHIP, SHIP), [0.9, 0.8], [True])
    assert outcomes(table, "coco") == outcomes(table, "voc") == "00"
    small = one_scene(boxes(SHIP), boxes((0, 0, 10, 2)), [0.9], [True])
    assert outcomes(small, "coco") == "0"  # all of it lies in the crowd
    assert outcomes(small, "voc") == "-"  # IoU 0.2 with the difficult ship


def test_coco_prefers_a_ship_that_counts_over_a_better_ignored_one() -> None:
    table = one_scene(boxes((0, 0, 10, 10), (0, 3, 10, 13)), boxes((0, 0, 10, 10)), [0.9], [True, False])
    assert outcomes(table, "coco") == "+"
    assert outcomes(table, "voc") == "0"


def test_size_ranges_ignore_what_lies_outside() -> None:
    truth = boxes((0, 0, 20, 20), (100, 0, 150, 50), (300, 0, 332, 32))  # small, medium, on the bound: both
    found = boxes((0, 0, 20, 20), (100, 0, 150, 50), (300, 0, 332, 32), (500, 0, 510, 10), (600, 0, 660, 60))
    table = one_scene(truth, found, [0.9, 0.8, 0.7, 0.6, 0.5])
    assert outcomes(table, "coco", size="all") == "+++--"
    assert outcomes(table, "coco", size="small") == "+0+-0"
    assert outcomes(table, "coco", size="medium") == "0++0-"
    assert match(table, "coco", sizes=tuple(SIZES)).positives.ravel().tolist() == [3, 2, 2, 0]


def test_which_ship_was_taken() -> None:
    table = one_scene(boxes(SHIP, (50, 0, 60, 10)), boxes((50, 0, 60, 10), SHIP, (90, 90, 99, 99)), [0.1, 0.9, 0.5])
    got = match(table, "coco", (0.5,))
    assert got.truth[0].tolist() == [0, -1, 1] and got.position.tolist() == [1, 2, 0]


def test_unknown_rules_and_sizes_are_refused() -> None:
    table = one_scene(boxes(SHIP), boxes(SHIP), [0.9])
    with pytest.raises(BenchError, match="no rule"):
        match(table, "VOC")  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="no rule 'voc' for sizes"):
        match(table, "voc", sizes=("small",))
    with pytest.raises(BenchError, match="no matches at IoU 0.6"):
        ap_from_matches(match(table, "voc", (0.5,)), "area", 0.6)
    with pytest.raises(BenchError, match="begin at IoU 0.7"):
        match(table, "voc", (0.5,), pairs=overlapping(table, 0.7))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Detections(boxes((0, 0, np.nan, 5)), np.array([0.5])), "NaN"),
        (Detections(boxes(SHIP), np.array([np.inf])), "NaN or infinite"),
        (Detections(boxes((5, 0, 5, 9)), np.array([0.5])), "without area"),
        (Detections(boxes(SHIP, SHIP), np.array([0.5])), "rise from 0"),
    ],
)
def test_malformed_detections_are_refused(found: Detections, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        BoxTable.of([(boxes(SHIP), np.array([False]))], [found])


# -- both ends ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ships", [1, 12])
def test_truth_as_prediction_is_exactly_one(seed: int, ships: int) -> None:
    truth, _ = random_scenes(seed, scenes=6, most_ships=ships)
    truth.append((boxes(SHIP), np.array([False])))
    found = [Detections(each, np.linspace(1, 0, len(each))) for each, _ in truth]
    table = BoxTable.of(truth, found)
    coco, voc = match(table, "coco", sizes=tuple(SIZES)), match(table, "voc")
    for size in coco.sizes:
        assert mean_ap_from_matches(coco, size) in (1.0, None)
    assert mean_ap_from_matches(coco) == 1.0
    for kind in KINDS:
        assert ap_from_matches(voc, kind) == 1.0


def test_no_detection_is_zero_no_ship_is_none_and_no_scene_is_none() -> None:
    none = [Detections.none()]
    table = BoxTable.of([(boxes(SHIP), np.array([False]))], none)
    coco = match(table, "coco", sizes=tuple(SIZES))
    assert mean_ap_from_matches(coco, "small") == 0.0 and mean_ap_from_matches(coco, "large") is None
    only_ignored = BoxTable.of([(boxes(SHIP), np.array([True]))], [Detections(boxes(SHIP), np.ones(1))])
    for rule in ("coco", "voc"):
        assert ap_from_matches(match(only_ignored, rule), "area") is None
        assert ap_from_matches(match(BoxTable.of([], []), rule), "area") is None
        assert len(curve_from_matches(match(table, rule)).threshold) == 0


# -- references --------------------------------------------------------------------------------------------------------
CASES = [
    *({"seed": seed} for seed in range(8)),
    *({"seed": seed, "levels": levels} for seed, levels in ((20, 3), (21, 10), (22, 1))),
    {"seed": 30, "scenes": 2, "most_ships": 60, "most_found": 1500},
    {"seed": 31, "scenes": 1, "most_ships": 1, "most_found": 400, "levels": 5},
    {"seed": 32, "ignored": 0.9},
    {"seed": 33, "ignored": 0.0, "scenes": 40, "most_ships": 3},
]


@pytest.mark.parametrize("library", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_coco_implementations(library: str, case: dict[str, Any]) -> None:
    truth, found = random_scenes(**case)
    if not sum(map(len, found)):
        found[0] = Detections(boxes(SHIP), np.ones(1))
    if library == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        wanted = coco_reference(truth, found, COCO, COCOeval)
    else:
        faster = pytest.importorskip("faster_coco_eval")
        wanted = coco_reference(truth, found, faster.COCO, faster.COCOeval_faster)
    got = match(BoxTable.of(truth, found), "coco", sizes=tuple(SIZES))
    for size in SIZES:
        for name, value in (
            ("mean", mean_ap_from_matches(got, size)),
            ("50", ap_from_matches(got, "101-point", 0.5, size)),
            ("75", ap_from_matches(got, "101-point", 0.75, size)),
        ):
            if value is None:
                assert wanted[f"{size}.{name}"] == -1
            else:
                assert value == pytest.approx(wanted[f"{size}.{name}"], abs=1e-9), f"{size}.{name}"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_plain_loops_of_the_voc_definition(case: dict[str, Any]) -> None:
    truth, found = random_scenes(**case)
    got = match(BoxTable.of(truth, found), "voc", (0.5,))
    area, eleven = voc_reference(truth, found)
    assert ap_from_matches(got, "area") == pytest.approx(area, abs=1e-12)
    assert ap_from_matches(got, "11-point") == pytest.approx(eleven, abs=1e-12)


def _mmdet_eval_map() -> Any:
    """`eval_map` out of the installed mmdet, without its package: that wants compiled operators which `eval_map` has no
    use for.
    """
    spec = importlib.util.find_spec("mmdet")
    if spec is None or spec.origin is None:
        pytest.skip("mmdet is not installed")
    package = types.ModuleType("mmdet_functional")
    package.__path__ = [str(Path(spec.origin).parent / "evaluation" / "functional")]
    sys.modules["mmdet_functional"] = package
    return importlib.import_module("mmdet_functional.mean_ap").eval_map


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_mmdet_on_voc(seed: int) -> None:
    """To 1e-6, as mmdet computes in float32. With a prime number of ships no recall meets a tenth, which mmdet would
    round away.
    """
    eval_map = _mmdet_eval_map()
    truth, found = _with_prime_ships(seed)
    got = match(BoxTable.of(truth, found), "voc", (0.5,))
    annotations = [
        {
            "bboxes": each[~ignore],
            "labels": np.zeros(int((~ignore).sum()), dtype=int),
            "bboxes_ignore": each[ignore],
            "labels_ignore": np.zeros(int(ignore.sum()), dtype=int),
        }
        for each, ignore in truth
    ]
    results = [[np.concatenate([each.boxes, each.scores[:, None]], axis=1)] for each in found]
    modes: dict[str, Interpolation] = {"area": "area", "11points": "11-point"}
    for mode, kind in modes.items():
        value, _ = eval_map(
            results, annotations, iou_thr=0.5, logger="silent", nproc=1, use_legacy_coordinate=False, eval_mode=mode
        )
        assert ap_from_matches(got, kind) == pytest.approx(value, abs=1e-6)


def _with_prime_ships(seed: int) -> tuple[Truth, list[Detections]]:
    truth, found = random_scenes(seed + 100, scenes=10)
    missing = next(
        p for p in (47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 127) if p >= sum(int((~i).sum()) for _, i in truth)
    )
    missing -= sum(int((~ignore).sum()) for _, ignore in truth)
    extra = np.tile(boxes((700, 700, 720, 720)), (missing, 1)) + np.arange(missing)[:, None] * 0.25
    truth[0] = (np.concatenate([truth[0][0], extra]), np.append(truth[0][1], np.zeros(missing, dtype=bool)))
    return truth, found


# -- what must hold for any scenes -------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([None, 2, 7]), rule=st.sampled_from(["coco", "voc"]))
def test_weights_are_a_set_with_scenes_repeated(seed: int, levels: int | None, rule: Rule) -> None:
    """A resampling needs no second matching; with equal scores this holds for a choice of scenes, whose ranking stays
    as it was.
    """
    truth, found = random_scenes(seed, scenes=4, most_found=20, levels=levels)
    weights = np.random.default_rng(seed).integers(0, 4 if levels is None else 2, 4)
    whole = match(BoxTable.of(truth, found), rule)
    drawn = np.repeat(np.arange(4), weights)
    again = match(BoxTable.of([truth[i] for i in drawn], [found[i] for i in drawn]), rule)
    for kind in KINDS:
        for iou in (0.5, 0.75):
            value = ap_from_matches(whole, kind, iou, weights=weights)
            assert value == pytest.approx(ap_from_matches(again, kind, iou), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rule=st.sampled_from(["coco", "voc"]))
def test_the_order_of_scenes_and_detections_does_not_matter_where_scores_differ(seed: int, rule: Rule) -> None:
    truth, found = random_scenes(seed, scenes=5, most_found=25)
    rng = np.random.default_rng(seed)
    order = rng.permutation(5)
    shuffled = [found[i].take(rng.permutation(len(found[i]))) for i in order]
    one, other = match(BoxTable.of(truth, found), rule), match(BoxTable.of([truth[i] for i in order], shuffled), rule)
    for kind in KINDS:
        value = ap_from_matches(one, kind)
        assert value == ap_from_matches(other, kind)
        assert value is None or 0 <= value <= 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rule=st.sampled_from(["coco", "voc"]), levels=st.sampled_from([None, 3]))
def test_a_monotone_change_of_scores_and_a_shift_of_boxes_change_nothing(
    seed: int, rule: Rule, levels: int | None
) -> None:
    truth, found = random_scenes(seed, scenes=4, most_found=25, levels=levels)
    moved = [(each + 64.0, ignore) for each, ignore in truth]
    other = match(BoxTable.of(moved, [Detections(each.boxes + 64.0, each.scores**3 * 5 - 7) for each in found]), rule)
    one = match(BoxTable.of(truth, found), rule)
    assert np.array_equal(one.tp, other.tp) and np.array_equal(one.ignored, other.ignored)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), rule=st.sampled_from(["coco", "voc"]))
def test_a_false_positive_never_raises_ap(seed: int, rule: Rule) -> None:
    truth, found = random_scenes(seed, scenes=4, most_found=25)
    more = list(found)
    score = np.random.default_rng(seed).uniform(-1, 1)
    more[2] = Detections(
        np.append(found[2].boxes, boxes((5000, 5000, 5010, 5010)), axis=0), np.append(found[2].scores, score)
    )
    for kind in KINDS:
        before = ap_from_matches(match(BoxTable.of(truth, found), rule), kind)
        after = ap_from_matches(match(BoxTable.of(truth, more), rule), kind)
        assert (before is None and after is None) or (
            before is not None and after is not None and after <= before + 1e-12
        )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), rule=st.sampled_from(["coco", "voc"]))
def test_crowded_overlaps_are_matched_one_after_the_other(seed: int, rule: Rule) -> None:
    """Ships and detections all over each other, where every choice depends on earlier ones, against the plain loop."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 6, (12, 2)) * 1.0
    truth, found = (
        np.concatenate([low, low + 20], axis=1),
        np.concatenate([low[::-1] + 1, low[::-1] + 20 + rng.integers(0, 3, (12, 2))], axis=1),
    )
    ignore, scores = rng.random(12) < 0.3, rng.integers(0, 5, 12) / 5
    got = outcomes(one_scene(truth, found, scores.tolist(), ignore.tolist()), rule, 0.6)
    assert got == _one_after_the_other(truth, ignore, found, scores, rule, 0.6)


def _one_after_the_other(
    truth: np.ndarray, ignore: np.ndarray, found: np.ndarray, scores: np.ndarray, rule: str, iou: float
) -> str:
    free, out = [True] * len(truth), ["-"] * len(found)
    for d in np.argsort(-scores, kind="stable"):
        best: tuple[float, ...] | None = None
        at = -1
        for t in range(len(truth)):
            shared = np.prod(
                np.clip(np.minimum(found[d, 2:], truth[t, 2:]) - np.maximum(found[d, :2], truth[t, :2]), 0, None)
            )
            area, other = np.prod(found[d, 2:] - found[d, :2]), np.prod(truth[t, 2:] - truth[t, :2])
            overlap = float(shared / area) if rule == "coco" and ignore[t] else float(shared / (area + other - shared))
            if rule == "coco" and (overlap < iou or not free[t]):
                continue
            key = (float(not ignore[t]), overlap, float(t)) if rule == "coco" else (overlap, -float(t))
            if best is None or key > best:
                best, at = key, t
        if best is None or rule == "voc" and best[0] < iou:
            continue
        out[d] = "0" if ignore[at] else "+" if free[at] else "-"
        free[at] = bool(ignore[at])
    return "".join(out)


# -- in the large ------------------------------------------------------------------------------------------------------
def test_ten_thousand_detections_in_a_scene_are_neither_capped_nor_slow() -> None:
    """A hundred detections before the ship's own: a cap of COCO's 100 would give 0."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 3000, (10_000, 2))
    found = np.concatenate([low, low + rng.uniform(5, 90, (10_000, 2))], axis=1)
    truth = found[rng.permutation(10_000)[:500]]
    start = time.perf_counter()
    table = one_scene(truth, found, rng.random(10_000).tolist())
    got = match(table, "coco", sizes=tuple(SIZES))
    taken = time.perf_counter() - start
    assert int(got.tp[0, 0].sum()) == 500 and got.tp.shape == (4, len(IOUS), 10_000)
    assert taken < 20  # 0.4 s on one core; a Python loop over pairs takes minutes


def test_all_boxes_alike_end() -> None:
    """Every detection overlaps every ship: the longest chains of refusals there can be."""
    same = np.tile(boxes(SHIP), (60, 1))
    expected: dict[Rule, int] = {"coco": 60, "voc": 1}
    for rule, hits in expected.items():
        got = match(one_scene(same, np.tile(boxes(SHIP), (300, 1)), [0.5] * 300), rule)
        assert [int(each.sum()) for each in got.tp[0]] == [hits] * len(IOUS)
