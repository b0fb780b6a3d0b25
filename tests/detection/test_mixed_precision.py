"""Mixed precision and memory format of mmdet's detectors: coordinates and losses are fp32, convolutions are what was
asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet_toys import context_of, faster_rcnn, yolov3
from torch import Tensor, nn

EDGE = 384  # beyond 256 px bfloat16 steps by 2 px


def network_of(folder: Path, name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    detector = (faster_rcnn if name == "faster-rcnn" else yolov3)(context_of(folder), **options)
    return detector._build("resnet18" if name == "faster-rcnn" else "darknet53")


def batch_of(edge: int = EDGE) -> dict[str, Any]:
    image = torch.rand(1, edge, edge, generator=torch.Generator().manual_seed(1))
    ship = torch.tensor([[edge - 101.5, edge - 93.25, edge - 11.125, edge - 55.75]])
    return {"image": image, "boxes": [ship], "ignored": [torch.zeros(0, 4)]}


def regions_of(network: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Return lists that fill with the regions that the extractor is given, and with those that its RoIAlign layers
    see.
    """
    given: list[Tensor] = []
    used: list[Tensor] = []
    extractor = network.model.roi_head.bbox_roi_extractor
    extractor.register_forward_pre_hook(lambda module, inputs: given.append(inputs[1]))
    for layer in extractor.roi_layers:
        layer.register_forward_pre_hook(lambda module, inputs: used.append(inputs[1]))
    return given, used


def worst_px(given: list[Tensor], used: list[Tensor]) -> float:
    """Return how far the used coordinates are from those of the nearest given region."""
    wanted, seen = torch.cat(given).double(), torch.cat([part for part in used if len(part)]).double()
    return float(torch.cdist(seen, wanted, p=float("inf")).min(1).values.max())


def test_coordinates_of_regions_are_exact_in_bfloat16(tmp_path: Path) -> None:
    network = network_of(tmp_path, "faster-rcnn").train()
    given, used = regions_of(network)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = network.loss(batch_of())
    assert torch.cat(given)[:, 1:].max() > 256 and given[0].dtype == torch.float32
    assert worst_px(given, used) == 0.0
    assert {part.dtype for value in values.values() for part in (value if isinstance(value, list) else [value])} == {
        torch.float32
    }
    network.model.neck._forward_hooks.clear()  # what mmdet does by itself
    given.clear()
    used.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network.loss(batch_of())
    assert worst_px(given, used) > 0.2


@pytest.mark.parametrize(
    ("name", "parts"),
    [("faster-rcnn", ("rpn_head", "roi_head.bbox_head")), ("yolov3", ("bbox_head",))],
    ids=["faster-rcnn", "yolov3"],
)
def test_heads_compute_in_bfloat16_and_hand_on_full_precision(
    tmp_path: Path, name: str, parts: tuple[str, ...]
) -> None:
    network = network_of(tmp_path, name, channels_last=True).train()
    inside: set[torch.dtype] = set()
    handed_on: set[torch.dtype] = set()
    formats: set[bool] = set()
    for part in parts:
        head = network.model.get_submodule(part)
        head.register_forward_hook(
            lambda module, inputs, out: handed_on.update(tensor.dtype for tensor in _tensors(out))
        )
        for layer in head.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(lambda module, inputs, out: inside.add(out.dtype))
    for layer in network.model.backbone.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(
                lambda m, i: formats.add(i[0].is_contiguous(memory_format=torch.channels_last))
            )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = network.loss(batch_of(128))
    assert inside == {torch.bfloat16} and handed_on == {torch.float32} and formats == {True}
    assert all(
        tensor.dtype == torch.float32 and torch.isfinite(tensor).all() for tensor in _tensors(list(values.values()))
    )
    assert network.compilable() == [network.model.backbone]


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in _tensors(part)]
