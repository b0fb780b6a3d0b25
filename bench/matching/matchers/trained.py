"""What every matcher with a two-branch network shares: options, fitting through `bench.training.api`, embedding, state.

Imports no torch at module level, so that planning can read options and versions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field

from bench.core.errors import BenchError
from bench.core.options import later
from bench.matching.matchers.base import FitData, Matcher, MatcherOptions, View
from bench.matching.matchers.batches import Negatives, PairBatches
from bench.matching.matchers.distances import paired

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.data.cache import PairView
    from bench.matching.matchers.networks import PairNetwork
    from bench.training.api import EpochBatches

VIEWS: tuple[View, ...] = ("sar", "optical")
EMBED_BLOCK = 32  # images a forward pass; fixed, so that predictions do not depend on a setting


class NetworkOptions(MatcherOptions):
    """Options of every learned matcher.

    Attributes:
        epochs, batch_size: `batch_size` counts entries (see `PairBatches`).
        entries: training budget in entries; when given, it sets the number of epochs (rounded up) instead of `epochs`,
            so that data sets of different size cost the same.
        optimizer, lr, momentum, weight_decay: torch.optim.SGD or AdamW.
        schedule: "constant", or "cosine" to zero over all epochs; `warmup_epochs` of linear warm-up come first.
        clip_norm: largest gradient norm; null for none.
        augment: "none" or "dihedral" (flips and quarter turns, the same for both views).
        select: "last" epoch, or the "best" on the validation part by ROC-AUC.
        channels_last: memory format of the convolutions; changes speed, and the last digits.
        compile: run the backbones as torch.compile makes them while they train; changes speed, and the last digits. The
            first step waits for the compiler.
    """

    epochs: int = Field(10, ge=1)
    entries: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=2)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.005, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: int = Field(0, ge=0)
    clip_norm: float | None = Field(None, gt=0)
    augment: Literal["none", "dihedral"] = "none"
    select: Literal["last", "best"] = "last"
    channels_last: bool = False
    compile: bool = later(False)


class TrainedOptions(NetworkOptions):
    """Options of a learned matcher with embeddings.

    Attributes:
        dim: length of the embedding.
        input_px: side that patches are resized to before the network; null keeps them.
    """

    dim: int = Field(128, ge=2)
    input_px: int | None = Field(None, ge=32)


class NetworkMatcher(Matcher):
    """Base of the learned matchers: training, initial weights, state. A subclass builds its network: branches `sar` and
    `optical`, each with a `backbone`.
    """

    Options: ClassVar[type[BaseModel]] = NetworkOptions
    trains = True
    seeded = True
    uses_backbone = True

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._network: Any = None

    def _build(self, backbone: str) -> Any:
        """Return the untrained network."""
        raise NotImplementedError

    def _made(self, backbone: str) -> Any:
        """Return the untrained network, in the memory format of the options: a loaded one computes as a trained one, to
        the last digit.
        """
        network = self._build(backbone)
        if self.options.channels_last:
            network.use_channels_last()
        return network

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
        from bench.training.api import resolve_device

        if self._network is None or self.setup.scaling is None or self.setup.context is None:
            raise BenchError(f"{type(self).__name__} was asked to embed or to score before it was fitted or loaded")
        device = resolve_device(self.setup.context.device)
        network = self._network.to(device).eval()
        for start in range(0, len(images), EMBED_BLOCK):
            block = np.ascontiguousarray(
                apply_scaling(self.setup.scaling.of(view), images[start : start + EMBED_BLOCK])
            )
            with torch.no_grad():
                out: Tensor = getattr(network, function)(view, torch.from_numpy(block).to(device))
            yield out

    def _fit(self, data: FitData) -> dict[str, Any]:
        from bench.training.api import TrainSpec, train

        options, context = self.options, data.context
        network = self._initial(data)
        batches = self._batches(data, network)
        if len(batches) == 0:
            raise BenchError(f"the training part has {len(data.train)} samples: too few for one batch")
        entries = self._pairs(data).entries
        epochs = epochs_of(options, entries)
        spec = TrainSpec(
            epochs=epochs,
            batch_size=options.batch_size,
            optimizer=_optimizer(options),
            schedule=options.schedule,
            warmup_epochs=options.warmup_epochs,
            clip_norm=options.clip_norm,
            precision=data.precision,
            channels_last=options.channels_last,
            seed=data.seed,
            compile=options.compile,
        )
        self._network = network
        result = train(
            network,
            batches,
            spec,
            context,
            validate=lambda model, epoch: {"auc": self._validation_auc(data)},
            select=options.select,
            monitor="auc" if options.select == "best" else None,
        )
        return {
            "epochs": epochs,
            "chosen_epoch": result.best_epoch if options.select == "best" else epochs,
            "resumed_from_epoch": result.resumed_from,
            "training_entries": entries * epochs,
            "cost": {
                "samples_per_second": result.samples_per_second,
                "training_peak_memory_bytes": result.peak_memory_bytes,
            },
        }

    def _initial(self, data: FitData) -> Any:
        """Build the network from the seed; both backbones take the initial weights, where there are any."""
        import torch

        backbone = self.setup.backbone
        if backbone is None:
            raise BenchError(f"{type(self).__name__} needs a backbone")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            network = self._made(backbone)
        if data.initial_weights is not None:
            from bench.models.weights import first_prefix, load_initial_weights, load_into, load_weights

            keys = [] if data.initial_branch else list(load_weights(data.initial_weights)[0])
            for view, branch in (("sar", network.sar), ("optical", network.optical)):
                # of a checkpoint of this task: each its own
                prefix = data.initial_branch or first_prefix(keys, [f"{view}.backbone."])
                load_into(branch.backbone, load_initial_weights(backbone, data.initial_weights, prefix))
        return network

    def state(self) -> dict[str, np.ndarray]:
        if self._network is None:
            raise BenchError(f"{type(self).__name__} has no state before it is fitted")
        return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in self._network.state_dict().items()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        import torch

        from bench.models.weights import load_into

        if self.setup.backbone is None:
            raise BenchError(f"{type(self).__name__} needs a backbone")
        if self.setup.context is not None:
            torch.set_num_threads(self.setup.context.threads)
        network = self._made(self.setup.backbone)
        module: nn.Module = network
        load_into(module, {name: torch.from_numpy(np.array(array)) for name, array in state.items()})
        self._network = network


class TrainedMatcher(NetworkMatcher):
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


def epochs_of(options: NetworkOptions, entries: int) -> int:
    """Return the number of epochs over `entries` entries: as given, or as many as the budget in entries needs."""
    return options.epochs if options.entries is None else max(1, math.ceil(options.entries / entries))


def _optimizer(options: NetworkOptions) -> dict[str, Any]:
    if options.optimizer == "sgd":
        return {"type": "SGD", "lr": options.lr, "momentum": options.momentum, "weight_decay": options.weight_decay}
    return {"type": "AdamW", "lr": options.lr, "weight_decay": options.weight_decay}
