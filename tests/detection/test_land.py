"""Land estimated from the scene: two-group scenes, open sea, small bright things, coasts."""

from __future__ import annotations

import numpy as np
import pytest

from bench.detection.detectors.cfar.land import CELL_PX, LandRule, SeaMask, cell_levels, estimate_land, otsu

RULE = LandRule()


def speckle(power: np.ndarray, seed: int = 0) -> np.ndarray:
    """Single-look intensity of the given mean power, floored as integers would be."""
    return np.maximum(power * np.random.default_rng(seed).gamma(1.0, 1.0, power.shape), 0.25)


def land_of(power: np.ndarray, rule: LandRule = RULE, valid: np.ndarray | None = None) -> np.ndarray:
    return estimate_land(
        *cell_levels(speckle(power), np.ones(power.shape, dtype=bool) if valid is None else valid), rule
    )


def test_a_bright_half_is_land_to_about_a_cell() -> None:
    power = np.full((400, 600), 100.0)
    power[:, 350:] *= 8
    land = land_of(power)
    true = np.add.outer(np.zeros(50), np.arange(75)) * CELL_PX >= 350
    assert (land != true).mean() < 0.02
    assert (land == true)[:, :41].all() and (land == true)[:, 46:].all()


def test_open_sea_and_slow_changes_are_no_land() -> None:
    assert not land_of(np.full((400, 400), 100.0)).any()
    assert not land_of(np.linspace(100, 200, 400)[None, :] * np.ones((400, 1))).any()
    assert not land_of(np.full((1, 1), 4.0)).any()


def test_ships_are_no_land() -> None:
    power = np.full((400, 400), 100.0)
    for x in range(40, 400, 60):
        power[100:112, x : x + 40] = 30_000
    assert not land_of(power).any()


def test_small_islands_stay_and_lakes_are_filled() -> None:
    power = np.full((640, 640), 100.0)
    power[:, :320] *= 8
    power[100:180, 100:180] = 100.0  # a lake of 6,400 px
    power[400:480, 450:530] = 800.0  # an island of 6,400 px
    land = land_of(power)
    assert land[:, :38].all() and not land[:, 43:].any()
    with_island = land_of(power, LandRule(min_area_px=3000))
    assert with_island[400 // 8 + 2 : 480 // 8 - 2, 450 // 8 + 2 : 530 // 8 - 2].all()
    assert not with_island[100 // 8 + 2 : 180 // 8 - 2, 100 // 8 + 2 : 180 // 8 - 2].any()


def test_no_data_is_neither_land_nor_part_of_the_threshold() -> None:
    power = np.full((400, 400), 100.0)
    valid = np.ones(power.shape, dtype=bool)
    valid[:, :200] = False
    assert not land_of(np.where(valid, power, 0.0), valid=valid).any()
    assert not land_of(power, valid=np.zeros(power.shape, dtype=bool)).any()


def test_cells_at_the_end_are_averaged_over_what_is_there() -> None:
    level, count = cell_levels(np.full((9, 17), 100.0), np.ones((9, 17), dtype=bool))
    assert level.shape == (2, 3) and np.allclose(level, 20.0)
    assert count.tolist() == [[64, 64, 8], [8, 8, 1]]


def test_otsu_parts_two_groups() -> None:
    rng = np.random.default_rng(0)
    threshold, apart = otsu(np.concatenate([rng.normal(0, 0.3, 1000), rng.normal(10, 0.3, 300)]))
    assert 1 < threshold < 9 and apart == pytest.approx(10, abs=0.2)
    assert otsu(np.full(5, 3.0)) == (3.0, 0.0)


@pytest.mark.parametrize(("coast_px", "first"), [(0, 16), (1, 24), (16, 32), (-1, 8), (-16, 0)])
def test_coast_widens_or_narrows_what_is_not_tested(coast_px: int, first: int) -> None:
    land = np.zeros((5, 6), dtype=bool)
    land[:, :2] = True
    sea = SeaMask(land, (37, 45), coast_px)
    assert sea.rows(0, 37).shape == (37, 45)
    assert np.array_equal(sea.rows(3, 30), np.tile(np.arange(45) >= 16, (27, 1)))
    assert np.array_equal(sea.tested_rows(3, 30), np.tile(np.arange(45) >= first, (27, 1)))
