"""The simulated three-city set has the traps of the real one, and the tools that look for them find what the truth file
says.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Bench

from bench.data.audit.patches import audit_pairs
from bench.data.audit.report import PatchReport
from bench.data.datasets.qxs_saropt import QxsSaropt
from bench.data.split_spec import SplitSpec
from bench.matching.board.shortcut import same_scene_rate, scene_only
from bench.matching.scoring.metrics import pair_metrics
from bench.matching.scoring.pairs import HARD, UNIFORM, PairList, sample_pairs
from bench.simulator.like import Request, qxs_saropt
from bench.simulator.produce import produce

PAIRS, SIDE = 288, 256
Place = tuple[str, int, int]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small stand-in of QXS-SAROPT."""
    out = tmp_path_factory.mktemp("traps") / "set"
    plan = qxs_saropt.plan(Request(PAIRS, seed=7))
    produce(out, plan.stamp, plan.tasks, plan.make, plan.finish, jobs=1)
    return out


@pytest.fixture(scope="module")
def truth(written: Path) -> dict[str, Place]:
    """Where each pair really lies: id -> city, y, x."""
    with (written / "truth.csv").open(newline="") as stream:
        return {row["id"]: (row["scene"], int(row["y0_px"]), int(row["x0_px"])) for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def audited(written: Path, truth: dict[str, Place]) -> PatchReport:
    """The audit of the set, from its pixels; the truth file is out of its reach."""
    assert not list((written / "QXSLAB_SAROPT").rglob("*.csv"))
    return audit_pairs(QxsSaropt.at(written / "QXSLAB_SAROPT", written.parent / "cache"), SplitSpec(seed=2))


def overlapping(truth: dict[str, Place]) -> set[tuple[str, str, int, int]]:
    """Every two pairs that share pixels, with the offset of the second."""
    out = set()
    known = sorted(truth.items(), key=lambda item: int(item[0]))
    for i, (one, (city_1, y1, x1)) in enumerate(known):
        for two, (city_2, y2, x2) in known[i + 1 :]:
            if city_1 == city_2 and max(abs(y2 - y1), abs(x2 - x1)) < SIDE:
                out.add((one, two, y2 - y1, x2 - x1))
    return out


def test_the_audit_finds_every_overlap_and_no_other_from_pixels_alone(
    audited: PatchReport, truth: dict[str, Place]
) -> None:
    ids, found = audited.index.ids, audited.overlaps
    listed = zip(found.a.tolist(), found.b.tolist(), found.dy.tolist(), found.dx.tolist(), strict=True)
    wanted = overlapping(truth)
    assert {(ids[a], ids[b], dy, dx) for a, b, dy, dx in listed} == wanted
    assert len(wanted) > 2 * PAIRS  # four neighbours along the edges, four across the corners


def test_the_audit_recovers_the_layout(audited: PatchReport, truth: dict[str, Place]) -> None:
    layout, ids = audited.layout, audited.index.ids
    assert set(audited.steps("x")) == set(audited.steps("y")) == {SIDE - 52}
    cities = np.array([truth[name][0] for name in ids])
    for group in np.unique(layout.component):
        members = np.nonzero(layout.component == group)[0]
        assert len(set(cities[members])) == 1
        true = np.array([truth[ids[i]][1:] for i in members])
        laid = np.stack([layout.y[members], layout.x[members]], axis=1)
        assert (np.ptp(true - laid, axis=0) == 0).all()  # one shift for the whole group


def test_its_grouped_split_leaks_nothing_by_the_truth_file(audited: PatchReport, truth: dict[str, Place]) -> None:
    assert not audited.ok and audited.leak.train > 0.9 * audited.leak.test  # the random split does leak
    assert audited.grouped is not None
    split, ids = audited.grouped.split, audited.index.ids
    part = {ids[i]: name for name in ("train", "validation", "test") for i in getattr(split, name).tolist()}
    assert min(len(split.train), len(split.test)) > 0.1 * PAIRS
    for one, two, _, _ in overlapping(truth):
        assert {part.get(one), part.get(two)} not in ({"train", "test"}, {"validation", "test"})


def drawn(cities: list[str]) -> PairList:
    """Decisions on one true, one uniform and one same-city partner for each pair."""
    return sample_pairs(len(cities), 0, "scene", cities, None)


def scored(pairs: PairList, distance: np.ndarray, kind: int, threshold: float) -> dict[str, float | None]:
    chosen = pairs.label | (pairs.kind == kind)
    return dict(pair_metrics(pairs.label[chosen], distance[chosen], threshold))


def test_knowing_the_city_alone_scores_what_table_ii_scores(truth: dict[str, Place]) -> None:
    cities = [truth[name][0] for name in sorted(truth, key=int)]
    pairs = drawn(cities)
    shares = np.unique(cities, return_counts=True)[1]
    assert np.ptp(shares) <= 1
    names = np.array(cities)
    distance = (names[pairs.sar] != names[pairs.optical]).astype(np.float32)
    uniform = scored(pairs, distance, UNIFORM, 0.5)
    wanted = scene_only(same_scene_rate(shares))
    for name in ("accuracy", "precision", "recall"):
        assert uniform[name] == pytest.approx(wanted[f"uniform.{name}"], abs=0.03)
    assert wanted["uniform.accuracy"] == pytest.approx(0.833, abs=1e-3) and wanted[
        "uniform.precision"
    ] == pytest.approx(0.75, abs=1e-3)
    assert scored(pairs, distance, HARD, 0.5)["accuracy"] == 0.5


SUITE = """\
name: traps
seeds: [0]
matching:
  protocol: {name: match/clean-v1, hard: scene, gallery: 60}
  datasets:
    cities:
      dataset: qxs-saropt
      options: {table: ../truth.csv}
      splits:
        random: {kind: random, train: 0.7, validation: 0.15, validation_from: train}
  methods:
    histogram: {matcher: histogram}
"""


@pytest.mark.slow
def test_the_histogram_baseline_comes_close_and_same_city_negatives_break_it(written: Path, bench: Bench) -> None:
    bench.write("traps.yaml", SUITE)
    bench("run", "--config", "traps.yaml", "--root", str(written))
    metrics = json.loads((bench.cell("histogram") / "record.json").read_text())["metrics"]
    assert metrics["uniform.accuracy"] > 0.72 and metrics["uniform.recall"] > 0.8
    assert metrics["uniform.accuracy"] - metrics["hard.accuracy"] > 0.08
    board = (bench.folder / "leaderboards" / "traps" / "matching.md").read_text()
    assert "the scene alone" in board and "0.83" in board
