"""Which backends work, found out by using them: each group of probes in a process of its own, so that a crash is
reported, not suffered.

Owns the processes and what becomes of their outcome; what a probe does is in `probes.py`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.registries import BACKBONES, MATCHERS
from bench.tools.doctor import Finding

SECTION, PLUGINS = "Backends", "Plug-ins"
TIMEOUT_S = 180.0  # of one group; importing mmdet alone takes 20 s on a slow, busy disk
GPU, OWN = "accelerator", "saropt-bench"
LIGHT = ("torch", GPU)
DETECTORS = ("mmcv", "faster-rcnn", "yolov3")
PLAIN = (
    "scipy",
    "scikit-learn",
    "image files",
    "safetensors",
    "matplotlib",
    "pycocotools",
    "cfog",
    "cfar",
)
Announce = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What became of one probe: `text` is its finding, or why there is none; `facts` are its further results."""

    name: str
    good: bool
    text: str
    seconds: float
    facts: dict[str, Any]


def examine_backends(quick: bool, announce: Announce) -> Iterator[Finding]:
    """Yield whether the libraries and networks work, on the CPU and on CUDA where there is one."""
    announce("torch and the accelerator" if quick else "torch, the accelerator, networks, and a training of two steps")
    cuda = False
    for outcome in run_probes(LIGHT if quick else (*LIGHT, *_networks()), "cpu"):
        cuda |= bool(outcome.facts.get("cuda"))
        yield _finding(outcome, "cpu")
    if quick:
        return
    announce("mmdet and its detectors")
    yield from (_finding(outcome, "cpu") for outcome in run_probes(DETECTORS, "cpu"))
    announce("other libraries and the classical methods")
    yield from (_finding(outcome, "cpu") for outcome in run_probes(PLAIN, "cpu"))
    if cuda:
        announce("networks and detectors on CUDA")
        yield from (
            _finding(outcome, "cuda") for outcome in run_probes((*LIGHT[:1], *_networks(), *DETECTORS[1:]), "cuda")
        )


def _networks() -> tuple[str, ...]:
    """Return the probes of torchvision, of every registered backbone, of our matchers with a network, and of a
    training.
    """
    try:
        backbones, ours = BACKBONES.names(), [name for name in MATCHERS.names() if MATCHERS.entry(name).source == OWN]
    except BenchError:  # two packages claim one name: reported under plug-ins
        return ("torchvision", "training")
    matchers = [name for name in ours if MATCHERS.get(name).uses_backbone]
    return (
        "torchvision",
        *(f"backbone {name}" for name in backbones),
        *(f"matcher {name}" for name in matchers),
        "training",
    )


def examine_plugins(announce: Announce) -> Iterator[Finding]:
    """Yield whether every registered component can be imported, those of other packages one by one."""
    announce("components and plug-ins")
    for outcome in run_probes(("components",), "cpu"):
        if not outcome.good:
            yield Finding(PLUGINS, "components", "broken", outcome.text, _again("components", "cpu"))
            continue
        yield Finding(PLUGINS, "own components", "ok", outcome.text)
        foreign: list[dict[str, str]] = outcome.facts.get("foreign", [])
        for each in foreign:
            name, text = f"{each['kind']} {each['name']}", f"from {each['source']}"
            if each["problem"]:
                advice = f"repair or uninstall {each['source']}"
                yield Finding(PLUGINS, name, "broken", f"{text}: {each['problem']}", advice, needed=False)
            else:
                yield Finding(PLUGINS, name, "ok", text, needed=False)
        if not foreign:
            yield Finding(PLUGINS, "entry points", "ok", "no other package adds components", needed=False)


def _finding(outcome: Outcome, device: str) -> Finding:
    name = outcome.name + (" on CUDA" if device == "cuda" else "")
    if outcome.good:
        warning = outcome.facts.get("advice", "")
        section = "Machine" if outcome.name == GPU else SECTION
        took = f"  ({outcome.seconds:.1f} s)" if outcome.seconds >= 0.1 and section == SECTION else ""
        return Finding(section, name, "warn" if warning else "ok", outcome.text + took, warning)
    return Finding(SECTION, name, "broken", outcome.text, _again(outcome.name, device))


def _again(name: str, device: str) -> str:
    return f"to see all of it: python -m bench.tools.doctor.probes --device {device} '{name}'"


# -- processes ---------------------------------------------------------------------------------------------------------
def run_probes(names: Sequence[str], device: str, timeout_s: float = TIMEOUT_S) -> Iterator[Outcome]:
    """Run probes in one process after the other until each has an outcome; a process that ends early costs the probe it
    was at.
    """
    left = list(names)
    while left:
        done, at, why = _run(left, device, timeout_s)
        yield from done
        left = [name for name in left if name not in {outcome.name for outcome in done}]
        if left:
            failed = at if at in left else left[0]
            yield Outcome(failed, False, why, 0.0, {})
            left.remove(failed)


def _run(names: Sequence[str], device: str, timeout_s: float) -> tuple[list[Outcome], str | None, str]:
    """Run one process; return the outcomes of the probes that finished, the name of the one it ended at, and how it
    ended.
    """
    environment = dict(os.environ)
    parent = str(Path(__file__).resolve().parents[3])
    environment["PYTHONPATH"] = os.pathsep.join(path for path in (parent, environment.get("PYTHONPATH")) if path)
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command = [sys.executable, "-m", "bench.tools.doctor.probes", "--device", device, *names]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        try:
            code: int | None = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        out.seek(0)
        err.seek(0)
        printed, errors = (stream.read().decode("utf-8", "replace") for stream in (out, err))
    done, at = _read(printed)
    return done, at, _how_it_ended(code, errors, timeout_s)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, with all that it started: it leads a session of its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(text: str) -> tuple[list[Outcome], str | None]:
    """Return the finished probes, and the one that was begun and not finished. Libraries may print between our
    lines.
    """
    done, at, begun = [], None, 0.0
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if "begin" in event:
            at, begun = event["begin"], event["time"]
        elif "end" in event:
            done.append(Outcome(event["end"], True, event["text"], event["time"] - begun, event["facts"]))
            at = None
    return done, at


def _how_it_ended(code: int | None, errors: str, timeout_s: float) -> str:
    if code is None:
        return f"no answer after {timeout_s:g} s, stopped"
    if code < 0:
        return f"the process was killed by {signal.Signals(-code).name}" + (
            ": out of memory?" if code == -signal.SIGKILL else ""
        )
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Refused|Warning|Interrupt|Exit)\b", line)]
    text = (raised or lines or [f"exit code {code}"])[-1]
    return text if len(text) <= 300 else text[:297] + "..."


def now() -> float:
    """Return the clock that both sides time probes by, in seconds."""
    return time.monotonic()
