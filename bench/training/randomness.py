"""What is random in a training, as a function of the seed alone: torch is imported on call."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def reseed(seed: int, *key: int | str) -> None:
    """Set Python's, NumPy's and torch's global generators from (seed, *key) alone."""
    import torch

    text = "/".join(str(part) for part in (seed, *key))
    digest = hashlib.sha256(text.encode()).digest()
    random.seed(digest)
    np.random.seed(int.from_bytes(digest[:4], "little"))
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def shuffled_batches(count: int, batch_size: int, seed: int, epoch: int, drop_last: bool = True) -> list[np.ndarray]:
    """Return the positions 0..count-1 in an order drawn from (seed, epoch), cut into batches of `batch_size`.

    Args:
        drop_last: leave out a last, smaller batch (batch normalisation suffers from tiny ones), unless it is the only
            one.
    """
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch]))).permutation(count)
    batches = [order[start : start + batch_size] for start in range(0, count, batch_size)]
    if drop_last and len(batches) > 1 and len(batches[-1]) < batch_size:
        batches.pop()
    return batches


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Within, torch's global generator starts from `seed`; afterwards it goes on as if nothing had been drawn."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
