"""`bench` on detection suites as a user types it: the matching cell that a pretraining needs, folds, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import TOY, Bench

PROBE = '''\
"""A detector that is done at once: it keeps the hash of what its backbone starts from, and boxes everything bright."""

import hashlib

import numpy as np

from bench.core.registries import DETECTORS
from bench.detection.detectors.base import Detections, Detector, ScenePrediction


@DETECTORS.register("probe", "boxes everything bright")
class Probe(Detector):
    trains = True
    seeded = True
    backbones = ("resnet18",)

    def _fit(self, data):
        start = data.initial
        sha = None if start is None else hashlib.sha256(start.path.read_bytes()).hexdigest()
        return {"start": sha, "branch": None if start is None else start.branch, "extra": data.extra_pixels}

    def state(self):
        return {"nothing": np.zeros(1)}

    def load_state(self, state):
        assert set(state) == {"nothing"}

    def _predict(self, image):
        from scipy import ndimage

        labels, count = ndimage.label(ndimage.uniform_filter(image.astype(float), 5) > 120)
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in ndimage.find_objects(labels)]
        return ScenePrediction(Detections(np.array(boxes, dtype=float).reshape(-1, 4), np.arange(1.0, count + 1)))
'''
SHIPS = f"""\
name: ships
title: "Ships: generated scenes"
plugins: [probe.py]
seeds: [0]
matching:{TOY}\
  methods:
    nce: {{matcher: infonce, backbone: resnet18, options: {{epochs: 1, batch_size: 8, input_px: 32, dim: 8}}}}
    random: {{matcher: random}}
detection:
  protocol: {{name: det/test-v1, strata: shore}}
  datasets:
    toy:
      dataset: toy-ships
      options: {{scenes: 6, scene_px: 128}}
      splits:
        half: {{kind: random, by: scene, test: 0.5, validation: 0}}
  methods:
    probe: {{detector: probe, pretrain: [none, osm]}}
    cfar: {{detector: cfar}}
"""


@pytest.fixture
def ships(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.write("ships.yaml", SHIPS)
    bench.write("probe.py", PROBE)
    return bench


def record(bench: Bench, task: str, part: str) -> dict[str, Any]:
    (path,) = [
        path for path in (bench.folder / "leaderboards/ships/entries").glob(f"{task}--*.json") if part in path.name
    ]
    return dict(json.loads(path.read_text()))


RUN = ("run", "detection", "--config", "ships.yaml", "--no-figures", "--threads", "1")


def test_the_pretraining_is_trained_first_once_and_shared_and_again_where_it_was_cleaned_away(ships: Bench) -> None:
    done = ships(*RUN)
    order = [line.split("] ")[1].split(":")[0] for line in done.stderr.splitlines() if "predict, score" in line]
    assert order == [
        "probe/none on toy/half, seed 0",
        "nce on toy/grouped, seed 0",
        "probe/osm on toy/half, seed 0",
        "cfar on toy/half",
    ]
    osm, matching = record(ships, "detection", "probe-osm"), record(ships, "matching", "nce")
    assert osm["requires"] == [f"matching:{matching['keys']['train']}"]
    assert osm["facts"]["start"] == matching["outputs"]["weights_sha256"] == osm["facts"]["initial_weights"]["sha256"]
    assert osm["facts"]["branch"] == "sar.backbone."
    assert osm["inputs"]["pretrained_by"][0]["cell"] == "nce on toy/grouped, seed 0"
    assert record(ships, "detection", "probe-none")["facts"]["start"] is None
    board = (ships.folder / "leaderboards/ships/detection.md").read_text()
    assert (
        "| pretraining | seeds | probe AP ↑ |" in board
        and "| OSM | 1 (0) |" in board
        and "osm: nce on toy/grouped" in board
    )
    assert (ships.folder / "leaderboards/ships/matching.md").is_file()
    # both tables: Table II's cell is there already
    again = ships("run", "--config", "ships.yaml", "--no-figures", "--threads", "1")
    assert "5 cells, 4 finished already, 1 to run" in again.stderr and "random on toy/grouped" in again.stderr

    # its model is cleaned away: what is finished does not need it, what has to train again trains that first
    before = record(ships, "detection", "probe-osm")["facts"]["start"]
    (ships.cell("nce") / "model.safetensors").unlink()
    assert "0 to run" in ships(*RUN, "--pretrain", "osm").stderr, "what is finished needs no model"
    shutil.rmtree(next((ships.folder / "runs/detection").glob("*probe-osm*")))
    again = ships(*RUN, "--pretrain", "osm")
    assert "2 to run" in again.stderr and (ships.cell("nce") / "model.safetensors").is_file()
    assert record(ships, "detection", "probe-osm")["facts"]["start"] == before


def test_a_failed_pretraining_fails_its_dependants_without_running_them(ships: Bench) -> None:
    done = ships(*RUN, "--set", "matching.methods.nce.options.lr=1e30", code=1)
    assert (
        "probe/osm on toy/half, seed 0: not run, the cell it starts from failed: matching toy-grouped--nce--seed0"
        in done.stderr
    )
    assert record(ships, "detection", "probe-osm")["status"] == "failed"
    assert record(ships, "detection", "probe-none")["status"] == "finished"
    assert "1/1 failed" in (ships.folder / "leaderboards/ships/detection.md").read_text()


def test_folds_are_averaged_and_shown(ships: Bench) -> None:
    folds = "detection.datasets.toy.splits={cv: {kind: folds, folds: 3, by: scene, stratify: [shore], validation: 0}}"
    ships(*RUN, "--detector", "cfar", "--set", folds)
    board = (ships.folder / "leaderboards/ships/detection.md").read_text()
    assert "toy/cv, mean over 3 folds: all metrics" in board and board.count("## toy/cv-") == 6
    rows = [
        line.split(" | ")[2]
        for line in board.split("all metrics")[1:]
        for line in line.splitlines()
        if line.startswith("| cfar")
    ]
    values = [float(row.split(" ")[0]) for row in rows]
    found = [record(ships, "detection", f"cv-{k}of3")["metrics"]["scene.ap_area"] for k in (1, 2, 3)]
    assert values[0] == pytest.approx(np.mean(found), abs=5e-4)


# -- bad input ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "detection", "--config", "ships.yaml", "--detector", "cfr"], "unknown detector 'cfr'; nearest: cfar"),
        (["run", "matching", "--config", "ships.yaml", "--pretrain", "osm"], "--pretrain does not go with matching"),
        (["run", "detection", "--config", "ships.yaml", "--matcher", "bnn"], "--matcher does not go with detection"),
        (["run", "detection", "--config", "ships.yaml", "--pretrain", "osn"], "unknown pretraining 'osn'; nearest: osm"),
        (["run", "detection", "--config", "ships.yaml", "--pretrain", "checkpoint:no.pth"], "no.pth does not exist"),
        (["run", "detection", "--config", "ships.yaml", "--pretrain", "imagenet"], "bench data weights resnet18 --download"),
        (["run", "detection", "--config", "ships.yaml", "--set", "detection.protocol.strata=shor"], "no column 'shor'; nearest: shore"),
        (["run", "detection", "--config", "ships.yaml", "--set", "detection.datasets.toy.dataset=toy-pairs",
          "--set", "detection.datasets.toy.options={}"], "toy-pairs"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_one_line(ships: Bench, words: list[str], message: str) -> None:
    assert message in ships.error(*words)
