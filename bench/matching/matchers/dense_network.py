"""The network of `dense` and its loss over correlation surfaces (torch; imported at execution time only).

Two branches that share no weights turn a patch into a map of unit feature vectors at stride 2. A template cut from the
optical map is correlated with the whole SAR map at every shift: normalised cross-correlation summed over the channels,
each channel's mean over the window removed, as in `correlation.py`. Loss: of all shifts of all pairings in a batch, the
shifts near the true one of the true pair must win.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.registries import BACKBONES
from bench.models.backbones import BackboneFacts
from bench.training.parallel import full_precision, gather

STRIDE = 2
_TINY = 1e-6  # energy per feature pixel below which a window counts as empty


class PyramidHead(nn.Module):
    """One map at stride 2 out of the stages of a backbone: a top-down path as in a feature pyramid (Lin et al., CVPR
    2017), so that every stage takes part, and with it every tensor of the backbone; a network without a pyramid gives
    its last stage alone.
    """

    def __init__(self, facts: BackboneFacts, dim: int) -> None:
        super().__init__()
        self.pyramid = facts.pyramid
        used = facts.out_channels if self.pyramid else facts.out_channels[-1:]
        self.lateral = nn.ModuleList(nn.Conv2d(inputs, dim, 1) for inputs in used)
        self.up = facts.strides[0] // STRIDE if self.pyramid else 1

    def forward(self, stages: list[Tensor]) -> Tensor:
        """n stages (b, C_i, h_i, w_i) -> (b, dim, h, w), vectors of norm 1."""
        return F.normalize(self.merged(stages).float(), dim=1)

    def merged(self, stages: list[Tensor]) -> Tensor:
        """As `forward`, vectors of any length."""
        used = stages if self.pyramid else stages[-1:]
        merged: Tensor = self.lateral[-1](used[-1])
        for lateral, stage in zip(list(self.lateral)[-2::-1], used[-2::-1], strict=True):
            merged = lateral(stage) + F.interpolate(merged, size=stage.shape[-2:], mode="bilinear", align_corners=False)
        if self.up > 1:
            merged = F.interpolate(merged, scale_factor=self.up, mode="bilinear", align_corners=False)
        return merged


class DenseBranch(nn.Module):
    """One view: normalise the input, backbone, head."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str, dim: int) -> None:
        super().__init__()
        facts = BACKBONES.get(backbone)
        self.backbone = facts.build()
        self.head = PyramidHead(facts, dim)
        self.register_buffer("mean", torch.tensor(facts.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(facts.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) in [0, 1] -> (n, dim, h', w') at stride 2."""
        features: Tensor = self.head(self.backbone.forward_stages((images - self.mean) / self.std))
        return features


class DenseNetwork(nn.Module):
    """Both branches and the loss.

    Args:
        max_shift: shifts looked at on each side, in feature px (2 px of the patch).
        tolerance: shifts up to this many feature px beside the true one count as true: registration is not exact.
        temperature: divides the correlations in the loss.
    """

    def __init__(self, backbone: str, dim: int, max_shift: int, tolerance: int, temperature: float) -> None:
        super().__init__()
        self.max_shift, self.tolerance, self.temperature = max_shift, tolerance, temperature
        self.memory_format = torch.contiguous_format
        self.sar = DenseBranch(backbone, dim)
        self.optical = DenseBranch(backbone, dim)

    def use_channels_last(self) -> None:
        """Keep weights and images in channels-last memory format from now on."""
        self.memory_format = torch.channels_last
        self.to(memory_format=torch.channels_last)

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """Return the parts whose inputs have one size throughout a training, and which of their methods is called."""
        return [(branch.backbone, "forward_stages") for branch in (self.sar, self.optical)]

    def features(self, view: str, images: Tensor) -> Tensor:
        """(n, h, w) SAR or (n, h, w, 3) optical, float32 in [0, 1] -> (n, dim, h', w') fp32."""
        if view == "sar":
            branch, channels = self.sar, images[:, None].expand(-1, 3, -1, -1)
        else:
            branch, channels = self.optical, images.permute(0, 3, 1, 2)
        features: Tensor = branch(channels.contiguous(memory_format=self.memory_format))
        return features

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean over the pairs of -log of the share of exp(correlation / temperature) that lies at the true pair and
        shift.

        Once among all optical templates for a SAR area, once among all SAR areas for a template.

        Args:
            batch: sar (n, h, w), optical (n, h, w, 3), shift (n, 2) int64: what the optical crop shows at y, x stands
                at y + 2 shift[0], x + 2 shift[1] in the SAR crop.
        """
        sar, optical = gather(self.features("sar", batch["sar"])), gather(self.features("optical", batch["optical"]))
        shift = gather(batch["shift"].float()).long()
        with full_precision(sar.device):
            logits = correlation_surfaces(sar, templates_of(optical, self.max_shift), self.max_shift) / self.temperature
            n, span = len(logits), 2 * self.max_shift + 1
            own = logits[torch.arange(n), torch.arange(n)]
            grid = torch.arange(span, device=logits.device) - self.max_shift
            near = (
                (grid[None] - shift[:, :1]).abs() <= self.tolerance,
                (grid[None] - shift[:, 1:]).abs() <= self.tolerance,
            )
            true = (near[0][:, :, None] & near[1][:, None, :]).flatten(1)
            won = own.flatten(1).masked_fill(~true, -torch.inf).logsumexp(1)
            by_row, by_column = (
                logits.permute(0, 2, 3, 1).flatten(1).logsumexp(1),
                logits.permute(1, 2, 3, 0).flatten(1).logsumexp(1),
            )
        return {"loss": (0.5 * (by_row + by_column) - won).mean()}


def templates_of(features: Tensor, max_shift: int) -> Tensor:
    """Return (n, C, h, w) cut back by `max_shift` on each side, each channel without its mean, of norm 1 over all (0
    where empty).
    """
    height, width = features.shape[-2:]
    cut = features[:, :, max_shift : height - max_shift, max_shift : width - max_shift]
    cut = cut - cut.mean((2, 3), keepdim=True)
    energy = cut.square().sum((1, 2, 3), keepdim=True)
    filled = energy > _TINY * cut.shape[-1] * cut.shape[-2]
    return torch.where(filled, cut / torch.where(filled, energy, 1.0).sqrt(), 0.0)


def window_energies(areas: Tensor, template: tuple[int, int]) -> Tensor:
    """Return the energy of (n, C, h, w), each channel without its mean over the window, in each window of that size:
    (n, K, L).
    """
    size = template[0] * template[1]
    total = F.avg_pool2d(areas.square().sum(1, keepdim=True), template, stride=1)[:, 0] * size
    means = F.avg_pool2d(areas, template, stride=1)
    energy = total - size * means.square().sum(1)
    return torch.where(energy > _TINY * size, energy, 0.0).clamp_min(0)


def spectra_of(areas: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the real FFT of (n, C, h, w) at `size`."""
    spectra: Tensor = torch.fft.rfft2(areas, s=size)
    return spectra


def correlation_surfaces(areas: Tensor, templates: Tensor, max_shift: int) -> Tensor:
    """Return the normalised correlation of every area with every template at every shift, in -1..1.

    Args:
        areas: (n, C, h, w). templates: (m, C, h - 2 s, w - 2 s) out of `templates_of`, s = `max_shift`.

    Returns:
        (n, m, 2 s + 1, 2 s + 1); the middle is shift (0, 0), and later rows mean that the content stands further down
        in the area.
    """
    centred = areas - areas.mean((2, 3), keepdim=True)
    size = (areas.shape[-2], areas.shape[-1])
    span = 2 * max_shift + 1
    a, t = spectra_of(centred, size), spectra_of(templates, size).conj()
    product = torch.einsum("nchw,mchw->nmhw", a, t)
    raw = torch.fft.irfft2(product, s=size)[..., :span, :span]
    return over_norms(raw, window_energies(centred, (templates.shape[-2], templates.shape[-1]))[:, None])


def over_norms(raw: Tensor, energy: Tensor) -> Tensor:
    """Return raw correlations over the root of the windows' energies, 0 where a window is empty."""
    return torch.where(energy > 0, raw / torch.where(energy > 0, energy, 1.0).sqrt(), 0.0)
