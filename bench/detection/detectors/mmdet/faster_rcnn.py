"""Faster R-CNN with a feature pyramid (Ren et al., NeurIPS 2015; Lin et al., CVPR 2017) on a ResNet, through mmdet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.detection.detectors.mmdet.base import MmdetDetector, MmdetOptions

if TYPE_CHECKING:
    from bench.detection.detectors.mmdet.models import DetectorNetwork


class FasterRcnnOptions(MmdetOptions):
    """Options of `faster-rcnn`; the defaults are mmdet's. A small machine takes fpn_channels and rpn_channels 64,
    roi_fc 256, roi_samples 128 and 300 proposals.

    Attributes:
        fpn_channels, rpn_channels: of the pyramid, and of the convolution of the region proposal network.
        roi_fc: width of the two linear layers of the RoI head.
        anchor_scales: edge of the anchors of a level in units of its stride (4, 8, 16, 32, 64 px).
        anchor_ratios: height by width of the anchors.
        train_proposals, test_proposals: proposals an image that reach the RoI head (before sampling, in training).
        rpn_samples, roi_samples: anchors and proposals an image that the losses are made of.
    """

    fpn_channels: int = Field(default=256, ge=8)
    rpn_channels: int = Field(default=256, ge=8)
    roi_fc: int = Field(default=1024, ge=8)
    anchor_scales: tuple[float, ...] = Field(default=(8.0,), min_length=1)
    anchor_ratios: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    train_proposals: int = Field(default=1000, ge=1)
    test_proposals: int = Field(default=1000, ge=1)
    rpn_samples: int = Field(default=256, ge=2)
    roi_samples: int = Field(default=512, ge=2)


class FasterRcnn(MmdetDetector[FasterRcnnOptions]):
    """Faster R-CNN on ResNet-50, ResNet-18 or ResNet-34."""

    version = 1
    Options = FasterRcnnOptions
    backbones = ("resnet50", "resnet18", "resnet34")

    def _build(self, backbone: str | None) -> DetectorNetwork:
        from bench.detection.detectors.mmdet.models import build_faster_rcnn

        return build_faster_rcnn(str(backbone), self.options)
