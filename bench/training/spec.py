"""What a training is (`TrainSpec`), what it is given (`EpochBatches`) and what it returns (`TrainResult`). Imports no
torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bench.core.errors import BenchError, nearest

if TYPE_CHECKING:
    from torch import nn

OPTIMIZERS = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad")
SCHEDULES = ("constant", "cosine", "cosine-steps", "step")
PRECISIONS = ("fp32", "bf16", "fp16")

EpochRow = dict[str, float | None]
Validate = Callable[["nn.Module", int], Mapping[str, float | None]]


@dataclass(frozen=True)
class TrainSpec:
    """How to train; all of it changes the result and belongs into a train key (`asdict` gives plain JSON values).

    Attributes:
        epochs: passes over the batches, at least 1.
        batch_size: most samples that one batch may hold, over all processes that train together; a larger one is
            refused.
        optimizer: {"type": one of OPTIMIZERS, "lr": ..., and further arguments of torch.optim's class}.
        schedule: "constant"; "cosine": lr * (1 + cos(pi e / epochs)) / 2 in epoch e = 0, 1, ...; "step": times
            `step_factor` from each epoch of `step_epochs` on. Constant within an epoch, but for "cosine-steps": the
            same curve, iteration by iteration.
        step_epochs: finished epochs after which the rate drops, for "step" only.
        step_factor: what the rate is multiplied with there.
        warmup_epochs: over this many first epochs (a fraction is allowed) the rate also rises linearly, iteration by
            iteration.
        clip_norm: largest total gradient norm, or None for no clipping.
        precision: "fp32", or mixed precision "bf16" / "fp16".
        channels_last: keep network and images in channels-last memory format.
        seed: of everything random in the training.
        compile: run the model's backbones as torch.compile makes them, while they train.
    """

    epochs: int
    batch_size: int
    optimizer: dict[str, Any] = field(default_factory=lambda: {"type": "SGD", "lr": 0.01})
    schedule: str = "constant"
    step_epochs: tuple[int, ...] = ()
    step_factor: float = 0.1
    warmup_epochs: float = 0.0
    clip_norm: float | None = None
    precision: str = "fp32"
    channels_last: bool = False
    seed: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"epochs is {self.epochs}; at least 1")
        require(self.batch_size >= 1, f"batch_size is {self.batch_size}; at least 1")
        kind, lr = self.optimizer.get("type"), self.optimizer.get("lr")
        require(kind in OPTIMIZERS, f"unknown optimizer type {kind!r}{nearest(str(kind), OPTIMIZERS)}")
        require(
            isinstance(lr, float | int) and math.isfinite(lr) and lr > 0, f"optimizer lr is {lr!r}; a number above 0"
        )
        require(self.schedule in SCHEDULES, f"unknown schedule {self.schedule!r}{nearest(self.schedule, SCHEDULES)}")
        require(
            bool(self.step_epochs) == (self.schedule == "step"),
            "step_epochs goes with schedule 'step', and only with it",
        )
        require(
            self.precision in PRECISIONS, f"unknown precision {self.precision!r}{nearest(self.precision, PRECISIONS)}"
        )
        require(0 <= self.warmup_epochs <= self.epochs, f"warmup_epochs is {self.warmup_epochs}; from 0 to epochs")
        require(self.clip_norm is None or self.clip_norm > 0, f"clip_norm is {self.clip_norm}; above 0, or null")

    def learning_rate(self, iteration: int, per_epoch: int) -> float:
        """Return the learning rate of the 0-based global `iteration` where an epoch has `per_epoch` iterations."""
        epoch = iteration // per_epoch
        factor = 1.0
        if self.schedule == "cosine":
            factor = (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        elif self.schedule == "cosine-steps":
            factor = (1 + math.cos(math.pi * iteration / (self.epochs * per_epoch))) / 2
        elif self.schedule == "step":
            factor = self.step_factor ** sum(epoch >= e for e in self.step_epochs)
        warm = math.ceil(self.warmup_epochs * per_epoch)
        if iteration < warm:
            factor *= (iteration + 1) / (warm + 1)
        return float(self.optimizer["lr"]) * factor


def spec_values(spec: TrainSpec) -> dict[str, Any]:
    """Return `spec` as plain JSON values; `compile`, which came later, only where it is on: checkpoints from before it
    go on.
    """
    values = asdict(spec)
    return values if spec.compile else {name: value for name, value in values.items() if name != "compile"}


class EpochBatches(Protocol):
    """The training data: ready-made batches, each a pure function of (epoch, indices).

    With workers, `fetch` runs in other processes: it must not use or change state, and draws randomness from a
    generator made of (seed, epoch, sample index) alone. Epochs count from 0 here. Where N processes train together,
    each fetches its share of a batch, of at least `smallest_share` samples if there is such an attribute, else 1.
    """

    def __len__(self) -> int:
        """Return the number of batches of an epoch, the same in every epoch."""
        ...

    def indices(self, epoch: int) -> list[np.ndarray]:
        """Return the sample indices of each batch of `epoch`, in order; `shuffled_batches` makes such a list."""
        ...

    def fetch(self, epoch: int, batch_indices: np.ndarray) -> dict[str, Any]:
        """Return one batch: arrays or tensors (or lists of them) by name, images as (N, C, H, W)."""
        ...


@dataclass(frozen=True)
class TrainResult:
    """What a training did. The weights are in the model that was passed in.

    Attributes:
        history: the rows of curves.csv: "epoch" (from 1), "lr" (of the epoch's last iteration), "loss" (total), the
            model's other values (means over the iterations), validation metrics as "val_NAME"; unknown is None.
        resumed_from: finished epochs of an earlier, interrupted run; None for none.
        seconds: wall time of the training, parts before an interruption included as far as they reached a checkpoint.
        peak_memory_bytes: of CUDA memory on a CUDA device, else the largest resident size of this process so far.
        samples_per_second: training throughput of this process without validation; None where it trained nothing.
        best_epoch: epoch (from 1) whose weights were selected; None with select="last".
    """

    history: tuple[EpochRow, ...]
    resumed_from: int | None
    seconds: float
    peak_memory_bytes: int
    samples_per_second: float | None
    best_epoch: int | None


def require(good: bool, message: str) -> None:
    """Raise BenchError with `message` unless `good`."""
    if not good:
        raise BenchError(message)
