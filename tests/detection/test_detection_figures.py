"""The pictures of a detection cell: what is called found, false and missed, which piece of a scene is shown, and files
for odd cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lineage_toys import DETECTION
from PIL import Image
from scene_toys import view_of

from bench.core.store import write_text
from bench.data.ships.view import SceneView
from bench.detection.board.figures import CROP_PX, choose_panels, decide_scenes, display, draw_cell
from bench.detection.detectors.base import Detections, ScenePrediction
from bench.detection.scoring.evaluator import BoxTable, match
from bench.detection.scoring.predictions import DetectionPredictions, PartPredictions, build_part, save_predictions
from bench.detection.scoring.score import score_predictions
from bench.execution.records import PREDICTIONS, RECORD

Boxes = Sequence[Sequence[float]]


def found(boxes: Boxes, scores: Sequence[float]) -> Detections:
    return Detections(np.array(boxes, dtype=float).reshape(-1, 4), np.array(scores, dtype=float))


def part_of(view: SceneView, detections: Sequence[Detections], strata: Sequence[str] | None = None) -> PartPredictions:
    return build_part([view.item(k) for k in range(len(view))], [ScenePrediction(each) for each in detections], strata)


def cell(folder: Path, part: PartPredictions, **facts: Any) -> Path:
    """A finished cell as the worker leaves it."""
    predictions = DetectionPredictions(part_none(), part)
    scores = score_predictions(predictions)
    save_predictions(folder / PREDICTIONS, predictions)
    measured = {"metrics": dict(scores.metrics), "facts": {**scores.facts, **facts}}
    record = DETECTION.model_copy(update=measured)
    write_text(folder / RECORD, record.model_dump_json())
    return folder


def part_none() -> PartPredictions:
    return build_part([], [])


def test_found_false_and_missed_at_a_threshold() -> None:
    truth = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]], dtype=float)
    ignore = np.array([False, False, True])
    detections = found(
        [[0, 0, 10, 9], [0, 0, 9, 9], [50, 50, 60, 60], [80, 80, 90, 90], [20, 20, 30, 30]], [5, 4, 1, 6, 3]
    )
    table = BoxTable.of(
        [(truth, ignore), (np.zeros((0, 4)), np.zeros(0, dtype=bool))], [detections, found([[1, 1, 2, 2]], [2])]
    )
    matches = match(table, "voc", (0.5,))
    at_two = decide_scenes(table, matches, 2.0, "test")
    assert at_two.true.tolist() == [True, False, False, False, False, False]
    assert at_two.false.tolist() == [False, True, False, False, True, True]
    assert at_two.found.tolist() == [True, False, False] and at_two.missed.tolist() == [False, True, False]
    assert at_two.partner.tolist() == [0, -1, -1, -1, -1, -1]
    nothing = decide_scenes(table, matches, None, "test")
    assert not nothing.true.any() and not nothing.false.any() and nothing.missed.tolist() == [True, True, False]


def test_worst_scenes_come_first_and_large_ones_are_cropped_to_errors(tmp_path: Path) -> None:
    small, large = np.full((60, 80), 9, dtype=np.uint8), np.full((1500, 2000), 9, dtype=np.uint8)
    truth: list[Boxes] = [
        [[5, 5, 15, 12]],
        [],
        [[100, 100, 130, 110], [1900, 1400, 1950, 1420], [1960, 1430, 1990, 1490]],
    ]
    view = view_of(tmp_path, [small, small, large], truth)
    detections = [found([[5, 5, 15, 12]], [1.0]), found([[1, 1, 5, 5]], [1.0]), found([[100, 100, 130, 110]], [1.0])]
    part = part_of(view, detections)
    decided = decide_scenes(part.scene, match(part.scene, "voc", (0.5,)), 0.5, "test")
    panels = choose_panels(part, decided)
    assert [(p.kind, p.scene, p.true, p.false, p.missed) for p in panels] == [
        ("worst", 2, 1, 0, 2),
        ("worst", 1, 0, 1, 0),
        ("best", 0, 1, 0, 0),
    ]
    y0, x0, height, width = panels[0].window
    assert (height, width) == (CROP_PX, CROP_PX) and x0 + width <= 2000 and y0 + height <= 1500
    assert x0 <= 1900 and y0 <= 1400  # both missed ships are in the piece, the found one far away is not
    assert panels[1].window == (0, 0, 60, 80)


def test_a_ship_larger_than_the_piece_widens_it(tmp_path: Path) -> None:
    view = view_of(tmp_path, [np.full((900, 900), 9, dtype=np.uint8)], [[[100, 100, 600, 200]]])
    part = part_of(view, [found([], [])])
    panel = choose_panels(part, decide_scenes(part.scene, match(part.scene, "voc", (0.5,)), None, "test"))[0]
    y0, x0, height, width = panel.window
    assert width == 650 and x0 <= 100 and x0 + width >= 600 and y0 <= 100 and y0 + height >= 200


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_display_keeps_order_and_range(dtype: type[np.generic]) -> None:
    pixels = np.random.default_rng(0).gamma(1.0, 20.0, (64, 64)).astype(dtype)
    shown = display(pixels)
    assert shown.min() >= 0 and shown.max() <= 1 and np.median(shown) < 0.3
    flat = np.argsort(pixels.ravel(), kind="stable")
    assert (np.diff(shown.ravel()[flat]) >= 0).all()
    assert (display(np.zeros((4, 4), dtype=dtype)) == 0).all()
    assert display(np.array([[-30.0, -20.0], [-10.0, 0.0]], dtype=np.float32))[1, 1] == 1.0


def test_all_pictures_are_drawn_in_colours_that_differ(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 40, (90, 120)).astype(np.uint16) for _ in range(3)]
    truth: list[Boxes] = [[[10, 10, 40, 30]], [[50, 20, 90, 40]], []]
    view = view_of(tmp_path, images, truth)
    part = part_of(
        view,
        [found([[10, 10, 40, 30], [60, 60, 80, 80]], [3.0, 2.0]), found([], []), found([], [])],
        ["inshore", "offshore", "offshore"],
    )
    folder = cell(tmp_path / "cell", part)
    (folder / "curves.csv").write_text("epoch,loss,lr\n1,2.0,0.1\n2,1.0,0.1\n")
    written = draw_cell(folder, "cfar on toy", view)
    assert sorted(path.name for path in written) == ["curves.png", "precision-recall.png", "scenes.png", "sizes.png"]
    for path in written:
        assert path.parent == folder / "figures" and min(Image.open(path).size) > 200
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in draw_cell(folder, "cfar on toy", view)] == before
    low_threshold = cell(tmp_path / "other", part, **{"scene.threshold": 1.0})
    shown = np.asarray(
        Image.open([path for path in draw_cell(low_threshold, "t", view) if path.stem == "scenes"][0]).convert("RGB")
    ).astype(int)
    for colour in ((0, 0x9E, 0x73), (0xD5, 0x5E, 0), (0xF0, 0xE4, 0x42)):
        assert (np.abs(shown - np.array(colour)).max(axis=2) < 12).sum() > 100


@pytest.mark.parametrize("boxes", [[], [[5, 5, 20, 20]]], ids=["no ships", "one ship"])
def test_cells_with_nothing_found_are_drawn(tmp_path: Path, boxes: Boxes) -> None:
    view = view_of(tmp_path, [np.full((1, 1), 3, dtype=np.uint8), np.full((50, 40), 3, dtype=np.uint8)], [[], boxes])
    folder = cell(tmp_path / "cell", part_of(view, [found([], []), found([], [])]))
    assert {path.stem for path in draw_cell(folder, "nothing", view)} == {"scenes", "precision-recall", "sizes"}


def test_many_detections_are_drawn(tmp_path: Path) -> None:
    view = view_of(tmp_path, [np.full((400, 400), 3, dtype=np.uint8)], [[[5, 5, 20, 20]]])
    corner = np.random.default_rng(0).uniform(0, 380, (3000, 2))
    many = Detections(np.concatenate([corner, corner + 10], axis=1), np.arange(3000.0))
    assert len(draw_cell(cell(tmp_path / "cell", part_of(view, [many])), "many", view)) == 3
