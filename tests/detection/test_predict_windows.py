"""Prediction window by window: what comes out is what comes out of the scene in memory, for tiles and for CFAR; kills,
holes, borders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from predict_toys import blobs, cfar, context_of, sea, write_tiff

from bench.core.errors import BenchError
from bench.core.store import read_json
from bench.data.scaling import SarScale
from bench.detection.detectors.base import Detections, Detector
from bench.detection.detectors.cfar import detector as cfar_module
from bench.detection.scenes import windowed as windowed_module
from bench.detection.scenes import windowed_cfar
from bench.detection.scenes.scene_predictions import SceneResult, claim_folder, predict_scene
from bench.detection.scenes.scene_reader import open_scene
from bench.detection.scenes.windowed import FinishedWindows, windowed

pytest.importorskip("rasterio")


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many windows and strips in small scenes."""
    monkeypatch.setattr(windowed_module, "BLOCKS", 1)
    monkeypatch.setattr(cfar_module, "_STRIP_BYTES", 1)
    monkeypatch.setattr(windowed_cfar, "WINDOW_ROWS", 150)


def predicted(detector: Detector, path: Path, folder: Path, **opened: Any) -> SceneResult:
    with open_scene(path, **opened) as reader:
        return predict_scene(detector, reader, folder, "cpu", path.name, context_of(path.parent).progress)


def assert_same(one: Detections, two: Detections) -> None:
    assert len(one) > 0
    assert one.boxes.tobytes() == two.boxes.tobytes() and one.scores.tobytes() == two.scores.tobytes()


def interrupted(detector: Detector, path: Path, folder: Path, after: int) -> None:
    """Predict a scene, and break off when `after` windows are finished."""
    count = iter(range(after))

    def advance() -> None:
        if next(count, None) == after - 1:
            raise KeyboardInterrupt

    with open_scene(path) as reader, pytest.raises(KeyboardInterrupt):
        windowed(detector, reader, FinishedWindows(folder, "cpu")).run(advance)


# -- tiles -------------------------------------------------------------------------------------------------------------
def test_faster_rcnn_finds_what_it_finds_in_memory(tmp_path: Path) -> None:
    import torch
    from mmdet_toys import faster_rcnn

    detector = faster_rcnn(context_of(tmp_path))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        detector._network = detector._build("resnet18")
    image = sea(300, 330)[0].astype(np.uint8)
    result = predicted(detector, write_tiff(tmp_path / "scene.tif", image), tmp_path / "w")
    assert result.found.windows == 4 and result.steps == result.total == 4
    assert_same(detector.predict(image).merged, result.found.detections)


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_ships_on_the_borders_of_windows_are_found_once(tmp_path: Path, suffix: str) -> None:
    image = np.zeros((400, 390), dtype=np.uint8)
    # 90, everywhere on the grid of tiles
    boxes = [[x, y, x + 20, y + 9] for y in range(5, 380, 40) for x in range(3, 360, 40)]
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    path = tmp_path / f"scene.{suffix}"
    if suffix == "tif":
        write_tiff(path, image)
    else:
        np.save(path, image)
    result = predicted(blobs(tmp_path), path, tmp_path / "w")
    assert sorted(result.found.detections.boxes.tolist()) == sorted(boxes)
    assert result.found.windows > 10 and not list((tmp_path / "w").glob("tiles-*")), (
        "finished windows go with the last one"
    )


def test_a_run_that_was_broken_off_goes_on_and_looks_at_no_tile_twice(tmp_path: Path) -> None:
    image, _ = sea(300, 310, ships=20)
    path = write_tiff(tmp_path / "scene.tif", image.astype(np.uint8))
    straight, first, second = blobs(tmp_path), blobs(tmp_path), blobs(tmp_path)
    whole = predicted(straight, path, tmp_path / "a")
    interrupted(first, path, tmp_path / "b", after=3)
    assert len(list((tmp_path / "b").glob("*.npz"))) == 3
    rest = predicted(second, path, tmp_path / "b")
    assert rest.steps == rest.total - 3 and first.tiles + second.tiles == straight.tiles
    assert (tmp_path / "a/found.npz").read_bytes() == (tmp_path / "b/found.npz").read_bytes()
    again = predicted(blobs(tmp_path), path, tmp_path / "b")
    assert again.steps == 0 and again.found.detections.scores.tobytes() == whole.found.detections.scores.tobytes()


def test_tiles_without_data_are_not_looked_at(tmp_path: Path) -> None:
    image = np.full((300, 300), 9, dtype=np.uint8)
    image[:, 150:] = 255  # no data: were it looked at, it would be one huge ship
    image[200:210, 50:60] = 250
    path = write_tiff(tmp_path / "scene.tif", image, nodata=255)
    detector = blobs(tmp_path)
    result = predicted(detector, path, tmp_path / "w")
    assert result.found.detections.boxes.tolist() == [[50, 200, 60, 210]]
    assert 0 < detector.tiles < 49
    image[:] = 255
    result = predicted(blobs(tmp_path), write_tiff(tmp_path / "empty.tif", image, nodata=255), tmp_path / "e")
    assert len(result.found.detections) == 0 and result.found.skipped == result.found.windows


def test_a_damaged_window_is_told(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "scene.tif", sea(300, 310)[0].astype(np.uint8))
    interrupted(blobs(tmp_path), path, tmp_path / "w", after=2)
    (tmp_path / "w/tiles-000001.npz").write_bytes(b"PK nothing")
    with pytest.raises(BenchError, match="tiles-000001.npz: damaged finished window"):
        predicted(blobs(tmp_path), path, tmp_path / "w")


def test_detectors_of_whole_scenes_take_small_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.detection.detectors.base import DetectorOptions, ScenePrediction

    class Whole(Detector):
        def _predict(self, image: np.ndarray) -> ScenePrediction:
            return ScenePrediction(Detections(np.array([[0.0, 0, image.shape[1], image.shape[0]]]), np.ones(1)))

    detector = Whole(DetectorOptions())
    detector.prepare(blobs(tmp_path).setup)
    path = write_tiff(tmp_path / "scene.tif", np.ones((70, 90), np.uint8))
    assert predicted(detector, path, tmp_path / "w").found.detections.boxes.tolist() == [[0, 0, 90, 70]]
    monkeypatch.setattr(windowed_module, "WHOLE_PIXELS", 1000)
    with pytest.raises(BenchError, match="scene.tif has 70 x 90 px, and Whole looks at whole scenes"):
        predicted(detector, path, tmp_path / "x")


# -- CFAR --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("scale", "options"),
    [
        (None, {}),
        (SarScale.amplitude, {"land": "none", "censor_pfa": None}),
        (SarScale.db, {"looks": None, "land_min_area_px": 2000}),
        (SarScale.intensity, {"looks": None, "coast_px": 16, "land_min_area_px": 2000}),
    ],
    ids=["8 bit", "16 bit", "dB", "intensity"],
)
def test_cfar_finds_what_it_finds_in_memory(tmp_path: Path, scale: SarScale | None, options: dict[str, Any]) -> None:
    amplitude, boxes = sea(700, 420, land=True)
    image = {
        None: lambda: np.minimum(amplitude, 255).astype(np.uint8),
        SarScale.amplitude: lambda: (40 * amplitude).astype(np.uint16),
        SarScale.db: lambda: (20 * np.log10(np.maximum(amplitude, 0.1)) - 40).astype(np.float32),
        SarScale.intensity: lambda: (amplitude**2 / 1e5).astype(np.float32),
    }[scale]()
    detector = cfar(tmp_path, scale, **options)
    result = predicted(detector, write_tiff(tmp_path / "scene.tif", image, compress="deflate"), tmp_path / "w")
    assert result.found.windows >= 4
    assert_same(detector.predict(image).merged, result.found.detections)
    near = np.abs(boxes[:, None] - result.found.detections.boxes[None]).max(axis=2).min(axis=1) <= 1
    assert near.all(), "every ship, also those that lie across a border of strips, is one detection"


def test_cfar_goes_on_in_every_stage(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "scene.tif", np.minimum(sea(700, 420, land=True)[0], 255).astype(np.uint8))
    whole = predicted(cfar(tmp_path), path, tmp_path / "straight")
    for after in (2, whole.total // 2, whole.total - 1):
        folder = tmp_path / f"after{after}"
        interrupted(cfar(tmp_path), path, folder, after)
        rest = predicted(cfar(tmp_path), path, folder)
        assert rest.steps == whole.total - after
        assert (folder / "found.npz").read_bytes() == (tmp_path / "straight/found.npz").read_bytes()


def test_holes_in_db_scenes_are_no_ships_and_do_not_raise_the_threshold(tmp_path: Path) -> None:
    """0 dB, which NumPy's zeros would be, is bright: a hole of one pixel must not be a ship, and a large one must not
    stand in rings.
    """
    amplitude, boxes = sea(500, 300, ships=5)
    image = (20 * np.log10(np.maximum(amplitude, 0.1)) - 40).astype(np.float32)
    expected = cfar(tmp_path, SarScale.db, land="none").predict(image).merged
    holed = image.copy()
    holed[::50, 5::50] = np.nan
    holed[:, :60] = -32768
    path = write_tiff(tmp_path / "scene.tif", holed, nodata=-32768)
    found = predicted(cfar(tmp_path, SarScale.db, land="none"), path, tmp_path / "w").found.detections
    assert len(expected) == len(found) == len(boxes)
    assert np.abs(np.sort(found.boxes[:, 0]) - np.sort(expected.boxes[:, 0])).max() <= 1


def test_cfar_without_any_data_finds_nothing(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "scene.tif", np.zeros((700, 200), np.uint8), nodata=0)
    every: tuple[dict[str, Any], ...] = ({}, {"looks": None}, {"land": "none"})
    for number, options in enumerate(every):
        result = predicted(cfar(tmp_path, **options), path, tmp_path / str(number))
        assert len(result.found.detections) == 0 and result.found.skipped == result.found.windows


# -- the folder of a scene ---------------------------------------------------------------------------------------------
def test_a_folder_of_another_prediction_is_refused_and_replaced_when_told(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "windows" / "scene"
    first = {"model": {"weights_sha256": "aa"}, "scene": {"sha256": "1"}, "score_floor": 0.0}
    claim_folder(folder, "scene.tif", first, force=False)
    (folder / "tiles-000000.npz").write_bytes(b"kept")
    claim_folder(folder, "scene.tif", first, force=False)
    assert (folder / "tiles-000000.npz").exists()
    other = {"model": {"weights_sha256": "bb"}, "scene": {"sha256": "2"}, "score_floor": 0.0}
    with pytest.raises(
        BenchError, match=r"another prediction of scene.tif, with another model \(weights_sha256\), scene \(sha256\)"
    ):
        claim_folder(folder, "scene.tif", other, force=False)
    assert (folder / "tiles-000000.npz").exists()
    claim_folder(folder, "scene.tif", other, force=True)
    assert not (folder / "tiles-000000.npz").exists() and read_json(folder / "identity.json") == other
