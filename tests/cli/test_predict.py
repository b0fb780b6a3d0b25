"""`bench predict` as a user types it: equal to a prediction in memory, resumable, in the scene's own coordinates, and
what it refuses.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import REPOSITORY, Bench
from lineage_toys import DETECTION, FAILED, MATCHING, put_cell, put_entry

from bench.execution.records import Record, write_stage

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
    path: Path,
    height: int = 230,
    width: int = 310,
    ships: int = 6,
    nodata: int | None = None,
    crs: str | None = "EPSG:32651",
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


def put(bench: Bench, record: Record, method: dict[str, object]) -> Path:
    """Leave a cell of another method by hand."""
    spec = {**record.spec, "method": {**record.spec["method"], "backbone": None, "options": {}, **method}}
    folder = put_cell(bench.folder / "runs", record.model_copy(update={"spec": spec}))
    scaling = {"name": "uint8", "version": 1, "low": 0.0, "high": 255.0}
    write_stage(folder, "train", record.keys["train"], {"facts": {"scaling": scaling}, "cost": {}, "made_by": {}})
    (folder / "job.json").unlink()
    return folder


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A folder with a scene, and a detection cell without a network."""
    bench = Bench(tmp_path_factory.mktemp("predict"))
    write_scene(bench.folder / "scene.tif")
    folder = put(bench, DETECTION, {"detector": "cfar"})
    (folder / "model.safetensors").unlink()
    record = json.loads((folder / "record.json").read_text())
    record["outputs"].pop("weights_sha256")
    (folder / "record.json").write_text(json.dumps(record))
    return bench


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A folder with a scene, and a trained network."""
    bench = Bench(tmp_path_factory.mktemp("trained"))
    bench.write("suite.yaml", SUITE)
    bench("run", "--config", "suite.yaml", "--no-figures", "--device", "cpu", "--threads", "1")
    write_scene(bench.folder / "scene.tif")
    return bench


def cell(bench: Bench) -> Path:
    (found,) = (bench.folder / "runs" / "detection").iterdir()
    return found


@pytest.mark.slow
def test_a_network_gives_what_it_gives_in_memory(trained: Bench) -> None:
    bench = trained
    bench("predict", str(cell(bench)), "scene.tif", "--out", "net", "--threads", "1")
    found = json.loads((bench.folder / "net/detections.json").read_text())
    assert [(image["file_name"], image["height"], image["width"]) for image in found["images"]] == [
        ("scene.tif", 230, 310)
    ]
    code = f"""
import sys, json
import numpy as np, rasterio
sys.path.insert(0, {str(REPOSITORY)!r})
from pathlib import Path
from bench.core.context import ExecutionContext
from bench.detection.scenes.predictor import from_cell
from bench.core.progress import Progress
from bench.execution.records import load_record
folder = Path({str(cell(bench))!r})
ready = from_cell(folder, load_record(folder / "record.json"))
with rasterio.open("scene.tif") as stream:
    image = stream.read(1)
ready = ready.for_scene(image.dtype, None, None, 10.0, Path("scene.tif"))
detector = ready.build(ExecutionContext(Path("."), Path("."), "cpu", 1, 0, lambda line: None, Progress()))
merged = detector.predict(image).merged
print(json.dumps([merged.boxes.tolist(), merged.scores.tolist()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=bench.folder, capture_output=True, text=True, timeout=200, check=True
    )
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
        assert ring[:, 0].min() == pytest.approx(300_000 + 10 * x) and ring[:, 0].max() == pytest.approx(
            300_000 + 10 * (x + width)
        )
        assert ring[:, 1].max() == pytest.approx(3_500_000 - 10 * y) and ring[:, 1].min() == pytest.approx(
            3_500_000 - 10 * (y + height)
        )
        assert (ring[0] == ring[-1]).all()
    assert (bench.folder / "cfar/quicklook/scene.png").stat().st_size > 1000


def test_the_same_command_again_computes_nothing_and_another_is_refused(bench: Bench) -> None:
    bench("predict", *CFAR, "scene.tif", "--out", "again")
    before = (bench.folder / "again/detections.json").read_bytes()
    out = bench("predict", *CFAR, "scene.tif", "--out", "again").stdout
    assert "finished before" in out and (bench.folder / "again/detections.json").read_bytes() == before
    assert "--force" in bench.refused("predict", *CFAR, "--set", "pfa=1e-11", "scene.tif", "--out", "again")
    assert (bench.folder / "again/detections.json").read_bytes() == before


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(trained: Bench) -> None:
    bench = trained
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


def test_a_cell_is_found_by_every_name_and_keeps_its_options(bench: Bench) -> None:
    name = json.loads((cell(bench) / "record.json").read_text())["fingerprint"]
    moved = bench.folder / "kept" / "cell"
    shutil.copytree(cell(bench), moved)
    files = []
    for number, word in enumerate((name[:8], cell(bench).name, str(moved))):
        out = f"named{number}"
        bench("predict", word, "--out", out, "scene.tif", "--threads", "1")  # options may stand between the words
        files.append((bench.folder / out / "detections.json").read_bytes())
    assert files[0] == files[1] == files[2] and json.loads(files[0])["info"]["detector"].startswith("probe")
    assert json.loads(files[0])["annotations"]


def test_only_the_files_that_are_asked_for_and_the_scores_that_are(bench: Bench) -> None:
    bench("predict", "--out", "few", *CFAR, "scene.tif", "--format", "csv")
    assert {path.name for path in (bench.folder / "few").iterdir()} == {
        "detections.csv",
        "predict.json",
        "windows",
        ".lock",
    }
    rows = list(csv.DictReader((bench.folder / "few/detections.csv").open()))
    middle = sorted(float(row["score"]) for row in rows)[len(rows) // 2]
    out = bench(
        "predict", *CFAR, "scene.tif", "--out", "few", "--format", "csv", "--score-threshold", str(middle)
    ).stdout
    kept = list(csv.DictReader((bench.folder / "few/detections.csv").open()))
    assert kept == [row for row in rows if float(row["score"]) >= middle] and "finished before" in out


def test_a_changed_scene_is_refused(bench: Bench) -> None:
    write_scene(bench.folder / "moving.tif")
    bench("predict", *CFAR, "moving.tif", "--out", "moving")
    write_scene(bench.folder / "moving.tif", ships=3)
    assert "another prediction of moving.tif, with another scene (sha256)" in bench.refused(
        "predict", *CFAR, "moving.tif", "--out", "moving"
    )


def broken_cell(kind: str) -> Callable[[Bench], str]:
    def make(bench: Bench) -> str:
        if kind == "matching":
            return put(bench, MATCHING, {}).name
        if kind == "failed":
            failed: dict[str, object] = {"status": "failed", "failure": FAILED.failure, "metrics": {}, "outputs": {}}
            return put(bench, DETECTION.model_copy(update=failed), {"detector": "cfar"}).name
        if kind == "cleaned":
            folder = put(bench, DETECTION, {"detector": "faster-rcnn"})
            (folder / "model.safetensors").unlink()
            return str(folder)
        if kind == "unfinished":
            (bench.folder / "half").mkdir()
            (bench.folder / "half/job.json").write_text("{}")
            return "half"
        put_entry(bench.folder / "leaderboards", "board", DETECTION)
        return "board/" + f"{DETECTION.task}--{DETECTION.slot}"

    return make


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("matching", "is a matching cell"),
        ("failed", "failed in"),
        ("cleaned", "its model was cleaned away"),
        ("unfinished", "half: this cell is not finished"),
        ("board", "the record stands on a board, but its cell is not under runs"),
    ],
)
def test_cells_that_cannot_predict(tmp_path: Path, kind: str, message: str) -> None:
    bench = Bench(tmp_path)
    write_scene(tmp_path / "scene.tif")
    name = broken_cell(kind)(bench)
    assert message in bench.refused("predict", name, "scene.tif", "--out", "no")
    assert not (tmp_path / "no").exists()


def test_a_scene_whose_values_are_to_be_rescaled_first_is_refused(bench: Bench) -> None:
    for name, factor in (("scaled.tif", 0.01), ("plain.tif", 1.0)):
        write_scene(bench.folder / name)
        with rasterio.open(bench.folder / name, "r+") as stream:
            stream.scales = (factor,) * stream.count
    told = bench.refused("predict", *CFAR, "scaled.tif", "--out", "rescaled")
    assert "scaled.tif states the scale 0.01 for its values" in told and "gdal_translate -unscale" in told
    assert not (bench.folder / "rescaled").exists()
    bench("predict", *CFAR, "plain.tif", "--out", "rescaled")


def test_what_is_refused(bench: Bench) -> None:
    out = ("--out", "no")
    whole = (bench.folder / "scene.tif").read_bytes()
    (bench.folder / "cut.tif").write_bytes(whole[:300])
    (bench.folder / "short.tif").write_bytes(whole[:-5000])
    (bench.folder / "empty").mkdir(exist_ok=True)
    (bench.folder / "file").write_text("x")
    np.save(bench.folder / "db.npy", np.random.default_rng(0).normal(-12, 3, (100, 100)).astype(np.float32))
    for words, message in (
        ((*CFAR, "nope.tif", *out), "cannot read nope.tif"),
        ((*CFAR, "cut.tif", *out), "cut.tif cannot be read as TIFF"),
        ((*CFAR, "short.tif", *out), "short.tif cannot be decoded at rows 2"),
        ((*CFAR, "empty", *out), "empty holds no image"),
        ((*CFAR, "scene.tif", "scene.tif", *out), "given twice"),
        ((*CFAR, "scene.tif", "--band", "3", *out), "no band 3"),
        ((*CFAR, "scene.tif", "--format", "cocco", *out), "nearest: coco"),
        ((*CFAR, "scene.tif", "--device", "cuda", *out), "works on the CPU"),
        ((*CFAR, "scene.tif", "--threads", "0", *out), "--threads 0"),
        ((*CFAR, "scene.tif", "--gsd-m", "-1", *out), "--gsd-m -1"),
        ((*CFAR, "scene.tif", "--out", "file"), "cannot write to file"),
        ((*CFAR, "scene.tif", "--out", "/proc/nothing"), "cannot write to /proc/nothing"),
        (("--detector", "cfra", "scene.tif", *out), "unknown detector 'cfra'; nearest: cfar"),
        (("--detector", "cfar", "--set", "pfa", "scene.tif", *out), "expected KEY=VALUE"),
        (("--detector", "cfar", "--set", "pffa=1", "scene.tif", *out), "nearest: "),
        (("--detector", "cfar", "--sar-scale", "dB", "scene.tif", *out), "--sar-scale 'dB' is unknown"),
        (("--detector", "cfar", "db.npy", *out), "db.npy holds float32 values"),
        (("--detector", "cfar", "--sar-scale", "amplitude", "db.npy", *out), ", which is no amplitude: if it marks"),
        ((cell(bench).name, "db.npy", *out), "db.npy holds float32 values"),
        ((cell(bench).name, *out), "name a scene after the cell"),
        ((cell(bench).name, "scene.tif", "--set", "pfa=1", *out), "--set is for --detector"),
        (("empty", "scene.tif", *out), "no record.json there"),
        (("scene.tif", "scene.tif", *out), "a file, and no cell"),
        (("no-such-cell", "scene.tif", *out), "no record is called 'no-such-cell'"),
    ):
        assert message in bench.refused("predict", *words), words
    assert not (bench.folder / "no").exists()
