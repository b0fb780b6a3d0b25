"""The generated ship scenes: repeatable, boxes that fit their pixels, shores, empty scenes, made once, and no perfect
score for CFAR.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.data.dataset import open_dataset
from bench.data.datasets.toy_ships import ToyShips
from bench.data.generated import LIST
from bench.data.images import read_image
from bench.data.scaling import SarScale
from bench.data.ships.dataset import ShipDataset
from bench.data.ships.toy import LENGTH_PX, ToyShipScenes, render_ships
from bench.data.split_spec import SplitSpec
from bench.data.splits import make_split

SMALL: dict[str, Any] = {"scenes": 6, "scene_px": 192, "ships_per_scene": 3}


def test_scene_is_a_function_of_options_and_number() -> None:
    options = ToyShipScenes(**SMALL)
    one, two = render_ships(options, 1), render_ships(options, 1)
    assert np.array_equal(one.amplitude, two.amplitude) and np.array_equal(one.boxes, two.boxes)
    for other in (
        render_ships(options, 3),
        render_ships(ToyShipScenes(**SMALL, seed=1), 1),
        render_ships(ToyShipScenes(**SMALL, looks=1), 1),
    ):
        assert not np.array_equal(one.amplitude, other.amplitude)


@pytest.mark.parametrize("bits", [8, 16])
def test_boxes_are_bright_whole_and_apart(bits: Any) -> None:
    for number in range(8):
        made = render_ships(ToyShipScenes(bits=bits), number)
        assert made.amplitude.dtype == (np.uint8 if bits == 8 else np.uint16)
        assert made.shore == ("offshore", "inshore")[number % 2] and made.land.any() == (made.shore == "inshore")
        assert len(made.boxes) == (0 if number == 4 else 6)
        sea = np.median(made.amplitude[~made.land])
        covered = np.zeros(made.amplitude.shape, dtype=int)
        for x1, y1, x2, y2 in made.boxes.astype(int).tolist():
            assert 0 <= x1 < x2 <= 384 and 0 <= y1 < y2 <= 384
            inside = made.amplitude[y1:y2, x1:x2]
            assert max(x2 - x1, y2 - y1) <= LENGTH_PX[1] + 1 and np.hypot(x2 - x1, y2 - y1) > LENGTH_PX[0] - 3
            assert np.percentile(inside, 90) > 2.5 * sea
            assert not made.land[y1:y2, x1:x2].any()
            covered[y1:y2, x1:x2] += 1
        assert covered.max(initial=0) <= 1


def test_boxes_touch_the_ship_on_all_sides() -> None:
    made = render_ships(ToyShipScenes(looks=1000.0, scenes=1), 0)
    bright = made.amplitude > 2.2 * np.median(made.amplitude)
    for x1, y1, x2, y2 in made.boxes.astype(int).tolist():
        ship = bright[y1:y2, x1:x2]
        assert ship[0].any() and ship[-1].any() and ship[:, 0].any() and ship[:, -1].any()
        assert bright[y1 - 2 : y2 + 2, x1 - 2 : x2 + 2].sum() == ship.sum()


def test_some_ships_lie_near_the_coast() -> None:
    near = 0
    for number in (1, 3, 5, 7):
        made = render_ships(ToyShipScenes(), number)
        for x1, y1, x2, y2 in made.boxes.astype(int).tolist():
            near += bool(made.land[max(0, y1 - 25) : y2 + 25, max(0, x1 - 25) : x2 + 25].any())
    assert near >= 6


def test_opened_by_name_like_any_set_and_made_once(tmp_path: Path) -> None:
    dataset = open_dataset("toy-ships", SMALL, None, tmp_path)
    index = dataset.index()
    assert isinstance(dataset, ShipDataset) and dataset.generated
    assert len(index) == 6 and len(set(index.scenes)) == 6
    assert index.column("shore") == ["offshore", "inshore"] * 3
    assert [len(item.boxes) for item in index.items] == [3, 3, 3, 3, 0, 3]
    for number, item in enumerate(index.items):
        made = render_ships(ToyShipScenes(**SMALL), number)
        assert np.array_equal(read_image(dataset.root / item.image), made.amplitude)
        assert np.array_equal(item.boxes, made.boxes) and not item.ignore.any()
    assert dataset.sar_scale is SarScale.uint8 and dataset.gsd_m == 5.0
    stamp = (dataset.root / LIST).stat().st_mtime_ns
    again = open_dataset("toy-ships", SMALL, None, tmp_path)
    assert again.root == dataset.root and (again.root / LIST).stat().st_mtime_ns == stamp
    assert again.manifest().sha256 == dataset.manifest().sha256
    assert open_dataset("toy-ships", {**SMALL, "seed": 3}, None, tmp_path).root != dataset.root


def test_damaged_copy_is_made_anew(tmp_path: Path) -> None:
    dataset = open_dataset("toy-ships", SMALL, None, tmp_path)
    (dataset.root / "images" / "2.png").unlink()
    assert (open_dataset("toy-ships", SMALL, None, tmp_path).root / "images" / "2.png").is_file()


def test_sixteen_bit_scenes_are_amplitude(tmp_path: Path) -> None:
    dataset = open_dataset("toy-ships", {**SMALL, "bits": 16}, None, tmp_path)
    assert dataset.sar_scale is SarScale.amplitude
    assert read_image(dataset.root / dataset.index().items[0].image).dtype == np.uint16


def test_kept_copy_is_found_at_a_root_and_options_are_checked(tmp_path: Path) -> None:
    made = open_dataset("toy-ships", SMALL, None, tmp_path)
    assert len(ToyShips.at(made.root).index()) == 6
    with pytest.raises(BenchError, match="scenes"):
        open_dataset("toy-ships", {"scene": 3}, None, tmp_path)
    with pytest.raises(BenchError, match="bits"):
        open_dataset("toy-ships", {"bits": 12}, None, tmp_path)


def test_scenes_are_split_by_scene_and_shore(tmp_path: Path) -> None:
    index = open_dataset("toy-ships", SMALL, None, tmp_path).index()
    split = make_split(index, SplitSpec(kind="random", by="scene", train=0.5, validation=0))
    assert len(split.train) + len(split.test) == 6
