"""A backbone of ours in mmdet's detectors: every parameter trains, what is frozen stays, and one scale in both modes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmdet_toys import SMALL, batch_of, total

from bench.core.options import option_values
from bench.detection.detectors.mmdet.faster_rcnn import FasterRcnn, FasterRcnnOptions
from bench.detection.detectors.mmdet.models import DetectorNetwork
from bench.detection.detectors.mmdet.yolov3 import YoloV3, YoloV3Options

NAME = "efficientnet-lite0"
SHIP = [20.0, 20.0, 52.0, 44.0]


def built(detector: str, **options: Any) -> DetectorNetwork:
    torch.manual_seed(0)
    if detector == "yolov3":
        return YoloV3(YoloV3Options(**options))._build(NAME)
    return FasterRcnn(FasterRcnnOptions(**{**SMALL, **options}))._build(NAME)


@pytest.mark.parametrize("detector", ["faster-rcnn", "yolov3"])
def test_every_parameter_trains_and_both_modes_see_one_scale(detector: str) -> None:
    network = built(detector).train()
    seen: list[torch.Tensor] = []
    network.model.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().clone()))
    batch = batch_of([[SHIP], [SHIP]])
    torch.autograd.backward(total(network.loss(batch)))
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert len(network.eval().detect(batch["image"])) == 2
    assert len(seen) == 2 and torch.equal(seen[0], seen[1])
    assert seen[0].shape[2:] == batch["image"].shape[1:], "neither training nor test resamples a tile"


def test_anchors_at_stride_64_can_be_left_out_and_the_default_keeps_its_keys() -> None:
    for levels, strides in ((5, [4, 8, 16, 32, 64]), (4, [4, 8, 16, 32])):
        network = built("faster-rcnn", levels=levels).train()
        head = network.model.rpn_head
        assert [stride[0] for stride in head.prior_generator.strides] == strides
        edges = [float((base[:, 2] - base[:, 0])[1]) for base in head.prior_generator.base_anchors]
        assert edges == [SMALL["anchor_scales"][0] * stride for stride in strides]
        assert len(network.model.extract_feat(network._inputs(torch.rand(1, 64, 64)))) == levels
        assert torch.isfinite(total(network.loss(batch_of([[SHIP]]))))
        assert len(network.eval().detect(torch.rand(1, 64, 64))) == 1
    assert "levels" not in option_values(FasterRcnnOptions())
    assert option_values(FasterRcnnOptions(levels=4))["levels"] == 4


def test_frozen_parts_stay_and_norms_keep_their_statistics() -> None:
    network = built("faster-rcnn", frozen_stages=1, norm="eval").train()
    parts = network.model.backbone.network.parts()
    frozen = {id(p) for part in parts[:2] for module in part for p in module.parameters()}
    assert all(p.requires_grad != (id(p) in frozen) for p in network.model.backbone.parameters())
    before = {key: value.clone() for key, value in network.model.backbone.named_buffers()}
    torch.autograd.backward(total(network.loss(batch_of([[SHIP], [SHIP]]))))
    assert all(torch.equal(value, before[key]) for key, value in network.model.backbone.named_buffers())
    assert built("faster-rcnn").train().model.backbone.network.bn1.training
