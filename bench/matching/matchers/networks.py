"""The two-branch networks of the learned matchers and their losses (torch; imported at execution time only).

Each branch is a backbone, normalising its input by the backbone's own mean and std, and a head. The branches share no
weights: a SAR image and an optical image obey different statistics (Xu et al., AAAI 2019). Inputs are float32 in [0,
1], (n, 3, h, w). Losses are fp32 whatever the branches compute in, and, where several processes share a batch, made of
the embeddings of all (`gather`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.registries import BACKBONES
from bench.matching.matchers.chunked import in_chunks
from bench.training.parallel import full_precision, gather

_EPS = 1e-12  # keeps the gradient of sqrt finite where two embeddings coincide


class BnnHead(nn.Module):
    """Head of the released BNN code: 1x1 conv to 128, ReLU, 4x4 adaptive average pooling, two linear layers, sigmoid.

    There is no non-linearity between the linear layers (the code defines one and never calls it; docs/protocols.md,
    section 1).
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, 128, 1)
        self.hidden = nn.Linear(128 * 16, 128)
        self.out = nn.Linear(128, dim)

    def forward(self, features: Tensor) -> Tensor:
        """(n, C, h, w) -> (n, dim) in (0, 1)."""
        x = F.relu(self.reduce(features))
        x = F.adaptive_avg_pool2d(x, 4).flatten(1)
        return torch.sigmoid(self.out(self.hidden(x)))


class ProjectionHead(nn.Module):
    """Global average pooling and a linear projection onto the unit sphere."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.out = nn.Linear(channels, dim)

    def forward(self, features: Tensor) -> Tensor:
        """(n, C, h, w) -> (n, dim), rows of norm 1."""
        return F.normalize(self.out(features.mean((2, 3))), dim=1)


class Branch(nn.Module):
    """One view's encoder: normalise, backbone, head."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str, head: type[BnnHead] | type[ProjectionHead], dim: int) -> None:
        super().__init__()
        facts = BACKBONES.get(backbone)
        self.backbone = facts.build()
        self.head = head(facts.out_channels[-1], dim)
        self.register_buffer("mean", torch.tensor(facts.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(facts.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) in [0, 1] -> (n, dim)."""
        embeddings: Tensor = self.head(self.backbone((images - self.mean) / self.std))
        return embeddings


class PairNetwork(nn.Module):
    """A SAR branch and an optical branch; subclasses add the loss."""

    head: type[BnnHead] | type[ProjectionHead] = ProjectionHead

    def __init__(self, backbone: str, dim: int, input_px: int | None) -> None:
        super().__init__()
        self.input_px = input_px
        self.memory_format = torch.contiguous_format
        self.chunk: int | None = None  # images of a view that are differentiated at once; None for the whole batch
        self.sar = Branch(backbone, self.head, dim)
        self.optical = Branch(backbone, self.head, dim)

    def use_channels_last(self) -> None:
        """Keep weights and images in channels-last memory format from now on."""
        self.memory_format = torch.channels_last
        self.to(memory_format=torch.channels_last)

    def compilable(self) -> list[nn.Module]:
        """Return the parts whose inputs have one size throughout a training."""
        return [self.sar.backbone, self.optical.backbone]

    def embed(self, view: str, images: Tensor) -> Tensor:
        """(n, h, w) SAR or (n, h, w, 3) optical, float32 in [0, 1] -> (n, dim)."""
        if view == "sar":
            branch, channels = self.sar, images[:, None].expand(-1, 3, -1, -1)
        else:
            branch, channels = self.optical, images.permute(0, 3, 1, 2)
        embeddings: Tensor = branch(self._resize(channels))
        return embeddings

    def _resize(self, images: Tensor) -> Tensor:
        if self.input_px is None or images.shape[-2:] == (self.input_px, self.input_px):
            return images.contiguous(memory_format=self.memory_format)
        size = (self.input_px, self.input_px)
        resized = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
        return (
            resized.contiguous(memory_format=self.memory_format)
            if self.memory_format == torch.channels_last
            else resized
        )

    def _embeddings(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the SAR and optical embeddings of this process's images, fp32."""
        return self._embedded("sar", batch["sar"]).float(), self._embedded("optical", batch["optical"]).float()

    def _embedded(self, view: str, images: Tensor) -> Tensor:
        if self.chunk is None:
            return self.embed(view, images)
        return in_chunks(
            lambda part: self.embed(view, part), images, self.chunk, self.sar if view == "sar" else self.optical
        )

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        raise NotImplementedError


class BnnNetwork(PairNetwork):
    """Bridge neural network: RMS distance of two sigmoid embeddings, regressed to 0 for pairs and to 1 for others."""

    head = BnnHead

    def __init__(self, backbone: str, dim: int, input_px: int | None, alpha: float, in_batch: bool) -> None:
        super().__init__(backbone, dim, input_px)
        self.alpha = alpha
        self.in_batch = in_batch

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """(pos + alpha neg) / (1 + alpha), each the mean over its class of (d - target)^2 (released code, `BNN_loss`).

        `batch`: sar (n, h, w), optical (n, h, w, 3), label (n,) with 1 for a pair. With in-batch negatives every entry
        is a pair, and its negative is the optical image of the entry before it (of the last one for the first: what
        `other` of `PairBatches` says).
        """
        sar, optical = self._embeddings(batch)
        if self.in_batch:
            sar, optical = gather(sar), gather(optical)
            positive = (self._distance(sar, optical) ** 2).mean()
            negative = ((1 - self._distance(sar, optical.roll(1, 0))) ** 2).mean()
        else:
            distance, is_pair = gather(self._distance(sar, optical)), gather(batch["label"]) > 0.5
            positive = _mean((distance**2)[is_pair])
            negative = _mean(((1 - distance) ** 2)[~is_pair])
        return {"loss": (positive + self.alpha * negative) / (1 + self.alpha)}

    @staticmethod
    def _distance(a: Tensor, b: Tensor) -> Tensor:
        return (((a - b) ** 2).mean(1) + _EPS).sqrt()


class InfoNceNetwork(PairNetwork):
    """Symmetric contrastive loss over the batch (van den Oord et al. 2018; the symmetric form of Radford et al.
    2021).
    """

    head = ProjectionHead

    def __init__(self, backbone: str, dim: int, input_px: int | None, temperature: float) -> None:
        super().__init__(backbone, dim, input_px)
        self.temperature = temperature

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean of the cross-entropies SAR -> optical and optical -> SAR; every entry of `batch` is a pair."""
        sar, optical = (gather(part) for part in self._embeddings(batch))
        with full_precision(sar.device):
            logits = (sar @ optical.T) / self.temperature
        target = torch.arange(len(logits), device=logits.device)
        return {"loss": 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))}


def _mean(x: Tensor) -> Tensor:
    """Mean, and zero (with a gradient) over nothing: a batch may hold no entry of a class."""
    return x.sum() / max(x.numel(), 1)
