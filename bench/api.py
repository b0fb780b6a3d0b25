"""The functions of `import bench` that run suites: `plan` and `run`, with every parameter by its name.

Their parameters are the options of `bench plan` and `bench run`, and mean the same. The way itself is
`bench.pipeline`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from bench.boards.run_result import RunResult
from bench.core.errors import BenchError, nearest
from bench.core.processes import available_cores
from bench.core.validation import check_seeds
from bench.core.workspace import Roots, Workspace
from bench.execution.cell import Selection
from bench.execution.job import Settings
from bench.execution.plan import Plan
from bench.execution.slurm.spec import SlurmSpec, slurm_spec
from bench.pipeline import Say, choose, complete
from bench.pipeline import plan as plan_chosen
from bench.suite.config import Suite, load_suite

Names = str | Sequence[str]


class Filters(TypedDict, total=False):
    """What a suite is narrowed down by, one name or several each; `bench run --help` says what they are."""

    dataset: Names
    split: Names
    method: Names
    matcher: Names
    backbone: Names
    control: Names
    detector: Names
    pretrain: Names


def plan(
    suite: Suite | str | Path,
    *,
    task: str | None = None,
    seeds: Sequence[int] | None = None,
    limit: int | None = None,
    runs: str | Path = "runs",
    boards: str | Path = "leaderboards",
    roots: Roots = None,
    force: bool = False,
    in_process: bool = False,
    **filters: Unpack[Filters],
) -> Plan:
    """Return what `run` would do with the same arguments: the state of each cell, and what is missing on disk.

    Raises:
        BenchError: unknown names (the nearest are listed), invalid seeds, nothing left.
    """
    chosen = choose(suite, _selection(filters, seeds, limit), Workspace.at(runs, boards, roots), task)
    return plan_chosen(chosen, force, in_process)


def run(
    suite: Suite | str | Path,
    *,
    task: str | None = None,
    seeds: Sequence[int] | None = None,
    limit: int | None = None,
    smoke: bool = False,
    runs: str | Path = "runs",
    boards: str | Path = "leaderboards",
    roots: Roots = None,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 0,
    processes: int = 1,
    figures: bool = True,
    force: bool = False,
    in_process: bool = False,
    slurm: Sequence[str] | None = None,
    say: Say | None = None,
    **filters: Unpack[Filters],
) -> RunResult:
    """Run a suite, or the part of it that is selected: train, predict, score, file the records and write the boards.

    What is finished under `runs` is never computed again, and what was interrupted resumes. Cells, keys, records and
    boards are those of `bench run` with the options of the same names.

    Args:
        suite: from `load_suite`, or the name or path of a config.
        task: one task of the suite; all of them by default. seeds: instead of the suite's.
        limit: at most so many samples a part. smoke: a few samples and iterations. Neither enters a board.
        runs, boards: the folders of cells and of boards. roots: the folder of the data, or folders by data set.
        device: "cpu", "cuda", "cuda:N", or "auto". threads, workers, processes: as on the command line.
        figures: draw pictures. force: compute again what is finished.
        in_process: run the cells in this process, for classes that only it knows; `bench.execution.in_process` says
            what that costs.
        slurm: run each cell as a job of a cluster, with these "key=value" settings (docs/slurm.md).
        say: takes a line at a time about the progress; they go to standard error by default.
        filters: names or lists of names of `dataset`, `split`, `method`, `matcher`, `backbone`, `control`, `detector`,
            `pretrain`.

    Returns:
        Records, failures and tables. A cell that fails raises nothing: its record stands among the `failures`.

    Raises:
        BenchError: bad input: unknown names (the nearest are listed), missing data, no such device, a class that no
            worker process sees.
    """
    suite = suite if isinstance(suite, Suite) else load_suite(suite)
    cluster = None if slurm is None else slurm_spec(suite.execution, slurm, suite.name)
    if in_process and (processes > 1 or cluster is not None):
        raise BenchError("in_process runs the cells in this very process: leave processes and slurm out")
    chosen = choose(suite, _selection(filters, seeds, limit, smoke), Workspace.at(runs, boards, roots), task)
    settings = _settings(device, threads, workers, figures, force, processes, cluster)
    return complete(chosen, settings, say or to_stderr, cluster, in_process)


def to_stderr(line: str) -> None:
    """Print a line about the progress of a run."""
    print(line, file=sys.stderr, flush=True)


def _selection(
    filters: Mapping[str, Any], seeds: Sequence[int] | None, limit: int | None, smoke: bool = False
) -> Selection:
    """Return the selection that the arguments come to.

    Raises:
        BenchError: an unknown filter, no, repeated or negative seeds, a limit below 1.
    """
    known = Filters.__annotations__
    for name in filters:
        if name not in known:
            raise BenchError(f"unknown parameter {name!r}{nearest(name, known)}")
    try:
        chosen = None if seeds is None else check_seeds(seeds)
    except ValueError as error:
        raise BenchError(f"seeds: {error}", "seeds") from error
    values = {name: (names,) if isinstance(names, str) else tuple(names) for name, names in filters.items()}
    return Selection({name: names for name, names in values.items() if names}, chosen, limit, smoke)


def _settings(
    device: str,
    threads: int | None,
    workers: int,
    figures: bool,
    force: bool,
    processes: int,
    cluster: SlurmSpec | None,
) -> Settings:
    """Return how cells are run; on a cluster, device and threads are those of a job, whatever this machine has."""
    if processes < 1:
        raise BenchError(f"processes {processes}: from 1", "processes")
    if cluster is not None:
        device = device if device != "auto" else "cuda" if cluster.gpus else "cpu"
        threads = threads or max(1, cluster.cpus // processes)
    elif threads is None:
        threads = max(1, available_cores() // processes)
    if threads < 1 or workers < 0:
        raise BenchError(f"threads {threads}, workers {workers}: threads from 1, workers from 0", "threads")
    return Settings(device, threads, workers, figures, force, processes)
