"""Seconds of a training step and of inference, measured through the package's own training: a matcher's or detector's
`fit`, cut short.

`bench.training.api.train` is handed the genuine network, batches and specification, with as many batches as are to be
timed. A step is what lies between two calls of the network's `loss` (after the last one: the end of the epoch):
forward, backward, optimiser, and waiting for the next batch and its way to the device. A GPU is waited for before the
first timed step and after the last one, as a training does not wait in between either; the mean of these steps counts
there, the median elsewhere.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from bench.core.context import ExecutionContext
from bench.core.errors import BenchError
from bench.core.processes import available_cores
from bench.core.progress import Progress
from bench.core.workspace import Workspace
from bench.execution.cell import Cell
from bench.training.api import resolve_device
from bench.training.spec import EpochBatches, TrainResult, TrainSpec

if TYPE_CHECKING:
    from bench.detection.detectors.base import Detector, FitData
    from bench.tasks.data import LoadedScenes


@dataclass(frozen=True)
class How:
    """Device, threads, loading processes; steps before the clock starts, and steps that are timed; whether the steps of
    the network alone are timed too.
    """

    device: str
    threads: int
    workers: int
    warmup: int
    steps: int
    bare: bool = False

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")


def add_how(parser: argparse.ArgumentParser, warmup: bool = False) -> None:
    """Add the arguments that `how_of` and `reported` read."""
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:N, or auto: cuda where there is one (default: auto)"
    )
    parser.add_argument(
        "--threads", type=int, default=available_cores(), metavar="N", help="CPU threads (default: all cores)"
    )
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="data-loading processes, as for bench run (default: 0)"
    )
    if warmup:
        parser.add_argument(
            "--warmup", type=int, metavar="N", help="steps before the clock starts (default: 10 on a GPU, 1 on a CPU)"
        )
    parser.add_argument("--steps", type=int, metavar="N", help="timed steps (default: 30 on a GPU, 3 on a CPU)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table here as well")


def how_of(args: argparse.Namespace) -> How:
    """Return how to measure; the device is checked to exist, and the environment told as the runner tells a worker.

    Raises:
        BenchError: no such device, or a number out of range.
    """
    import torch

    device = (
        ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else str(resolve_device(args.device))
    )
    cuda = device.startswith("cuda")
    warmup = getattr(args, "warmup", None)
    warmup = warmup if warmup is not None else 10 if cuda else 1
    steps = args.steps if args.steps is not None else 30 if cuda else 3
    if min(args.threads, steps) < 1 or min(args.workers, warmup) < 0:
        raise BenchError("--threads and --steps from 1, --workers and --warmup from 0")
    os.environ |= {"OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads)}
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return How(device, args.threads, args.workers, warmup, steps, getattr(args, "bare", False))


def measured_on(how: How) -> str:
    """Return the line that says what was measured on."""
    import torch

    device = torch.cuda.get_device_name(how.device) if how.cuda else "CPU"
    loading = f", {how.workers} loading processes" if how.workers else ""
    return (
        f"{device}, {how.threads} threads{loading}, torch {torch.__version__}; {'mean' if how.cuda else 'median'} of"
        f" {how.steps} steps after {how.warmup}"
    )


def reported(name: str, args: argparse.Namespace, lines: Callable[[argparse.Namespace], Sequence[str]]) -> int:
    """Print what was measured, and write it to --out; return the exit code, 2 with one line after a BenchError."""
    try:
        text = "\n".join(lines(args)) + "\n"
    except BenchError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    print(text, end="")
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    return 0


@dataclass(frozen=True)
class Times:
    """Seconds (medians; of steps on a GPU the mean): of a step, of the processor time in it (all threads of this process), of making its batch in
    one thread, of inference for one sample (a pair; a tile). On a machine that others use as well, the wall time of a
    step is too long, and its processor time by the number of threads nearer to what a quiet machine takes.

    `peak_bytes` of the training: of CUDA memory on a CUDA device, else the largest resident memory of the process.
    `bare_s`: of a step of the network alone (`bare_seconds`), where that was asked for; `free_s`: the same on a CUDA
    device where cuDNN may choose the fastest convolutions, repeatable or not.
    """

    step_s: float
    processor_s: float
    loading_s: float
    inference_s: float
    peak_bytes: int
    bare_s: float | None = None
    free_s: float | None = None


@dataclass(frozen=True)
class FewBatches:
    """So many full batches of a training, epoch by epoch until there are enough."""

    whole: EpochBatches
    size: int
    count: int

    def __len__(self) -> int:
        return self.count

    def indices(self, epoch: int) -> list[np.ndarray]:
        """Return the sample indices of each batch."""
        drawn: list[np.ndarray] = []
        for number in range(self.count):
            if len(drawn) >= self.count:
                break
            drawn += [batch for batch in self.whole.indices(number) if len(batch) == self.size]
        if len(drawn) < self.count:
            raise BenchError(f"the generated set gives no full batch of {self.size}; generate more samples")
        return drawn[: self.count]

    def fetch(self, epoch: int, batch_indices: np.ndarray) -> dict[str, Any]:
        """Return one batch."""
        return self.whole.fetch(epoch, batch_indices)


@dataclass
class Seen:
    """What was seen of a shortened training: wall and processor clock at the ends of its steps, how long a batch took
    to make, what the training returned, and the seconds of a step of the network alone, repeatable and not.
    """

    ends: list[tuple[float, float]] = field(default_factory=list)
    loading: list[float] = field(default_factory=list)
    result: TrainResult | None = None
    bare: float | None = None
    free: float | None = None


@contextmanager
def shortened(how: How) -> Iterator[Seen]:
    """Within, every training runs for `warmup + steps` steps."""
    from bench.training import api as training

    genuine, seen = training.train, Seen()

    def train(
        model: Any, batches: EpochBatches, spec: TrainSpec, context: ExecutionContext, *_: Any, **__: Any
    ) -> TrainResult:
        few = FewBatches(batches, spec.batch_size, how.warmup + how.steps)
        loss = model.loss

        def mark(*_: Any) -> dict[str, float | None]:
            if len(seen.ends) in (how.warmup, how.warmup + how.steps):
                wait_for(how.device)
            seen.ends.append((time.perf_counter(), time.process_time()))
            return {}

        def timed(batch: Any) -> Any:
            mark()
            return loss(batch)

        model.loss = timed
        try:
            seen.result = genuine(
                model, few, replace(spec, epochs=1, warmup_epochs=min(spec.warmup_epochs, 1)), context, validate=mark
            )
        finally:
            del model.loss
        for indices in few.indices(0)[:3]:
            started = time.perf_counter()
            few.fetch(0, indices)
            seen.loading.append(time.perf_counter() - started)
        if how.bare and not spec.compile:
            seen.bare = bare_seconds(model, few, spec, how)
            seen.free = bare_seconds(model, few, spec, how, repeatable=False) if how.cuda else None
        return seen.result

    with mock.patch("bench.training.api.train", train):
        yield seen


def time_cell(cell: Cell, workspace: Workspace, folder: Path, how: How) -> Times:
    """Return the times of a cell's method on the generated set that `workspace` names, from a random start.

    Raises:
        BenchError: there is no such device, or the generated set is too small for a batch.
    """
    folder.mkdir(parents=True)
    context = ExecutionContext(
        folder, workspace.cache, how.device, how.threads, how.workers, lambda line: None, Progress()
    )
    run = {"matching": fit_matcher, "detection": _detection}[cell.task]
    with shortened(how) as seen:
        infer, samples = run(cell, workspace, context)
    assert seen.result is not None
    steps = np.diff(seen.ends, axis=0)[how.warmup :]
    wall, processor = (np.mean if how.cuda else np.median)(steps, axis=0).tolist()
    inference = [_clocked(infer, how.device) / samples for _ in range(3)][1:]  # the first warms up
    peak = seen.result.peak_memory_bytes
    return Times(wall, processor, statistics.median(seen.loading), min(inference), peak, seen.bare, seen.free)


def bare_seconds(model: Any, batches: EpochBatches, spec: TrainSpec, how: How, repeatable: bool = True) -> float:
    """Return the mean seconds of a training step of `model` over one batch that is on the device already: loss,
    gradient and optimiser in the precision of `spec`, and nothing of the harness. The weights change; the memory format
    of a training is kept.

    Args:
        repeatable: with cuDNN's repeatable convolutions, as a training computes; else with those it finds fastest.
    """
    import torch

    from bench.training.engine import _optimizer, _surroundings
    from bench.training.loader import map_tensors, to_device

    device = resolve_device(how.device)
    batch = batches.fetch(0, batches.indices(0)[0])
    ready = to_device(map_tensors(batch, lambda tensor: tensor), device, spec.channels_last)
    optimizer = _optimizer(model, spec, device)
    model.train()
    started = 0.0
    with _surroundings(device):
        if not repeatable:
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
        for number in range(how.warmup + how.steps):
            if number == how.warmup:
                wait_for(how.device)
                started = time.perf_counter()
            with optimizer.optim_context(model):
                total = total_loss(model.loss(ready))
            optimizer.update_params(total)
        wait_for(how.device)
    model.eval()
    return (time.perf_counter() - started) / how.steps


def total_loss(values: Mapping[str, Any]) -> Any:
    """Return the sum of a network's losses as a training sums them: of a list (a value a level), and of a loss for each
    sample, the means.
    """
    parts = [value if isinstance(value, list) else [value] for name, value in values.items() if "loss" in name]
    return sum(part.mean() for value in parts for part in value)


def fit_matcher(cell: Cell, workspace: Workspace, context: ExecutionContext) -> tuple[Callable[[], object], int]:
    """Fit the cell's matcher; return what embeds a block of pairs, and their number."""
    from bench.core.registries import MATCHERS
    from bench.matching.data import fit_scalings
    from bench.matching.matchers.base import FitData, Setup
    from bench.matching.matchers.network_matcher import EMBED_BLOCK
    from bench.suite.data_plan import plan_data
    from bench.tasks.data import load_pairs

    spec, method = cell.spec["dataset"], cell.spec["method"]
    data = load_pairs(plan_data(cell, workspace), workspace.cache)
    scaling = fit_scalings(data, spec["sar_scaling"], spec["optical_scaling"])
    cls = MATCHERS.get(method["matcher"])
    matcher = cls(cls.Options.model_validate(method["options"]))
    matcher.prepare(Setup(method["backbone"], scaling, context))
    pairing = np.arange(len(data.train))
    matcher.fit(FitData(data.train, data.validation, pairing, 0, scaling, context, precision=method["precision"]))
    sar, optical = data.train.sar(slice(0, EMBED_BLOCK)), data.train.optical(slice(0, EMBED_BLOCK))
    return lambda: (matcher.embed("sar", sar), matcher.embed("optical", optical)), len(sar)


def _detection(cell: Cell, workspace: Workspace, context: ExecutionContext) -> tuple[Callable[[], object], int]:
    """Fit the cell's detector; return what looks at a scene, and the number of its tiles."""
    from bench.detection.tiles.tiling import tile_grid
    from bench.suite.data_plan import plan_data
    from bench.tasks.data import load_scenes

    data = load_scenes(plan_data(cell, workspace, "ships", smallest=1), workspace.cache)
    detector, fit_data = prepared_detector(cell, data, context)
    detector.fit(fit_data)
    scene = np.array(data.test.image(0))
    return lambda: detector.predict(scene), len(tile_grid(scene.shape[0], scene.shape[1], detector.setup.tiles))


def prepared_detector(cell: Cell, data: LoadedScenes, context: ExecutionContext) -> tuple[Detector, FitData]:
    """Return the cell's detector, prepared and not fitted, and what it is fitted on."""
    from bench.core.registries import DETECTORS
    from bench.detection.detectors.base import FitData, Setup
    from bench.detection.spec import Merging, Tiles
    from bench.tasks.data import fit_sar_scaling

    spec, method = cell.spec["dataset"], cell.spec["method"]
    tiles, merging = Tiles.model_validate(spec["tiles"]), Merging.model_validate(cell.spec["protocol"]["merging"])
    scaling = fit_sar_scaling(data, spec["sar_scaling"])
    cls = DETECTORS.get(method["detector"])
    detector: Detector = cls(cls.Options.model_validate(method["options"]))
    dataset = data.plan.dataset
    detector.prepare(Setup(method["backbone"], scaling, tiles, merging, context, dataset.gsd_m, dataset.sar_scale))
    return detector, FitData(data.train, data.validation, 0, precision=method["precision"])


def _clocked(action: Callable[[], object], device: str) -> float:
    started = time.perf_counter()
    action()
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    import torch

    if resolve_device(device).type == "cuda":
        torch.cuda.synchronize(resolve_device(device))
