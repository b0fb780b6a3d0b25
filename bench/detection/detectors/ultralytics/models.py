"""Networks of ultralytics behind `loss` and `detect` (torch and ultralytics; imported at execution time only).

What is different from ultralytics' own training, and why: our tiles, augmentation, optimiser and schedule, as for every
detector here; no mosaic, no moving average of weights. Boxes to ignore are painted dark in training tiles, since its
loss knows none. Suppression is torchvision's: ultralytics' own gives up after a time limit and would lose boxes on a
slow machine.

The library is imported offline: no telemetry, no download, no installation of packages, its settings in a folder that
goes with the process.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.detection.detectors.base import Detections
from bench.detection.detectors.network_tiles import detections, pad_to_stride
from bench.models import keymaps
from bench.models.weights import State, load_renamed

if TYPE_CHECKING:
    from bench.detection.detectors.ultralytics.base import UltralyticsOptions, Yolo11Options

VALUES = ("loss_box", "loss_class", "loss_dfl")
_OFFLINE = {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}


@cache
def library() -> Any:
    """Return `ultralytics.nn.tasks`, imported offline; the process is left as it was.

    Raises:
        BenchError: it is not installed.
    """
    folder = tempfile.mkdtemp(prefix="ultralytics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with _process_as_it_was():
        os.environ.update(_OFFLINE, YOLO_CONFIG_DIR=folder)
        try:
            from ultralytics.nn import tasks
            from ultralytics.utils import SETTINGS
        except ImportError as error:
            raise BenchError(
                "this needs ultralytics, an optional extra under AGPL-3.0; pip install 'saropt-bench[ultralytics]'"
            ) from error
        settings: Any = SETTINGS  # without annotations
        settings.update(sync=False)
    return tasks


@contextmanager
def _process_as_it_was() -> Iterator[None]:
    """Put back what the import changes for everybody in the process: variables, how arrays are printed, threads of
    OpenCV, and the readers and writers that it replaces (a damaged image would then end in a missing HEIF library
    instead of in our one line).
    """
    import cv2
    from PIL import Image

    replaced: list[tuple[Any, str]] = [(Image, "open"), (torch, "save"), (torch, "load")]
    replaced += [(cv2, name) for name in ("imread", "imwrite", "imshow") if hasattr(cv2, name)]
    own = [getattr(module, name) for module, name in replaced]
    environment, printed, threads = dict(os.environ), np.get_printoptions(), cv2.getNumThreads()
    try:
        yield
    finally:
        for (module, name), function in zip(replaced, own, strict=True):
            setattr(module, name, function)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        np.set_printoptions(**printed)
        torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call]  # torch annotates it not
        cv2.setNumThreads(threads)


def library_version() -> str:
    """Return the version of ultralytics."""
    library()
    import ultralytics

    return str(ultralytics.__version__)


class UltralyticsNetwork(nn.Module):
    """A detection model of ultralytics with tiles (n, size, size) float32 in [0, 1] as input.

    Args:
        model: `ultralytics.nn.tasks.DetectionModel` with one class.
    """

    def __init__(self, model: Any, options: UltralyticsOptions) -> None:
        super().__init__()
        from ultralytics.cfg import get_cfg
        from ultralytics.utils import DEFAULT_CFG

        self.model = model
        self.options = options
        gains = {"box": options.box_gain, "cls": options.class_gain, "dfl": options.dfl_gain}
        self.model.args = get_cfg(DEFAULT_CFG, gains)
        if options.channels_last:
            self.to(memory_format=torch.channels_last)

    def loss(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the three losses, means over the tiles.

        Args:
            batch: "image" (n, size, size) float32 in [0, 1]; "boxes" and "ignored", n float32 tensors each, (k, 4) x1,
                y1, x2, y2 in pixels of the tile.
        """
        images = _painted(batch["image"], batch["ignored"])
        inputs = self._inputs(images)
        height, width = inputs.shape[2:]
        boxes = torch.cat(list(batch["boxes"]))
        counts = torch.tensor([len(each) for each in batch["boxes"]], device=images.device)
        scale = boxes.new_tensor([width, height, width, height])
        centred = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1) / scale
        targets = {
            "img": inputs,
            "batch_idx": torch.arange(len(images), device=images.device).repeat_interleave(counts).float(),
            "cls": boxes.new_zeros((len(boxes), 1)),
            "bboxes": centred,
        }
        total, _ = self.model.loss(targets)
        parts = total / len(images)
        return {name: parts[i] for i, name in enumerate(VALUES)}

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Detections]:
        """Return the boxes found in each of `images` (n, size, size) float32 in [0, 1], highest score first, in
        pixels of the tile.
        """
        answer = self.model(self._inputs(images))
        # (n, 4 + 1, anchors): x, y, width, height, score
        rows = (answer[0] if isinstance(answer, tuple | list) else answer).float()
        height, width = images.shape[1:]
        return [self._detections(row, height, width) for row in rows]

    def _detections(self, row: Tensor, height: int, width: int) -> Detections:
        from torchvision.ops import nms

        row = row[:, row[4] >= self.options.score_floor]
        centre, half, scores = row[:2].T, row[2:4].T / 2, row[4]
        boxes = torch.cat([centre - half, centre + half], dim=1)
        kept = nms(boxes, scores, self.options.nms_iou)[: self.options.max_per_tile]
        return detections(boxes[kept], scores[kept], height, width)

    def _inputs(self, images: Tensor) -> Tensor:
        """Pad with zeros to a multiple of the stride and repeat the channel: (n, h, w) -> (n, 3, H, W)."""
        layout = torch.channels_last if self.options.channels_last else torch.contiguous_format
        return pad_to_stride(images).expand(-1, 3, -1, -1).contiguous(memory_format=layout)


def _painted(images: Tensor, ignored: Any) -> Tensor:
    """Return images whose pixels in ignored boxes are 0."""
    if not any(len(each) for each in ignored):
        return images
    images = images.clone()
    for image, boxes in zip(images, ignored, strict=True):
        for x1, y1, x2, y2 in boxes.tolist():
            image[max(0, int(y1)) : int(np.ceil(y2)), max(0, int(x1)) : int(np.ceil(x2))] = 0
    return images


def build_yolov3u(options: UltralyticsOptions) -> UltralyticsNetwork:
    """Return an untrained network on Darknet-53, random parts from torch's global generator."""
    tasks = library()
    model = tasks.DetectionModel(keymaps.ultralytics_darknet(1), ch=3, verbose=False)
    for module in _backbone(model).modules():
        if isinstance(module, nn.BatchNorm2d):
            # those of pretraining: then a transfer is a mere renaming
            module.eps, module.momentum = (keymaps.OUR_EPSILON, 0.1)
    return UltralyticsNetwork(model, options)


def build_yolo11(options: Yolo11Options) -> UltralyticsNetwork:
    """Return an untrained YOLO11 of the size that the options name, from the description inside the installed
    package.
    """
    return UltralyticsNetwork(
        library().DetectionModel(f"yolo11{options.size}.yaml", ch=3, nc=1, verbose=False), options
    )


def load_darknet(network: UltralyticsNetwork, state: Mapping[str, Tensor]) -> str:
    """Copy a complete neutral Darknet-53 `state` into the network's backbone; return its SHA-256 in the neutral layout.

    Raises:
        BenchError: a tensor is missing, left over or of another shape, or does not stand there afterwards.
    """

    def there(neutral: Mapping[str, Tensor]) -> State:
        renamed = keymaps.darknet_to_ultralytics(neutral, epsilon=keymaps.OUR_EPSILON)
        return {key.removeprefix("model."): value for key, value in renamed.items()}

    def back(own: Mapping[str, Tensor]) -> State:
        renamed = {f"model.{key}": value for key, value in own.items()}
        return keymaps.darknet_from_ultralytics(renamed, epsilon=keymaps.OUR_EPSILON)

    return load_renamed(_backbone(network.model), state, there, back, "darknet53")


def _backbone(model: Any) -> Any:
    """Return the first eleven layers: Darknet-53."""
    return model.model[:11]
