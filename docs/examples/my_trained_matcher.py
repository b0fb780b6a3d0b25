"""A trained matcher of your own: the harness's two-branch network with another loss (`pairwise-sigmoid`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.core.registries import MATCHERS
from bench.matching.matchers.network_matcher import TrainedMatcher, TrainedOptions

if TYPE_CHECKING:
    from bench.matching.matchers.networks import PairNetwork


class SigmoidOptions(TrainedOptions):
    """Those of every trained matcher (epochs, lr, augment, ...), and the `scale` that the cosine similarities start
    with.
    """

    scale: float = Field(default=10.0, gt=0)


@MATCHERS.register("pairwise-sigmoid", "two encoders, one logistic decision for every pair of the batch")
class PairwiseSigmoid(TrainedMatcher[SigmoidOptions]):
    """Batches, augmentation, checkpoints, exact resume, embedding and state are the base class's; a subclass names
    three things.
    """

    version = 1
    Options = SigmoidOptions

    def embedding_distance(self) -> str:
        return "cosine"

    def _build(self, backbone: str) -> PairNetwork:
        return _network(backbone, self.options)


def _network(backbone: str, options: SigmoidOptions) -> PairNetwork:
    """Return the network with its loss. torch is imported here and not above, so that `bench plan` and `bench list` do
    without.
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    from bench.matching.matchers.networks import PairNetwork

    class SigmoidNetwork(PairNetwork):
        """Loss of Zhai et al. 2023 (SigLIP). Parameters of its own are trained and stored with the rest."""

        def __init__(self) -> None:
            super().__init__(backbone, options.dim, options.input_px)
            self.scale, self.bias = (
                nn.Parameter(torch.tensor(options.scale)),
                nn.Parameter(torch.tensor(-options.scale / 2)),
            )

        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            """`batch`: sar (n, h, w) and optical (n, h, w, 3), float32 in [0, 1]; every entry is a true pair."""
            sar, optical = self.embed("sar", batch["sar"]), self.embed("optical", batch["optical"])
            logits = self.scale * (sar @ optical.T) + self.bias
            sign = 2 * torch.eye(len(logits), device=logits.device) - 1
            return {"loss": -F.logsigmoid(sign * logits).sum(1).mean()}

    return SigmoidNetwork()
