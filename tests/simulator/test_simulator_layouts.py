"""The simulated stand-ins: genuine layouts that the readers and `bench data verify` take, and truths that the pixels
bear out.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.main import main
from bench.data.dataset import open_dataset
from bench.data.datasets.air_sarship import TEST
from bench.data.images import read_image
from bench.simulator.like import Plan, Request, air_sarship, hrsid, qxs_saropt, ssdd
from bench.simulator.produce import produce
from bench.simulator.sar import sar_boxes
from bench.simulator.world import world_of

OPTICAL, SAR = "QXSLAB_SAROPT/opt_256_oc_0.2", "QXSLAB_SAROPT/sar_256_oc_0.2"
PATCH = 256


def make(plan: Plan, out: Path) -> Path:
    produce(out, plan.stamp, plan.tasks, plan.make, plan.finish, 1)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("like")


@pytest.fixture(scope="module")
def pairs(folder: Path) -> Path:
    return make(qxs_saropt.plan(Request(41, seed=3)), folder / "pairs")


@pytest.fixture(scope="module")
def shifted(folder: Path) -> Path:
    return make(qxs_saropt.plan(Request(20, seed=4, misregistration_px=2.5)), folder / "shifted")


@pytest.fixture(scope="module")
def small_images(folder: Path) -> Path:
    return make(ssdd.plan(Request(24, seed=1)), folder / "ssdd")


@pytest.fixture(scope="module")
def tiles(folder: Path) -> Path:
    return make(hrsid.plan(Request(6, seed=1)), folder / "hrsid")


@pytest.fixture(scope="module")
def scenes(folder: Path) -> Path:
    """Three scenes of 16 bit, made small: 3000 px take too long here."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(air_sarship, "SIDE_PX", 500)
        return make(air_sarship.plan(Request(3, seed=2)), folder / "scenes")


def opened(name: str, root: Path) -> Any:
    return open_dataset(name, {}, root, root.parent / "cache", env={})


def truth(root: Path) -> list[dict[str, Any]]:
    with (root / "truth.csv").open(newline="") as stream:
        return [
            {key: value if key == "scene" else int(value) for key, value in row.items()}
            for row in csv.DictReader(stream)
        ]


# -- the tool takes them -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "made"),
    [("qxs-saropt", "pairs"), ("ssdd", "small_images"), ("hrsid", "tiles"), ("air-sarship-1.0", "scenes")],
)
def test_verify_finds_nothing_but_the_smaller_number(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], name: str, made: str
) -> None:
    assert main(["data", "verify", name, "--root", str(request.getfixturevalue(made))]) == 1
    told = capsys.readouterr().out
    problems = [line for line in told.splitlines() if line.startswith("PROBLEM")]
    assert problems and all(re.search(r"\d+ \w+ found, \d+ declared", line) for line in problems), told


@pytest.mark.parametrize(("name", "made"), [("qxs-saropt", "pairs"), ("ssdd", "small_images"), ("hrsid", "tiles")])
def test_readers_look_at_neither_truth_nor_stamp(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, made: str
) -> None:
    root = request.getfixturevalue(made)
    before = opened(name, root).manifest()
    assert not any("truth" in file or "simulated" in file for file in before.files)
    moved = [path for path in (root / "truth.csv", root / "simulated.json") if path.exists()]
    assert len(moved) == (2 if name == "qxs-saropt" else 1)
    for path in moved:
        path.rename(tmp_path / path.name)
    try:
        after = open_dataset(name, {}, root, tmp_path / "another-cache", env={})
        assert after.manifest().sha256 == before.sha256 and len(after.index()) > 0
    finally:
        for path in moved:
            (tmp_path / path.name).rename(path)


# -- pairs -------------------------------------------------------------------------------------------------------------
def overlaps(
    rows: list[dict[str, Any]], optical: bool
) -> list[tuple[int, tuple[slice, slice], int, tuple[slice, slice]]]:
    """Return pairs of patch numbers with the pixels in each that show the same ground, by the truth table."""
    found = []
    for one, other in itertools.combinations(rows, 2):
        if one["scene"] != other["scene"]:
            continue
        shift = []
        for axis in "yx":
            at = [row[f"{axis}0_px"] + (row[f"optical_d{axis}_px"] if optical else 0) for row in (one, other)]
            shift.append(at[1] - at[0])
        if all(abs(step) < PATCH for step in shift):
            mine = tuple(slice(max(0, step), PATCH + min(0, step)) for step in shift)
            theirs = tuple(slice(max(0, -step), PATCH + min(0, -step)) for step in shift)
            found.append((one["id"], mine, other["id"], theirs))
    return found  # type: ignore[return-value]


def shared_pixels_agree(root: Path, view: str, optical: bool) -> Counter[tuple[int, ...]]:
    """Assert that all patches that overlap by the truth are equal there; return how often each shape of overlap
    occurs.
    """
    images = {path.stem: read_image(path) for path in (root / view).iterdir()}
    shapes: Counter[tuple[int, ...]] = Counter()
    for one, mine, other, theirs in overlaps(truth(root), optical):
        left, right = images[str(one)][mine], images[str(other)][theirs]
        assert np.array_equal(left, right), f"{view}: {one} and {other}"
        assert left.std() > 0
        shapes[left.shape[:2]] += 1
    return shapes


def test_patches_that_overlap_by_the_truth_are_equal_there(pairs: Path) -> None:
    for view, optical in ((OPTICAL, True), (SAR, False)):
        shapes = shared_pixels_agree(pairs, view, optical)
        assert shapes[(256, 52)] > 10 and shapes[(52, 256)] > 10 and shapes[(52, 52)] > 5
        assert set(shapes) == {(256, 52), (52, 256), (52, 52)}


def test_misregistration_moves_the_optical_view_as_the_truth_says(shifted: Path) -> None:
    moved = np.array([[row["optical_dy_px"], row["optical_dx_px"]] for row in truth(shifted)])
    assert 1.5 < moved.std() < 3.5 and np.abs(moved).max() <= 8 and len(np.unique(moved, axis=0)) > 10
    assert shared_pixels_agree(shifted, SAR, False)[(256, 52)] > 4
    assert sum(shared_pixels_agree(shifted, OPTICAL, True).values()) > 10  # equal where offsets are taken into account
    images = {path.stem: read_image(path) for path in (shifted / OPTICAL).iterdir()}
    regular = [
        np.array_equal(images[str(a)][at], images[str(b)][there]) for a, at, b, there in overlaps(truth(shifted), False)
    ]
    assert not all(regular)  # and not where they are not


def test_without_misregistration_the_views_lie_on_each_other(pairs: Path) -> None:
    assert all(row["optical_dy_px"] == row["optical_dx_px"] == 0 for row in truth(pairs))


def test_numbers_tell_nothing_about_neighbours(pairs: Path) -> None:
    rows = truth(pairs)
    assert [row["id"] for row in rows] == list(range(1, 42))
    neighbours = {frozenset((one, other)) for one, _, other, _ in overlaps(rows, False)}
    in_a_row = sum(frozenset((number, number + 1)) in neighbours for number in range(1, 41))
    assert in_a_row < 16  # six of forty by chance, nearly all if they were numbered by place
    assert len({row["scene"] for row in rows[:8]}) == 3


def test_cities_have_about_equal_shares_and_radiometry_of_their_own(pairs: Path) -> None:
    rows = truth(pairs)
    assert sorted(Counter(row["scene"] for row in rows).values()) == [13, 14, 14]
    assert len({(row["scene"], row["y0_px"], row["x0_px"]) for row in rows}) == 41
    means = {
        city: np.mean([read_image(pairs / SAR / f"{row['id']}.png").mean() for row in rows if row["scene"] == city])
        for city in ("city1", "city2", "city3")
    }
    assert max(means.values()) > 1.1 * min(means.values())


def test_the_reader_sees_pairs_without_scene_or_place(pairs: Path) -> None:
    index = opened("qxs-saropt", pairs).index()
    assert index.ids == tuple(str(number) for number in range(1, 42))
    assert set(index.scenes) == {None} and np.isnan(index.places).all()


# -- ship sets ---------------------------------------------------------------------------------------------------------
def test_both_styles_of_ssdd_hold_the_same_boxes(small_images: Path) -> None:
    by_style = [
        open_dataset("ssdd", {"style": style}, small_images, small_images.parent / style, env={})
        for style in ("voc", "coco")
    ]
    voc, coco = (dataset.index() for dataset in by_style)
    assert len(voc) == 24 and set(voc.ids) == set(coco.ids)
    listed = {item.id: item for item in coco.items}
    for one in voc.items:
        other = listed[one.id]
        assert np.array_equal(one.boxes, other.boxes) and len(one.boxes) > 0
        assert (one.height, one.width) == (other.height, other.width)
        assert (one.boxes == np.rint(one.boxes)).all()  # whole pixels, as people draw them


def test_ssdd_parts_and_copies_by_shore(small_images: Path) -> None:
    root = small_images / "Official-SSDD-OPEN/BBox_SSDD"
    parts = {
        part: sorted(path.stem for path in (root / "coco_style/images" / part).iterdir()) for part in ("train", "test")
    }
    assert parts["test"] == [f"{number:06d}" for number in range(1, 25) if number % 10 in (1, 9)]
    assert len(parts["train"]) == 24 - len(parts["test"])
    copies = list((root / "voc_style").glob("JPEGImages_test_*/*"))
    assert sorted(path.stem for path in copies) == parts["test"]
    for path in copies:
        assert path.read_bytes() == (root / "voc_style/JPEGImages" / path.name).read_bytes()
    for part, names in parts.items():
        assert (root / f"voc_style/ImageSets/Main/{part}.txt").read_text().split() == names


def test_hrsid_lists_part_the_tiles_and_the_third_holds_all(tiles: Path) -> None:
    root = tiles / "HRSID_JPG/annotations"
    lists = {
        name: json.loads((root / f"{name}.json").read_text()) for name in ("train2017", "test2017", "train_test2017")
    }
    names = {name: [image["file_name"] for image in listed["images"]] for name, listed in lists.items()}
    assert sorted(names["train2017"] + names["test2017"]) == sorted(names["train_test2017"])
    assert len(names["train2017"]) == 4 and len(set(names["train_test2017"])) == 6
    assert sum(len(listed["annotations"]) for name, listed in lists.items() if name != "train_test2017") == len(
        lists["train_test2017"]["annotations"]
    )
    index = opened("hrsid", tiles).index()
    assert len(index) == 6 and sum(len(scene.boxes) for scene in index.items) == len(
        lists["train_test2017"]["annotations"]
    )


def test_hrsid_tiles_overlap_as_their_names_say(tiles: Path) -> None:
    """Ships in what two tiles share are listed in both, at the same place in the scene."""
    places: dict[str, dict[tuple[int, int], np.ndarray]] = {}
    for scene in opened("hrsid", tiles).index().items:
        name, y0, _, x0, _ = re.findall(r"P(\d+)_(\d+)_(\d+)_(\d+)_(\d+)", Path(scene.id).name)[0]
        places.setdefault(name, {})[int(y0), int(x0)] = scene.boxes
    seen = 0
    for tiled in places.values():
        for ((y1, x1), one), ((y2, x2), other) in itertools.permutations(tiled.items(), 2):
            inner = [box + [x1, y1, x1, y1] for box in one if (box > 1).all() and (box < 799).all()]
            for box in inner:
                if x2 + 1 < box[0] and box[2] < x2 + 799 and y2 + 1 < box[1] and box[3] < y2 + 799:
                    seen += 1
                    assert (np.abs(other + [x2, y2, x2, y2] - box).max(axis=1) < 0.03).any()
    assert seen > 0


def test_hrsid_boxes_are_those_of_the_scene_seen_from_each_tile(tiles: Path) -> None:
    told = {Path(item.id).name: item.boxes for item in opened("hrsid", tiles).index().items}
    seen_whole = 0
    for number, scene, places in hrsid.plan(Request(6, seed=1)).tasks:
        size = (scene.port.height_px, scene.port.width_px)
        ships = sar_boxes(world_of(scene.port), scene.sar, (0, 0, *size))
        for y0, x0 in places:
            seen = [box - [x0, y0, x0, y0] for box in ships]
            whole = [box for box in seen if (box > 0).all() and (box < hrsid.TILE_PX).all()]
            found = told[f"P{number:04d}_{y0}_{y0 + 800}_{x0}_{x0 + 800}"]
            assert len(whole) <= len(found)  # none, in a tile without ships
            seen_whole += len(whole)
            for box in whole:
                assert np.abs(found - box).max(axis=1).min() < 0.01
    assert seen_whole > 5


def test_air_sarship_has_sixteen_bits_and_voc_files(scenes: Path) -> None:
    import tifffile

    index = opened("air-sarship-1.0", scenes).index()
    assert len(index) == 3
    for scene in index.items:
        image = tifffile.imread(scenes / air_sarship.IMAGES / f"{scene.id}.tiff")
        assert image.dtype == np.uint16 and image.shape == (500, 500) and image.max() > 255
        assert len(scene.boxes) > 0 and (scene.boxes == np.rint(scene.boxes)).all()


def test_published_positions_come_back_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(air_sarship, "SIDE_PX", 400)
    table = tmp_path / "published.csv"
    wanted: dict[int, list[list[float]]] = {
        1: [[10, 20, 60, 41], [300.25, 301.5, 333.75, 390.125]],
        3: [[100, 380, 150, 447], [200, 3, 211, 14]],
    }
    lines = [f"{number},{','.join(map(str, box))}" for number, boxes in wanted.items() for box in boxes]
    table.write_text("scene,x1,y1,x2,y2\n" + "\n".join(lines) + "\n")
    found = air_sarship.read_positions(table)
    root = make(air_sarship.plan(Request(3, boxes=found)), tmp_path / "set")
    index = opened("air-sarship-1.0", root).index()
    boxes = {int(scene.id): scene.boxes.tolist() for scene in index.items}
    assert boxes == {1: wanted[1], 2: [], 3: wanted[3]}
    assert [scene.height for scene in index.items] == [400, 400, 487]  # only the last has a ship beyond its edge
    again = air_sarship.read_positions(root / air_sarship.LABELS)
    assert {number: found.tolist() for number, found in again.items()} == boxes


def test_whole_sets_are_planned_as_large_as_the_genuine_ones() -> None:
    assert len(air_sarship.plan(Request()).tasks) == 31
    counted = air_sarship._ship_counts(0)
    assert sum(counted.values()) == 461 and sum(counted[number] for number in TEST) == 125
    assert sum(len(task) for task in ssdd.plan(Request()).tasks) == 1160
    assert sum(scene.port.ships or 0 for task in ssdd.plan(Request()).tasks for _, scene in task) == 2587
    assert sum(len(places) for _, _, places in hrsid.plan(Request()).tasks) == 5604
