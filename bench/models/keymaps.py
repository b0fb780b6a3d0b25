"""Key maps between frameworks: pure renaming of tensors, explicit and strict. Nothing is guessed and nothing is dropped
silently.

Neutral layouts: torchvision's names for ResNet, those of `darknet.py` for Darknet-53. Known foreign layouts:

- "torchvision": ResNet with a classifier `fc.*`, which is the one part that is dropped. mmdet's ResNet (style
  "pytorch") has the same names.
- "mmdet-darknet": `conv1`, `conv_res_block{i}.conv`, `conv_res_block{i}.res{j}.conv{1,2}`, i = 1..5; no classifier.
- "darknet": the authors' binary file (a 20-byte header, then float32 per convolution in graph order: beta, gamma, mean,
  variance, kernel).

Owns names and byte order only; reading files and checking shapes is the business of `weights.py`.
`num_batches_tracked`, a counter that inference never reads and that older files lack, is set to 0 where missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError
from bench.models.darknet import BLOCKS

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, "Tensor"]

RESNET_HEADS = ("fc.weight", "fc.bias")
COUNTER = "num_batches_tracked"
DARKNET_HEADER_BYTES = 20
DARKNET_FILE_BYTES = 162_482_580


def resnet_from_torchvision(state: Mapping[str, Tensor]) -> State:
    """Return a torchvision (or mmdet) ResNet state in the neutral layout: no classifier, missing counters set to 0."""
    return with_counters({key: value for key, value in state.items() if key not in RESNET_HEADS})


def resnet_to_mmdet(state: Mapping[str, Tensor]) -> State:
    """Return a neutral ResNet state under the names of mmdet's ResNet, which are the same."""
    return dict(state)


def darknet_from_mmdet(state: Mapping[str, Tensor]) -> State:
    """Return an mmdet Darknet state in the neutral layout.

    Raises:
        BenchError: a key is none of mmdet's Darknet.
    """
    return with_counters(_rename(state, {mmdet: ours for ours, mmdet in _darknet_units()}, "mmdet Darknet"))


def darknet_to_mmdet(state: Mapping[str, Tensor]) -> State:
    """Return a neutral Darknet-53 state under the names of mmdet's Darknet.

    Raises:
        BenchError: a key is none of the neutral layout.
    """
    return _rename(state, dict(_darknet_units()), "neutral Darknet-53")


def darknet_from_binary(data: bytes, where: str) -> State:
    """Return the contents of `darknet53.conv.74` in the neutral layout, float32.

    Args:
        data: the whole file.
        where: its name, for messages.

    Raises:
        BenchError: the size or the header is not that of `darknet53.conv.74`.
    """
    import torch

    if len(data) != DARKNET_FILE_BYTES:
        raise BenchError(
            f"{where} has {len(data):,} bytes, darknet53.conv.74 has {DARKNET_FILE_BYTES:,}; "
            "fetch it again, or use the first 74 layers only"
        )
    major, minor = (int(x) for x in np.frombuffer(data, "<i4", 2))
    if not 2 <= major * 10 + minor < 1000:
        raise BenchError(f"{where} has darknet header version {major}.{minor}; expected 0.2 or later")
    values = torch.from_numpy(np.frombuffer(data, "<f4", offset=DARKNET_HEADER_BYTES).astype(np.float32))
    state: State = {}
    start = 0

    def take(*shape: int) -> Tensor:
        nonlocal start
        count = int(np.prod(shape))
        start += count
        return values[start - count : start].reshape(shape).clone()

    for name, inputs, outputs, kernel in darknet_convolutions():
        for part in ("bias", "weight", "running_mean", "running_var"):
            state[f"{name}.bn.{part}"] = take(outputs)
        state[f"{name}.conv.weight"] = take(outputs, inputs, kernel, kernel)
    return with_counters(state)


def darknet_convolutions() -> Iterator[tuple[str, int, int, int]]:
    """Yield (neutral unit name, input channels, output channels, kernel size) of the 52 convolutions in graph order."""
    yield "stem", 3, 32, 3
    for i, blocks in enumerate(BLOCKS):
        channels = 64 * 2**i
        yield f"stages.{i}.down", channels // 2, channels, 3
        for j in range(blocks):
            yield f"stages.{i}.blocks.{j}.reduce", channels, channels // 2, 1
            yield f"stages.{i}.blocks.{j}.expand", channels // 2, channels, 3


def with_counters(state: Mapping[str, Tensor]) -> State:
    """Return `state` with a zero `num_batches_tracked` beside every `running_var` that lacks one."""
    import torch

    full = dict(state)
    for key in state:
        if key.endswith(".running_var"):
            full.setdefault(key.removesuffix("running_var") + COUNTER, torch.tensor(0))
    return full


def layout_of(keys: Mapping[str, Tensor]) -> str | None:
    """Return the layout that a state's keys show: "resnet", "darknet" (both neutral), "mmdet-darknet", or None."""
    if "layer1.0.conv1.weight" in keys:
        return "resnet"
    if "stages.0.down.conv.weight" in keys and "stem.conv.weight" in keys:
        return "darknet"
    if "conv_res_block1.conv.conv.weight" in keys:
        return "mmdet-darknet"
    return None


def _darknet_units() -> Iterator[tuple[str, str]]:
    """Yield (neutral, mmdet) names of the convolution units."""
    for ours, *_ in darknet_convolutions():
        theirs = "conv1" if ours == "stem" else re.sub(r"^stages\.(\d)\.down$", _mmdet_down, ours)
        yield ours, re.sub(r"^stages\.(\d)\.blocks\.(\d)\.(reduce|expand)$", _mmdet_block, theirs)


def _mmdet_down(match: re.Match[str]) -> str:
    return f"conv_res_block{int(match[1]) + 1}.conv"


def _mmdet_block(match: re.Match[str]) -> str:
    return f"conv_res_block{int(match[1]) + 1}.res{match[2]}.conv{1 if match[3] == 'reduce' else 2}"


def _rename(state: Mapping[str, Tensor], units: Mapping[str, str], layout: str) -> State:
    renamed: State = {}
    for key, value in state.items():
        match = re.fullmatch(r"(.+)\.(conv\.weight|bn\.\w+)", key)
        if match is None or match[1] not in units:
            raise BenchError(f"key {key!r} does not belong to the {layout} layout; checkpoint of another network?")
        renamed[f"{units[match[1]]}.{match[2]}"] = value
    return renamed
