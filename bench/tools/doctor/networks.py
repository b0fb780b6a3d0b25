"""Probes of torch, the networks and mmdet: build, one pass, and the outcome has the shape it must have. torch is
imported on use only.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.tools.doctor import require

if TYPE_CHECKING:
    from bench.core.context import ExecutionContext

PATCH, TILE, GIB = 32, 96, 2**30
SMALL: dict[str, Any] = {
    "fpn_channels": 16,
    "rpn_channels": 16,
    "roi_fc": 32,
    "roi_samples": 32,
    "train_proposals": 50,
    "test_proposals": 50,
}


def torch_computes(device: str) -> str:
    """A product of matrices equals NumPy's."""
    import torch

    a, b = (np.random.default_rng(seed).random((64, 64), dtype=np.float32) for seed in (0, 1))
    found = (torch.from_numpy(a).to(device) @ torch.from_numpy(b).to(device)).cpu().numpy()
    require(np.allclose(found, a @ b, rtol=1e-2), "a product of matrices differs from NumPy's")
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return f"{torch.__version__}, {built}, {torch.get_num_threads()} threads"


def accelerator(device: str) -> tuple[str, dict[str, Any]]:
    """Which GPU there is, and whether it computes, in bfloat16 too."""
    import torch

    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") is None:
            return "none: everything runs on the CPU", {"cuda": False}
        how = (
            "install a torch that is built for CUDA"
            if torch.version.cuda is None
            else f"its driver must serve CUDA {torch.version.cuda}"
        )
        return "an NVIDIA GPU seems to be there, but torch cannot use it", {"cuda": False, "advice": how}
    x = torch.randn(64, 64, device="cuda")
    require(torch.isfinite(x @ x).all().item(), "the GPU multiplies matrices to numbers that are not finite")
    free, total = torch.cuda.mem_get_info()
    bf16 = torch.cuda.is_bf16_supported()
    if bf16:
        y = x.bfloat16()
        require(
            torch.isfinite(y @ y).all().item(), "the GPU multiplies bfloat16 matrices to numbers that are not finite"
        )
    count = torch.cuda.device_count()
    several = f"{count} GPUs, the first: " if count > 1 else ""
    text = (
        f"{several}{torch.cuda.get_device_name(0)}, {total / GIB:.1f} GiB ({free / GIB:.1f} free),"
        f" {'with' if bf16 else 'without'} bf16"
    )
    return text, {"cuda": True}


def torchvision_operators(device: str) -> str:
    """Non-maximum suppression and RoIAlign, which detectors are built on."""
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 11.0, 11.0], [50.0, 50.0, 60.0, 60.0]], device=device)
    kept = torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), 0.5)
    require(kept.tolist() == [0, 2], f"non-maximum suppression keeps {kept.tolist()}, must be [0, 2]")
    ones = torch.ones(1, 4, 16, 16, device=device)
    crop = torchvision.ops.roi_align(ones, [boxes[:1]], output_size=3, sampling_ratio=2)
    require(crop.shape == (1, 4, 3, 3) and torch.allclose(crop, torch.ones_like(crop)), "RoIAlign changes a constant")
    return f"{version('torchvision')}, non-maximum suppression and RoIAlign"


def backbone(name: str, device: str) -> str:
    """One forward pass; four stages of the declared shapes, or smaller ones of a network without a pyramid, which does
    not pad.
    """
    import torch

    from bench.core.registries import BACKBONES

    facts = BACKBONES.get(name)
    network = facts.build().to(device).eval()
    with torch.no_grad():
        stages = network.forward_stages(torch.zeros(1, 3, 64, 64, device=device))
    shapes = [tuple(stage.shape) for stage in stages]
    wanted = [
        (1, channels, 64 // stride, 64 // stride)
        for channels, stride in zip(facts.out_channels, facts.strides, strict=True)
    ]
    smaller = [
        is_[:2] == of[:2] and all(0 < side <= most for side, most in zip(is_[2:], of[2:], strict=True))
        for is_, of in zip(shapes, wanted, strict=True)
    ]
    require(shapes == wanted if facts.pyramid else all(smaller), f"stages of shapes {shapes}; declared are {wanted}")
    require(all(torch.isfinite(stage).all().item() for stage in stages), "a stage is not finite")
    return f"forward pass, {sum(parameter.numel() for parameter in network.parameters()) / 1e6:.1f} million parameters"


# -- matching ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Patches:
    """Pairs of noise, as a matcher reads them."""

    count: int

    def __len__(self) -> int:
        return self.count

    def sar(self, i: np.ndarray) -> np.ndarray:
        images: np.ndarray = np.random.default_rng(0).integers(0, 255, (self.count, PATCH, PATCH)).astype(np.uint8)[i]
        return images

    def optical(self, i: np.ndarray) -> np.ndarray:
        return np.repeat(self.sar(i)[..., None], 3, axis=3)

    def blocks(self, view: str, size: int) -> Iterator[np.ndarray]:
        read = self.sar if view == "sar" else self.optical
        for start in range(0, self.count, size):
            yield read(np.arange(start, min(start + size, self.count)))


@contextmanager
def _context(device: str, workers: int = 0) -> Iterator[ExecutionContext]:
    from bench.core.context import ExecutionContext
    from bench.core.progress import Progress

    with tempfile.TemporaryDirectory(prefix="bench-doctor-") as folder:
        silent = Progress(lambda line: None, io.StringIO())
        yield ExecutionContext(Path(folder), Path(folder), device, 1, workers, lambda line: None, silent)


def matcher(name: str, device: str) -> str:
    """Both branches of a two-branch network see a few patches; the state goes out and in again."""
    from bench.core.registries import MATCHERS
    from bench.data.scaling import ScalingParams
    from bench.matching.matchers.base import Scalings, Setup

    scaling, patches, at = ScalingParams("uint8", 1, 0.0, 255.0), Patches(3), np.arange(3)
    with _context(device) as context:
        cls = MATCHERS.get(name)
        made = cls(cls.Options(input_px=PATCH) if cls.embeds else cls.Options())
        made.prepare(Setup("resnet18", Scalings(scaling, scaling), context))
        made.load_state({key: tensor.numpy() for key, tensor in made._build("resnet18").state_dict().items()})
        if not cls.embeds:
            distances = made.score_pairs(patches.sar(at), patches.optical(at), np.stack([at, at], axis=1))
            require(((distances >= 0) & (distances <= 1)).all(), f"distances {distances.tolist()}")
            return f"forward pass on resnet18, {len(distances)} distances"
        sar, optical = made.embed("sar", patches.sar(at)), made.embed("optical", patches.optical(at))
    require(sar.shape == optical.shape and len(sar) == 3, f"embeddings of shapes {sar.shape} and {optical.shape}")
    return f"forward pass on resnet18, embeddings of {sar.shape[1]}"


def training(device: str) -> str:
    """A training of two steps through mmengine, batches made by two worker processes; on CUDA in bfloat16."""
    from bench.data.scaling import ScalingParams
    from bench.matching.matchers.base import FitData, Scalings, Setup
    from bench.matching.matchers.infonce import InfoNce, InfoNceOptions

    scaling = Scalings(ScalingParams("uint8", 1, 0.0, 255.0), ScalingParams("uint8", 1, 0.0, 255.0))
    patches: Any = Patches(8)
    precision = "bf16" if device == "cuda" else "fp32"
    with _context(device, workers=2) as context:
        made = InfoNce(InfoNceOptions.model_validate({"epochs": 1, "batch_size": 4, "input_px": PATCH, "dim": 8}))
        made.prepare(Setup("resnet18", scaling, context))
        made.fit(FitData(patches, patches, np.arange(8), 0, scaling, context, precision=precision))
        require((context.folder / "curves.csv").is_file(), "the training left no curve")
        require(
            all(np.isfinite(array).all() for array in made.state().values()), "a weight is not finite after two steps"
        )
    return f"two steps through mmengine in {precision}, two data workers"


# -- detection ---------------------------------------------------------------------------------------------------------
def mmcv_operators(device: str) -> str:
    """mmdet can be imported, with compiled operators or those that torchvision serves."""
    from bench.detection.detectors.mmdet import mmcv_bridge

    served = mmcv_bridge.install()
    import mmdet
    import mmdet.models
    from mmengine.utils import get_installed_path

    require(Path(get_installed_path("mmdet")).is_dir(), "mmengine does not find where mmdet is installed")
    how = "compiled mmcv" if served == "compiled" else "mmcv without compiled operators, torchvision's in their place"
    return f"mmdet {mmdet.__version__} on {how}"


def faster_rcnn(device: str) -> str:
    """Losses, gradients and boxes of one tile."""
    from bench.detection.detectors.mmdet.faster_rcnn import FasterRcnn, FasterRcnnOptions

    return _detects(FasterRcnn(FasterRcnnOptions(**SMALL))._build("resnet18"), device, "resnet18")


def yolov3(device: str) -> str:
    """Losses, gradients and boxes of one tile."""
    from bench.detection.detectors.mmdet.yolov3 import YoloV3, YoloV3Options

    return _detects(YoloV3(YoloV3Options())._build("darknet53"), device, "darknet53")


def _detects(network: Any, device: str, backbone: str) -> str:
    import torch

    network = network.to(device).train()
    images = torch.rand(2, TILE, TILE, generator=torch.Generator().manual_seed(0)).to(device)
    boxes = [torch.tensor([[20.0, 20.0, 60.0, 50.0]], device=device)] * 2
    values = network.loss({"image": images, "boxes": boxes, "ignored": [torch.zeros(0, 4, device=device)] * 2})
    losses = [
        value if isinstance(value, torch.Tensor) else sum(value) for name, value in values.items() if "loss" in name
    ]
    total = torch.stack([torch.as_tensor(loss) for loss in losses]).sum()
    require(torch.isfinite(total).item(), "the loss is not finite")
    torch.autograd.backward(total)
    with_gradient = sum(parameter.grad is not None for parameter in network.parameters())
    require(with_gradient > 0, "no parameter has a gradient")
    found = network.eval().detect(images)
    require(len(found) == 2, f"answers to {len(found)} of 2 tiles")
    return f"losses, gradients and boxes on {backbone}"
