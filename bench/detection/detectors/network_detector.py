"""What the detectors with a network share, whatever library it is from: options, start, training and prediction on
tiles; the rest is `bench.training.learned`.

Imports no torch at module level, so that planning can read options and versions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator
from typing_extensions import TypeVar

from bench.core.errors import BenchError
from bench.core.options import capped
from bench.detection.detectors.base import Detections, DetectorOptions, FitData
from bench.detection.detectors.tiled import TiledDetector
from bench.training.learned import (
    BatchSize,
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
    from bench.detection.tiles.batches import TileBatches
    from bench.models.weights import State

MIN_CROP_PX = 64


class NetworkOptions(DetectorOptions, TrainingOptions):
    """Options of a learned detector, beside those of `TrainingOptions`. They hold for every arm of a comparison alike,
    whatever the backbone starts from.

    Attributes:
        per_epoch: crops of an epoch, null for as many as there are training ships. With sampling "grid" an epoch has
            every tile once, or `per_epoch` of them.
        samples: training budget in tiles; when given, it sets the number of epochs (rounded up) instead of `epochs`.
        batch_size: tiles a step (the last one of an epoch may be smaller).
        schedule: also "cosine-steps": "cosine" iteration by iteration instead of epoch by epoch, for trainings of few
            epochs; "step": a tenth of the rate from each share `step_at` of the epochs on.
        warmup_epochs: a fraction is allowed; at most the whole training.
        sampling, ship_share, empty_share, augment: which tiles are trained on (`bench.detection.tiles.batches`).
        crop_px: edge of a training tile; null for that of the data set's tiles.
        score_floor: detections below are dropped (mmdet: 0.05, which cuts the precision-recall curve short).
        nms_iou: of two detections in a tile that overlap by more, the one with the higher score stays.
        max_per_tile: detections a tile (mmdet: 100).
    """

    epochs: Count = 12
    per_epoch: Count | None = None
    samples: Count | None = None
    batch_size: BatchSize = 4
    momentum: Momentum = 0.9
    weight_decay: NotNegative = 0.0001
    schedule: Literal["constant", "cosine", "cosine-steps", "step"] = "cosine"
    step_at: tuple[float, ...] = ()
    warmup_epochs: NotNegative = 0.5
    clip_norm: Positive | None = 35.0
    sampling: Literal["crops", "grid"] = "crops"
    ship_share: float = Field(default=0.75, ge=0, le=1)
    empty_share: NotNegative | None = None
    crop_px: int | None = Field(default=None, ge=MIN_CROP_PX)
    augment: Literal["none", "flip", "dihedral"] = "dihedral"
    score_floor: float = Field(default=0.01, gt=0, lt=1)
    nms_iou: float = Field(default=0.5, gt=0, lt=1)
    max_per_tile: Count = 300

    def smoke(self) -> Self:
        return capped(self, per_epoch=2)

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if bool(self.step_at) != (self.schedule == "step"):
            raise ValueError("step_at goes with schedule 'step', and only with it")
        if any(not 0 < share < 1 for share in self.step_at):
            raise ValueError(f"step_at holds shares of the training between 0 and 1; got {list(self.step_at)}")
        return self

    def budget(self) -> int | None:
        return self.samples

    def overridden(self) -> dict[str, str]:
        other = {"grid": "ship_share", "crops": "empty_share"}[self.sampling]
        return {**super().overridden(), other: f"it is for the other sampling than {self.sampling!r}"}

    def _step_epochs(self, epochs: int) -> tuple[int, ...]:
        return tuple(math.ceil(share * epochs) for share in self.step_at)

    def _warmup(self, epochs: int) -> float:
        return min(self.warmup_epochs, epochs)


NetworkT = TypeVar("NetworkT", bound=NetworkOptions, covariant=True, default=NetworkOptions)


class NetworkDetector(NetworkMethod[NetworkT], TiledDetector[NetworkT]):
    """Base of the learned detectors: training on tiles, prediction. A subclass builds its network, which has
    `loss(batch)` and `detect(images)` (`bench.detection.detectors.mmdet.models.DetectorNetwork`).
    """

    Options: ClassVar[type[BaseModel]] = NetworkOptions

    def _build(self, backbone: str | None) -> Any:
        """Return the untrained network, random parts drawn from torch's global generator."""
        raise NotImplementedError

    def _check_start(self, data: FitData) -> None:
        """Raise BenchError where the options make no sense for the start that an arm gives."""

    def _load_backbone(self, network: Any, backbone: str, state: State) -> str:
        """Copy a complete neutral state into the network's backbone; return the hash of what then stands there, in the
        neutral layout.
        """
        raise NotImplementedError

    def _initial(self, data: FitData) -> tuple[Any, str | None]:
        """Build the network from the seed, its neck and heads equal whatever the backbone starts from; return the hash
        of that start, None without a backbone.
        """
        from bench.core.registries import BACKBONES
        from bench.models.weights import load_initial_weights, permuted_within_layers

        backbone = self._backbone()
        self._check_start(data)
        with drawn_from(data.seed):
            network = self._made()
        if backbone is None:
            return network, None
        if data.initial is not None:
            state = load_initial_weights(backbone, data.initial.path, data.initial.branch)
            state = permuted_within_layers(state, data.seed) if data.initial.permuted else state
        else:
            with drawn_from(data.seed):
                state = BACKBONES.get(backbone).build().state_dict()  # as the backbone starts in pretraining
        return network, self._load_backbone(network, backbone, state)

    def _made(self) -> Any:
        return self._build(self._backbone())

    def _facts(self) -> dict[str, Any]:
        """Return further facts for the record."""
        return {}

    def _fit(self, data: FitData) -> dict[str, Any]:
        network, initial_sha256 = self._initial(data)
        batches = self._batches(data)
        extra = math.ceil(data.extra_pixels / self._crop_px() ** 2)
        epochs = self.options.epochs_of(batches.tiles_per_epoch, extra)
        spec = self.options.train_spec(epochs, data.seed, data.precision)
        # the last epoch's weights: no test and no validation scene chooses
        result = self._train(network, batches, spec, self.setup.context)
        return {
            **training_facts(result, epochs),
            "training_tiles": batches.tiles_per_epoch * epochs,
            "extra_tiles": extra,
            "initial_state_sha256": initial_sha256,
            **self._facts(),
        }

    def _batches(self, data: FitData) -> TileBatches:
        from bench.detection.tiles.batches import Sampling, TileBatches

        options = self.options
        sampling = Sampling(
            mode=options.sampling,
            per_epoch=options.per_epoch,
            ship_share=options.ship_share,
            empty_share=options.empty_share,
            size_px=self._crop_px(),
            augment=options.augment,
            batch_size=options.batch_size,
        )
        return TileBatches(data.train, self.setup.scaling, self.setup.tiles, sampling, data.seed)

    def _crop_px(self) -> int:
        """Edge of a training tile. Below 64 px the last stage of a backbone is one pixel, which batch norm refuses in a
        batch of one.
        """
        edge = self.options.crop_px or self.setup.tiles.size_px
        if edge < MIN_CROP_PX:
            raise BenchError(
                f"training tiles of {edge} px are too small for {type(self).__name__}; at least {MIN_CROP_PX}: set"
                " crop_px"
            )
        return edge

    def _backbone(self) -> str | None:
        """Return the backbone's name, None for a network of its own.

        Raises:
            BenchError: one that this detector cannot be built on.
        """
        backbone = self.setup.backbone
        if self.backbones and backbone not in self.backbones:
            raise BenchError(
                f"{type(self).__name__} cannot be built on backbone {backbone!r}; it takes {', '.join(self.backbones)}"
            )
        return backbone

    def _predict_tiles(self, tiles: np.ndarray) -> list[Detections]:
        """Find the ships in (n, size, size) native tiles, in evaluation mode and fp32, on the context's device."""
        import torch

        from bench.data.scaling import apply_scaling

        network, device = self._ready(self.setup.context)
        images = np.ascontiguousarray(apply_scaling(self.setup.scaling, tiles), dtype=np.float32)
        found: list[Detections] = network.detect(torch.from_numpy(images).to(device))
        return found
