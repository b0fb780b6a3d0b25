"""`infonce`: two encoders trained with a symmetric contrastive loss; the modern baseline for cross-modal matching.

Loss: van den Oord et al. 2018 (InfoNCE), in the symmetric two-encoder form of Radford et al. 2021 (CLIP, section 2.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from bench.matching.trained import TrainedMatcher, TrainedOptions
from bench.options import later

if TYPE_CHECKING:
    from bench.matching.networks import PairNetwork


class InfoNceOptions(TrainedOptions):
    """Options of the contrastive matcher.

    Attributes:
        temperature: divides the cosine similarities; fixed, not learned.
        crop: share of the side that a training sample shows, a window drawn in each epoch, the same for both views.
        jitter: strength of a change of tone (gain and gamma), drawn for each view apart; 0 for none.
        scene_batches: batches of groups of one scene each, so that the negatives in a batch include hard ones.
    """

    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = Field(0.001, gt=0)
    weight_decay: float = Field(0.0001, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    temperature: float = Field(0.07, gt=0)
    crop: float = later(1.0, gt=0.2, le=1)
    jitter: float = later(0.0, ge=0, le=1)
    scene_batches: bool = later(False)


class InfoNce(TrainedMatcher):
    """Contrastive two-encoder matcher; distance = 1 - cosine similarity."""

    version = 1
    Options = InfoNceOptions

    def embedding_distance(self) -> str:
        return "cosine"

    def _build(self, backbone: str) -> PairNetwork:
        from bench.matching.networks import InfoNceNetwork

        options = self.options
        return InfoNceNetwork(backbone, options.dim, options.input_px, options.temperature)
