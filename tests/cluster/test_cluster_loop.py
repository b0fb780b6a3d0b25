"""Cells on a cluster: order, limits, jobs that end without a record, jobs that are still there. The cluster is a
stand-in; the workers are genuine. The real thing: test_one_node_slurm.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from command_line import REPOSITORY, TINY

from bench.core.errors import BenchError
from bench.core.workspace import Workspace
from bench.execution.cell import Origin, Selection
from bench.execution.job import Settings
from bench.execution.plan import Plan, make_plan
from bench.execution.records import RECORD
from bench.execution.slurm import jobs as slurm
from bench.execution.slurm.execute import ClusterRun
from bench.execution.slurm.jobs import JobState
from bench.execution.slurm.spec import SlurmSpec, slurm_spec
from bench.suite.config import load_suite
from bench.suite.expansion import expand

SUITE = TINY.split("  methods:")[0] + "  methods:\n    histogram: {matcher: histogram}\n"


@dataclass
class StandIn:
    """A cluster that runs a job to its end when it is first looked at; `fate` of the n-th submission may say
    otherwise.
    """

    fate: dict[int, str] = field(default_factory=dict)
    refuse: int | None = None
    jobs: dict[str, Path] = field(default_factory=dict)
    over: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    most: int = 0

    def submit(self, folder: Path, name: str, processes: int, environment: dict[str, str], spec: SlurmSpec) -> str:
        if self.refuse is not None and len(self.jobs) >= self.refuse:
            raise BenchError("the cluster did not take the job: invalid partition specified: gpuu")
        job = str(len(self.jobs) + 1)
        self.jobs[job] = folder
        (folder / slurm.JOB_FILE).write_text(json.dumps({"job": job}))
        self.most = max(self.most, len(self.jobs) - len(self.over))
        return job

    def states(self, jobs: list[str]) -> dict[str, JobState]:
        found = {}
        for job in jobs:
            if job not in self.jobs:
                found[job] = JobState("UNKNOWN")
            elif job not in self.over:
                fate = self.fate.get(int(job))
                if fate is None:
                    env = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
                    subprocess.run(
                        [sys.executable, "-m", "bench.worker", str(self.jobs[job])], env=env, check=False, timeout=120
                    )
                self.over[job] = fate or "COMPLETED"
                found[job] = JobState("RUNNING")
            else:
                found[job] = JobState(self.over[job])
        return found

    def cancel(self, jobs: list[str]) -> None:
        self.cancelled += jobs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suite.yaml").write_text(SUITE)
    return tmp_path


def plan_of(place: Path) -> tuple[Plan, Workspace]:
    suite = load_suite(str(place / "suite.yaml"))
    workspace = Workspace(place / "runs", place / "boards", {}, {})
    cells = expand(suite, Selection(), ("matching",), Origin("--config suite.yaml", place))
    return make_plan(cells, workspace), workspace


def run(place: Path, monkeypatch: pytest.MonkeyPatch, cluster: StandIn, **spec: Any) -> tuple[Any, list[str]]:
    for name in ("submit", "states", "cancel"):
        monkeypatch.setattr(slurm, name, getattr(cluster, name))
    plan, workspace = plan_of(place)
    said: list[str] = []
    wanted = SlurmSpec.model_validate({"requeues": 1, **spec})
    settings = Settings(figures=False)
    return ClusterRun(plan, workspace, settings, wanted, said.append, wait=lambda seconds: None).run(), said


def test_cells_run_fail_and_resume(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two cells one is cancelled; the same command then runs that one alone, and the record of the other stays."""
    cluster = StandIn(fate={2: "CANCELLED"})
    outcome, said = run(place, monkeypatch, cluster)
    assert [record.status for _, record in outcome.records] == ["finished", "failed"] and len(outcome.failed) == 1
    assert "job 2 was cancelled" in outcome.failed[0][1].failure.message
    assert any("job 1 running" in line for line in said) and any(
        line.startswith("[1/2]") and "done, uniform.roc_auc" in line for line in said
    )
    again = StandIn()
    outcome, _ = run(place, monkeypatch, again)
    assert (
        len(again.jobs) == 1
        and [record.status for _, record in outcome.records] == ["finished"] * 2
        and not outcome.failed
    )


def test_a_job_that_vanishes_is_submitted_again_so_often(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = StandIn(fate=dict.fromkeys(range(1, 9), "NODE_FAIL"))
    outcome, _ = run(place, monkeypatch, cluster)
    assert len(cluster.jobs) == 4 and len(outcome.failed) == 2, "two cells, each submitted twice"
    assert "lost its node" in outcome.failed[0][1].failure.message


@pytest.mark.parametrize(
    ("state", "words"),
    [("TIMEOUT", "raise minutes"), ("OUT_OF_MEMORY", "raise memory_gb"), ("FAILED", "ended as FAILED")],
)
def test_how_a_job_ended_is_told(place: Path, monkeypatch: pytest.MonkeyPatch, state: str, words: str) -> None:
    outcome, _ = run(place, monkeypatch, StandIn(fate={1: state, 2: state}))
    assert all(words in record.failure.message for _, record in outcome.failed) and len(outcome.failed) == 2


def test_no_more_jobs_than_asked_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = StandIn(fate={1: "FAILED", 2: "FAILED"})
    run(place, monkeypatch, cluster, max_parallel=1)
    assert cluster.most == 1 and len(cluster.jobs) == 2


def test_a_cluster_that_refuses_the_first_job_ends_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchError, match="invalid partition specified: gpuu"):
        run(place, monkeypatch, StandIn(refuse=0))


def test_a_full_queue_is_waited_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = StandIn(fate={1: "FAILED", 2: "FAILED"}, refuse=1)
    submit = cluster.submit

    def later(*arguments: Any) -> str:
        if cluster.over:
            cluster.refuse = None
        return submit(*arguments)

    monkeypatch.setattr(cluster, "submit", later)
    run(place, monkeypatch, cluster)
    assert len(cluster.jobs) == 2


def test_a_job_that_is_still_there_is_waited_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = StandIn(fate={1: "FAILED"})
    plan, _ = plan_of(place)
    for number, item in enumerate(plan.items, start=8):
        item.folder.mkdir(parents=True)
        (item.folder / slurm.JOB_FILE).write_text(json.dumps({"job": str(number)}))
        cluster.jobs[str(number)] = item.folder
    cluster.over = {"9": "CANCELLED"}
    cluster.fate = {8: "FAILED", 3: "FAILED"}
    outcome, said = run(place, monkeypatch, cluster)
    assert any("job 8 is still there" in line for line in said) and list(cluster.jobs) == ["8", "9", "3"]
    assert len(outcome.failed) == 2


def test_interrupting_cancels_the_jobs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = StandIn()

    def interrupted(jobs: list[str]) -> dict[str, JobState]:
        if len(jobs) == 2:
            raise KeyboardInterrupt
        return {}

    monkeypatch.setattr(cluster, "states", interrupted)
    outcome, said = run(place, monkeypatch, cluster)
    assert outcome.interrupted and cluster.cancelled == ["1", "2"] and "2 jobs cancelled" in said[-1]
    assert not list(place.rglob(RECORD))


# -- what is asked, and the commands -----------------------------------------------------------------------------------
def test_the_section_and_the_command_line() -> None:
    section = {"slurm": {"partition": "gpu", "gpus": 2}}
    spec = slurm_spec(section, ["gpus=1", "parameters={constraint: a100}", "memory_gb=12.5"], "s")
    assert (spec.partition, spec.gpus, spec.parameters, spec.memory_gb) == ("gpu", 1, {"constraint": "a100"}, 12.5)
    with pytest.raises(BenchError, match="^slurm: unknown key 'partion'; nearest: partition"):
        slurm_spec(section, ["partion=x"], "s")
    with pytest.raises(BenchError, match="'gpu' is not KEY=VALUE"):
        slurm_spec(section, ["gpu"], "s")
    with pytest.raises(BenchError, match="s: execution.*gpuss"):
        slurm_spec({"slurm": {"gpuss": 1}}, [], "s")


def fake(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_states_of_jobs_in_the_queue_remembered_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fake(tmp_path, "squeue", "echo '7|RUNNING|None'; echo '8|PENDING|Resources'")
    fake(
        tmp_path,
        "scontrol",
        '[ "$3" = 9 ] && echo "JobId=9 JobState=CANCELLED Reason=None" || { echo "Invalid job id" >&2; exit 1; }',
    )
    fake(tmp_path, "sacct", '[ "$5" = 10 ] && echo "CANCELLED by 0|0:15"; exit 0')
    found = slurm.states(["7", "8", "9", "10", "11"])
    assert found == {
        "7": JobState("RUNNING"),
        "8": JobState("PENDING", "Resources"),
        "9": JobState("CANCELLED"),
        "10": JobState("CANCELLED", "exit code 0:15"),
        "11": JobState("UNKNOWN"),
    }
    assert [state.alive for state in found.values()] == [True, True, False, False, False]
    fake(tmp_path, "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(BenchError, match="squeue: .*Unable to contact slurm controller"):
        slurm.states(["7"])


def test_a_cluster_that_does_not_answer_is_not_read_as_the_end_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("squeue", "scontrol"):
        fake(tmp_path, name, "echo 'slurm_load_jobs error: Socket timed out on send/recv operation' >&2; exit 1")
    fake(tmp_path, "sacct", "exit 0")
    with pytest.raises(BenchError, match="squeue: .*Socket timed out"):
        slurm.states(["7"])
    fake(tmp_path, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    with pytest.raises(BenchError, match="scontrol: .*Socket timed out"):
        slurm.states(["7"])


def test_a_silent_cluster_is_asked_again_and_nothing_is_submitted_twice(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = StandIn()
    states, looks = cluster.states, iter(range(100))

    def sometimes(jobs: list[str]) -> dict[str, JobState]:
        if next(looks) < 3:
            raise BenchError("squeue: Socket timed out")
        return states(jobs)

    monkeypatch.setattr(cluster, "states", sometimes)
    outcome, said = run(place, monkeypatch, cluster)
    assert len(cluster.jobs) == 2 and not outcome.failed and sum("does not answer" in line for line in said) == 1


def test_no_sbatch_and_a_refusal_are_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SlurmSpec.model_validate({})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="no sbatch on this machine"):
        slurm.submit(tmp_path, "x", 1, {"PYTHONPATH": "p"}, spec)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fake(tmp_path, "sbatch", "echo 'sbatch: error: invalid partition specified: gpuu' >&2; exit 1")
    fake(tmp_path, "srun", "exit 0")
    with pytest.raises(BenchError, match="^the cluster did not take the job: invalid partition specified: gpuu$"):
        slurm.submit(tmp_path, "x", 1, {"PYTHONPATH": "p"}, spec)
    assert slurm.submitted(tmp_path) is None
    fake(tmp_path, "sbatch", "echo 'Submitted batch job 41'")
    assert slurm.submit(tmp_path, "x", 1, {"PYTHONPATH": "it's"}, spec) == "41" == slurm.submitted(tmp_path)
    script = (tmp_path / slurm.LOGS / "41_submission.sh").read_text()  # beside it lies the refused job's
    assert "export PYTHONPATH='it'\\''s'" in script and "#SBATCH --time=240" in script and "--cpus-per-task=4" in script
