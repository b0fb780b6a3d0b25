"""`bench submit --task matching` and `bench data pairs`: cells of a suite's matching section for what another tool
computes.
"""

from __future__ import annotations

from functools import partial

from bench.core.validation import validate
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Origin, Selection
from bench.execution.task import get_task
from bench.matching.scoring.pairs import view_features
from bench.matching.scoring.sampling import Drawn, draw
from bench.matching.spec import MatcherEntry, MatchingSection
from bench.matching.submission.submission import OURS, read_submission
from bench.submissions.sheets import FORMATS, METHOD, Request, check_name, existing_file, one_block, submitted_cell
from bench.suite.config import Suite
from bench.suite.data_plan import PlannedData, plan_data
from bench.tasks.data import load_pairs

OPTIONS = ("threshold",)  # of the command line, that only this task's submissions take


def block_cell(suite: Suite, origin: Origin, filters: dict[str, tuple[str, ...]]) -> Cell:
    """Return a cell of the chosen block, for its data, split and protocol; its method means nothing.

    Raises:
        BenchError: unknown data set or split, or several blocks to choose from.
    """
    section = _section(suite)
    alone = section.model_copy(update={"reference": None, "methods": {METHOD: MatcherEntry(matcher="cfog")}})
    return one_block(get_task("matching").expand(suite, alone, Selection(filters), origin))


def submission_cell(suite: Suite, origin: Origin, request: Request) -> Cell:
    """Return the cell that scores a request.

    Raises:
        BenchError: no such file, a name that is no file name or is a row of the suite, several blocks to choose from.
    """
    section = _section(suite)
    path = existing_file(request.file, (*FORMATS, OURS))
    check_name(request.name, section.methods)
    entry = MatcherEntry(matcher=METHOD, options={"results": str(path.resolve()), **request.options})
    alone = section.model_copy(update={"reference": None, "methods": {request.name: entry}})
    return submitted_cell(
        one_block(get_task("matching").expand(suite, alone, Selection(dict(request.filters)), origin)), request
    )


def check_submission(cell: Cell, workspace: Workspace) -> None:
    """Read the file of a submitted cell against what is drawn for it, before anything runs or is filed.

    Raises:
        BenchError: missing data, or a file that does not answer what was asked
            (`bench.matching.submission.submission`).
    """
    plan, drawn = draw_block(cell, workspace)
    read_submission(cell, plan, drawn)


def draw_block(cell: Cell, workspace: Workspace) -> tuple[PlannedData, Drawn]:
    """Return the planned data of a cell and what is drawn for it; images are decoded only where clusters stand in for
    scenes.
    """
    from bench.core.progress import Progress

    plan = plan_data(cell, workspace)
    with Progress().whole("decode images", "pair") as report:
        parts = partial(load_pairs, plan, workspace.cache, report)
        drawn = draw(plan, cell.spec["protocol"], lambda part: view_features(parts().part(part)))
    return plan, drawn


def _section(suite: Suite) -> MatchingSection:
    section: MatchingSection = validate(MatchingSection, suite.tasks["matching"], f"{suite.name}: matching")
    return section
