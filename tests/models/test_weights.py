"""Weight files: reproducible, strict, and safe against files that are damaged, of another network, or hostile."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import get_model  # type: ignore[attr-defined]  # public, not in an __all__

from bench.core.errors import BenchError
from bench.models import keymaps
from bench.models.backbones import DARKNET53, RESNET18
from bench.models.weights import load_initial_weights, load_into, load_weights, save_weights, state_sha256
from bench.training.randomness import reseed


@pytest.fixture(scope="module")
def resnet() -> dict[str, Tensor]:
    reseed(5)
    return RESNET18.build().state_dict()


@pytest.fixture(scope="module")
def darknet() -> dict[str, Tensor]:
    reseed(6)
    return DARKNET53.build().state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[key], b[key]) for key in a)


class Bomb:
    """A pickle that would create a file when opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.marker,)


def test_same_tensors_give_the_same_bytes(tmp_path: Path, resnet: dict[str, Tensor]) -> None:
    metadata = {f"key{i}": str(i) for i in range(20)}
    save_weights(tmp_path / "a.safetensors", resnet, metadata)
    turned = dict(reversed(resnet.items()))
    turned["conv1.weight"] = turned["conv1.weight"].to(memory_format=torch.channels_last)
    save_weights(tmp_path / "b.safetensors", turned, dict(reversed(metadata.items())))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    code = (
        "import sys; from bench.models.weights import *\n"
        "state, meta = load_weights(Path(sys.argv[1])); save_weights(Path(sys.argv[2]), state, meta)"
    )
    paths = [str(tmp_path / "a.safetensors"), str(tmp_path / "c.safetensors")]
    subprocess.run([sys.executable, "-c", code, *paths], cwd=Path(__file__).parents[2], check=True)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "c.safetensors").read_bytes()
    state, found = load_weights(tmp_path / "a.safetensors")
    assert same(state, resnet) and found == metadata
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors", "c.safetensors"]


def test_state_hash_depends_on_content_alone(resnet: dict[str, Tensor]) -> None:
    digest = state_sha256(resnet)
    assert digest == state_sha256(dict(reversed(resnet.items())))
    changed = {**resnet, "conv1.weight": resnet["conv1.weight"] + 1e-7}
    renamed = {("x" if key == "bn1.bias" else key): value for key, value in resnet.items()}
    shaped = {**resnet, "bn1.bias": resnet["bn1.bias"].reshape(8, 8)}
    typed = {**resnet, "bn1.bias": resnet["bn1.bias"].view(torch.int32)}
    assert len({digest, *map(state_sha256, (changed, renamed, shaped, typed))}) == 5


def test_pickle_bomb_is_never_executed(tmp_path: Path, resnet: dict[str, Tensor]) -> None:
    marker = tmp_path / "executed"
    plain, zipped, nested, tar = (tmp_path / name for name in ("a.pth", "b.pt", "c.pth", "d.tar"))
    plain.write_bytes(pickle.dumps(Bomb(marker)))
    torch.save(Bomb(marker), zipped)
    torch.save({"state_dict": resnet, "meta": Bomb(marker)}, nested)
    torch.save({"state_dict": resnet, "meta": Bomb(marker)}, tar, _use_new_zipfile_serialization=False)
    for path in (plain, zipped, nested, tar):
        with pytest.raises(BenchError, match="not opened further") as caught:
            load_initial_weights("resnet18", path)
        assert "\n" not in str(caught.value) and path.name in str(caught.value)
    assert not marker.exists()
    pickle.loads(plain.read_bytes())  # the bomb is a live one
    assert marker.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".tar", ".weights", ".conv.74"])
@pytest.mark.parametrize(
    "content", [b"", b"this is a text file\n", b"\x80\x02]q\x00.", b"PK\x03\x04junk", b"\xff" * 200]
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(BenchError) as caught:
        load_weights(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


def test_truncated_files_are_refused(tmp_path: Path, resnet: dict[str, Tensor]) -> None:
    save_weights(tmp_path / "a.safetensors", resnet)
    torch.save(resnet, tmp_path / "a.pth")
    for name, part in ((n, p) for n in ("a.safetensors", "a.pth") for p in (0.01, 0.5, 0.999)):
        data = (tmp_path / name).read_bytes()
        cut = tmp_path / f"cut-{name}"
        cut.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(BenchError, match=f"cut-{name}"):
            load_weights(cut)
    for missing in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(BenchError, match="no weight file at"):
            load_weights(missing)
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(BenchError, match=r"known: \.safetensors, \.pth"):
        load_weights(tmp_path / "a.onnx")


def test_content_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    for content, message in (
        ([1, 2], "no state dict but list"),
        ({}, "no state dict"),
        ({"a": 1}, "'a' is no tensor but int"),
    ):
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(BenchError, match=message):
            load_weights(tmp_path / "x.pth")


def test_every_supported_source_gives_the_same_state(tmp_path: Path, resnet: dict[str, Tensor]) -> None:
    head = {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    old = {key: value for key, value in resnet.items() if not key.endswith(keymaps.COUNTER)}
    torch.save({**old, **head}, tmp_path / "torchvision.pth")
    torch.save({"state_dict": {f"module.{key}": value for key, value in resnet.items()}}, tmp_path / "parallel.pth")
    save_weights(tmp_path / "neutral.safetensors", resnet)
    siamese = {
        f"{view}.backbone.{key}": value + (view == "optical")
        for view in ("sar", "optical")
        for key, value in resnet.items()
    }
    save_weights(tmp_path / "siamese.safetensors", {**siamese, "sar.head.weight": torch.zeros(3)})
    for name in ("torchvision.pth", "parallel.pth", "neutral.safetensors"):
        assert same(load_initial_weights("resnet18", tmp_path / name), resnet), name
    assert same(load_initial_weights("resnet18", tmp_path / "siamese.safetensors", "sar.backbone."), resnet)
    assert not same(load_initial_weights("resnet18", tmp_path / "siamese.safetensors", "optical.backbone"), resnet)
    with pytest.raises(BenchError, match=r"name it as branch: 'optical\.backbone\.', 'sar\.backbone\.'"):
        load_initial_weights("resnet18", tmp_path / "siamese.safetensors")
    with pytest.raises(BenchError, match=r"no branch 'sat\.'; its parts: optical, sar"):
        load_initial_weights("resnet18", tmp_path / "siamese.safetensors", "sat.")
    save_weights(tmp_path / "headed.safetensors", {**resnet, "neck.weight": torch.zeros(3)})
    assert same(load_initial_weights("resnet18", tmp_path / "headed.safetensors", heads=["neck"]), resnet)
    with pytest.raises(BenchError, match=r"1 left over \(neck\.weight\)"):
        load_initial_weights("resnet18", tmp_path / "headed.safetensors")


def test_darknet_from_mmdet_layout(tmp_path: Path, darknet: dict[str, Tensor]) -> None:
    detector = {f"backbone.{key}": value for key, value in keymaps.darknet_to_mmdet(darknet).items()}
    torch.save({"state_dict": {**detector, "neck.x": torch.zeros(1)}}, tmp_path / "d.pth")
    assert same(load_initial_weights("darknet53", tmp_path / "d.pth", "backbone."), darknet)


def test_checkpoint_of_another_network_is_refused(
    tmp_path: Path, resnet: dict[str, Tensor], darknet: dict[str, Tensor]
) -> None:
    save_weights(tmp_path / "resnet18.safetensors", resnet)
    save_weights(tmp_path / "darknet.safetensors", darknet)
    torch.save(get_model("mobilenet_v3_small", weights=None).state_dict(), tmp_path / "mobile.pth")
    cases = [
        ("resnet34", "resnet18.safetensors", r"missing \(layer1\.2\.conv1\.weight.*another network"),
        ("resnet50", "resnet18.safetensors", "of another shape .*another network"),
        ("darknet53", "resnet18.safetensors", "holds a resnet network, not darknet53"),
        ("resnet18", "darknet.safetensors", "holds a darknet network, not resnet18"),
        ("resnet18", "mobile.pth", "holds no resnet18"),
        ("efficientnet-lite0", "resnet18.safetensors", "holds a resnet network, not efficientnet-lite0"),
    ]
    for backbone, name, message in cases:
        with pytest.raises(BenchError, match=message) as caught:
            load_initial_weights(backbone, tmp_path / name)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    partial = {key: value for key, value in resnet.items() if key != "layer3.0.conv1.weight"}
    save_weights(tmp_path / "partial.safetensors", partial)
    with pytest.raises(BenchError, match=r"1 missing \(layer3\.0\.conv1\.weight\)"):
        load_initial_weights("resnet18", tmp_path / "partial.safetensors")
    save_weights(tmp_path / "nan.safetensors", {**resnet, "bn1.bias": torch.full((64,), float("nan"))})
    with pytest.raises(BenchError, match=r"bn1\.bias holds NaN"):
        load_initial_weights("resnet18", tmp_path / "nan.safetensors")
    with pytest.raises(BenchError, match="nearest: resnet"):
        load_initial_weights("resnet19", tmp_path / "partial.safetensors")


def test_file_with_a_published_name_must_have_the_published_digest(tmp_path: Path, resnet: dict[str, Tensor]) -> None:
    torch.save(resnet, tmp_path / "resnet18-f37072fd.pth")
    with pytest.raises(BenchError, match="published is f37072fd"):
        load_initial_weights("resnet18", tmp_path / "resnet18-f37072fd.pth")


def test_load_into_is_all_or_nothing(resnet: dict[str, Tensor]) -> None:
    network = RESNET18.build()
    before = state_sha256(network.state_dict())
    with pytest.raises(BenchError, match="1 missing"):
        load_into(network, {key: value for key, value in resnet.items() if key != "bn1.weight"})
    with pytest.raises(BenchError, match=r"1 left over \(fc2\.bias\)"):
        load_into(network, {**resnet, "fc.bias": torch.zeros(1), "fc2.bias": torch.zeros(1)}, ["fc"])
    assert state_sha256(network.state_dict()) == before
    load_into(network, {**resnet, "fc.bias": torch.zeros(1)}, ["fc"])
    assert state_sha256(network.state_dict()) == state_sha256(resnet)


def test_loading_draws_nothing_from_the_global_generator(tmp_path: Path, resnet: dict[str, Tensor]) -> None:
    save_weights(tmp_path / "a.safetensors", resnet)
    before = torch.get_rng_state()
    load_initial_weights("resnet18", tmp_path / "a.safetensors")
    assert torch.equal(before, torch.get_rng_state())


def test_unwritable_place_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        save_weights(tmp_path / "file" / "a.safetensors", {"a": torch.zeros(1)})
