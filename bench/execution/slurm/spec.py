"""What a user asks of a cluster: the `execution:` section of a suite, overridden by `--slurm KEY=VALUE`. Context: it
enters no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from bench.core.errors import BenchError
from bench.core.validation import Spec, validate
from bench.core.yaml_text import read_yaml


class SlurmSpec(Spec):
    """One job for each cell.

    Attributes:
        partition, account, qos: null for the cluster's defaults.
        gpus: of a job; 0 asks for none, and the cells run on CPUs.
        cpus: of a job, the threads of its processes.
        memory_gb: of a job; null for the cluster's default.
        minutes: time limit of a job. A job that reaches it is queued again and goes on from its last checkpoint.
        requeues: how often that may happen, and how often a job that ended without a word is submitted again.
        max_parallel: jobs in the queue at a time, at most; null for all that are ready.
        parameters: further options of sbatch, e.g. {constraint: a100}; names as on its command line, with _ for -.
        setup: shell lines before the job's command, e.g. ["module load cuda"].
        poll_s: seconds between two looks at the queue.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gpus: int = Field(0, ge=0)
    cpus: int = Field(4, ge=1)
    memory_gb: float | None = Field(None, gt=0)
    minutes: int = Field(240, ge=1)
    requeues: int = Field(3, ge=0)
    max_parallel: int | None = Field(None, ge=1)
    parameters: dict[str, Any] = {}
    setup: tuple[str, ...] = ()
    poll_s: float = Field(5.0, gt=0)


class Execution(Spec):
    """The `execution:` section of a suite."""

    slurm: SlurmSpec = Field(default_factory=lambda: SlurmSpec.model_validate({}))


def slurm_spec(section: dict[str, Any], settings: Sequence[str], where: str) -> SlurmSpec:
    """Return what the suite's section says, overridden by "key=value" texts whose values are YAML.

    Raises:
        BenchError: an unknown key (the nearest is named), a value that does not fit, a text without "=".
    """
    execution: Execution = validate(Execution, section, f"{where}: execution")
    values = execution.slurm.model_dump()
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BenchError(f"slurm {text!r} is not KEY=VALUE, e.g. partition=gpu", "slurm")
        values[key.strip()] = read_yaml(value, f"slurm {text!r}: the value", "slurm")
    try:
        spec: SlurmSpec = validate(SlurmSpec, values, "slurm")
    except BenchError as error:
        raise BenchError(str(error), "slurm") from error
    return spec
