"""Serves `mmcv._ext`, mmcv's compiled operators, from torchvision's own where no compiled mmcv is installed.

mmdet imports all of mmcv's operators and calls, for Faster R-CNN and YOLOv3, one: `nms` (RoIAlign has a switch of
mmcv's own to torchvision's, which our configurations set). mmcv 2.1 cannot be compiled against current torch, so its
operator-free wheel mmcv-lite is
used with this bridge: a module in memory whose `nms` is torchvision's and whose every other operator raises when it is
called. A compiled mmcv that can be imported is left alone. Owns that module and nothing else; imports torch on use
only.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from bench.core.errors import BenchError, first_line
from bench.training import pkg_resources_bridge

if TYPE_CHECKING:
    from torch import Tensor

NAME = "mmcv._ext"


class OperatorBridge(ModuleType):
    """Stands in for `mmcv._ext`: `nms` works, any other operator exists and raises NotImplementedError when called."""

    def __init__(self) -> None:
        super().__init__(
            NAME, "mmcv's operators as far as torchvision serves them (bench.detection.detectors.mmdet.mmcv_bridge)"
        )
        # A spec without a loader: mmengine asks pkgutil for the loader of a compiled mmcv, must find none, and fails on
        # a missing spec.
        self.__spec__ = ModuleSpec(NAME, loader=None)
        self.nms = nms

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _refusal(name)


def install() -> Literal["compiled", "bridge"]:
    """Make `mmcv._ext` importable, and with it `mmdet.models`; return what serves it. Calling again changes nothing.
    Every use of mmdet, and so of mmengine, begins here: `pkg_resources` is served as well.

    Raises:
        BenchError: mmcv is not installed, or has compiled operators that cannot be loaded.
    """
    pkg_resources_bridge.install()
    try:
        found = importlib.import_module(NAME)
    except ModuleNotFoundError as error:
        if error.name != NAME:
            raise BenchError(
                f"mmdet's detectors need mmcv, which is not complete here ({error}); install mmcv-lite 2.1.0"
            ) from error
        sys.modules[NAME] = OperatorBridge()
        return "bridge"
    except ImportError as error:
        message = (
            f"the compiled mmcv does not load ({first_line(error)}); build it against this torch, or install mmcv-lite"
            " 2.1.0 instead"
        )
        raise BenchError(message) from error
    return "bridge" if isinstance(found, OperatorBridge) else "compiled"


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Return the positions kept by greedy non-maximum suppression, (m,) int64, highest score first; of equal scores the
    lower position first.

    Args:
        boxes: (n, 4) x1, y1, x2, y2 in pixels.
        scores: (n,).
        iou_threshold: a box goes when its IoU with a kept one is larger.
        offset: added to widths and heights by older code; only 0 is served.

    Raises:
        NotImplementedError: `offset` is not 0.
    """
    if offset != 0:
        raise NotImplementedError(
            f"nms with offset {offset} (legacy +1 boxes) is not served without a compiled mmcv; use offset 0"
        )
    from torchvision.ops import nms as torchvision_nms

    kept: Tensor = torchvision_nms(boxes, scores, float(iou_threshold))
    return kept


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(
            f"mmcv's operator {name!r} is not served without a compiled mmcv; install mmcv 2.1.0 built for this torch"
        )

    refuse.__name__ = name
    return refuse
