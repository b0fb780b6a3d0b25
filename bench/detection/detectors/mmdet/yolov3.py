"""YOLOv3 with its original anchor-based head (Redmon and Farhadi 2018) on Darknet-53 or EfficientNet-Lite0, through
mmdet. On the small backbone, neck and head have 96 channels on each level, as in mmdet's own `yolov3_mobilenetv2`.

Beside what `models.py` changes for all: its losses, sums over the images of a GPU in mmdet, are divided by the batch
size; anchors whose cell has its centre in a box to ignore are no background; its candidates are not cut to the 1,000
best by class score before objectness enters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from bench.detection.detectors.mmdet.base import MmdetDetector, MmdetOptions

if TYPE_CHECKING:
    from bench.detection.detectors.mmdet.models import DetectorNetwork

SMALL_CHANNELS = {"efficientnet-lite0": [96, 96, 96]}  # of neck and head, at stride 32, 16 and 8
LOSSES = ("loss_cls", "loss_conf", "loss_xy", "loss_wh")
ALL_CANDIDATES = 1_000_000

Size = tuple[float, float]
Level = tuple[Size, Size, Size]


class YoloV3Options(MmdetOptions):
    """Options of `yolov3`. The rate, decay and clipping are mmdet's, converted for losses that are means over tiles.

    mmdet sums the losses over the 8 images of each GPU, averages the gradients of 8 GPUs and takes lr 0.001, weight
    decay 0.0005 and clipping at 35 for the 64 images: with the mean over tiles, lr 0.008 a 64 tiles (linear in the
    batch: 0.000125 a tile), decay 0.0005 / 8 and clipping at 35 / 8 are the same steps.

    Attributes:
        anchors: (width, height) in pixels of the three anchors at stride 32, 16 and 8; the defaults were clustered on
            COCO at 608 px.
    """

    batch_size: int = Field(default=8, ge=2)
    lr: float = Field(default=0.001, gt=0)
    weight_decay: float = Field(default=0.0000625, ge=0)
    clip_norm: float | None = Field(default=4.375, gt=0)
    nms_iou: float = Field(default=0.45, gt=0, lt=1)
    anchors: tuple[Level, Level, Level] = (
        ((116, 90), (156, 198), (373, 326)),
        ((30, 61), (62, 45), (59, 119)),
        ((10, 13), (16, 30), (33, 23)),
    )

    @field_validator("anchors")
    @classmethod
    def _positive(cls, anchors: tuple[Level, Level, Level]) -> tuple[Level, Level, Level]:
        if any(side <= 0 for level in anchors for size in level for side in size):
            raise ValueError("anchors need widths and heights above 0")
        return anchors


class YoloV3(MmdetDetector[YoloV3Options]):
    """YOLOv3 on Darknet-53 or EfficientNet-Lite0."""

    version = 1
    Options = YoloV3Options
    backbones = ("darknet53", "efficientnet-lite0")

    def _build(self, backbone: str | None) -> DetectorNetwork:
        from bench.detection.detectors.mmdet.heads import hand_on_full_precision
        from bench.detection.detectors.mmdet.ignore import ignoring_yolo_head
        from bench.detection.detectors.mmdet.models import DetectorNetwork, base_config, build, limit

        options = self.options
        config = base_config("yolo/yolov3_d53_8xb8-ms-608-273e_coco.py", str(backbone), options)
        head, test = config["bbox_head"], config["test_cfg"]
        head.update(type=ignoring_yolo_head(), num_classes=1)
        if backbone in SMALL_CHANNELS:
            channels = SMALL_CHANNELS[backbone]
            config["neck"].update(out_channels=channels)
            head.update(in_channels=channels, out_channels=channels)
        head["anchor_generator"].update(base_sizes=[[tuple(size) for size in level] for level in options.anchors])
        test.update(nms_pre=ALL_CANDIDATES, conf_thr=options.score_floor)
        limit(test, options)
        model = build(config)
        hand_on_full_precision(model.bbox_head)
        return DetectorNetwork(model, str(backbone), options, dict.fromkeys(LOSSES), divide=True)
