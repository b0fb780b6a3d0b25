"""Between tiles and the networks that look at them, whatever library they are from: padding on the way in, boxes on the
way out (torch; imported at execution time only).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from bench.detection.detectors.base import Detections

STRIDE_PX = 32  # tiles are padded to a multiple of it: the neck of YOLOv3 doubles sizes exactly


def pad_to_stride(images: Tensor) -> Tensor:
    """Pad (n, h, w) with zeros, right and below, to multiples of the stride: (n, 1, H, W)."""
    height, width = images.shape[1:]
    return F.pad(images, (0, -width % STRIDE_PX, 0, -height % STRIDE_PX))[:, None]


def detections(boxes: Tensor, scores: Tensor, height: int, width: int, score_floor: float = 0.0) -> Detections:
    """Return the boxes of a tile, highest score first, clipped to it; those without area, or below the score floor, are
    dropped.

    Args:
        boxes, scores: (k, 4) x1, y1, x2, y2 in pixels of the tile, and (k,).
        height, width: of the tile, before padding.
    """
    found, sure = boxes.double().cpu().numpy().reshape(-1, 4), scores.double().cpu().numpy()
    found[:, 0::2] = found[:, 0::2].clip(0, width)
    found[:, 1::2] = found[:, 1::2].clip(0, height)
    keep = (found[:, 2:] > found[:, :2]).all(1) & (sure >= score_floor)
    order = np.argsort(-sure[keep], kind="stable")
    return Detections(found[keep][order], sure[keep][order])
