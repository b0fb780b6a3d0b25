"""The predictions file of the detection task: what is written is read again to the last bit; anything else is refused
in one line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluator_toys import as_scenes, random_scenes, shore_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.data.ships.index import ShipScene
from bench.detection.detectors.base import Detections, ScenePrediction
from bench.detection.scoring.predictions import (
    DetectionPredictions,
    build_part,
    load_predictions,
    save_predictions,
    whole_scenes,
)
from bench.detection.scoring.score import score_predictions

Arrays = dict[str, np.ndarray]


def predictions(seed: int = 1, tiles: bool = True) -> DetectionPredictions:
    """Four test scenes, each looked at through two tiles (the left and the right half), and two validation scenes."""
    truth, found = random_scenes(seed, scenes=4)
    scenes, predicted = as_scenes(truth), whole_scenes(found)
    tile_truth = None
    if tiles:
        windows = ((0, 0, 800, 400), (0, 400, 800, 400))
        predicted = [ScenePrediction(each, windows, (each, Detections.none())) for each in found]
        tile_truth = [[(boxes, ignore), (np.zeros((0, 4)), np.zeros(0, dtype=bool))] for boxes, ignore in truth]
    more, more_found = random_scenes(seed + 1, scenes=2)
    validation = build_part(as_scenes(more), whole_scenes(more_found))
    test = build_part(scenes, predicted, [shore_of(i) for i in range(4)], tile_truth)
    return DetectionPredictions(validation, test, 0.5 if tiles else None)


def flat(made: DetectionPredictions, folder: Path) -> Arrays:
    save_predictions(folder / "flat.npz", made)
    with np.load(folder / "flat.npz") as stored:
        return {name: stored[name] for name in stored.files}


@pytest.mark.parametrize("tiles", [True, False])
def test_round_trip_to_the_last_bit(tmp_path: Path, tiles: bool) -> None:
    made = predictions(tiles=tiles)
    save_predictions(tmp_path / "predictions.npz", made)
    read = load_predictions(tmp_path / "predictions.npz")
    assert read.min_visible == made.min_visible
    save_predictions(tmp_path / "again.npz", read)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "predictions.npz").read_bytes()
    assert np.array_equal(read.test.scene.box, made.test.scene.box) and read.test.scene.score.dtype == np.float64
    assert len(read.test.tile_scene) == (8 if tiles else 0)
    assert score_predictions(read).metrics == score_predictions(made).metrics


def test_what_went_in_comes_out(tmp_path: Path) -> None:
    truth, found = random_scenes(5, scenes=3)
    scenes = as_scenes(truth)
    save_predictions(
        tmp_path / "p.npz",
        DetectionPredictions(build_part((), ()), build_part(scenes, whole_scenes(found), ["a", "", "b"])),
    )
    read = load_predictions(tmp_path / "p.npz")
    assert len(read.validation) == 0 and read.min_visible is None
    for i, (scene, again) in enumerate(zip(scenes, read.test.scenes(), strict=True)):
        assert (scene.id, scene.image, scene.image_id, scene.scene) == (
            again.id,
            again.image,
            again.image_id,
            again.scene,
        )
        assert (scene.height, scene.width, ["a", "", "b"][i]) == (
            again.height,
            again.width,
            again.attributes["stratum"],
        )
        assert np.array_equal(scene.boxes, again.boxes) and np.array_equal(scene.ignore, again.ignore)
        table = read.test.scene
        assert np.array_equal(table.box[table.offset[i] : table.offset[i + 1]], found[i].boxes)


def test_an_unknown_group_is_the_scene_itself() -> None:
    scene = ShipScene("a", "a.png", 1, 9, 9, np.zeros((0, 4)), np.zeros(0, dtype=bool))
    assert build_part([scene], whole_scenes([Detections.none()])).group.tolist() == ["a"]


def test_lists_that_do_not_fit_are_refused() -> None:
    truth, found = random_scenes(1, scenes=2)
    scenes, predicted = as_scenes(truth), whole_scenes(found)
    with pytest.raises(BenchError, match="2 scenes, 1 predictions"):
        build_part(scenes, predicted[:1])
    with pytest.raises(BenchError, match="strata"):
        build_part(scenes, predicted, ["inshore"])
    tiled = [ScenePrediction(each, ((0, 0, 8, 8),), (Detections.none(),)) for each in found]
    with pytest.raises(BenchError, match="scene-0 has 1 windows, 1 detections and 0 truths of tiles"):
        build_part(scenes, tiled)
    with pytest.raises(BenchError, match="occurs twice"):
        build_part([scenes[0], scenes[0]], predicted)


CHANGES: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "an array gone": (lambda a: a.pop("test.scene.box"), "array 'test.scene.box' is missing"),
    "no visibility": (lambda a: a.pop("min_visible"), "array 'min_visible' is missing"),
    "a box too few": (lambda a: a.update({"test.scene.box": a["test.scene.box"][1:]}), "does not rise from 0 to"),
    "a score too few": (lambda a: a.update({"test.scene.score": a["test.scene.score"][1:]}), "boxes of shape"),
    "three columns": (lambda a: a.update({"test.scene.box": a["test.scene.box"][:, :3]}), "boxes of shape"),
    "a NaN score": (lambda a: a["test.scene.score"].__setitem__(0, np.nan), "NaN or infinite"),
    "an infinite box": (lambda a: a["test.scene.box"].__setitem__((0, 2), np.inf), "NaN or infinite"),
    "an inverted box": (lambda a: a["test.scene.box"].__setitem__(0, [9, 9, 5, 5]), "box without area"),
    "an inverted ship": (lambda a: a["test.tile.truth_box"].__setitem__(0, [9, 9, 5, 5]), "box without area"),
    "a falling offset": (lambda a: a["test.scene.offset"].__setitem__(1, 10**6), "does not rise"),
    "a scene too few": (lambda a: a.update({"test.group": a["test.group"][1:]}), "4 ids, but another number"),
    "an id twice": (lambda a: a["test.id"].__setitem__(0, a["test.id"][1]), "occurs twice"),
    "no pixels": (lambda a: a["test.height"].__setitem__(0, 0), "no pixels"),
    "a tile outside": (lambda a: a["test.tile_scene"].__setitem__(0, 4), "a tile points outside the 4 scenes"),
    "an empty window": (lambda a: a["test.tile_window"].__setitem__((0, 2), 0), "window is empty"),
    "a window too few": (lambda a: a.update({"test.tile_window": a["test.tile_window"][1:]}), "8 tiles, but 8 truths"),
    "scores as text": (lambda a: a.update({"test.scene.score": a["test.scene.score"].astype(str)}), "test.scene.score"),
    "flags as numbers": (
        lambda a: a.update({"test.scene.truth_ignore": a["test.scene.truth_ignore"].astype(float)}),
        "truth_ignore",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_arrays_that_do_not_fit(tmp_path: Path, change: str) -> None:
    arrays = flat(predictions(), tmp_path)
    alter, wanted = CHANGES[change]
    alter(arrays)
    np.savez_compressed(tmp_path / "predictions.npz", allow_pickle=False, **arrays)
    with pytest.raises(BenchError) as error:
        load_predictions(tmp_path / "predictions.npz")
    assert wanted in str(error.value) and "predictions.npz" in str(error.value) and "\n" not in str(error.value)


def test_missing_file_and_pickles(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="does not exist; run the cell first"):
        load_predictions(tmp_path / "none.npz")
    np.savez(tmp_path / "pickle.npz", allow_pickle=True, **{"test.id": np.array([print], dtype=object)})
    with pytest.raises(BenchError, match="damaged predictions file"):
        load_predictions(tmp_path / "pickle.npz")
    np.savez(
        tmp_path / "matching.npz", allow_pickle=False, **{"test.id": np.array(["a"]), "test.distance": np.zeros(1)}
    )
    with pytest.raises(BenchError, match="no predictions file of the detection task"):
        load_predictions(tmp_path / "matching.npz")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "predictions.npz"
    save_predictions(path, predictions())
    return path.read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "predictions.npz"
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content) - 1))
        content[start : start + data.draw(st.integers(1, 12))] = data.draw(st.binary(max_size=12))
        content = content or bytearray(b"x")
    path.write_bytes(bytes(content))
    try:
        score_predictions(load_predictions(path))
    except BenchError as error:
        assert "\n" not in str(error) and "predictions.npz" in str(error)
