"""Embeddings of a batch that is too large to be differentiated at once (torch; imported at execution time only).

Gradient caching (Gao, Zhang, Han & Callan, "Scaling deep contrastive learning batch size under memory limited setup",
RepL4NLP 2021): embed chunk by chunk and keep the embeddings alone, take the loss over all of them, then go through the
chunks again with the gradients that the loss left at their embeddings. The gradient is that of the whole batch. Here
torch's checkpointing runs the second pass, within one `backward()`, so the loop of a training needs to know nothing of
it.

Batch norm uses the statistics of a chunk, as it would with chunks for batches; its running ones are updated once, in
the first pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def in_chunks(embed: Callable[[Tensor], Tensor], images: Tensor, chunk: int, module: nn.Module) -> Tensor:
    """Return embed(images), (n, dim), holding what the gradient needs for no more than one chunk at a time.

    Args:
        embed: maps images (k, ...) to (k, dim), each row alone but for batch norm.
        chunk: images a pass, at most; chunks are of one size as nearly as can be, and none has a single image unless n
            is 1 (batch norm needs two), for which one may exceed `chunk` 2 by one.
        module: whose batch norms `embed` runs.
    """
    parts = max(1, min(math.ceil(len(images) / chunk), len(images) // 2))
    if parts == 1 or not torch.is_grad_enabled():
        return embed(images) if parts == 1 else torch.cat([embed(part) for part in images.tensor_split(parts)])
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]

    def passes() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _running_statistics_kept(norms)

    return torch.cat(
        [checkpoint(embed, part, use_reentrant=False, context_fn=passes) for part in images.tensor_split(parts)]
    )


@contextmanager
def _running_statistics_kept(norms: list[_BatchNorm]) -> Iterator[None]:
    """Within, batch norms normalise as ever and leave their running statistics as they are: the second pass is not
    another batch.
    """
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, counted in before:
            norm.momentum, norm.num_batches_tracked = momentum, counted
