"""Darknet-53 of our own: the backbone of YOLOv3 (Redmon and Farhadi, An Incremental Improvement, 2018, table 1).

Owns the network and the neutral key layout; maps from and to other frameworks' keys live in `keymaps.py`. 52
convolutions, each followed by batch normalisation (eps 1e-5, as the darknet GPU kernels have it) and LeakyReLU with
slope 0.1; the residual sum comes after the activation.
"""

from __future__ import annotations

from torch import Tensor, nn

BLOCKS = (1, 2, 8, 8, 4)
LEAKY_SLOPE = 0.1
BN_EPS = 1e-5


class ConvUnit(nn.Module):
    """Convolution without bias, batch normalisation, LeakyReLU. Keys: `conv.weight`, `bn.*`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=BN_EPS)
        self.act = nn.LeakyReLU(LEAKY_SLOPE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/stride, W/stride), rounded up."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class Residual(nn.Module):
    """A 1x1 unit that halves the channels, a 3x3 unit that restores them, a sum. Keys: `reduce.*`, `expand.*`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvUnit(channels, channels // 2, 1)
        self.expand = ConvUnit(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        out: Tensor = x + self.expand(self.reduce(x))
        return out


class Stage(nn.Module):
    """A 3x3 unit of stride 2 that doubles the channels, then residual blocks. Keys: `down.*`, `blocks.{j}.*`."""

    def __init__(self, inputs: int, blocks: int) -> None:
        super().__init__()
        self.down = ConvUnit(inputs, 2 * inputs, 3, stride=2)
        self.blocks = nn.Sequential(*(Residual(2 * inputs) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, 2 inputs, H/2, W/2), rounded up."""
        out: Tensor = self.blocks(self.down(x))
        return out


class Darknet53(nn.Module):
    """Darknet-53 without pooling and classifier.

    Neutral keys: `stem.{conv,bn}.*`, `stages.{i}.down.{conv,bn}.*`,
    `stages.{i}.blocks.{j}.{reduce,expand}.{conv,bn}.*`, i = 0..4.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvUnit(3, 32, 3)
        self.stages = nn.ModuleList(Stage(32 * 2**i, blocks) for i, blocks in enumerate(BLOCKS))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=LEAKY_SLOPE, mode="fan_out", nonlinearity="leaky_relu")

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to the outputs at strides 4, 8, 16 and 32: 128, 256, 512 and 1024 channels."""
        x = self.stem(x)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs[1:]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the last stage, (N, 1024, H/32, W/32) with sizes rounded up."""
        return self.forward_stages(x)[-1]


def darknet53() -> nn.Module:
    """Return Darknet-53, 1024 output channels, 40,584,928 parameters."""
    return Darknet53()
