"""The decoded cache: right pixels, one builder, rebuilt when it must be, and clear errors; and views of it."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.data import cache as module
from bench.data.cache import PairView, PatchCache, open_cache
from bench.data.dataset import PairDataset
from bench.data.datasets.two_folders import TwoFolders
from bench.data.decoded import read_ahead
from bench.data.images import read_image, write_image

MakePairs = Callable[..., Path]


def decoded(dataset: PairDataset, cache: Path, **more: Any) -> PatchCache:
    return open_cache(dataset.index(), dataset.root, dataset.manifest().sha256, "test", cache, **more)


def forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the cache was built again")

    monkeypatch.setattr(module, "_build", fail)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_native_dtype_and_pixels(make_pairs: MakePairs, tmp_path: Path, dtype: Any) -> None:
    root, seen = make_pairs(37, dtype=dtype), []
    patches = decoded(TwoFolders.at(root), tmp_path / "cache", progress=lambda done, total: seen.append((done, total)))
    assert patches.sar.dtype == dtype and patches.sar.shape == (37, 16, 16)
    assert patches.optical.dtype == np.uint8 and patches.optical.shape == (37, 16, 16, 3)
    for number in (1, 17, 37):
        suffix = "tif" if dtype == np.float32 else "png"
        assert np.array_equal(patches.sar[number - 1], read_image(root / f"sar/{number}.{suffix}"))
        assert np.array_equal(patches.optical[number - 1], read_image(root / f"optical/{number}.png"))
    assert seen == [(n, 37) for n in range(1, 38)]
    with pytest.raises(ValueError, match="read-only"):
        patches.sar[0] = 0


def test_three_equal_sar_channels_become_one(make_pairs: MakePairs, tmp_path: Path) -> None:
    root = make_pairs(2)
    grey = read_image(root / "sar/1.png")
    write_image(root / "sar" / "1", np.dstack([grey] * 3))
    assert np.array_equal(decoded(TwoFolders.at(root), tmp_path / "cache").sar[0], grey)
    write_image(root / "sar" / "1", np.dstack([grey, grey, grey // 2]))
    with pytest.raises(BenchError, match=r"sar/1.png has three unequal channels"):
        decoded(TwoFolders.at(root), tmp_path / "cache")


def test_built_once(make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_pairs(3)
    first = decoded(TwoFolders.at(root), tmp_path / "cache")
    forbid_building(monkeypatch)
    second = decoded(TwoFolders.at(root), tmp_path / "cache")
    assert first.folder == second.folder and np.array_equal(first.sar, second.sar)


def test_rebuilt_when_the_data_change(make_pairs: MakePairs, tmp_path: Path) -> None:
    root = make_pairs(3)
    old = decoded(TwoFolders.at(root), tmp_path / "cache")
    changed = np.full((16, 16), 9, np.uint8)
    write_image(root / "sar" / "2", changed)
    new = decoded(TwoFolders.at(root), tmp_path / "cache")
    assert new.folder != old.folder
    assert np.array_equal(new.sar[1], changed) and not np.array_equal(old.sar[1], changed)
    assert new.constant == {"optical": (), "sar": ("2",)}


@pytest.mark.parametrize("damage", ["shorter", "longer", "gone", "no meta", "bad meta", "empty folder"])
def test_damaged_cache_is_rebuilt(make_pairs: MakePairs, tmp_path: Path, damage: str) -> None:
    root = make_pairs(3)
    first = decoded(TwoFolders.at(root), tmp_path / "cache")
    expected, file = np.array(first.sar), first.folder / "sar.npy"
    data = file.read_bytes()
    if damage == "shorter":
        file.write_bytes(data[:-10])
    elif damage == "longer":
        file.write_bytes(data + b"0")
    elif damage == "gone":
        file.unlink()
    elif damage == "no meta":
        (first.folder / "meta.json").unlink()
    elif damage == "bad meta":
        (first.folder / "meta.json").write_text("{}")
    else:
        for path in first.folder.iterdir():
            path.unlink()
    if damage != "no meta":
        with pytest.raises(BenchError, match="gone or damaged"):
            pickle.loads(pickle.dumps(first))
    again = decoded(TwoFolders.at(root), tmp_path / "cache")
    assert np.array_equal(again.sar, expected)
    leftovers = [path for path in again.folder.parent.iterdir() if ".tmp-" in path.name]
    assert leftovers == []


BUILDER = """
import sys
from pathlib import Path
from bench.data.cache import open_cache
from bench.data.datasets.two_folders import TwoFolders
root, cache = Path(sys.argv[1]), Path(sys.argv[2])
dataset = TwoFolders.at(root)
sys.stdin.readline()
built = []
patches = open_cache(dataset.index(), root, "same", "", cache, progress=lambda done, total: built.append(done))
print(len(built), int(patches.sar.astype("int64").sum()))
"""


def test_two_processes_build_at_once(make_pairs: MakePairs, tmp_path: Path) -> None:
    root = make_pairs(60, side=64)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", BUILDER, str(root), str(tmp_path / "cache")]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as two:
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        results = [process.communicate()[0].split() for process in (one, two)]
        assert one.returncode == two.returncode == 0
    assert sorted(int(count) for count, _ in results) == [0, 60]  # one built, the other waited and read
    assert results[0][1] == results[1][1]


def test_unequal_sizes_dtypes_and_pairs_name_both_files(make_pairs: MakePairs, tmp_path: Path) -> None:
    cache, root = tmp_path / "cache", make_pairs(3)
    write_image(root / "sar" / "2", np.zeros((16, 17), np.uint8))
    with pytest.raises(BenchError, match=r"optical/2.png is 16 x 16 px.*sar/2.png is 16 x 17 px"):
        decoded(TwoFolders.at(root), cache)
    write_image(root / "optical" / "2", np.zeros((16, 17, 3), np.uint8))
    with pytest.raises(BenchError, match=r"optical/2.png is 16 x 17 px.*while .*optical/1.png is 16 x 16 px"):
        decoded(TwoFolders.at(root), cache)
    write_image(root / "optical" / "2", np.zeros((16, 16, 3), np.uint8))
    write_image(root / "sar" / "2", np.zeros((16, 16), np.uint16))
    with pytest.raises(BenchError, match=r"sar/2.png is 16 x 16 px of uint16, while .*sar/1.png is .* uint8"):
        decoded(TwoFolders.at(root), cache)
    assert not [path for path in (cache / "patches").iterdir() if not path.name.endswith(".building")]


def test_broken_image_stops_the_build(make_pairs: MakePairs, tmp_path: Path) -> None:
    root = make_pairs(3)
    path = root / "sar" / "3.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BenchError, match="3.png cannot be decoded"):
        decoded(TwoFolders.at(root), tmp_path / "cache")


def test_window_outside_its_file(make_pairs: MakePairs, tmp_path: Path) -> None:
    from bench.data.index import PairIndex, PairSample

    root = make_pairs(1)
    index = PairIndex((PairSample("a", "optical/1.png", "sar/1.png", (0, 8, 16, 16)),))
    with pytest.raises(BenchError, match="lies outside"):
        open_cache(index, root, "m", "", tmp_path / "cache")


@pytest.mark.parametrize(
    ("code", "text"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission denied")]
)
def test_full_or_read_only_cache(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, text: str
) -> None:
    root = make_pairs(2)

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    dataset = TwoFolders.at(root)
    with pytest.raises(BenchError, match=text) as error:
        decoded(dataset, tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_cache_path_is_a_file(make_pairs: MakePairs, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    dataset = TwoFolders.at(make_pairs(1))
    with pytest.raises(BenchError, match="cannot write"):
        decoded(dataset, tmp_path / "cache")


def test_too_little_space_is_told_before_decoding(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(BenchError, match="need 0.0 GB .* 0.0 GB are free"):
        decoded(TwoFolders.at(make_pairs(2)), tmp_path / "cache")


def test_view(make_pairs: MakePairs, tmp_path: Path) -> None:
    dataset = TwoFolders.at(make_pairs(9))
    index = dataset.index()
    patches = decoded(dataset, tmp_path / "cache")
    view = PairView(patches, index, np.array([4, 0, 8]), groups=[f"g{i}" for i in range(9)])
    assert len(view) == 3 and view.ids == ("5", "1", "9") and view.groups == ("g4", "g0", "g8")
    assert view.scenes == (None, None, None) and view.places.shape == (3, 4)
    assert np.array_equal(view.sar(np.array([2, 0])), patches.sar[[8, 4]])
    assert np.array_equal(view.optical(slice(0, 2)), patches.optical[[4, 0]])
    assert np.array_equal(np.concatenate(list(view.blocks("sar", 2))), view.sar(slice(None)))
    assert np.concatenate(list(view.blocks("optical", 2))).shape == (3, 16, 16, 3)
    part = view.subset(np.array([2, 1]))
    assert part.ids == ("9", "1") and part.groups == ("g8", "g0")
    images = view.sar(np.array([0]))
    images[:] = 0  # a copy: the cache is untouched
    assert patches.sar[4].any()
    assert PairView(patches, index, np.array([1])).groups == ("2",)
    with pytest.raises(BenchError, match="position lies outside"):
        PairView(patches, index, np.array([9]))
    with pytest.raises(BenchError, match="do not belong together"):
        PairView(patches, index.take(np.arange(3)), np.array([0]))


def test_view_pickles_without_its_pixels(make_pairs: MakePairs, tmp_path: Path) -> None:
    dataset = TwoFolders.at(make_pairs(9, side=64))
    view = PairView(decoded(dataset, tmp_path / "cache"), dataset.index(), np.arange(9))
    data = pickle.dumps(view)
    assert len(data) < 10_000
    assert np.array_equal(pickle.loads(data).sar(slice(None)), view.sar(slice(None)))


def test_reading_ahead_is_bounded_and_in_order() -> None:
    """However slow the caller is, only so many results are in memory; what is left after an early stop is not read."""
    begun: list[int] = []
    results = read_ahead(lambda i: begun.append(i) or i, range(1000), threads=2, each=3)  # type: ignore[func-returns-value]
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 5 + 2 * 3
