"""Finding, checking and fetching published weight files, without a network."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.progress import Progress
from bench.models.backbones import RESNET18, WeightFile
from bench.models.weight_files import download_weights, fetch, find_weights, search_folders, verify_weights

FILE = "resnet18-f37072fd.pth"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def published(tmp_path: Path, content: bytes) -> WeightFile:
    """Return a weight file "published" in a local folder."""
    (tmp_path / "server").mkdir()
    digest = hashlib.sha256(content).hexdigest()[:8]
    path = tmp_path / "server" / f"net-{digest}.pth"
    path.write_bytes(content)
    return replace(RESNET18.weight_file(), file=path.name, url=path.as_uri(), sha256_prefix=digest)


def test_search_order_and_explicit_file(tmp_path: Path) -> None:
    env = {"BENCH_WEIGHTS": str(tmp_path / "mine"), "HOME": str(tmp_path / "home")}
    folders = search_folders(env)
    assert folders[0] == tmp_path / "mine" and folders[1] == Path("weights")
    assert folders[2] == tmp_path / "home/.cache/torch/hub/checkpoints"
    assert search_folders({"TORCH_HOME": "/t", "HOME": "/h"})[1] == Path("/t/hub/checkpoints")
    assert search_folders({"XDG_CACHE_HOME": "/x", "HOME": "/h"})[1] == Path("/x/torch/hub/checkpoints")
    for folder in reversed(folders):
        folder.mkdir(parents=True)
        (folder / FILE).write_bytes(b"x")
        assert find_weights("resnet18", env) == folder / FILE
    own = tmp_path / "own.safetensors"
    with pytest.raises(BenchError, match=r"no weight file at .*own\.safetensors"):
        find_weights("resnet18", env, own)
    own.write_bytes(b"x")
    assert find_weights("resnet18", env, own) == own


def test_missing_file_message_says_what_where_and_how(tmp_path: Path) -> None:
    with pytest.raises(BenchError) as caught:
        find_weights("resnet18", {"HOME": str(tmp_path)})
    for part in (
        FILE,
        "BENCH_WEIGHTS",
        "./weights",
        "https://download.pytorch.org",
        "bench data weights resnet18 --download",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(BenchError, match=r"darknet53-a628ea1b\.pth or darknet53\.conv\.74"):
        find_weights("darknet53", {"HOME": str(tmp_path)})
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "darknet53.conv.74").write_bytes(b"x" * 10)
    with pytest.raises(BenchError, match="has 10 bytes, published are 162,482,580"):
        find_weights("darknet53", {"HOME": str(tmp_path)})
    with pytest.raises(BenchError, match=r"darknet53-a628ea1b\.pth is neither"):
        find_weights("darknet53", {"HOME": str(tmp_path)}, variant="imagenet")


def test_fetched_file_is_checked_and_kept(tmp_path: Path) -> None:
    weights = published(tmp_path, b"w" * 3_000_000)
    progress = Progress(None, io.StringIO())
    path = fetch(weights, tmp_path / "dest", progress)
    assert path.read_bytes() == b"w" * 3_000_000
    (tmp_path / "server" / weights.file).unlink()
    assert fetch(weights, tmp_path / "dest", progress) == path
    path.write_bytes(b"v" * 3_000_000)
    with pytest.raises(BenchError, match="damaged or not what it is called"):
        fetch(weights, tmp_path / "dest", progress)


def test_wrong_digest_or_offline_leaves_nothing_behind(tmp_path: Path) -> None:
    weights = published(tmp_path, b"w" * 1000)
    progress = Progress(None, io.StringIO())
    with pytest.raises(BenchError, match="published is 00000000"):
        fetch(replace(weights, sha256_prefix="00000000"), tmp_path / "dest", progress)
    with pytest.raises(BenchError, match="offline\\? Fetch it on another machine"):
        fetch(replace(weights, url=weights.url + ".gone"), tmp_path / "dest", progress)
    assert list((tmp_path / "dest").iterdir()) == []


def test_offline_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(BenchError, match=r"cannot fetch https://download\.pytorch\.org/.*name resolution") as caught:
        download_weights("resnet18", tmp_path / "dest")
    assert "\n" not in str(caught.value)
    with pytest.raises(BenchError, match="no published weights"):
        download_weights("resnet18", tmp_path / "dest", "imagenet21k")


def test_connection_that_breaks_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reply(io.BytesIO):
        headers = {"Content-Length": "500"}

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Reply(b"x" * 100))
    with pytest.raises(BenchError, match="broke off after 100 of 500 bytes"):
        download_weights("resnet18", tmp_path / "dest")
    assert list((tmp_path / "dest").iterdir()) == []


def test_known_digest_is_not_computed_again(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"x")
    verify_weights(tmp_path / FILE, RESNET18.weight_file(), sha256="f37072fd" + "0" * 56)
    with pytest.raises(BenchError, match="published is f37072fd"):
        verify_weights(tmp_path / FILE, RESNET18.weight_file())
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(BenchError, match="is empty"):
        verify_weights(tmp_path / FILE, RESNET18.weight_file())
