"""The detectors of the extra `ultralytics`: transfer, loss, prediction, state, offline import; and that they learn."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import REPOSITORY
from mmdet_toys import SIZE, batch_of, context_of, fit_data, ship_scenes
from scene_toys import view_of
from torch import Tensor, nn

if importlib.util.find_spec("ultralytics") is None:
    pytest.skip("needs the extra ultralytics", allow_module_level=True)

from bench.core.errors import BenchError
from bench.core.registries import BACKBONES
from bench.data.scaling import ScalingParams
from bench.detection.detectors.base import InitialWeights, Setup
from bench.detection.detectors.ultralytics.base import UltralyticsOptions, Yolo11, Yolo11Options, YoloV3u
from bench.detection.detectors.ultralytics.models import (
    UltralyticsNetwork,
    _backbone,
    build_yolo11,
    build_yolov3u,
    load_darknet,
)
from bench.detection.scoring.evaluator import BoxTable, ap_from_matches, match
from bench.detection.spec import Merging, Tiles
from bench.models.weights import save_weights, state_sha256

BOXES = [[[10.0, 12.0, 40.0, 30.0], [50.0, 60.0, 80.0, 90.0]], []]


def yolo11(folder: Path, **options: Any) -> Yolo11:
    detector = Yolo11(Yolo11.Options(**{"per_epoch": 6, "epochs": 1, "batch_size": 3, **options}))
    tiles = Tiles(size_px=SIZE, overlap_px=32, min_visible=0.5)
    detector.prepare(
        Setup(None, ScalingParams("uint8", 1, 0.0, 255.0), tiles, Merging.model_validate({}), context_of(folder))
    )
    return detector


def backbone_features(network: UltralyticsNetwork, images: Tensor) -> list[Tensor]:
    """The stage outputs of the network's Darknet-53 for `images` (n, size, size) in [0, 1]."""
    x, out = network._inputs(images), []
    for i, layer in enumerate(_backbone(network.model)):
        x = layer(x)
        out += [x] if i in (4, 6, 8, 10) else []
    return out


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return build_yolo11(Yolo11Options())


def test_import_is_offline_opens_no_socket_and_leaves_the_environment_as_it_was() -> None:
    code = """
import os, socket
def refuse(*_, **__): raise AssertionError("a socket was opened")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
os.environ.pop("OMP_NUM_THREADS", None)
import cv2  # changes the environment by itself
import numpy, torch
from PIL import Image
def state():
    functions = (Image.open, torch.save, torch.load, cv2.imread, cv2.imwrite)
    return dict(os.environ), functions, cv2.getNumThreads(), numpy.get_printoptions()
before = state()
from bench.detection.detectors.ultralytics.models import library, library_version
tasks = library()
from ultralytics.utils import SETTINGS, ONLINE
from ultralytics.utils.events import events
assert state() == before, (state(), before)
assert not ONLINE and SETTINGS["sync"] is False and not events.enabled
print(library_version())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0 and done.stdout.strip().startswith("8."), done.stdout + done.stderr


def test_the_losses_have_gradients_and_an_empty_batch_is_legal(network: Any) -> None:
    network.train()
    values = network.loss(batch_of(BOXES))
    assert list(values) == ["loss_box", "loss_class", "loss_dfl"] and all(value.ndim == 0 for value in values.values())
    sum(values.values()).backward()
    assert all(float(p.grad.abs().sum()) >= 0 for p in network.parameters() if p.grad is not None)
    nothing = network.loss(batch_of([[], []]))
    assert nothing["loss_box"].item() == 0 and nothing["loss_class"].item() > 0 and list(nothing) == list(values)


def test_ignored_boxes_are_painted_dark_and_only_those(network: Any) -> None:
    from bench.detection.detectors.ultralytics.models import _painted

    images = torch.rand(2, 20, 20) + 0.1
    before = images.clone()
    out = _painted(images, [torch.tensor([[2.5, 3.0, 6.2, 8.0]]), torch.zeros(0, 4)])
    assert (out[0, 3:8, 2:7] == 0).all() and torch.equal(images, before) and torch.equal(out[1], before[1])
    out[0, 3:8, 2:7] = before[0, 3:8, 2:7]
    assert torch.equal(out, before)


def test_detections_are_in_the_tile_surest_first_and_suppressed(network: Any) -> None:
    network.eval()
    for bias in network.model.model[-1].cv3:
        nn.init.constant_(bias[-1].bias, 0.0)
    for found in network.detect(torch.rand(2, SIZE, SIZE)):
        assert 0 < len(found) <= network.options.max_per_tile and (np.diff(found.scores) <= 0).all()
        assert found.boxes.min() >= 0 and found.boxes.max() <= SIZE and (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_a_fitted_detector_predicts_and_its_state_round_trips(tmp_path: Path) -> None:
    train = ship_scenes(tmp_path)
    detector = yolo11(tmp_path / "a")
    facts = detector.fit(fit_data(train))
    assert (
        facts["training_tiles"] == 6 and facts["initial_state_sha256"] is None and facts["ultralytics"].startswith("8.")
    )
    first = detector.predict(np.asarray(train.image(0))).merged
    again = yolo11(tmp_path / "b")
    again.load_state(detector.state())
    second = again.predict(np.asarray(train.image(0))).merged
    assert np.array_equal(first.boxes, second.boxes) and np.array_equal(first.scores, second.scores)
    twin = yolo11(tmp_path / "c")
    twin.fit(fit_data(train))
    assert all(np.array_equal(value, twin.state()[name]) for name, value in detector.state().items()), (
        "the seed decides"
    )


def test_darknet_is_transferred_whole_and_computes_the_same(tmp_path: Path) -> None:
    torch.manual_seed(1)
    darknet = BACKBONES.get("darknet53").build().eval()
    for module in darknet.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            module.running_var.uniform_(1e-3, 1.5)
    network = build_yolov3u(UltralyticsOptions()).eval()
    assert load_darknet(network, darknet.state_dict()) == state_sha256(darknet.state_dict())
    images = torch.rand(1, 64, 64)
    with torch.no_grad():
        stages = darknet.forward_stages(images[:, None].expand(-1, 3, -1, -1))
        for ours, theirs in zip(stages, backbone_features(network, images), strict=True):
            assert float((ours - theirs).abs().max()) <= 1e-5 * float(ours.abs().max())
    state = dict(darknet.state_dict())
    del state["stem.conv.weight"]
    with pytest.raises(BenchError, match="stem|model|0.conv.weight"):
        load_darknet(network, state)


@pytest.mark.slow
def test_an_osm_arm_starts_from_the_given_weights(tmp_path: Path) -> None:
    train = ship_scenes(tmp_path)
    torch.manual_seed(2)
    state = BACKBONES.get("darknet53").build().state_dict()
    save_weights(tmp_path / "osm.safetensors", {f"sar.backbone.{key}": value for key, value in state.items()})
    detector = YoloV3u(YoloV3u.Options(per_epoch=2, epochs=1, batch_size=2))
    tiles = Tiles(size_px=SIZE, overlap_px=32, min_visible=0.5)
    scaling = ScalingParams("uint8", 1, 0.0, 255.0)
    detector.prepare(Setup("darknet53", scaling, tiles, Merging.model_validate({}), context_of(tmp_path / "fit")))
    start = InitialWeights(tmp_path / "osm.safetensors", "sar.backbone.")
    facts = detector.fit(fit_data(train, initial=start))
    assert facts["initial_state_sha256"] == state_sha256(state)


@pytest.mark.slow
def test_it_learns_a_few_tiles_by_heart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for _ in range(6):
        image = rng.integers(0, 60, (SIZE, SIZE)).astype(np.uint8)
        x, y, w, h = (int(rng.integers(*span)) for span in ((5, 50), (5, 50), (16, 34), (12, 30)))
        image[y : y + h, x : x + w] = rng.integers(180, 255)
        images.append(image)
        boxes.append([[x, y, x + w, y + h]])
    train = view_of(tmp_path, images, boxes)
    options = {"epochs": 150, "batch_size": 6, "lr": 0.003, "augment": "none", "sampling": "grid"}
    detector = yolo11(tmp_path / "fit", **options)
    detector.fit(fit_data(train))
    found = [detector.predict(np.asarray(train.image(k))).merged for k in range(6)]
    truth = [(train.boxes(k), train.ignore(k)) for k in range(6)]
    ap = ap_from_matches(match(BoxTable.of(truth, found), "voc", (0.5,)), "area")
    assert ap is not None and ap > 0.9, ap


def test_without_the_extra_one_line_says_how_to_get_it() -> None:
    code = """
import sys
sys.modules["ultralytics"] = None
from bench.detection.detectors.ultralytics.models import library
from bench.core.errors import BenchError
try:
    library()
except BenchError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False
    )
    assert "pip install 'saropt-bench[ultralytics]'" in done.stdout and done.stdout.count("\n") == 1, (
        done.stdout + done.stderr
    )
