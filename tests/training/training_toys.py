"""A network and batches that train in a fraction of a second, with everything in them that could break exact resume."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.context import ExecutionContext
from bench.core.progress import Progress
from bench.models.weights import state_sha256
from bench.training.randomness import reseed, shuffled_batches
from bench.training.spec import TrainSpec

SAMPLES, BATCH, SIDE = 24, 6, 128


class ToyNet(nn.Module):
    """Convolution, batch normalisation (running statistics), dropout (the global generator), a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.head(self.drop(torch.relu(self.norm(self.conv(image))).mean((2, 3))))
        return out

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        scores = self(batch["image"])
        return {
            "loss_class": nn.functional.cross_entropy(scores, batch["label"]),
            "loss_size": 0.01 * scores.square().mean(),
            "accuracy": (scores.argmax(1) == batch["label"]).float().mean(),
        }


class ToyBatches:
    """Noise drawn from (seed, epoch, sample), brighter for label 1; torch sums, whose digits depend on the threads."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __len__(self) -> int:
        return SAMPLES // BATCH

    def indices(self, epoch: int) -> list[np.ndarray]:
        return shuffled_batches(SAMPLES, BATCH, self.seed, epoch)

    def fetch(self, epoch: int, batch_indices: np.ndarray) -> dict[str, np.ndarray | Tensor]:
        images = []
        for index in batch_indices:
            generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch, int(index)])))
            image = torch.from_numpy(generator.standard_normal((3, SIDE, SIDE), dtype=np.float32))
            images.append(image - image.mean() + float(index % 2))
        return {"image": torch.stack(images), "label": (batch_indices % 2).astype(np.int64)}


def toy_spec(epochs: int = 3, **changes: object) -> TrainSpec:
    """Return a spec for the toy training: momentum, weight decay, cosine with warm-up, clipping."""
    values: dict[str, object] = {
        "epochs": epochs,
        "batch_size": BATCH,
        "optimizer": {"type": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4},
        "schedule": "cosine",
        "warmup_epochs": 0.5,
        "clip_norm": 1.0,
        "seed": 3,
    }
    return TrainSpec(**{**values, **changes})  # type: ignore[arg-type]


def toy_net(seed: int = 0) -> ToyNet:
    """Return a net whose initial weights depend on `seed` alone."""
    reseed(seed, "weights")
    return ToyNet()


def toy_context(
    folder: Path, workers: int = 0, threads: int = 1, lines: list[str] | None = None, device: str = "cpu"
) -> ExecutionContext:
    """Return a silent context; log lines go to `lines`."""
    log = (lambda text: None) if lines is None else lines.append
    return ExecutionContext(folder, folder, device, threads, workers, log, Progress(log, io.StringIO()))


def outcome(model: nn.Module, folder: Path) -> tuple[str, str]:
    """Return digests of the weights and of curves.csv."""
    return state_sha256(model.state_dict()), hashlib.sha256((folder / "curves.csv").read_bytes()).hexdigest()
