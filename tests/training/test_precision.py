"""Mixed precision and memory formats on a CPU, compiled backbones; losses stay exact. CUDA has its test in
test_training_run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_toys import ToyBatches, ToyNet, outcome, toy_context, toy_net, toy_spec

from bench.core.errors import BenchError
from bench.matching.matchers.base import Setup
from bench.matching.matchers.dense_network import DenseNetwork
from bench.matching.matchers.infonce import InfoNce, InfoNceOptions
from bench.matching.matchers.networks import InfoNceNetwork
from bench.training.api import train
from bench.training.precision import compiled
from bench.training.randomness import reseed
from bench.training.state import TrainStore


class Watching(ToyNet):
    """Notes what its convolution gives, and what its loss is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()
        self.conv.register_forward_hook(lambda module, inputs, out: self.seen.add(out.dtype))

    def compilable(self) -> list[nn.Module]:
        return [self.conv]


def watching() -> Watching:
    reseed(0, "weights")
    return Watching()


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_cpu_trains_in_each_precision_and_resumes_in_it(tmp_path: Path, precision: str, dtype: torch.dtype) -> None:
    spec = toy_spec(2, precision=precision)
    model = watching()
    result = train(model, ToyBatches(), spec, toy_context(tmp_path / "whole"))
    assert model.seen == {dtype}
    assert all(value.dtype in (torch.float32, torch.int64) for value in model.state_dict().values())
    plain = train(toy_net(), ToyBatches(), toy_spec(2), toy_context(tmp_path / "plain"))
    # the loss is scaled down until it fits, and nothing is learned meanwhile
    near = 0.2 if precision == "fp16" else 0.02
    assert result.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=near)
    assert (result.history == plain.history) == (precision == "fp32")

    def stop(net: nn.Module, epoch: int) -> dict[str, float]:
        assert not torch.is_autocast_enabled("cpu")  # validation is fp32
        if epoch == 2:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        train(watching(), ToyBatches(), spec, toy_context(tmp_path / "parts"), stop)
    _, _, optimizer = TrainStore(tmp_path / "parts").load(_identity(tmp_path / "parts")) or ({}, {}, {})
    assert bool(optimizer.get("loss_scaler")) == (precision == "fp16")
    again = watching()
    assert train(again, ToyBatches(), spec, toy_context(tmp_path / "parts")).resumed_from == 1
    assert outcome(again, tmp_path / "parts") == outcome(model, tmp_path / "whole")


def _identity(folder: Path) -> str:
    return str(torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["train"]["identity"])


def test_a_precision_that_the_processor_lacks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(self: nn.Conv2d, image: Tensor) -> Tensor:
        raise RuntimeError("\"slow_conv2d_cpu\" not implemented for 'Half'\nmore")

    monkeypatch.setattr(nn.Conv2d, "forward", lacking)
    message = (
        r"^precision fp16 does not work on this processor \(\"slow_conv2d_cpu\" not implemented for 'Half'\); use fp32$"
    )
    with pytest.raises(BenchError, match=message):
        train(toy_net(), ToyBatches(), toy_spec(precision="fp16"), toy_context(tmp_path))
    assert not (tmp_path / "checkpoints").exists()


# -- losses ------------------------------------------------------------------------------------------------------------
def test_the_contrastive_loss_is_exact_though_the_branches_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cosines of one to three digits after division by the temperature would be rounded to a few steps of bfloat16."""
    rows = nn.functional.normalize(torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0)), dim=2).bfloat16()
    network = InfoNceNetwork("resnet18", 8, None, 0.07)
    monkeypatch.setattr(network, "embed", lambda view, images: rows[0 if view == "sar" else 1])
    batch = {"sar": torch.zeros(6), "optical": torch.zeros(6)}
    exact = network.loss(batch)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network.loss(batch)["loss"], exact)
        rough = (rows[0].float() @ rows[1].float().T) / 0.07
    assert rough.dtype == torch.bfloat16  # what autocast does to a product of fp32 matrices


# -- memory format -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("input_px", [None, pytest.param(32, marks=pytest.mark.slow)])
def test_channels_last_reaches_the_convolutions_of_a_matcher_trained_and_loaded(
    tmp_path: Path, input_px: int | None
) -> None:
    matcher = InfoNce(InfoNceOptions.model_validate({"channels_last": True, "input_px": input_px, "dim": 4}))
    matcher.prepare(Setup("resnet18", None, toy_context(tmp_path)))
    torch.manual_seed(0)
    network = matcher._made()
    matcher._network = network
    loaded = InfoNce(matcher.options)
    loaded.prepare(Setup("resnet18", None, toy_context(tmp_path)))
    loaded.load_state(matcher.state())
    rng = np.random.default_rng(0)
    for view, shape in (("sar", (2, 48, 48)), ("optical", (2, 48, 48, 3))):
        images, found = torch.from_numpy(rng.random(shape, np.float32)), []
        for net in (network, loaded._network):
            assert net is not None
            conv = next(
                module for module in net.modules() if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
            )
            shown = _inputs_of(next(m for m in getattr(net, view).modules() if isinstance(m, nn.Conv2d)))
            with torch.no_grad():
                found.append(net.eval().embed(view, images))
            assert shown[0].is_contiguous(memory_format=torch.channels_last)
            assert conv.weight.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(found[0], found[1])


def _inputs_of(module: nn.Module) -> list[Tensor]:
    shown: list[Tensor] = []
    module.register_forward_pre_hook(lambda module, inputs: shown.append(inputs[0]))
    return shown


# -- compiled backbones ------------------------------------------------------------------------------------------------
def test_compiled_while_training_only_and_nothing_is_left_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def compile_(function: Any, dynamic: bool) -> Any:
        assert dynamic is False

        def counted(*arguments: Any) -> Any:
            calls.append(function)
            return function(*arguments)

        return counted

    monkeypatch.setattr(torch, "compile", compile_)
    model = watching()
    keys = list(model.state_dict())
    validated = []

    def validate(net: nn.Module, epoch: int) -> dict[str, float]:
        before = len(calls)
        net(torch.zeros(2, 3, 16, 16))
        validated.append(len(calls) - before)
        return {}

    train(model, ToyBatches(), toy_spec(2, compile=True), toy_context(tmp_path / "a"), validate)
    assert len(calls) == 1 + 8 and validated == [0, 0]  # the trial, and each step
    assert list(model.state_dict()) == keys and "forward" not in vars(model.conv)
    plain = watching()
    train(plain, ToyBatches(), toy_spec(2), toy_context(tmp_path / "b"))
    assert outcome(plain, tmp_path / "b") == outcome(model, tmp_path / "a")
    with pytest.raises(BenchError, match="ToyNet names no backbone to compile; use compile: false"):
        train(toy_net(), ToyBatches(), toy_spec(1, compile=True), toy_context(tmp_path / "c"))


@pytest.mark.parametrize("name", ["infonce", "dense"])
def test_what_a_matcher_names_is_what_its_loss_calls(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def compile_(function: Any, dynamic: bool) -> Any:
        def counted(*arguments: Any) -> Any:
            calls.append(function)
            return function(*arguments)

        return counted

    monkeypatch.setattr(torch, "compile", compile_)
    network = InfoNceNetwork("resnet18", 4, None, 0.1) if name == "infonce" else DenseNetwork("shallow", 4, 1, 0, 0.1)
    batch = {
        "sar": torch.rand(2, 40, 40),
        "optical": torch.rand(2, 40, 40, 3),
        "shift": torch.zeros(2, 2, dtype=torch.long),
    }
    with compiled(network, torch.device("cpu")):
        calls.clear()
        network.train().loss(batch)
        assert len(calls) == 2  # a branch each
        network.eval().loss(batch)
        assert len(calls) == 2
    network.train().loss(batch)
    assert len(calls) == 2


def test_no_compiler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_(function: Any, dynamic: bool) -> Any:
        raise RuntimeError("No working C++ compiler found in\n...")

    monkeypatch.setattr(torch, "compile", compile_)
    message = (
        r"^compile: true needs a C\+\+ compiler \(g\+\+\) that works here \(RuntimeError: No working C\+\+ compiler"
        r" found in\)"
    )
    with pytest.raises(BenchError, match=message):
        train(watching(), ToyBatches(), toy_spec(1, compile=True), toy_context(tmp_path))


@pytest.mark.slow
def test_genuinely_compiled_it_computes_the_same_to_the_last_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    fast, plain = watching(), watching()
    result = train(fast, ToyBatches(), toy_spec(2, compile=True), toy_context(tmp_path / "a"))
    expected = train(plain, ToyBatches(), toy_spec(2), toy_context(tmp_path / "b"))
    assert result.history[-1] == pytest.approx(expected.history[-1], rel=1e-4)
    assert any((tmp_path / "cache").rglob("*"))  # something was compiled
    import torch._inductor.config as config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "other"))
    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(BenchError, match=r"compile: true needs a C\+\+ compiler"):
        train(watching(), ToyBatches(), toy_spec(1, compile=True), toy_context(tmp_path / "c"))
