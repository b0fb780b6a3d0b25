"""`bench submit --task matching` and `bench data pairs`: how this task takes distances that another tool computed."""

from __future__ import annotations

from functools import partial

from bench.core.workspace import Workspace
from bench.execution.cell import Cell
from bench.matching.scoring.pairs import view_features
from bench.matching.scoring.sampling import SampledPairs, sample
from bench.matching.submission.submission import read_submission
from bench.submissions.request import Submissions
from bench.suite.data_plan import PlannedData, plan_data
from bench.tasks.data import load_pairs


class PairSubmissions(Submissions):
    """Submissions to the matching task: the pairs are sampled before the file can be read."""

    def check(self, cell: Cell, workspace: Workspace) -> None:
        plan, sampled = sample_block(cell, workspace)
        read_submission(cell, plan, sampled)


def sample_block(cell: Cell, workspace: Workspace) -> tuple[PlannedData, SampledPairs]:
    """Return the planned data of a cell and what is sampled for it; images are decoded only where clusters stand in for
    scenes.
    """
    from bench.core.progress import Progress

    plan = plan_data(cell, workspace)
    with Progress().whole("decode images", "pair") as report:
        opened = partial(load_pairs, plan, workspace.cache, report)
        sampled = sample(plan, cell.spec["protocol"], lambda part: view_features(opened().part(part)))
    return plan, sampled
