"""`bnn`: the bridge neural network of Table II (Xu et al., AAAI 2019; Huang et al., QXS-SAROPT, arXiv 2103.08259).

As the released code states it (docs/protocols.md, section 1), without its bugs: one backward pass, so that neither
branch sees its gradient twice. Choices that the code leaves open are listed there as ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bench.matching.matchers.batches import Negatives
from bench.matching.matchers.network_matcher import TrainedMatcher, TrainedOptions

if TYPE_CHECKING:
    from bench.matching.matchers.networks import PairNetwork


class BnnOptions(TrainedOptions):
    """Options of the bridge neural network; the defaults are the released code's.

    Attributes:
        alpha: weight of the negative class in the loss.
        threshold: distance up to which a pair counts as a match.
        negatives: "uniform" over the training part, redrawn every epoch (the code), or "in-batch" (ours, half the
            forward passes).
    """

    epochs: int = Field(200, ge=1)
    dim: int = Field(20, ge=2)
    alpha: float = Field(1.0, ge=0)
    threshold: float = Field(0.38, gt=0)
    negatives: Literal["uniform", "in-batch"] = "uniform"


class Bnn(TrainedMatcher[BnnOptions]):
    """Bridge neural network: RMS distance between two sigmoid embeddings, trained towards 0 for pairs and 1 for
    others.
    """

    version = 1
    Options = BnnOptions

    def fixed_threshold(self) -> float | None:
        return self.options.threshold

    def embedding_distance(self) -> str:
        return "rms"

    def _negatives(self) -> Negatives:
        return "uniform" if self.options.negatives == "uniform" else "in-batch"

    def _build(self, backbone: str) -> PairNetwork:
        from bench.matching.matchers.networks import BnnNetwork

        options = self.options
        return BnnNetwork(
            backbone, options.dim, options.input_px, options.alpha, in_batch=options.negatives == "in-batch"
        )
