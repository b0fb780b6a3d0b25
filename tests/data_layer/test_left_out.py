"""What options and splits leave out is said, scene by scene: in `verify`, `plan`, log and record; a scene that loses all
is an error unless that is allowed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Bench

from bench.api import run
from bench.core.errors import BenchError
from bench.core.options import option_values
from bench.data.dataset import open_dataset
from bench.data.datasets.coco_folder import CocoFolder
from bench.data.datasets.s1s2_scenes import S1S2Scenes
from bench.data.images import write_image
from bench.data.ships.verify import verify_ships
from bench.data.verify import verify
from bench.data.windows import left_out_line

MakeScenes = Callable[..., Path]
REJECT: Any = {"patch_px": 16, "reject": {"max_blank_fraction": 0.2}}


def stretched(root: Path, scene: str) -> None:
    """A third of an 8-bit SAR scene falls on the grey level 0, as a stretch to the 1st percentile and more leaves it."""
    sar = np.random.default_rng(0).integers(0, 256, (40, 50))
    write_image(root / "sar" / scene, np.where(sar < 85, 0, sar).astype(np.uint8))


def test_windows_that_are_left_out_are_counted_by_scene(make_scenes: MakeScenes) -> None:
    root = make_scenes(((40, 50), (40, 50), (40, 50)))
    whole = S1S2Scenes.at(root, patch_px=16)
    assert len(whole.index()) == 18 and whole.left_out() == {}
    write_image(root / "opt" / "001", np.pad(np.full((40, 34, 3), 9, np.uint8), ((0, 0), (16, 0), (0, 0))))
    some = S1S2Scenes.at(root, **REJECT)
    assert len(some.index()) == 16 and some.left_out() == {"001": (2, 6)}
    report = verify(S1S2Scenes.at(root, **REJECT))
    assert report.notes == ("2 of the 6 windows of 1 scenes are left out: 001 2 of 6; by max_blank_fraction 2",)
    assert any(line.startswith("note") and "001 2 of 6" in line for line in report.summary)


def test_a_scene_that_loses_all_is_an_error_unless_it_is_allowed(make_scenes: MakeScenes) -> None:
    root = make_scenes(((40, 50), (40, 50), (12, 50)))
    stretched(root, "001")
    with pytest.raises(BenchError, match=r"left of 1 of 3 scenes in .*: 002 \(of 0\). They are smaller, or") as error:
        S1S2Scenes.at(root, patch_px=16).index()
    assert "\n" not in str(error.value)
    with pytest.raises(BenchError, match=r"left of 2 of 3 scenes in .*: 001 \(of 6\), 002 \(of 0\)"):
        S1S2Scenes.at(root, **REJECT).index()
    report = verify(S1S2Scenes.at(root, **REJECT))
    assert any("no window of 16 px is left of 2 of 3 scenes" in line for line in report.problems)
    assert "001 6 of 6" in report.notes[0]
    allowed = S1S2Scenes.at(root, **REJECT, empty_scenes="drop")
    assert set(allowed.index().scenes) == {"000"}
    assert allowed.left_out()["001"] == (6, 6)


def test_each_rule_is_counted_where_it_is_the_first_and_from_the_cache_alike(make_scenes: MakeScenes) -> None:
    root = make_scenes(((40, 50), (40, 50), (40, 50)))
    optical = np.random.default_rng(0).integers(1, 256, (40, 50, 3), np.uint8)
    optical[:16, :16], optical[:16, 16:32], optical[16:32, :16] = 0, 9, 9  # blank, and without texture twice
    write_image(root / "opt" / "001", optical)
    options: Any = {"patch_px": 16, "reject": {"max_blank_fraction": 0.2, "min_std": 1.0}}
    for _ in range(2):  # judged, then read from the cache
        some = open_dataset("s1s2-scenes", options, root, root / "cache")
        assert some.left_out_by() == {} and len(some.index()) == 15
        assert some.left_out_by() == {"min_std": 2, "max_blank_fraction": 1}
    assert len(list((root / "cache" / "windows").glob("*.json"))) == 1
    assert S1S2Scenes.at(root, patch_px=16).left_out_by() == {}


def test_the_option_enters_no_key_unless_it_is_used() -> None:
    assert "empty_scenes" not in option_values(S1S2Scenes.Options())
    assert option_values(S1S2Scenes.Options(empty_scenes="drop"))["empty_scenes"] == "drop"


def test_the_line_is_cut_where_many_scenes_lose_some() -> None:
    lost = {str(k): (1, 4) for k in range(10)}
    assert left_out_line(lost, most=2).endswith("0 1 of 4, 1 1 of 4, and 8 more scenes")
    assert left_out_line(lost).count(" of 4") == 10 and left_out_line({}) == ""


SCENES = """\
name: scenes
matching:
  protocol: {gallery: 6}
  datasets:
    mine:
      dataset: scene-pairs
      options: {sar_scale: uint8, patch_px: 16, reject: {max_blank_fraction: 0.2}, empty_scenes: drop}
      splits: {places: {kind: grouped, by: scene, test: 0.4, validation: 0.3}}
  methods:
    random: {matcher: random, options: {dimensions: 4}}
"""


def test_plan_log_and_record_say_what_is_left_out(make_scenes: MakeScenes, bench: Bench) -> None:
    root = make_scenes(((40, 50),) * 5)
    stretched(root, "003")
    shutil.move(root, bench.folder / "scenes")
    bench.write("scenes.yaml", SCENES)
    line = "6 of the 6 windows of 1 scenes are left out: 003 6 of 6; by max_blank_fraction 6"
    assert f"mine/places: {line}" in bench.printed("plan", "--config", "scenes.yaml", "--root", "scenes")
    with contextlib.chdir(bench.folder):
        run("scenes.yaml", roots={"": "scenes"}, figures=False, in_process=True, device="cpu")
    record = json.loads((bench.cell("random") / "record.json").read_text())
    assert record["inputs"]["left_out"] == {"003": [6, 6]}
    assert record["inputs"]["left_out_by"] == {"max_blank_fraction": 6}
    assert line in (bench.cell("random") / "log.txt").read_text()
    counts = record["inputs"]["split_counts"]
    assert counts["validation"] and record["facts"]["samples_total"] == sum(counts.values()) == 24


def test_boxes_and_images_that_options_leave_out_are_notes(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    images, boxes = [], []
    for k, name in ((1, 1), (2, 2)):
        write_image(tmp_path / f"images/{k}", np.random.default_rng(k).integers(0, 255, (16, 16)).astype(np.uint8))
        images.append({"id": k, "file_name": f"{k}.png", "width": 16, "height": 16})
        boxes.append({"id": k, "image_id": k, "category_id": name, "bbox": [2, 2, 5, 4], "iscrowd": 0})
    kinds = [{"id": 1, "name": "ship"}, {"id": 2, "name": "plane"}]
    (tmp_path / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": kinds})
    )
    report = verify_ships(CocoFolder.at(tmp_path, sar_scale="uint8", categories=["ship"]))
    assert "1 boxes of other categories are left out: plane 1" in report.notes
