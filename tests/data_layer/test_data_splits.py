"""Splits and places: partition, exact sizes, no shared group, the guard by brute force, files, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.core.errors import BenchError
from bench.data.index import PairIndex, PairSample
from bench.data.places import TOUCH_M, overlapping, within
from bench.data.split_spec import SplitSpec
from bench.data.splits import PARTS, Split, make_split, read_split, write_split


def index_of(scenes: list[str], places: list[Any] | None = None, **columns: list[str]) -> PairIndex:
    samples = []
    for i, scene in enumerate(scenes):
        attributes = {key: values[i] for key, values in columns.items()}
        place = places[i] if places else None
        samples.append(PairSample(f"p{i}", f"o/{i}.png", f"s/{i}.png", None, scene, place, attributes))
    return PairIndex(tuple(samples))


def parts_of(split: Split) -> list[np.ndarray]:
    return [getattr(split, name) for name in PARTS]


def is_partition(split: Split, n: int) -> bool:
    together = np.concatenate(parts_of(split))
    return bool(np.array_equal(np.sort(together), np.arange(n))) and all(
        (np.diff(p) > 0).all() for p in parts_of(split)
    )


def names(split: Split, part: str) -> set[str]:
    return {split.groups[i] for i in getattr(split, part)}


def test_the_papers_split_of_20000_is_exact() -> None:
    index = PairIndex(tuple(PairSample(str(n), f"o/{n}.png", f"s/{n}.png") for n in range(1, 20_001)))
    split = make_split(index, SplitSpec(train=0.7, test=0.3, validation=0.1, validation_from="train", seed=1))
    assert len(split.test) == 6_000 and len(split.train) + len(split.validation) == 14_000
    assert len(split.validation) == 1_400 and len(split.dropped) == 0
    assert is_partition(split, 20_000)
    assert make_split(index, SplitSpec(test=0.3, seed=1)).sha256 == split.sha256
    assert make_split(index, SplitSpec(test=0.3, seed=2)).sha256 != split.sha256
    assert split.summary["sharing_ground_with_test"] == {"train": None, "validation": None}
    # the test part does not depend on how large the validation slice is
    assert np.array_equal(make_split(index, SplitSpec(validation=0, seed=1)).test, split.test)


@pytest.mark.parametrize(
    ("spec", "sizes"),
    [
        ({"train": 0.6, "validation": 0.1, "test": 0.3, "validation_from": "all"}, (60, 10, 30)),
        ({"test": 0.2, "validation": 0.2, "validation_from": "all"}, (60, 20, 20)),
        ({"train": 0.5, "validation": 0.2, "validation_from": "all"}, (50, 20, 30)),
        ({"train": 0.8, "validation": 0}, (80, 0, 20)),
        ({}, (63, 7, 30)),
    ],
)
def test_shares(spec: dict[str, Any], sizes: tuple[int, int, int]) -> None:
    split = make_split(index_of(["a"] * 100), SplitSpec(**spec))
    assert tuple(len(part) for part in parts_of(split)[:3]) == sizes


@given(st.integers(10, 120), st.floats(0.1, 0.8), st.floats(0.0, 0.5), st.integers(0, 99))
def test_random_is_a_partition_of_the_stated_sizes(n: int, test: float, validation: float, seed: int) -> None:
    n_test = int(n * test + 0.5)
    assume(0 < n_test < n - 4 and (validation == 0 or int((n - n_test) * validation + 0.5) > 0))
    split = make_split(index_of(["a"] * n), SplitSpec(test=test, validation=validation, seed=seed))
    assert is_partition(split, n) and abs(len(split.test) - test * n) <= 0.5 + 1e-9
    assert len(split.dropped) == 0


@given(st.lists(st.sampled_from("abcdefgh"), min_size=12, max_size=80), st.integers(0, 50), st.booleans())
def test_grouped_shares_no_group(scenes: list[str], seed: int, from_all: bool) -> None:
    assume(len(set(scenes)) >= 3)
    spec = SplitSpec(
        kind="grouped", seed=seed, validation_from="all" if from_all else "train", validation=0.2, test=0.3
    )
    split = make_split(index_of(scenes), spec)
    assert is_partition(split, len(scenes)) and len(split.dropped) == 0
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not names(split, one) & names(split, other)
    assert split.groups == tuple(scenes)
    assert sum(split.summary["groups"].values()) == len(set(scenes))


def rectangles(n: int, seed: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, spread, (n, 2)), rng.uniform(1, 60, (n, 2))
    return np.concatenate([corner, corner + size], axis=1)


def gaps_m(place: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the gaps in metres between one place (4,) and `others` (m, 4), as (m,) float64."""
    apart = np.maximum(others[:, :2] - place[2:], place[:2] - others[:, 2:])
    return np.hypot(*np.maximum(apart, 0.0).T)


@given(st.integers(0, 10_000), st.floats(0.5, 200), st.floats(100, 3000), st.integers(1, 700), st.integers(1, 60))
def test_within_and_overlapping_by_brute_force(seed: int, guard_m: float, spread: float, n: int, m: int) -> None:
    a, b = rectangles(n, seed, spread), rectangles(m, seed + 1, spread)
    a[::7] = np.nan
    near, shared = within(a, b, guard_m), overlapping(a, b)
    for i in range(0, n, max(1, n // 40)):
        if np.isnan(a[i]).any():
            assert not near[i] and not shared[i]
            continue
        gaps = gaps_m(a[i], b)
        assert near[i] == (gaps < guard_m).any()
        common = np.minimum(a[i, 2:], b[:, 2:]) - np.maximum(a[i, :2], b[:, :2])
        assert shared[i] == (common > TOUCH_M).all(axis=1).any()


def test_gap_of_rectangles() -> None:
    place = np.array([0.0, 0.0, 10.0, 10.0])
    others = np.array([[5, 5, 20, 20], [10, 0, 20, 10], [13, 14, 20, 20], [-9, 3, -4, 4]], float)
    assert np.allclose(gaps_m(place, others), [0, 0, 5, 4])
    assert within(np.array([place]), others[2:3], 5.0).tolist() == [False]
    assert within(np.array([place]), others[2:3], 5.1).tolist() == [True]
    assert overlapping(np.array([place]), others[1:2]).tolist() == [False]
    assert within(np.empty((0, 4)), others, 1.0).shape == (0,)
    assert not within(others, np.empty((0, 4)), 1.0).any()


@given(st.integers(0, 500), st.floats(1, 250))
def test_guard_distance_is_kept(seed: int, guard_m: float) -> None:
    rng = np.random.default_rng(seed)
    places = rectangles(60, seed, 1500)
    index = index_of([f"s{k}" for k in rng.integers(0, 12, 60)], [tuple(row) for row in places])
    try:
        split = make_split(index, SplitSpec(kind="grouped", guard_m=guard_m, seed=seed))
    except BenchError as error:
        assert "empty" in str(error)
        return
    assert is_partition(split, 60)
    for part, others in ((split.train, split.test), (split.validation, split.test), (split.train, split.validation)):
        for i in part:
            assert (gaps_m(places[i], places[others]) >= guard_m).all()
    plain = make_split(index, SplitSpec(kind="grouped", seed=seed))
    assert np.array_equal(plain.test, split.test)
    for i in split.dropped:  # none is dropped without need
        kept = np.concatenate([split.test, split.validation])
        assert (gaps_m(places[i], places[kept]) < guard_m).any()
    dropped = split.summary["dropped"]
    assert dropped["near_test"] + dropped["near_validation"] == len(split.dropped)
    assert split.summary["sharing_ground_with_test"] == {"train": 0, "validation": 0}


def test_explicit_groups_and_finer_validation() -> None:
    index = index_of([f"s{i // 5}" for i in range(40)], tile=["A" if i < 20 else "B" for i in range(40)])
    spec = SplitSpec(kind="grouped", by="tile", test_groups=("B",), validation_by="scene", validation=0.25)
    split = make_split(index, spec)
    assert split.test.tolist() == list(range(20, 40))
    assert len(split.validation) == 5 and len({index.scenes[i] for i in split.validation}) == 1
    assert names(split, "test") == {"B"} and names(split, "train") == {"A"}
    spec = SplitSpec(kind="grouped", test_groups=("s0",), validation_groups=("s7", "s3"))
    split = make_split(index, spec)
    for seed in range(9):  # groups named for validation are never drawn for test
        drawn = make_split(index, SplitSpec(kind="grouped", validation_groups=("s7", "s3"), seed=seed, test=0.6))
        assert names(drawn, "validation") == {"s7", "s3"} and len(names(drawn, "test")) == 5
    assert names(split, "test") == {"s0"} and names(split, "validation") == {"s7", "s3"}


def test_order_of_the_index_does_not_matter() -> None:
    index = index_of([f"s{i % 7}" for i in range(70)])
    turned = index.take(np.random.default_rng(0).permutation(70))
    for spec in (SplitSpec(seed=3), SplitSpec(kind="grouped", seed=3)):
        assert make_split(index, spec).sha256 == make_split(turned, spec).sha256


def test_leakage_is_counted_without_a_guard() -> None:
    places = [(10.0 * i, 0.0, 10.0 * i + 15.0, 10.0) for i in range(20)]
    index = index_of([f"s{i // 2}" for i in range(20)], places)
    split = make_split(index, SplitSpec(kind="grouped", test_groups=("s4",), validation_groups=("s0",)))
    assert split.summary["sharing_ground_with_test"] == {"train": 2, "validation": 0}


def test_require_drops() -> None:
    index = index_of(["a", "b"] * 10, sure=["True"] * 10 + ["False"] * 10)
    split = make_split(index, SplitSpec.model_validate({"require": {"sure": True}, "test": 0.3}))
    assert split.dropped.tolist() == list(range(10, 20)) and len(split.test) == 3
    assert split.summary["dropped"] == {"require": 10}
    with pytest.raises(BenchError, match="no column 'shure'; nearest: sure"):
        make_split(index, SplitSpec(require={"shure": "True"}))
    with pytest.raises(BenchError, match="sure = 'true'"):
        make_split(index, SplitSpec(require={"sure": "true"}))


@pytest.mark.parametrize("more", [{"test": 0.3}, {"test_groups": ["s1"], "validation_by": "place"}])
def test_a_share_of_the_training_part_keeps_its_labels(more: dict[str, Any]) -> None:
    scenes = [f"s{n % 20}" for n in range(400)]
    index = index_of(scenes, place=[f"{scene}-{n % 3}" for n, scene in enumerate(scenes)])
    whole = make_split(index, SplitSpec(kind="grouped", validation=0.2, **more))
    part = make_split(index, SplitSpec(kind="grouped", validation=0.2, labelled=0.25, **more))
    assert np.array_equal(part.test, whole.test) and np.array_equal(part.validation, whole.validation)
    assert set(part.train) < set(whole.train) and is_partition(part, 400)
    column = index.column("place" if "validation_by" in more else "scene")
    kept, gone = ({column[i] for i in positions} for positions in (part.train, part.dropped))
    assert not kept & gone and abs(len(part.train) - 0.25 * len(whole.train)) <= 20
    assert part.summary["dropped"]["unlabelled"] == len(part.dropped)
    other = make_split(index, SplitSpec(kind="grouped", validation=0.2, labelled=0.25, seed=1, **more))
    assert set(other.train) != set(part.train)
    assert "labelled" not in SplitSpec(kind="grouped", test=0.3).model_dump()


def test_written_split_comes_back(tmp_path: Path) -> None:
    index = index_of([f"s{i % 6}" for i in range(60)], tile=["x,y"] * 60)
    for spec in (SplitSpec(), SplitSpec(kind="grouped"), SplitSpec(validation=0), SplitSpec(by="tile")):
        split, path = make_split(index, spec), tmp_path / "split.csv"
        write_split(split, index, path)
        back = make_split(index, SplitSpec(kind="file", path=str(path)))
        assert back.sha256 == split.sha256 and back.groups == split.groups
        assert all(np.array_equal(a, b) for a, b in zip(parts_of(back), parts_of(split), strict=True))
        first = path.read_bytes()
        write_split(back, index, path)
        assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,part\np0,train\np1,test\n", "lacks 1 pairs of the data set, first 'p2'"),
        ("id,part\np0,train\np1,test\np2,train\nq,test\n", "pair 'q', which the data set does not have"),
        ("id,part\np0,train\np1,test\np2,tests\n", "in part 'tests'; nearest: test"),
        ("id,part\np0,train\np1,test\np0,train\np2,train\n", "names pair 'p0' twice"),
        ("id,part\np0,train\np1,train\np2,train\n", "leaves test empty"),
        ("id,part\np0,dropped\np1,test\np2,validation\n", "leaves train empty"),
        ("id,set\np0,train\n", "no column 'part'"),
    ],
)
def test_bad_split_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(BenchError, match=message):
        read_split(path, index_of(["a", "a", "b"]))


@pytest.mark.parametrize(
    ("scenes", "spec", "message"),
    [
        (["a"] * 3, {"test": 0.1}, "leaves test empty"),
        (["a"] * 4, {"test": 0.5, "validation": 0.1}, "leaves validation empty"),
        (["a"] * 10, {"kind": "grouped"}, "has only 1 groups left to choose from where 3 are needed"),
        (["a", "b"] * 5, {"kind": "grouped"}, "has only 2 groups .*where 3 are needed.*`validation_by`"),
        (["a", "b"] * 5, {"kind": "grouped", "by": "scnee"}, "no column 'scnee'; nearest: scene"),
        (["aa", "bb"] * 5, {"kind": "grouped", "test_groups": ("ab",)}, "scene = 'ab'; nearest"),
        (["a", "b"] * 5, {"kind": "grouped", "test_groups": ("a", "b"), "validation": 0}, "leaves train empty"),
        (["a", "b", "c"] * 5, {"kind": "grouped", "guard_m": 5}, "needs the place of every pair.*`require`"),
    ],
)
def test_splits_that_cannot_be(scenes: list[str], spec: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message) as error:
        make_split(index_of(scenes), SplitSpec(**spec))
    assert "\n" not in str(error.value)


def test_guard_that_leaves_nothing_says_so() -> None:
    index = index_of(list("abcd"), [(i, 0.0, i + 1.0, 1.0) for i in range(4)])
    with pytest.raises(BenchError, match="leaves train empty .*dropped by near_test"):
        make_split(index, SplitSpec(kind="grouped", guard_m=100))


@pytest.mark.parametrize(
    "spec",
    [
        {"train": 0.7, "test": 0.4},
        {"test": 0.95, "validation": 0.2, "validation_from": "all"},
        {"kind": "file"},
        {"kind": "random", "path": "x.csv"},
        {"kind": "file", "path": "x.csv", "test": 0.2},
        {"kind": "random", "test_groups": ("a",)},
        {"kind": "grouped", "test_groups": ("a",), "test": 0.3},
        {"kind": "grouped", "validation_groups": ("a",), "validation": 0.3},
        {"guard_m": float("nan")},
        {"guard_m": -1},
        {"seed": -1},
        {"tset": 0.3},
        {"test": 1.5},
    ],
)
def test_contradictory_specs(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SplitSpec(**spec)


def test_spec_survives_its_own_dump() -> None:
    for spec in (SplitSpec(), SplitSpec(kind="file", path="x.csv"), SplitSpec(kind="grouped", test_groups=("a",))):
        assert SplitSpec(**spec.model_dump(mode="json")) == spec
