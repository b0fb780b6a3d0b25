"""A cell executed in this process instead of one of its own: for classes that no other process sees, such as a
notebook's, and for a debugger.

Code, files, lock and record are the worker's. What a process of its own gives is missing: a cell that crashes the
interpreter or runs out of memory ends everything; what libraries keep for a process (registries of mmengine, memory
that CUDA caches) stays; and the peak of memory in the record is that of the whole process.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from bench.core.workspace import Workspace
from bench.execution.job import Settings
from bench.execution.plan import PlanItem
from bench.execution.worker import run_cell


def run_here(item: PlanItem, workspace: Workspace, settings: Settings) -> int:
    """Execute the cell of an item whose job is written in this process; return the worker's exit code.

    Our environment variables, global random generators and numbers of threads are afterwards what they were.
    """
    from threadpoolctl import threadpool_limits

    with _environment(workspace), _generators(), threadpool_limits(settings.threads):
        return run_cell(item.folder)


@contextmanager
def _environment(workspace: Workspace) -> Iterator[None]:
    """Have the environment name the workspace's places, as that of a worker does."""
    ours = {name: value for name, value in workspace.env.items() if name.startswith("BENCH_")}
    before = {name: os.environ.get(name) for name in ours}
    os.environ |= ours
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _generators() -> Iterator[None]:
    """Keep the state of the global generators, which a training sets, and of torch's number of threads."""
    torch = sys.modules.get("torch")
    states = random.getstate(), np.random.get_state()
    kept = None if torch is None else (torch.random.get_rng_state(), torch.get_num_threads())
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        if torch is not None and kept is not None:
            torch.random.set_rng_state(kept[0])
            torch.set_num_threads(kept[1])
