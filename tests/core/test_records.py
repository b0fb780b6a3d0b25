"""Records: round trip, damage, other schema versions, old records stay readable; stages found, adopted, and what counts
as finished.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BenchError
from bench.core.store import write_json
from bench.execution.cell import Cell, Identity, Keys, Mode, Origin
from bench.execution.records import (
    FIGURES,
    SCHEMA_VERSION,
    Record,
    StageStore,
    cell_folder,
    figures_drawn,
    finished_record,
    load_record,
    new_record,
    stage_done,
    write_stage,
)

HERE = Path(__file__).parent
EXAMPLES = sorted(HERE.glob("records_v*/*.json"))
KEYS = Keys("a" * 64, "b" * 64, "c" * 64)
EXAMPLE = load_record(HERE / "records_v2" / "finished_matching.json")
FACTS: dict[str, Any] = {"facts": {}, "cost": {}, "made_by": {}}


def a_cell(**changes: Any) -> Cell:
    values: dict[str, Any] = {
        "task": "matching",
        "suite": "s",
        "dataset": "d/x",
        "method": "m",
        "seed": 3,
        "spec": EXAMPLE.spec,
        "origin": Origin(names=EXAMPLE.names),
    }
    return Cell(**{**values, **changes})


def a_record(**changes: Any) -> Record:
    changes["facts"] = {**EXAMPLE.facts, **changes.get("facts", {})}
    return new_record(
        a_cell(), Identity(KEYS, EXAMPLE.inputs, 5), "finished", metrics={"x": 0.1 + 0.2, "y": None}, **changes
    )


def test_a_record_round_trips_in_full_precision(tmp_path: Path) -> None:
    record = a_record(facts={"deep": [1, {"a": 1e-300}]})
    write_json(tmp_path / "record.json", record.model_dump())
    again = load_record(tmp_path / "record.json")
    assert again == record and again.metrics == {"x": 0.30000000000000004, "y": None}
    assert again.slot == "d-x--m--seed3" == a_cell().slot and a_cell(seed=None).slot == "d-x--m--once"
    assert cell_folder(tmp_path, a_cell(), KEYS) == tmp_path / "matching" / f"d-x--m--seed3--{'c' * 12}"
    assert again.fingerprint == KEYS.score and again.row_key == a_cell(seed=8).row_key != a_cell(spec={"a": 2}).row_key


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_schema_stays_readable(path: Path) -> None:
    raw = json.loads(path.read_text())
    assert raw["schema_version"] == int(path.parent.name.removeprefix("records_v"))
    record = load_record(path)
    assert record.schema_version == SCHEMA_VERSION and record.smoke is raw.get("smoke", False)
    unchanged = record.model_dump(exclude={"schema_version", "smoke"})
    assert unchanged == {name: value for name, value in raw.items() if name not in {"schema_version", "smoke"}}
    assert (record.failure is None) == (record.status == "finished") == bool(record.metrics)


def test_the_examples_of_the_schemas_are_what_they_are_called() -> None:
    assert {int(path.parent.name[-1]) for path in EXAMPLES} == set(range(1, SCHEMA_VERSION + 1))
    detection, submitted = (
        load_record(HERE / "records_v2" / f"{name}.json") for name in ("finished_detection", "submitted")
    )
    assert detection.requires and detection.requires[0] == "matching:" + detection.inputs["pretrained_by"][0]["train"]
    assert submitted.facts["submitted"] is True and submitted.command.startswith("bench submit")
    failure = load_record(HERE / "records_v2" / "failed.json").failure
    assert failure is not None and failure.stage == "train"


def test_a_smoke_cell_leaves_a_marked_record(tmp_path: Path) -> None:
    record = new_record(
        a_cell(mode=Mode(smoke=True)), Identity(KEYS, EXAMPLE.inputs, 5), "finished", facts=EXAMPLE.facts
    )
    write_json(tmp_path / "record.json", record.model_dump())
    assert load_record(tmp_path / "record.json").smoke and not a_record().smoke


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            {"schema_version": SCHEMA_VERSION + 1},
            f"is newer than {SCHEMA_VERSION}; made by a newer saropt-bench, update this one",
        ),
        ({"schema_version": None}, "record schema None is not one of 1 to"),
        ({"schema_version": 0}, "record schema 0 is not one of 1 to"),
        ({"schema_version": True}, "record schema True is not one of 1 to"),
        ({"schema_version": "1"}, "record schema '1' is not one of 1 to"),
        ({"smoke": None}, "damaged record (smoke"),
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


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema_version": 1}', b'{"schema_version": 2}']
)
def test_damaged_files_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(BenchError, match="record.json"):
        load_record(tmp_path / "record.json")


def test_a_finished_record_is_one_of_the_same_fingerprint(tmp_path: Path) -> None:
    assert finished_record(tmp_path, KEYS) is None
    write_json(tmp_path / "record.json", a_record().model_dump())
    assert finished_record(tmp_path, KEYS) is not None
    assert finished_record(tmp_path, Keys(KEYS.train, KEYS.predict, "d" * 64)) is None
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
    assert sorted(os.listdir(target)) == ["curves.csv", "model.safetensors", "train.json"] and stage_done(
        target, "train", KEYS.train
    )
    assert (target / "model.safetensors").samefile(source / "model.safetensors")
    store.adopt("train", source, target)
    store.adopt("train", source, source)
    store.adopt("train", Path(os.path.relpath(source)), source)
    assert sorted(os.listdir(target)) == sorted(os.listdir(source)) == ["curves.csv", "model.safetensors", "train.json"]
    (target / "model.safetensors").unlink()
    assert (source / "model.safetensors").read_text() == "w"


def test_pictures_belong_to_one_record(tmp_path: Path) -> None:
    folder = tmp_path / "matching" / "a"
    assert not figures_drawn(folder, "x")
    (folder / FIGURES).mkdir(parents=True)
    (folder / FIGURES / "drawn.txt").write_text("x\n")
    assert figures_drawn(folder, "x") and not figures_drawn(folder, "y")
