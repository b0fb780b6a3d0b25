"""The way of a backbone into a detector: equal activations, nothing unset, the hash of what stands there, and what is
refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet_toys import SMALL, context_of, faster_rcnn, fit_data, ship_scenes, yolov3
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.core.registries import BACKBONES
from bench.data.ships.view import SceneView
from bench.detection.detectors.base import InitialWeights
from bench.detection.detectors.mmdet.faster_rcnn import FasterRcnn, FasterRcnnOptions
from bench.detection.detectors.mmdet.models import DetectorNetwork, load_backbone
from bench.detection.detectors.mmdet.yolov3 import YoloV3, YoloV3Options
from bench.matching.matchers.networks import InfoNceNetwork
from bench.models.weights import permuted_within_layers, save_weights, state_sha256

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneView:
    return ship_scenes(tmp_path_factory.mktemp("scenes"))


def network_on(backbone: str, yolo: bool = False) -> DetectorNetwork:
    if backbone == "darknet53" or yolo:
        return YoloV3(YoloV3Options())._build(backbone)
    return FasterRcnn(FasterRcnnOptions(**SMALL))._build(backbone)


def backbone_features(network: DetectorNetwork, images: Tensor) -> list[Tensor]:
    """What the network's neck is given for `images` (n, size, size) in [0, 1]."""
    return list(network.model.backbone(network._inputs(images)))


def trained_looking(backbone: str, seed: int) -> nn.Module:
    """A backbone of ours in which every tensor, running statistics and counters included, differs from any fresh
    start.
    """
    network = BACKBONES.get(backbone).build()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key.endswith("num_batches_tracked"):
                value.fill_(17)
            elif key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif value.ndim == 1:
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
            else:
                value.add_(0.01 * torch.randn(value.shape, generator=generator))
    return network.eval()


def initial_of(detector: Any, data: Any) -> tuple[DetectorNetwork, str]:
    network, sha256 = detector._initial(data)
    return network, sha256


@pytest.mark.parametrize(
    ("backbone", "yolo"),
    [
        *((name, False) for name in ("resnet18", "resnet34", "resnet50", "darknet53", "efficientnet-lite0")),
        ("efficientnet-lite0", True),
    ],
)
def test_the_detectors_backbone_gives_the_activations_of_ours(backbone: str, yolo: bool) -> None:
    """Same images in [0, 1]: normalised outside for ours as in pretraining, inside for the detector."""
    ours = trained_looking(backbone, 1)
    network = network_on(backbone, yolo)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    sha256 = load_backbone(network, backbone, ours.state_dict())
    assert sha256 == state_sha256(ours.state_dict())
    for key, value in network.state_dict().items():
        # every tensor of the backbone, and no other
        assert torch.equal(value, before[key]) != key.startswith("model.backbone."), key
    network.eval()
    images = torch.rand(2, 64, 96, generator=torch.Generator().manual_seed(2))
    facts = BACKBONES.get(backbone)
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (facts.mean, facts.std))
    with torch.inference_mode():
        wanted = ours.forward_stages((images[:, None].expand(-1, 3, -1, -1) - mean) / std)  # type: ignore[operator]
        found = backbone_features(network, images)
    assert [each.shape[1] for each in found] == list(facts.out_channels[-len(found) :])
    for mine, theirs in zip(wanted[-len(found) :], found, strict=True):
        assert torch.allclose(mine, theirs, atol=TOLERANCE, rtol=TOLERANCE)
        assert theirs.std() > 1e-3


def test_the_sar_branch_of_a_matcher_becomes_the_backbone(tmp_path: Path, scenes: SceneView) -> None:
    torch.manual_seed(5)
    matcher = InfoNceNetwork("resnet18", 32, 64, 0.1)
    matcher.sar.backbone.load_state_dict(trained_looking("resnet18", 3).state_dict())
    matcher.optical.backbone.load_state_dict(trained_looking("resnet18", 4).state_dict())
    path = tmp_path / "model.safetensors"
    save_weights(path, matcher.state_dict())
    detector = faster_rcnn(context_of(tmp_path))
    network, sha256 = initial_of(detector, fit_data(scenes, initial=InitialWeights(path, "sar.backbone.")))
    assert (
        sha256 == state_sha256(matcher.sar.backbone.state_dict()) != state_sha256(matcher.optical.backbone.state_dict())
    )
    with pytest.raises(BenchError, match=r"under a prefix.*sar\.backbone"):
        initial_of(detector, fit_data(scenes, initial=InitialWeights(path)))
    facts = detector.fit(fit_data(scenes, initial=InitialWeights(path, "sar.backbone.")))
    assert facts["initial_state_sha256"] == sha256
    images = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        seen = matcher.eval().sar.backbone((images[:, None].expand(-1, 3, -1, -1) - matcher.sar.mean) / matcher.sar.std)
        assert torch.allclose(backbone_features(network.eval(), images)[-1], seen, atol=TOLERANCE, rtol=TOLERANCE)


def test_a_permuted_start_keeps_the_numbers_of_each_layer_and_nothing_else(tmp_path: Path, scenes: SceneView) -> None:
    path, whole = tmp_path / "backbone.safetensors", trained_looking("resnet18", 6).state_dict()
    save_weights(path, whole)
    detector = faster_rcnn(context_of(tmp_path))
    states = [permuted_within_layers(whole, seed) for seed in (4, 4, 5)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in whole)
    for key, tensor in whole.items():
        assert torch.equal(tensor.flatten().sort()[0], states[0][key].flatten().sort()[0])
        assert tensor.numel() < 32 or not torch.equal(tensor, states[0][key])
        assert tensor.numel() < 32 or not torch.equal(states[2][key], states[0][key])
    order = [
        whole[f"bn1.{name}"].argsort()[states[0][f"bn1.{name}"].argsort().argsort()] for name in ("weight", "bias")
    ]
    assert torch.equal(*order), "the vectors of a batch norm stay together"
    _, sha256 = initial_of(detector, fit_data(scenes, seed=4, initial=InitialWeights(path, permuted=True)))
    assert sha256 == state_sha256(states[0]) != state_sha256(whole)


def test_arms_differ_in_the_backbone_alone(tmp_path: Path, scenes: SceneView) -> None:
    path = tmp_path / "backbone.safetensors"
    save_weights(path, trained_looking("resnet18", 6).state_dict())
    detector = faster_rcnn(context_of(tmp_path))
    random, first = initial_of(detector, fit_data(scenes, seed=4))
    loaded, second = initial_of(detector, fit_data(scenes, seed=4, initial=InitialWeights(path)))
    other, third = initial_of(detector, fit_data(scenes, seed=5))
    assert len({first, second, third}) == 3
    states = random.state_dict(), loaded.state_dict(), other.state_dict()
    heads = [key for key in states[0] if not key.startswith("model.backbone.")]
    assert heads and all(torch.equal(states[0][key], states[1][key]) for key in heads)
    assert not torch.equal(states[0]["model.rpn_head.rpn_conv.weight"], states[2]["model.rpn_head.rpn_conv.weight"])
    torch.manual_seed(4)
    # a random start is pretraining's random start
    assert first == state_sha256(BACKBONES.get("resnet18").build().state_dict())


def test_torchs_generator_is_left_as_it_was(tmp_path: Path, scenes: SceneView) -> None:
    torch.manual_seed(9)
    wanted = torch.rand(3)
    torch.manual_seed(9)
    initial_of(faster_rcnn(context_of(tmp_path)), fit_data(scenes))
    assert torch.equal(torch.rand(3), wanted)


def test_other_incomplete_and_broken_checkpoints_are_refused(tmp_path: Path, scenes: SceneView) -> None:
    state = trained_looking("resnet18", 7).state_dict()
    files = {
        "resnet34": trained_looking("resnet34", 7).state_dict(),
        "darknet53": {f"{part}.conv.weight": torch.zeros(1) for part in ("stem", "stages.0.down")},
        "incomplete": {key: value for key, value in state.items() if not key.startswith("layer3.1.bn2")},
        "left over": {**state, "layer5.0.conv1.weight": torch.zeros(1)},
        "nan": {**state, "conv1.weight": state["conv1.weight"] * np.nan},
    }
    told = {
        "resnet34": "do not fit",
        "darknet53": "darknet",
        "incomplete": "missing",
        "left over": "left over",
        "nan": "NaN",
    }
    detector = faster_rcnn(context_of(tmp_path))
    for name, content in files.items():
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, content)
        with pytest.raises(BenchError, match=told[name]):
            detector.fit(fit_data(scenes, initial=InitialWeights(path)))
    assert not (tmp_path / "checkpoints").exists()
    with pytest.raises(BenchError, match="resnet"):
        initial_of(
            yolov3(context_of(tmp_path)), fit_data(scenes, initial=InitialWeights(tmp_path / "resnet34.safetensors"))
        )
    network = network_on("resnet18")
    before = state_sha256(network.state_dict())
    with pytest.raises(BenchError, match="missing"):
        load_backbone(network, "resnet18", files["incomplete"])
    assert state_sha256(network.state_dict()) == before  # nothing was copied


def test_a_file_in_half_precision_is_told(tmp_path: Path) -> None:
    network = network_on("resnet18")
    half = {
        key: value.half() if value.is_floating_point() else value
        for key, value in trained_looking("resnet18", 8).state_dict().items()
    }
    with pytest.raises(BenchError, match="other dtypes"):
        load_backbone(network, "resnet18", half)
