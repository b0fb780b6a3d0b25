"""`bench submit --task detection` and `bench data coco`: cells of a suite's detection section for what another tool
finds.
"""

from __future__ import annotations

from bench.core.validation import validate
from bench.core.workspace import Workspace
from bench.detection.spec import DetectionSection, DetectorEntry
from bench.execution.cell import Cell, Origin, Selection
from bench.execution.task import get_task
from bench.submissions.sheets import FORMATS, METHOD, Request, check_name, existing_file, one_block, submitted_cell
from bench.suite.config import Suite

OPTIONS = ("category", "empty_images_ok")  # of the command line, that only this task's submissions take


def block_cell(suite: Suite, origin: Origin, filters: dict[str, tuple[str, ...]]) -> Cell:
    """Return a cell of the chosen block, for its data and split; its method means nothing.

    Raises:
        BenchError: unknown data set or split, or several blocks to choose from.
    """
    section = _section(suite)
    alone = section.model_copy(update={"reference": None, "methods": {METHOD: DetectorEntry(detector="cfar")}})
    return one_block(get_task("detection").expand(suite, alone, Selection(filters), origin))


def submission_cell(suite: Suite, origin: Origin, request: Request) -> Cell:
    """Return the cell that scores a request.

    Raises:
        BenchError: no such file, a name that is no file name or is a row of the suite, several blocks to choose from.
    """
    section = _section(suite)
    path = existing_file(request.file, FORMATS)
    check_name(
        request.name,
        {
            *section.methods,
            *(cell.method for cell in get_task("detection").expand(suite, section, Selection(), origin)),
        },
    )
    entry = DetectorEntry(detector=METHOD, options={"results": str(path.resolve()), **request.options})
    alone = section.model_copy(update={"reference": None, "methods": {request.name: entry}})
    return submitted_cell(
        one_block(get_task("detection").expand(suite, alone, Selection(dict(request.filters)), origin)), request
    )


def check_submission(cell: Cell, workspace: Workspace) -> None:
    """Nothing is left to check: planning the cell reads its file (`DetectionTask.identify`), before anything runs or is
    filed.
    """


def _section(suite: Suite) -> DetectionSection:
    section: DetectionSection = validate(DetectionSection, suite.tasks["detection"], f"{suite.name}: detection")
    return section
