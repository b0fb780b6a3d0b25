"""Where a number comes from, and which rows may be compared: on records made by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from lineage_toys import DETECTION, FAILED, MATCHING, METRIC, detected, put_cell, put_entry, sha, write

from bench.core.errors import BenchError
from bench.core.store import write_json
from bench.execution.records import Record, load_record
from bench.tools.comparison import choose_pair, find_rows, metric_row
from bench.tools.lineage import explain, find_sources, look_up


def lineage(tmp_path: Path, text: str) -> dict[str, Any]:
    runs, boards = tmp_path / "runs", tmp_path / "boards"
    sources, _ = find_sources(runs, boards)
    return explain(look_up(text, sources), sources, runs, boards)


# -- explain -----------------------------------------------------------------------------------------------------------
def test_a_record_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    record, samples = detected("net/osm", 1, [1, 2])
    entry = put_entry(tmp_path / "boards", "ships", record, samples)
    folder = put_cell(tmp_path / "runs", record, samples)
    put_cell(tmp_path / "runs", detected("other", 1, [1, 2])[0])
    sources, damaged = find_sources(tmp_path / "runs", tmp_path / "boards")
    assert not damaged and len(sources) == 3
    weights = load_record(folder / "record.json").outputs["weights_sha256"]
    slot = f"detection--{record.slot}"
    texts = (record.fingerprint, record.fingerprint[:4].upper(), record.keys["train"][:9], f"ships/{slot}", slot, record.slot, folder.name,
             str(folder), str(entry), str(entry.with_suffix(".npz")), os.path.relpath(folder / "record.json"))  # fmt: skip
    for text in texts:
        assert [source.path for source in look_up(text, sources)] == [entry, folder / "record.json"], text
    with pytest.raises(
        BenchError, match=r"is ambiguous, give more of one of: \w{12} \(detection net/osm on toy/half, seed 1\), "
    ):
        look_up(weights[:8], sources)  # both cells left the same model


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("abc", "'abc' is too short; give at least 4 digits"),
        ("ships/detection--toy-half--nett-osm--seed1", "nearest: ships/detection--toy-half--net-osm--seed1"),
        ("{}0000", "nearest: {}"),
        ("", "no record is called ''"),
    ],
)
def test_what_no_record_is_called_names_the_nearest(tmp_path: Path, text: str, wanted: str) -> None:
    record, _ = detected("net/osm", 1, [1, 2])
    put_entry(tmp_path / "boards", "ships", record)
    start = record.fingerprint[:10]
    with pytest.raises(BenchError) as error:
        lineage(tmp_path, text.format(start))
    assert wanted.format(start) in str(error.value)


def chain(runs: Path) -> list[Record]:
    """Leave three cells, each starting from the one before it; return their records."""
    records: list[Record] = []
    for number in range(3):
        last = records[-1] if records else None
        changes: dict[str, Any] = {}
        if last is not None:
            told = {
                "train": last.keys["train"],
                "score": last.fingerprint,
                "cell": last.method,
                "command": last.command,
            }
            changes["requires"] = [f"detection:{last.keys['train']}"]
            changes["inputs"] = {**DETECTION.inputs, "pretrained_by": [told]}
            changes["facts"] = {"initial_weights": {"sha256": sha("model", number - 1), "branch": ""}}
        record, samples = detected(f"link{number}", 0, [1], **changes, command=f"bench run link{number}")
        records.append(record)
        put_cell(runs, record, samples, model=f"model {number}".encode())
    return records


def test_two_levels_of_cells_are_told_and_who_starts_from_a_cell(tmp_path: Path) -> None:
    first, second, third = chain(tmp_path / "runs")
    told = lineage(tmp_path, third.fingerprint)
    (parent,) = told["starts_from"]
    (grandparent,) = parent["starts_from"]
    assert (parent["command"], grandparent["command"]) == ("bench run link1", "bench run link0")
    for cell in (parent, grandparent):
        assert (
            cell["found"]
            and cell["code"]["scored"]["commit"] == "0" * 40
            and cell["data"]["manifest"]
            and cell["weights"]["weights_sha256"]
        )
    assert told["used_by"] == [] and told["boards"] == []
    assert [user["fingerprint"] for user in lineage(tmp_path, first.fingerprint)["used_by"]] == [second.fingerprint]
    assert json.loads(json.dumps(told, allow_nan=False)) == told and str(tmp_path) not in json.dumps(told)


def test_a_cell_that_is_not_at_hand_is_told_as_its_dependant_remembers_it(tmp_path: Path) -> None:
    _, second, _ = chain(tmp_path / "elsewhere")
    put_entry(tmp_path / "boards", "ships", second)
    (told,) = lineage(tmp_path, second.fingerprint)["starts_from"]
    assert told == {
        "task": "detection", "train_key": sha("train", "link0", 0), "found": False, "cell": "link0", "command": "bench run link0",
    }  # fmt: skip


def test_a_file_that_changed_and_a_model_that_was_cleaned_away(tmp_path: Path) -> None:
    record, samples = detected("net", 0, [1, 2])
    folder = put_cell(tmp_path / "runs", record, samples)

    def states() -> dict[str, str]:
        return {file["file"]: file["state"] for file in lineage(tmp_path, record.fingerprint)["files"]}

    assert states() == {"predictions.npz": "unchanged", "model.safetensors": "unchanged", "per-sample scores": "there"}
    kept = (folder / "scores.npz").read_bytes()
    (folder / "scores.npz").unlink()
    assert states()["per-sample scores"] == "missing"
    assert "per-sample scores are missing" in lineage(tmp_path, record.fingerprint)["problems"][0]
    write(folder / "scores.npz", kept)
    (folder / "model.safetensors").unlink()
    assert states()["model.safetensors"] == "cleaned away" and lineage(tmp_path, record.fingerprint)["problems"] == []
    write(folder / "predictions.npz", b"other")
    assert states()["predictions.npz"] == "CHANGED"
    assert "predictions.npz is not what the record was made of" in lineage(tmp_path, record.fingerprint)["problems"][0]


def test_two_numbers_under_one_fingerprint_and_a_model_that_is_not_the_one_it_started_from(tmp_path: Path) -> None:
    first, second, _ = chain(tmp_path / "runs")
    entry = put_entry(tmp_path / "boards", "ships", second.model_copy(update={"metrics": {METRIC: 0.9}}))
    problems = lineage(tmp_path, second.fingerprint)["problems"]
    assert any("holds other numbers under the same fingerprint" in problem for problem in problems)
    assert any(
        f"it started from the model {sha('model', 0)[:12]}, but the cell it starts from has left" in problem
        for problem in problems
    )
    model = load_record(tmp_path / "runs/detection" / f"{first.slot}--{first.fingerprint[:12]}/record.json")
    facts = {**second.facts, "initial_weights": {"sha256": model.outputs["weights_sha256"], "branch": ""}}
    entry.unlink()
    (folder,) = (tmp_path / "runs/detection").glob("*link1*")
    write_json(
        folder / "record.json", load_record(folder / "record.json").model_copy(update={"facts": facts}).model_dump()
    )
    assert lineage(tmp_path, second.fingerprint)["problems"] == []


def test_early_records_and_damaged_ones(tmp_path: Path) -> None:
    """The hash of predictions stood among the facts once; a damaged record is named and costs the others nothing."""
    record, samples = detected("net", 0, [1, 2])
    folder = put_cell(tmp_path / "runs", record, samples)
    outputs = load_record(folder / "record.json").outputs
    early = record.model_copy(update={"facts": {"outputs": outputs}, "outputs": {}}).model_dump()
    del early["smoke"]
    write_json(folder / "record.json", {**early, "schema_version": 1})
    write(tmp_path / "boards/x/entries/detection--a.json", b"{")
    sources, damaged = find_sources(tmp_path / "runs", tmp_path / "boards")
    assert len(sources) == 1 and len(damaged) == 1 and "detection--a.json is not valid JSON" in damaged[0]
    assert lineage(tmp_path, record.fingerprint)["weights"]["predictions_sha256"] == outputs["predictions_sha256"]


# -- compare -----------------------------------------------------------------------------------------------------------
def rows_of(boards: Path) -> Any:
    return find_rows(find_sources(None, boards)[0])


OTHER_SPLIT = {**DETECTION.inputs, "data": {**DETECTION.inputs["data"], "split": "9" * 64}}
OTHER_PROTOCOL = {**DETECTION.spec, "protocol": {**DETECTION.spec["protocol"], "score_floor": 0.5}}


def test_a_row_is_named_as_briefly_as_is_clear_and_suites_may_differ(tmp_path: Path) -> None:
    for suite, method in (("one", "good"), ("two", "bad"), ("two", "good")):
        for seed in (0, 1):
            put_entry(tmp_path, suite, *detected(method, seed, [3, 3], suite=suite))
    put_entry(
        tmp_path,
        "two",
        *detected("good", 0, [1, 1], dataset="toy/other", inputs=OTHER_SPLIT, fingerprint="e" * 64),
    )
    rows = rows_of(tmp_path)
    print_of_bad = detected("bad", 1, [3, 3])[0].fingerprint
    for a in (
        "good",
        "one:good",
        "one/good",
        "toy/half/good",
        "toy-half/good",
        "detection/toy/half/good",
        "one:detection/toy/half/good",
    ):
        for b in ("bad", "two:toy/half/bad", print_of_bad[:7]):
            one, two = choose_pair(a, b, rows, None, None)
            assert (one.method, two.method, one.dataset, len(one.by_seed)) == ("good", "bad", "toy/half", 2)
    # equal records: the first board stands for both
    assert choose_pair("good", "bad", rows, "detection", "toy/half")[0].place == "one"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"inputs": OTHER_SPLIT}, "cannot be compared: data.split is 8fdf6ddf2f1b against 999999999999"),
        ({"spec": OTHER_PROTOCOL}, "cannot be compared: protocol.score_floor is 0.0 against 0.5"),
        (
            {name: getattr(MATCHING, name) for name in ("task", "spec", "inputs", "facts", "metrics", "keys")},
            "one is of the task detection, the other of matching",
        ),
    ],
)
def test_rows_of_other_data_split_protocol_or_task_are_refused(
    tmp_path: Path, changes: dict[str, Any], wanted: str
) -> None:
    put_entry(tmp_path, "s", *detected("a", 0, [3, 3]))
    put_entry(tmp_path, "s", *detected("b", 0, [3, 3], **changes))
    with pytest.raises(BenchError) as error:
        choose_pair("a", "b", rows_of(tmp_path), None, None)
    assert wanted in str(error.value)


def test_names_that_mean_none_or_several_list_the_choices(tmp_path: Path) -> None:
    for dataset, inputs in (("toy/half", DETECTION.inputs), ("toy/x", OTHER_SPLIT)):
        for method in ("near", "far"):
            print_ = sha(dataset, method)
            put_entry(tmp_path, "s", *detected(method, 0, [3, 3], dataset=dataset, inputs=inputs, fingerprint=print_))
    rows = rows_of(tmp_path)
    messages = {
        ("naer", "far"): "no row is called 'naer'; nearest: near",
        ("near", "far"): "say which block or board: s:toy/half/near with s:toy/half/far, s:toy/x/near with s:toy/x/far",
        ("toy/half/near", "toy/half/near"): "are the same row, s:toy/half/near; name two",
    }
    for (a, b), wanted in messages.items():
        with pytest.raises(BenchError) as error:
            choose_pair(a, b, rows, None, None)
        assert wanted in str(error.value)
    assert choose_pair("near", "far", rows, None, "toy-x")[1].dataset == "toy/x"
    with pytest.raises(
        BenchError, match="no row 'near' is left of this task and data set; there is: detection s:toy/half/near"
    ):
        choose_pair("near", "far", rows, "matching", None)


def test_wiring_checks_are_no_rows_and_a_failed_seed_is_not_left_out(tmp_path: Path) -> None:
    put_entry(tmp_path, "s", *detected("a", 0, [3, 3]))
    put_entry(tmp_path, "s", *detected("smoke", 0, [3, 3], smoke=True))
    put_entry(tmp_path, "s", *detected("limited", 0, [3, 3], limit=8))
    put_entry(tmp_path, "s", detected("a", 1, [3, 3], status="failed", failure=FAILED.failure, metrics={})[0])
    (row,) = rows_of(tmp_path)
    with pytest.raises(
        BenchError, match="s:toy/half/a: toy-half--a--seed1 failed in train, and a failure must not vanish from a mean"
    ):
        metric_row(row, METRIC)


def test_what_cannot_be_measured_is_told(tmp_path: Path) -> None:
    path = put_entry(tmp_path, "s", *detected("a", 0, [3, 3]))
    (row,) = rows_of(tmp_path)
    for metric, wanted in (
        ("scene.ap_aera", "has no metric 'scene.ap_aera'; nearest: scene.ap_area"),
        ("scene.ap50", "scene.ap50 cannot be computed again from per-sample scores; these can: scene.ap_area"),
        ("scene.f1", "scene.f1 is unknown there"),
    ):
        with pytest.raises(BenchError) as error:
            metric_row(row, metric)
        assert wanted in str(error.value)
    assert metric_row(row, METRIC).results[0].value == 6 / 8
    put_entry(tmp_path, "s", *detected("a", 0, [3, 3], metrics={METRIC: 0.76}))
    (row,) = rows_of(tmp_path)
    with pytest.raises(BenchError, match=r"is 0.76 in the record but 0.75 by its per-sample scores"):
        metric_row(row, METRIC)
    path.with_suffix(".npz").unlink()
    with pytest.raises(BenchError, match="without per-sample scores nothing can be compared"):
        metric_row(row, METRIC)


def test_the_folds_of_a_cross_validation_make_one_row(tmp_path: Path) -> None:
    for fold, found in enumerate(([4, 4], [2, 2], [0, 3])):
        split = {**DETECTION.spec["dataset"]["split"], "kind": "folds", "folds": 3, "fold": fold}
        spec = {**DETECTION.spec, "dataset": {**DETECTION.spec["dataset"], "split": split}}
        inputs = {**DETECTION.inputs, "data": {**DETECTION.inputs["data"], "split": str(fold) * 64}}
        changes: dict[str, Any] = {
            "spec": spec,
            "inputs": inputs,
            "row_key": sha(fold),
            "fingerprint": sha("fold", fold),
        }
        put_entry(tmp_path, "s", *detected("a", 0, found, dataset=f"toy/cv-{fold + 1}of3", **changes))
    whole = [row for row in rows_of(tmp_path) if row.dataset == "toy/cv"]
    assert len(whole) == 1 and metric_row(whole[0], METRIC).results[0].value == pytest.approx((1 + 0.5 + 3 / 8) / 3)
    assert len(metric_row(whole[0], METRIC).clusters) == 6
    os.unlink(tmp_path / "s/entries/detection--toy-cv-2of3--a--seed0.json")
    assert [row.dataset for row in rows_of(tmp_path)] == ["toy/cv-1of3", "toy/cv-3of3"]  # an incomplete one has no mean
