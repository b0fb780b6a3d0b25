"""RoIAlign (He et al., ICCV 2017, section 3) on CPU threads: torchvision's operator, an image to a thread, the numbers
bit by bit the same.

torchvision's CPU operator runs on one core, and with it a fifth of a training step of Faster R-CNN. A region sees its
own image alone, so images can go to threads without any sum changing its order. On a GPU the operator is called once,
as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
import torchvision.ops  # noqa: F401 - registers the operators
from torch import Tensor, nn


class ImageParallelRoIAlign(nn.Module):
    """Takes the place of mmcv's RoIAlign (average pooling, aligned) in a RoI extractor.

    Args:
        output_size: (height, width) of the pooled regions.
        spatial_scale: features per pixel.
        sampling_ratio: sampling points a bin along each axis; 0 takes as many as the region's size asks for.
    """

    def __init__(self, output_size: tuple[int, int], spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__()
        self.output_size, self.spatial_scale, self.sampling_ratio = output_size, spatial_scale, sampling_ratio

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """(n, C, h, w) and (k, 5) image number, x1, y1, x2, y2 in pixels -> (k, C, *output_size)."""
        arguments = (self.spatial_scale, *self.output_size, self.sampling_ratio, True)
        alone = len(features) < 2 or torch.get_num_threads() < 2
        if alone or features.device.type != "cpu" or features.dtype != torch.float32:
            pooled: Tensor = torch.ops.torchvision.roi_align(features, rois, *arguments)
            return pooled
        out: Tensor = _ByImage.apply(features, rois, arguments)
        return out


class _ByImage(torch.autograd.Function):
    """The operator and its gradient, each image in a task of its own."""

    @staticmethod
    def forward(context: Any, features: Tensor, rois: Tensor, arguments: tuple[Any, ...]) -> Tensor:
        features, rois = features.contiguous(), rois.contiguous()
        context.save_for_backward(rois)
        context.shape, context.arguments = features.shape, arguments
        own = _by_image(rois, len(features))
        out = features.new_empty((len(rois), features.shape[1], *arguments[1:3]))

        def task(image: int) -> None:
            out[own[image]] = torch.ops.torchvision.roi_align(
                features[image : image + 1], _alone(rois[own[image]]), *arguments
            )

        _run(task, own)
        return out

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (rois,) = context.saved_tensors
        (scale, height, width, ratio, aligned), (count, channels, *size) = context.arguments, context.shape
        gradient = gradients[0].contiguous()
        own = _by_image(rois, count)
        out = gradient.new_zeros(context.shape)

        def task(image: int) -> None:
            out[image : image + 1] = torch.ops.torchvision._roi_align_backward(
                gradient[own[image]], _alone(rois[own[image]]), scale, height, width, 1, channels, *size, ratio, aligned
            )

        _run(task, own)
        return out, None, None


def _by_image(rois: Tensor, count: int) -> list[Tensor]:
    """Return the rows of each image's regions, in their order."""
    number = rois[:, 0].long()
    return [torch.nonzero(number == image).flatten() for image in range(count)]


def _alone(rois: Tensor) -> Tensor:
    """Return the regions of one image as those of the first of a batch of one."""
    return torch.cat([torch.zeros_like(rois[:, :1]), rois[:, 1:]], dim=1)


def _run(task: Callable[[int], None], own: list[Tensor]) -> None:
    """Run the task of each image that has regions, on as many threads as torch uses; the first exception is raised."""
    images = [image for image, rows in enumerate(own) if len(rows)]

    def guarded(image: int) -> None:
        with torch.no_grad():  # a thread of its own starts with gradients on
            task(image)

    for future in [_pool(torch.get_num_threads()).submit(guarded, image) for image in images]:
        future.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="roi-align")
