"""A detector of mmdet in one file: `retinanet` (Lin et al., ICCV 2017) on a ResNet, from mmdet's own configuration.

Tiles, augmentation, training with exact resume, pretraining arms, merging, state and scores are the base class's. This
file names the configuration file inside mmdet's wheel, the options, and what the losses are divided by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from bench.core.registries import DETECTORS
from bench.detection.detectors.mmdet.base import MmdetDetector, MmdetOptions

if TYPE_CHECKING:
    from bench.detection.detectors.mmdet.models import DetectorNetwork


class RetinaNetOptions(MmdetOptions):
    """Those of every mmdet detector, and the width of the pyramid and of the head, the depth of the head, and the edge
    of the smallest anchor of a level in units of its stride (8 to 128 px).
    """

    channels: int = Field(default=256, ge=8)
    depth: int = Field(default=4, ge=1)
    anchor_scale: float = Field(default=4.0, gt=0)


@DETECTORS.register("retinanet", "RetinaNet on a ResNet (Lin et al. 2017), through mmdet")
class RetinaNet(MmdetDetector[RetinaNetOptions]):
    """RetinaNet on ResNet-50, ResNet-18 or ResNet-34."""

    version = 1
    Options = RetinaNetOptions
    backbones = ("resnet50", "resnet18", "resnet34")

    def _build(self, backbone: str | None) -> DetectorNetwork:
        # torch and mmdet are imported here and not above, so that `bench plan` and `bench list` do without
        from bench.detection.detectors.mmdet.heads import SampleCount, hand_on_full_precision
        from bench.detection.detectors.mmdet.ignore import heed_ignored
        from bench.detection.detectors.mmdet.models import DetectorNetwork, base_config, build, limit

        options = self.options
        config = base_config("_base_/models/retinanet_r50_fpn.py", str(backbone), options)
        config["neck"].update(out_channels=options.channels)
        head = config["bbox_head"]
        head.update(num_classes=1, in_channels=options.channels, feat_channels=options.channels)
        head.update(stacked_convs=options.depth)
        head["anchor_generator"].update(octave_base_scale=options.anchor_scale)
        heed_ignored(config["train_cfg"]["assigner"])
        limit(config["test_cfg"], options)
        model = build(config)
        hand_on_full_precision(model.bbox_head)
        anchors = SampleCount.of_anchors(model.bbox_head)
        return DetectorNetwork(model, str(backbone), options, {"loss_cls": anchors, "loss_bbox": anchors})
