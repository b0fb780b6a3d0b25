"""The key maps, proven by equal activations: the same weights under two sets of names give the same features."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import get_model  # type: ignore[attr-defined]  # public, not in an __all__

from bench.core.errors import BenchError
from bench.core.registries import BACKBONES
from bench.models import keymaps
from bench.models.backbones import DARKNET53
from bench.models.weights import load_into, load_weights

TOLERANCE = 1e-5


def disturb(network: nn.Module, seed: int) -> nn.Module:
    """Give every tensor, running statistics included, a value that no other one shares."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif value.ndim == 1:
                value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    network.eval()  # mmdet's returns None
    return network


def image() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(7))


@pytest.fixture(scope="module")
def mmdet_darknet() -> ModuleType:
    """The module of mmdet's own Darknet class."""
    from bench.detection.detectors.mmdet import mmcv_bridge

    mmcv_bridge.install()
    from mmdet.models.backbones import darknet

    return darknet


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_gives_torchvisions_activations(name: str) -> None:
    theirs = disturb(get_model(name, weights=None), 1)
    seen: dict[str, torch.Tensor] = {}
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        getattr(theirs, stage).register_forward_hook(lambda _m, _i, out, stage=stage: seen.update({stage: out}))
    state = {key: value for key, value in theirs.state_dict().items() if not key.endswith(keymaps.COUNTER)}
    ours = BACKBONES.get(name).build().eval()
    load_into(ours, keymaps.resnet_from_torchvision(state))
    with torch.inference_mode():
        theirs(image())
        stages = ours.forward_stages(image())
    for mine, other in zip(stages, seen.values(), strict=True):
        assert torch.allclose(mine, other, atol=TOLERANCE, rtol=TOLERANCE)
    assert set(keymaps.resnet_to_mmdet(ours.state_dict())) == set(theirs.state_dict()) - set(keymaps.RESNET_HEADS)


def test_darknet_gives_mmdets_activations_both_ways(mmdet_darknet: ModuleType) -> None:
    theirs = disturb(mmdet_darknet.Darknet(depth=53, out_indices=(2, 3, 4, 5), norm_eval=True), 2)
    ours = DARKNET53.build().eval()
    load_into(ours, keymaps.darknet_from_mmdet(theirs.state_dict()))
    back = keymaps.darknet_to_mmdet(ours.state_dict())
    assert list(back) and set(back) == set(theirs.state_dict())
    assert all(torch.equal(back[key], value) for key, value in theirs.state_dict().items())
    with torch.inference_mode():
        for mine, other in zip(ours.forward_stages(image()), theirs(image()), strict=True):  # type: ignore[operator]
            assert torch.allclose(mine, other, atol=TOLERANCE, rtol=TOLERANCE)
            assert other.std() > 1e-3


def test_darknet_file_gives_the_activations_of_its_source(mmdet_darknet: ModuleType, tmp_path: Path) -> None:
    """The file is written here by walking mmdet's network in its own order, as darknet stores it."""
    theirs = disturb(mmdet_darknet.Darknet(depth=53, out_indices=(2, 3, 4, 5)), 3)
    parts = [np.array([0, 2, 0], "<i4").tobytes(), np.array([32013312], "<u8").tobytes()]
    units: list[Any] = list(theirs.modules())
    for unit in units:
        if type(unit).__name__ == "ConvModule":
            tensors = (unit.bn.bias, unit.bn.weight, unit.bn.running_mean, unit.bn.running_var, unit.conv.weight)
            parts += [tensor.detach().numpy().astype("<f4").tobytes() for tensor in tensors]
    path = tmp_path / "darknet53.conv.74"
    path.write_bytes(b"".join(parts))
    assert path.stat().st_size == DARKNET53.weight_file("imagenet-darknet").size_bytes
    state, _ = load_weights(path)
    ours = DARKNET53.build().eval()
    load_into(ours, state)
    with torch.inference_mode():
        for mine, other in zip(ours.forward_stages(image()), theirs(image()), strict=True):  # type: ignore[operator]
            assert torch.allclose(mine, other, atol=TOLERANCE, rtol=TOLERANCE)
    data = path.read_bytes()
    with pytest.raises(BenchError, match=r"162,482,580"):
        keymaps.darknet_from_binary(data[:-4], "x")
    with pytest.raises(BenchError, match=r"header version 0\.1"):
        keymaps.darknet_from_binary(np.array([0, 1, 0], "<i4").tobytes() + data[12:], "x")
    path.write_bytes(data[:1000])
    with pytest.raises(BenchError, match="1,000 bytes"):
        load_weights(path)


def test_neutral_darknet_names_are_the_networks_own() -> None:
    with torch.device("meta"):
        state = DARKNET53.build().state_dict()
    units = [name for name, *_ in keymaps.darknet_convolutions()]
    assert len(units) == 52
    assert [key.removesuffix(".conv.weight") for key in state if key.endswith(".conv.weight")] == units
    shapes = {name: (outputs, inputs, k, k) for name, inputs, outputs, k in keymaps.darknet_convolutions()}
    assert all(tuple(state[f"{name}.conv.weight"].shape) == shape for name, shape in shapes.items())


def test_foreign_keys_are_refused() -> None:
    with pytest.raises(BenchError, match=r"'conv_res_block9\.conv\.conv\.weight' does not belong to the mmdet Darknet"):
        keymaps.darknet_from_mmdet({"conv_res_block9.conv.conv.weight": torch.zeros(1)})
    with pytest.raises(BenchError, match="neutral Darknet-53"):
        keymaps.darknet_to_mmdet({"fc.weight": torch.zeros(1)})
