"""Detectors of the optional extra `ultralytics` (AGPL-3.0): `yolov3u` and `yolo11`, trained by our engine on our tiles,
scored by us.

They are other methods than the paper's YOLOv3: an anchor-free head with distribution focal loss and task-aligned
assignment. `yolov3u` is built here on the faithful Darknet-53 (`keymaps.ultralytics_darknet`), since ultralytics' own
yolov3.yaml is another network: so it takes every pretraining arm. `yolo11` has a network of its own and starts at
random.

No file of ultralytics is copied: `yolo11` is built from the description inside the installed package. Imports nothing
heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, Field
from typing_extensions import TypeVar

from bench.detection.detectors.network_detector import NetworkDetector, NetworkOptions

if TYPE_CHECKING:
    from bench.detection.detectors.ultralytics.models import UltralyticsNetwork
    from bench.models.weights import State


class UltralyticsOptions(NetworkOptions):
    """Options of a detector with an ultralytics network. The gains are ultralytics' own.

    Attributes:
        box_gain, class_gain, dfl_gain: weights of the three losses.
    """

    batch_size: int = Field(default=8, ge=2)
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = Field(default=0.001, gt=0)
    weight_decay: float = Field(default=0.0005, ge=0)
    clip_norm: float | None = Field(default=10.0, gt=0)
    nms_iou: float = Field(default=0.6, gt=0, lt=1)
    box_gain: float = Field(default=7.5, gt=0)
    class_gain: float = Field(default=0.5, gt=0)
    dfl_gain: float = Field(default=1.5, gt=0)


UltralyticsT = TypeVar("UltralyticsT", bound=UltralyticsOptions, covariant=True, default=UltralyticsOptions)


class Yolo11Options(UltralyticsOptions):
    """Options of `yolo11`.

    Attributes:
        size: of the network: n, s, m, l or x.
    """

    size: Literal["n", "s", "m", "l", "x"] = "n"


class UltralyticsDetector(NetworkDetector[UltralyticsT]):
    """Base of both."""

    Options: ClassVar[type[BaseModel]] = UltralyticsOptions

    def _facts(self) -> dict[str, Any]:
        from bench.detection.detectors.ultralytics.models import library_version

        return {"ultralytics": library_version()}


class YoloV3u(UltralyticsDetector[UltralyticsOptions]):
    """Darknet-53, YOLOv3's neck, ultralytics' anchor-free head."""

    version = 1
    Options = UltralyticsOptions
    backbones = ("darknet53",)

    def _build(self, backbone: str | None) -> UltralyticsNetwork:
        from bench.detection.detectors.ultralytics.models import build_yolov3u

        return build_yolov3u(self.options)

    def _load_backbone(self, network: UltralyticsNetwork, backbone: str, state: State) -> str:
        from bench.detection.detectors.ultralytics.models import load_darknet

        return load_darknet(network, state)


class Yolo11(UltralyticsDetector[Yolo11Options]):
    """YOLO11 of ultralytics, from a random start."""

    version = 1
    Options = Yolo11Options

    def _build(self, backbone: str | None) -> UltralyticsNetwork:
        from bench.detection.detectors.ultralytics.models import build_yolo11

        return build_yolo11(self.options)
