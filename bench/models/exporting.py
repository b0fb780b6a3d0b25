"""A trained backbone in the layout of another framework, and how to load it there. Owns targets and words; renaming is
in `keymaps.py`.

No framework is imported: the files hold tensors alone (or, for darknet, bytes), so nothing has to be installed and no
code is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import BenchError, first_line
from bench.core.registries import BACKBONES
from bench.core.store import atomic_write, write_text
from bench.models import keymaps

if TYPE_CHECKING:
    from torch import Tensor

    from bench.models.backbones import BackboneFacts

State = Mapping[str, "Tensor"]
DARKNET, LITE, RESNETS = "darknet53", "efficientnet-lite0", ("resnet18", "resnet34", "resnet50")


@dataclass(frozen=True)
class Target:
    """Another framework.

    Attributes:
        suffix: of the file.
        maps: backbone -> renaming of its neutral state.
        nested: key that the file puts the tensors under, "" for none.
        how: lines of Python that load it, with {file}, {name}, {depth} and {yaml}.
    """

    suffix: str
    maps: Mapping[str, Callable[[State], State]]
    nested: str
    how: Mapping[str, str]


_RESNET = dict.fromkeys(RESNETS, keymaps.resnet_to_mmdet)
_MMDET_DARKNET = """\
# mmdet: in a model's config
backbone=dict(type='Darknet', depth=53, out_indices=(3, 4, 5), norm_eval=False,
              init_cfg=dict(type='Pretrained', checkpoint='{file}'))
data_preprocessor=dict(type='DetDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255],
                       bgr_to_rgb=True, pad_size_divisor=32)"""
_MMDET_RESNET = """\
# mmdet: in a model's config
backbone=dict(type='ResNet', depth={depth}, norm_eval=False, frozen_stages=-1,
              init_cfg=dict(type='Pretrained', checkpoint='{file}'))"""
_TORCHVISION = """\
import torch, torchvision
model = torchvision.models.{name}()
model.fc = torch.nn.Identity()
model.load_state_dict(torch.load('{file}'), strict=True)"""
_TIMM_DARKNET = """\
import timm, torch
from functools import partial
slope = partial(torch.nn.LeakyReLU, negative_slope=0.1)  # timm's own is 0.01
model = timm.create_model('darknet53', num_classes=0, act_layer=slope, checkpoint_path='{file}')"""
_TIMM_RESNET = """\
import timm
model = timm.create_model('{name}', num_classes=0, checkpoint_path='{file}')"""
_TIMM_LITE = """\
import timm, torch
model = timm.create_model('tf_efficientnet_lite0', features_only=True, out_indices=(1, 2, 3, 4))
model.load_state_dict(torch.load('{file}'), strict=True)"""
_ULTRALYTICS = """\
import torch
from ultralytics import YOLO  # AGPL-3.0
start = YOLO('{yaml}').model
assert not start.load_state_dict(torch.load('{file}'), strict=False).unexpected_keys
model = YOLO('{yaml}').load(start)  # then model.train(data=..., pretrained=True)"""
_DARKNET_FILE = """\
# darknet: train a detector from it
./darknet detector train CFG.data yolov3.cfg {file}"""

TARGETS: Mapping[str, Target] = {
    "mmdet": Target(
        ".pth",
        {**_RESNET, DARKNET: keymaps.darknet_to_mmdet},
        "state_dict",
        {**dict.fromkeys(RESNETS, _MMDET_RESNET), DARKNET: _MMDET_DARKNET},
    ),
    "torchvision": Target(".pth", _RESNET, "", dict.fromkeys(RESNETS, _TORCHVISION)),
    "timm": Target(
        ".pth",
        {**_RESNET, DARKNET: keymaps.darknet_to_timm, LITE: dict},
        "",
        {**dict.fromkeys(RESNETS, _TIMM_RESNET), DARKNET: _TIMM_DARKNET, LITE: _TIMM_LITE},
    ),
    "ultralytics": Target(".pt", {DARKNET: keymaps.darknet_to_ultralytics}, "", {DARKNET: _ULTRALYTICS}),
    "darknet": Target(".conv.74", {DARKNET: lambda state: state}, "", {DARKNET: _DARKNET_FILE}),
}


def check_target(target: str, backbone: str) -> None:
    """Raise BenchError where a framework has no such backbone."""
    maps = TARGETS[target].maps
    if backbone not in maps:
        others = [name for name, each in TARGETS.items() if backbone in each.maps]
        more = f"; {backbone} goes to {', '.join(others)}" if others else ""
        raise BenchError(f"{target} has no {backbone} in a layout that is known here; it takes {', '.join(maps)}{more}")


def write_export(backbone: str, state: State, target: str, file: Path) -> str:
    """Write a neutral state for `target`; return how to load it, with the input that the backbone expects. The text is
    kept beside the file, as `file`.txt; for ultralytics also the model's description, as `file`.yaml.

    Raises:
        BenchError: the framework has no such backbone, or a file cannot be written.
    """
    import torch

    check_target(target, backbone)
    facts: BackboneFacts = BACKBONES.get(backbone)
    chosen = TARGETS[target]
    renamed = {key: value.detach().cpu().contiguous() for key, value in chosen.maps[backbone](state).items()}
    with atomic_write(file) as temporary:
        if target == "darknet":
            temporary.write_bytes(keymaps.darknet_to_binary(renamed))
        else:
            content = {chosen.nested: renamed, "meta": {"backbone": backbone}} if chosen.nested else renamed
            try:
                torch.save(content, temporary)
            except RuntimeError as error:  # torch's zip writer reports a full disk this way
                raise BenchError(
                    f"cannot write {file}: {first_line(error)}; free space or choose another folder"
                ) from error
    description = Path(f"{file}.yaml")
    if target == "ultralytics":
        write_text(description, json.dumps(keymaps.ultralytics_darknet(), indent=1) + "\n")
    depth = backbone.removeprefix("resnet")
    text = chosen.how[backbone].format(file=file, name=backbone, depth=depth, yaml=description) + "\n" + _input(facts)
    write_text(Path(f"{file}.txt"), text)
    return text


def _input(facts: BackboneFacts) -> str:
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (facts.mean, facts.std))
    return (
        f"# input: SAR repeated on 3 channels, scaled to [0, 1], then (x - mean) / std with mean ({mean}), std"
        f" ({std})\n# a loader that only logs missing keys (mmdet, ultralytics) must be checked: no key of the backbone"
        " may be missing\n"
    )
