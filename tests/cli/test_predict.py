"""`bench predict` as a user types it: equal to a prediction in memory, resumable, in the scene's own coordinates, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import REPOSITORY, Bench

rasterio = pytest.importorskip("rasterio")

SUITE = """\
name: tiny-ships
seeds: [0]
detection:
  datasets:
    ships:
      dataset: toy-ships
      options: {scenes: 4, scene_px: 128, ships_per_scene: 3}
      tiles: {size_px: 64, overlap_px: 16}
      splits: {half: {kind: random, by: id, test: 0.5, validation: 0}}
  methods:
    frcnn:
      detector: faster-rcnn
      backbone: resnet18
      pretrain: [none]
      options: {epochs: 1, per_epoch: 4, batch_size: 2, fpn_channels: 16, rpn_channels: 16, roi_fc: 16, train_proposals: 50}
"""
NORTH_UP = (10.0, 0.0, 300_000.0, 0.0, -10.0, 3_500_000.0)
CFAR = ("--detector", "cfar", "--sar-scale", "amplitude", "--set", "land=none")


def write_scene(
    path: Path, height: int = 230, width: int = 310, ships: int = 6, nodata: int | None = None, crs: str | None = "EPSG:32651"
) -> None:
    rng = np.random.default_rng(0)
    image = np.minimum(rng.exponential(20, (height, width)), 120).astype(np.uint8) + 1
    for y, x in rng.integers(20, min(height, width) - 40, (ships, 2)):
        image[y : y + 12, x : x + 6] = 250
    if nodata is not None:
        image[:100, :100] = nodata
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8", nodata=nodata, tiled=True, blockxsize=64,
        blockysize=64, **({"crs": crs, "transform": rasterio.Affine(*NORTH_UP)} if crs else {}),
    ) as stream:  # fmt: skip
        stream.write(image, 1)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("predict"))
    bench.write("suite.yaml", SUITE)
    bench("run", "--config", "suite.yaml", "--no-figures", "--device", "cpu", "--threads", "1")
    write_scene(bench.folder / "scene.tif")
    return bench


def cell(bench: Bench) -> Path:
    (found,) = (bench.folder / "runs" / "detection").iterdir()
    return found


def test_a_network_gives_what_it_gives_in_memory(bench: Bench) -> None:
    bench("predict", str(cell(bench)), "scene.tif", "--out", "net", "--threads", "1")
    found = json.loads((bench.folder / "net/detections.json").read_text())
    assert [(image["file_name"], image["height"], image["width"]) for image in found["images"]] == [("scene.tif", 230, 310)]
    code = f"""
import sys, json
import numpy as np, rasterio
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from bench.context import ExecutionContext
from bench.detection.ready_detector import from_cell
from bench.progress import Progress
from bench.records import load_record
folder = Path({str(cell(bench))!r})
ready = from_cell(folder, load_record(folder / "record.json"))
with rasterio.open("scene.tif") as stream:
    image = stream.read(1)
ready = ready.for_scene(image.dtype, None, None, 10.0, Path("scene.tif"))
detector = ready.build(ExecutionContext(Path("."), Path("."), "cpu", 1, 0, lambda line: None, Progress()))
merged = detector.predict(image).merged
print(json.dumps([merged.boxes.tolist(), merged.scores.tolist()]))
"""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], cwd=bench.folder, capture_output=True, text=True, timeout=200, check=True)
    boxes, scores = json.loads(done.stdout.splitlines()[-1])
    assert boxes and [row["score"] for row in found["annotations"]] == scores
    for row, (x1, y1, x2, y2) in zip(found["annotations"], boxes, strict=True):
        assert row["bbox"] == [x1, y1, x2 - x1, y2 - y1]


def test_coordinates_are_the_scenes_own(bench: Bench) -> None:
    bench("predict", *CFAR, "scene.tif", "--out", "cfar", "--quicklook")
    geo = json.loads((bench.folder / "cfar/scene.geojson").read_text())
    assert geo["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32651" and len(geo["features"]) >= 3
    coco = json.loads((bench.folder / "cfar/detections.json").read_text())["annotations"]
    rows = list(csv.DictReader((bench.folder / "cfar/detections.csv").open()))
    assert len(coco) == len(rows) == len(geo["features"])
    for feature, annotation in zip(geo["features"], coco, strict=True):
        x, y, width, height = annotation["bbox"]
        ring = np.array(feature["geometry"]["coordinates"][0])
        assert ring[:, 0].min() == pytest.approx(300_000 + 10 * x) and ring[:, 0].max() == pytest.approx(300_000 + 10 * (x + width))
        assert ring[:, 1].max() == pytest.approx(3_500_000 - 10 * y) and ring[:, 1].min() == pytest.approx(3_500_000 - 10 * (y + height))
        assert (ring[0] == ring[-1]).all()
    assert (bench.folder / "cfar/quicklook/scene.png").stat().st_size > 1000


def test_the_same_command_again_computes_nothing_and_another_is_refused(bench: Bench) -> None:
    bench("predict", *CFAR, "scene.tif", "--out", "again")
    before = (bench.folder / "again/detections.json").read_bytes()
    out = bench("predict", *CFAR, "scene.tif", "--out", "again").stdout
    assert "finished before" in out and (bench.folder / "again/detections.json").read_bytes() == before
    assert "--force" in bench.refused("predict", *CFAR, "--set", "pfa=1e-11", "scene.tif", "--out", "again")
    assert (bench.folder / "again/detections.json").read_bytes() == before


def test_a_killed_command_goes_on_where_it_was(bench: Bench) -> None:
    write_scene(bench.folder / "long.tif", height=500, width=700)
    words = ("predict", str(cell(bench)), "long.tif", "--threads", "1", "--out")
    process = bench.start(*words, "killed")
    end = time.monotonic() + 120
    while not list((bench.folder / "killed").rglob("*.npz")) and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (bench.folder / "killed/detections.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in (bench.folder / "killed").rglob("*.npz")}
    assert kept, "the command ended before a window was finished"
    bench(*words, "killed")
    bench(*words, "straight")
    for name in ("detections.json", "detections.csv", "long.geojson"):
        assert (bench.folder / "killed" / name).read_bytes() == (bench.folder / "straight" / name).read_bytes()


def test_pixels_without_data_hold_no_ship(bench: Bench) -> None:
    write_scene(bench.folder / "holes.tif", nodata=255, crs=None)
    bench("predict", *CFAR, "holes.tif", "--out", "holes")
    found = json.loads((bench.folder / "holes/detections.json").read_text())["annotations"]
    assert found and all(row["bbox"][0] >= 98 or row["bbox"][1] >= 98 for row in found)
    assert json.loads((bench.folder / "holes/holes.geojson").read_text())["crs"] is None


def test_what_is_refused(bench: Bench) -> None:
    out = ("--out", "no")
    (bench.folder / "cut.tif").write_bytes((bench.folder / "scene.tif").read_bytes()[:300])
    (bench.folder / "empty").mkdir(exist_ok=True)
    for words, message in (
        (("nope.tif",), "nope.tif"),
        (("cut.tif",), "cut.tif"),
        (("empty",), "empty"),
        (("scene.tif", "--band", "3"), "band 3"),
        (("scene.tif", "--format", "cocco"), "nearest: coco"),
    ):
        assert message in bench.refused("predict", *CFAR, *words, *out), words
    assert "unknown detector 'cfra'; nearest: cfar" in bench.refused("predict", "--detector", "cfra", "scene.tif", *out)
    assert "no record" in bench.refused("predict", "empty", "scene.tif", *out)
    float_scene = np.random.default_rng(0).normal(-12, 3, (100, 100)).astype(np.float32)
    np.save(bench.folder / "db.npy", float_scene)
    assert "db.npy" in bench.refused("predict", str(cell(bench)), "db.npy", *out)
    assert not (bench.folder / "no/detections.json").exists()
