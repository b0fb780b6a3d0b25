"""Records: round trip, damage, other schema versions, old records stay readable; stages found, adopted, and what counts as finished."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.records import (
    FIGURES,
    Record,
    StageStore,
    cell_folder,
    figures_drawn,
    finished_record,
    iter_records,
    load_record,
    new_record,
    stage_done,
    write_stage,
)
from bench.store import write_json
from bench.task import Cell, Identity, Keys

V1 = Path(__file__).parent / "records_v1"
KEYS = Keys("t" * 64, "p" * 64, "s" * 64)
FACTS: dict[str, Any] = {"facts": {}, "cost": {}, "made_by": {}}


def a_cell(**changes: Any) -> Cell:
    values: dict[str, Any] = {"task": "matching", "suite": "s", "dataset": "d/x", "method": "m", "seed": 3, "spec": {"a": 1}}
    return Cell(**{**values, **changes})


def a_record(**changes: Any) -> Record:
    return new_record(a_cell(), Identity(KEYS, {"n": 1}, 5), "finished", metrics={"x": 0.1 + 0.2, "y": None}, **changes)


def test_a_record_round_trips_in_full_precision(tmp_path: Path) -> None:
    record = a_record(facts={"deep": [1, {"a": 1e-300}]})
    write_json(tmp_path / "record.json", record.model_dump())
    again = load_record(tmp_path / "record.json")
    assert again == record and again.metrics == {"x": 0.30000000000000004, "y": None}
    assert again.slot == "d-x--m--seed3" == a_cell().slot and a_cell(seed=None).slot == "d-x--m--once"
    assert cell_folder(tmp_path, a_cell(), KEYS) == tmp_path / "matching" / f"d-x--m--seed3--{'s' * 12}"
    assert again.fingerprint == KEYS.score and again.row_key == a_cell(seed=8).row_key != a_cell(spec={"a": 2}).row_key


def test_the_first_schema_stays_readable() -> None:
    finished, failed = load_record(V1 / "finished.json"), load_record(V1 / "failed.json")
    assert finished.schema_version == 1 and finished.metrics["uniform.accuracy"] is not None and finished.failure is None
    assert failed.failure is not None and failed.failure.stage == "train" and failed.row_key == finished.row_key
    assert finished.model_dump() == json.loads((V1 / "finished.json").read_text())


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"schema_version": 2}, "record schema 2 is not 1; made by another version"),
        ({"schema_version": None}, "record schema None is not 1"),
        ({"status": "done"}, "damaged record (status"),
        ({"metrics": {"x": "high"}}, "damaged record (metrics.x"),
        ({"unheard": 1}, "damaged record (unheard"),
        ({"keys": None}, "damaged record (keys"),
    ],
)
def test_what_is_no_record_is_refused_with_its_place(tmp_path: Path, change: dict[str, Any], wanted: str) -> None:
    path = tmp_path / "record.json"
    write_json(path, {**a_record().model_dump(), **change})
    with pytest.raises(BenchError) as error:
        load_record(path)
    assert wanted in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema_version": 1}'])
def test_damaged_files_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(BenchError, match="record.json"):
        load_record(tmp_path / "record.json")


def test_a_finished_record_is_one_of_the_same_fingerprint(tmp_path: Path) -> None:
    assert finished_record(tmp_path, KEYS) is None
    write_json(tmp_path / "record.json", a_record().model_dump())
    assert finished_record(tmp_path, KEYS) is not None
    assert finished_record(tmp_path, Keys(KEYS.train, KEYS.predict, "z" * 64)) is None
    write_json(tmp_path / "record.json", {**a_record().model_dump(), "status": "failed"})
    assert finished_record(tmp_path, KEYS) is None


def finish(folder: Path, stage: str, key: str, **files: str) -> Path:
    """Leave a finished stage with `files` in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    write_stage(folder, stage, key, FACTS)
    return folder


def test_a_stage_is_finished_when_its_marker_and_every_file_stand(tmp_path: Path) -> None:
    cell = finish(tmp_path / "cell", "train", KEYS.train, model_safetensors="w")
    assert stage_done(cell, "train", KEYS.train) and not stage_done(cell, "train", KEYS.predict)
    (cell / "model.safetensors").unlink()
    assert not stage_done(cell, "train", KEYS.train) and stage_done(cell, "train", KEYS.train, whole=False)
    for damaged in ("", "[]", "{}", json.dumps({"key": KEYS.train}), "nonsense"):
        (cell / "train.json").write_text(damaged)
        assert not stage_done(cell, "train", KEYS.train, whole=False)


def test_the_first_stage_to_run(tmp_path: Path) -> None:
    cell = tmp_path / "matching" / "new"

    def state() -> str:
        return StageStore(tmp_path, "matching").state(KEYS, cell)  # a store looks once

    assert state() == "train"
    other = finish(tmp_path / "matching" / "other", "train", KEYS.train, model_safetensors="w")
    assert state() == "predict"
    finish(other, "predict", KEYS.predict, predictions_npz="p")
    assert state() == "score"
    (other / "model.safetensors").unlink()
    assert state() == "score"  # a metric needs no model
    (other / "predictions.npz").unlink()
    assert state() == "train"


def test_adopting_links_files_marker_last_and_never_onto_itself(tmp_path: Path) -> None:
    store = StageStore(tmp_path, "matching")
    source = finish(tmp_path / "matching" / "a", "train", KEYS.train, model_safetensors="w", curves_csv="c")
    target = tmp_path / "matching" / "b"
    store.adopt("train", source, target)
    assert sorted(os.listdir(target)) == ["curves.csv", "model.safetensors", "train.json"] and stage_done(target, "train", KEYS.train)
    assert (target / "model.safetensors").samefile(source / "model.safetensors")
    store.adopt("train", source, target)
    store.adopt("train", source, source)
    store.adopt("train", Path(os.path.relpath(source)), source)
    assert sorted(os.listdir(target)) == sorted(os.listdir(source)) == ["curves.csv", "model.safetensors", "train.json"]
    (target / "model.safetensors").unlink()
    assert (source / "model.safetensors").read_text() == "w"


def test_records_are_found_in_name_order_and_pictures_belong_to_one_record(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_json(tmp_path / "matching" / name / "record.json", a_record().model_dump())
    assert [folder.name for folder, _ in iter_records(tmp_path)] == ["a", "b"]
    assert list(iter_records(tmp_path, "detection")) == []
    folder = tmp_path / "matching" / "a"
    assert not figures_drawn(folder, "x")
    (folder / FIGURES).mkdir()
    (folder / FIGURES / "drawn.txt").write_text("x\n")
    assert figures_drawn(folder, "x") and not figures_drawn(folder, "y")
