"""Cells that come together from several machines: what is merged, what is left, and what a kill leaves; on cells
made by hand.
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from lineage_toys import FAILED, METRIC, detected, put_cell, write

from bench.core.errors import BenchError
from bench.core.store import folder_lock, write_json
from bench.execution.records import link_file, load_record, stage_done
from bench.tools import merge
from bench.tools.merge import BUSY, CONFLICT, DAMAGED, HERE, LEFT, MERGED, merge_runs


def states(*others: Path, into: Path, **how: bool) -> list[str]:
    return [verdict.state for verdict in merge_runs(others, into, **how)]


def test_cells_come_over_whole_and_once(tmp_path: Path) -> None:
    record, samples = detected("net", 0, [1, 2])
    source = put_cell(tmp_path / "other", record, samples)
    assert (
        states(tmp_path / "other", into=tmp_path / "runs", dry_run=True) == [MERGED]
        and not (tmp_path / "runs").exists()
    )
    assert states(tmp_path / "other", into=tmp_path / "runs") == [MERGED]
    target = tmp_path / "runs" / "detection" / source.name

    def content(folder: Path) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != ".lock"
        }

    assert content(target) == content(source) and stage_done(target, "train", record.keys["train"])
    assert not (target / "job.json").samefile(source / "job.json")  # a later run writes it
    assert states(tmp_path / "other", into=tmp_path / "runs") == [HERE]
    assert not (source / ".lock").exists()  # nothing is written into the other folder


def test_without_models_a_cell_is_finished_all_the_same(tmp_path: Path) -> None:
    record, samples = detected("net", 0, [1, 2])
    source = put_cell(tmp_path / "other", record, samples)
    write(source / "model.safetensors", b"damaged, but not wanted")
    assert states(tmp_path / "other", into=tmp_path / "runs", models=False) == [MERGED]
    target = tmp_path / "runs" / "detection" / source.name
    assert not (target / "model.safetensors").exists() and stage_done(
        target, "train", record.keys["train"], whole=False
    )
    assert load_record(target / "record.json").fingerprint == record.fingerprint


def test_what_is_no_whole_measurement_stays(tmp_path: Path) -> None:
    other, runs = tmp_path / "other", tmp_path / "runs"
    put_cell(other, detected("smoke", 0, [1], smoke=True)[0])
    put_cell(other, detected("limited", 0, [1], limit=8)[0])
    put_cell(other, detected("failed", 0, [1], status="failed", failure=FAILED.failure)[0])
    write(put_cell(other, detected("no-json", 0, [1])[0]) / "record.json", b"{")
    write(put_cell(other, detected("predictions", 0, [1])[0]) / "predictions.npz", b"other")
    write(put_cell(other, detected("weights", 0, [1])[0]) / "model.safetensors", b"other")
    (put_cell(other, detected("gone", 0, [1])[0]) / "predictions.npz").unlink()
    (put_cell(other, detected("scores", 0, [1])[0]) / "scores.npz").unlink()
    write(put_cell(other, detected("marker", 0, [1])[0]) / "predict.json", b"{}")
    found = {
        verdict.folder.name.split("--")[1]: (verdict.state, verdict.reason) for verdict in merge_runs([other], runs)
    }
    assert {name for name, (state, _) in found.items() if state == LEFT} == {"smoke", "limited", "failed"}
    assert {name for name, (state, _) in found.items() if state == DAMAGED} == set(found) - {
        "smoke",
        "limited",
        "failed",
    }
    assert "predictions.npz is not the file that its record was made of" in found["predictions"][1]
    assert "failed there in train: the loss is not finite" in found["failed"][1]
    assert not runs.exists() or not list(runs.glob("*/*/*"))


def test_numbers_that_differ_under_one_fingerprint_are_a_conflict_and_ours_stays(tmp_path: Path) -> None:
    record, samples = detected("net", 0, [1, 2])
    ours = put_cell(tmp_path / "runs", record, samples)
    before = (ours / "record.json").read_bytes()
    put_cell(tmp_path / "other", record.model_copy(update={"metrics": {**record.metrics, METRIC: 0.25}}), samples)
    (verdict,) = merge_runs([tmp_path / "other"], tmp_path / "runs")
    assert (
        verdict.state == CONFLICT
        and f"1 numbers differ under the same fingerprint, such as {METRIC}: 0.375 here, 0.25 there" in verdict.reason
    )
    assert (ours / "record.json").read_bytes() == before


def test_a_failed_or_damaged_cell_of_ours_is_replaced_and_a_leftover_model_goes(tmp_path: Path) -> None:
    record, samples = detected("net", 0, [1, 2])
    source = put_cell(tmp_path / "other", record, samples, model=None)
    left: Any
    for left in (record.model_copy(update={"status": "failed"}).model_dump(), []):
        ours = put_cell(tmp_path / "runs", record) if left else tmp_path / "runs" / "detection" / source.name
        write_json(ours / "record.json", left)
        write(ours / "checkpoints" / "last.pt", b"old")
        assert states(tmp_path / "other", into=tmp_path / "runs") == [MERGED]
        assert load_record(ours / "record.json").status == "finished"
        assert not (ours / "model.safetensors").exists() and not (ours / "checkpoints").exists()


def test_a_merge_that_is_cut_off_anywhere_leaves_no_finished_cell_and_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, samples = detected("net", 0, [1, 2])
    source = put_cell(tmp_path / "other", record, samples)
    steps = 0
    link, write_record = link_file, write_json

    def cut_after(allowed: int) -> None:
        done = 0

        def step(action: Any, *arguments: Any) -> None:
            nonlocal done, steps
            if done == allowed:
                raise KeyboardInterrupt
            done += 1
            steps = max(steps, done)
            action(*arguments)

        monkeypatch.setattr(merge, "link_file", lambda *a: step(link, *a))
        monkeypatch.setattr(merge, "write_json", lambda *a: step(write_record, *a))

    allowed = 0
    while True:
        runs = tmp_path / f"runs{allowed}"
        target = runs / "detection" / source.name
        cut_after(allowed)
        try:
            assert states(tmp_path / "other", into=runs) == [MERGED]
            break
        except KeyboardInterrupt:
            assert not (target / "record.json").exists()
            for stage in ("train", "predict"):  # a stage that looks finished is whole
                key = record.keys[stage]
                assert not stage_done(target, stage, key, whole=False) or stage_done(target, stage, key)
        cut_after(10**6)
        assert (
            states(tmp_path / "other", into=runs) == [MERGED]
            and load_record(target / "record.json").fingerprint == record.fingerprint
        )
        allowed += 1
    assert allowed == steps == 8  # model, predictions, scores, picture, "drawn", two markers, record


def test_a_cell_in_use_here_or_there_is_left_alone(tmp_path: Path) -> None:
    record, samples = detected("net", 0, [1, 2])
    source = put_cell(tmp_path / "other", record, samples)
    target = tmp_path / "runs" / "detection" / source.name
    for folder in (source, target):
        with folder_lock(folder):
            (verdict,) = merge_runs([tmp_path / "other"], tmp_path / "runs")
            assert verdict.state == BUSY and not (target / "record.json").exists()
    assert states(tmp_path / "other", into=tmp_path / "runs") == [MERGED]


def test_the_order_of_machines_does_not_matter(tmp_path: Path) -> None:
    for machine, methods in (("a", ("x", "y")), ("b", ("y", "z")), ("c", ("w",))):
        for method in methods:
            put_cell(tmp_path / machine, *detected(method, 0, [1, 2]))
    seen = set()
    for number, order in enumerate(permutations("abc")):
        runs = tmp_path / f"runs{number}"
        assert sorted(states(*(tmp_path / name for name in order), into=runs)) == sorted([MERGED] * 4 + [HERE])
        seen.add(tuple(sorted(path.relative_to(runs).as_posix() for path in runs.rglob("*") if path.is_file())))
    assert len(seen) == 1


def test_what_is_no_runs_folder_is_reported(tmp_path: Path) -> None:
    runs = tmp_path / "machine" / "runs"
    put_cell(runs, *detected("net", 0, [1, 2]))
    for other, wanted in (
        (tmp_path / "machina", "is not a folder; nearest: machine"),
        (tmp_path / "machine", f"holds no cell; did you mean {runs}"),
        (tmp_path / "machine" / ".." / "machine" / "runs", "is the runs folder itself"),
    ):
        with pytest.raises(BenchError) as error:
            states(other, into=runs)
        assert wanted in str(error.value)
