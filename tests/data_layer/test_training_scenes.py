"""Whole scenes as a source of training crops: what is offered, what is closed, where crops lie, what is decoded."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.data.datasets.s1s2_scenes import S1S2Scenes
from bench.data.datasets.two_folders import TwoFolders
from bench.data.images import read_image
from bench.data.scene_areas import OffersScenes, SceneArea, WholeScene, areas_sha256, training_areas
from bench.data.scene_store import open_pair_scenes
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split, without
from bench.data.training_scenes import TrainingScenes
from bench.data.windows import Window

MakeScenes = Callable[..., Path]
# scenes of the fixture lie 1000 m apart and are 500 m wide and 400 m high, 10 m a pixel
PLACE = SplitSpec(kind="grouped", by="scene", test_groups=("001",), validation_groups=("003",), guard_m=600)


def opened(root: Path, cache: Path, spec: SplitSpec, **options: Any) -> TrainingScenes:
    dataset = S1S2Scenes.at(root, **options)
    index, scenes = dataset.index(), dataset.whole_scenes()
    areas = training_areas(scenes, index, make_split(index, spec), spec.guard_m)
    store = open_pair_scenes(scenes, index.reading, dataset.root, dataset.manifest().sha256, "test", cache)
    names = [scene.id for scene in scenes]
    return TrainingScenes(store, areas, [names.index(area.scene.id) for area in areas])


def areas_of(root: Path, spec: SplitSpec, **options: Any) -> tuple[SceneArea, ...]:
    dataset = S1S2Scenes.at(root, **options)
    index = dataset.index()
    return training_areas(dataset.whole_scenes(), index, make_split(index, spec), spec.guard_m)


def test_only_training_scenes_are_offered_and_the_guard_is_closed(make_scenes: MakeScenes) -> None:
    root = make_scenes(((40, 50),) * 5)
    areas = areas_of(root, PLACE, patch_px=10)
    assert [area.scene.id for area in areas] == ["000", "002", "004"]
    # 001 begins at 1000 m, so from 400 m on 000 is nearer than 600 m; 002 lies between 1500 m and 3000 m
    assert areas[0].closed == ((0, 40, 40, 10),)
    assert areas[1].closed == ((0, 0, 40, 10), (0, 40, 40, 10))
    assert areas[2].closed == ((0, 0, 40, 10),)


def test_what_is_offered_does_not_depend_on_the_size_of_patches(make_scenes: MakeScenes) -> None:
    root = make_scenes(((40, 50),) * 5)
    hashes = {areas_sha256(areas_of(root, PLACE, patch_px=px, overlap_px=px // 2)) for px in (8, 10, 16)}
    assert len(hashes) == 1
    other = PLACE.model_copy(update={"guard_m": 590})
    assert areas_sha256(areas_of(root, other, patch_px=8)) not in hashes


def test_in_a_mixed_scene_the_windows_held_back_are_closed(make_scenes: MakeScenes) -> None:
    root = make_scenes()
    dataset = S1S2Scenes.at(root, patch_px=10)
    index = dataset.index()
    split = make_split(index, SplitSpec(kind="random", train=0.5, validation=0.2))
    split = without(split, index, split.train[:2])
    areas = training_areas(dataset.whole_scenes(), index, split, 0.0)
    for area in areas:
        here = [i for i, scene in enumerate(index.scenes) if scene == area.scene.id]
        held = {index.samples[i].window for i in here if i not in set(split.train.tolist())}
        assert set(area.closed) == held


@given(st.data())
def test_room_is_found_where_there_is_any(data: st.DataObject) -> None:
    height, width, side = (data.draw(st.integers(1, 14)) for _ in range(3))
    window = st.tuples(st.integers(0, 13), st.integers(0, 13), st.integers(1, 9), st.integers(1, 9))
    closed: list[Window] = data.draw(st.lists(window, max_size=4))
    area = SceneArea(WholeScene("a", "a", "a", (height, width)), tuple(closed))
    shut = np.zeros((40, 40), bool)
    for y0, x0, h, w in closed:
        shut[y0 : y0 + h, x0 : x0 + w] = True
    free = [
        not shut[y : y + side, x : x + side].any() for y in range(height - side + 1) for x in range(width - side + 1)
    ]
    assert area.has_room(side) == any(free)


def test_no_crop_touches_what_is_held_back(make_scenes: MakeScenes, tmp_path: Path) -> None:
    root = make_scenes(((40, 50),) * 5)
    scenes = opened(root, tmp_path / "cache", PLACE, patch_px=10)
    rows = scenes.draw(np.random.default_rng(0), 20000, 16, 4, 2)
    assert rows.shape == (20000, 5)
    move = rows[:, 3:] - rows[:, 1:3]
    assert set(np.unique(move)) == {-4, -2, 0, 2, 4}
    dataset = S1S2Scenes.at(root, patch_px=10)
    held = [scene.place for scene in dataset.whole_scenes() if scene.id in ("001", "003")]
    for k, y, x in np.unique(np.concatenate([rows[:, :3], rows[:, [0, 3, 4]]]), axis=0).tolist():
        scene = scenes.areas[k].scene
        assert 0 <= y <= 24 and 0 <= x <= 34 and scene.place is not None
        left, right = scene.place[0] + 10 * x, scene.place[0] + 10 * (x + 16)
        for place in held:
            assert place is not None and (left - place[2] >= 600 or place[0] - right >= 600)
    with pytest.raises(ValueError, match="is not free"):
        scenes.cut("sar", 0, 0, 30, 16)
    # every free position of every scene is reached
    assert len({tuple(row) for row in rows[:, :3].tolist()}) > 0.9 * (25 * 25 + 25 * 15 + 25 * 25)


def test_crops_are_the_pixels_of_the_files_decoded_once(make_scenes: MakeScenes, tmp_path: Path) -> None:
    root = make_scenes(((40, 50), (30, 60), (40, 50), (40, 50), (44, 52)))
    scenes = opened(root, tmp_path / "cache", PLACE, patch_px=10)
    (folder,) = (tmp_path / "cache" / "whole-scenes").glob("[!.]*")
    before = (folder / "sar.npy").stat().st_mtime_ns
    again = opened(root, tmp_path / "cache", PLACE, patch_px=8)
    assert (folder / "sar.npy").stat().st_mtime_ns == before and again.sha256 == scenes.sha256
    for k, area in enumerate(scenes.areas):
        for view, files in (("sar", "sar"), ("optical", "opt")):
            whole = read_image(root / files / f"{area.scene.id}.png")
            assert np.array_equal(scenes.cut(view, k, 3, 21, 16), whole[3:19, 21:37])
    copy = pickle.loads(pickle.dumps(scenes))  # as a loading process gets it
    assert len(pickle.dumps(scenes)) < 5000 and np.array_equal(
        copy.cut("sar", 2, 0, 21, 8), scenes.cut("sar", 2, 0, 21, 8)
    )


def test_statistics_are_taken_from_what_is_open(make_scenes: MakeScenes, tmp_path: Path) -> None:
    root = make_scenes(((300, 520),) * 7)  # every scene shows 5.2 km, the next begins after 1 km
    spec = SplitSpec(kind="grouped", by="scene", test_groups=("006",), validation=0)
    scenes = opened(root, tmp_path / "cache", spec, patch_px=100)
    assert [area.closed for area in scenes.areas][:2] == [(), ((0, 500, 300, 20),)]
    shapes = [block.shape for block in scenes.blocks("optical")]
    assert shapes[:6] == [(1, h, w, 3) for h in (256, 44) for w in (256, 256, 8)]
    # of 001 the last column of tiles is closed
    assert shapes[6:8] == [(1, 256, 256, 3), (1, 44, 256, 3)]


def test_no_room_and_no_scenes_are_said(make_scenes: MakeScenes, make_pairs: MakeScenes, tmp_path: Path) -> None:
    scenes = opened(make_scenes(((40, 50),) * 5), tmp_path / "cache", PLACE, patch_px=10)
    with pytest.raises(BenchError, match="no training scene has room for crops of 40 px displaced by up to 4 px"):
        scenes.draw(np.random.default_rng(0), 4, 40, 4)
    assert not isinstance(TwoFolders.at(make_pairs()), OffersScenes)
    assert isinstance(S1S2Scenes.at(tmp_path / "scenes"), OffersScenes)
