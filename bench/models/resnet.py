"""ResNet backbones: torchvision's own network without pooling and classifier, so its key layout is our neutral one.

Owns the stage outputs; the network itself is torchvision's (He et al., Deep Residual Learning for Image Recognition,
CVPR 2016; stride in the 3x3 convolution of a bottleneck).
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet


class ResNetBackbone(ResNet):
    """A ResNet that returns feature maps.

    Keys: `conv1.weight`, `bn1.*`, `layer{1-4}.{block}.conv{1-3}.weight`, `.bn{1-3}.*`, `.downsample.{0,1}.*`.
    """

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], layers: list[int]) -> None:
        super().__init__(block, layers, num_classes=1)
        del self.fc, self.avgpool

    def forward_stages(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to the outputs of the four stages, at strides 4, 8, 16 and 32."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        stages = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            stages.append(x)
        return stages

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to the last stage, (N, C, H/32, W/32) with sizes rounded up."""
        return self.forward_stages(x)[-1]


def resnet18() -> nn.Module:
    """Return ResNet-18, 512 output channels."""
    return ResNetBackbone(BasicBlock, [2, 2, 2, 2])


def resnet34() -> nn.Module:
    """Return ResNet-34, 512 output channels."""
    return ResNetBackbone(BasicBlock, [3, 4, 6, 3])


def resnet50() -> nn.Module:
    """Return ResNet-50, 2048 output channels."""
    return ResNetBackbone(Bottleneck, [3, 4, 6, 3])
