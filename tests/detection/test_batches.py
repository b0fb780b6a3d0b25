"""Training tiles: pure functions of (seed, epoch, index), every ship seen, boxes that stay on their pixels."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scene_toys import view_of

from bench.core.errors import BenchError
from bench.data.scaling import ScalingParams
from bench.data.ships.view import SceneView
from bench.data.symmetries import turned
from bench.detection.spec import Tiles
from bench.detection.tiles.batches import Sampling, TileBatches, turned_boxes
from bench.detection.tiles.tiling import visible_share
from bench.training.loader import make_loader

UINT8 = ScalingParams("uint8", 1, 0.0, 255.0)
TILES = Tiles(size_px=64, overlap_px=16)
SHIPS: tuple[list[list[int]], ...] = (
    [[10, 20, 40, 30], [100, 5, 120, 45]],
    [],
    [[0, 0, 15, 9]],
    [[30, 30, 45, 50], [60, 10, 150, 40]],
)
SIZES = ((130, 200), (80, 90), (30, 40), (64, 160))


def painted(sizes: tuple[tuple[int, int], ...] = SIZES, ships: Any = SHIPS) -> list[np.ndarray]:
    """Dark scenes (value 50), every ship a bright rectangle of a value of its own from 200 on."""
    images = []
    for size, boxes in zip(sizes, ships, strict=True):
        image = np.full(size, 50, np.uint8)
        for number, (x1, y1, x2, y2) in enumerate(boxes):
            image[y1:y2, x1:x2] = 200 + number
        images.append(image)
    return images


@pytest.fixture
def view(tmp_path: Path) -> SceneView:
    return view_of(tmp_path, painted(), SHIPS)


def batches_of(view: SceneView, seed: int = 1, **options: Any) -> TileBatches:
    return TileBatches(view, UINT8, TILES, Sampling(**options), seed)


def epoch_of(batches: TileBatches, epoch: int) -> list[dict[str, Any]]:
    return [batches.fetch(epoch, indices) for indices in batches.indices(epoch)]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a.dtype == b.dtype and np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("mode", ["crops", "grid"])
def test_a_batch_is_a_function_of_seed_epoch_and_indices(view: SceneView, mode: str) -> None:
    options: dict[str, Any] = {
        "mode": mode,
        "batch_size": 3,
        "augment": "dihedral",
        "empty_share": 0.5 if mode == "grid" else None,
    }
    one, two, other = batches_of(view, **options), batches_of(view, **options), batches_of(view, 2, **options)
    second = epoch_of(one, 1)
    epoch_of(two, 0)
    np.random.seed(9)
    assert same(second, epoch_of(pickle.loads(pickle.dumps(two)), 1))
    assert not same(second, epoch_of(one, 0)) and not same(second, epoch_of(other, 1))
    indices = one.indices(1)[0]
    alone = [one.fetch(1, indices[[i]])["image"][0] for i in range(len(indices))]
    assert same(second[0]["image"], np.stack(alone))  # no sample depends on its batch


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_reach_the_network(view: SceneView, workers: int) -> None:
    batches = batches_of(view, batch_size=2, per_epoch=5)
    loader, sampler = make_loader(batches, 2, workers, 1, torch.device("cpu"))
    sampler.epoch = 3
    got = list(loader)
    expected = epoch_of(batches, 3)
    assert len(got) == len(batches) == 3 and sampler.samples == batches.tiles_per_epoch == 5
    for batch, made in zip(got, expected, strict=True):
        assert batch["image"].shape[1:] == (64, 64) and batch["image"].dtype == torch.float32
        assert [tuple(boxes.shape) for boxes in batch["boxes"]] == [(int(count), 4) for count in made["count"]]
        assert all(same(a.numpy(), b) for a, b in zip(batch["boxes"], made["boxes"], strict=True))


def test_crops_show_every_ship_whole_and_at_many_places(view: SceneView) -> None:
    batches = batches_of(view, per_epoch=40, ship_share=1.0, augment="none")
    seen: dict[tuple[int, int], set[tuple[float, float]]] = {}
    for epoch in range(10):
        for batch in epoch_of(batches, epoch):
            assert (batch["count"] >= 1).all()
            for scene, image, boxes in zip(batch["scene"], batch["image"], batch["boxes"], strict=True):
                for x1, y1, x2, y2 in boxes:
                    value = round(float(image[int(y1), int(x1)]) * 255)
                    ship = np.array(SHIPS[scene][value - 200])
                    if (x2 - x1, y2 - y1) == tuple(ship[2:] - ship[:2]):
                        seen.setdefault((int(scene), value - 200), set()).add((float(x1), float(y1)))
    assert set(seen) == {(0, 0), (0, 1), (2, 0), (3, 0)}  # the fifth is longer than a crop
    assert all(len(places) > 20 for ship, places in seen.items() if ship != (2, 0))
    assert seen[(2, 0)] == {(0.0, 0.0)}  # its scene is smaller than a crop


def test_a_ship_longer_than_the_crop_is_centred(view: SceneView) -> None:
    batches = batches_of(view, per_epoch=60, ship_share=1.0)
    windows = {batches.window(epoch, i) for epoch in range(3) for i in range(60)}
    long_ship = {
        window[1]
        for scene, window in windows
        if scene == 3 and visible_share(window, np.array([[60.0, 10, 150, 40]]))[0] > 0.7
    }
    assert 73 in long_ship  # x 60..150 has its middle at 105


def test_random_crops_reach_empty_scenes_and_every_border(view: SceneView) -> None:
    batches = batches_of(view, per_epoch=1500, ship_share=0.0, augment="none")
    drawn = [batches.window(0, i) for i in range(1500)]
    assert {scene for scene, _ in drawn} == {0, 1, 2, 3}
    for scene, (height, width) in enumerate(SIZES):
        y, x = np.array([window[:2] for where, window in drawn if where == scene]).T
        assert y.min() == 0 and x.min() == 0 and y.max() <= max(height - 64, 0) and x.max() <= max(width - 64, 0)
    assert max(window[1] for scene, window in drawn if scene == 1) == 90 - 64
    batch = batches.fetch(0, np.flatnonzero([scene == 2 for scene, _ in drawn])[:1])
    assert (batch["image"][0, 30:] == 0).all() and (batch["image"][0, :, 40:] == 0).all()  # padding is 0 after scaling
    assert batch["image"][0, 29, 39] == pytest.approx(50 / 255)


@pytest.mark.parametrize("mode", ["crops", "grid"])
@pytest.mark.parametrize("augment", ["none", "flip", "dihedral"])
def test_boxes_stay_on_their_pixels(view: SceneView, mode: str, augment: str) -> None:
    batches = batches_of(view, mode=mode, augment=augment, per_epoch=100 if mode == "crops" else None)
    bright = 0
    for batch in epoch_of(batches, 0):
        for image, boxes, ignored in zip(batch["image"], batch["boxes"], batch["ignored"], strict=True):
            cover = np.zeros((64, 64), bool)
            for x1, y1, x2, y2 in np.concatenate([boxes, ignored]).astype(int):
                cover[y1:y2, x1:x2] = True
            assert np.array_equal(cover, image * 255 > 199)
            bright += bool(cover.any())
    assert bright > 5


@pytest.mark.parametrize(("augment", "expected"), [("none", {0}), ("flip", {0, 4}), ("dihedral", set(range(8)))])
def test_which_symmetries_are_drawn(view: SceneView, augment: str, expected: set[int]) -> None:
    plain = batches_of(view, augment="none", per_epoch=80, ship_share=1.0, batch_size=80).fetch(0, np.arange(80))
    batch = batches_of(view, augment=augment, per_epoch=80, ship_share=1.0, batch_size=80).fetch(0, np.arange(80))
    seen: list[int] = []
    for before, after in zip(plain["image"], batch["image"], strict=True):
        fits = [turn for turn in range(8) if np.array_equal(turned(before, turn), after)]
        assert fits
        seen += fits if len(fits) == 1 else []  # a symmetric picture tells nothing
    assert set(seen) == expected
    if augment == "flip":
        assert 0.3 < np.mean(np.array(seen) == 4) < 0.7


@pytest.mark.parametrize("turn", range(8))
def test_the_eight_symmetries(turn: int) -> None:
    image = np.arange(36).reshape(6, 6)
    box = np.array([[1.0, 2, 4, 3]])
    x1, y1, x2, y2 = turned_boxes(box, turn, 6)[0].astype(int)
    assert sorted(turned(image, turn)[y1:y2, x1:x2].ravel()) == sorted(image[2:3, 1:4].ravel())
    assert len({turned(image, t).tobytes() for t in range(8)}) == 8


def test_the_grid_has_every_tile_once_and_rescues_long_ships(view: SceneView) -> None:
    batches = batches_of(view, mode="grid", batch_size=4, augment="none")
    indices = np.concatenate(batches.indices(0))
    assert sorted(indices) == list(range(batches.tiles_per_epoch)) and len(batches.indices(0)) == len(batches)
    assert not np.array_equal(indices, np.concatenate(batches.indices(1)))
    windows = [batches.window(0, int(i)) for i in indices]
    # (130, 200): 3 x 4; (80, 90): 2 x 2; (30, 40): 1; (64, 160): 1 x 3; ship 100..120 x 5..45 lies whole in a tile: no
    # rescue
    assert len(windows) == 12 + 4 + 1 + 3
    longer = view_of(
        Path(view.store.folder.parents[2]) / "long", painted(((64, 200),), [[[40, 5, 90, 15]]]), [[[40, 5, 90, 15]]]
    )
    tiles = [batches_of(longer, mode="grid").window(0, i) for i in range(5)]
    assert tiles[-1] == (0, (0, 33, 64, 64))


def test_the_grid_can_be_cut_short(view: SceneView) -> None:
    batches = batches_of(view, mode="grid", per_epoch=5, batch_size=2)
    assert (
        batches.tiles_per_epoch == 5 and [len(part) for part in batches.indices(0)] == [2, 2, 1] and len(batches) == 3
    )
    drawn = {int(i) for epoch in range(30) for i in np.concatenate(batches.indices(epoch))}
    assert drawn == set(range(20)), "other tiles every epoch"
    assert batches_of(view, mode="grid", per_epoch=99).tiles_per_epoch == 20


def test_share_of_empty_tiles(view: SceneView) -> None:
    with_ship = batches_of(view, mode="grid", empty_share=0.0).tiles_per_epoch
    assert 0 < with_ship < 20
    batches = batches_of(view, mode="grid", empty_share=0.5, batch_size=100)
    assert batches.tiles_per_epoch == with_ship + round(0.5 * with_ship)
    epochs = [batches.fetch(epoch, batches.indices(epoch)[0]) for epoch in range(30)]
    assert all((batch["count"] > 0).sum() == with_ship for batch in epochs)
    drawn = {int(i) for epoch in range(30) for i in batches.indices(epoch)[0]}
    assert len(drawn) == 20  # all empty tiles have their turn
    assert batches_of(view, mode="grid", empty_share=99.0).tiles_per_epoch == 20


def test_ships_to_be_ignored_and_cut_ones_stand_apart(tmp_path: Path) -> None:
    boxes = [[[10, 10, 20, 20]], [[10, 10, 20, 20]]]
    view = view_of(tmp_path, painted(((64, 64), (64, 64)), boxes), boxes, ignored=(1,))
    grid = batches_of(view, mode="grid", augment="none", batch_size=2)
    batch = grid.fetch(0, np.array([0, 1]))
    assert (
        batch["count"].tolist() == [1, 0]
        and batch["ignored"][1].tolist() == [[10, 10, 20, 20]]
        and len(batch["ignored"][0]) == 0
    )
    assert batch["boxes"][1].shape == (0, 4) and batch["boxes"][1].dtype == np.float32
    assert batches_of(view, mode="grid", empty_share=0.0).tiles_per_epoch == 1
    assert all(batches_of(view, ship_share=1.0).window(0, i)[0] == 0 for i in range(20))


def test_one_ship_and_no_ship(tmp_path: Path) -> None:
    one = view_of(tmp_path / "one", painted(((70, 70),), [[[0, 0, 9, 9]]]), [[[0, 0, 9, 9]]])
    batches = batches_of(one)
    assert batches.tiles_per_epoch == 1 and [len(part) for part in batches.indices(0)] == [1]
    none = view_of(tmp_path / "none", painted(((1, 1),), [[]]), [[]])
    empty = batches_of(none, per_epoch=4)
    assert empty.fetch(0, empty.indices(0)[0])["count"].tolist() == [0, 0, 0, 0]
    assert batches_of(none).tiles_per_epoch == 0 and len(batches_of(none)) == 0 and batches_of(none).indices(0) == []
    nothing = SceneView(none.store, none.index, np.zeros(0))
    assert len(batches_of(nothing, per_epoch=4)) == 0 and len(batches_of(nothing, mode="grid")) == 0


def test_float_scenes_are_padded_dark(tmp_path: Path) -> None:
    view = view_of(tmp_path, [np.full((5, 5), -10, np.float32)], [[[1, 1, 3, 3]]])
    batches = TileBatches(view, ScalingParams("percentile", 1, -31.7, 2.0), TILES, Sampling(augment="none"), 0)
    image = batches.fetch(0, np.array([0]))["image"][0]
    assert (image[5:] == 0).all() and (image[:, 5:] == 0).all() and (image[:5, :5] > 0.5).all()


def test_another_edge_than_the_tiles(view: SceneView) -> None:
    batches = batches_of(view, size_px=32, mode="grid")
    assert batches.fetch(0, np.arange(3))["image"].shape == (3, 32, 32)
    with pytest.raises(BenchError, match="tiles of 16 px cannot overlap by 16 px"):
        batches_of(view, size_px=16, mode="grid")
    assert batches_of(view, size_px=16, mode="crops").size_px == 16


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mode": "random"}, "unknown sampling mode 'random'"),
        ({"augment": "rotate"}, "unknown augment 'rotate'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"per_epoch": 0}, "per_epoch is 0"),
        ({"ship_share": 1.5}, "ship_share is 1.5"),
        ({"empty_share": -1.0}, "empty_share is -1.0"),
        ({"size_px": 0}, "size_px is 0"),
    ],
)
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(BenchError, match=text):
        Sampling(**options)


@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="set BENCH_DATA to the folder of the real data")
def test_real_tiles_give_whole_ships(tmp_path: Path) -> None:
    """HRSID tiles with native crops of 256 px: with ship_share 1, every crop holds a ship that fits it whole."""
    import json

    from scene_toys import store_of

    from bench.data.ships.index import SceneIndex, ShipScene

    root = Path(os.environ["BENCH_DATA"]) / "hrsid_468"
    listed = json.loads((root / "annotations/site_test.json").read_text(encoding="utf-8"))
    boxes: dict[int, list[list[float]]] = {}
    for entry in listed["annotations"]:
        x, y, width, height = entry["bbox"]
        boxes.setdefault(entry["image_id"], []).append([x, y, x + width, y + height])
    items = []
    for image in listed["images"][:40]:
        own = np.array(boxes.get(image["id"], []), dtype=np.float64).reshape(-1, 4)
        path = f"JPEGImages/{image['file_name']}"
        items.append(ShipScene(path, path, image["id"], image["height"], image["width"], own, np.zeros(len(own), bool)))
    index = SceneIndex(tuple(items))
    view = SceneView(store_of(root, index, tmp_path), index, np.arange(len(items)))
    sampling = Sampling(per_epoch=200, ship_share=1.0)
    batches = TileBatches(view, UINT8, Tiles(size_px=256, overlap_px=100), sampling, 0)
    for i in range(200):
        scene, window = batches.window(0, i)
        sides = (view.boxes(scene)[:, 2:] - view.boxes(scene)[:, :2]).max(axis=1)
        assert visible_share(window, view.boxes(scene)).max() == 1 or sides.max() > 256
