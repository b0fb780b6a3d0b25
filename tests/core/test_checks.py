"""Nobody's numbers are believed: every metric that was edited is found, so are keys that do not follow from their
record, and one result that stands for several seeds; the row fails, and the others stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lineage_toys import DETECTION, MATCHING, detected, put_cell, put_entry, sealed

from bench.boards import checks
from bench.boards.checks import wrong_identity, wrong_numbers
from bench.boards.entries import entry_samples, load_entries
from bench.boards.leaderboard import build_boards
from bench.core.arrays import load_arrays
from bench.core.store import read_json, save_arrays, write_json
from bench.data.manifest import file_sha256
from bench.execution.records import Record
from bench.execution.task import get_task
from bench.tools.lineage import explain, find_sources, look_up
from bench.tools.merge import DAMAGED, MERGED, merge_runs

BOARDS = Path(__file__).parents[2] / "leaderboards"
WORDS = {"title": "S", "description": "", "notes": {}, "references": {}, "order": []}
Samples = dict[str, np.ndarray]


def scored(like: Record, name: str) -> tuple[Record, Samples]:
    """Return a record of known predictions of a task, scored as a cell's are."""
    known = next(each for each in get_task(like.task).selftest() if each.name == name)
    assert known.score is not None
    scores = known.score()
    facts = {**dict(scores.facts), "hard_negatives": "scene"}
    record = like.model_copy(update={"metrics": dict(scores.metrics), "facts": facts})
    return sealed(record), dict(scores.samples)


def recomputed_once(monkeypatch: pytest.MonkeyPatch, record: Record, samples: Samples) -> None:
    """The edits below change no array and no fact, so that one recomputation serves them all."""
    found = checks.recompute(record, samples)
    monkeypatch.setattr(checks, "recompute", lambda record, samples: found)


def edits(record: Record) -> list[tuple[str, Record]]:
    """Return a record for each of its metrics, in which that one is another number, or a number where there was none,
    or gone.
    """
    out = []
    for name, value in record.metrics.items():
        for other in (0.5,) if value is None else (value + 1e-6, None):
            out.append((name, record.model_copy(update={"metrics": {**record.metrics, name: other}})))
    return out


@pytest.mark.parametrize(("like", "name"), [(MATCHING, "interleaved"), (DETECTION, "half")])
def test_every_edited_metric_is_found(like: Record, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record, samples = scored(like, name)
    recomputed_once(monkeypatch, record, samples)
    assert wrong_numbers(record, samples) == ("", ()) and wrong_identity(record) == ""
    known = [metric for metric, value in record.metrics.items() if value is not None]
    assert len(known) >= 30
    for metric, edited in edits(record):
        problem, _ = wrong_numbers(edited, samples)
        assert metric in problem and "by its per-sample scores" in problem, metric


@pytest.mark.parametrize(
    ("board", "stem", "open_"),
    [
        ("hrsid", "detection--hrsid-site--faster-rcnn-osm--seed0", "tile."),
        ("s1s2", "matching--s1s2-256-place--infonce-resnet18--seed0", "full."),
    ],
)
def test_of_a_committed_entry_every_metric_but_those_that_the_board_names(
    board: str, stem: str, open_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = load_entries(BOARDS / board)
    record = next(each for each in entries.records if f"{each.task}--{each.slot}" == stem)
    samples = entry_samples(BOARDS / board, record)
    assert samples is not None
    recomputed_once(monkeypatch, record, dict(samples))
    problem, unsettled = wrong_numbers(record, samples)
    assert not problem and unsettled and all(name.startswith(open_) for name in unsettled)
    for metric, edited in edits(record):
        problem, left = wrong_numbers(edited, samples)
        assert metric in problem or metric.startswith(open_), metric
    assert f"`{open_}*` of" in (BOARDS / board / f"{record.task}.md").read_text()


# -- on the board ------------------------------------------------------------------------------------------------------
def board(folder: Path, *entries: tuple[Record, Samples | None]) -> Path:
    """File entries of the suite s by hand; return the board's folder."""
    for record, samples in entries:
        put_entry(folder, "s", record, samples)
    write_json(folder / "s" / "suite.json", WORDS)
    return folder / "s"


def changed(path: Path, **changes: Any) -> None:
    write_json(path, {**read_json(path), **changes})


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A board of two rows with two seeds each."""
    made = [detected(method, seed, [3, seed, 2]) for method in ("good", "other") for seed in (0, 1)]
    return board(tmp_path / "boards", *made)


def failed_rows(folder: Path) -> tuple[set[str], str]:
    """Return the methods whose row says that a seed failed, and all that was reported."""
    built = build_boards(folder.parent, "s")
    (table,) = built.tables.values()
    text = (folder / "detection.md").read_text()
    lost = {row.label for row in table.sections[1].rows if "‡" in row.marks}
    assert bool(lost) == ("cannot be trusted" in text) == bool(built.problems)
    return lost, "\n".join(built.problems)


GOOD = "detection--toy-half--good--seed1"


def edit_metric(folder: Path) -> None:
    path = folder / f"entries/{GOOD}.json"
    changed(path, metrics={**read_json(path)["metrics"], "scene.ap75": 0.75})


def edit_fact(folder: Path) -> None:
    path = folder / f"entries/{GOOD}.json"
    changed(path, facts={**read_json(path)["facts"], "scene.ships": 400})


def edit_spec(folder: Path) -> None:
    path = folder / f"entries/{GOOD}.json"
    spec = read_json(path)["spec"]
    changed(path, spec={**spec, "protocol": {**spec["protocol"], "score_floor": 0.5}})


def edit_spec_and_row_key(folder: Path) -> None:
    edit_spec(folder)
    path = folder / f"entries/{GOOD}.json"
    changed(path, row_key=sealed(load_entries(folder).records[1]).row_key)


def zero_fingerprint(folder: Path) -> None:
    changed(folder / f"entries/{GOOD}.json", fingerprint="0" * 64)


def zero_keys(folder: Path) -> None:
    zero = dict.fromkeys(("train", "predict", "score"), "0" * 64)
    changed(folder / f"entries/{GOOD}.json", fingerprint="0" * 64, keys=zero)


def drop_scores(folder: Path) -> None:
    (folder / f"entries/{GOOD}.npz").unlink()


def damage_scores(folder: Path) -> None:
    (folder / f"entries/{GOOD}.npz").write_bytes(b"damaged")


def swap_scores(folder: Path) -> None:
    samples = load_arrays(folder / f"entries/{GOOD}.npz", "scores")
    save_arrays(folder / f"entries/{GOOD}.npz", {**samples, "ships": samples["ships"][:, :2]})


def copy_seed(folder: Path) -> None:
    """Seed 0 once more as seed 1."""
    shutil.copy(folder / f"entries/{GOOD[:-1]}0.npz", folder / f"entries/{GOOD}.npz")
    changed(folder / f"entries/{GOOD[:-1]}0.json")
    write_json(folder / f"entries/{GOOD}.json", {**read_json(folder / f"entries/{GOOD[:-1]}0.json"), "seed": 1})


def copy_predictions(folder: Path) -> None:
    """The predictions of seed 0 as those of seed 1, with keys that follow."""
    samples = load_arrays(folder / f"entries/{GOOD[:-1]}0.npz", "scores")
    put_entry(folder.parent, "s", detected("good", 1, [3, 0, 2])[0], samples)


EDITS: dict[Callable[[Path], None], str] = {
    edit_metric: "scene.ap75 is 0.75 in the record but",
    edit_fact: "scene.ships is 400 in the record but 12",
    edit_spec: "its row_key does not follow from its spec",
    edit_spec_and_row_key: "its predict key does not follow from its spec",
    zero_fingerprint: "its fingerprint is not its score key",
    zero_keys: "its predict key does not follow",
    drop_scores: "its per-sample scores are missing",
    damage_scores: "damaged per-sample scores",
    swap_scores: "damaged per-sample scores (array ships has shape",
    copy_seed: "the same fingerprint as seed 0",
    copy_predictions: "the same predictions as seed 0",
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_what_does_not_hold_together_fails_its_row_and_no_other(rows: Path, edit: Callable[[Path], None]) -> None:
    assert failed_rows(rows) == (set(), "")
    edit(rows)
    lost, said = failed_rows(rows)
    assert lost == {"good"} and EDITS[edit] in said and said.count("\n") == 0, said
    assert "1/2 failed" in (rows / "detection.md").read_text()


@pytest.mark.parametrize("edit", [edit_metric, edit_fact, edit_spec, zero_fingerprint, zero_keys, damage_scores])
def test_explain_tells_it_too(rows: Path, edit: Callable[[Path], None]) -> None:
    edit(rows)
    sources, _ = find_sources(None, rows.parent)
    name = f"s/{GOOD}"
    assert any(EDITS[edit] in said for said in explain(look_up(name, sources), sources, rows, rows.parent)["problems"])


def test_a_seed_that_found_nothing_is_not_taken_for_a_copy(tmp_path: Path) -> None:
    """Two trainings that find nothing have equal predictions, and are two trainings."""
    folder = board(tmp_path, *(detected("blind", seed, [0, 0, 0]) for seed in (0, 1)))
    assert failed_rows(folder) == (set(), "")


# -- merge -------------------------------------------------------------------------------------------------------------
def test_a_cell_whose_numbers_were_edited_is_not_merged(tmp_path: Path) -> None:
    cases: tuple[dict[str, Any], ...] = ({}, {"metrics": {"scene.ap_area": 0.9}}, {"fingerprint": "1" * 64})
    for seed, changes in enumerate(cases):
        put_cell(tmp_path / "other", *detected("net", seed, [1, 2, seed], **changes))
    outcomes = merge_runs([tmp_path / "other"], tmp_path / "runs")
    found = {each.record.seed: (each.state, each.reason) for each in outcomes if each.record is not None}
    assert found[0] == (MERGED, "")
    assert found[1][0] == DAMAGED and "scene.ap_area is 0.9 in the record but 0.33" in found[1][1]
    assert found[2][0] == DAMAGED and "its fingerprint is not its score key" in found[2][1]
    assert len(list((tmp_path / "runs/detection").iterdir())) == 1


def test_the_predictions_of_one_seed_are_not_merged_as_those_of_another(tmp_path: Path) -> None:
    for seed in (0, 1):
        record, _ = detected("net", seed, [1, 2])
        folder = put_cell(tmp_path / "other", record, detected("net", 0, [1, 2])[1])
        shutil.copy(folder / "predictions.npz", tmp_path / f"{seed}.npz")
    shutil.copy(tmp_path / "0.npz", folder / "predictions.npz")
    outputs = {
        **read_json(folder / "record.json")["outputs"],
        "predictions_sha256": file_sha256(tmp_path / "0.npz", None),
    }
    changed(folder / "record.json", outputs=outputs)
    first, second = merge_runs([tmp_path / "other"], tmp_path / "runs")
    assert first.state == MERGED and second.state == DAMAGED and "are those of seed 0" in second.reason


# -- truth that is handed in -------------------------------------------------------------------------------------------
def test_what_looks_like_the_truth_and_what_does_not() -> None:
    for like in (MATCHING, DETECTION):
        task = get_task(like.task)
        cases = {"truth": True, "shuffled": False, "empty": False}
        cases |= {"constant": False} if like is MATCHING else {"duplicates": True, "shifted-1/3": False}
        for name, expected in cases.items():
            assert bool(task.looks_like_truth(scored(like, name)[0])) == expected, (like.task, name)
    for record in load_entries(BOARDS / "hrsid").records:
        assert get_task(record.task).looks_like_truth(record) == ""
