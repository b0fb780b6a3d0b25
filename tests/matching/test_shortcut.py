"""The shortcut test: closed forms, the same numbers on drawn pairs, and what the section under a board says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.boards.leaderboard import build_boards
from bench.boards.tables import RowRecords, Section, Table
from bench.execution.records import Record, load_record
from bench.matching.board.shortcut import (
    expected,
    on_drawn_pairs,
    same_scene_rate,
    same_scene_rate_of,
    scene_only,
    scenes_of,
    shortcut_section,
)
from bench.matching.scoring.metrics import pair_metrics, recall_at_k
from bench.matching.scoring.pairs import sample_pairs
from bench.matching.scoring.retrieval import retrieval_from_matrix

BASE = load_record(Path(__file__).parents[1] / "core" / "records_v1" / "finished.json")
BOARDS = Path(__file__).parents[2] / "leaderboards"
ACCURACY, R1 = "uniform.accuracy", "gallery.sar_to_optical.recall_at_1"


def sampled(scenes: list[str], seed: int = 0, hard: bool = True, old: bool = False) -> dict[str, np.ndarray]:
    """Return the per-sample arrays of a test part with these scenes ("" unknown), its pairs drawn as the protocol draws
    them.
    """
    n = len(scenes)
    ids = np.array([f"s{i}" for i in range(n)])
    pairs = sample_pairs(n, seed, "scene" if hard else None, [scene or None for scene in scenes] if hard else None)
    group = np.where(np.array(scenes) == "", ids, scenes)
    out = {"id": ids, "group": group, "pair_sar": pairs.sar, "pair_optical": pairs.optical, "kind": pairs.kind}
    return {**out, "gallery_position": np.arange(n), **({} if old else {"scene": np.array(scenes)})}


# -- numbers -----------------------------------------------------------------------------------------------------------
def test_three_equal_scenes_score_what_table_two_reports() -> None:
    """Section 1.3 of the protocol facts: .833 / .750 / 1.000 at a false positive rate of .333."""
    found = scene_only(same_scene_rate([1, 1, 1]))
    rounded = {name.removeprefix("uniform."): round(value, 3) for name, value in found.items()}
    assert rounded == {"accuracy": 0.833, "precision": 0.75, "recall": 1.0, "roc_auc": 0.833, "fpr95": 0.333}
    assert same_scene_rate([0.36, 0.34, 0.30]) == pytest.approx(0.3352)
    assert same_scene_rate([5]) == 1.0 and scene_only(1.0)[ACCURACY] == 0.5


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_the_rate_is_at_least_that_of_equal_scenes(sizes: list[int]) -> None:
    rate = same_scene_rate(sizes)
    assert 1 / len(sizes) - 1e-12 <= rate <= 1 + 1e-12
    finite = same_scene_rate_of(np.array(sizes))
    if sum(sizes) < 2:
        assert finite is None
    else:
        labels = np.repeat(np.arange(len(sizes)), sizes)
        same = labels[:, None] == labels[None]
        assert finite == pytest.approx((same.sum() - len(labels)) / (len(labels) * (len(labels) - 1)))
        assert finite is not None and finite <= rate + 1e-12  # no sample is its own wrong partner


@given(st.floats(0, 1))
def test_the_closed_form_is_what_the_metrics_give(rate: float) -> None:
    """A matcher with distance 0 inside a scene and 1 across scenes, on 1,000 + 1,000 pairs."""
    wrong = round(1000 * rate)
    label = np.arange(2000) < 1000
    distance = np.where(label | (np.arange(2000) < 1000 + wrong), 0.0, 1.0)
    measured = pair_metrics(label, distance, 0.5)
    for name, value in scene_only(wrong / 1000).items():
        assert measured[name.removeprefix("uniform.")] == pytest.approx(value)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_drawn_pairs_scatter_around_the_expectation(seed: int) -> None:
    samples = sampled(["a"] * 150 + ["b"] * 100 + ["c"] * 50, seed)
    scenes = scenes_of(samples)
    drawn, ahead = on_drawn_pairs(samples, scenes), expected(samples, scenes)
    spread = np.sqrt(ahead["uniform.fpr95"] * (1 - ahead["uniform.fpr95"]) / 300)
    assert abs(drawn["uniform.fpr95"] - ahead["uniform.fpr95"]) < 5 * spread
    assert drawn[ACCURACY] == pytest.approx(1 - drawn["uniform.fpr95"] / 2) and drawn["uniform.recall"] == 1.0
    assert drawn["hard.accuracy"] == 0.5  # negatives of the same scene leave nothing


def test_recall_at_one_is_that_of_a_gallery_ranked_by_scene() -> None:
    labels = np.array(list("aaaabbcd"))
    samples = sampled(labels.tolist(), hard=False)
    ranked = retrieval_from_matrix((labels[:, None] != labels[None]).astype(float))
    assert expected(samples, scenes_of(samples))[R1] == pytest.approx(recall_at_k(ranked.sar_to_optical, 1)) == 0.5
    samples["gallery_position"] = np.array([0, 1, 4, 6])  # a, a, b, c
    assert expected(samples, scenes_of(samples))[R1] == pytest.approx(3 / 4)


def test_unknown_scenes_are_left_out_and_all_unknown_is_unknown() -> None:
    part = sampled(["a"] * 20 + ["b"] * 20 + [""] * 10)
    scenes = scenes_of(part)
    assert scenes.known.sum() == 40 and scenes.sizes.tolist() == [20, 20] and scenes.noun == "source scene"
    keep = (part["pair_sar"] < 40) & (part["pair_optical"] < 40) & (part["kind"] == 1)
    same = (part["pair_sar"] < 20) == (part["pair_optical"] < 20)
    assert on_drawn_pairs(part, scenes)["uniform.fpr95"] == pytest.approx(same[keep].mean())
    nobody = sampled([""] * 30, hard=False)
    assert not scenes_of(nobody).known.any() and expected(nobody, scenes_of(nobody)) == {} == on_drawn_pairs(
        nobody, scenes_of(nobody)
    )


def test_entries_from_before_scenes_were_kept_use_the_groups() -> None:
    old = sampled(["a"] * 6 + ["b"] * 6, old=True)
    assert scenes_of(old).noun == "group of the split" and scenes_of(old).sizes.tolist() == [6, 6]


# -- the section -------------------------------------------------------------------------------------------------------
def row(
    label: str, matcher: str, uniform: list[float], hard: list[float | None], r1: float = 0.1
) -> tuple[str, list[Record], tuple[str, ...]]:
    spec = {**BASE.spec, "method": {**BASE.spec["method"], "matcher": matcher, "control": "none"}}
    records = []
    for seed, (u, h) in enumerate(zip(uniform, hard, strict=True)):
        metrics = {**BASE.metrics, ACCURACY: u, "hard.accuracy": h, R1: r1}
        records.append(BASE.model_copy(update={"spec": spec, "method": label, "seed": seed, "metrics": metrics}))
    return label, records, ()


ROWS = [
    row("net", "bnn", [0.80, 0.82], [0.60, 0.64]),
    row("tones", "histogram", [0.7], [0.55]),
    row("best", "cfog", [0.99], [0.95], 0.9),
]


def section(samples: Mapping[str, Any] | None, rows: list[Any] = ROWS) -> Section:
    found = shortcut_section("toy", rows, lambda record: samples)
    assert found is not None
    return found


def test_the_section_shows_the_models_the_radiometry_row_and_the_drop() -> None:
    found = section(sampled(["a"] * 40 + ["b"] * 40 + ["c"] * 40))
    assert [line.label for line in found.rows] == [
        "the scene alone, expected", "the scene alone, pairs as drawn", "tones", "net", "best",
    ]  # fmt: skip
    model, net = found.rows[0].cells, found.rows[3].cells
    assert model["hard.accuracy"].value == 0.5 and model[R1].value == pytest.approx(3 / 120)
    assert model["shortcut.drop"].value == pytest.approx(0.5 - (1 - 39 / 119 / 2))
    assert net["shortcut.drop"].value == pytest.approx(-0.19) and net["shortcut.drop"].spread == pytest.approx(
        np.std([0.2, 0.18], ddof=1)
    )
    # a view of rows that stand above: nothing twice
    assert all(line.records == () and line.command == "" for line in found.rows)


def test_the_reading_names_the_rows_that_are_not_above_a_shortcut() -> None:
    scenes, tones, hard = section(sampled(["a"] * 40 + ["b"] * 40 + ["c"] * 40)).after
    assert re.search(r"The scene alone \(3 source scenes\): accuracy 0\.8\d\d; ", scenes)
    below = scenes.split("not above it: ")[1].split(". ")[0]
    assert "net 0.810" in below and "tones 0.700" in below and "best" not in below
    assert "R@1 0.025; above it: best 0.900, net 0.100, tones 0.100" in scenes
    assert tones == "Radiometry alone (`tones`): accuracy 0.700; every other row is above it."
    assert hard.endswith("every other row is above radiometry (0.550).")
    weak = section(None, [row("weak", "bnn", [0.6], [0.5]), ROWS[1]]).after
    assert "not above it: weak 0.600" in weak[1] and "not above radiometry (0.550): weak 0.500" in weak[2]


def test_what_is_not_known_is_said() -> None:
    scenes, tones, *_ = section(sampled([""] * 30, hard=False), [ROWS[0]]).after
    assert scenes.startswith("Source scenes unknown") and "0.833 / 0.750 / 1.000" in scenes
    assert tones.startswith("Radiometry alone is not measured") and "{matcher: histogram}" in tones
    assert "per-sample scores" in section(None).after[0]
    one = section(sampled(["a"] * 20)).after[0]
    assert "stem from one source scene: recognising it is no shortcut (accuracy 0.500)" in one
    some = section(sampled(["a"] * 20 + ["b"] * 20 + [""] * 10)).after[0]
    assert "(2 source scenes, known of 40 of 50 test patches)" in some


def test_failed_rows_and_missing_hard_negatives_give_no_number() -> None:
    label, records, marks = row("net", "bnn", [0.8, 0.8], [None, 0.6])
    cells = section(sampled(["a"] * 9 + ["b"] * 9), [(label, records, marks)]).rows[-1].cells
    assert cells["hard.accuracy"].value is None and cells["shortcut.drop"].value is None
    failed = [record.model_copy(update={"status": "failed", "metrics": {}}) for record in records]
    assert shortcut_section("toy", [RowRecords(label, failed, marks)], lambda record: None) is None
    mixed = [(label, failed, marks), ROWS[1]]
    assert section(None, mixed).rows[-1].cells[ACCURACY].note == "2/2 failed"


def test_the_committed_boards_of_real_pairs() -> None:
    """On the random split a scene-blind score would not be told from a scene-knowing one; by retrieval and hard
    negatives cfog is.
    """
    (table,) = (
        table for path, table in build_boards(BOARDS, "s1s2", write=False).tables.items() if path.stem == "matching"
    )
    assert isinstance(table, Table)
    sections = {found.title: found for found in table.sections if "shortcuts" in found.title}
    assert len(sections) == 4
    for found in sections.values():
        cells = {line.label: line.cells for line in found.rows}
        model = cells["the scene alone, expected"]
        count = int(re.findall(r"\((\d+) source scenes", found.after[0])[0])
        assert count == (37 if "random" in found.title else 18)
        assert model[ACCURACY].value == pytest.approx(1 - 0.5 / count, abs=0.005)
        assert (cells["cfog"][R1].value or 0) > (model[R1].value or 1)
        assert (
            abs((cells["the scene alone, pairs as drawn"][ACCURACY].value or 0) - (model[ACCURACY].value or 0)) < 0.02
        )
