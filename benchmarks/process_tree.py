"""What a command costs: wall time, and resident memory of it and every process below it, sampled from /proc (Linux).

Memory is summed over the processes that live at the same time: the runner and its worker, loading processes where there
are any. Pages that two of them share (libraries, mapped files) are counted in each, so the sum is never too small for
that reason. What a process reached between two samples is known from the system's own mark of each process (VmHWM),
which the sum is raised to.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import BenchError

PROC = Path("/proc")
KIB = 1024
INTERVAL_S = 0.05


@dataclass
class Usage:
    """What a command came to.

    Attributes:
        code: exit code. output: stdout and stderr, as they came.
        seconds: wall time.
        peak_bytes: largest sum of resident memory. own_bytes: largest sum of the part of it that no file stands behind,
            which the system cannot take back.
        processes: most processes at a time.
    """

    code: int = 0
    output: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0
    own_bytes: int = 0
    processes: int = 0
    _marks: dict[int, int] = field(default_factory=dict)


def measure(words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Usage:
    """Run a command to its end and return what it cost.

    Raises:
        BenchError: there is no /proc to ask.
    """
    if not (PROC / "self" / "status").is_file():
        raise BenchError("resident memory is read from /proc, which this system does not have; run on Linux")
    usage, done = Usage(), threading.Event()
    started = time.monotonic()
    process = subprocess.Popen(
        words, cwd=cwd, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    sampler = threading.Thread(target=_sample_until, args=(process.pid, usage, done), daemon=True)
    sampler.start()
    try:
        usage.output, _ = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        done.set()
        sampler.join()
    usage.seconds, usage.code = time.monotonic() - started, process.returncode
    usage.peak_bytes = max(usage.peak_bytes, *usage._marks.values(), 0)
    return usage


def _sample_until(root: int, usage: Usage, done: threading.Event) -> None:
    while not done.wait(INTERVAL_S):
        seen = [(pid, _status(pid)) for pid in tree(root)]
        alive = [(pid, status) for pid, status in seen if "VmRSS" in status]
        usage.processes = max(usage.processes, len(alive))
        usage.peak_bytes = max(usage.peak_bytes, sum(status["VmRSS"] for _, status in alive))
        usage.own_bytes = max(
            usage.own_bytes, sum(status.get("RssAnon", 0) + status.get("RssShmem", 0) for _, status in alive)
        )
        usage._marks |= {pid: status.get("VmHWM", 0) for pid, status in alive}


def tree(root: int) -> list[int]:
    """Return the process `root` and all below it that live now."""
    below: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has just ended
            continue
        parent = int(text.rpartition(")")[2].split()[1])
        below.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += below.get(pid, [])
    return found


def _status(pid: int) -> dict[str, int]:
    """Return the memory lines of a process in bytes; nothing of one that has ended."""
    try:
        lines = (PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    out = {}
    for line in lines:
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            out[name] = KIB * int(value.split()[0])
    return out
