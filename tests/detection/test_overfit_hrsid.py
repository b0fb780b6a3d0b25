"""A small Faster R-CNN learns 20 crops of real HRSID tiles by heart, where BENCH_DATA says that they are here (about 3
minutes).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmdet_toys import context_of, fit_data
from scene_toys import store_of, write_scenes

from bench.data.dataset import open_dataset
from bench.data.scaling import ScalingParams
from bench.data.ships.index import SceneIndex
from bench.data.ships.scene_cache import open_scenes
from bench.data.ships.view import SceneView
from bench.detection.detectors.base import Setup
from bench.detection.detectors.mmdet.faster_rcnn import FasterRcnn, FasterRcnnOptions
from bench.detection.scoring.evaluator import BoxTable, ap_from_matches, match
from bench.detection.spec import Merging, Tiles
from bench.detection.tiles.batches import Sampling, TileBatches
from bench.detection.tiles.tiling import boxes_in, cut

HRSID = Path(os.environ.get("BENCH_DATA", ".")) / "hrsid_468"
SCALING = ScalingParams("uint8", 1, 0.0, 255.0)
TILES = Tiles(size_px=256, overlap_px=64, min_visible=0.5)
CROPS = 20


def crops_with_ships(folder: Path) -> SceneView:
    """Cut 20 windows of 256 px with a ship each, at native resolution, and open them as scenes of their own."""
    dataset = open_dataset("hrsid", {"annotations": ["site_train"]}, HRSID, folder / "cache", kind="ships")
    index = dataset.index()
    store = open_scenes(index, HRSID, dataset.manifest().sha256, "overfit", folder / "cache")
    train = SceneView(store, index, np.arange(len(index)))
    windows = TileBatches(train, SCALING, TILES, Sampling(per_epoch=CROPS, ship_share=1.0, augment="none"), seed=0)
    images, boxes, ignore = [], [], []
    for k in range(CROPS):
        scene, window = windows.window(0, k)
        shown, aside = boxes_in(window, train.boxes(scene), train.ignore(scene), TILES.min_visible)
        images.append(cut(train.image(scene), window, 0))
        boxes.append(shown.tolist())
        ignore.append(aside)
    made = write_scenes(folder / "set", images, boxes)
    items = tuple(replace(item, ignore=flags) for item, flags in zip(made.items, ignore, strict=True))
    crops = SceneIndex(items, made.where)
    return SceneView(store_of(folder / "set", crops, folder / "cache"), crops, np.arange(CROPS))


@pytest.mark.slow
@pytest.mark.skipif(not HRSID.is_dir(), reason="set BENCH_DATA to the folder that holds hrsid_468")
def test_a_small_faster_rcnn_overfits_real_crops(tmp_path: Path) -> None:
    crops = crops_with_ships(tmp_path)
    assert crops.ships >= 40
    options = FasterRcnnOptions(
        epochs=45, sampling="grid", augment="none", batch_size=4, optimizer="adamw", lr=0.001, warmup_epochs=2, channels_last=True,
        fpn_channels=64, rpn_channels=64, roi_fc=256, roi_samples=128, train_proposals=300, test_proposals=300, anchor_scales=(4.0,),
    )  # fmt: skip
    detector = FasterRcnn(options)
    lines: list[str] = []
    detector.prepare(Setup("resnet18", SCALING, TILES, Merging.model_validate({}), context_of(tmp_path / "fit", lines)))
    detector.fit(fit_data(crops))
    found = [detector.predict(crops.image(k)).merged for k in range(CROPS)]
    table = BoxTable.of([(crops.boxes(k), crops.ignore(k)) for k in range(CROPS)], found)
    ap = ap_from_matches(match(table, "coco", (0.5,)), "area")
    print(f"AP50 {ap:.4f} on {crops.ships} ships after {options.epochs} epochs; {lines[-1]}")
    assert ap is not None and ap > 0.9
