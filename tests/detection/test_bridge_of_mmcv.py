"""The bridge that serves mmcv's operators from torchvision's: known answers, parity, and what it must refuse or leave
alone.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.detection.detectors.mmdet import mmcv_bridge
from bench.detection.tiles.merging import iou_matrix

pytest.importorskip("mmcv")
SERVED_BY = mmcv_bridge.install()
bridged = pytest.mark.skipif(SERVED_BY == "compiled", reason="a compiled mmcv is installed")


def random_boxes(n: int, seed: int, size: float = 100.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = size * torch.rand(n, 2, generator=generator)
    return torch.cat([corner, corner + 1 + 0.3 * size * torch.rand(n, 2, generator=generator)], 1)


def greedy(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """Non-maximum suppression as its definition reads: surest first, of equal ones the first, drop what overlaps a kept
    one by more.
    """
    iou = iou_matrix(boxes, boxes)
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(iou[i, j] <= threshold for j in kept):
            kept.append(i)
    return kept


def test_installing_twice_changes_nothing() -> None:
    module = sys.modules["mmcv._ext"]
    assert mmcv_bridge.install() == SERVED_BY
    assert sys.modules["mmcv._ext"] is module


@bridged
@given(n=st.integers(0, 40), seed=st.integers(0, 10_000), threshold=st.sampled_from([0.1, 0.45, 0.7]))
@settings(max_examples=40, deadline=None)
def test_nms_is_greedy_suppression_with_ties_by_position(n: int, seed: int, threshold: float) -> None:
    from mmcv.ops import nms

    boxes = random_boxes(n, seed).double()
    scores = torch.randint(0, 4, (n,), generator=torch.Generator().manual_seed(seed + 1)).double() / 4  # many are equal
    found, kept = nms(boxes, scores, threshold)
    assert kept.tolist() == greedy(boxes.numpy(), scores.numpy(), threshold)
    assert torch.equal(found[:, :4], boxes[kept]) and torch.equal(found[:, 4], scores[kept])


@bridged
def test_nms_of_nothing_and_of_one_and_of_equal_boxes() -> None:
    from mmcv.ops import batched_nms, nms

    found, kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert found.shape == (0, 5) and kept.shape == (0,) and kept.dtype == torch.int64
    box = torch.tensor([[1.0, 2.0, 5.0, 9.0]])
    assert nms(box, torch.tensor([0.3]), 0.5)[1].tolist() == [0]
    assert nms(box.repeat(5, 1), torch.full((5,), 0.3), 0.5)[1].tolist() == [0]
    apart = torch.tensor([0, 1, 0, 1, 2])
    assert batched_nms(box.repeat(5, 1), torch.full((5,), 0.3), apart, {"type": "nms", "iou_threshold": 0.5})[
        1
    ].tolist() == [0, 1, 4]


@bridged
def test_nms_keeps_a_pair_at_the_threshold_exactly() -> None:
    from mmcv.ops import nms

    # IoU of the first with the others: 1/3 and 1/2
    boxes = torch.tensor([[0.0, 0, 2, 1], [1.0, 0, 3, 1], [0.0, 0, 4, 1]])
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist() == [0, 1, 2]
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.49)[1].tolist() == [0, 1]


@bridged
def test_what_is_not_served_is_refused_loudly() -> None:
    from mmcv.ops import nms, nms_rotated, soft_nms

    boxes, scores = random_boxes(5, 0), torch.rand(5)
    with pytest.raises(NotImplementedError, match="offset 1"):
        nms(boxes, scores, 0.5, offset=1)
    with pytest.raises(NotImplementedError, match="'softnms' is not served"):
        soft_nms(boxes, scores)
    with pytest.raises(NotImplementedError, match="nms_rotated"):
        nms_rotated(torch.rand(3, 5), torch.rand(3), 0.5)
    with pytest.raises(AttributeError):
        _ = sys.modules["mmcv._ext"].__path__


@bridged
def test_mmengine_sees_no_compiled_mmcv_and_takes_parameter_wise_rates() -> None:
    """The optimiser constructor asks for the loader of mmcv._ext as soon as `paramwise_cfg` is used."""
    from mmengine.optim import build_optim_wrapper

    assert importlib.util.find_spec("mmcv._ext") is not None
    assert pkgutil.find_loader("mmcv._ext") is None
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    settings_ = {
        "optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 0.01},
        "paramwise_cfg": {"norm_decay_mult": 0.0},
    }
    wrapper = build_optim_wrapper(network, settings_)
    decay = {id(parameter): group["weight_decay"] for group in wrapper.param_groups for parameter in group["params"]}
    assert [decay[id(parameter)] for parameter in network.parameters()] == [0.01, 0.01, 0.0, 0.0]


def test_roi_align_is_torchvisions_with_right_gradients() -> None:
    from mmcv.ops import RoIAlign

    layer = RoIAlign(3, spatial_scale=0.5, sampling_ratio=2, use_torchvision=True)
    features = torch.rand(2, 2, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    rois = torch.tensor(
        [[0, 1.3, 2.1, 11.7, 13.2], [1, 0.0, 0.0, 15.9, 17.9], [1, 4.4, 4.6, 5.1, 5.2]], dtype=torch.float64
    )
    expected = torchvision.ops.roi_align(features, rois, 3, 0.5, 2, aligned=True)
    assert torch.equal(layer(features, rois), expected)
    weight = torch.rand(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    (layer(features, rois) * weight).sum().backward()
    assert features.grad is not None
    step = 1e-6
    rng = np.random.default_rng(0)
    for _ in range(40):
        at = tuple(int(rng.integers(side)) for side in features.shape)
        with torch.no_grad():
            up, down = features.clone(), features.clone()
            up[at] += step
            down[at] -= step
            slope = ((layer(up, rois) - layer(down, rois)) * weight).sum() / (2 * step)
        assert features.grad[at].item() == pytest.approx(slope.item(), abs=1e-8)


def test_roi_align_of_a_constant_is_the_constant_and_of_a_ramp_its_centres() -> None:
    from mmcv.ops import RoIAlign

    layer = RoIAlign(2, spatial_scale=1.0, sampling_ratio=2, use_torchvision=True)
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)  # value of pixel x is x; its centre lies at x + 0.5
    out = layer(ramp, torch.tensor([[0, 4.0, 4.0, 8.0, 8.0]]))
    assert torch.allclose(out[0, 0], torch.tensor([[4.5, 6.5], [4.5, 6.5]]))
    assert torch.allclose(
        layer(torch.full((1, 1, 16, 16), 7.0), torch.tensor([[0, 1.5, 2.0, 9.0, 11.0]])), torch.tensor(7.0)
    )


CHILD = """
import sys
sys.path[:0] = sys.argv[1:]
from bench.detection.detectors.mmdet import mmcv_bridge
from bench.core.errors import BenchError
try:
    print(mmcv_bridge.install(), getattr(sys.modules.get("mmcv._ext"), "MARK", None))
except BenchError as error:
    print("BenchError:", error)
"""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("MARK = 'theirs'", "compiled theirs"),
        ("raise ImportError('undefined symbol: at_error')", "BenchError: the compiled mmcv does not load"),
    ],
)
def test_a_compiled_mmcv_is_left_alone_and_a_broken_one_is_told(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").write_text("")
    (tmp_path / "mmcv" / "_ext.py").write_text(content)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, root, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip().startswith(told), done.stderr[-1000:]


def test_without_mmcv_the_message_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'mmcv'", name="mmcv")

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(BenchError, match="install mmcv-lite"):
        mmcv_bridge.install()
