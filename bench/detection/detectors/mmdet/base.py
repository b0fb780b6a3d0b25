"""What the detectors with an mmdet network share: options of their backbones, and the transfer of one.

Imports no torch at module level; the networks are in `models.py`, training and prediction in
`network_detector.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, Field
from typing_extensions import TypeVar

from bench.core.errors import BenchError
from bench.detection.detectors.base import FitData
from bench.detection.detectors.network_detector import NetworkDetector, NetworkOptions
from bench.training.learned import CompileOptions

if TYPE_CHECKING:
    from bench.detection.detectors.mmdet.models import DetectorNetwork
    from bench.models.weights import State


class MmdetOptions(NetworkOptions, CompileOptions):
    """Options of a detector with an mmdet network.

    Attributes:
        frozen_stages: as mmdet counts them; -1 trains all. norm: "train" batch norm in the backbone, or "eval": keep
            the statistics of the initial weights. A random start refuses both, since there is nothing to keep.
    """

    frozen_stages: int = Field(default=-1, ge=-1, le=4)
    norm: Literal["train", "eval"] = "train"


MmdetT = TypeVar("MmdetT", bound=MmdetOptions, covariant=True, default=MmdetOptions)


class MmdetDetector(NetworkDetector[MmdetT]):
    """Base of the detectors with an mmdet network; a subclass builds it."""

    Options: ClassVar[type[BaseModel]] = MmdetOptions

    def _facts(self) -> dict[str, Any]:
        from bench.detection.detectors.mmdet import mmcv_bridge

        return {"mmcv_operators": mmcv_bridge.install()}

    def _check_start(self, data: FitData) -> None:
        if data.initial is None and (self.options.norm == "eval" or self.options.frozen_stages >= 0):
            raise BenchError(
                f"norm {self.options.norm!r} with frozen_stages {self.options.frozen_stages} keeps parts of the initial"
                " weights, and an arm of this detector starts at random; use norm 'train' and frozen_stages -1 for all"
                " arms"
            )

    def _load_backbone(self, network: DetectorNetwork, backbone: str, state: State) -> str:
        from bench.detection.detectors.mmdet.models import load_backbone

        return load_backbone(network, backbone, state)
