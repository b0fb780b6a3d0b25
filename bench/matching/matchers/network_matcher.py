"""What every matcher with a two-branch network shares: options, fitting, embedding; the rest is
`bench.training.learned`.

Imports no torch at module level, so that planning can read options and versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field
from typing_extensions import TypeVar

from bench.core.errors import BenchError
from bench.matching.matchers.base import FitData, Matcher, MatcherOptions, View
from bench.matching.matchers.batches import Negatives, PairBatches
from bench.matching.matchers.distances import paired
from bench.training.learned import (
    BatchSize,
    CompileOptions,
    Count,
    Momentum,
    NetworkMethod,
    NotNegative,
    Positive,
    TrainingOptions,
    training_facts,
)
from bench.training.randomness import drawn_from

if TYPE_CHECKING:
    from torch import Tensor

    from bench.data.cache import PairView
    from bench.matching.matchers.networks import PairNetwork
    from bench.training.spec import EpochBatches

VIEWS: tuple[View, ...] = ("sar", "optical")
EMBED_BLOCK = 32  # images a forward pass; fixed, so that predictions do not depend on a setting


class NetworkOptions(MatcherOptions, TrainingOptions, CompileOptions):
    """Options of every learned matcher, beside those of `TrainingOptions` and `CompileOptions`.

    Attributes:
        batch_size: counts entries (see `PairBatches`).
        entries: training budget in entries; when given, it sets the number of epochs (rounded up) instead of `epochs`,
            so that data sets of different size cost the same.
        augment: "none" or "dihedral" (flips and quarter turns, the same for both views).
        select: "last" epoch, or the "best" on the validation part by ROC-AUC.
    """

    epochs: Count = 10
    entries: Count | None = None
    batch_size: BatchSize = 32
    momentum: Momentum = 0.0
    weight_decay: NotNegative = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: int = Field(0, ge=0)
    clip_norm: Positive | None = None
    augment: Literal["none", "dihedral"] = "none"
    select: Literal["last", "best"] = "last"

    def budget(self) -> int | None:
        return self.entries


class TrainedOptions(NetworkOptions):
    """Options of a learned matcher with embeddings.

    Attributes:
        dim: length of the embedding.
        input_px: side that patches are resized to before the network; null keeps them.
    """

    dim: int = Field(128, ge=2)
    input_px: int | None = Field(None, ge=32)


NetworkT = TypeVar("NetworkT", bound=NetworkOptions, covariant=True, default=NetworkOptions)
TrainedT = TypeVar("TrainedT", bound=TrainedOptions, covariant=True, default=TrainedOptions)


class NetworkMatcher(NetworkMethod[NetworkT], Matcher[NetworkT]):
    """Base of the learned matchers: training and initial weights. A subclass builds its network: branches `sar` and
    `optical`, each with a `backbone`.
    """

    Options: ClassVar[type[BaseModel]] = NetworkOptions
    uses_backbone = True

    def _build(self, backbone: str) -> Any:
        """Return the untrained network."""
        raise NotImplementedError

    def _made(self) -> Any:
        """Return the untrained network, in the memory format of the options: a loaded one computes as a trained one, to
        the last digit.
        """
        network = self._build(self._backbone())
        if self.options.channels_last:
            network.use_channels_last()
        return network

    def _backbone(self) -> str:
        """Return the backbone's name; "" of a matcher that takes none."""
        if not self.uses_backbone:
            return ""
        if self.setup.backbone is None:
            raise BenchError(f"{type(self).__name__} needs a backbone")
        return self.setup.backbone

    def _negatives(self) -> Negatives:
        """Return how the loss gets its negatives (see `PairBatches`)."""
        return "none"

    def _shown(self, data: FitData) -> dict[str, Any]:
        """Return further arguments of the `PairBatches`: how samples are changed and ordered."""
        return {}

    def _pairs(self, data: FitData) -> PairBatches:
        """Return the training batches of whole patches."""
        options = self.options
        return PairBatches(
            data.train,
            data.pairing,
            data.scaling,
            data.seed,
            options.batch_size,
            self._negatives(),
            options.augment,
            **self._shown(data),
        )

    def _batches(self, data: FitData, network: Any) -> EpochBatches:
        """Return the training batches that the network's loss takes."""
        return self._pairs(data)

    def _validation_auc(self, data: FitData) -> float:
        """Return the ROC-AUC on validation pairs: a curve to watch, and the monitor of select="best"."""
        raise NotImplementedError

    def _forward(self, function: str, view: View, images: np.ndarray) -> Iterator[Tensor]:
        """Yield what the network's `function` makes of (n, ...) native images, block by block: in evaluation mode and
        fp32, on the context's device.
        """
        import torch

        from bench.data.scaling import apply_scaling

        network, device = self._ready(self.setup.context)
        if self.setup.scaling is None:
            raise BenchError(f"{type(self).__name__} has to predict before prepare() gave it a scaling")
        scaling = self.setup.scaling.of(view)
        for start in range(0, len(images), EMBED_BLOCK):
            block = np.ascontiguousarray(apply_scaling(scaling, images[start : start + EMBED_BLOCK]))
            with torch.no_grad():
                out: Tensor = getattr(network, function)(view, torch.from_numpy(block).to(device))
            yield out

    def _fit(self, data: FitData) -> dict[str, Any]:
        network = self._initial(data)
        batches = self._batches(data, network)
        if len(batches) == 0:
            raise BenchError(f"the training part has {len(data.train)} samples: too few for one batch")
        entries = self._pairs(data).entries
        epochs = self.options.epochs_of(entries)
        result = self._train(
            network,
            batches,
            self.options.train_spec(epochs, data.seed, data.precision),
            data.context,
            validate=lambda model, epoch: {"auc": self._validation_auc(data)},
            monitor="auc" if self.options.select == "best" else None,
        )
        return {
            **training_facts(result, epochs),
            "chosen_epoch": epochs if result.best_epoch is None else result.best_epoch,
            "training_entries": entries * epochs,
        }

    def _initial(self, data: FitData) -> Any:
        """Build the network from the seed; both backbones take the initial weights, where there are any."""
        with drawn_from(data.seed):
            network = self._made()
        if data.initial_weights is not None:
            from bench.models.weights import first_prefix, load_initial_weights, load_into, load_weights

            keys = [] if data.initial_branch else list(load_weights(data.initial_weights)[0])
            for view, branch in (("sar", network.sar), ("optical", network.optical)):
                # of a checkpoint of this task: each its own
                prefix = data.initial_branch or first_prefix(keys, [f"{view}.backbone."])
                load_into(branch.backbone, load_initial_weights(self._backbone(), data.initial_weights, prefix))
        return network


class TrainedMatcher(NetworkMatcher[TrainedT]):
    """Base of the learned matchers with embeddings; a subclass builds its network and names its distance."""

    Options: ClassVar[type[BaseModel]] = TrainedOptions
    embeds = True

    def _build(self, backbone: str) -> PairNetwork:
        raise NotImplementedError

    def _validation_auc(self, data: FitData) -> float:
        def distances(pairs: np.ndarray) -> np.ndarray:
            sar, optical = (self._embed_part(view, data.validation) for view in VIEWS)
            return paired(self.embedding_distance(), sar[pairs[:, 0]], optical[pairs[:, 1]])

        return auc_among(len(data.validation), distances)

    def _embed_part(self, view: View, part: PairView) -> np.ndarray:
        """Embed the images of a whole part, a few at a time in memory."""
        return np.concatenate([self._embed(view, block) for block in part.blocks(view, 8 * EMBED_BLOCK)])

    def _embed(self, view: View, images: np.ndarray) -> np.ndarray:
        return np.concatenate([part.float().cpu().numpy() for part in self._forward("embed", view, images)])


def auc_among(n: int, distances_of: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return the ROC-AUC of n true pairs against those of each SAR image with the optical one 1, n/3 and n/2 places
    before its own.

    Args:
        distances_of: returns the distances (p,) of pairs (p, 2).
    """
    from bench.matching.scoring.metrics import roc_auc

    if n < 2:
        return 0.5
    rows = np.arange(n)
    shifts = [shift for shift in (1, n // 3, n // 2) if 0 < shift < n]
    pairs = np.concatenate([np.stack([rows, np.roll(rows, shift)], axis=1) for shift in (0, *shifts)])
    auc = roc_auc(np.arange(len(pairs)) < n, distances_of(pairs))
    return 0.5 if auc is None else float(auc)
