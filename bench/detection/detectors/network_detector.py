"""What the detectors with a network share, whatever library it is from: options, training through `bench.training.api`,
prediction on tiles, state.

Imports no torch at module level, so that planning can read options and versions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator

from bench.core.errors import BenchError
from bench.detection.detectors.base import Detections, DetectorOptions, FitData
from bench.detection.detectors.tiled import TiledDetector
from bench.suite.smoke import capped

if TYPE_CHECKING:
    from bench.detection.tiles.batches import TileBatches
    from bench.models.weights import State
    from bench.training.api import TrainSpec

MIN_CROP_PX = 64


class NetworkOptions(DetectorOptions):
    """Options of a learned detector. They hold for every arm of a comparison alike, whatever the backbone starts from.

    Attributes:
        epochs, per_epoch: length of the training; an epoch has `per_epoch` crops, null for as many as there are
            training ships. With sampling "grid" an epoch has every tile once, or `per_epoch` of them.
        samples: training budget in tiles; when given, it sets the number of epochs (rounded up) instead of `epochs`.
        batch_size: tiles a step (the last one of an epoch may be smaller).
        optimizer, lr, momentum, weight_decay: torch.optim.SGD or AdamW (which takes no momentum).
        schedule: "constant"; "cosine" to zero over all epochs; "step": a tenth of the rate from each share `step_at` of
            the epochs on.
        warmup_epochs: linear warm-up over the first epochs (a fraction is allowed).
        clip_norm: largest gradient norm; null for none.
        sampling, ship_share, empty_share, augment: which tiles are trained on (`bench.detection.tiles.batches`).
        crop_px: edge of a training tile; null for that of the data set's tiles.
        score_floor: detections below are dropped (mmdet: 0.05, which cuts the precision-recall curve short).
        nms_iou: of two detections in a tile that overlap by more the surer one stays.
        max_per_tile: detections a tile (mmdet: 100).
        channels_last: memory format of the convolutions; changes speed, and the last digits.
    """

    epochs: int = Field(default=12, ge=1)
    per_epoch: int | None = Field(default=None, ge=1)
    samples: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=4, ge=2)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(default=0.005, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0001, ge=0)
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    step_at: tuple[float, ...] = ()
    warmup_epochs: float = Field(default=0.5, ge=0)
    clip_norm: float | None = Field(default=35.0, gt=0)
    sampling: Literal["crops", "grid"] = "crops"
    ship_share: float = Field(default=0.75, ge=0, le=1)
    empty_share: float | None = Field(default=None, ge=0)
    crop_px: int | None = Field(default=None, ge=MIN_CROP_PX)
    augment: Literal["none", "flip", "dihedral"] = "dihedral"
    score_floor: float = Field(default=0.01, gt=0, lt=1)
    nms_iou: float = Field(default=0.5, gt=0, lt=1)
    max_per_tile: int = Field(default=300, ge=1)
    channels_last: bool = False

    def smoke(self) -> Self:
        return capped(self, per_epoch=2)

    @model_validator(mode="after")
    def _steps_fit(self) -> NetworkOptions:
        if bool(self.step_at) != (self.schedule == "step"):
            raise ValueError("step_at goes with schedule 'step', and only with it")
        if any(not 0 < share < 1 for share in self.step_at):
            raise ValueError(f"step_at holds shares of the training between 0 and 1; got {list(self.step_at)}")
        return self


class NetworkDetector(TiledDetector):
    """Base of the learned detectors: training on tiles, prediction, state. A subclass builds its network, which has
    `loss(batch)` and `detect(images)` (`mmdet_models.DetectorNetwork`).
    """

    Options: ClassVar[type[BaseModel]] = NetworkOptions
    trains = True
    seeded = True

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._network: Any = None

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
        import torch

        from bench.core.registries import BACKBONES
        from bench.models.weights import load_initial_weights

        backbone = self._backbone()
        self._check_start(data)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(data.seed)
            network = self._build(backbone)
            if backbone is None:
                return network, None
            torch.manual_seed(data.seed)
            state = BACKBONES.get(backbone).build().state_dict()  # as the backbone starts in pretraining
        if data.initial is not None:
            state = load_initial_weights(backbone, data.initial.path, data.initial.branch)
        return network, self._load_backbone(network, backbone, state)

    def _facts(self) -> dict[str, Any]:
        """Return further facts for the record."""
        return {}

    def _fit(self, data: FitData) -> dict[str, Any]:
        from bench.training.api import train

        network, initial_sha256 = self._initial(data)
        batches = self._batches(data)
        extra = math.ceil(data.extra_pixels / self._crop_px() ** 2)
        epochs = epochs_of(self.options, batches.tiles_per_epoch, extra)
        spec = train_spec(self.options, epochs, data.seed, data.precision)
        # the last epoch's weights: no test and no validation scene chooses
        result = train(network, batches, spec, self.setup.context)
        self._network = network
        return {
            "epochs": epochs,
            "resumed_from_epoch": result.resumed_from,
            "training_tiles": batches.tiles_per_epoch * epochs,
            "extra_tiles": extra,
            "initial_state_sha256": initial_sha256,
            **self._facts(),
            "cost": {
                "samples_per_second": result.samples_per_second,
                "training_peak_memory_bytes": result.peak_memory_bytes,
            },
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
        edge = int(self.options.crop_px or self.setup.tiles.size_px)
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
        from bench.training.api import resolve_device

        if self._network is None:
            raise BenchError(f"{type(self).__name__} was asked to predict before it was fitted or loaded")
        context = self.setup.context
        device = resolve_device(context.device)
        torch.set_num_threads(context.threads)
        network = self._network.to(device).eval()
        images = np.ascontiguousarray(apply_scaling(self.setup.scaling, tiles), dtype=np.float32)
        return network.detect(torch.from_numpy(images).to(device))

    def state(self) -> dict[str, np.ndarray]:
        if self._network is None:
            raise BenchError(f"{type(self).__name__} has no state before it is fitted")
        return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in self._network.state_dict().items()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        import torch

        from bench.models.weights import load_into

        with torch.random.fork_rng(devices=[]):
            network = self._build(self._backbone())
        load_into(network, {name: torch.from_numpy(np.array(array)) for name, array in state.items()})
        self._network = network


def epochs_of(options: NetworkOptions, tiles_per_epoch: int, extra_tiles: int = 0) -> int:
    """Return the number of epochs: as given, or as many as the budget in tiles needs, `extra_tiles` added to either
    (rounded up).
    """
    own = options.epochs * tiles_per_epoch if options.samples is None else options.samples
    return max(1, math.ceil((own + extra_tiles) / tiles_per_epoch))


def train_spec(options: NetworkOptions, epochs: int, seed: int, precision: str) -> TrainSpec:
    """Return what `bench.training.api` is told.

    Raises:
        BenchError: an unknown precision.
    """
    from bench.training.api import TrainSpec

    if options.optimizer == "sgd":
        optimizer = {
            "type": "SGD",
            "lr": options.lr,
            "momentum": options.momentum,
            "weight_decay": options.weight_decay,
        }
    else:
        optimizer = {"type": "AdamW", "lr": options.lr, "weight_decay": options.weight_decay}
    steps = tuple(math.ceil(share * epochs) for share in options.step_at)
    return TrainSpec(
        epochs=epochs,
        batch_size=options.batch_size,
        optimizer=optimizer,
        schedule=options.schedule,
        step_epochs=steps,
        warmup_epochs=min(options.warmup_epochs, epochs),
        clip_norm=options.clip_norm,
        precision=precision,
        channels_last=options.channels_last,
        seed=seed,
        compile=getattr(options, "compile", False),
    )
