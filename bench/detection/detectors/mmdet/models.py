"""What mmdet's detectors share as networks that `bench.training.api` can train and that find boxes in tiles (torch,
mmdet; imported at execution time only). A detector's own file says which configuration file it takes and what it
changes there; a new one needs nothing but such a file (docs/adding-a-detector.md).

The networks are those of the configuration files inside mmdet's wheel, found by path and changed here; what is changed
for all, and why:

- One class; no frozen stage, batch norm trained, unless the options say so for all arms of a comparison; no
  zero-initialised last norm of a residual block; no `init_cfg` of a backbone, so that nothing is fetched and nothing
  loaded loosely: `load_backbone` is the one way in.
- Input normalisation: of our backbone facts, in [0, 1] units, inside the network; the single SAR channel is repeated.
  mmdet's preprocessor is not used.
- Boxes to ignore count neither as ships nor as background (`ignore.py` says what mmdet does).
- Losses that are sums over the images of a GPU in mmdet are divided by the batch size; where several processes share a
  batch, those that mmdet divides by a number of samples are divided by the samples of all its images.
- Mixed precision ends at the heads: losses and proposals are fp32 (`heads.py`).
- Detections: our score floor and number per tile, clipped to the tile.
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
from bench.detection.detectors.mmdet.heads import SampleCount
from bench.detection.detectors.mmdet.own_backbone import OwnBackbone
from bench.detection.detectors.network_tiles import STRIDE_PX, detections, pad_to_stride
from bench.models import keymaps
from bench.models.weights import load_renamed
from bench.training.parallel import mean_factor

if TYPE_CHECKING:
    from bench.detection.detectors.mmdet.base import MmdetOptions

DEPTHS = {"resnet18": 18, "resnet34": 34, "resnet50": 50}
DARKNET = "darknet53"  # the other one that mmdet has; any other backbone is ours (`own_backbone.py`)


class DetectorNetwork(nn.Module):
    """An mmdet detector behind `loss` and `detect`, with tiles (n, size, size) float32 in [0, 1] as input.

    Args:
        model: mmdet's detector.
        backbone: registered name, for the input normalisation.
        options: its score floor, and the memory format of the images.
        values: names of what `model.loss` returns, each with the count that it was divided by (None: by nothing that
            depends on the images at hand); one that a batch does not give is 0.
        divide: whether its losses are sums over the batch, to be divided by the batch size.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        backbone: str,
        options: MmdetOptions,
        values: Mapping[str, SampleCount | None],
        divide: bool = False,
    ) -> None:
        super().__init__()
        facts = BACKBONES.get(backbone)
        self.model: Any = model
        self.values, self.divide = dict(values), divide
        self.score_floor, self.channels_last = options.score_floor, options.channels_last
        self.register_buffer("mean", torch.tensor(facts.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(facts.std).view(1, 3, 1, 1), persistent=False)
        if self.channels_last:  # a loaded network computes as a trained one, to the last digit
            self.to(memory_format=torch.channels_last)

    def compilable(self) -> list[nn.Module]:
        """Return the part whose input has one size throughout a training."""
        return [self.model.backbone]

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return mmdet's losses (tensors, or lists of them, one a level) by name, the same names for every batch.

        Args:
            batch: "image" (n, size, size) float32 in [0, 1]; "boxes" and "ignored", n float32 tensors each, (k, 4) x1,
                y1, x2, y2 in pixels of the tile.
        """
        images = batch["image"]
        samples = _samples(images, batch["boxes"], batch["ignored"])
        given: dict[str, Any] = self.model.loss(self._inputs(images), samples)
        share = 1.0 / len(images) if self.divide else 1.0
        counts = dict.fromkeys(count for count in self.values.values() if count is not None)
        factors = {count: mean_factor(count.latest) for count in counts}  # all ranks ask in one order
        out: dict[str, Any] = {}
        for name, counted in self.values.items():
            value = given.get(name, images.new_zeros(()))
            scale = share * (1.0 if counted is None else factors[counted]) if "loss" in name else 1.0
            out[name] = value * scale if isinstance(value, Tensor) else [part * scale for part in value]
        return out

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Detections]:
        """Return the boxes found in each of `images` (n, size, size) float32 in [0, 1], highest score first, in
        pixels of the tile.

        Boxes are clipped to the tile; those without area, or below the score floor, are dropped.
        """
        none = [images.new_zeros((0, 4))] * len(images)
        found = self.model.predict(self._inputs(images), _samples(images, none, none), rescale=False)
        height, width = images.shape[1:]
        return [self._detections(sample.pred_instances, height, width) for sample in found]

    def _inputs(self, images: Tensor) -> Tensor:
        """Pad with zeros to a multiple of the stride, repeat the channel, normalise: (n, h, w) -> (n, 3, H, W)."""
        inputs = (pad_to_stride(images) - self.mean) / self.std
        return inputs.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)

    def _detections(self, instances: Any, height: int, width: int) -> Detections:
        return detections(instances.bboxes, instances.scores, height, width, self.score_floor)


def load_backbone(network: DetectorNetwork, backbone: str, state: Mapping[str, Tensor]) -> str:
    """Copy a complete neutral `state` into the network's backbone; return the SHA-256 of what then stands there, in the
    neutral layout.

    Raises:
        BenchError: a tensor is missing, left over or of another shape.
    """
    module = network.model.backbone
    if isinstance(module, OwnBackbone):
        return load_renamed(module.network, state, dict, dict, backbone)
    darknet = backbone == DARKNET
    there = keymaps.darknet_to_mmdet if darknet else keymaps.resnet_to_mmdet
    back = keymaps.darknet_from_mmdet if darknet else keymaps.resnet_from_torchvision
    return load_renamed(module, state, there, back, backbone)


def base_config(path: str, backbone: str, options: MmdetOptions) -> Any:
    """Return the model part of a configuration file inside mmdet's wheel, `path` below its folder `configs`, with what
    is changed for every detector; backbone and inputs of the neck are those of `backbone`.

    Raises:
        BenchError: mmdet is not installed, or is without that file.
    """
    served_by = mmcv_bridge.install()
    from mmengine.config import Config

    spec = importlib.util.find_spec("mmdet")
    if spec is None or not spec.submodule_search_locations:
        raise BenchError("mmdet is not installed; install mmdet 3.3.0")
    file = Path(spec.submodule_search_locations[0]) / ".mim" / "configs" / path
    if not file.is_file():
        raise BenchError(f"mmdet carries no {path} (mmcv served by: {served_by}); install mmdet 3.3.0 from its wheel")
    config = Config.fromfile(str(file)).model
    config.pop("data_preprocessor")
    _set_backbone(config, backbone, options)
    return config


def _set_backbone(config: Any, backbone: str, options: MmdetOptions) -> None:
    """Put `backbone` into a detector's configuration, and its channels into the neck: finest first in a pyramid, last
    in YOLOv3's.
    """
    stages = len(config["neck"]["in_channels"])
    kept = {"frozen_stages": options.frozen_stages, "norm_eval": options.norm == "eval"}
    if backbone in DEPTHS or backbone == DARKNET:
        config["backbone"].pop("init_cfg")
        config["backbone"].update(norm_cfg={"type": "BN", "requires_grad": True}, **kept)
    else:
        config["backbone"] = {"type": OwnBackbone, "name": backbone, "stages": stages, **kept}
    if backbone in DEPTHS:
        config["backbone"].update(depth=DEPTHS[backbone], zero_init_residual=False)
    channels = list(BACKBONES.get(backbone).out_channels[-stages:])
    config["neck"].update(in_channels=channels[::-1] if config["neck"]["type"] == "YOLOV3Neck" else channels)


def limit(test: Any, options: MmdetOptions) -> None:
    """Set the score floor, the suppression and the number of detections in a `test_cfg` as the options say."""
    test.update(score_thr=options.score_floor, max_per_img=options.max_per_tile)
    test["nms"].update(iou_threshold=options.nms_iou)


def build(config: Any) -> Any:
    """Return mmdet's detector, random parts drawn from torch's global generator as mmdet does."""
    import mmdet.models  # noqa: F401 - fills the registry
    from mmdet.registry import MODELS

    model: Any = MODELS.build(config)
    model._dump_init_info = lambda: None  # else init_weights prints a paragraph for every parameter
    model.init_weights()
    del model._dump_init_info
    model.train()  # mmdet freezes stages here, and the optimiser must see it
    return model


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
