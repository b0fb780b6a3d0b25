"""Folds: every sample is tested once, groups stay whole, strata are balanced, and splits work on scenes as on pairs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.core.errors import BenchError
from bench.data.datasets.air_sarship import SCENES, AirSarShip
from bench.data.index import PairIndex, PairSample
from bench.data.ships.index import SceneIndex, ShipScene
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split, read_split, write_split

NO_BOXES, NO_FLAGS = np.zeros((0, 4)), np.zeros(0, dtype=bool)


def scenes_of(groups: list[str | None], **columns: list[str]) -> SceneIndex:
    items = []
    for i, group in enumerate(groups):
        attributes = {name: values[i] for name, values in columns.items()}
        items.append(ShipScene(f"im{i}", f"{i}.png", i, 9, 9, NO_BOXES, NO_FLAGS, group, attributes))
    return SceneIndex(tuple(items))


def air_sarship() -> SceneIndex:
    items = [
        ShipScene(str(n), f"{n}.tiff", n, 9, 9, NO_BOXES, NO_FLAGS, str(n), AirSarShip.columns_of(str(n)))
        for n in SCENES
    ]
    return SceneIndex(tuple(items))


def folds_of(index: Any, folds: int, **spec: Any) -> list[Any]:
    return [make_split(index, SplitSpec(kind="folds", folds=folds, fold=k, **spec)) for k in range(folds)]


@given(
    st.lists(st.sampled_from("abcdefghijkl"), min_size=6, max_size=60), st.integers(2, 4), st.integers(0, 30), st.data()
)
def test_every_sample_is_tested_once_and_groups_stay_whole(
    groups: list[str], folds: int, seed: int, data: st.DataObject
) -> None:
    if len(set(groups)) < folds + 1:
        return
    shore = {name: data.draw(st.sampled_from(["in", "off"])) for name in sorted(set(groups))}
    index = scenes_of(list(groups), shore=[shore[name] for name in groups])
    splits = folds_of(index, folds, seed=seed, stratify=("shore",), validation=0)
    assert np.array_equal(np.sort(np.concatenate([split.test for split in splits])), np.arange(len(groups)))
    tested = [{groups[i] for i in split.test} for split in splits]
    for split, names in zip(splits, tested, strict=True):
        assert not names & {groups[i] for i in split.train} and len(split.validation) == 0 and len(split.dropped) == 0
    # in each stratum and in all, fold sizes differ by at most one group
    for wanted in ({"in"}, {"off"}, {"in", "off"}):
        sizes = [sum(shore[name] in wanted for name in names) for names in tested]
        assert max(sizes) - min(sizes) <= 1


def test_air_sarship_in_three_folds() -> None:
    """8 inshore and 2 offshore scenes at 1 m, 13 and 8 at 3 m."""
    index = air_sarship()
    strata = list(zip(index.column("shore"), index.column("resolution_m"), strict=True))
    assert Counter(strata) == {("inshore", "1"): 8, ("offshore", "1"): 2, ("inshore", "3"): 13, ("offshore", "3"): 8}
    splits = folds_of(index, 3, stratify=("shore", "resolution_m"), validation=0.1)
    assert sorted(len(split.test) for split in splits) == [10, 10, 11]
    for stratum, total in Counter(strata).items():
        counts = [sum(strata[i] == stratum for i in split.test) for split in splits]
        assert sum(counts) == total and max(counts) - min(counts) <= 1
    for split in splits:
        assert len(split.validation) == 2 and split.summary["scenes"]["validation"] == 2
        assert not set(split.validation) & set(split.test)


def test_folds_are_frozen() -> None:
    """Known answer: a change of the rule would move every committed board."""
    index = air_sarship()
    tests = [[index.ids[i] for i in split.test] for split in folds_of(index, 3, stratify=("shore", "resolution_m"))]
    assert tests == FROZEN
    turned = index.take(np.random.default_rng(0).permutation(31))
    for split, again in zip(folds_of(index, 3), folds_of(turned, 3), strict=True):
        assert split.sha256 == again.sha256  # the order of the index does not matter
    assert folds_of(index, 3, seed=1)[0].sha256 != folds_of(index, 3)[0].sha256


FROZEN = [
    ["4", "5", "9", "10", "11", "15", "17", "20", "23", "30", "31"],
    ["1", "2", "6", "12", "13", "16", "19", "25", "27", "29"],
    ["3", "7", "8", "14", "18", "21", "22", "24", "26", "28"],
]


def test_the_group_is_the_scene_or_else_the_id() -> None:
    index = scenes_of(["s", "s", "t", "t", "u", "u"])
    assert all(
        len(split.test) == 2 and len({index.scenes[i] for i in split.test}) == 1
        for split in folds_of(index, 3, validation=0)
    )
    index = scenes_of([None] * 6)
    assert sorted(len(split.test) for split in folds_of(index, 4, validation=0)) == [1, 1, 2, 2]
    index = scenes_of([None] * 4, port=["x", "y", "x", "z"])
    assert {len(split.test) for split in folds_of(index, 3, by="port", validation=0)} == {1, 2}


def test_a_group_of_several_strata_counts_for_the_commonest() -> None:
    index = scenes_of(["a", "a", "a", "b", "c", "d"], shore=["in", "in", "off", "in", "off", "off"])
    splits = folds_of(index, 2, stratify=("shore",), validation=0)
    for split in splits:
        names = {index.scenes[i] for i in split.test}
        assert len(names & {"a", "b"}) == 1 and len(names & {"c", "d"}) == 1


def test_folds_after_require_and_on_pairs() -> None:
    index = scenes_of([f"s{i}" for i in range(8)], sure=["yes", "no"] * 4)
    splits = folds_of(index, 2, require={"sure": "yes"}, validation=0)
    assert sorted(np.concatenate([split.test for split in splits]).tolist()) == [0, 2, 4, 6]
    assert all(split.dropped.tolist() == [1, 3, 5, 7] for split in splits)
    pairs = PairIndex(tuple(PairSample(f"p{i}", "o", "s", None, f"s{i % 4}") for i in range(12)))
    split = make_split(pairs, SplitSpec(kind="folds", folds=4, fold=2, validation=0.3))
    assert len(split.test) == 3 and len(split.validation) == 3 and split.summary["pairs"]["train"] == 6


def test_a_written_fold_comes_back(tmp_path: Path) -> None:
    index = air_sarship()
    split = folds_of(index, 3)[1]
    write_split(split, index, tmp_path / "fold.csv")
    assert read_split(tmp_path / "fold.csv", index).sha256 == split.sha256


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "folds"}, "needs folds"),
        ({"kind": "folds", "folds": 1}, "greater than or equal to 2"),
        ({"kind": "folds", "folds": 3, "fold": 3}, "fold 3 of 3 folds; they count from 0 to 2"),
        ({"kind": "folds", "folds": 3, "test": 0.3}, "folds settle the test part"),
        ({"kind": "folds", "folds": 3, "validation_from": "all"}, "folds settle the test part"),
        ({"kind": "folds", "folds": 3, "test_groups": ["a"]}, "need kind: grouped"),
        ({"kind": "grouped", "folds": 3}, "folds need kind: folds"),
        ({"kind": "random", "stratify": ["shore"]}, "stratify need kind: folds"),
        ({"kind": "file", "path": "x.csv", "fold": 0}, "remove fold"),
    ],
)
def test_specs_that_contradict_themselves(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SplitSpec.model_validate(spec)


def test_folds_that_cannot_be() -> None:
    index = scenes_of(["a", "b", "c"])
    with pytest.raises(BenchError, match=r"names no fold; say which one is tested \(fold: 0 ... 2\)"):
        make_split(index, SplitSpec(kind="folds", folds=3))
    with pytest.raises(BenchError, match="4 folds need as many groups, and there are 3"):
        make_split(index, SplitSpec(kind="folds", folds=4, fold=0))
    with pytest.raises(BenchError, match="column 'scene' has only 1 groups left to choose from where 2 are needed"):
        make_split(scenes_of(["a", "b"]), SplitSpec(kind="folds", folds=2, fold=0))
    with pytest.raises(BenchError, match="no column 'shor'"):
        make_split(
            scenes_of(["a", "b"], shore=["x", "y"]), SplitSpec(kind="folds", folds=2, fold=0, stratify=("shor",))
        )


def test_dumps_of_the_other_kinds_know_no_folds() -> None:
    """Committed records hold dumps from before there were folds; a spec must still hash the same."""
    assert not {"folds", "fold", "stratify"} & set(SplitSpec(kind="grouped").model_dump(mode="json"))
    spec = SplitSpec(kind="folds", folds=3, fold=1, stratify=("shore",))
    assert SplitSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_messages_speak_of_scenes() -> None:
    index = scenes_of(["a", "b", "c"], shore=["x", "x", "y"])
    with pytest.raises(BenchError, match="no scene of the data set has shore = 'z'"):
        make_split(index, SplitSpec(require={"shore": "z"}))
    with pytest.raises(BenchError, match="test_groups: no scene has scene = 'd'"):
        make_split(index, SplitSpec(kind="grouped", test_groups=("d",)))
