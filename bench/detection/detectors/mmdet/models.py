"""mmdet's Faster R-CNN and YOLOv3 as networks that `bench.training.api` can train and that find boxes in tiles (torch,
mmdet; imported at execution time only).

The networks are those of the configuration files inside mmdet's wheel, found by path and changed here; what is changed,
and why:

- one class; no frozen stage, batch norm trained, unless the options say so for all arms of a comparison; no
  zero-initialised last norm of a residual block; no `init_cfg` of a backbone, so that nothing is fetched and nothing
  loaded loosely: `load_backbone` is the one way in.
- input normalisation: of our backbone facts, in [0, 1] units, inside the network; the single SAR channel is repeated.
  mmdet's preprocessor is not used.
- RoIAlign through torchvision (`roi_align.py`), with or without a compiled mmcv: the same numbers, and channels-last
  memory is safe.
- boxes to ignore count neither as ships nor as background: anchors and proposals that lie in one by half (Faster
  R-CNN), anchors whose cell has its centre in one (YOLOv3); see `ignore.py` for what mmdet does.
- YOLOv3's losses, sums over the images of a GPU in mmdet, are divided by the batch size; where several processes share
  a batch, Faster R-CNN's are divided by the samples of all its images (mmdet: of those of a GPU).
- mixed precision ends at the heads: losses and proposals are fp32 (`heads.py`).
- detections: our score floor and number per tile; YOLOv3's candidates are not cut to the 1,000 best by class score
  before objectness enters, and its boxes are clipped to the tile.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.core.registries import BACKBONES
from bench.detection.detectors.base import Detections
from bench.detection.detectors.mmdet import mmcv_bridge
from bench.detection.detectors.mmdet.heads import SampleCounts, hand_on_full_precision
from bench.detection.detectors.mmdet.ignore import ignoring_assigner, ignoring_yolo_head
from bench.detection.detectors.mmdet.roi_align import ImageParallelRoIAlign
from bench.detection.detectors.network_tiles import STRIDE_PX, detections, pad_to_stride
from bench.models import keymaps
from bench.models.weights import load_into, state_sha256

if TYPE_CHECKING:
    from bench.detection.detectors.mmdet.base import MmdetOptions
    from bench.detection.detectors.mmdet.faster_rcnn import FasterRcnnOptions
    from bench.detection.detectors.mmdet.yolov3 import YoloV3Options

CONFIGS = {
    "faster-rcnn": "_base_/models/faster-rcnn_r50_fpn.py",
    "yolov3": "yolo/yolov3_d53_8xb8-ms-608-273e_coco.py",
}
DEPTHS = {"resnet18": 18, "resnet34": 34, "resnet50": 50}
IGNORE_SHARE = 0.5
ALL_CANDIDATES = 1_000_000
FASTER_RCNN_LOSSES = ("loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "acc")
YOLOV3_LOSSES = ("loss_cls", "loss_conf", "loss_xy", "loss_wh")


class DetectorNetwork(nn.Module):
    """An mmdet detector behind `loss` and `detect`, with tiles (n, size, size) float32 in [0, 1] as input.

    Args:
        model: mmdet's detector.
        backbone: registered name, for the input normalisation.
        values: names of what `model.loss` returns; one that a batch does not give is 0.
        divide: whether its losses are sums over the batch, to be divided by the batch size.
        score_floor: detections below are dropped.
        channels_last: memory format of the images.
        counts: of a two-stage detector: what its losses are divided by.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        backbone: str,
        values: Sequence[str],
        divide: bool,
        score_floor: float,
        channels_last: bool,
        counts: SampleCounts | None = None,
    ) -> None:
        super().__init__()
        facts = BACKBONES.get(backbone)
        self.model = model
        self.values, self.divide, self.score_floor, self.channels_last = (
            tuple(values),
            divide,
            score_floor,
            channels_last,
        )
        self.counts = counts
        self.register_buffer("mean", torch.tensor(facts.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(facts.std).view(1, 3, 1, 1), persistent=False)
        if channels_last:  # a loaded network computes as a trained one, to the last digit
            self.to(memory_format=torch.channels_last)

    def compilable(self) -> list[nn.Module]:
        """Return the part whose input has one size throughout a training."""
        return [self.model.backbone]  # type: ignore[list-item]

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return mmdet's losses (tensors, or lists of them, one a level) by name, the same names for every batch.

        Args:
            batch: "image" (n, size, size) float32 in [0, 1]; "boxes" and "ignored", n float32 tensors each, (k, 4) x1,
                y1, x2, y2 in pixels of the tile.
        """
        images = batch["image"]
        samples = _samples(images, batch["boxes"], batch["ignored"])
        given: dict[str, Any] = self.model.loss(self._inputs(images), samples)  # type: ignore[operator]
        share = 1.0 / len(images) if self.divide else 1.0
        factors = {} if self.counts is None else self.counts.factors()
        out: dict[str, Any] = {}
        for name in self.values:
            value = given.get(name, images.new_zeros(()))
            scale = share * factors.get(name, 1.0) if "loss" in name else 1.0
            out[name] = value * scale if isinstance(value, Tensor) else [part * scale for part in value]
        return out

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Detections]:
        """Return the boxes found in each of `images` (n, size, size) float32 in [0, 1], highest score first, in pixels
        of the tile.

        Boxes are clipped to the tile; those without area, or below the score floor, are dropped.
        """
        none = [images.new_zeros((0, 4))] * len(images)
        found = self.model.predict(self._inputs(images), _samples(images, none, none), rescale=False)  # type: ignore[operator]
        height, width = images.shape[1:]
        return [self._detections(sample.pred_instances, height, width) for sample in found]

    def _inputs(self, images: Tensor) -> Tensor:
        """Pad with zeros to a multiple of the stride, repeat the channel, normalise: (n, h, w) -> (n, 3, H, W)."""
        inputs = (pad_to_stride(images) - self.mean) / self.std
        return inputs.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def _detections(self, instances: Any, height: int, width: int) -> Detections:
        return detections(instances.bboxes, instances.scores, height, width, self.score_floor)


def build_faster_rcnn(backbone: str, options: FasterRcnnOptions) -> DetectorNetwork:
    """Return an untrained Faster R-CNN with FPN on a ResNet, its heads initialised as mmdet does, from torch's global
    generator.
    """
    config = _base_config("faster-rcnn", backbone, options)
    facts = BACKBONES.get(backbone)
    config["backbone"].update(depth=DEPTHS[backbone], zero_init_residual=False)
    config["neck"].update(in_channels=list(facts.out_channels), out_channels=options.fpn_channels)
    rpn, roi, train, test = config["rpn_head"], config["roi_head"], config["train_cfg"], config["test_cfg"]
    rpn.update(in_channels=options.fpn_channels, feat_channels=options.rpn_channels)
    rpn["anchor_generator"].update(scales=list(options.anchor_scales), ratios=list(options.anchor_ratios))
    roi["bbox_roi_extractor"].update(out_channels=options.fpn_channels)
    roi["bbox_roi_extractor"]["roi_layer"].update(use_torchvision=True)
    roi["bbox_head"].update(num_classes=1, in_channels=options.fpn_channels, fc_out_channels=options.roi_fc)
    assigner = ignoring_assigner()
    for stage in ("rpn", "rcnn"):
        train[stage]["assigner"].update(type=assigner, ignore_iof_thr=IGNORE_SHARE)
    train["rpn"]["sampler"].update(num=options.rpn_samples)
    train["rcnn"]["sampler"].update(num=options.roi_samples)
    train["rpn_proposal"].update(nms_pre=2 * options.train_proposals, max_per_img=options.train_proposals)
    test["rpn"].update(nms_pre=max(1000, options.test_proposals), max_per_img=options.test_proposals)
    test["rcnn"].update(score_thr=options.score_floor, max_per_img=options.max_per_tile)
    test["rcnn"]["nms"].update(iou_threshold=options.nms_iou)
    model: Any = _build(config)
    extractor = model.roi_head.bbox_roi_extractor
    layers = [
        ImageParallelRoIAlign(each.output_size, each.spatial_scale, each.sampling_ratio)
        for each in extractor.roi_layers
    ]
    extractor.roi_layers = nn.ModuleList(layers)
    for part in (model.neck, model.rpn_head, model.roi_head.bbox_head):
        hand_on_full_precision(part)
    return DetectorNetwork(
        model, backbone, FASTER_RCNN_LOSSES, False, options.score_floor, options.channels_last, SampleCounts(model)
    )


def build_yolov3(backbone: str, options: YoloV3Options) -> DetectorNetwork:
    """Return an untrained YOLOv3, neck and head initialised as mmdet does, from torch's global generator."""
    config = _base_config("yolov3", backbone, options)
    head, test = config["bbox_head"], config["test_cfg"]
    head.update(type=ignoring_yolo_head(), num_classes=1)
    head["anchor_generator"].update(base_sizes=[[tuple(size) for size in level] for level in options.anchors])
    test.update(
        nms_pre=ALL_CANDIDATES,
        score_thr=options.score_floor,
        conf_thr=options.score_floor,
        max_per_img=options.max_per_tile,
    )
    test["nms"].update(iou_threshold=options.nms_iou)
    model: Any = _build(config)
    hand_on_full_precision(model.bbox_head)
    return DetectorNetwork(model, backbone, YOLOV3_LOSSES, True, options.score_floor, options.channels_last)


def load_backbone(network: DetectorNetwork, backbone: str, state: Mapping[str, Tensor]) -> str:
    """Copy a complete neutral `state` into the network's backbone; return the SHA-256 of what then stands there, in the
    neutral layout.

    Raises:
        BenchError: a tensor is missing, left over or of another shape.
    """
    darknet = keymaps.layout_of(state) == "darknet"
    module: nn.Module = network.model.backbone  # type: ignore[assignment]
    load_into(module, (keymaps.darknet_to_mmdet if darknet else keymaps.resnet_to_mmdet)(state))
    back = keymaps.darknet_from_mmdet if darknet else keymaps.resnet_from_torchvision
    found = state_sha256(back(module.state_dict()))
    wanted = state_sha256(state)
    if found != wanted:
        raise BenchError(
            f"the {backbone} in the detector is not what was loaded ({found[:12]} instead of {wanted[:12]}); other"
            " dtypes?"
        )
    return found


def _base_config(name: str, backbone: str, options: MmdetOptions) -> Any:
    """Return the model part of mmdet's own configuration file, with what both detectors change in it."""
    served_by = mmcv_bridge.install()
    from mmengine.config import Config

    spec = importlib.util.find_spec("mmdet")
    if spec is None or not spec.submodule_search_locations:
        raise BenchError("mmdet is not installed; install mmdet 3.3.0")
    path = Path(spec.submodule_search_locations[0]) / ".mim" / "configs" / CONFIGS[name]
    if not path.is_file():
        raise BenchError(
            f"mmdet carries no {CONFIGS[name]} (mmcv served by: {served_by}); install mmdet 3.3.0 from its wheel"
        )
    config = Config.fromfile(str(path)).model
    config.pop("data_preprocessor")
    config["backbone"].pop("init_cfg")
    config["backbone"].update(
        frozen_stages=options.frozen_stages,
        norm_eval=options.norm == "eval",
        norm_cfg={"type": "BN", "requires_grad": True},
    )
    return config


def _build(config: Any) -> nn.Module:
    import mmdet.models  # noqa: F401 - fills the registry
    from mmdet.registry import MODELS

    model: Any = MODELS.build(config)
    model._dump_init_info = lambda: None  # else init_weights prints a paragraph for every parameter
    model.init_weights()
    del model._dump_init_info
    model.train()  # mmdet freezes stages here, and the optimiser must see it
    network: nn.Module = model
    return network


def _samples(images: Tensor, boxes: Sequence[Tensor], ignored: Sequence[Tensor]) -> list[Any]:
    """Return mmdet's annotation objects: one class, the size of the tile before padding."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    size = tuple(int(side) for side in images.shape[1:])
    padded = tuple(side + -side % STRIDE_PX for side in size)
    shared = {
        "img_shape": size,
        "ori_shape": size,
        "pad_shape": padded,
        "batch_input_shape": padded,
        "scale_factor": (1.0, 1.0),
    }
    samples = []
    for truth, aside in zip(boxes, ignored, strict=True):
        sample = DetDataSample(metainfo=shared)
        for name, part in (("gt_instances", truth), ("ignored_instances", aside)):
            part = part.reshape(-1, 4).to(images.device, torch.float32)
            setattr(sample, name, InstanceData(bboxes=part, labels=part.new_zeros(len(part), dtype=torch.long)))
        samples.append(sample)
    return samples
