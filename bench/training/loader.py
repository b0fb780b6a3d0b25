"""How training batches reach the network: the loader over ready-made batches, and their way to the device.

Owns worker processes, pinned memory, the conversion to tensors, and which part of a batch a rank makes; the content of
a batch is the caller's (`training.EpochBatches`).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from bench.core.errors import BenchError
from bench.training.parallel import SHARE, check_shares, share_of
from bench.training.spec import EpochBatches

FAILED = "__failed__"
Batch = dict[str, Any]


def make_loader(
    batches: EpochBatches,
    batch_size: int,
    workers: int,
    threads: int,
    device: torch.device,
    rank: int = 0,
    size: int = 1,
) -> tuple[DataLoader[Batch], EpochSampler]:
    """Return a loader that yields ready-made batches, and its sampler, whose `epoch` is to be set before each epoch.

    Of `size` ranks that train together each gets its share of every batch.

    Raises:
        BenchError: a batch is too small for so many ranks.
    """
    sampler = EpochSampler(batches, batch_size, rank, size)
    loader: DataLoader[Batch] = DataLoader(
        FetchedBatches(batches, threads),
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        collate_fn=_as_it_is,
        worker_init_fn=_leave_interrupts_to_the_parent,
        generator=torch.Generator(),  # else the loader would draw from the global generator
    )
    return loader, sampler


class EpochSampler(Sampler[tuple[Any, ...]]):
    """Yields (epoch, indices) of each batch, so that a worker needs nothing else to know what to make; of a share also
    (counting, whole).

    `samples` are those of the whole epoch, on all ranks.
    """

    def __init__(self, batches: EpochBatches, batch_size: int, rank: int = 0, size: int = 1) -> None:
        self.batches, self.batch_size = batches, batch_size
        self.rank, self.size = rank, size
        self.smallest = getattr(batches, "smallest_share", 1)
        if size > 1:
            check_shares(batch_size, size, self.smallest)
        self.epoch = 0
        self.samples = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        chosen = self.batches.indices(self.epoch)
        if len(chosen) != len(self.batches):
            raise ValueError(f"epoch {self.epoch} has {len(chosen)} batches, announced were {len(self.batches)}")
        largest = max(len(indices) for indices in chosen)
        if largest > self.batch_size:
            raise ValueError(f"a batch of {largest} samples, the spec says {self.batch_size}")
        self.samples = sum(len(indices) for indices in chosen)
        if self.size == 1:
            return iter([(self.epoch, indices) for indices in chosen])
        shares = [share_of(indices, self.rank, self.size, self.smallest) for indices in chosen]
        return iter([(self.epoch, own, count, len(all_)) for (own, count), all_ in zip(shares, chosen, strict=True)])


class FetchedBatches(Dataset[Batch]):
    """Makes a batch from (epoch, indices), under one thread in every process, so that sums are the same in all."""

    def __init__(self, batches: EpochBatches, threads: int) -> None:
        self.batches, self.threads = batches, threads

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, key: tuple[Any, ...]) -> Batch:
        epoch, indices, *share = key
        alone = get_worker_info() is None and self.threads > 1
        if alone:
            torch.set_num_threads(1)
        try:
            batch: Batch = map_tensors(self.batches.fetch(epoch, indices), _same)
            return {**batch, SHARE: tuple(share)} if share else batch
        except (
            BenchError
        ) as error:  # carried to the main process as data, where torch would wrap it in a worker's traceback
            return {FAILED: str(error)}
        finally:
            if alone:
                torch.set_num_threads(self.threads)


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return `value` with `change` applied to every tensor in nested dicts, lists and tuples; arrays become tensors."""
    if isinstance(value, np.ndarray):
        return change(torch.from_numpy(value))
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: map_tensors(part, change) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(part, change) for part in value)
    return value


def to_device(batch: Any, device: torch.device, channels_last: bool) -> Any:
    """Return `batch` on `device`; with `channels_last`, images (N, C, H, W) in that memory format (those in (N, H, W,
    C) have it).
    """

    def move(value: Tensor) -> Tensor:
        if channels_last and value.ndim == 4 and value.shape[1] < value.shape[3]:
            return value.to(device, non_blocking=True, memory_format=torch.channels_last)
        return value.to(device, non_blocking=True)

    return map_tensors(batch, move)


def _leave_interrupts_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches the whole process group; a loading process that ends by it makes torch raise an error of its own
    in the parent, in the middle of the parent's orderly end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:
    return batch


def _same(value: Tensor) -> Tensor:
    return value
