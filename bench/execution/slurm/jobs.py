"""The jobs of a Slurm cluster: submitting one through submitit, what state it is in, cancelling it.

States come from squeue and scontrol, and from sacct where the cluster keeps accounts; none of them is asked more than
once a look. A job runs `bench.worker` on a cell's folder, the entry that a local run uses: the folder must lie on a
file system that the nodes share.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, first_line
from bench.core.store import write_json
from bench.execution.launch import worker_command
from bench.execution.slurm.spec import SlurmSpec

JOB_FILE = "slurm.json"
LOGS = "slurm"
ALIVE = frozenset(
    {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"}
    | {"RESIZING", "SIGNALING", "STAGE_OUT", "SPECIAL_EXIT"}
)
_ASK_TIMEOUT_S = 60
_NO_SUCH_JOB = "invalid job id"


@dataclass(frozen=True)
class JobState:
    """What the cluster says of a job: a state of Slurm's, and why."""

    name: str
    reason: str = ""

    @property
    def alive(self) -> bool:
        """Whether it waits, runs, or may run again."""
        return self.name in ALIVE


class CellJob:
    """What a job does, pickled by submitit: run the worker; when Slurm ends the job early, ask for another turn."""

    def __init__(self, folder: Path, processes: int, environment: Mapping[str, str]) -> None:
        self.folder, self.processes, self.environment = str(folder), processes, dict(environment)

    def __call__(self) -> int:
        """Return the worker's exit code."""
        command = [sys.executable, *worker_command(Path(self.folder), self.processes)[1:]]
        environment = {**os.environ, **self.environment}
        return subprocess.Popen(command, env=environment, preexec_fn=_let_the_job_answer).wait()

    def checkpoint(self) -> Any:
        """Return the same job for submitit to queue again: the worker goes on from its last checkpoint."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _let_the_job_answer() -> None:
    """In the worker: ignore the warning signals that Slurm sends to all processes of a job; the job itself answers
    them.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def submit(folder: Path, name: str, processes: int, environment: Mapping[str, str], spec: SlurmSpec) -> str:
    """Submit a cell; return the job's id, which is also kept in the folder.

    Raises:
        BenchError: no sbatch here, submitit is missing, or the cluster refuses the job.
    """
    if shutil.which("sbatch") is None:
        raise BenchError(
            "there is no sbatch on this machine; submit from a login node of the cluster, or use --executor local"
        )
    try:
        import submitit
    except ImportError as error:
        raise BenchError("--executor slurm needs submitit; pip install 'saropt-bench[slurm]'") from error
    logs = folder.resolve() / LOGS
    executor = submitit.SlurmExecutor(folder=logs, max_num_timeout=spec.requeues)
    parameters: dict[str, Any] = {
        "job_name": name[:60],
        "time": spec.minutes,
        "cpus_per_task": spec.cpus,
        "ntasks_per_node": 1,
        "nodes": 1,
    }
    parameters |= {key: value for key in ("partition", "account", "qos") if (value := getattr(spec, key)) is not None}
    parameters |= {"gpus_per_node": spec.gpus} if spec.gpus else {}
    parameters |= {"mem": f"{round(spec.memory_gb * 1024)}M"} if spec.memory_gb is not None else {}
    exports = [f"export PYTHONPATH={_quoted(environment['PYTHONPATH'])}"]
    try:
        executor.update_parameters(
            **parameters, setup=[*spec.setup, *exports], additional_parameters=dict(spec.parameters)
        )
        job = executor.submit(CellJob(folder.resolve(), processes, environment))
    except (RuntimeError, OSError, ValueError, TypeError, NameError) as error:  # submitit's own are RuntimeErrors
        raise BenchError(f"the cluster did not take the job: {_reason(error)}") from error
    write_json(folder / JOB_FILE, {"job": str(job.job_id)})
    return str(job.job_id)


def submitted(folder: Path) -> str | None:
    """Return the id of the job that was last submitted for a cell; None where there is none, or the file is damaged."""
    try:
        found = json.loads((folder / JOB_FILE).read_bytes())["job"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(found)


def states(jobs: Sequence[str]) -> dict[str, JobState]:
    """Return the state of each job; UNKNOWN where the cluster has forgotten it.

    Raises:
        BenchError: the cluster does not answer.
    """
    if not jobs:
        return {}
    found = {}
    for line in _ask(
        "squeue", "--noheader", "--states=all", "--format=%A|%T|%r", f"--jobs={','.join(jobs)}", lenient=True
    ).splitlines():
        job, name, reason = (part.strip() for part in line.split("|", 2))
        found[job] = JobState(name, "" if reason == "None" else reason)
    return {job: found.get(job) or _remembered(job) for job in jobs}


def _remembered(job: str) -> JobState:
    """Return the state of a job that has left the queue."""
    for word in _ask("scontrol", "show", "job", job, "--oneliner", lenient=True).split():
        if word.startswith("JobState="):
            return JobState(word.partition("=")[2])
    line = _ask("sacct", "-X", "-n", "-P", "-j", job, "-o", "State,ExitCode", lenient=True).strip().split("\n")[0]
    name, _, code = line.partition("|")
    return JobState(name.split()[0], f"exit code {code}") if name.strip() else JobState("UNKNOWN")


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs; those that are over already stay so."""
    if jobs:
        _ask("scancel", *jobs, lenient=True)


def _ask(*command: str, lenient: bool) -> str:
    """Return what a command of Slurm's prints; with `lenient`, "" where it fails because it knows no such job."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        if command[0] == "sacct":
            return ""
        raise BenchError(f"there is no {command[0]} on this machine; run on a login node of the cluster") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"the cluster does not answer ({command[0]} took over {_ASK_TIMEOUT_S} s)") from error
    # anything else says nothing of the job, and must not be read as its end
    unknown = _NO_SUCH_JOB in done.stderr.lower()
    if done.returncode and command[0] != "sacct" and not (lenient and unknown):
        raise BenchError(
            f"{command[0]}: {first_line(Exception(done.stderr.strip() or f'ended with exit code {done.returncode}'))}"
        )
    return done.stdout


def _reason(error: Exception) -> str:
    """Return sbatch's own words out of submitit's message, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    errors = [line.partition("error:")[2].strip() for line in lines if "error:" in line]
    return (errors or lines or [type(error).__name__])[-1]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
