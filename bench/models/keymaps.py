"""Key maps between frameworks: pure renaming of tensors, explicit and strict. Nothing is guessed and nothing is dropped
silently.

Neutral layouts: torchvision's names for ResNet, those of `darknet.py` for Darknet-53, timm's for EfficientNet-Lite0.
Known foreign layouts:

- "torchvision": ResNet with a classifier `fc.*`, which is the one part that is dropped. mmdet's ResNet (style
  "pytorch") has the same names.
- "mmdet-darknet": `conv1`, `conv_res_block{i}.conv`, `conv_res_block{i}.res{j}.conv{1,2}`, i = 1..5; no classifier.
- "darknet": the authors' binary file (a 20-byte header, then float32 per convolution in graph order: beta, gamma, mean,
  variance, kernel).
- "timm": ResNet as torchvision; `darknet53` as `stem.conv1`, `stages.{i}.conv_down`, `stages.{i}.blocks.{j}.conv{1,2}`.
Its own
  LeakyReLU has slope 0.01: build it with 0.1.
- "efficientnet-pytorch": `_conv_stem`, `_blocks.{i}._expand_conv`, `._depthwise_conv`, `._project_conv`, `._bn{0-2}`,
  i = 0..15; its head `_conv_head`, `_bn1`, `_fc` is dropped, and so is timm's (`conv_head`, `bn2`, `classifier`).
- "ultralytics": a Darknet-53 described by us (`ultralytics_darknet`), since the one of its own yolov3.yaml is another
  network: `model.0`, `model.{2i-1}`, `model.{2i}[.{j}].cv{1,2}`. It sets the epsilon of batch norm to 1e-3; the map
  corrects the scale for it, exactly in evaluation mode.

Owns names and byte order only; reading files and checking shapes is the business of `weights.py`.
`num_batches_tracked`, a counter that inference never reads and that older files lack, is set to 0 where missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from bench.core.errors import BenchError
from bench.models.darknet import BLOCKS, LEAKY_SLOPE
from bench.models.efficientnet_lite import STAGES

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, "Tensor"]

RESNET_HEADS = ("fc.weight", "fc.bias")
EFFICIENTNET_HEADS = ("conv_head", "bn2", "classifier", "_conv_head", "_bn1", "_fc")  # of timm, and of the package
COUNTER = "num_batches_tracked"
DARKNET_HEADER_BYTES = 20
OUR_EPSILON, ULTRALYTICS_EPSILON = 1e-5, 1e-3
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


def darknet_to_binary(state: Mapping[str, Tensor]) -> bytes:
    """Return a neutral Darknet-53 state as the contents of `darknet53.conv.74`: header of version 0.2, no images
    seen.
    """
    parts = [np.array([0, 2, 0], "<i4").tobytes(), np.array([0], "<u8").tobytes()]
    for name, *_ in darknet_convolutions():
        keys = [f"{name}.bn.{part}" for part in ("bias", "weight", "running_mean", "running_var")] + [
            f"{name}.conv.weight"
        ]
        parts += [state[key].detach().cpu().numpy().astype("<f4").tobytes() for key in keys]
    return b"".join(parts)


def darknet_to_timm(state: Mapping[str, Tensor]) -> State:
    """Return a neutral Darknet-53 state under the names of timm's `darknet53`.

    Raises:
        BenchError: a key is none of the neutral layout.
    """
    return _rename(state, {ours: _timm_unit(ours) for ours, *_ in darknet_convolutions()}, "neutral Darknet-53")


def darknet_from_timm(state: Mapping[str, Tensor]) -> State:
    """Return timm's `darknet53` in the neutral layout; its classifier `head.fc.*` is dropped.

    Raises:
        BenchError: a key is none of timm's.
    """
    kept = {key: value for key, value in state.items() if not key.startswith("head.fc.")}
    return with_counters(
        _rename(kept, {_timm_unit(ours): ours for ours, *_ in darknet_convolutions()}, "timm darknet53")
    )


def darknet_to_ultralytics(state: Mapping[str, Tensor], epsilon: float = ULTRALYTICS_EPSILON) -> State:
    """Return a neutral Darknet-53 state as the backbone of `ultralytics_darknet`, scales corrected for the other
    `epsilon`.

    Raises:
        BenchError: a key is none of the neutral layout.
    """
    renamed = _rename(state, dict(_ultralytics_units()), "neutral Darknet-53")
    return _with_epsilon(renamed, OUR_EPSILON, epsilon)


def darknet_from_ultralytics(state: Mapping[str, Tensor], epsilon: float = ULTRALYTICS_EPSILON) -> State:
    """Return the backbone of `ultralytics_darknet` (its keys alone) in the neutral layout.

    Raises:
        BenchError: a key is none of that backbone's.
    """
    renamed = _rename(state, {theirs: ours for ours, theirs in _ultralytics_units()}, "ultralytics Darknet-53")
    return with_counters(_with_epsilon(renamed, epsilon, OUR_EPSILON))


def ultralytics_darknet(classes: int = 1) -> dict[str, object]:
    """Return a model description for `ultralytics.YOLO`: Darknet-53 (Redmon and Farhadi 2018: 1x1 then 3x3 in each
    residual block, slope 0.1) with a three-scale neck and ultralytics' own anchor-free head.

    Layers are [from, repeats, module, arguments]; strides 8, 16 and 32 are taken from layers 6, 8 and 10.
    """
    backbone: list[list[object]] = [[-1, 1, "Conv", [32, 3, 1]]]
    for i, blocks in enumerate(BLOCKS):
        channels = 64 * 2**i
        backbone += [[-1, 1, "Conv", [channels, 3, 2]], [-1, blocks, "Bottleneck", [channels, True, 1, [1, 3]]]]
    head: list[list[object]] = []

    def narrow(channels: int) -> None:
        """Five convolutions, 1x1 and 3x3 in turn, as in YOLOv3's neck; the last is the branch to the next scale."""
        head.extend([-1, 1, "Conv", [channels * (1 + k % 2), 1 + 2 * (k % 2), 1]] for k in range(5))

    outputs = []
    at = len(backbone)
    for channels, skip in ((512, None), (256, 8), (128, 6)):
        if skip is not None:
            head.extend(
                [
                    [at - 2, 1, "Conv", [channels, 1, 1]],
                    [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
                    [[-1, skip], 1, "Concat", [1]],
                ]
            )
        narrow(channels)
        head.append([-1, 1, "Conv", [2 * channels, 3, 1]])
        at = len(backbone) + len(head)
        outputs.append(at - 1)
    head.append([outputs[::-1], 1, "Detect", ["nc"]])
    return {
        "nc": classes,
        "activation": f"torch.nn.LeakyReLU({LEAKY_SLOPE}, inplace=True)",
        "backbone": backbone,
        "head": head,
    }


def darknet_convolutions() -> Iterator[tuple[str, int, int, int]]:
    """Yield (neutral unit name, input channels, output channels, kernel size) of the 52 convolutions in graph order."""
    yield "stem", 3, 32, 3
    for i, blocks in enumerate(BLOCKS):
        channels = 64 * 2**i
        yield f"stages.{i}.down", channels // 2, channels, 3
        for j in range(blocks):
            yield f"stages.{i}.blocks.{j}.reduce", channels, channels // 2, 1
            yield f"stages.{i}.blocks.{j}.expand", channels // 2, channels, 3


def efficientnet_from_timm(state: Mapping[str, Tensor]) -> State:
    """Return timm's EfficientNet-Lite0 in the neutral layout, which has its names: no head, missing counters set to
    0.
    """
    return with_counters({key: value for key, value in state.items() if key.split(".")[0] not in EFFICIENTNET_HEADS})


def efficientnet_from_package(state: Mapping[str, Tensor]) -> State:
    """Return an EfficientNet-Lite0 under the names of efficientnet-pytorch in the neutral layout; its head is dropped.

    Raises:
        BenchError: a key is none of that layout's.
    """
    return with_counters(_moved(state, {theirs: ours for ours, theirs in _efficientnet_modules()}))


def efficientnet_to_package(state: Mapping[str, Tensor]) -> State:
    """Return a neutral EfficientNet-Lite0 state under the names of efficientnet-pytorch.

    Raises:
        BenchError: a key is none of the neutral layout.
    """
    return _moved(state, dict(_efficientnet_modules()))


def with_counters(state: Mapping[str, Tensor]) -> State:
    """Return `state` with a zero `num_batches_tracked` beside every `running_var` that lacks one."""
    import torch

    full = dict(state)
    for key in state:
        if key.endswith(".running_var"):
            full.setdefault(key.removesuffix("running_var") + COUNTER, torch.tensor(0))
    return full


def layout_of(keys: Mapping[str, Tensor]) -> str | None:
    """Return the layout that a state's keys show: one of LAYOUTS, or None."""
    if "layer1.0.conv1.weight" in keys:
        return "resnet"
    if "stages.0.down.conv.weight" in keys and "stem.conv.weight" in keys:
        return "darknet"
    if "conv_res_block1.conv.conv.weight" in keys:
        return "mmdet-darknet"
    if "conv_stem.weight" in keys and "blocks.0.0.conv_dw.weight" in keys:
        return "efficientnet"
    if "_blocks.0._depthwise_conv.weight" in keys:
        return "efficientnet-pytorch"
    return None


LAYOUTS: Mapping[str, tuple[str, Callable[[Mapping[str, Tensor]], State]]] = {
    "resnet": ("resnet", resnet_from_torchvision),
    "darknet": ("darknet", with_counters),
    "mmdet-darknet": ("darknet", darknet_from_mmdet),
    "efficientnet": ("efficientnet", efficientnet_from_timm),
    "efficientnet-pytorch": ("efficientnet", efficientnet_from_package),
}  # what `layout_of` tells apart -> the family's neutral layout, and the way there


def _darknet_units() -> Iterator[tuple[str, str]]:
    """Yield (neutral, mmdet) names of the convolution units."""
    for ours, *_ in darknet_convolutions():
        theirs = "conv1" if ours == "stem" else re.sub(r"^stages\.(\d)\.down$", _mmdet_down, ours)
        yield ours, re.sub(r"^stages\.(\d)\.blocks\.(\d)\.(reduce|expand)$", _mmdet_block, theirs)


def _mmdet_down(match: re.Match[str]) -> str:
    return f"conv_res_block{int(match[1]) + 1}.conv"


def _mmdet_block(match: re.Match[str]) -> str:
    return f"conv_res_block{int(match[1]) + 1}.res{match[2]}.conv{1 if match[3] == 'reduce' else 2}"


def _efficientnet_modules() -> Iterator[tuple[str, str]]:
    """Yield (neutral, efficientnet-pytorch) names of the convolutions and norms."""
    yield from (("conv_stem", "_conv_stem"), ("bn1", "_bn0"))
    first, other = ("conv_dw", "bn1", "conv_pw", "bn2"), ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
    theirs = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
    counted = [(i, j) for i, (blocks, *_) in enumerate(STAGES) for j in range(blocks)]
    for number, (i, j) in enumerate(counted):
        names = first if i == 0 else other
        for ours, name in zip(names, theirs[-len(names) :], strict=True):
            yield f"blocks.{i}.{j}.{ours}", f"_blocks.{number}.{name}"


def _moved(state: Mapping[str, Tensor], modules: Mapping[str, str]) -> State:
    """Return `state` with each module's name replaced, without heads."""
    renamed: State = {}
    for key, value in state.items():
        module, _, leaf = key.rpartition(".")
        if module in modules:
            renamed[f"{modules[module]}.{leaf}"] = value
        elif module not in EFFICIENTNET_HEADS:
            raise BenchError(f"key {key!r} is none of EfficientNet-Lite0; checkpoint of another network?")
    return renamed


def _timm_unit(ours: str) -> str:
    name = "stem.conv1" if ours == "stem" else ours.replace(".down", ".conv_down")
    return name.replace(".reduce", ".conv1").replace(".expand", ".conv2")


def _ultralytics_units() -> Iterator[tuple[str, str]]:
    """Yield (neutral, ultralytics) names of the convolution units."""
    for ours, *_ in darknet_convolutions():
        match = re.fullmatch(r"stages\.(\d)\.(?:down|blocks\.(\d)\.(reduce|expand))", ours)
        if match is None:
            yield ours, "model.0"
        elif match[2] is None:
            yield ours, f"model.{2 * int(match[1]) + 1}"
        else:
            block = "" if BLOCKS[int(match[1])] == 1 else f".{match[2]}"
            yield ours, f"model.{2 * int(match[1]) + 2}{block}.cv{1 if match[3] == 'reduce' else 2}"


def _with_epsilon(state: State, before: float, after: float) -> State:
    """Return `state` with every scale of a batch norm such that epsilon `after` gives what `before` gave."""
    out = dict(state)
    for key, variance in state.items():
        if key.endswith(".running_var") and before != after:
            scale = key.removesuffix("running_var") + "weight"
            wide = variance.double()
            out[scale] = (state[scale].double() * ((wide + after) / (wide + before)).sqrt()).to(state[scale].dtype)
    return out


def _rename(state: Mapping[str, Tensor], units: Mapping[str, str], layout: str) -> State:
    renamed: State = {}
    for key, value in state.items():
        match = re.fullmatch(r"(.+)\.(conv\.weight|bn\.\w+)", key)
        if match is None or match[1] not in units:
            raise BenchError(f"key {key!r} does not belong to the {layout} layout; checkpoint of another network?")
        renamed[f"{units[match[1]]}.{match[2]}"] = value
    return renamed
