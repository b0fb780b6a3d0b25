"""The CFAR detector: false alarms on simulated clutter, a plain loop over pixels, planted targets, borders, land, odd
scenes.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.core.context import ExecutionContext
from bench.core.errors import BenchError
from bench.core.progress import Progress
from bench.core.registries import DETECTORS
from bench.data.dataset import open_dataset
from bench.data.images import as_sar, read_image
from bench.data.scaling import SarScale, ScalingParams
from bench.detection.detectors.base import Detections, Setup
from bench.detection.detectors.cfar import detector as cfar
from bench.detection.detectors.cfar.clutter import has_data, intensity_of, threshold_factor
from bench.detection.detectors.cfar.detector import Cfar, CfarOptions
from bench.detection.detectors.cfar.land import CELL_PX, SeaMask
from bench.detection.scoring.evaluator import BoxTable, ap_from_matches, match
from bench.detection.spec import Merging, Tiles

OPEN_SEA: dict[str, Any] = {"land": "none", "censor_pfa": None}


def detector(scale: SarScale | None = None, gsd_m: float | None = None, **options: Any) -> Cfar:
    made = Cfar(CfarOptions.model_validate(options))
    scaling = ScalingParams("uint8", 1, 0.0, 255.0)
    here = Path()
    context = ExecutionContext(here, here, "cpu", 1, 0, lambda line: None, Progress(None, stream=io.StringIO()))
    made.prepare(Setup(None, scaling, Tiles.model_validate({}), Merging.model_validate({}), context, gsd_m, scale))
    return made


def find(image: np.ndarray, scale: SarScale | None = None, **options: Any) -> Detections:
    return detector(scale, **options).predict(image).merged


def sea(shape: tuple[int, int], looks: float = 1.0, seed: int = 0, mean: float = 400.0) -> np.ndarray:
    """Amplitude of homogeneous clutter, uint16."""
    power = np.random.default_rng(seed).gamma(looks, mean / looks, shape)
    return np.rint(np.sqrt(power)).astype(np.uint16)


def no_land(shape: tuple[int, ...]) -> SeaMask:
    return SeaMask(np.zeros((-(-shape[0] // CELL_PX), -(-shape[1] // CELL_PX)), dtype=bool), shape)


@pytest.mark.parametrize("looks", [1.0, 4.0])
@pytest.mark.parametrize("pfa", [1e-2, 1e-4])
def test_false_alarm_rate_is_the_declared_one(looks: float, pfa: float) -> None:
    intensity = np.random.default_rng(7).gamma(looks, 1 / looks, (1200, 1200)).astype(np.float32)
    made = detector(SarScale.intensity, guard_px=3, ring_px=8, **OPEN_SEA)
    found = len(made.bright_pixels(intensity, no_land(intensity.shape), looks, pfa))
    expected = pfa * intensity.size
    # neighbours share ring pixels: a little wider than binomial
    assert abs(found - expected) < 5 * np.sqrt(expected) + 0.01 * expected


def test_every_pixel_is_decided_as_by_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 60, (44, 52)).astype(np.uint16)
    image[20:23, 30:36] = 900
    image[:14, :16] = 0
    land = np.zeros((6, 7), dtype=bool)
    land[4:, 4:] = True
    mask = SeaMask(land, image.shape)
    made = detector(guard_px=2, ring_px=5, min_ring=0.4, pfa=1e-4, grow_pfa=1e-4, correlated_px=2.0, **OPEN_SEA)
    got = made.bright_pixels(image, mask, 1.5, 0.05)
    power, usable = intensity_of(image, None), has_data(image) & mask.rows(0, 44)
    full = 11 * 11 - 5 * 5
    expected = []
    for y in range(44):
        for x in range(52):
            ring = np.zeros(image.shape, dtype=bool)
            ring[max(0, y - 5) : y + 6, max(0, x - 5) : x + 6] = True
            ring[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = False
            values = power[ring & usable]
            if not usable[y, x] or values.size < 0.4 * full:
                continue
            ratio = power[y, x] / max(values.mean(), 0.25)
            if ratio > threshold_factor(0.05, 1.5, np.array([values.size / 2]))[0]:
                expected.append((y, x, ratio, ratio > threshold_factor(1e-4, 1.5, np.array([values.size / 2]))[0]))
    assert len(expected) > 50 and any(row[3] for row in expected)
    assert list(zip(got.y.tolist(), got.x.tolist(), strict=True)) == [row[:2] for row in expected]
    assert np.allclose(got.ratio, [row[2] for row in expected], rtol=1e-9)
    assert got.starts.tolist() == [row[3] for row in expected]


@pytest.mark.parametrize("corner", [(100, 150), (0, 0), (188, 0), (0, 270), (188, 270)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_planted_ship_is_found_with_its_box(corner: tuple[int, int], dtype: type[np.generic]) -> None:
    y, x = corner
    image = np.minimum(sea((200, 300)), 250)
    image[y : y + 12, x : x + 30] = 240
    found = find(image.astype(dtype), SarScale.amplitude, land="none")
    assert found.boxes.tolist() == [[x, y, x + 30, y + 12]]
    assert found.scores[0] == pytest.approx(10 * np.log10(360 * 240**2 / 400), abs=0.5)


def test_defaults_find_nothing_on_open_sea_and_ignore_the_gain() -> None:
    image = sea((500, 700), seed=5)
    assert len(find(image)) == 0
    image[100:110, 100:130] = 300
    one, two = find(image), find((image * 7).astype(np.uint16))
    assert len(one) == 1 and np.array_equal(one.boxes, two.boxes) and np.allclose(one.scores, two.scores, atol=0.05)


@pytest.mark.parametrize(
    "image",
    [
        np.full((90, 90), 77, dtype=np.uint8),
        np.zeros((90, 90), dtype=np.uint16),
        np.full((1, 1), 9, dtype=np.uint8),
        np.zeros((1, 1), dtype=np.uint16),
        np.full((1, 500), 9, dtype=np.uint8),
        np.full((3, 2), 1.5, dtype=np.float32),
        np.zeros((40, 40), dtype=np.float32),
    ],
    ids=["constant", "black", "pixel", "black pixel", "line", "small float", "black float"],
)
@pytest.mark.parametrize("looks", [1.0, None])
def test_scenes_without_contrast_give_nothing(image: np.ndarray, looks: float | None) -> None:
    assert len(find(image, SarScale.amplitude, looks=looks)) == 0


def test_black_margin_neither_lowers_the_ring_nor_hides_a_ship() -> None:
    image = sea((240, 240), seed=2)
    image[:, :120] = 0
    assert len(find(image, land="none")) == 0
    image[100:110, 125:155] = 300
    assert find(image, land="none").boxes.tolist() == [[125, 100, 155, 110]]


def test_land_is_left_out_and_does_not_hide_a_ship_near_the_coast() -> None:
    image = sea((480, 480), seed=4)
    power = np.random.default_rng(9).gamma(1.0, 400.0 * 10, (480, 200))
    for y in range(10, 470, 40):  # buildings
        power[y : y + 5, 60:66] = 4e6
    image[:, 280:] = np.rint(np.sqrt(power))
    image[200:210, 230:260] = 220
    without = find(image, land="none")
    found = find(image)
    assert found.boxes.tolist() == [[230, 200, 260, 210]]
    assert len(without) > 10
    assert len(find(image, coast_px=64)) == 0
    made = detector()
    assert (
        len(made.bright_pixels(image, SeaMask(np.ones((60, 60), dtype=bool), image.shape), 1.0, 1e-2)) == 0
    )  # all land


def test_neighbours_do_not_hide_each_other() -> None:
    image = sea((200, 300), seed=6)
    for x, level in ((70, 400), (100, 150), (130, 400)):
        image[90:120, x : x + 8] = level
    assert find(image, land="none", censor_pfa=None).boxes.tolist() == [[x, 90, x + 8, 120] for x in (70, 130)]
    assert find(image, land="none").boxes.tolist() == [[x, 90, x + 8, 120] for x in (70, 100, 130)]


def test_weak_parts_join_by_hysteresis_and_side_lobes_go() -> None:
    image = np.full((200, 200), 10, dtype=np.uint16)
    image[100:104, 80:90] = 230  # ratio about 500
    image[100:104, 90:100] = 80  # ratio about 60: above the lower threshold, 9 dB under the peak
    image[100:104, 100:120] = 47  # ratio 22: grows too, but more than 12 dB under the peak
    options: dict[str, Any] = {"land": "none", "looks": 1.0}
    assert find(image, **options).boxes.tolist() == [[80, 100, 100, 104]]
    assert find(image, peak_drop_db=None, **options).boxes.tolist() == [[80, 100, 120, 104]]
    assert find(image, peak_drop_db=3, **options).boxes.tolist() == [[80, 100, 90, 104]]
    image[100:104, 80:100] = 47
    assert len(find(image, pfa=1e-12, grow_pfa=1e-9, **options)) == 0  # nothing starts a target


def test_gaps_margins_sizes_and_scores() -> None:
    image = np.full((120, 160), 10, dtype=np.uint16)
    image[50:60, 40:50] = image[50:60, 52:62] = 300
    image[90:92, 100:102] = 300
    image[0:6, 0:6] = 200
    options: dict[str, Any] = {"land": "none", "looks": 1.0}
    assert find(image, gap_px=2, **options).boxes.tolist() == [[0, 0, 6, 6], [40, 50, 62, 60]]
    assert len(find(image, gap_px=1, **options)) == 3
    assert len(find(image, gap_px=2, min_area_px=1, min_length_px=1, **options)) == 3
    assert find(image, gap_px=2, margin_px=1.5, **options).boxes.tolist() == [
        [0, 0, 7.5, 7.5],
        [38.5, 48.5, 63.5, 61.5],
    ]
    assert find(image, gap_px=2, max_length_px=20, **options).boxes.tolist() == [[0, 0, 6, 6]]
    metres = detector(None, 10.0, gap_px=2, min_length_m=100, max_length_m=300, **options).predict(image).merged
    assert metres.boxes.tolist() == [[40, 50, 62, 60]]
    energy, peak = find(image, gap_px=2, **options).scores, find(image, gap_px=2, score="peak", **options).scores
    assert np.allclose(peak, [10 * np.log10(400), 10 * np.log10(900)], atol=0.01)
    assert np.allclose(energy - peak, [10 * np.log10(36), 10 * np.log10(200)], atol=0.01)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_any_size_is_taken_and_boxes_stay_inside(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 4, (height, width)).astype(np.uint8) ** 4 * np.uint8(3)
    found = find(image, guard_px=1, ring_px=3, pfa=1e-2, grow_pfa=0.1, min_area_px=1, min_length_px=1, margin_px=1)
    assert (found.boxes >= 0).all() and (found.boxes <= [width, height, width, height]).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_result_does_not_depend_on_the_strips(dtype: type[np.generic], monkeypatch: pytest.MonkeyPatch) -> None:
    image = sea((700, 330), seed=8)
    image[:150, :100] = 0
    image[:, 200:] *= 4
    for y in range(30, 700, 47):
        image[y : y + 9, 150:175] = 240
    whole = find(image.astype(dtype), SarScale.amplitude)
    monkeypatch.setattr(cfar, "_STRIP_BYTES", 1)
    parts = find(image.astype(dtype), SarScale.amplitude)
    assert len(whole) > 10
    assert np.array_equal(whole.boxes, parts.boxes)
    assert np.allclose(whole.scores, parts.scores, atol=1e-9)


def test_memory_mapped_scene_is_read_only(tmp_path: Path) -> None:
    image = sea((200, 200))
    image[90:100, 90:120] = 300
    np.save(tmp_path / "scene.npy", image)
    mapped = np.load(tmp_path / "scene.npy", mmap_mode="r")
    assert np.array_equal(find(mapped).boxes, find(image).boxes)
    assert np.array_equal(mapped, image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guard_px": 40, "ring_px": 40}, "guard_px"),
        ({"pfa": 1e-6, "grow_pfa": 1e-7}, "grow_pfa"),
        ({"pfa": 0}, "pfa"),
        ({"looks": -1}, "looks"),
        ({"land": "map"}, "land"),
        ({"ring": 3}, "ring"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CfarOptions.model_validate(options)


def test_registered_and_strict_about_scales() -> None:
    assert DETECTORS.get("cfar") is Cfar and not Cfar.trains and not Cfar.seeded
    with pytest.raises(BenchError, match="sar_scale"):
        find(np.ones((50, 50), dtype=np.float32))
    with pytest.raises(BenchError, match="not finite"):
        find(np.full((50, 50), np.nan, dtype=np.float32), SarScale.intensity)


@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="set BENCH_DATA to the folder that holds hrsid_468/")
def test_real_offshore_tiles_stay_at_the_tuned_level(tmp_path: Path) -> None:
    root = Path(os.environ["BENCH_DATA"]) / "hrsid_468"
    items = open_dataset("hrsid", {"annotations": ["site_train"]}, root, tmp_path).index().items
    offshore = [item for item in items if item.attributes["shore"] == "offshore"][::10]
    made = detector(SarScale.uint8)
    found = [made.predict(as_sar(read_image(root / item.image), root / item.image)).merged for item in offshore]
    table = BoxTable.of([(item.boxes, item.ignore) for item in offshore], found)
    ap = ap_from_matches(match(table, "voc", (0.5,)), "area")
    assert ap is not None and ap > 0.65
