"""The simulator's benchmarks run at toy size, and what they measure has the value that it must have. Nothing is
timed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from bench.simulator.like import Request, hrsid, qxs_saropt  # noqa: E402
from bench.simulator.produce import produce  # noqa: E402
from benchmarks import simulator, simulator_gallery, simulator_realism, simulator_truth  # noqa: E402


def rows_of(text: str) -> dict[str, list[str]]:
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {first: rest for first, *rest in cells}


def run(module: object, *words: str) -> None:
    """Run a script's main with these arguments."""
    before, sys.argv = sys.argv, ["script", *words]
    try:
        module.main()  # type: ignore[attr-defined]
    finally:
        sys.argv = before


# -- gallery -----------------------------------------------------------------------------------------------------------
def test_gallery_renders_every_picture_and_always_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(simulator_gallery, "--out", str(tmp_path), "--scale", "0.12")
    assert sorted(path.stem for path in tmp_path.glob("*.jpg")) == sorted(simulator_gallery.PICTURES)
    assert capsys.readouterr().out.count("KiB") == len(simulator_gallery.PICTURES)
    for path in tmp_path.glob("*.jpg"):
        assert np.asarray(Image.open(path)).std() > 10, path.name
    assert np.array_equal(simulator_gallery.harbour(0.12), simulator_gallery.harbour(0.12))


def test_gallery_pictures_of_the_docs_are_those_of_the_script() -> None:
    folder = ROOT / "docs/images/simulator"
    assert sorted(path.stem for path in folder.glob("*.jpg")) == sorted(simulator_gallery.PICTURES)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1.5e6
    page = (ROOT / "docs/simulator.md").read_text(encoding="utf-8")
    assert all(f"images/simulator/{name}.jpg" in page for name in simulator_gallery.PICTURES)


# -- realism -----------------------------------------------------------------------------------------------------------
def test_statistics_of_images_whose_statistics_are_known() -> None:
    rng = np.random.default_rng(0)
    white = rng.normal(100, 10, (256, 256))
    assert np.allclose(simulator_realism.autocorrelation(white, (1, 4)), 0, atol=0.02)
    low, middle, high = simulator_realism.band_power(white)
    area = [np.pi * (b**2 - a**2) for a, b in simulator_realism.BANDS]
    assert np.allclose([low, middle, high], np.array(area) / sum(area), atol=0.02)
    same_rows = np.repeat(rng.normal(100, 10, (1, 256)), 256, axis=0)
    # mean of 1 down and 0 across
    assert simulator_realism.autocorrelation(same_rows, (1,))[0] == pytest.approx(0.5, abs=0.05)


def test_ship_to_clutter_is_a_ratio_of_mean_intensities() -> None:
    image = np.full((100, 120), 10.0)
    image[40:50, 50:80] = 100.0
    image[30:40, 40:90] = 200.0  # within 10 px of the box: neither ship nor clutter
    assert simulator_realism.ship_to_clutter_db(image, np.array([50, 40, 80, 50])) == pytest.approx(20.0)
    assert simulator_realism.ship_to_clutter_db(image, np.array([10, 40, 40, 50])) is None  # the frame leaves the image
    assert simulator_realism.ship_to_clutter_db(np.zeros((100, 120)), np.array([50, 40, 80, 50])) is None


def test_quiet_patches_leave_out_ships_land_and_black_edges() -> None:
    rng = np.random.default_rng(0)
    image = 12 * rng.rayleigh(size=(128, 512))
    image[:, 128:256] = 0.0
    image[60:70, 300:320] = 255.0
    away = np.ones(image.shape, dtype=bool)
    away[5, 400] = False
    assert len(list(simulator_realism._quiet_patches(image, away))) == 1
    image[:, :128] = 40 * rng.rayleigh(size=(128, 128))
    assert not list(simulator_realism._quiet_patches(image, away))
    assert len(list(simulator_realism._bright_patches(image, away))) == 1


def test_realism_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = hrsid.plan(Request(4, seed=1))
    produce(tmp_path / "hrsid", plan.stamp, plan.tasks, plan.make, plan.finish, jobs=1)
    for name, shape in (("opt", (256, 256, 3)), ("sar", (256, 256))):
        (tmp_path / "s1s2" / name).mkdir(parents=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)).save(
            tmp_path / "s1s2" / name / "1.png"
        )
    words = ("--hrsid", str(tmp_path / "hrsid"), "--hrsid-list", "train_test2017", "--images", "4", "--scenes", "1")
    run(simulator_realism, *words, "--s1s2", str(tmp_path / "s1s2"))
    rows = rows_of(capsys.readouterr().out)
    assert {
        "sea, coefficient of variation",
        "SAR, autocorrelation at 1 px",
        "optical, coefficient of variation",
    } <= set(rows)
    assert all(len(row) == 2 for row in rows.values())
    assert float(rows["SAR, autocorrelation at 1 px"][0].split()[0]) == pytest.approx(0, abs=0.02)
    with pytest.raises(SystemExit):
        run(simulator_realism)


# -- speed -------------------------------------------------------------------------------------------------------------
def test_speed_tables(capsys: pytest.CaptureFixture[str]) -> None:
    run(simulator, "--side", "256", "--repeats", "1", "--pairs", "3", "--images", "0")
    rows = rows_of(capsys.readouterr().out)
    parts = [float(row[0]) for name, row in rows.items() if len(row) == 1 and name[0] not in "-p"]
    assert len(parts) == 5 and all(part > 0 for part in parts)
    seconds, used, speed, minutes = (float(cell) for cell in rows["qxs-saropt, 3 pairs"][1:])
    assert seconds > 0 and used > 0 and speed >= 0
    assert minutes == pytest.approx(seconds * 20_000 / 3 / 60, rel=0.1)


# -- the audit against the truth ---------------------------------------------------------------------------------------
def test_the_audit_of_a_stand_in_is_what_its_truth_file_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = qxs_saropt.plan(Request(60, seed=3))
    produce(tmp_path / "set", plan.stamp, plan.tasks, plan.make, plan.finish, jobs=1)
    run(simulator_truth, "--root", str(tmp_path / "set"))
    printed = capsys.readouterr().out
    assert "missed: 0; made up: 0" in printed and "placed wrong within their group: 0" in printed
    assert "grouped split: 0 of" in printed


def test_what_the_truth_says_of_overlaps_is_what_looking_at_every_pair_says() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.integers(0, 2, 40), rng.integers(0, 900, 40), rng.integers(0, 900, 40))
    wanted = {
        (i, j, int(truth[1][j] - truth[1][i]), int(truth[2][j] - truth[2][i]))
        for i in range(40)
        for j in range(i + 1, 40)
        if truth[0][i] == truth[0][j] and max(abs(truth[1][j] - truth[1][i]), abs(truth[2][j] - truth[2][i])) < 256
    }
    assert simulator_truth.overlapping(truth) == wanted and wanted
