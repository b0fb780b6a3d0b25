"""The loop that runs a plan on a cluster: submits every cell that is ready, waits, and collects the results.

Owns what is submitted when, and what is made of a job that ended without a record. A cell that needs another waits for
it; one whose requirement failed is failed without running. A job that is still queued or running for a cell (an earlier
run of this command was killed) is found by a file in the cell's folder and waited for; nothing is submitted twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.core.errors import BenchError
from bench.core.store import folder_lock
from bench.core.workspace import Workspace
from bench.execution.job import Settings
from bench.execution.plan import Plan, PlanItem, is_settled, verb
from bench.execution.records import RECORD, Failure, Record, figures_drawn
from bench.execution.runner import (
    Outcome,
    first_number,
    not_to_be_run,
    own_record,
    prepare_job,
    processes_of,
    relabel,
    tell_failure,
    told_failure,
    worker_environment,
    write_failure,
)
from bench.execution.slurm import jobs as slurm
from bench.execution.slurm.spec import SlurmSpec

Say = Callable[[str], None]
MOST_SILENT_LOOKS = 120  # looks in a row without an answer after which the run gives up; its jobs are found again
_OVER = {
    "CANCELLED": "was cancelled",
    "TIMEOUT": "reached its time limit; raise minutes or requeues under execution.slurm",
    "OUT_OF_MEMORY": "ran out of memory; raise memory_gb under execution.slurm",
    "NODE_FAIL": "lost its node",
    "PREEMPTED": "was pre-empted and not queued again",
    "DEADLINE": "missed its deadline",
}


@dataclass
class _Cell:
    """One cell of the plan on its way: its position and title, its job, and how often it was submitted."""

    number: int
    item: PlanItem
    head: str
    job: str | None = None
    submissions: int = 0
    shown: str = ""


@dataclass
class ClusterRun:
    """A plan on a cluster.

    Attributes:
        wait: sleeps between two looks.
        outcome: what came of it so far.
    """

    plan: Plan
    workspace: Workspace
    settings: Settings
    spec: SlurmSpec
    say: Say
    wait: Callable[[float], None] = time.sleep
    outcome: Outcome = field(default_factory=Outcome)
    _results: dict[int, tuple[PlanItem, Record, bool]] = field(default_factory=dict)
    _unreadable: dict[str, Failure] = field(default_factory=dict)
    _silent: int = 0

    def run(self) -> Outcome:
        """Execute every cell that is not done; return what a local run returns, records in the order of the plan.

        Raises:
            BenchError: the cluster refuses the first job, or does not answer.
        """
        waiting, live = self._start()
        try:
            while waiting or live:
                self._submit_ready(waiting, live)
                if live:
                    self._look(live)
                if waiting or live:
                    self.wait(self.spec.poll_s)
        except KeyboardInterrupt:
            slurm.cancel([cell.job for cell in live if cell.job])
            self.outcome.interrupted = True
            self.say(f"interrupted: {len(live)} jobs cancelled; the same command resumes from their last checkpoints")
        for number in sorted(self._results):
            item, record, drawn = self._results[number]
            entry = (item.folder, relabel(record, item.cell))
            self.outcome.records.append(entry)
            if not drawn:
                self.outcome.undrawn.append(item.folder)
        return self.outcome

    def _start(self) -> tuple[list[_Cell], list[_Cell]]:
        """Settle what is done, and adopt jobs that are still alive."""
        waiting, live = [], []
        total = len(self.plan.items)
        pending = []
        for number, item in enumerate(self.plan.items, start=1):
            cell = _Cell(number, item, f"[{number}/{total}] {item.cell.describe()}")
            if is_settled(item, self.settings.figures) and item.record is not None:
                self._results[number] = (item, item.record, True)
            elif item.problem:
                self._settle(cell, told_failure(item, item.problem), True)
            else:
                pending.append((cell, slurm.submitted(item.folder)))
        known = slurm.states([job for _, job in pending if job]) if any(job for _, job in pending) else {}
        for cell, job in pending:
            if job and known[job].alive:
                cell.job, cell.submissions = job, 1
                self.say(f"{cell.head}: job {job} is still there, {known[job].name.lower()}")
                live.append(cell)
            else:
                waiting.append(cell)
        return waiting, live

    # -- submitting ----------------------------------------------------------------------------------------------------
    def _submit_ready(self, waiting: list[_Cell], live: list[_Cell]) -> None:
        """Submit what waits for nothing, as far as the limit allows; fail what can no longer run."""
        coming = {(cell.item.cell.task, cell.item.identity.keys.train) for cell in (*waiting, *live)}
        for cell in list(waiting):
            item = cell.item
            refused = not_to_be_run(item, self.outcome, self._unreadable)
            if refused is not None:
                failure, why = refused
                waiting.remove(cell)
                self.say(f"{cell.head}: not run, {why}")
                self._settle(cell, write_failure(item, failure), True)
            elif coming.intersection(item.identity.requires):
                continue
            elif self.spec.max_parallel is None or len(live) < self.spec.max_parallel:
                try:
                    self._submit(cell)
                except BenchError:
                    if not live:  # nothing of ours to wait for: the cluster will not take it later either
                        raise
                    continue
                waiting.remove(cell)
                live.append(cell)

    def _submit(self, cell: _Cell) -> None:
        item = cell.item
        settings = prepare_job(item, self.workspace, self.settings)
        # an earlier failure, or what --force does away with: it must not be taken for what this job came to
        if item.record is None:
            (item.folder / RECORD).unlink(missing_ok=True)
        processes = processes_of(item, settings)
        cell.job = slurm.submit(
            item.folder, item.folder.name, processes, worker_environment(self.workspace, settings), self.spec
        )
        cell.submissions += 1
        again = " again" if cell.submissions > 1 else ""
        self.say(f"{cell.head}: {verb(item)}, submitted{again} as job {cell.job}")

    # -- waiting -------------------------------------------------------------------------------------------------------
    def _look(self, live: list[_Cell]) -> None:
        """Query the states of all jobs, report what changed, and collect what ended."""
        try:
            found = slurm.states([cell.job for cell in live if cell.job])
        except BenchError as error:  # a controller that is busy or restarts: the jobs go on without it
            self._silent += 1
            if self._silent > MOST_SILENT_LOOKS:
                raise
            if self._silent == 1:
                self.say(f"the cluster does not answer ({error}); asking again")
            return
        self._silent = 0
        for cell in list(live):
            state = found[cell.job or ""]
            if state.alive:
                shown = f"{state.name.lower()}{f' ({state.reason})' if state.reason else ''}"
                if shown != cell.shown:
                    self.say(f"{cell.head}: job {cell.job} {shown}")
                    cell.shown = shown
                continue
            live.remove(cell)
            self._collect(cell, state, live)

    def _collect(self, cell: _Cell, state: slurm.JobState, live: list[_Cell]) -> None:
        """Make a result of a job that is over."""
        item = cell.item
        with folder_lock(item.folder):
            record = own_record(item)
            # else it is what stood there before
            if record is not None and (item.record is None or state.name == "COMPLETED"):
                drawn = (
                    not self.settings.figures
                    or record.status == "failed"
                    or figures_drawn(item.folder, record.fingerprint)
                )
                if record.failure is None:
                    self.say(f"{cell.head}: done{first_number(record)}")
                else:
                    tell_failure(record.failure, item, self.say, cell.head, self._unreadable)
                self._settle(cell, record, drawn)
                return
        if state.name in ("UNKNOWN", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL") and cell.submissions <= self.spec.requeues:
            self.say(f"{cell.head}: job {cell.job} ended without a record")
            self._submit(cell)
            live.append(cell)
            return
        why = _OVER.get(state.name, f"ended as {state.name}{f' ({state.reason})' if state.reason else ''}")
        message = f"job {cell.job} {why}; see log.txt and {slurm.LOGS}/ in its folder"
        self.say(f"{cell.head}: FAILED: {message}")
        self._settle(cell, write_failure(item, Failure(stage="worker", message=message, traceback="")), True)

    def _settle(self, cell: _Cell, record: Record, drawn: bool) -> None:
        self._results[cell.number] = (cell.item, record, drawn)
        if record.status == "failed":
            self.outcome.failed.append((cell.item.folder, relabel(record, cell.item.cell)))
