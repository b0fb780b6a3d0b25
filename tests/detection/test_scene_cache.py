"""The decoded scenes: right pixels, one file, rebuilt when it must be, clear errors; and views of parts of them."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from scene_toys import store_of, view_of, write_scenes

from bench.core.errors import BenchError
from bench.data.images import write_image
from bench.data.scaling import fit_scaling
from bench.data.ships import scene_cache as module
from bench.data.ships.index import SceneIndex
from bench.data.ships.scene_cache import SceneStore, open_scenes
from bench.data.ships.view import SceneView

SIZES = ((20, 30), (1, 1), (33, 7), (64, 64), (5, 90), (12, 12))


def random_images(dtype: type[np.generic] = np.uint8, sizes: tuple[tuple[int, int], ...] = SIZES) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 200, size).astype(dtype) for size in sizes]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pixels_sizes_and_native_dtype(tmp_path: Path, dtype: type[np.generic]) -> None:
    images, seen = random_images(dtype), []
    index = write_scenes(tmp_path, images)
    store = open_scenes(index, tmp_path, "m", "toy", tmp_path / "cache", lambda done, total: seen.append((done, total)))
    assert len(store) == len(SIZES) and store.dtype == dtype
    for i, image in enumerate(images):
        assert store.image(i).dtype == dtype and np.array_equal(store.image(i), image)
    assert seen == [(n, len(SIZES)) for n in range(1, len(SIZES) + 1)]
    with pytest.raises(ValueError, match="read-only"):
        store.image(0)[0, 0] = 1
    again = pickle.loads(pickle.dumps(store))
    assert np.array_equal(again.image(3), images[3]) and len(pickle.dumps(store)) < 1000


def test_three_equal_channels_become_one_and_unequal_ones_are_refused(tmp_path: Path) -> None:
    grey = random_images()[0]
    index = write_scenes(tmp_path, [np.dstack([grey] * 3)])
    assert np.array_equal(store_of(tmp_path, index, tmp_path / "cache").image(0), grey)
    write_image(tmp_path / "images" / "0", np.dstack([grey, grey, 255 - grey]))
    with pytest.raises(BenchError, match=r"images/0.png has three unequal channels"):
        store_of(tmp_path, index, tmp_path / "cache", "other")


def test_built_once_and_again_when_the_files_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = write_scenes(tmp_path, random_images(), [[[1, 1, 3, 3]]] * len(SIZES))
    first = store_of(tmp_path, index, tmp_path / "cache")
    other = store_of(tmp_path, index, tmp_path / "cache", "changed")
    assert other.folder != first.folder

    def fail(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(module, "_build", fail)
    assert store_of(tmp_path, index, tmp_path / "cache").folder == first.folder
    relabelled = write_scenes(tmp_path, random_images(), [[]] * len(SIZES))
    assert store_of(tmp_path, relabelled, tmp_path / "cache").folder == first.folder  # other boxes, the same pixels


@pytest.mark.parametrize("damage", ["shorter", "longer", "gone", "no meta", "bad meta", "other sizes"])
def test_damaged_cache_is_rebuilt(tmp_path: Path, damage: str) -> None:
    images = random_images()
    index = write_scenes(tmp_path, images)
    store = store_of(tmp_path, index, tmp_path / "cache")
    file, meta = store.folder / "pixels.npy", store.folder / "meta.json"
    if damage == "shorter":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "longer":
        file.write_bytes(file.read_bytes() + b"0")
    elif damage == "gone":
        file.unlink()
    elif damage == "no meta":
        meta.unlink()
    elif damage == "bad meta":
        meta.write_text("{}")
    else:
        meta.write_text(meta.read_text().replace("30", "31"))
    with pytest.raises(BenchError, match="gone or damaged"):
        pickle.loads(pickle.dumps(store))
    again = store_of(tmp_path, index, tmp_path / "cache")
    assert all(np.array_equal(again.image(i), image) for i, image in enumerate(images))
    assert not [path for path in again.folder.parent.iterdir() if ".tmp-" in path.name]


def test_a_size_other_than_the_annotation_says(tmp_path: Path) -> None:
    index = write_scenes(tmp_path, random_images())
    write_image(tmp_path / "images" / "2", np.zeros((7, 33), np.uint8))
    with pytest.raises(BenchError, match=r"images/2.png is 7 x 33 px, but its annotation says 33 x 7"):
        store_of(tmp_path, index, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache/scenes").iterdir() if not path.name.endswith(".building")]


def test_two_dtypes_name_both_files(tmp_path: Path) -> None:
    images = random_images()
    index = write_scenes(tmp_path, [*images[:3], images[3].astype(np.uint16)])
    with pytest.raises(BenchError, match=r"images/3.png holds uint16 pixels, while .*images/0.png holds uint8"):
        store_of(tmp_path, index, tmp_path / "cache")


def test_broken_image_stops_the_build(tmp_path: Path) -> None:
    index = write_scenes(tmp_path, random_images())
    path = tmp_path / "images/3.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BenchError, match="3.png cannot be decoded"):
        store_of(tmp_path, index, tmp_path / "cache")


@pytest.mark.parametrize(("code", "text"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")])
def test_full_or_read_only_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, text: str) -> None:
    index = write_scenes(tmp_path, random_images())

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(BenchError, match=text):
        store_of(tmp_path, index, tmp_path / "cache")


def test_too_little_space_is_told_before_decoding_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10

    index = write_scenes(tmp_path, random_images())
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(BenchError, match="need 0.0 GB .* 0.0 GB are free"):
        store_of(tmp_path, index, tmp_path / "cache")


def test_view(tmp_path: Path) -> None:
    images = random_images(np.uint16)
    boxes = [[[1, 2, 5, 6], [7, 8, 9, 10]], [], [[0, 0, 3, 3]], [[1, 1, 2, 2]], [], []]
    whole = view_of(tmp_path, images, boxes, ignored=(3,))
    view = SceneView(whole.store, whole.index, np.array([3, 0, 2]))
    assert len(view) == 3 and view.ids == ("s3", "s0", "s2") and view.groups == ("port1", "port0", "port1")
    assert view.ships == 3 and view.ignore(0).tolist() == [True] and view.item(1).id == "s0"
    assert np.array_equal(view.boxes(1), boxes[0]) and np.array_equal(view.image(2), images[2])
    assert [block.shape for block in view.blocks()] == [(1, 64, 64), (1, 20, 30), (1, 33, 7)]
    values = np.concatenate([images[i].ravel() for i in (3, 0, 2)])
    assert fit_scaling("percentile", view.blocks()).high == fit_scaling("percentile", [values[None, None]]).high
    assert view.subset(np.array([2, 0])).ids == ("s2", "s3")
    assert SceneView(whole.store, whole.index, np.array([1]), groups=list("abcdef")).groups == ("b",)
    assert len(SceneView(whole.store, whole.index, np.zeros(0))) == 0
    copy = pickle.loads(pickle.dumps(view))
    assert np.array_equal(copy.image(0), view.image(0)) and copy.ships == 3


def test_view_refuses_what_does_not_belong_together(tmp_path: Path) -> None:
    whole = view_of(tmp_path, random_images())
    store: SceneStore = whole.store
    shorter = SceneIndex(whole.index.items[:2])
    with pytest.raises(BenchError, match="do not belong together"):
        SceneView(store, shorter, np.array([0]))
    with pytest.raises(BenchError, match="position lies outside the 6 scenes of the toy set"):
        SceneView(store, whole.index, np.array([6]))
