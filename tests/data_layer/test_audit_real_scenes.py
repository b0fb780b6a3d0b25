"""The audit of patches of real Sentinel scenes: overlap, neighbours and scenes out of the pixels alone, against the
true positions.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from bench.data.audit.patches import audit_pairs
from bench.data.audit.report import PatchReport
from bench.data.cut import cut
from bench.data.dataset import open_dataset
from bench.data.datasets.qxs_saropt import QxsSaropt
from bench.data.split_spec import SplitSpec

pytestmark = pytest.mark.skipif(
    "BENCH_ROOT_S1S2_SCENES" not in os.environ, reason="set BENCH_ROOT_S1S2_SCENES to the folder of the real scenes"
)


Truth = tuple[dict[str, str], int, int]
Row = tuple[int, int, int, int]
OPTIONS = {"patch_px": 256, "overlap_px": 52}


def test_real_patches_give_away_their_places(tmp_path: Path) -> None:
    dataset = open_dataset("s1s2-scenes", {**OPTIONS, "require": {"tile": "T11SMT"}}, None, tmp_path / "cache")
    report = audit_pairs(dataset, SplitSpec(), "exact")
    rows = dataset.rows()
    truth = [(rows[s.scene], s.window[0], s.window[1]) for s in report.index.samples if s.scene and s.window]
    assert _exact(report) == _within_scenes(truth) and len(report.overlaps) == len(rows) * 42


@pytest.mark.slow
def test_so_do_patches_written_and_numbered_without_their_table(tmp_path: Path) -> None:
    cut(open_dataset("s1s2-scenes", OPTIONS, None, tmp_path / "cache"), tmp_path / "set")
    with (tmp_path / "set" / "patches.csv").open(newline="") as stream:
        written = {row["id"]: row for row in csv.DictReader(stream)}
    (tmp_path / "set" / "patches.csv").unlink()
    report = audit_pairs(QxsSaropt.at(tmp_path / "set", tmp_path / "cache"), SplitSpec())
    rows = open_dataset("s1s2-scenes", OPTIONS, None, tmp_path / "cache").rows()
    told = [written[name] for name in report.index.ids]
    truth = [(rows[row["scene"]], int(row["y0_px"]), int(row["x0_px"])) for row in told]
    exact = _exact(report)
    assert len(exact) == 2016 and exact == _within_scenes(truth)
    assert report.steps("x") == report.steps("y") == {204: 576}
    _check_across_scenes(sorted(set(_listed(report)) - exact), truth)
    assert report.grouped_leak is not None and report.grouped_leak.ok and not report.ok


def _listed(report: PatchReport) -> list[Row]:
    overlaps = report.overlaps
    return list(zip(overlaps.a.tolist(), overlaps.b.tolist(), overlaps.dy.tolist(), overlaps.dx.tolist(), strict=True))


def _exact(report: PatchReport) -> set[Row]:
    return {row for row, equal in zip(_listed(report), report.overlaps.exact.tolist(), strict=True) if equal}


def _within_scenes(truth: list[Truth]) -> set[Row]:
    """Return the true overlaps of patches of one scene."""
    n = len(truth)
    return {
        (a, b, truth[b][1] - truth[a][1], truth[b][2] - truth[a][2])
        for a in range(n)
        for b in range(a + 1, n)
        if truth[a][0] is truth[b][0] and max(abs(truth[b][1] - truth[a][1]), abs(truth[b][2] - truth[a][2])) < 256
    }


def _check_across_scenes(found: list[Row], truth: list[Truth]) -> None:
    """Scenes of the two tiles share ground, resampled, registered by hand and stretched apart: these pairs lie where
    the corners say.
    """
    certain = [pair for pair in found if all(truth[i][0]["position_certain"] == "True" for i in pair[:2])]
    assert len(found) > 20 and len(certain) > 15
    errors = []
    for a, b, dy, dx in certain:
        (one, y1, x1), (two, y2, x2) = truth[a], truth[b]
        metres = (float(one["x_max_m"]) - float(one["x_min_m"])) / 1024
        right = (float(two["x_min_m"]) - float(one["x_min_m"])) / metres + x2 - x1
        down = (float(one["y_max_m"]) - float(two["y_max_m"])) / metres + y2 - y1
        errors.append(max(abs(right - dx), abs(down - dy)))
        assert one["tile"] != two["tile"]
    assert np.median(errors) < 4 and max(errors) < 8
