"""RoIAlign on threads is torchvision's, bit by bit, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from bench.detection.detectors.mmdet.roi_align import ImageParallelRoIAlign

SCALE = 0.25


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def scene(images: int, regions: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(images, 5, 16, 20, generator=generator)
    corner, size = torch.rand(regions, 2, generator=generator) * 50, torch.rand(regions, 2, generator=generator) * 40
    number = torch.randint(0, images, (regions, 1), generator=generator).float()
    return features, torch.cat([number, corner, corner + size], dim=1)


def both(features: Tensor, rois: Tensor, ratio: int) -> list[tuple[Tensor, Tensor]]:
    layer = ImageParallelRoIAlign((7, 5), SCALE, ratio)
    out = []
    for pool in (layer, lambda f, r: roi_align(f, r, (7, 5), SCALE, ratio, True)):
        given = features.clone().requires_grad_(True)
        pooled = pool(given, rois)
        (pooled * torch.arange(pooled.numel()).view(pooled.shape).sin()).sum().backward()
        assert given.grad is not None
        out.append((pooled.detach(), given.grad))
    return out


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize(("images", "regions"), [(4, 60), (3, 1), (2, 0), (1, 9)])
def test_equal_to_the_last_bit(images: int, regions: int, ratio: int) -> None:
    (pooled, gradient), (wanted, wanted_gradient) = both(*scene(images, regions), ratio)
    assert pooled.shape == (regions, 5, 7, 5)
    assert torch.equal(pooled, wanted) and torch.equal(gradient, wanted_gradient)


def test_channels_last_features_and_regions_in_any_order() -> None:
    features, rois = scene(4, 40)
    rois = torch.cat([rois[rois[:, 0] == 2], rois[rois[:, 0] != 2]])
    (pooled, gradient), (wanted, wanted_gradient) = both(features.to(memory_format=torch.channels_last), rois, 0)
    assert torch.equal(pooled, wanted) and torch.equal(gradient, wanted_gradient)


def test_several_images_go_to_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    import bench.detection.detectors.mmdet.roi_align as module

    seen: list[int] = []
    run = module._run

    def watched(task: Callable[[int], None], own: list[Tensor]) -> None:
        seen.append(len(own))
        run(task, own)

    monkeypatch.setattr(module, "_run", watched)
    ImageParallelRoIAlign((7, 7), SCALE, 0)(*scene(3, 8))
    assert seen == [3]


def test_an_error_of_a_thread_is_raised() -> None:
    features, rois = scene(2, 4)
    with pytest.raises(RuntimeError):
        ImageParallelRoIAlign((7, 7), SCALE, 0)(features, rois.double())
