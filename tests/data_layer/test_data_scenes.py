"""Scene pairs cut on the fly, the window grid, the rejection criteria, and `cut`."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.errors import BenchError
from bench.data import scene_pairs
from bench.data.cache import PatchCache, open_cache
from bench.data.cut import cut
from bench.data.dataset import PairDataset, open_dataset
from bench.data.datasets.s1s2_scenes import S1S2Scenes
from bench.data.datasets.two_folders import TwoFolders
from bench.data.images import read_image, write_image
from bench.data.scene_pairs import window_place
from bench.data.verify import verify
from bench.data.windows import RejectCriteria, read_window, rejection, window_grid

MakeScenes = Callable[..., Path]


def decoded(dataset: PairDataset, cache: Path) -> PatchCache:
    return open_cache(dataset.index(), dataset.root, dataset.manifest().sha256, "test", cache)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 40), st.data())
def test_windows_tile_the_scene(height: int, width: int, patch: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, patch - 1))
    windows = window_grid(height, width, patch, overlap)
    assert len(set(windows)) == len(windows)
    stride = patch - overlap
    expected = [max(0, (size - patch) // stride + 1) if size >= patch else 0 for size in (height, width)]
    assert len(windows) == expected[0] * expected[1]
    covered = np.zeros((height, width), bool)
    for y0, x0, h, w in windows:
        assert (h, w) == (patch, patch) and y0 % stride == 0 and x0 % stride == 0
        assert 0 <= y0 <= height - patch and 0 <= x0 <= width - patch
        covered[y0 : y0 + h, x0 : x0 + w] = True
    if windows:
        assert covered[: height - stride + 1, : width - stride + 1].all()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 30), st.integers(0, 30))
def test_place_of_a_window(height: int, width: int, y0: int, x0: int) -> None:
    place = (100.0, 1000.0, 100.0 + 10 * 90, 1000.0 + 20 * 90)
    x_min, y_min, x_max, y_max = window_place(place, (90, 90), (y0, x0, height, width))
    assert x_min == pytest.approx(100 + 10 * x0) and x_max == pytest.approx(100 + 10 * (x0 + width))
    assert y_max == pytest.approx(2800 - 20 * y0) and y_min == pytest.approx(2800 - 20 * (y0 + height))


def test_index_of_scenes(make_scenes: MakeScenes, tmp_path: Path) -> None:
    dataset = S1S2Scenes.at(make_scenes(), patch_px=16, overlap_px=4)
    index = dataset.index()
    assert len(index) == 2 * 3 * 3 and index.crs == "EPSG:3395"
    sample = index.samples[4]
    assert (sample.id, sample.window, sample.scene) == ("000_y00012_x00012", (12, 12, 16, 16), "000")
    assert sample.place == pytest.approx((120, 400 - 280, 280, 400 - 120))
    assert sample.attributes == {"tile": "T0", "position_certain": "True"}
    assert set(index.column("tile")) == {"T0", "T1"}
    cache = decoded(dataset, tmp_path / "cache")
    scene = read_image(dataset.root / "sar/000.png")
    assert np.array_equal(cache.sar[4], scene[12:28, 12:28])


def test_scenes_of_ones_own_are_read_by_declared_facts_alone(make_scenes: MakeScenes, tmp_path: Path) -> None:
    """The same folder under `scene-pairs`: no count is expected, and what nobody declared is asked for."""
    root = make_scenes()
    declared = {"sar_scale": "uint8", "crs": "EPSG:32611", "gsd_m": 2.5, "sar_sensor": "TerraSAR-X", "patch_px": 16}
    own = open_dataset("scene-pairs", declared, root, tmp_path / "cache", kind="pairs")
    named = S1S2Scenes.at(root, patch_px=16)
    assert [each.window for each in own.index().samples] == [each.window for each in named.index().samples]
    assert own.index().crs == "EPSG:32611" and own.gsd_m == 2.5 and own.options.sar_sensor == "TerraSAR-X"
    assert verify(own).ok, "no count is declared for data of one's own"
    assert any("48 declared" in line or "48" in line for line in verify(named).problems)
    with pytest.raises(BenchError, match="scene-pairs needs the option sar_scale"):
        _ = open_dataset("scene-pairs", {"patch_px": 16}, root, tmp_path / "cache", kind="pairs").sar_scale
    assert "Texas" in S1S2Scenes.facts.notes and "Texas" in S1S2Scenes.facts.title


def test_require_filters_scenes_and_files(make_scenes: MakeScenes) -> None:
    root = make_scenes()
    dataset = S1S2Scenes.at(root, patch_px=16, require={"position_certain": True})
    assert set(dataset.index().scenes) == {"000"}
    assert not any("001" in path.name for path in dataset.files())
    (root / "sar" / "001.png").unlink()
    assert len(S1S2Scenes.at(root, patch_px=16, require={"position_certain": "True"}).index()) == 6
    with pytest.raises(BenchError, match="opt/001.png has no SAR partner"):
        S1S2Scenes.at(root, patch_px=16).index()
    (root / "opt" / "001.png").unlink()
    with pytest.raises(BenchError, match="001 has no image in opt/ and sar/"):
        S1S2Scenes.at(root, patch_px=16).index()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"require": {"position_certan": "True"}}, "nearest: position_certain"),
        ({"require": {"tile": "T00"}}, "nearest: T"),
        ({"require": {"tile": "T0", "position_certain": "False"}}, "no scene in"),
        ({"patch_px": 64}, "no window of 64 px is left of 2 of 2 scenes"),
        ({"patch_px": 16, "overlap_px": 16}, "must be smaller"),
        ({"patch": 16}, "no option 'patch'; nearest: patch_px"),
        ({"reject": {"min_sdt": 3}}, "no option 'reject.min_sdt'; nearest: min_std"),
        ({"patch_px": 4}, "option patch_px: Input should be"),
    ],
)
def test_bad_options(make_scenes: MakeScenes, options: dict[str, Any], message: str) -> None:
    root = make_scenes()
    with pytest.raises(BenchError, match=message):
        S1S2Scenes.at(root, **({"patch_px": 16} | options)).index()


def test_scene_listed_twice_and_unequal_sizes(make_scenes: MakeScenes) -> None:
    root = make_scenes()
    table = (root / "scenes.csv").read_text()
    (root / "scenes.csv").write_text(table + table.splitlines()[1] + "\n")
    with pytest.raises(BenchError, match="lists scene '000' twice"):
        S1S2Scenes.at(root).index()
    (root / "scenes.csv").write_text(table)
    write_image(root / "sar" / "000", np.zeros((40, 49), np.uint8))
    with pytest.raises(BenchError, match="40 x 50 px.*000.png is 40 x 49"):
        S1S2Scenes.at(root, patch_px=16).index()


def test_rejection_criteria_by_known_patches() -> None:
    flat = np.full((16, 16, 3), 90, np.uint8)
    sar = np.full((16, 16), 50, np.uint8)
    busy = flat.copy()
    busy[:, ::4] = 200
    assert rejection(flat, sar, RejectCriteria()) is None and not RejectCriteria().active
    assert rejection(flat, sar, RejectCriteria(min_std=1.0)) == ("min_std", 0.0)
    assert rejection(busy, sar, RejectCriteria(min_std=1.0, min_gradient_fraction=0.4)) is None
    assert rejection(flat, sar, RejectCriteria(min_gradient_fraction=0.1)) == ("min_gradient_fraction", 0.0)
    half = sar.copy()
    half[:8] = 0
    assert rejection(busy, half, RejectCriteria(max_blank_fraction=0.4)) == ("max_blank_fraction", 0.5)
    assert rejection(busy, half, RejectCriteria(max_blank_fraction=0.5)) is None
    assert rejection(busy, sar, RejectCriteria(max_blank_fraction=0.5, no_data=50)) == ("max_blank_fraction", 1.0)


def test_criteria_mean_the_same_in_16_bit_and_float() -> None:
    rng = np.random.default_rng(1)
    patch = rng.integers(80, 120, (32, 32, 3), dtype=np.uint8)
    sar = np.ones((32, 32), np.uint8)
    criteria = RejectCriteria(min_std=1000.0)
    values = [
        rejection(image, sar, criteria)
        for image in (patch, patch.astype(np.uint16) * 257, (patch / 255).astype(np.float32))
    ]
    assert all(value is not None for value in values)
    assert np.allclose([value[1] for value in values if value], values[0][1] if values[0] else 0, rtol=1e-4)
    with pytest.raises(BenchError, match="floats in 0..1"):
        rejection(patch.astype(np.float32), sar, criteria)


def test_reader_rejects_and_keeps_its_choice(make_scenes: MakeScenes, tmp_path: Path, monkeypatch: Any) -> None:
    root, cache = make_scenes(blank_first=True), tmp_path / "cache"
    options = {"patch_px": 16, "reject": {"max_blank_fraction": 0.5}}
    plain = S1S2Scenes.at(root, patch_px=16).index()
    index = S1S2Scenes.at(root, cache, **options).index()
    assert len(plain) - len(index) == 2
    assert S1S2Scenes.at(root, None, **options).index().ids == index.ids
    stored = list((cache / "windows").glob("*.json"))
    assert len(stored) == 1

    def fail(*_: Any) -> None:
        raise AssertionError("pixels were looked at again")

    with monkeypatch.context() as patched:
        patched.setattr(scene_pairs, "rejection", fail)
        assert S1S2Scenes.at(root, cache, **options).index().ids == index.ids
    stored[0].write_text("{}")
    assert S1S2Scenes.at(root, cache, **options).index().ids == index.ids
    write_image(root / "opt" / "000", np.zeros((40, 50, 3), np.uint8))
    assert set(S1S2Scenes.at(root, cache, **options, empty_scenes="drop").index().scenes) == {"001"}
    with pytest.raises(BenchError, match="`reject` takes all"):
        S1S2Scenes.at(root, cache, patch_px=16, reject={"min_std": 200}).index()


@pytest.mark.parametrize("overlap", [0, 5])
@pytest.mark.parametrize("reject", [{}, {"max_blank_fraction": 0.5}])
def test_cut_and_reader_give_the_same_pixels(
    make_scenes: MakeScenes, tmp_path: Path, overlap: int, reject: dict[str, float]
) -> None:
    scenes = S1S2Scenes.at(make_scenes(blank_first=True), patch_px=16, overlap_px=overlap, reject=reject)
    report = cut(scenes, tmp_path / "out" / "set")
    assert (report.optical, report.sar) == (
        f"opt_16_oc_{0.31 if overlap else 0}",
        f"sar_16_oc_{0.31 if overlap else 0}",
    )
    patches = TwoFolders.at(report.out, optical=report.optical, sar=report.sar, table="patches.csv")
    left, right = scenes.index(), patches.index()
    assert len(left) == len(right) == report.written
    assert right.ids == tuple(str(n) for n in range(1, len(right) + 1))
    assert left.scenes == right.scenes and left.column("tile") == right.column("tile")
    assert np.array_equal(left.places, right.places)
    corners = [[int(v) for v in zip_row] for zip_row in zip(right.column("y0_px"), right.column("x0_px"), strict=True)]
    assert corners == [list(s.window[:2]) for s in left.samples if s.window]
    one, two = decoded(scenes, tmp_path / "cache"), decoded(patches, tmp_path / "cache")
    assert np.array_equal(one.optical, two.optical) and np.array_equal(one.sar, two.sar)
    with (report.out / "rejected.csv").open() as stream:
        rejected = list(csv.DictReader(stream))
    assert len(rejected) == sum(report.rejected.values()) > -1
    assert bool(rejected) == bool(reject)
    assert all(row["criterion"] == "max_blank_fraction" and float(row["value"]) > 0.5 for row in rejected)


def test_cut_keeps_16_bit_and_float_sar(make_scenes: MakeScenes, tmp_path: Path) -> None:
    root = make_scenes(((32, 32), (32, 32)))
    for number, dtype in enumerate((np.uint16, np.float32)):
        values = np.random.default_rng(number).integers(0, 60000, (32, 32)).astype(dtype)
        (root / "sar" / f"{number:03d}.png").unlink()
        path = write_image(root / "sar" / f"{number:03d}", values)
        report = cut(
            S1S2Scenes.at(root, patch_px=16, require={"tile": f"T{number}"}, sar_scale="amplitude"),
            tmp_path / f"out{number}",
        )
        first = next(iter(sorted((report.out / report.sar).iterdir())))
        assert np.array_equal(read_image(first), read_window(read_image(path), (0, 0, 16, 16)))


def test_cut_refuses(make_scenes: MakeScenes, tmp_path: Path) -> None:
    root = make_scenes()
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious").touch()
    with pytest.raises(BenchError, match="not empty"):
        cut(S1S2Scenes.at(root, patch_px=16), full)
    with pytest.raises(BenchError, match="nothing to write"):
        cut(S1S2Scenes.at(root, patch_px=16, reject={"min_std": 250}), tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(BenchError, match="cannot write to.*is a file"):
        cut(S1S2Scenes.at(root, patch_px=16), full / "precious" / "out")
    (root / "sar" / "001.png").write_bytes((root / "sar" / "001.png").read_bytes()[:700])
    with pytest.raises(BenchError, match="001.png cannot be decoded"):
        cut(S1S2Scenes.at(root, patch_px=16), tmp_path / "broken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "scenes"]


def test_cut_removes_what_a_killed_run_left(make_scenes: MakeScenes, tmp_path: Path) -> None:
    stale = tmp_path / ".out.tmp-dead"
    stale.mkdir()
    (stale / "half.png").touch()
    cut(S1S2Scenes.at(make_scenes(), patch_px=16), tmp_path / "out")
    assert not stale.exists()
