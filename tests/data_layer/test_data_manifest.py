"""Manifests: what changes the hash, what does not, and when a file is read again."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BenchError
from bench.data import manifest as module
from bench.data.datasets.two_folders import TwoFolders
from bench.data.manifest import build_manifest, file_sha256

MakePairs = Callable[..., Path]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record which files are hashed."""
    names: list[str] = []
    original = module._hash_file

    def spy(path: str) -> Any:
        names.append(os.path.basename(path))
        return original(path)

    monkeypatch.setattr(module, "_hash_file", spy)
    return names


def age(root: Path, seconds: int = 60) -> None:
    """Pretend that the files were hashed long after they were written."""
    for path in root.rglob("*"):
        if path.is_file():
            stat = path.stat()
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - seconds * 10**9))


def test_hashes_are_those_of_the_files(make_pairs: MakePairs, tmp_path: Path) -> None:
    root = make_pairs(2)
    found = TwoFolders.at(root, tmp_path / "cache").manifest()
    assert sorted(found.files) == ["optical/1.png", "optical/2.png", "sar/1.png", "sar/2.png"]
    for name, (size, mtime_ns, digest) in found.files.items():
        data = (root / name).read_bytes()
        assert (size, digest) == (len(data), hashlib.sha256(data).hexdigest())
        assert mtime_ns == (root / name).stat().st_mtime_ns
    assert file_sha256(root / "sar/1.png", None) == found.files["sar/1.png"][2]


def test_hash_depends_on_names_and_contents_only(make_pairs: MakePairs, tmp_path: Path) -> None:
    root = make_pairs(3)
    first = TwoFolders.at(root).manifest().sha256
    copy = tmp_path / "elsewhere"
    shutil.copytree(root, copy)
    age(copy)
    assert TwoFolders.at(copy).manifest().sha256 == first
    files = TwoFolders.at(root).files()
    assert build_manifest(root, files[::-1], None).sha256 == first
    (copy / "sar" / "1.png").rename(copy / "sar" / "9.png")
    (copy / "optical" / "1.png").rename(copy / "optical" / "9.png")
    assert TwoFolders.at(copy).manifest().sha256 != first


def test_warm_manifest_reads_nothing(
    make_pairs: MakePairs, tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = make_pairs(40), tmp_path / "cache"
    monkeypatch.setattr(module, "_SETTLED_NS", -(10**18))
    first = TwoFolders.at(root, cache).manifest()
    assert len(hashed) == 80
    hashed.clear()
    assert TwoFolders.at(root, cache).manifest() == first
    assert hashed == []


def test_young_files_are_read_again(make_pairs: MakePairs, tmp_path: Path, hashed: list[str]) -> None:
    root, cache = make_pairs(1), tmp_path / "cache"
    TwoFolders.at(root, cache).manifest()
    hashed.clear()
    TwoFolders.at(root, cache).manifest()
    assert len(hashed) == 2


def test_changes_are_seen(make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTLED_NS", -(10**18))
    root, cache = make_pairs(2), tmp_path / "cache"
    first = TwoFolders.at(root, cache).manifest()
    path = root / "sar" / "1.png"
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, same modification time
    second = TwoFolders.at(root, cache).manifest()
    assert second.sha256 != first.sha256
    assert second.files["sar/1.png"][2] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"sar/1.png": [1]}', '{"sar/1.png": 5}'])
def test_damaged_store_is_forgotten(make_pairs: MakePairs, tmp_path: Path, text: str) -> None:
    root, cache = make_pairs(1), tmp_path / "cache"
    first = TwoFolders.at(root, cache).manifest()
    store = next((cache / "manifests").glob("*.json"))
    store.write_text(text)
    assert TwoFolders.at(root, cache).manifest().sha256 == first.sha256


def test_files_outside_the_root(make_pairs: MakePairs, tmp_path: Path) -> None:
    root = make_pairs(1)
    table, other = tmp_path / "t.csv", tmp_path / "x" / "t.csv"
    other.parent.mkdir()
    for path in (table, other):
        path.write_text("id\n1\n")
    assert "outside/t.csv" in TwoFolders.at(root, table=str(table)).manifest().files
    with pytest.raises(BenchError, match="same name in the manifest"):
        build_manifest(root, [table, other], None)


def test_unreadable_file_and_cache(make_pairs: MakePairs, tmp_path: Path) -> None:
    root = make_pairs(1)
    with pytest.raises(BenchError, match="cannot read.*gone.png"):
        build_manifest(root, [root / "gone.png"], None)
    with pytest.raises(BenchError, match="cannot read"):
        build_manifest(root, [root / "sar"], None)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(BenchError, match="cannot write"):
        build_manifest(root, [root / "sar" / "1.png"], tmp_path / "cache")
