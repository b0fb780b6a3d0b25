"""Where a number comes from: git state of the package, versions, hardware. Never host names, user names or paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "torchvision",
    "mmengine",
    "mmdet",
    "mmcv-lite",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "opencv-python",
    "safetensors",
)
# Distributions that hold the same modules: one of them serves whoever asks for another.
SAME_MODULES = (
    ("mmcv-lite", "mmcv"),
    ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
)


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """Return {"commit": hash, "dirty": bool} of the checkout that holds the package, or None for an installed wheel.

    Only tracked files count as dirty, and those under `leaderboards/` do not: a board that grows by one entry must not
    taint the next record.
    """
    folder = folder or Path(__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
    if commit is None or tracked is None:
        return None
    status = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)leaderboards")
    return {"commit": commit, "dirty": bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions() -> dict[str, str | None]:
    """Return the versions of Python, of this package and of what it computes with (null where not installed).

    A distribution that stands in for another of PACKAGES is recorded under the name of that one.
    """
    out: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("saropt-bench", *PACKAGES):
        served_by = serving(package)
        out[package] = None if served_by is None else installed(served_by)
    return out


def installed(name: str) -> str | None:
    """Return the version of an installed distribution; None where there is none, or one without any module (such as
    `stand-ins/opencv-python`, which only carries a name).
    """
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    empty = found.files is not None and all(".dist-info" in file.parts[0] for file in found.files)
    return None if empty else found.version


def serving(name: str) -> str | None:
    """Return the installed distribution that has the modules of the one called `name`: itself where it is installed."""
    group = next((group for group in SAME_MODULES if name in group), (name,))
    return next((each for each in (name, *group) if installed(each) is not None), None)


def hardware(device: str, threads: int, processes: int = 1) -> dict[str, Any]:
    """Return processor, cores, memory and, when torch was used on one, the accelerator; of a training also by how many
    processes.
    """
    out: dict[str, Any] = {
        "machine": platform.machine(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "device": device.split(":")[0],
        "threads": threads,
        "processes": processes,
        "accelerator": None,
    }
    torch = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda"):
        out["accelerator"] = torch.cuda.get_device_name(device)
    return out


def _processor() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or None


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process in bytes: on Linux since its program began (the mark of getrusage
    starts at that of the parent).
    """
    status = Path("/proc/self/status")
    if status.is_file():
        marks = [line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")]
        if marks:
            return int(marks[0].split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
