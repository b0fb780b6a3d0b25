"""The audit of scene sets: overlaps told by pixels alone against known windows, and what a report calls a problem."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import Bench
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ship_files import coco

from bench.cli.main import main
from bench.core.errors import BenchError
from bench.data.audit.duplicates import Overlap, find_overlaps, shared
from bench.data.audit.scene_report import SceneReport
from bench.data.audit.scenes import audit_scenes, named_windows
from bench.data.dataset import Dataset, open_dataset
from bench.data.images import as_sar, read_image, write_image
from bench.data.split_spec import SplitSpec

HRSID = Path(os.environ.get("BENCH_DATA", ".")) / "hrsid_468"
Window = tuple[int, int, int, int]  # y0, y1, x0, x1


def ground(seed: int, side: int = 360) -> np.ndarray:
    """Return a reflectivity map (side, side): fields, a dark sea, bright targets."""
    rng = np.random.default_rng(seed)
    out = np.full((side, side), 20.0)
    for _ in range(side // 6):
        (y, x), (h, w) = rng.integers(0, side, 2), rng.integers(8, 60, 2)
        out[y : y + h, x : x + w] = rng.uniform(5, 70)
    for y, x in rng.integers(0, side - 4, (side // 5, 2)).tolist():
        out[y : y + 3, x : x + 3] = 250.0
    return out


def acquisition(seed: int, of: np.ndarray) -> np.ndarray:
    """Return one SAR image of a ground, its speckle drawn from `seed`."""
    return np.clip(of * np.random.default_rng(seed).gamma(3.0, 1 / 3, of.shape), 0, 255).astype(np.uint8)


def crop(image: np.ndarray, window: Window) -> np.ndarray:
    return image[window[0] : window[1], window[2] : window[3]]


def common(a: Window, b: Window) -> tuple[int, int]:
    """Return height and width of what two windows share; 0 or less for nothing."""
    return min(a[1], b[1]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[2], b[2])


def overlaps(images: Sequence[np.ndarray], between: Sequence[bool] | None = None) -> list[Overlap]:
    return find_overlaps(lambda i: images[i], len(images), between)


def jpeg(image: np.ndarray, quality: int = 75) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


# -- pixels against known windows --------------------------------------------------------------------------------------
SCENE = acquisition(1, ground(0))
corner = st.integers(0, SCENE.shape[0] - 160)


@settings(max_examples=20, deadline=None)
@given(corner, corner, corner, corner)
def test_two_windows_of_a_scene_are_found_exactly_when_they_overlap(y: int, x: int, v: int, u: int) -> None:
    a, b = (y, y + 160, x, x + 160), (v, v + 160, u, u + 160)
    height, width = common(a, b)
    found = overlaps([crop(SCENE, a), crop(SCENE, b)])
    if min(height, width) >= 72:
        assert [(item.dy, item.dx, item.height, item.width) for item in found] == [(v - y, u - x, height, width)]
        assert found[0].same_pixels and found[0].pixels > 0.999
    elif min(height, width) <= 0:
        assert not found
    else:
        assert all((item.dy, item.dx) == (v - y, u - x) for item in found)  # narrow ones may be missed, never misplaced


def test_grey_levels_of_each_tile_and_jpeg_do_not_hide_an_overlap() -> None:
    first, second = crop(SCENE, (0, 200, 0, 200)), crop(SCENE, (110, 310, 90, 290))
    stretched = jpeg(np.clip(0.6 * second.astype(float) + 12, 0, 255).astype(np.uint8))
    (found,) = overlaps([jpeg(first), stretched])
    assert (found.dy, found.dx, found.height, found.width) == (110, 90, 90, 110) and found.same_pixels
    assert found.pixels < 0.9999  # the two really differ


def test_another_acquisition_of_the_place_is_told_from_the_same_pixels() -> None:
    place = ground(3)
    images = [crop(acquisition(1, place), (0, 240, 0, 240)), crop(acquisition(2, place), (60, 300, 30, 270))]
    (found,) = overlaps(images)
    assert abs(found.dy - 60) <= 1 and abs(found.dx - 30) <= 1
    assert not found.same_pixels and found.place is not None and found.place > 0.3


def test_other_places_share_nothing_even_under_one_bright_target() -> None:
    images = [acquisition(seed, ground(seed)) for seed in (11, 12, 13)]
    for image in images:
        image[100:112, 150:190] = 255  # a ship of one size, at one place of the tile
    assert overlaps(images) == []


def test_small_chips_are_compared_as_a_whole() -> None:
    chip = acquisition(1, ground(5, 40))
    noisy = np.clip(chip + np.random.default_rng(0).normal(0, 3, chip.shape), 0, 255).astype(np.uint8)
    found = overlaps([acquisition(2, ground(6, 40)), chip, noisy])
    assert [(item.first, item.second, item.dy, item.dx) for item in found] == [(1, 2, 0, 0)]
    assert found[0].same_pixels and found[0].place is None  # too small to judge a place by


def test_images_without_texture_or_of_a_few_pixels_are_no_duplicates() -> None:
    assert (
        overlaps(
            [
                np.zeros((80, 80), np.uint8),
                np.zeros((80, 80), np.uint8),
                np.full((80, 80), 9, np.uint16),
                np.ones((3, 5)),
            ]
        )
        == []
    )
    assert overlaps([]) == []


def test_only_pairs_between_two_sides_are_looked_for() -> None:
    a, b = crop(SCENE, (0, 160, 0, 160)), crop(SCENE, (40, 200, 0, 160))
    assert len(overlaps([a, b, a])) == 3
    assert [(item.first, item.second) for item in overlaps([a, b, a], [True, False, False])] == [(0, 1), (0, 2)]
    with pytest.raises(BenchError, match="between"):
        overlaps([a, b], [True])


def test_shared_rectangles_show_the_same_ground() -> None:
    left, right = shared(crop(SCENE, (0, 90, 20, 120)), crop(SCENE, (30, 100, 0, 80)), 30, -20)
    assert left.shape == (60, 60) and np.array_equal(left, right)
    assert shared(SCENE, SCENE, 400, 0)[0].size == 0


# -- reports -----------------------------------------------------------------------------------------------------------
def write_set(root: Path, images: dict[str, np.ndarray]) -> Path:
    """Write tiles as a COCO folder, lossless, one ship each."""
    (root / "images").mkdir(parents=True)
    boxes = {f"{name}.png": [[4, 4, 10, 10]] for name in images}
    value = coco(boxes, next(iter(images.values())).shape)
    for name, image in images.items():
        write_image(root / "images" / name, image)
    (root / "annotations.json").write_text(json.dumps(value))
    return root


def open_set(root: Path, **options: object) -> Dataset:
    wanted = {"sar_scale": "uint8", "scene_pattern": "^(P[0-9]+)_", **options}
    dataset: Dataset = open_dataset("coco-folder", wanted, root, root / "cache")
    return dataset


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two acquisitions of two places, three tiles each; the first two of each overlap by 70 px, the third touches the
    second.
    """
    images = {}
    for number in (1, 2):
        scene = acquisition(number, ground(20 + number, 400))
        for y0, x0 in ((0, 0), (0, 50), (0, 170)):
            window = (y0, y0 + 120, x0, x0 + 120)
            images[f"P{number:04d}_{'_'.join(map(str, window))}"] = crop(scene, window)
    return write_set(tmp_path_factory.mktemp("tiles"), images)


def report_on(dataset: Dataset, against: Dataset | None = None, **split: object) -> SceneReport:
    return audit_scenes(dataset, SplitSpec(**{"validation": 0, **split}), against)  # type: ignore[arg-type]


def test_windows_in_names(tiles: Path) -> None:
    index = open_set(tiles).index()
    found = [
        (link.kind, index.ids[link.first], index.ids[link.second], link.shift, link.size)
        for link in named_windows(index)  # type: ignore[arg-type]
    ]
    assert found == [
        (kind, f"P000{n}_0_120_{a}_{a + 120}", f"P000{n}_0_120_{b}_{b + 120}", (0, b - a), (120, 120 - b + a))
        for n in (1, 2)
        for kind, a, b in (("name", 0, 50), ("adjacent", 50, 170))
    ]


def test_a_split_by_scene_is_clean_and_one_inside_a_scene_is_not(tiles: Path) -> None:
    clean = report_on(open_set(tiles), kind="grouped", by="scene", test_groups=("P0002",))
    assert clean.ok and clean.problems == () and clean.touched("name", "pixels", "place", "file", "adjacent") == 0
    assert len(clean.of("name")) == 2 and len(clean.of("pixels")) == 2 and clean.of("place") == []
    assert "PROBLEM" not in "\n".join(clean.lines())
    inside = report_on(open_set(tiles), kind="grouped", by="id", test_groups=("P0001_0_120_0_120",))
    assert not inside.ok and inside.shared_scenes == ("P0001",)
    assert inside.touched("name") == inside.touched("pixels") == 1 and inside.touched("adjacent") == 0
    assert [line.split(": ")[0] for line in inside.problems[1:]] == [
        "1 of 1 test images overlap by their names with training or validation images",
        "1 of 1 test images share pixels with training or validation images",
    ]
    told = "\n".join(inside.lines())
    assert "pixels find 2 of the 2 pairs that overlap by name" in told and told.count("PROBLEM") == 3
    value = json.loads(json.dumps(inside.to_json(), allow_nan=False))
    assert (
        value["test_images_touched"]["pixels"] == 1
        and value["scenes"]["in_test_and_elsewhere"] == ["P0001"]
        and value["ok"] is False
    )


def test_without_scene_names_the_pixels_still_tell(tmp_path: Path) -> None:
    scene = acquisition(1, ground(30, 300))
    same = crop(scene, (0, 120, 0, 120))
    images = {"a": same, "b": crop(scene, (60, 180, 0, 120)), "c": acquisition(2, ground(31, 120)), "d": same}
    report = report_on(open_set(write_set(tmp_path / "set", images)), kind="grouped", by="id", test_groups=("a",))
    assert report.windows == 0 and report.shared_scenes == () and not report.ok
    assert report.crossing("file") == [(0, 3)] and report.crossing("pixels") == [(0, 1), (0, 3)]
    assert "not known: the set names none" in "\n".join(report.lines())
    alone = report_on(open_set(tmp_path / "set"), kind="grouped", by="id", test_groups=("c",))
    assert alone.ok and len(alone.of("file")) == 1  # equal files inside the training part are a fact, no leak


def test_damaged_images_are_named_and_the_others_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = acquisition(1, ground(30, 300))
    names = ("a", "b", "c", "d")
    write_set(tmp_path / "set", {name: crop(scene, (25 * i, 25 * i + 120, 0, 120)) for i, name in enumerate(names)})
    for name in ("a", "c"):
        path = tmp_path / "set" / "images" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:200])
    report = report_on(open_set(tmp_path / "set"), kind="grouped", by="id", test_groups=("b",))
    assert sorted(Path(name).name for name in report.damaged) == ["a.png", "c.png"]
    assert [(link.first, link.second) for link in report.of("pixels")] == [(1, 3)]
    assert all("cannot be decoded" in why for why in report.to_json()["damaged"].values())
    clean = report_on(open_set(tmp_path / "set"), kind="grouped", by="id", test_groups=("a",))
    assert clean.ok and len(clean.damaged) == 2  # shares nothing that could be seen, and yet is not whole
    monkeypatch.chdir(tmp_path)
    words = ["data", "audit", "coco-folder", "--root", str(tmp_path / "set"), "--option", "sar_scale: uint8"]
    for text in ("kind: grouped", "by: id", "test_groups: [a]", "validation: 0"):
        words += ["--spec", text]
    assert main(words) == 1
    assert capsys.readouterr().out.count("PROBLEM not compared: ") == 2


def test_content_that_a_pretraining_saw(tiles: Path, tmp_path: Path) -> None:
    seen = as_sar(read_image(tiles / "images" / "P0001_0_120_0_120.png"), tiles)
    for folder, image in (("sar", seen), ("optical", np.repeat(seen[:, :, None], 3, axis=2))):
        (tmp_path / "pairs" / folder).mkdir(parents=True)
        write_image(tmp_path / "pairs" / folder / "1", image)
        write_image(tmp_path / "pairs" / folder / "2", np.roll(image, 40, axis=0)[:, ::-1].copy())
    pairs = open_dataset("two-folders", {}, tmp_path / "pairs", tmp_path)
    split = {"kind": "grouped", "by": "scene"}
    hit = report_on(open_set(tiles), pairs, **split, test_groups=("P0001",))
    assert hit.against is not None and hit.against.searched and hit.against.images == 2
    assert hit.against.equal == (("P0001_0_120_0_120", "sar/1.png"),)
    assert {(a, b) for a, b, _ in hit.against.shared} == {
        ("P0001_0_120_0_120", "sar/1.png"),
        ("P0001_0_120_50_170", "sar/1.png"),
    }
    assert not hit.ok and len(hit.problems) == 2 and "images of two-folders" in hit.problems[0]
    miss = report_on(open_set(tiles), pairs, **split, test_groups=("P0002",))
    assert miss.ok and miss.against is not None and not miss.against.shared
    hit.write_tables(tmp_path / "out")
    told = (tmp_path / "out" / "pairs.csv").read_text()
    assert "file,P0001_0_120_0_120,sar/1.png,P0001,,test,two-folders" in told and "pixels,P0001_0_120_50_170" in told


def test_sets_of_two_scales_are_compared_by_files_alone(tiles: Path) -> None:
    fine, coarse = open_set(tiles, gsd_m=3.0), open_set(tiles, gsd_m=10.0)
    report = report_on(fine, coarse, kind="grouped", by="scene", test_groups=("P0001",))
    assert report.against is not None and not report.against.searched and len(report.against.equal) == 3
    assert "not searched: 3 m a pixel here, 10 m there" in "\n".join(report.lines())
    assert json.loads(json.dumps(report.to_json()))["against"]["pixels_searched"] is False


def test_the_command_line(tiles: Path, bench: Bench) -> None:
    words = (
        "data",
        "audit",
        "coco-folder",
        "--root",
        str(tiles),
        "--option",
        "{sar_scale: uint8, scene_pattern: '^(P[0-9]+)_'}",
    )
    done = bench(*words, "--spec", "{kind: grouped, by: scene, test_groups: [P0002], validation: 0}")
    assert "2 pairs; 0 test images touched" in done.stdout and "PROBLEM" not in done.stdout
    done = bench(*words, "--spec", "{kind: random, test: 0.34, validation: 0}", "--out", "found", code=1)
    assert "PROBLEM" in done.stdout and "split by scene" in done.stdout
    report = json.loads((bench.folder / "found" / "report.json").read_text())
    assert report["kind"] == "scenes"
    with (bench.folder / "found" / "pairs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [[row["first"], row["second"]] for row in rows] == [link["images"] for link in report["links"]]
    assert all(row["first"].startswith(row["first_scene"]) and row["first_part"] for row in rows) and len(rows) > 3
    assert "(scene P0001)" in done.stdout or "(scene P0002)" in done.stdout


# -- real tiles, whose names tell the answer ---------------------------------------------------------------------------
SAMPLE = ("P0001", "P0002", "P0004", "P0012", "P0025", "P0027", "P0033", "P0060", "P0091", "P0118")


@pytest.mark.skipif(not HRSID.is_dir(), reason="set BENCH_DATA to the folder that holds hrsid_468")
def test_overlapping_tiles_of_hrsid_by_their_names(tmp_path: Path) -> None:
    index = open_dataset("hrsid", {"annotations": ["site_train", "site_test"]}, HRSID, tmp_path, kind="ships").index()
    index = index.take(np.array([i for i, item in enumerate(index.items) if item.scene in SAMPLE]))
    named = {(link.first, link.second): link for link in named_windows(index) if link.kind == "name"}
    paths = [HRSID / item.image for item in index.items]
    found = {
        (item.first, item.second): item
        for item in find_overlaps(lambda i: as_sar(read_image(paths[i]), paths[i]), len(paths))
    }
    pixels = {pair for pair, item in found.items() if item.same_pixels}
    assert len(named) == 21 and set(named) <= set(found)
    assert pixels <= set(named) and len(pixels) >= 20  # no false alarm; one pair of copies was processed differently
    assert all((found[pair].dy, found[pair].dx) == link.shift for pair, link in named.items())
    passes = set(found) - set(named)  # other acquisitions of one place: their shifts must add up around every triangle
    assert {frozenset(re.findall("P[0-9]+_", f"{index.ids[a]} {index.ids[b]}")) for a, b in passes} >= {
        frozenset({"P0025_", "P0033_"})
    }
    step = {(a, b): np.array([item.dy, item.dx]) for (a, b), item in found.items()}
    closed = [
        np.abs(step[a, b] + step[b, c] - step[a, c]).max()
        for a, b in step
        for c in range(len(paths))
        if {(b, c), (a, c)} <= set(step)
    ]
    assert len(closed) >= 15 and max(closed) <= 6
