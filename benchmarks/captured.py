"""The genuine network, batches and training specification of a method, taken at the door of `bench.training.api.train`;
and the bare loop.

A method's own `fit` runs up to the call of `train`, so that what is timed is what `bench run` would train, not a copy
of it.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench.core.context import ExecutionContext
from bench.core.progress import Progress
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Origin, Selection
from bench.suite.expansion import expand
from bench.training.spec import EpochBatches, TrainSpec
from benchmarks.step_times import fit_matcher, prepared_detector, total_loss, wait_for


@dataclass(frozen=True)
class Captured:
    """What a method hands over to `bench.training.api.train`, before a step."""

    model: Any
    batches: EpochBatches
    spec: TrainSpec


class _Taken(BaseException):
    """Carries what was handed over past every `except Exception`."""

    def __init__(self, captured: Captured) -> None:
        self.captured = captured


def matching_cells(place: Path, matcher: str, backbone: str | None, options: dict[str, Any]) -> tuple[Cell, Workspace]:
    """Return the cell of a matcher on the pairs in `place`/data (layout of QXS-SAROPT), and the workspace that finds
    them.
    """
    method: dict[str, Any] = {"matcher": matcher, "options": options} | (
        {} if backbone is None else {"backbone": backbone}
    )
    data = {"dataset": "qxs-saropt", "splits": {"random": {"kind": "random", "train": 0.9, "validation": 0.02}}}
    section = {"datasets": {"pairs": data}, "methods": {"row": method}, "protocol": {"hard": "none", "gallery": 2}}
    return _only(place, "matching", section)


def detection_cells(place: Path, dataset: dict[str, Any], method: dict[str, Any]) -> tuple[Cell, Workspace]:
    """Return the cell of a detector on a set in `place`/data, and the workspace that finds it."""
    return _only(place, "detection", {"datasets": {"scenes": dataset}, "methods": {"row": method}})


def _only(place: Path, task: str, section: dict[str, Any]) -> tuple[Cell, Workspace]:
    from bench.suite.config import Suite

    suite = Suite(name="speed", seeds=(0,), tasks={task: section})
    workspace = Workspace(
        place / "runs",
        place / "boards",
        {section["datasets"][name]["dataset"]: place / "data" for name in section["datasets"]},
    )
    (cell,) = expand(suite, Selection(), (task,), Origin("", place))
    return cell, workspace


def captured_matcher(cell: Cell, workspace: Workspace, context: ExecutionContext) -> Captured:
    """Return what a trained matcher hands over to `train`."""
    with _capturing():
        try:
            fit_matcher(cell, workspace, context)
        except _Taken as taken:
            return taken.captured
    raise AssertionError("the matcher never called bench.training.api.train")


def captured_detector(cell: Cell, workspace: Workspace, context: ExecutionContext) -> tuple[Captured, Any, Any]:
    """Return what a trained detector hands over to `train`, the detector itself, and the first test scene (H, W)."""
    from bench.suite.data_plan import plan_data
    from bench.tasks.data import load_scenes

    data = load_scenes(plan_data(cell, workspace, "ships", smallest=1), workspace.cache)
    detector, fit_data = prepared_detector(cell, data, context)
    with _capturing():
        try:
            detector.fit(fit_data)
        except _Taken as taken:
            return taken.captured, detector, np.array(data.test.image(0))
    raise AssertionError("the detector never called bench.training.api.train")


@contextlib.contextmanager
def _capturing() -> Iterator[None]:
    def train(model: Any, batches: EpochBatches, spec: TrainSpec, *_: Any, **__: Any) -> None:
        raise _Taken(Captured(model, batches, spec))

    with mock.patch("bench.training.api.train", train):
        yield


def context_of(args: argparse.Namespace, folder: Path, place: Path) -> ExecutionContext:
    """Return a context on the device and threads of a benchmark's arguments, with its files in `folder` and the cache
    of `place`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return ExecutionContext(
        folder, place / "cache", args.device, args.threads, args.workers, lambda line: None, Progress()
    )


def run_harness(model: Any, batches: EpochBatches, spec: TrainSpec, context: ExecutionContext) -> tuple[float, float]:
    """Train for an epoch through `bench.training.api`; return the mean seconds of a step without the first one, and
    those of the whole call.
    """
    from bench.training.api import train

    ends: list[float] = []
    loss = model.loss

    def timed(batch: Any) -> Any:
        wait_for(context.device)
        ends.append(time.perf_counter())
        return loss(batch)

    model.loss = timed
    started = time.perf_counter()
    train(model, batches, spec, context)
    wait_for(context.device)
    return (ends[-1] - ends[1]) / (len(ends) - 2), time.perf_counter() - started


def run_bare(model: Any, batches: EpochBatches, spec: TrainSpec, device: Any, threads: int) -> float:
    """Train over the batches of epoch 0, all made and moved beforehand; return the mean seconds of a step without the
    first one.
    """
    import torch

    from bench.training.loader import map_tensors, to_device

    torch.set_num_threads(threads)
    ready = [
        to_device(map_tensors(batches.fetch(0, i), lambda t: t), device, spec.channels_last) for i in batches.indices(0)
    ]
    model.to(device).train()
    if spec.channels_last:
        model.to(memory_format=torch.channels_last)
    arguments = {key: value for key, value in spec.optimizer.items() if key != "type"}
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = getattr(torch.optim, spec.optimizer["type"])(parameters, **arguments)
    started = 0.0
    for number, batch in enumerate(ready):
        if number == 1:
            wait_for(str(device))
            started = time.perf_counter()
        optimizer.zero_grad()
        total_loss(model.loss(batch)).backward()
        if spec.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, spec.clip_norm)
        optimizer.step()
    wait_for(str(device))
    return (time.perf_counter() - started) / max(len(ready) - 1, 1)
