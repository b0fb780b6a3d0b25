"""A run from the name of its suite to its boards: load -> expand -> plan -> execute -> file -> boards.

`bench.run` and the verbs `run`, `plan` and `submit` of the command line go this one way. Each step is a room of its
own: `suite` (YAML -> cells), `execution` (cells -> records), `boards` (records -> tables). Here stand their order and
the checks between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.boards.entries import with_readable_scores
from bench.boards.leaderboard import Boards, file_run, wiring_tables
from bench.boards.run_result import RunResult
from bench.core.errors import MissingInputs
from bench.core.registries import TASKS
from bench.core.store import check_writable
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Selection
from bench.execution.in_process import run_here
from bench.execution.job import Settings
from bench.execution.plan import Plan, make_plan
from bench.execution.runner import Outcome, run_plan
from bench.execution.slurm.spec import SlurmSpec
from bench.suite.config import Suite, load_suite
from bench.suite.data_plan import forget_plans
from bench.suite.expansion import expand
from bench.suite.roots import check_roots
from bench.suite.smoke import replace_absent_weights, smoke_workspace
from bench.training.api import choose_device

SMOKE, LIMITED = "smoke run: wiring check, no measurement", "limited run: a wiring check, not on any board"
Say = Callable[[str], None]  # takes a line about the progress of a run


@dataclass(frozen=True)
class Chosen:
    """A suite, the cells of it that are wanted, the tasks that are wanted whole, and where files lie."""

    suite: Suite
    cells: tuple[Cell, ...]
    workspace: Workspace
    whole_tasks: tuple[str, ...] = ()
    smoke: bool = False


def choose(suite: Suite | str | Path, selection: Selection, workspace: Workspace, task: str | None = None) -> Chosen:
    """Load a suite that is given by name or path, and return its selected cells in the order in which they run.

    Raises:
        BenchError: an unknown name (the nearest are named), an invalid section, nothing left.
    """
    suite = suite if isinstance(suite, Suite) else load_suite(suite)
    tasks = [TASKS.entry(task).name] if task else list(suite.tasks)
    cells = expand(suite, selection, tasks, suite.origin)
    whole = selection == Selection() and not suite.settings
    check_roots(workspace, cells, suite)
    place = smoke_workspace(workspace) if selection.smoke else workspace
    return Chosen(suite, tuple(cells), place, tuple(tasks) if whole else (), selection.smoke)


def plan(chosen: Chosen, force: bool = False, in_process: bool = False) -> Plan:
    """Return the state of each cell, and what is missing on disk. Nothing is computed."""
    forget_plans()
    return make_plan(chosen.cells, chosen.workspace, force, in_process)


def complete(
    chosen: Chosen, settings: Settings, say: Say, cluster: SlurmSpec | None = None, in_process: bool = False
) -> RunResult:
    """Plan the chosen cells, run what is not finished, file the records and rebuild the boards.

    Args:
        settings: its device may be "auto", which is settled only when something has to run.
        cluster: what each cell's job asks for; None runs the cells on this machine.
        in_process: run the cells in this process instead of one of their own.

    Raises:
        BenchError: something is missing on disk, a folder cannot be written to, or there is no such device.
    """
    workspace = chosen.workspace
    if chosen.smoke:
        check_writable(runs=workspace.runs)
        replace_absent_weights(chosen.cells, workspace, say)
        settings = replace(settings, force=True)  # what is checked is this machine as it is now
    planned = plan(chosen, settings.force, in_process)
    if planned.missing:
        raise MissingInputs(list(planned.missing))
    check_writable(runs=workspace.runs, **({} if chosen.smoke else {"boards": workspace.boards}))
    todo = f"{len(planned.items) - len(planned.pending)} finished already, {len(planned.pending)} to run"
    todo = f"smoke run in {workspace.runs}, on no board" if chosen.smoke else todo
    say(f"{chosen.suite.name}: {len(planned.items)} cell{'' if len(planned.items) == 1 else 's'}, {todo}")
    return file(chosen, execute(planned, workspace, settings, say, cluster, in_process))


def execute(
    planned: Plan, workspace: Workspace, settings: Settings, say: Say, cluster: SlurmSpec | None, in_process: bool
) -> Outcome:
    """Run the cells of a plan that are not finished: as jobs, in this process, or each in a process of its own."""
    if cluster is not None:
        from bench.execution.slurm.execute import ClusterRun

        return ClusterRun(planned, workspace, settings, cluster, say).run()
    device = choose_device(settings.device, settings.processes) if planned.pending else "cpu"  # asking may import torch
    run = run_here if in_process else None
    return run_plan(planned, workspace, replace(settings, device=device), say, run)


def file(chosen: Chosen, outcome: Outcome) -> RunResult:
    """File the records of a run as entries and rebuild the suite's boards; of a wiring check, make its tables alone."""
    suite = chosen.suite
    if chosen.smoke or any(record.limit is not None for _, record in outcome.records):
        unfiled = SMOKE if chosen.smoke else LIMITED
        built = Boards(wiring_tables(suite.name, [record for _, record in outcome.records], unfiled))
    else:
        unfiled, records = "", [(folder, with_readable_scores(folder, each)) for folder, each in outcome.records]
        outcome = replace(outcome, records=records)
        built = file_run(chosen.workspace.boards, suite, chosen.cells, records, chosen.whole_tasks)
    return RunResult.of(suite.name, len(chosen.cells), outcome, built, unfiled)
