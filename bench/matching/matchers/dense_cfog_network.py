"""The network of `dense-cfog` and its loss (torch; imported at execution time only).

Features of a view = an isometry of its CFOG channels + what a small network adds to them, which begins near zero: the
untrained matcher compares as `cfog` does. The network sees pixels and CFOG channels, all at stride 2. Features are not
normalised: where they are long a place counts for more. The loss looks at the correlation surfaces of all pairings of a
batch: the true pair at its true shift must win, both ways, and the peak of a pair must say by itself, at one learned
threshold, whether it is true.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.registries import BACKBONES
from bench.matching.matchers.correlation import LUMINANCE, radius_of
from bench.matching.matchers.dense_network import PyramidHead
from bench.matching.matchers.overlap import as_map, surfaces
from bench.training.parallel import full_precision, gather

STRIDE = 2
ORIENTATIONS = 9
GRADIENT_SIGMA, SIGMA = 1.0, 1.5  # px, as in `cfog`
_RADIUS, _WIDE = radius_of(GRADIENT_SIGMA), radius_of(SIGMA)
MARGIN = _RADIUS + 1 + _WIDE  # px that the filters of CFOG reach beyond a pixel
_ROUNDING = 2e-6  # as in `cfog`: gradients below this share of the grey level are rounding
_DARK = 1 / 255  # added before the logarithm
_START = 0.1  # of the last layer's usual weights, and of what a backbone adds
_BESIDE = 32  # px that a patch is continued by before a backbone, its largest stride
_TEMPERATURE, _THRESHOLD, _STEEPNESS = 0.04, 0.3, 15.0  # where the learned ones begin


class CfogChannels(nn.Module):
    """CFOG at stride 2: (n, 1, h, w) grey -> (n, 9, ceil(h / 2), ceil(w / 2)), the patch continued by its outermost
    pixels; each pixel of norm 1, or 0 where there is nothing.
    """

    fine: Tensor
    wide: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(ORIENTATIONS) * (math.pi / ORIENTATIONS)
        for name, values in (
            ("fine", _taps(GRADIENT_SIGMA)),
            ("wide", _taps(SIGMA)),
            ("cos", angles.cos().view(1, -1, 1, 1)),
            ("sin", angles.sin().view(1, -1, 1, 1)),
        ):
            self.register_buffer(name, values, persistent=False)

    def forward(self, grey: Tensor) -> Tensor:
        smooth = _separable(F.pad(grey, [MARGIN] * 4, mode="replicate"), self.fine, 1)
        gx, gy = smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2], smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]
        nothing = torch.maximum(gx.abs(), gy.abs()) <= _ROUNDING * smooth[..., 1:-1, 1:-1].abs()
        gx, gy = gx.masked_fill(nothing, 0.0), gy.masked_fill(nothing, 0.0)
        channels = _separable((self.cos * gx + self.sin * gy).abs(), self.wide, STRIDE)
        channels = channels.roll(1, 1) + 2 * channels + channels.roll(-1, 1)
        peak = channels.amax(1, keepdim=True)
        channels = channels / torch.where(peak > 0, peak, 1.0)
        length = channels.square().sum(1, keepdim=True).sqrt()
        return channels / torch.where(length > 0, length, 1.0)


class CfogBranch(nn.Module):
    """What the branches share: CFOG of the view, to which what is learned is added or not (`residual`)."""

    luminance: Tensor

    def __init__(self, bands: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.cfog = CfogChannels()
        weights = torch.tensor(LUMINANCE if bands == len(LUMINANCE) else (1.0,)).view(1, -1, 1, 1)
        self.register_buffer("luminance", weights, persistent=False)

    def channels(self, images: Tensor) -> Tensor:
        """(n, bands, h, w) -> (n, 9, h / 2, w / 2) fp32, without gradient."""
        with full_precision(images.device), torch.no_grad():
            found: Tensor = self.cfog((images * self.luminance).sum(1, keepdim=True))
        return found

    def with_channels(self, learned: Tensor, channels: Tensor, isometry: Tensor) -> Tensor:
        """Return what is learned, (n, dim, h / 2, w / 2), plus the isometry of the CFOG channels."""
        with full_precision(learned.device):
            return torch.einsum("dc,nchw->ndhw", isometry, channels) + learned


class Branch(CfogBranch):
    """One view.

    Args:
        bands: of an image. dim: feature channels. width: channels inside. dilations: of the 3 x 3 convolutions before
            the last one. log: whether the network sees logarithms of pixels. residual: whether CFOG is added.
    """

    def __init__(self, bands: int, dim: int, width: int, dilations: Sequence[int], log: bool, residual: bool) -> None:
        super().__init__(bands, residual)
        self.log = log
        inputs = [bands * STRIDE**2 + ORIENTATIONS, *[width] * (len(dilations) - 1)]
        layers: list[nn.Module] = []
        for channels, dilation in zip(inputs, dilations, strict=True):
            layers += [_conv(channels, width, dilation), nn.ReLU(inplace=True)]
        last = _conv(width, dim, 1)
        with torch.no_grad():
            last.weight.mul_(_START if residual else 1.0)
            last.bias.zero_()  # type: ignore[union-attr]  # it has one
        self.body = nn.Sequential(*layers, last)

    def forward(self, images: Tensor, isometry: Tensor, memory_format: torch.memory_format) -> Tensor:
        """(n, bands, h, w) in [0, 1], h and w even -> (n, dim, h / 2, w / 2) fp32."""
        channels = self.channels(images)
        with full_precision(images.device), torch.no_grad():
            pixels = (images + _DARK).log() if self.log else images
            spread, mean = torch.std_mean(pixels, (1, 2, 3), keepdim=True)
            pixels = (pixels - mean) / (spread + 0.1)
            seen = torch.cat([F.pixel_unshuffle(pixels, STRIDE), channels], 1).contiguous(memory_format=memory_format)
        learned: Tensor = self.body(seen).float()
        return self.with_channels(learned, channels, isometry) if self.residual else learned

    def compilable(self) -> list[nn.Module | tuple[nn.Module, str]]:
        """Return the parts that torch.compile may take."""
        return [self.body]


class PyramidBranch(CfogBranch):
    """One view, with all stages of a backbone, merged top-down, in place of the small network.

    The backbone sees pixels as everywhere else (its own normalisation, SAR as three equal channels), so that it may
    start from ImageNet weights and start a detector. A patch is continued by its outermost pixels before it.

    Args:
        backbone: registry name. bands: of an image. dim: feature channels. residual: whether CFOG is added.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str, bands: int, dim: int, residual: bool) -> None:
        super().__init__(bands, residual)
        facts = BACKBONES.get(backbone)
        self.backbone = facts.build()
        self.head = PyramidHead(facts, dim)
        self.scale = nn.Parameter(torch.tensor(_START if residual else 1.0))
        for name, values in (("mean", facts.mean), ("std", facts.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor, isometry: Tensor, memory_format: torch.memory_format) -> Tensor:
        """(n, bands, h, w) in [0, 1], h and w even -> (n, dim, h / 2, w / 2) fp32."""
        height, width = (side // STRIDE for side in images.shape[-2:])
        seen = F.pad((images.expand(-1, 3, -1, -1) - self.mean) / self.std, [_BESIDE] * 4, mode="replicate")
        stages = self.backbone.forward_stages(seen.contiguous(memory_format=memory_format))
        cut = _BESIDE // STRIDE
        learned: Tensor = self.scale * self.head.merged(stages)[:, :, cut : cut + height, cut : cut + width].float()
        return self.with_channels(learned, self.channels(images), isometry) if self.residual else learned

    def compilable(self) -> list[nn.Module | tuple[nn.Module, str]]:
        """Return the part that torch.compile may take, and which of its methods is called."""
        return [(self.backbone, "forward_stages")]


class DenseCfogNetwork(nn.Module):
    """Both branches and the loss.

    Args:
        branch: makes the branch of a view out of its number of bands; a branch turns (n, bands, h, w) in [0, 1], the
            isometry and a memory format into (n, dim, h / 2, w / 2).
        dim: feature channels.
        ranges: side of a crop in px -> shifts looked at on each side, in feature px.
        tolerance: shifts up to this many feature px beside the true one count as true; None: all of a true pair's.
        margin: how many features on each side are cut off.
        threshold_loss: weight of the second part of the loss.
    """

    isometry: Tensor

    def __init__(
        self,
        branch: Callable[[int], Branch | PyramidBranch],
        dim: int,
        margin: int,
        ranges: dict[int, int],
        tolerance: int | None,
        threshold_loss: float,
    ) -> None:
        super().__init__()
        self.ranges, self.tolerance, self.threshold_loss = ranges, tolerance, threshold_loss
        self.memory_format = torch.contiguous_format
        self.margin = margin
        self.register_buffer("isometry", torch.linalg.qr(torch.randn(dim, ORIENTATIONS))[0])
        self.sar, self.optical = branch(1), branch(len(LUMINANCE))
        self.log_scale = nn.Parameter(torch.tensor(-math.log(_TEMPERATURE)))
        self.threshold = nn.Parameter(torch.tensor(_THRESHOLD))
        self.log_steepness = nn.Parameter(torch.tensor(math.log(_STEEPNESS)))

    def use_channels_last(self) -> None:
        """Keep weights and images in channels-last memory format from now on."""
        self.memory_format = torch.channels_last
        self.to(memory_format=torch.channels_last)

    def compilable(self) -> list[nn.Module | tuple[nn.Module, str]]:
        """Return the parts that torch.compile may take, and which of their methods is called."""
        return [*self.sar.compilable(), *self.optical.compilable()]

    def features(self, view: str, images: Tensor) -> Tensor:
        """(n, h, w) SAR or (n, h, w, 3) optical, float32 in [0, 1] -> (n, dim, h / 2 - 2 m, w / 2 - 2 m) fp32, m the
        margin; of an odd side the last pixel is left out.
        """
        height, width = (side - side % STRIDE for side in images.shape[1:3])
        images = images[:, :height, :width]
        branch, bands = (self.sar, images[:, None]) if view == "sar" else (self.optical, images.permute(0, 3, 1, 2))
        features: Tensor = branch(bands.contiguous(), self.isometry, self.memory_format)
        cut = slice(self.margin, -self.margin or None)
        return features[:, :, cut, cut]

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the two parts of the loss; see `surface_loss` and `threshold_loss`.

        Args:
            batch: sar (n, c, c), optical (n, c, c, 3), shift (n, 2) int64: what the optical crop shows at y, x stands
                at y + 2 shift[0], x + 2 shift[1] in the SAR crop.
        """
        reach = (self.ranges[int(batch["sar"].shape[-1])],) * 2
        sar, optical = gather(self.features("sar", batch["sar"])), gather(self.features("optical", batch["optical"]))
        shift = gather(batch["shift"].float()).long()
        with full_precision(sar.device):
            found = surfaces(as_map(sar, reach, False), as_map(optical, reach, True), reach)
            losses = {"loss_shift": surface_loss(found * self.log_scale.exp(), shift, self.tolerance)}
            if self.threshold_loss:
                logits = (found.flatten(2).amax(2) - self.threshold) * self.log_steepness.exp()
                losses["loss_threshold"] = self.threshold_loss * threshold_loss(logits)
        return losses


def surface_loss(logits: Tensor, shift: Tensor, tolerance: int | None) -> Tensor:
    """Return the mean over the pairs of -log of the share of exp(logit) that lies at the true pair and shift, once of
    all optical maps for a SAR map, once among all SAR maps for an optical one.

    Args:
        logits: (n, n, K, K); pair (i, i) is true, at `shift[i]` from the middle.
        tolerance: None takes every shift of a true pair for true.
    """
    n, span = len(logits), logits.shape[-1]
    rows = torch.arange(n, device=logits.device)
    own = logits[rows, rows].flatten(1)
    if tolerance is not None:
        grid = torch.arange(span, device=logits.device) - span // 2
        near_y, near_x = ((grid[None] - shift[:, axis : axis + 1]).abs() <= tolerance for axis in (0, 1))
        own = own.masked_fill(~(near_y[:, :, None] & near_x[:, None, :]).flatten(1), -torch.inf)
    won = own.logsumexp(1)
    each = logits.flatten(2).logsumexp(2)
    return (0.5 * (each.logsumexp(1) + each.logsumexp(0)) - won).mean()


def threshold_loss(logits: Tensor) -> Tensor:
    """Return the binary cross-entropy of (n, n) logits of "true pair", whose diagonal is true; both kinds weigh the
    same.
    """
    n = len(logits)
    each = F.binary_cross_entropy_with_logits(logits, torch.eye(n, device=logits.device), reduction="none")
    true = each.diagonal().mean()
    return true + (each.sum() - each.diagonal().sum()) / max(1, n * (n - 1))


def margin_of(dilations: Sequence[int]) -> int:
    """Return how many feature px from the border a feature depends on pixels beyond it."""
    return math.ceil(MARGIN / STRIDE) + sum(dilations) + 1


def _conv(inputs: int, outputs: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, padding_mode="replicate")


def _taps(sigma: float) -> Tensor:
    """Return a Gaussian cut at 3 sigma, of sum 1."""
    radius = radius_of(sigma)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    return taps / taps.sum()


def _separable(values: Tensor, taps: Tensor, stride: int) -> Tensor:
    """Return (n, C, h, w) filtered by `taps` along both axes, valid part only, every `stride`-th pixel."""
    channels = values.shape[1]
    down, across = taps.view(1, 1, -1, 1), taps.view(1, 1, 1, -1)
    values = F.conv2d(values, down.expand(channels, -1, -1, -1), stride=(stride, 1), groups=channels)
    return F.conv2d(values, across.expand(channels, -1, -1, -1), stride=(1, stride), groups=channels)
