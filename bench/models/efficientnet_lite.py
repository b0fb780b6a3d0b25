"""EfficientNet-Lite0 of our own: a small network of depthwise convolutions whose ImageNet weights a package carries.

The network is that of the TensorFlow authors (Tan & Le, EfficientNet, ICML 2019; the Lite variants of March 2020: no
squeeze-and-excitation, ReLU6), without the 1280-channel head and classifier. Its names, and so our neutral layout, are
those of timm's `tf_efficientnet_lite0`, with equal activations; epsilon of batch norm 1e-3, and padding of strided
convolutions like TensorFlow's "SAME" (on even sizes one pixel more right and below).

Two things are fixed here, whatever the options:

- Batch norm has momentum 0.1, as torch's other networks. TensorFlow's 0.01 is for trainings of hundreds of thousands of
  steps; in a short one the running statistics lag behind and evaluation sees another network than training.
- It computes in channels-last memory format, in which depthwise convolutions are faster on a CPU, and hands its maps on
  in it, whatever the option `channels_last` says (of the rest of a network).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BN_EPS, BN_MOMENTUM = 1e-3, 0.1
STEM = 32
# blocks, kernel, stride, expansion, output channels
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
ENDS = (1, 2, 4, 6)  # the stages at whose end the stride is 4, 8, 16 and 32


class SameConv(nn.Conv2d):
    """A convolution without bias whose output has the input's size divided by the stride, rounded up."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding=padding, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/stride, W/stride), rounded up."""
        step, kernel = self.stride[0], self.kernel_size[0]
        if step > 1:
            height, width = (max((-(-side // step) - 1) * step + kernel - side, 0) for side in input.shape[2:])
            input = F.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(input)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)


class Separable(nn.Module):
    """Depthwise convolution, then a linear 1x1. Keys: `conv_dw`, `bn1`, `conv_pw`, `bn2`."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw, self.bn1 = SameConv(inputs, inputs, kernel, groups=inputs), _norm(inputs)
        self.conv_pw, self.bn2 = SameConv(inputs, outputs, 1), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        out: Tensor = self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)))))
        return out


class InvertedResidual(nn.Module):
    """A 1x1 that widens, a depthwise convolution, a linear 1x1 that narrows; a sum where the shapes allow it. Keys:
    `conv_pw`, `bn1`, `conv_dw`, `bn2`, `conv_pwl`, `bn3`.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.conv_pw, self.bn1 = SameConv(inputs, wide, 1), _norm(wide)
        self.conv_dw, self.bn2 = SameConv(wide, wide, kernel, stride, groups=wide), _norm(wide)
        self.conv_pwl, self.bn3 = SameConv(wide, outputs, 1), _norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/stride, W/stride), rounded up."""
        wide = F.relu6(self.bn2(self.conv_dw(F.relu6(self.bn1(self.conv_pw(x))))))
        out: Tensor = self.bn3(self.conv_pwl(wide))
        return x + out if self.residual else out


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without head, pooling and classifier.

    Neutral keys: `conv_stem.weight`, `bn1.*`, `blocks.{i}.{j}.` and those of the two kinds of blocks, i = 0..6.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = SameConv(3, STEM, 3, 2), _norm(STEM)
        stages, inputs = [], STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            blocks: list[nn.Module] = []
            for j in range(count):
                blocks.append(
                    Separable(inputs, outputs, kernel)
                    if expansion == 1
                    else InvertedResidual(inputs, outputs, kernel, stride if j == 0 else 1, expansion)
                )
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # what one output feeds, within its group
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        self.to(memory_format=torch.channels_last)

    def parts(self) -> list[list[nn.Module]]:
        """Return the modules of the stem and of the four stages, for whoever freezes some."""
        starts = (0, *(end + 1 for end in ENDS[:-1]))
        stages = [list(self.blocks[start : end + 1]) for start, end in zip(starts, ENDS, strict=True)]
        return [[self.conv_stem, self.bn1], *stages]

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to the outputs at strides 4, 8, 16 and 32: 24, 40, 112 and 320 channels, sizes rounded up at
        each halving.
        """
        x = F.relu6(self.bn1(self.conv_stem(x.contiguous(memory_format=torch.channels_last))))
        outputs = []
        for i, stage in enumerate(self.blocks):
            x = stage(x)
            if i in ENDS:
                outputs.append(x)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the last stage, (N, 320, H/32, W/32) with sizes rounded up."""
        return self.forward_stages(x)[-1]


def efficientnet_lite0() -> nn.Module:
    """Return EfficientNet-Lite0, 320 output channels, 2,958,848 parameters."""
    return EfficientNetLite0()
