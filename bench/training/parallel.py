"""Data-parallel training: each of N processes computes the gradient of its share of every batch, and torch's
DistributedDataParallel averages them (torch; imported at execution time only).

**What is minimised.** A batch of B samples is cut into contiguous shares of n_r. Each rank's loss is weighed with n_r /
B, and their sum is the loss of the batch: for a loss that is a mean over samples exactly that of one process. A loss
that looks across the batch gets the rows of all ranks from `gather`, in the order of the batch; every rank then
computes the same number, and the weights add up to one. A loss that is divided by a count of its own (sampled anchors)
corrects it with `mean_factor`. With one process all of these change nothing.

Batch normalisation uses the statistics of a rank's share; the running ones that are kept are rank 0's. With the same
number of processes a training is reproduced bit for bit on CPUs; with another number sums run in another order, and
random layers draw other numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist

from bench.core.errors import BenchError
from bench.training.ranks import World, prefixed

SHARE = "__share__"
_STEP_TIMEOUT = timedelta(minutes=10)  # between two collectives of one epoch; longer waits go through the store

_current: Ranks | None = None


class Ranks:
    """The processes of one training while it runs, and this process's share of the present batch.

    Attributes:
        name: of the training, the same in all ranks.
        samples, batch: of this rank's share (0 where there is nothing for it: it then repeats another share with weight
            0), and of all.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.samples, self.batch = 1, 1

    @property
    def weight(self) -> float:
        """n_r / B of the present batch."""
        return self.samples / self.batch

    def broadcast(self, content: Any) -> Any:
        """Return what rank 0 gives: plain values and CPU tensors."""
        box = [content]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def broadcast_weights(self, model: nn.Module) -> None:
        """Make all tensors of `model` those of rank 0, in place."""
        with torch.no_grad():
            for value in model.state_dict().values():
                whole = value.contiguous()
                dist.broadcast(whole, src=0)
                value.copy_(whole)

    def added(self, values: Tensor) -> Tensor:
        """Return the sum over ranks of `values`, weighed by share: means over samples of a share become those of the
        batch.
        """
        values = values * self.weight
        dist.all_reduce(values)
        return values

    def committed(self, epoch: int) -> None:
        """Rank 0 has validated and stored `epoch`; the others wait for it."""
        self.world.after_rank_0(f"{self.name}/epoch/{epoch}")


@contextmanager
def ranks_of(world: World | None, device: torch.device) -> Iterator[Ranks | None]:
    """Connect the ranks for one training on `device`; None where there is one process."""
    global _current
    if world is None:
        yield None
        return
    name = world.begin_training()
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store = prefixed(name, world.store)
    dist.init_process_group(backend, store=store, rank=world.rank, world_size=world.size, timeout=_STEP_TIMEOUT)
    _current = Ranks(world, name)
    try:
        with warnings.catch_warnings():
            # of 1x1 convolutions, which have two names for one order
            warnings.filterwarnings("ignore", message="Grad strides do not match")
            yield _current
    finally:
        _current = None
        dist.destroy_process_group()


@contextmanager
def alone() -> Iterator[None]:
    """Within, this process computes for itself: rank 0 validates while the others wait, and nobody would answer a
    `gather`.
    """
    global _current
    before, _current = _current, None
    try:
        yield
    finally:
        _current = before


def share_of(indices: np.ndarray, rank: int, size: int, smallest: int) -> tuple[np.ndarray, int]:
    """Return the indices that `rank` of `size` takes from a batch, and how many of them count.

    Shares are contiguous, in the order of the ranks, and differ by one sample at most. Where a batch has fewer than
    `smallest` samples for each (the last one of an epoch), the last ranks get those of rank 0, of which none counts.
    """
    parts = np.array_split(indices, max(1, min(size, len(indices) // smallest)))
    return (parts[rank], len(parts[rank])) if rank < len(parts) else (parts[0], 0)


def check_shares(batch_size: int, size: int, smallest: int) -> None:
    """Raise BenchError where a full batch is too small for `size` processes."""
    if batch_size < size * smallest:
        each = f"{smallest} sample{'s' if smallest > 1 else ''}"
        raise BenchError(
            f"batch_size {batch_size} cannot be shared by {size} processes of at least {each} each; start fewer"
            " processes"
        )


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all ranks' tensors (n_r, ...), (N, ...) in the order of the batch; gradients flow back to the
    rank of each.

    All ranks must call it alike. With one process, and outside a training, `rows` itself. For embeddings, distances,
    labels: what a loss compares across the samples of a batch.
    """
    if _current is None:
        return rows
    gathered: Tensor = _Gather.apply(rows if _current.samples else rows[:0])
    return gathered


def mean_factor(count: float) -> float:
    """Return what a loss divided by this rank's own `count` is multiplied with to be, over all ranks, the sum divided
    by all counts.

    With C the sum of the ranks' counts: sum_r n_r / B * (count_r B / (C n_r)) * S_r / count_r = sum_r S_r / C.
    """
    if _current is None:
        return 1.0
    counts = torch.tensor(count if _current.samples else 0.0, dtype=torch.float64)
    dist.all_reduce(counts)
    return count / (float(counts) * _current.weight) if _current.samples and float(counts) > 0 else 1.0


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Within, nothing is computed in reduced precision, as autocast does with matrix products whatever their inputs
    are: for losses.
    """
    with torch.autocast(device.type, enabled=False):
        yield


class _Gather(torch.autograd.Function):
    """Concatenation over ranks; its adjoint adds up what all ranks hold against this rank's rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        own = torch.tensor(len(rows))
        sizes = [torch.zeros_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(sizes, own)
        counts = [int(size) for size in sizes]
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        ctx.start, ctx.count = sum(counts[: dist.get_rank()]), len(rows)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(whole)
        return whole[ctx.start : ctx.start + ctx.count]


class LossOf(nn.Module):
    """A network whose call is its loss, for DistributedDataParallel, which averages the gradients of what is called."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = self.network.loss(batch)  # type: ignore[operator]  # a Module's, so of any type
        return values


def distributed(network: nn.Module, device: torch.device) -> nn.Module:
    """Return `network.loss` as a module whose backward pass averages gradients over the ranks; rank 0's weights become
    those of all.

    Unused parameters are looked for: a network may have some, and without looking torch regroups the gradients after
    the first step, after which sums run in another order than those of a training that resumes there.
    """
    from torch.nn.parallel import DistributedDataParallel

    where = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(LossOf(network), device_ids=where, find_unused_parameters=True)
