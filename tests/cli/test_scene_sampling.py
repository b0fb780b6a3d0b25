"""`sampling: scenes` as a user types it: one training for data sets that are cut differently, what enters keys, what is
refused.
"""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from command_line import Bench

from bench.data.images import write_image

SUITE = """\
name: scenes
matching:
  protocol: {name: match/test-v1, hard: none, gallery: 4}
  datasets:
    p32: &set
      dataset: s1s2-scenes
      options: {patch_px: 32}
      splits: {place: {kind: grouped, by: scene, test_groups: ["004"], validation_groups: ["003"], guard_m: 100}}
    p64: {<<: *set, options: {patch_px: 64}}
  methods:
    strong:
      matcher: dense-cfog
      options: {sampling: scenes, entries: 8, epoch_crops: 8, batch_size: 4, crop_px: [32, 48], width: 4}
"""
TOY = """\
name: none
matching:
  datasets:
    toy: {dataset: toy-pairs, options: {scenes: 3, patches_per_scene: 4, patch_px: 32}, splits: {r: {kind: random}}}
  methods: {strong: {matcher: dense-cfog, options: {sampling: scenes}}}
"""


@pytest.fixture
def scenes(bench: Bench) -> Bench:
    root, rng = bench.folder / "s1s2_scenes", np.random.default_rng(0)
    for folder in ("opt", "sar"):
        (root / folder).mkdir(parents=True)
    with (root / "scenes.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["scene", "tile", "x_min_m", "y_min_m", "x_max_m", "y_max_m", "position_certain"])
        for k in range(5):
            optical = np.kron(rng.integers(0, 256, (16, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            write_image(root / "opt" / f"{k:03d}", optical)
            write_image(root / "sar" / f"{k:03d}", 255 - optical[..., 0])
            table.writerow([f"{k:03d}", "T", 5000 * k, 0, 5000 * k + 1280, 1280, "True"])
    bench.env["BENCH_DATA"] = str(bench.folder)
    bench.write("scenes.yaml", SUITE)
    return bench


def keys(bench: Bench, *more: str) -> dict[str, dict[str, str]]:
    bench("run", "--config", "scenes.yaml", "--threads", "1", "--workers", "0", "--no-figures", *more)
    records = [json.loads(path.read_text()) for path in bench.folder.glob("runs/matching/*/record.json")]
    assert all(record["status"] == "finished" for record in records)
    return {record["dataset"]: record["keys"] for record in records}


def test_data_sets_that_offer_the_same_ground_share_a_training(scenes: Bench) -> None:
    found = keys(scenes)
    assert set(found) == {"p32/place", "p64/place"}
    assert len({key["train"] for key in found.values()}) == 1 and len({key["predict"] for key in found.values()}) == 2
    weights = [scenes.cell(f"{name}-place--strong") / "model.safetensors" for name in ("p32", "p64")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    record = json.loads((scenes.cell("p64-place--strong") / "record.json").read_text())
    assert record["inputs"]["training_data"]["areas"] == record["facts"]["sampling"]["areas_sha256"]
    assert record["facts"]["sampling"]["scenes"] == 3
    # another guard is another training; a limit too
    text = SUITE.replace("guard_m: 100", "guard_m: 4000")
    scenes.write("scenes.yaml", text)
    plan = scenes("plan", "--config", "scenes.yaml").stdout
    assert "2 to run, 1 of them with training" in plan
    scenes.write("scenes.yaml", SUITE)
    assert "2 finished" in scenes("plan", "--config", "scenes.yaml").stdout
    assert "train" in scenes("plan", "--config", "scenes.yaml", "--limit", "4", "--dataset", "p32").stdout


def test_a_set_of_patches_is_refused(bench: Bench) -> None:
    bench.write("none.yaml", TOY)
    said = bench("plan", "--config", "none.yaml", code=2).stdout
    assert "missing: data set toy-pairs has no scenes, only ready-made patches; set sampling: patches" in said
