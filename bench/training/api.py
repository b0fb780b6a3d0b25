"""Training a network: the one place that builds an mmengine Runner, for every task.

Owns the call (`train`), what a training leaves on disk, and exact resume: a training that is killed at any moment and
started again ends in the same weights and the same curves.csv, bit for bit on the same CPU, as one that never stopped,
whatever the number of workers. To that end nothing random depends on more than (seed, epoch, sample index): batches are
pure functions of (epoch, indices), every global generator is set anew before each epoch, and learning rates are a
function of the iteration. What a training is stands in `spec.py`, the machinery inside in `engine.py`, what is kept on
disk in `state.py`, several processes in `ranks.py` and `parallel.py`. Does not build models or data.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.core.errors import BenchError
from bench.training.spec import EpochBatches, TrainResult, TrainSpec, Validate, require

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bench.core.context import ExecutionContext


def train(
    model: nn.Module,
    batches: EpochBatches,
    spec: TrainSpec,
    context: ExecutionContext,
    validate: Validate | None = None,
    select: Literal["last", "best"] = "last",
    monitor: str | None = None,
) -> TrainResult:
    """Train `model` in place; on return it holds the selected weights, on the context's device, in evaluation mode.

    Leaves `curves.csv` and, until `discard_checkpoints`, `checkpoints/` in `context.folder`; a checkpoint found there
    is continued from.

    Args:
        model: has `loss(batch: dict[str, Tensor]) -> dict[str, Tensor]`; entries with "loss" in their name are summed
            and minimised, others only recorded. Parameters that need no gradient are left alone. With spec.compile also
            `compilable()` (`precision.compiled`). What a loss needs for several processes:
            `parallel.py`.
        validate: called after each epoch with the model (in evaluation mode, without gradients) and the epoch (from 1);
            returns metrics.
        select: keep the last epoch's weights, or the best by the validation metric `monitor` (higher is better, ties
            keep the earliest).

    In a rank other than 0 the function returns only where rank 0 trains once more; else it raises
    `ranks.ReleasedError`.

    Raises:
        BenchError: a device, precision or compiler that does not exist here, a loss or weight that is not finite (with
            epoch and iteration), a checkpoint of another training, a folder that cannot be written to.
    """
    from bench.training import engine

    device = resolve_device(context.device)
    require((select == "best") == (monitor is not None), "monitor goes with select 'best', and only with it")
    require(select == "last" or validate is not None, "select 'best' needs a validation part")
    require(len(batches) > 0, "the training part gives no batch; lower batch_size or widen the split")
    return engine.run(model, batches, spec, context, device, validate, monitor)


def resolve_device(name: str) -> torch.device:
    """Return the torch device called `name`: "cpu", "cuda" (the first) or "cuda:N".

    Raises:
        BenchError: malformed, or there are fewer devices; the message says how many.
    """
    import torch

    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()) or name.endswith(":"):
        raise BenchError(f"unknown device {name!r}; known: cpu, cuda, cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(number or 0)
    if index >= count:
        have = f"{count} CUDA device{'s' if count != 1 else ''}"
        raise BenchError(f"device {name!r} does not exist: this machine has {have}; use {'cuda:0' if count else 'cpu'}")
    return torch.device("cuda", index)


def has_gpu_driver() -> bool:
    """Return whether this machine has what torch needs for a device: the driver of CUDA, or that of ROCm."""
    for library in ("libcuda.so.1", "nvcuda.dll"):
        with suppress(OSError):
            ctypes.CDLL(library)
            return True
    return Path("/dev/kfd").exists()


def choose_device(name: str, processes: int = 1) -> str:
    """Return the device of a run, checked to exist; "cuda" where each of several processes takes one of its own.

    Args:
        name: "cpu", "cuda", "cuda:N", or "auto" for CUDA where there is a device.

    Raises:
        BenchError: no such device, or one device for several processes.
    """
    if name == "cpu" or name == "auto" and not has_gpu_driver():
        return "cpu"  # known without torch, whose import takes longer than many a run
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    if processes == 1:
        return str(resolve_device(name))
    if name != "cuda":
        message = f"device {name}: each of {processes} processes takes a GPU of its own; use cuda, or cpu"
        raise BenchError(message, "device")
    resolve_device(f"cuda:{processes - 1}")
    return name
