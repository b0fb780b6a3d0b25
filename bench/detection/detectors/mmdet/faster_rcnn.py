"""Faster R-CNN with a feature pyramid (Ren et al., NeurIPS 2015; Lin et al., CVPR 2017) on a ResNet or
EfficientNet-Lite0, through mmdet.

Beside what `models.py` changes for all: RoIAlign runs through torchvision (`roi_align.py`), with or without a compiled
mmcv: the same numbers, and channels-last memory is safe. Anchors and proposals that lie by half in a box to ignore are
left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.core.options import later
from bench.detection.detectors.mmdet.base import MmdetDetector, MmdetOptions

if TYPE_CHECKING:
    from bench.detection.detectors.mmdet.models import DetectorNetwork


class FasterRcnnOptions(MmdetOptions):
    """Options of `faster-rcnn`; the defaults are mmdet's. A small machine takes fpn_channels and rpn_channels 64,
    roi_fc 256, roi_samples 128 and 300 proposals.

    Attributes:
        fpn_channels, rpn_channels: of the pyramid, and of the convolution of the region proposal network.
        roi_fc: width of the two linear layers of the RoI head.
        levels: of the pyramid that the region proposal network looks at, finest first; 4 leaves out the anchors at
            stride 64.
        anchor_scales: edge of the anchors of a level in units of its stride (4, 8, 16, 32, 64 px).
        anchor_ratios: height by width of the anchors.
        train_proposals, test_proposals: proposals an image that reach the RoI head (before sampling, in training).
        rpn_samples, roi_samples: anchors and proposals an image that the losses are made of.
    """

    fpn_channels: int = Field(default=256, ge=8)
    rpn_channels: int = Field(default=256, ge=8)
    roi_fc: int = Field(default=1024, ge=8)
    levels: int = later(5, ge=4, le=5)
    anchor_scales: tuple[float, ...] = Field(default=(8.0,), min_length=1)
    anchor_ratios: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    train_proposals: int = Field(default=1000, ge=1)
    test_proposals: int = Field(default=1000, ge=1)
    rpn_samples: int = Field(default=256, ge=2)
    roi_samples: int = Field(default=512, ge=2)


class FasterRcnn(MmdetDetector[FasterRcnnOptions]):
    """Faster R-CNN on ResNet-50, ResNet-18, ResNet-34 or EfficientNet-Lite0."""

    version = 1
    Options = FasterRcnnOptions
    backbones = ("resnet50", "resnet18", "resnet34", "efficientnet-lite0")

    def _build(self, backbone: str | None) -> DetectorNetwork:
        from torch import nn

        from bench.detection.detectors.mmdet.heads import SampleCount, hand_on_full_precision
        from bench.detection.detectors.mmdet.ignore import heed_ignored
        from bench.detection.detectors.mmdet.models import DetectorNetwork, base_config, build, limit
        from bench.detection.detectors.mmdet.roi_align import ImageParallelRoIAlign

        options = self.options
        config = base_config("_base_/models/faster-rcnn_r50_fpn.py", str(backbone), options)
        rpn, roi, train, test = config["rpn_head"], config["roi_head"], config["train_cfg"], config["test_cfg"]
        config["neck"].update(out_channels=options.fpn_channels, num_outs=options.levels)
        rpn.update(in_channels=options.fpn_channels, feat_channels=options.rpn_channels)
        anchors = rpn["anchor_generator"]
        anchors.update(scales=list(options.anchor_scales), ratios=list(options.anchor_ratios))
        anchors.update(strides=anchors["strides"][: options.levels])
        roi["bbox_roi_extractor"].update(out_channels=options.fpn_channels)
        roi["bbox_roi_extractor"]["roi_layer"].update(use_torchvision=True)
        roi["bbox_head"].update(num_classes=1, in_channels=options.fpn_channels, fc_out_channels=options.roi_fc)
        for stage, samples in (("rpn", options.rpn_samples), ("rcnn", options.roi_samples)):
            heed_ignored(train[stage]["assigner"])
            train[stage]["sampler"].update(num=samples)
        train["rpn_proposal"].update(nms_pre=2 * options.train_proposals, max_per_img=options.train_proposals)
        test["rpn"].update(nms_pre=max(1000, options.test_proposals), max_per_img=options.test_proposals)
        limit(test["rcnn"], options)
        model = build(config)
        extractor, head = model.roi_head.bbox_roi_extractor, model.roi_head.bbox_head
        extractor.roi_layers = nn.ModuleList(
            ImageParallelRoIAlign(each.output_size, each.spatial_scale, each.sampling_ratio)
            for each in extractor.roi_layers
        )
        tried, regions = SampleCount.of_anchors(model.rpn_head), SampleCount.of_regions(head)
        for part in (model.neck, model.rpn_head, head):
            hand_on_full_precision(part)
        losses = {"loss_rpn_cls": tried, "loss_rpn_bbox": tried, "loss_cls": regions, "loss_bbox": regions}
        return DetectorNetwork(model, str(backbone), options, {**losses, "acc": None})
