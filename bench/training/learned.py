"""What every method with a network shares, whatever its task: the options of a training, and how a network is trained,
kept and loaded. Imports no torch at module level, so that planning can read options and versions.

A task's base class names its defaults (`class NetworkOptions(MatcherOptions, TrainingOptions)`), its budget, how its
network is built (`_made`) and fitted (`_fit`, which calls `_train`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field
from typing_extensions import TypeVar

from bench.core.errors import BenchError
from bench.core.method import Method, MethodOptions
from bench.core.options import later
from bench.training.randomness import drawn_from

if TYPE_CHECKING:
    import torch

    from bench.core.context import ExecutionContext
    from bench.training.spec import EpochBatches, TrainResult, TrainSpec, Validate

Count = Annotated[int, Field(ge=1)]
BatchSize = Annotated[int, Field(ge=2)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]


class TrainingOptions(MethodOptions):
    """Options of a training; a task adds its budget in samples, and the defaults that are missing here.

    Attributes:
        epochs: length of the training where no budget is given.
        batch_size: samples a step.
        optimizer, lr, momentum, weight_decay: torch.optim.SGD or AdamW (which takes no momentum).
        schedule: "constant"; "cosine" to zero over all epochs; "cosine-steps" or "step", where a task offers it.
        warmup_epochs: linear warm-up over the first epochs.
        clip_norm: largest gradient norm; null for none.
        channels_last: memory format of the convolutions; changes speed, and the last digits.
    """

    epochs: Count
    batch_size: BatchSize
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.005
    momentum: Momentum
    weight_decay: NotNegative
    schedule: Literal["constant", "cosine", "cosine-steps", "step"]
    warmup_epochs: NotNegative
    clip_norm: Positive | None
    channels_last: bool = False

    def budget(self) -> int | None:
        """Return the training budget in samples; it sets the number of epochs instead of `epochs` where it is given."""
        return None

    def overridden(self) -> dict[str, str]:
        out = {} if self.budget() is None else {"epochs": "the budget in samples or entries sets the number of epochs"}
        return {**out, **({"momentum": "adamw takes none"} if self.optimizer == "adamw" else {})}

    def epochs_of(self, per_epoch: int, extra: int = 0) -> int:
        """Return the number of epochs of `per_epoch` samples: as given, or as many as the budget needs, rounded up;
        `extra` samples are added to either.
        """
        budget = self.budget()
        own = self.epochs * per_epoch if budget is None else budget
        return max(1, math.ceil((own + extra) / per_epoch))

    def train_spec(self, epochs: int, seed: int, precision: str) -> TrainSpec:
        """Return the training of `epochs` epochs that the options describe.

        Raises:
            BenchError: an unknown precision; a warm-up that is longer than the training.
        """
        from bench.training.spec import TrainSpec

        return TrainSpec(
            epochs=epochs,
            batch_size=self.batch_size,
            optimizer=self._optimizer(),
            schedule=self.schedule,
            step_epochs=self._step_epochs(epochs),
            warmup_epochs=self._warmup(epochs),
            clip_norm=self.clip_norm,
            precision=precision,
            channels_last=self.channels_last,
            seed=seed,
            compile=isinstance(self, CompileOptions) and self.compile,
        )

    def _optimizer(self) -> dict[str, Any]:
        rates = {"lr": self.lr, "weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            return {"type": "SGD", "momentum": self.momentum, **rates}
        return {"type": "AdamW", **rates}

    def _step_epochs(self, epochs: int) -> tuple[int, ...]:
        """Return the finished epochs after which the rate drops, for schedule "step"."""
        return ()

    def _warmup(self, epochs: int) -> float:
        """Return the epochs of warm-up in a training of `epochs`."""
        return self.warmup_epochs


class CompileOptions(BaseModel):
    """The option of a method whose network names its `compilable()` parts.

    Attributes:
        compile: run the backbones as torch.compile makes them while they train; changes speed, and the last digits. The
            first step waits for the compiler.
    """

    compile: bool = later(False)


TrainingT = TypeVar("TrainingT", bound=TrainingOptions, covariant=True, default=TrainingOptions)


class NetworkMethod(Method[TrainingT]):
    """Base of the methods with one network; stands before the task's own base class among a class's bases."""

    trains: ClassVar[bool] = True
    seeded: ClassVar[bool] = True

    def __init__(self, options: TrainingT) -> None:
        super().__init__(options)
        self._network: Any = None

    def _made(self) -> Any:
        """Return the untrained network as options and setup say, random parts from torch's global generator."""
        raise NotImplementedError

    def _train(
        self,
        network: Any,
        batches: EpochBatches,
        spec: TrainSpec,
        context: ExecutionContext,
        validate: Validate | None = None,
        monitor: str | None = None,
    ) -> TrainResult:
        """Train `network` and keep it: the last epoch's weights, or the best by the validation metric `monitor`."""
        from bench.training import api

        self._network = network  # `validate` looks at it
        return api.train(network, batches, spec, context, validate, "last" if monitor is None else "best", monitor)

    def _ready(self, context: ExecutionContext | None) -> tuple[Any, torch.device]:
        """Return the network in evaluation mode on the context's device, and that device; threads are set.

        Raises:
            BenchError: there is no network yet.
        """
        import torch

        from bench.training.api import resolve_device

        if self._network is None or context is None:
            raise BenchError(f"{type(self).__name__} has to predict before it was fitted or loaded")
        device = resolve_device(context.device)
        torch.set_num_threads(context.threads)
        # TF32, torch's default for convolutions on a GPU, rounds to 10 bits: predictions would depend on the card
        torch.backends.cudnn.allow_tf32 = False
        return self._network.to(device).eval(), device

    def state(self) -> dict[str, np.ndarray]:
        if self._network is None:
            raise BenchError(f"{type(self).__name__} has no state before it is fitted")
        return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in self._network.state_dict().items()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        import torch

        from bench.models.weights import load_into

        with drawn_from(0):  # what is drawn is overwritten
            network = self._made()
        load_into(network, {name: torch.from_numpy(np.array(array)) for name, array in state.items()})
        self._network = network


def training_facts(result: TrainResult, epochs: int) -> dict[str, Any]:
    """Return the facts of a training of `epochs` epochs for the record, its cost among them."""
    return {
        "epochs": epochs,
        "resumed_from_epoch": result.resumed_from,
        "cost": {
            "samples_per_second": result.samples_per_second,
            "training_peak_memory_bytes": result.peak_memory_bytes,
        },
    }
