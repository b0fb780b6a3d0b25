"""How a training computes: mixed precision on either kind of device, and compiled backbones (torch; imported at
execution time only).

Mixed precision is torch's autocast: convolutions and matrix products in the reduced type, weights and optimiser in
fp32. fp16 also scales the loss, since its gradients vanish otherwise. Losses are fp32: networks hand full-precision
values to them (`full_precision` of `parallel.py`; the heads of `detection.detectors.mmdet`). Validation and prediction
are fp32 always, and fp32 is never TF32.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError, first_line
from bench.training.mmengine_parts import AmpOptimWrapper, OptimWrapper

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def wrapped(
    optimizer: torch.optim.Optimizer, precision: str, clip_norm: float | None, device: torch.device
) -> OptimWrapper:
    """Return mmengine's wrapper that steps `optimizer` in `precision`, gradients clipped to `clip_norm`.

    Raises:
        BenchError: this processor cannot compute in `precision`.
    """
    clip = None if clip_norm is None else {"max_norm": clip_norm}
    if precision == "fp32":
        return _Plain(optimizer=optimizer, clip_grad=clip)
    dtype, scaled = DTYPES[precision], precision == "fp16"
    if device.type == "cpu":
        _check_processor(precision)
        return _MixedOnCpu(dtype, scaled, optimizer=optimizer, clip_grad=clip)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # mmengine asks for the scaler under its older name
        return _Mixed(
            loss_scale="dynamic" if scaled else {"enabled": False},  # type: ignore[arg-type]  # it takes both
            dtype=dtype,
            optimizer=optimizer,
            clip_grad=clip,
        )


class _Clipping:
    """Clips without reading the norm back, which would wait for the device in every iteration."""

    optimizer: torch.optim.Optimizer
    clip_grad_kwargs: dict[str, Any] | None

    def _clip_grad(self) -> None:
        groups = self.optimizer.param_groups
        parameters = [p for group in groups for p in group["params"] if p.grad is not None]
        nn.utils.clip_grad_norm_(parameters, **(self.clip_grad_kwargs or {}))


class _Plain(_Clipping, OptimWrapper):
    """Full precision."""


class _Mixed(_Clipping, AmpOptimWrapper):
    """Mixed precision on a CUDA device."""


class _MixedOnCpu(_Clipping, AmpOptimWrapper):
    """Mixed precision on a CPU, which mmengine's wrapper refuses though torch offers it."""

    def __init__(self, dtype: torch.dtype, scaled: bool, **arguments: Any) -> None:
        OptimWrapper.__init__(self, **arguments)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler("cpu", enabled=scaled)  # type: ignore[assignment]  # as its other branch
        self.cast_dtype = dtype

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with OptimWrapper.optim_context(self, model), torch.autocast("cpu", dtype=self.cast_dtype):
            yield


def _check_processor(precision: str) -> None:
    """Try a convolution and its gradient on this processor; raise BenchError where torch cannot compute them."""
    layer, image = nn.Conv2d(2, 2, 3), torch.zeros(1, 2, 8, 8)
    try:
        with torch.random.fork_rng(devices=[]), torch.autocast("cpu", dtype=DTYPES[precision]):
            out: Tensor = layer(image)
        torch.autograd.backward(out.float().sum())
    except RuntimeError as error:
        raise BenchError(
            f"precision {precision} does not work on this processor ({first_line(error)}); use fp32"
        ) from error


@contextmanager
def compiled(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Within, what `model.compilable()` names runs as torch.compile makes it, while it is in training mode: backbones.

    It names modules, or (module, method) where another method than `forward` is called. Each input shape is compiled
    for itself: all images of a training have one size, and its batches two (the last one of an epoch), or three where
    ranks share them. In evaluation mode nothing is compiled. Names and values of the weights stay as they are.

    Raises:
        BenchError: the model names nothing, or no compiler works here.
    """
    named: Sequence[Any] | None = model.compilable() if hasattr(model, "compilable") else None  # type: ignore[operator]  # of a Module, any attribute
    if not named:
        raise BenchError(f"{type(model).__name__} names no backbone to compile; use compile: false")
    _check_compiler(device)
    parts = [part if isinstance(part, tuple) else (part, "forward") for part in named]
    for part, method in parts:
        setattr(part, method, _when_training(part, getattr(part, method)))
    try:
        yield
    finally:
        for part, method in parts:
            delattr(part, method)


def _when_training(part: nn.Module, plain: Callable[..., Any]) -> Callable[..., Any]:
    fast = torch.compile(plain, dynamic=False)

    def call(*arguments: Any) -> Any:
        return fast(*arguments) if part.training else plain(*arguments)

    return call


def _check_compiler(device: torch.device) -> None:
    """Compile a line of code; raise BenchError where that fails, and forget what was compiled for earlier trainings."""
    torch._dynamo.reset()
    try:
        torch.compile(_doubled, dynamic=False)(torch.ones(8, device=device))
    except (RuntimeError, ImportError, OSError) as error:
        needed = "Triton" if device.type == "cuda" else "a C++ compiler (g++)"
        raise BenchError(
            f"compile: true needs {needed} that works here ({type(error).__name__}: {first_line(error)}); use compile:"
            " false"
        ) from error


def _doubled(x: Tensor) -> Tensor:
    return x * 2 + 1
