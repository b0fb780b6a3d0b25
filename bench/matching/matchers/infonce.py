"""`infonce`: two encoders trained with a symmetric contrastive loss; the modern baseline for cross-modal matching.

Loss: van den Oord et al. 2018 (InfoNCE), in the symmetric two-encoder form of Radford et al. 2021 (CLIP, section 2.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from bench.core.errors import BenchError
from bench.core.options import later
from bench.matching.matchers.augment import Augmentation
from bench.matching.matchers.network_matcher import TrainedMatcher, TrainedOptions

if TYPE_CHECKING:
    from bench.matching.matchers.base import FitData
    from bench.matching.matchers.networks import PairNetwork


class InfoNceOptions(TrainedOptions):
    """Options of the contrastive matcher.

    Attributes:
        temperature: divides the cosine similarities; fixed, not learned.
        chunk: images of a view that are differentiated at once, while the loss compares the whole batch (gradient
            caching): large batches in the memory of a small one, for one more forward pass. Batch norm sees a chunk.
        crop, zoom, jitter, grey, speckle: how training samples are changed beside `augment`, see `Augmentation`.
        scene_batches: batches of groups of one scene each, so that the negatives in a batch include hard ones.
        scene_group: samples a group.
    """

    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = Field(0.001, gt=0)
    weight_decay: float = Field(0.0001, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    temperature: float = Field(0.07, gt=0)
    chunk: int | None = later(None, ge=2)
    crop: float = later(1.0, gt=0.2, le=1)
    zoom: bool = later(False)
    jitter: float = later(0.0, ge=0, le=1)
    grey: float = later(0.0, ge=0, le=1)
    speckle: float = later(0.0, ge=0, le=1)
    scene_batches: bool = later(False)
    scene_group: int = later(8, ge=2)

    @model_validator(mode="after")
    def _each_does_something(self) -> InfoNceOptions:
        """Refuse an option that would change nothing but the key."""
        if self.zoom and self.crop == 1:
            raise ValueError("zoom draws the share of the side in [crop, 1]; give a crop below 1")
        if self.scene_group != 8 and not self.scene_batches:
            raise ValueError("scene_group is the size of the groups of scene_batches; set scene_batches: true")
        if self.chunk is not None and self.chunk >= self.batch_size:
            raise ValueError(
                f"chunk {self.chunk} holds a whole batch of {self.batch_size}, so that it changes nothing; set it below"
                " batch_size"
            )
        return self


class InfoNce(TrainedMatcher[InfoNceOptions]):
    """Contrastive two-encoder matcher; distance = 1 - cosine similarity."""

    version = 1
    Options = InfoNceOptions

    def embedding_distance(self) -> str:
        return "cosine"

    def _build(self, backbone: str) -> PairNetwork:
        from bench.matching.matchers.networks import InfoNceNetwork

        options = self.options
        network = InfoNceNetwork(backbone, options.dim, options.input_px, options.temperature)
        network.chunk = options.chunk
        return network

    def _shown(self, data: FitData) -> dict[str, Any]:
        options = self.options
        if options.scene_batches and not any(data.train.scenes):
            raise BenchError(
                "scene_batches needs scenes, and the data set names none; leave it out or give a table with a column"
                " scene"
            )
        changes = Augmentation(options.crop, options.zoom, options.jitter, options.grey, options.speckle)
        return {"changes": changes, "scene_group": options.scene_group if options.scene_batches else None}
