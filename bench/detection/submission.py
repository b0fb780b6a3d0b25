"""`submission`: the boxes of any other tool, from a COCO results file, scored like every row. It finds nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from bench.data.ships.index import ShipScene
from bench.detection.coco_results import read_coco_results
from bench.detection.detector import Detections, Detector, DetectorOptions
from bench.task import Cell


class SubmissionOptions(DetectorOptions):
    """Options of a submitted row.

    Attributes:
        results: path of a COCO results file: a JSON list of {"image_id", "bbox": [x, y, width, height], "score"}.
        category: take the boxes of this category alone; null where the file has one category.
        link: where the method is described, shown on the board.
    """

    results: str = Field(min_length=1)
    category: int | None = None
    link: str = ""


class Submission(Detector):
    """A row that was computed elsewhere; `bench.detection.predict` reads its file instead of asking for predictions."""

    version = 1
    Options = SubmissionOptions


def read_submission(cell: Cell, scenes: Sequence[ShipScene]) -> list[Detections]:
    """Return the boxes of a submitted cell in each test scene.

    Raises:
        BenchError: the file is no results file of these scenes (`bench.detection.coco_results`).
    """
    return read_coco_results(Path(cell.places["results"]), scenes, cell.spec["method"]["options"]["category"])
