"""A shallow fully convolutional network: fine detail, a small field of view, no padding. For matching by dense
features.

In the spirit of SFcNet (Zhang, Lei, Zou et al., "Explore better network framework for high-resolution optical and SAR
image matching", TGRS 2022): a few 3x3 convolutions keep the place of an edge that deep networks blur. Ours: the first
one has stride 2, which loses little at a few pixels of registration error and saves three quarters of the work; no
convolution pads, so no feature depends on where the border of a patch lies.
"""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (32, 32, 32, 32, 32)
STRIDES = (2, 1, 1, 1, 1)


class Shallow(nn.Module):
    """Five units of 3x3 convolution, batch norm and ReLU. Keys: `units.{i}.{0,1}.*`, i = 0..4."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *WIDTHS[:-1])
        self.units = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=stride, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
            for a, b, stride in zip(inputs, WIDTHS, STRIDES, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to the outputs of the last four units, 32 channels at stride 2, each 2 shorter than the one
        before.
        """
        outputs = []
        for unit in self.units:
            x = unit(x)
            outputs.append(x)
        return outputs[-4:]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the last unit's output, (N, 32, h, w) h = (H - 3) // 2 - 7."""
        return self.forward_stages(x)[-1]


def shallow() -> nn.Module:
    """Return the network, 32 output channels at stride 2."""
    return Shallow()
