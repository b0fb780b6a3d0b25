"""`submission`: the boxes of any other tool, from a results file, scored like every row. It finds nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from bench.core.errors import BenchError
from bench.data.ships.index import ShipScene
from bench.detection.detectors.base import Detections, Detector, DetectorOptions
from bench.detection.submission.coco_results import read_coco
from bench.detection.submission.results_file import lay_on_scenes, read_box_table
from bench.execution.cell import Cell
from bench.submissions.claims import check_claims, claims_in, claims_of
from bench.submissions.request import submitted_file
from bench.submissions.sheets import FORMATS, lacking

HANDOUT = "bench data coco --config SUITE --out truth.json"


class SubmissionOptions(DetectorOptions):
    """Options of a submitted row.

    Attributes:
        results: path of a COCO results file (.json), or of a table of boxes (.csv, .parquet).
        category: take the boxes of this category alone; null where the file has one category.
        empty_images_ok: a test scene that the file does not speak of was looked at and has no detection. Without it
            such a file is refused, since the scene may have been forgotten.
    """

    results: str = Field(min_length=1)
    category: int | None = None
    empty_images_ok: bool = False


class Submission(Detector[SubmissionOptions]):
    """A row that was computed elsewhere; `bench.detection.predict` reads its file instead of asking for predictions."""

    version = 1
    Options = SubmissionOptions


@dataclass(frozen=True)
class Submitted:
    """What was submitted: the detections of each test scene, and facts about the file for the record."""

    detections: list[Detections]
    facts: dict[str, Any]


def read_submission(cell: Cell, scenes: Sequence[ShipScene], data: Mapping[str, Any]) -> Submitted:
    """Return the boxes of a submitted cell in each of its test scenes.

    Args:
        data: identity of the planned data.

    Raises:
        BenchError: the file is no results file of these scenes (`bench.detection.submission.results_file`), it was made
            for others, or it does not speak of some of them.
    """
    options = cell.spec["method"]["options"]
    path = submitted_file(cell, FORMATS)
    results = read_coco(path) if path.suffix.lower() == ".json" else read_box_table(path)
    found = lay_on_scenes(results, scenes, options["category"])
    agreed = check_claims(claims_in(results.sheet), claims_of(data), path, HANDOUT)
    missing = lacking(found.mentioned, f"the {len(scenes)} test scenes", lambda i: repr(scenes[i].id))
    if missing and not options["empty_images_ok"]:
        advice = "predict them, or state with --empty-images-ok that they were looked at and nothing was found"
        raise BenchError(f"{path} says nothing of {missing}; {advice}")
    facts = {
        "submitted": True,
        "submitted_for": agreed,
        "scenes_without_box": sum(len(each) == 0 for each in found.detections),
        "scenes_without_entry": int((~found.mentioned).sum()),
        **({"images_by": "file_name"} if found.own_numbers else {}),
    }
    return Submitted(found.detections, facts)
