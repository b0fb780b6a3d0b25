"""The backbones: declared facts equal what the networks do, and reading the facts imports no torch."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights  # type: ignore[attr-defined]  # public, not in an __all__

from bench.core.errors import BenchError
from bench.core.registries import BACKBONES
from bench.models.backbones import RESNET18, BackboneFacts
from bench.training.randomness import reseed

NAMES = ["darknet53", "efficientnet-lite0", "resnet18", "resnet34", "resnet50"]
PARAMETERS = {
    "resnet18": 11_176_512,
    "resnet34": 21_284_672,
    "resnet50": 23_508_032,
    "darknet53": 40_584_928,
    "efficientnet-lite0": 2_958_848,
}


@functools.cache
def built(name: str) -> nn.Module:
    """Return the network with random weights; drawing them is the slow part of these tests."""
    reseed(0, "weights")
    network: nn.Module = BACKBONES.get(name).build()
    return network


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_as_declared(name: str) -> None:
    facts: BackboneFacts = BACKBONES.get(name)
    network = built(name).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]
    image = torch.zeros(2, 3, 64, 96)
    with torch.inference_mode():
        stages = network.forward_stages(image)  # type: ignore[operator]
        assert torch.equal(network(image), stages[-1])
    assert facts.name == name
    assert [tuple(stage.shape) for stage in stages] == [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(facts.out_channels, facts.strides, strict=True)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_odd_sizes_and_gradients(name: str) -> None:
    network = built(name).train()
    out = network(torch.randn(2, 3, 45, 33))
    assert out.shape[2:] == (2, 2)
    assert torch.isfinite(out).all() and 0.05 < out.std().item() < 100  # random weights keep the signal alive
    out.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_is_that_of_the_published_weights(name: str) -> None:
    facts: BackboneFacts = BACKBONES.get(name)
    assert facts.weights
    for weights in facts.weights.values():
        assert (weights.mean, weights.std) == (facts.mean, facts.std)
        assert weights.sha256_prefix or weights.size_bytes
        assert weights.url.endswith(weights.file) if weights.url else weights.package
        assert weights.sha256_prefix[:8] in weights.file
    assert facts.weight_file() is facts.weights["imagenet"]
    with pytest.raises(BenchError, match="no published weights 'imagnet'; nearest: imagenet"):
        facts.weight_file("imagnet")


def test_published_files_are_those_of_torchvision() -> None:
    for name in ("resnet18", "resnet34", "resnet50"):
        weights = get_model_weights(name)["IMAGENET1K_V1"]
        known = BACKBONES.get(name).weight_file()
        assert weights.url == known.url
        assert (tuple(weights.transforms().mean), tuple(weights.transforms().std)) == (known.mean, known.std)


def test_weights_depend_on_the_seed_alone() -> None:
    def first(seed: int) -> torch.Tensor:
        reseed(seed, "weights")
        return RESNET18.build().state_dict()["layer4.1.conv2.weight"]

    assert torch.equal(first(1), first(1)) and not torch.equal(first(1), first(2))


def test_reading_facts_imports_no_torch() -> None:
    code = (
        "import sys, os, bench.models.weights, bench.models.weight_files, bench.training.api, bench.core.progress\n"
        "from bench.core.registries import BACKBONES\n"
        "[BACKBONES.get(n).weights for n in BACKBONES.names()]\n"
        "heavy = {'torch', 'torchvision', 'mmengine', 'tqdm', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
