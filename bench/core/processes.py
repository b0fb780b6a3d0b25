"""How a child process ends when its parent does, and how many cores and how much memory a process may use."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from bench.core.errors import BenchError

STARTER = "BENCH_STARTER"  # variable of the environment that names the parent's process id to a child of ours
EXIT_NO_MEMORY, EXIT_ORPHANED = 4, 130  # of a child that could not start for want of memory; whose parent is gone
LEAST_MIB = 128


def die_with_parent(parent: int | None = None) -> None:
    """Ask Linux to end this process when its parent dies, so that a killed run leaves no child behind; elsewhere
    nothing happens. Call it before anything that takes time.

    Args:
        parent: the process that started this one; where that is gone already, this one ends at once. None asks nothing.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:  # asked after the signal: no moment is left between
        os._exit(EXIT_ORPHANED)


def starter() -> int | None:
    """Return the process that started this one and wants it to die along (`STARTER`), and forget it: what this process
    starts has another parent.
    """
    value = os.environ.pop(STARTER, "")
    return int(value) if value.isdigit() else None


def check_address_space() -> None:
    """Raise BenchError under a limit that NumPy cannot even be loaded with: its libraries end the process over it."""
    if sys.platform == "linux":
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY and limit < LEAST_MIB * 2**20:
            raise BenchError(
                f"a memory limit of {limit // 2**20} MiB (ulimit -v): the least that can do anything is {LEAST_MIB} MiB"
            )


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
