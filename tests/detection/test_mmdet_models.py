"""The two networks: what is changed in mmdet's configurations, losses on odd batches, boxes to ignore, and what
`detect` returns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmdet_toys import SIZE, SMALL, batch_of, total

from bench.detection.detectors.base import check_detections
from bench.detection.detectors.mmdet.faster_rcnn import FasterRcnn, FasterRcnnOptions
from bench.detection.detectors.mmdet.models import DetectorNetwork
from bench.detection.detectors.mmdet.yolov3 import YoloV3, YoloV3Options

SHIP = [30.0, 40.0, 52.0, 60.0]
OTHER = [60.0, 8.0, 84.0, 28.0]


def small(**options: Any) -> DetectorNetwork:
    torch.manual_seed(0)
    return FasterRcnn(FasterRcnnOptions(**{**SMALL, **options}))._build("resnet18")


@pytest.fixture(scope="module")
def rcnn() -> DetectorNetwork:
    return small()


@pytest.fixture(scope="module")
def yolo() -> DetectorNetwork:
    torch.manual_seed(0)
    return YoloV3(YoloV3Options())._build("darknet53")


def networks(*names: str) -> Any:
    return pytest.mark.parametrize("name", names or ("rcnn", "yolo"))


@networks()
def test_every_parameter_trains_and_every_batch_gives_the_same_values(
    name: str, request: pytest.FixtureRequest
) -> None:
    network: DetectorNetwork = request.getfixturevalue(name)
    network.train()
    assert all(parameter.requires_grad for parameter in network.parameters())
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    # none frozen, no zero_init_residual
    assert norms and all(module.training and module.weight.min() > 0 for module in norms)
    batches = {
        "ships": batch_of([[SHIP, OTHER], [SHIP]]),
        "some empty": batch_of([[], [SHIP]]),
        "all empty": batch_of([[], []]),
        "ignored alone": batch_of([[], []], [[SHIP], []]),
        "odd size": batch_of([[SHIP], [OTHER]], size=100),
        "one tile": batch_of([[SHIP]]),
        "whole tile": batch_of([[[0.0, 0.0, SIZE, SIZE]], [[SIZE - 1.5, SIZE - 1.5, SIZE, SIZE]]]),
    }
    names = None
    for told, batch in batches.items():
        network.zero_grad()
        values = network.loss(batch)
        names = names or list(values)
        assert list(values) == names, told
        loss = total(values)
        loss.backward()
        assert torch.isfinite(loss), told
        gradients = [p.grad for p in network.model.backbone.parameters()]
        assert all(grad is not None and torch.isfinite(grad).all() for grad in gradients), told


@networks()
def test_the_loss_of_a_batch_is_comparable_over_batch_sizes(name: str, request: pytest.FixtureRequest) -> None:
    """Twice the same tiles give the same loss: a mean over tiles (mmdet's YOLOv3 gives twice as much)."""
    network: DetectorNetwork = request.getfixturevalue(name)
    network.eval()  # batch statistics aside
    one, two = batch_of([[SHIP, OTHER]]), batch_of([[SHIP, OTHER]])
    two = {key: torch.cat([value, value]) if key == "image" else [*value, *value] for key, value in two.items()}
    # the others sample at random
    kept = ("loss_rpn_bbox",) if name == "rcnn" else ("loss_cls", "loss_conf", "loss_xy", "loss_wh")
    with torch.no_grad():
        first, second = network.loss(one), network.loss(two)
    for key in kept:
        if name == "yolo":
            assert [float(x) for x in first[key]] == pytest.approx([float(x) for x in second[key]], rel=1e-4)
        else:
            assert sum(map(float, first[key])) == pytest.approx(sum(map(float, second[key])), rel=0.2)


def test_yolov3_leaves_cells_in_ignored_boxes_out_of_the_background(yolo: DetectorNetwork) -> None:
    yolo.eval()
    left: list[list[list[float]]] = [[[0.0, 0.0, 48.0, SIZE]]]
    all_of_it: list[list[list[float]]] = [[[0.0, 0.0, SIZE, SIZE]]]

    def background(ignored: list[list[list[float]]]) -> list[float]:
        return [float(part.detach()) for part in yolo.loss(batch_of([[]], ignored, seed=1))["loss_conf"]]

    plain, aside, everything = background([[]]), background(left), background(all_of_it)
    assert everything == [0.0, 0.0, 0.0]
    # columns of cells with their centre at 48 px or beyond; all cells give about the same at first
    kept = [2 / 3, 1 / 2, 1 / 2]
    assert [part / whole for part, whole in zip(aside, plain, strict=True)] == pytest.approx(kept, rel=0.02)
    nothing: list[list[list[float]]] = [[]]
    for part in ("loss_cls", "loss_xy", "loss_wh"):
        ship, beside = (
            sum(yolo.loss(batch_of([[SHIP]], ignored, seed=1))[part]).detach() for ignored in (nothing, left)
        )
        assert torch.allclose(ship, beside)


def test_faster_rcnn_takes_no_background_from_ignored_boxes(rcnn: DetectorNetwork) -> None:
    rcnn.eval()
    everything = rcnn.loss(batch_of([[]], [[[-500.0, -500.0, 600.0, 600.0]]]))  # anchors reach beyond the tile
    assert list(everything) == list(rcnn.loss(batch_of([[]])))
    assert float(total(everything).detach()) == 0.0
    assert float(total(rcnn.loss(batch_of([[]], [[[-500.0, -500.0, 10.0, 600.0]]]))).detach()) > 0.1


def test_faster_rcnn_has_the_stated_structure(rcnn: DetectorNetwork) -> None:
    model: Any = rcnn.model
    assert model.rpn_head.rpn_conv.out_channels == 16 and model.roi_head.bbox_head.fc_cls.out_features == 2
    assert model.roi_head.bbox_head.shared_fcs[0].in_features == 16 * 49
    layers = model.roi_head.bbox_roi_extractor.roi_layers
    assert [(type(each).__name__, each.output_size, each.sampling_ratio) for each in layers] == [
        ("ImageParallelRoIAlign", (7, 7), 0)
    ] * 4
    # 4 x stride 4, ratio 1
    assert [size.tolist() for size in model.rpn_head.prior_generator.base_anchors[0]][1] == [-8.0, -8.0, 8.0, 8.0]
    default = FasterRcnnOptions()
    assert (default.fpn_channels, default.roi_fc, default.roi_samples, default.rpn_samples) == (256, 1024, 512, 256)
    frozen: Any = small(frozen_stages=1, norm="eval").model
    frozen.train()
    assert not frozen.backbone.conv1.weight.requires_grad and frozen.backbone.layer2[0].conv1.weight.requires_grad
    assert not frozen.backbone.layer4[0].bn1.training


def test_the_start_of_the_heads_depends_on_the_generator_alone() -> None:
    first, second = small().state_dict(), small().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    torch.manual_seed(1)
    other = FasterRcnn(FasterRcnnOptions(**SMALL))._build("resnet18").state_dict()
    assert not torch.equal(first["model.rpn_head.rpn_conv.weight"], other["model.rpn_head.rpn_conv.weight"])


@networks()
def test_detections_are_well_formed_on_any_size(name: str, request: pytest.FixtureRequest) -> None:
    network: DetectorNetwork = request.getfixturevalue(name)
    network.eval()
    for size in (64, 96, 101):
        for found in network.detect(batch_of([[SHIP], []], size=size)["image"]):
            check_detections(found, name)
            assert len(found) <= 300 and (np.diff(found.scores) <= 0).all() and (found.scores >= 0.01).all()
            assert found.boxes.size == 0 or (found.boxes.min() >= 0 and found.boxes.max() <= size)


def test_boxes_without_area_and_weak_ones_are_dropped(rcnn: DetectorNetwork) -> None:
    class Instances:
        bboxes = torch.tensor([[5.0, 5, 9, 9], [-20.0, 3, -4, 9], [3.0, 3, 3, 9], [90.0, 90, 120, 130], [1.0, 1, 4, 4]])
        scores = torch.tensor([0.2, 0.9, 0.8, 0.7, 0.001])

    found = rcnn._detections(Instances, 96, 96)
    assert found.boxes.tolist() == [[90, 90, 96, 96], [5, 5, 9, 9]]
    assert found.scores.tolist() == pytest.approx([0.7, 0.2])


def test_yolov3_boxes_follow_its_equations(yolo: DetectorNetwork) -> None:
    """One cell speaks: box centre = (cell + sigmoid(t)) stride, size = anchor exp(t), score = sigmoid(objectness)
    sigmoid(class).
    """
    head: Any = yolo.model.bbox_head
    maps = [torch.full((1, 18, 96 // stride, 96 // stride), -20.0) for stride in (32, 16, 8)]
    cell = maps[1].view(1, 3, 6, 6, 6)[0, 0, :, 2, 4]  # stride 16, anchor (30, 61), row 2, column 4
    cell[:] = torch.tensor([0.0, 0.4, 0.1, -0.6, 1.5, 2.0])
    found = head.predict_by_feat(maps, [{"img_shape": (96, 96), "scale_factor": (1.0, 1.0)}])[0]
    sigmoid = lambda t: 1 / (1 + np.exp(-t))  # noqa: E731
    x, y, w, h = (4 + sigmoid(0.0)) * 16, (2 + sigmoid(0.4)) * 16, 30 * np.exp(0.1), 61 * np.exp(-0.6)
    assert found.bboxes.tolist() == [pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2], rel=1e-5)]
    assert found.scores.tolist() == [pytest.approx(sigmoid(1.5) * sigmoid(2.0), rel=1e-5)]


@pytest.mark.parametrize("name", ["rcnn", "yolo"])
def test_images_are_normalised_as_in_pretraining(name: str, request: pytest.FixtureRequest) -> None:
    network: DetectorNetwork = request.getfixturevalue(name)
    inputs = network._inputs(torch.full((1, 64, 70), 0.5))
    assert inputs.shape == (1, 3, 64, 96)
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if name == "rcnn" else ((0, 0, 0), (1, 1, 1))
    for channel in range(3):
        assert inputs[0, channel, 0, 0].item() == pytest.approx((0.5 - mean[channel]) / std[channel], rel=1e-6)
        # padding is black
        assert inputs[0, channel, 0, 80].item() == pytest.approx(-mean[channel] / std[channel], rel=1e-6)


def test_ignored_boxes_are_heeded_with_and_without_a_ship_beside_them() -> None:
    from mmengine.structures import InstanceData

    from bench.detection.detectors.mmdet.ignore import ignoring_assigner

    assigner = ignoring_assigner()(pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, ignore_iof_thr=0.5)
    priors = InstanceData(priors=torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 30], [50, 50, 60, 60], [20, 0, 30, 10]]))
    aside = InstanceData(bboxes=torch.tensor([[0.0, 0, 12, 12]]), labels=torch.tensor([0]))
    ship = InstanceData(bboxes=torch.tensor([[50.0, 50, 60, 60]]), labels=torch.tensor([0]))
    none = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    # the second lies in the ignored box by 0.4 only
    assert assigner.assign(priors, ship, aside).gt_inds.tolist() == [-1, 0, 1, 0]
    assert assigner.assign(priors, none, aside).gt_inds.tolist() == [-1, 0, 0, 0]
    assert (
        assigner.assign(priors, none, none).gt_inds.tolist()
        == assigner.assign(priors, none).gt_inds.tolist()
        == [0, 0, 0, 0]
    )
