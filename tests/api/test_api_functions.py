"""`bench.leaderboard`, `compare`, `predict`, `evaluate_detector`, `evaluate_matcher`: the numbers of the command line and
of cells, and what they refuse.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import REPOSITORY, Bench

import bench
from bench.detection.detectors.base import FitData, ScenePrediction, Setup

BOARDS = REPOSITORY / "leaderboards"
SHIPS = """\
name: ships
detection:
  datasets:
    toy:
      dataset: toy-ships
      options: {scenes: 4, scene_px: 128}
      splits: {scenes: {kind: grouped, by: scene, test: 0.5, validation: 0.5}}
  methods:
    cfar: {detector: cfar, options: {pfa: 1.0e-10}}
"""
TOY: dict[str, Any] = {
    "split": {"kind": "grouped", "by": "scene", "test": 0.34, "validation": 0.4},
    "dataset_options": {"scenes": 3, "patches_per_scene": 12, "patch_px": 32},
    "protocol": {"name": "match/test-v1", "hard": "scene", "gallery": 8},
    "threads": 1,
}
TOY_SHIPS: dict[str, Any] = {
    "split": {"kind": "grouped", "by": "scene", "test": 0.5, "validation": 0.5},
    "dataset_options": {"scenes": 4, "scene_px": 128},
    "threads": 1,
}


@pytest.fixture(scope="module")
def ships(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of SHIPS."""
    folder = tmp_path_factory.mktemp("ships")
    (folder / "ships.yaml").write_text(SHIPS)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in Bench(folder).env.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        result = bench.run("ships.yaml", figures=False, threads=1, in_process=True, say=lambda line: None)
    assert result.whole
    return folder


# -- boards ------------------------------------------------------------------------------------------------------------
def test_a_board_is_the_table_of_its_entries() -> None:
    table = bench.leaderboard("s1s2", boards=BOARDS)
    assert table.title.startswith("Real Sentinel-1 / Sentinel-2 pairs")
    assert "  s1s2-256/place: do true pairs come first? (7 rows)" in repr(table).splitlines()
    labels = {row.label for section in table.sections for row in section.rows}
    assert {"cfog", "histogram", "random", "infonce-resnet18"} <= labels
    both = {task: bench.leaderboard("hrsid", task=task, boards=BOARDS) for task in ("matching", "detection")}
    assert both["matching"].sections != both["detection"].sections
    assert len(bench.leaderboard("s1s2", boards=BOARDS, cost=True).sections) > len(table.sections)


def test_boards_that_are_not_there() -> None:
    for arguments, message in (
        (("s1s3",), "no board 's1s3' under .*nearest: s1s2"),
        (("hrsid",), "board 'hrsid' has several tables; choose one of: "),
        (("hrsid", "detectoin"), "board 'hrsid' has no such table; nearest: detection"),
    ):
        with pytest.raises(bench.BenchError, match=message):
            bench.leaderboard(*arguments, boards=BOARDS)  # type: ignore[misc]


def test_a_comparison_says_what_the_command_line_prints(tmp_path: Path) -> None:
    names = ("hrsid:faster-rcnn/osm", "hrsid:faster-rcnn/none")
    found = bench.compare(*names, boards=BOARDS, runs=tmp_path)
    printed = Bench(tmp_path).printed("compare", *names, "--boards", str(BOARDS), "--runs", str(tmp_path))
    assert found.difference is not None and found.interval is not None and found.p is not None
    assert f"{found.difference:+.4f}, interval {found.interval.level:.0%} {found.interval.low:+.4f}" in printed
    assert f"p {found.p:.3f}" in printed and printed.rstrip().endswith(found.verdict)
    assert found.separable is False and found.better is None and found.metric == "scene.ap_area"
    assert any(text.startswith("pretrain is osm against none") for text in found.differs)
    best = bench.compare("s1s2:s1s2-256/place/cfog", "s1s2:s1s2-256/place/random", boards=BOARDS, runs=tmp_path)
    assert best.separable and best.better == "a" and best.verdict.startswith("a is better")


def test_rows_that_cannot_be_compared(tmp_path: Path) -> None:
    for names, more, message in (
        (("cfgo", "random"), {}, "no row is called 'cfgo'; nearest: .*cfog"),
        (("cfog", "random"), {"metric": "uniform.acuracy", "dataset": "s1s2-256/place"}, "nearest: uniform.accuracy"),
        (("cfog", "cfog"), {"dataset": "s1s2-256/place"}, "are the same row"),
        (("cfog", "random"), {"boards": tmp_path / "none"}, "no row under .*; run a suite first, or name the folders$"),
    ):
        with pytest.raises(bench.BenchError, match=message):
            bench.compare(*names, **{"boards": BOARDS, "runs": tmp_path, **more})  # type: ignore[arg-type]


def test_a_damaged_record_is_a_warning(ships: Path, tmp_path: Path) -> None:
    (tmp_path / "detection" / "cell").mkdir(parents=True)
    (tmp_path / "detection" / "cell" / "record.json").write_text("{")
    with pytest.warns(UserWarning, match="left out: .*record.json"), pytest.raises(bench.BenchError):
        bench.compare("cfgo", "cfar", runs=tmp_path, boards=ships / "leaderboards")


# -- scenes ------------------------------------------------------------------------------------------------------------
def scene() -> np.ndarray:
    values = np.random.default_rng(1).integers(0, 60, (160, 220)).astype(np.uint8)
    values[50:58, 100:120] = 250
    return values


def test_a_scene_as_array_file_and_command_line(ships: Path, tmp_path: Path) -> None:
    (cell,) = (ships / "runs/detection").iterdir()
    np.save(tmp_path / "scene.npy", scene())
    found = bench.predict(cell, scene())
    assert found.boxes.shape == (len(found), 4) and len(found) >= 1 and (np.diff(found.scores) <= 0).all()
    x1, y1, x2, y2 = found.boxes[0]
    assert x1 < 105 and x2 > 115 and y1 < 53 and y2 > 55
    for other in (
        bench.predict(str(cell), tmp_path / "scene.npy"),
        bench.predict(cell.name.rpartition("-")[2], scene(), runs=ships / "runs", boards=ships / "leaderboards"),
    ):
        assert np.array_equal(other.boxes, found.boxes) and np.array_equal(other.scores, found.scores)
    Bench(tmp_path)("predict", str(cell), "scene.npy", "--out", "out", "--format", "coco")
    written = json.loads((tmp_path / "out/detections.json").read_text())["annotations"]
    assert [each["score"] for each in written] == found.scores.tolist()
    best = bench.predict(cell, scene(), score_threshold=float(found.scores[0]))
    assert len(best) == 1


class Brightest(bench.Detector):
    """One box round the brightest pixel."""

    def _predict(self, image: np.ndarray) -> ScenePrediction:
        y, x = np.unravel_index(image.argmax(), image.shape)
        box = [[x - 4.0, y - 4.0, x + 5.0, y + 5.0]]
        return ScenePrediction(bench.Detections(np.array(box), np.ones(1)))


class Learns(Brightest):
    """Has to be trained."""

    trains = True


def test_an_instance_of_a_detector_looks_at_a_scene() -> None:
    found = bench.predict(Brightest(bench.DetectorOptions()), scene())
    assert found.boxes.tolist() == [[96.0, 46.0, 105.0, 55.0]]
    cfar = bench.DETECTORS.get("cfar")
    made = cfar(cfar.Options(pfa=1e-10, land="none"))
    first = bench.predict(made, scene(), gsd_m=5.0)
    again = bench.predict(made, scene(), gsd_m=5.0)  # prepared by now
    assert len(first) >= 1 and np.array_equal(first.boxes, again.boxes)


def test_scenes_and_detectors_that_do_not_fit(ships: Path, tmp_path: Path) -> None:
    made = Brightest(bench.DetectorOptions())
    values = scene().astype(np.float32)
    for detector, image, more, message in (
        (made, tmp_path / "none.png", {}, "cannot read .*none.png"),
        (made, np.zeros((2, 3, 4), np.uint8), {}, r"array of shape \(2, 3, 4\); expected \(H, W\)"),
        (made, values, {}, "float32 values; say which of them become 0 and 1"),
        (made, scene(), {"sar_scale": "dB"}, "sar_scale 'dB' is unknown; nearest: db"),
        (made, scene(), {"value_range": (5, 1)}, "the first must be the smaller"),
        (made, scene(), {"gsd_m": 0}, "gsd_m 0: metres a pixel, above 0"),
        (made, scene(), {"threads": 0}, "threads 0: from 1"),
        (made, scene(), {"device": "cuda"}, "has no network and works on the CPU"),
        (Learns(bench.DetectorOptions()), scene(), {}, "Learns has to be trained; give a finished cell"),
        ("no-such-cell", scene(), {"runs": ships / "runs"}, "no record is called 'no-such-cell'"),
        ("no-such-cell", scene(), {"runs": tmp_path, "boards": tmp_path}, "no record under"),
        (tmp_path, scene(), {}, "no record.json there"),
    ):
        with pytest.raises(bench.BenchError, match=message) as refused:
            bench.predict(detector, image, **more)
        assert " --" not in str(refused.value)  # names of cells hold it


# -- one method on one data set ----------------------------------------------------------------------------------------
def record_of(folder: Path, method: str) -> dict[str, Any]:
    (path,) = folder.glob(f"runs/*/*--{method}--*/record.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_matcher_by_name_comes_to_what_its_cell_came_to(tiny_run: Bench, tmp_path: Path) -> None:
    for name, options in (("cfog", {"max_shift_px": 2}), ("histogram", None)):  # the second learns
        found = bench.evaluate_matcher(name, "toy-pairs", options=options, runs=tmp_path, **TOY)
        cell = record_of(tiny_run.folder, name)
        assert found.metrics == cell["metrics"] and found.record.fingerprint == cell["fingerprint"]
        assert found.record.outputs == cell["outputs"]
        assert found.predictions.test.distance.shape == found.samples["distance"].shape
    assert "Evaluation of histogram on toy-pairs" in repr(found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]


def test_a_detector_by_name_comes_to_what_its_cell_came_to(ships: Path, tmp_path: Path) -> None:
    found = bench.evaluate_detector("cfar", "toy-ships", options={"pfa": 1e-10}, runs=tmp_path, **TOY_SHIPS)
    cell = record_of(ships, "cfar")
    assert found.metrics == cell["metrics"] and found.record.fingerprint == cell["fingerprint"]
    assert len(found.predictions.test) == 2 and len(found.predictions.validation) == 1


def test_a_class_an_object_and_a_function_are_measured_alike(tmp_path: Path) -> None:
    def function(image: np.ndarray) -> tuple[Any, Any]:
        found = Brightest(bench.DetectorOptions())._predict(image).merged
        return found.boxes.tolist(), found.scores.tolist()

    one, two, three = (
        bench.evaluate_detector(given, "toy-ships", runs=tmp_path, **TOY_SHIPS)
        for given in (Brightest, Brightest(bench.DetectorOptions()), function)
    )
    assert one.metrics == two.metrics == three.metrics
    assert [found.record.method for found in (one, two, three)] == ["Brightest", "Brightest", "function"]
    assert one.metrics["scene.recall"] is not None and "given" not in bench.DETECTORS.names()


class Fitted(bench.Detector):
    """Finds what is as bright as the training scenes were; keeps how bright that is."""

    trains = True

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.level, self.calls = 0.0, 0

    def _fit(self, data: FitData) -> dict[str, Any]:
        self.calls += 1
        self.level = float(max(np.asarray(data.train.image(k)).max() for k in range(len(data.train))))
        return {"level": self.level}

    def state(self) -> dict[str, np.ndarray]:
        return {"level": np.array([self.level])}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        self.level = float(state["level"][0])

    def prepare(self, setup: Setup) -> None:
        super().prepare(setup)
        self.level = 0.0

    def _predict(self, image: np.ndarray) -> ScenePrediction:
        assert self.level > 0, "neither fitted nor loaded"
        return ScenePrediction(bench.Detections.none())


def test_an_object_that_learns_is_fitted(tmp_path: Path) -> None:
    made = Fitted(bench.DetectorOptions())
    found = bench.evaluate_detector(made, "toy-ships", runs=tmp_path, **TOY_SHIPS)
    assert made.calls == 1 and found.record.facts["level"] > 0 and found.record.outputs["weights_sha256"]


def test_a_function_compares_pairs(tmp_path: Path) -> None:
    def distances(sar: np.ndarray, optical: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        assert sar.ndim == 3 and optical.shape[3] == 3 and sar.dtype == optical.dtype == np.uint8
        return np.asarray(pairs[:, 0] != pairs[:, 1], dtype=float)

    found = bench.evaluate_matcher(distances, "toy-pairs", runs=tmp_path, **TOY)
    assert found.metrics["uniform.roc_auc"] is not None and found.record.method == "distances"


def test_a_failing_method_raises_with_its_traceback(tmp_path: Path) -> None:
    def breaks(image: np.ndarray) -> tuple[Any, Any]:
        raise ValueError("out of tune")

    with pytest.raises(bench.BenchError, match="breaks failed in predict: out of tune") as failed:
        bench.evaluate_detector(breaks, "toy-ships", runs=tmp_path, **TOY_SHIPS)
    assert "ValueError: out of tune" in failed.value.__notes__[0]
    with pytest.raises(bench.BenchError, match=r"expected \(n, 4\) and \(n,\)"):
        bench.evaluate_detector(lambda image: ([[1, 2, 3]], [1]), "toy-ships", runs=tmp_path, **TOY_SHIPS)


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        ("cfra", {}, "unknown detector 'cfra'; nearest: cfar"),
        ("cfar", {"options": {"pfaa": 1}}, "nearest: pfa"),
        ("cfar", {"dataset": "toy-shisp"}, "unknown dataset 'toy-shisp'; nearest: toy-ships"),
        ("cfar", {"dataset": "toy-pairs", "dataset_options": {}}, "toy-pairs"),
        ("cfar", {"split": {"kind": "grupped"}}, "splits"),
        ("cfar", {"split": {"kind": "folds", "folds": 2}}, "the split makes 2 cells; choose one fold"),
        ("cfar", {"backbone": "resnet18"}, "takes no backbone"),
        ("cfar", {"seed": -1}, "seed -1 is negative"),
        ("cfar", {"limit": 0}, "limit 0: give a number of samples"),
        ("cfar", {"root": "nowhere"}, "roots toy-ships=nowhere: nowhere is not a folder"),
        ("cfar", {"protocol": {"scorefloor": 0.1}}, "nearest: score_floor"),
        (Brightest(bench.DetectorOptions()), {"options": {}}, "options go with a name or a class"),
        (7, {}, "7 is no detector; give a registered name"),
    ],
)
def test_what_cannot_be_measured(tmp_path: Path, given: Any, more: dict[str, Any], message: str) -> None:
    arguments = {"dataset": "toy-ships", "runs": tmp_path, **TOY_SHIPS, **more}
    with pytest.raises(bench.BenchError, match=message):
        bench.evaluate_detector(given, arguments.pop("dataset"), **arguments)
    assert "given" not in bench.DETECTORS.names()
