"""Exported backbones, loaded by the foreign libraries themselves: equal activations on the same input."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.core.registries import BACKBONES
from bench.models import keymaps
from bench.models.exporting import TARGETS, check_target, write_export
from bench.models.weights import load_initial_weights, state_sha256


def lively(name: str, seed: int = 0) -> Any:
    """A backbone in evaluation mode whose every tensor matters: statistics and scales are drawn too."""
    torch.manual_seed(seed)
    network = BACKBONES.get(name).build().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(1e-3, 1.5)
            module.weight.data.uniform_(0.5, 1.2)
            module.bias.data.normal_(0, 0.1)
    return network


@pytest.fixture(
    scope="module",
    params=["resnet18", pytest.param("resnet50", marks=pytest.mark.slow), "darknet53", "efficientnet-lite0"],
)
def network(request: pytest.FixtureRequest) -> tuple[str, Any]:
    return request.param, lively(request.param)


def assert_equal_stages(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and float((a - b).abs().max()) <= 1e-5 * float(a.abs().max())


def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def by_torchvision(name: str, file: Path) -> Callable[[Tensor], list[Tensor]]:
    import torchvision

    model = getattr(torchvision.models, name)()
    model.fc = nn.Identity()
    model.load_state_dict(torch.load(file), strict=True)
    model.eval()

    def stages(x: Tensor) -> list[Tensor]:
        x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
        return [x := layer(x) for layer in (model.layer1, model.layer2, model.layer3, model.layer4)]

    return stages


def by_timm(name: str, file: Path) -> Callable[[Tensor], list[Tensor]]:
    timm = pytest.importorskip("timm")
    from functools import partial

    if name == "efficientnet-lite0":
        pyramid = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4))
        pyramid.load_state_dict(torch.load(file), strict=True)
        return pyramid.eval()
    more = {"act_layer": partial(nn.LeakyReLU, negative_slope=0.1)} if name == "darknet53" else {}
    model = timm.create_model(name, num_classes=0, checkpoint_path=str(file), **more).eval()
    if name != "darknet53":
        model_stages = (model.layer1, model.layer2, model.layer3, model.layer4)
        first: Callable[[Tensor], Tensor] = lambda x: model.maxpool(model.act1(model.bn1(model.conv1(x))))  # noqa: E731
    else:
        model_stages = tuple(model.stages)[1:]
        first = lambda x: model.stages[0](model.stem(x))  # noqa: E731

    def stages(x: Tensor) -> list[Tensor]:
        x = first(x)
        return [x := stage(x) for stage in model_stages]

    return stages


def by_mmdet(name: str, file: Path) -> Callable[[Tensor], list[Tensor]]:
    from bench.detection.detectors.mmdet import mmcv_bridge

    mmcv_bridge.install()
    import mmdet.models  # noqa: F401 - fills the registry
    from mmdet.registry import MODELS

    start = {"type": "Pretrained", "checkpoint": str(file)}
    if name == "darknet53":
        config = {
            "type": "mmdet.Darknet",
            "depth": 53,
            "out_indices": (2, 3, 4, 5),
            "norm_eval": False,
            "init_cfg": start,
        }
    else:
        config = {
            "type": "mmdet.ResNet",
            "depth": int(name.removeprefix("resnet")),
            "norm_eval": False,
            "frozen_stages": -1,
            "init_cfg": start,
        }
    model = MODELS.build(config)
    model.init_weights()
    model.eval()
    return lambda x: list(model(x))


def by_ultralytics(name: str, file: Path) -> Callable[[Tensor], list[Tensor]]:
    import yaml

    from bench.detection.detectors.ultralytics.models import library

    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("needs the extra ultralytics")
    model = library().DetectionModel(yaml.safe_load(Path(f"{file}.yaml").read_text()), ch=3, verbose=False)
    found = model.load_state_dict(torch.load(file), strict=False)
    assert not found.unexpected_keys and not [key for key in found.missing_keys if int(key.split(".")[1]) <= 10]
    model.eval()

    def stages(x: Tensor) -> list[Tensor]:
        out = []
        for i in range(11):
            x = model.model[i](x)
            out += [x] if i in (4, 6, 8, 10) else []
        return out

    return stages


LOADERS = {"torchvision": by_torchvision, "timm": by_timm, "mmdet": by_mmdet, "ultralytics": by_ultralytics}


@pytest.mark.parametrize("target", sorted(LOADERS))
def test_the_foreign_library_computes_the_same(network: tuple[str, Any], target: str, tmp_path: Path) -> None:
    name, ours = network
    if name not in TARGETS[target].maps:
        with pytest.raises(BenchError, match=f"{target} has no {name} .*; {name} goes to "):
            check_target(target, name)
        return
    file = tmp_path / f"x{TARGETS[target].suffix}"
    text = write_export(name, ours.state_dict(), target, file)
    assert str(file) in text and Path(f"{file}.txt").read_text() == text
    with torch.no_grad():
        assert_equal_stages(ours.forward_stages(images()), LOADERS[target](name, file)(images()))


def test_darknets_own_file_reads_back(tmp_path: Path) -> None:
    ours = lively("darknet53")
    file = tmp_path / "darknet53.conv.74"
    write_export("darknet53", ours.state_dict(), "darknet", file)
    assert file.stat().st_size == keymaps.DARKNET_FILE_BYTES
    back = load_initial_weights("darknet53", file)
    for key, value in ours.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(value, back[key]), key


@pytest.mark.parametrize("name", ["timm", "ultralytics"])
def test_maps_lead_back(name: str) -> None:
    state = lively("darknet53", seed=2).state_dict()
    there = getattr(keymaps, f"darknet_to_{name}")(state)
    back = getattr(keymaps, f"darknet_from_{name}")(there)
    assert back.keys() == state.keys() and len(there) == len(state)
    for key in state:
        torch.testing.assert_close(back[key], state[key], rtol=1e-6, atol=1e-7)
    if name == "timm":
        assert state_sha256(back) == state_sha256(state)
    with pytest.raises(BenchError, match="does not belong to the"):
        getattr(keymaps, f"darknet_from_{name}")({**there, "odd.conv.weight": torch.zeros(1)})
