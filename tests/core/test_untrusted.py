"""Records, entries and array files of others: what cannot be trusted is named and fails alone, and nothing of it leaves
its folder.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import shutil
import tracemalloc
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lineage_toys import DETECTION, FAILED, MATCHING, detected, put_cell, put_entry, write
from numpy.lib import format as npy

from bench.boards.entries import read_samples
from bench.boards.leaderboard import SUITE, build_boards
from bench.boards.rendering import to_markdown
from bench.cli.explain import to_lines
from bench.core.arrays import SAMPLES, load_arrays
from bench.core.errors import BenchError
from bench.core.store import save_arrays, write_json
from bench.execution.cell import Selection
from bench.execution.costs import PastCosts
from bench.execution.records import Record, load_record
from bench.suite.config import load_suite
from bench.suite.expansion import expand
from bench.tools.comparison import compare
from bench.tools.lineage import explain, find_sources, look_up
from bench.tools.merge import DAMAGED, MERGED, STOPPED, merge_runs

BOARDS = Path(__file__).resolve().parents[2] / "leaderboards"

WORDS = {"name": "s", "title": "", "description": "", "notes": {}, "references": {}, "order": []}


def a_board(folder: Path, *methods: str) -> Path:
    """Return the folder of a board with one sound entry for each method."""
    write_json(folder / "s" / SUITE, WORDS)
    for method in methods:
        put_entry(folder, "s", *detected(method, 0, [1, 2]))
    return folder / "s"


def test_an_entry_that_cannot_be_read_stands_on_the_board_with_its_reason(tmp_path: Path) -> None:
    folder = a_board(tmp_path, "sound", "lost")
    name = f"detection--{DETECTION.dataset.replace('/', '-')}--lost--seed0"
    write(folder / "entries" / f"{name}.json", b"{")
    built = build_boards(tmp_path, "s")
    text = (folder / "detection.md").read_text()
    assert f"- {name}: entries/{name}.json is not valid JSON" in text and str(tmp_path) not in text
    assert "0.375" in text and len(built.problems) == 1


def test_a_board_of_which_nothing_can_be_read_says_so_and_does_not_stay_as_it_was(tmp_path: Path) -> None:
    folder = a_board(tmp_path, "sound")
    path = put_entry(tmp_path, "s", MATCHING)
    build_boards(tmp_path, "s")
    before = (folder / "matching.md").read_text()
    write(path, b"{")
    table = build_boards(tmp_path, "s").tables[folder / "matching.md"]
    text = (folder / "matching.md").read_text()
    assert table.sections == () and text == to_markdown(table) != before
    assert f"- {path.stem}: " in text and (folder / "matching.csv").read_text().count("\n") == 1


# -- records -----------------------------------------------------------------------------------------------------------
STRANGE: tuple[Any, ...] = (None, {}, [], "", -1, 10**400, "x\ny", "\ud800", 1e308, True, [[]], "../..", 10**18)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all values inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    return ([at] if at else []) + [each for key, deeper in inner for each in places(deeper, (*at, key))]


def changed(raw: dict[str, Any], at: Sequence[Any], value: Any) -> dict[str, Any]:
    out = copy.deepcopy(raw)
    node: Any = out
    for key in at[:-1]:
        node = node[key]
    node[at[-1]] = value
    return out


def one_bad_entry_fails_alone(folder: Path, record: Record, raw: dict[str, Any]) -> None:
    """File `raw` under the name of `record` beside a sound entry, and build everything that is made of records."""
    path = folder / "s" / "entries" / f"{record.task}--{record.slot}.json"
    path.write_text(json.dumps(raw))
    build_boards(folder, "s", cost=True)
    sources, damaged = find_sources(None, folder)
    assert [source.record.method for source in sources if source.path != path] == ["sound"]
    for source in sources if not damaged else []:
        report = explain(look_up(source.record.fingerprint, sources), sources, folder / "runs", folder)
        to_lines(report, {"runs": folder / "runs", "boards": folder})
    PastCosts([source.record for source in sources])


@pytest.mark.parametrize("record", [DETECTION, MATCHING, FAILED], ids=lambda record: f"{record.task}-{record.status}")
def test_a_record_with_anything_in_place_of_anything_fails_alone(tmp_path: Path, record: Record) -> None:
    a_board(tmp_path, "sound")
    raw = record.model_dump()
    cases = [(at, value) for at in places(raw) for value in STRANGE]
    chosen = random.Random(record.task).sample(cases, 12)
    for at, value in chosen:
        one_bad_entry_fails_alone(tmp_path, record, changed(raw, at, value))


@pytest.mark.slow
@pytest.mark.parametrize("record", [DETECTION, MATCHING], ids=lambda record: record.task)
def test_a_record_with_everything_in_place_of_everything_fails_alone(tmp_path: Path, record: Record) -> None:
    a_board(tmp_path, "sound")
    raw = record.model_dump()
    for number, at in enumerate(places(raw)):
        for value in STRANGE[number % 3 :: 3]:
            one_bad_entry_fails_alone(tmp_path, record, changed(raw, at, value))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"task": "/abs/x"}, "task '/abs/x' of bnn on toy/half is not registered here; "),
        ({"task": "../../evil"}, "is not registered here"),
        ({"task": "matchin"}, "is not registered here; nearest: matching, detection; that of a plug-in is, once"),
        ({"fingerprint": "/../../paper"}, "fingerprint: no hash of 64 hexadecimal digits"),
        ({"fingerprint": "A" * 64}, "fingerprint: no hash"),
        ({"keys": {**DETECTION.keys, "train": "0" * 63}}, "train: no hash"),
        ({"keys": {"score": "0" * 64}}, "keys: expected predict, score, train"),
        ({"requires": ["matching:../x"]}, "requires: no hash"),
        ({"method": "../../x"}, 'holds ".."'),
        ({"method": "a\nb"}, "holds a character that cannot be printed"),
        ({"dataset": "\ud800"}, "holds a character that cannot be printed"),
        ({"dataset": "d" * 201}, "has 201 characters; give it at most 200"),
        ({"dataset": "d" * 120, "method": "m" * 120}, "labels of 249 bytes together name no file"),
        ({"method": "/x"}, "begins or ends with a blank or a slash"),
        ({"seed": True}, "seed: Input should be a valid integer"),
        ({"seed": -1}, "seed: -1 is none"),
        ({"metrics": {"scene.ap_area": "0.5"}}, "metrics.scene.ap_area"),
        ({"metrics": {"scene.ap_area": 10**400}}, "metrics.scene.ap_area"),
        ({"inputs": {}}, "inputs.data: Field required"),
        ({"spec": {}}, "spec.protocol: Field required"),
    ],
)
def test_names_keys_and_parts_of_a_record_are_checked_when_it_is_read(
    tmp_path: Path, change: dict[str, Any], wanted: str
) -> None:
    raw = {**DETECTION.model_dump(), "method": "bnn", **change}
    (tmp_path / "record.json").write_text(json.dumps(raw))
    with pytest.raises(BenchError) as error:
        load_record(tmp_path / "record.json")
    assert wanted in str(error.value) and "\n" not in str(error.value) and str(error.value).isprintable()


def test_facts_that_a_finished_record_has_a_failed_one_may_lack(tmp_path: Path) -> None:
    raw = MATCHING.model_dump()
    for facts in ({}, {name: value for name, value in MATCHING.facts.items() if name != "gallery.size"}):
        (tmp_path / "record.json").write_text(json.dumps({**raw, "facts": facts}))
        with pytest.raises(BenchError, match=r"damaged record \(.*facts\.[\w.]+ is missing"):
            load_record(tmp_path / "record.json")
    (tmp_path / "record.json").write_text(json.dumps({**raw, "facts": {}, "metrics": {}, "status": "failed"}))
    assert load_record(tmp_path / "record.json").status == "failed"


@pytest.mark.parametrize(
    ("label", "wanted"), [("a\nb", "cannot be printed"), ("x/../y", '".."'), ("m" * 201, "201 characters")]
)
def test_labels_of_a_suite_obey_the_rule_of_those_in_records(label: str, wanted: str) -> None:
    suite = load_suite("quickstart")
    section = suite.tasks["matching"]
    method = next(iter(section["methods"].values()))
    tasks = {"matching": {**section, "reference": None, "methods": {label: method}}}
    with pytest.raises(BenchError) as error:
        expand(suite.model_copy(update={"tasks": tasks}), Selection(), ["matching"], suite.origin)
    assert wanted in str(error.value) and "\n" not in str(error.value)


# -- files -------------------------------------------------------------------------------------------------------------
def strange_files(folder: Path) -> dict[str, Path]:
    """Return what may stand in place of a file: a FIFO that hangs its reader, a link, a folder, a file of terabytes."""
    (folder / "real").write_text("{}")
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to(folder / "real")
    (folder / "folder").mkdir()
    with (folder / "huge").open("wb") as stream:
        stream.truncate(2**42)
    return {name: folder / name for name in ("fifo", "link", "folder", "huge")}


def test_only_regular_files_of_a_sensible_size_are_read(tmp_path: Path) -> None:
    said = {
        "fifo": "is a pipe (FIFO)",
        "link": "is a symbolic link",
        "folder": "is a folder",
        "huge": "has 4,194,304.0 MiB",
    }
    for name, path in strange_files(tmp_path).items():
        for read in (load_record, lambda path: load_arrays(path, "file"), lambda path: read_samples(path, "matching")):
            with pytest.raises(BenchError) as error:
                read(path)
            assert said[name] in str(error.value), (name, error.value)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_an_entry_that_is_no_regular_file_fails_alone_and_nobody_waits(tmp_path: Path, suffix: str) -> None:
    folder = a_board(tmp_path / "boards", "sound")
    (tmp_path / "x").mkdir()
    for name, path in strange_files(tmp_path / "x").items():
        put_entry(tmp_path / "boards", "s", *detected(name, 0, [1, 2]))
        entry = folder / "entries" / f"detection--{DETECTION.dataset.replace('/', '-')}--{name}--seed0{suffix}"
        entry.unlink()
        path.rename(entry)
    built = build_boards(tmp_path / "boards", "s")
    assert "0.375" in (folder / "detection.md").read_text()
    assert {word for word in ("fifo", "link", "folder", "huge") if any(word in text for text in built.problems)} >= (
        {"fifo", "link", "folder", "huge"} if suffix == ".json" else {"link", "huge"}
    )


# -- arrays ------------------------------------------------------------------------------------------------------------
def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    _, arrays = detected("x", 0, [1, 2])
    save_arrays(path, arrays)
    head = io.BytesIO()
    npy.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (SAMPLES,)})
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("extra.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(head.getvalue())
        for _ in range(SAMPLES // 2**24):
            stream.write(bytes(2**24))
    assert path.stat().st_size < 2 * 2**20 and set(read_samples(path, "detection")) == set(arrays)  # it is not expected
    tracemalloc.start()
    with pytest.raises(BenchError, match=r"its arrays take 256\.0 MiB; at most 256\.0 MiB are read"):
        load_arrays(path, "per-sample scores", at_most=SAMPLES)
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def in_place_of(name: str, array: np.ndarray, path: Path) -> None:
    _, arrays = detected("x", 0, [1, 2])
    save_arrays(path, {**arrays, name: array})


@pytest.mark.parametrize(
    ("name", "array", "wanted"),
    [
        ("scene", np.zeros(2, np.int32), r"scene has shape \(2,\), not \(detections\)|has shape"),
        ("scene", np.array([0, 1, 2], np.int32), "array scene holds a value below 0 or from 2 on"),
        ("scene", np.array([-1, 0, 1], np.int32), "array scene holds a value below 0"),
        ("score", np.array([0.9, np.nan, 0.1]), "array score holds a value that is not finite"),
        ("score", np.array(["a", "b", "c"]), "array score is of <U1, not of kind 'f'"),
        ("ships", np.ones((3, 2), np.int32), "array ships has shape"),
        ("ships", np.full((4, 2), -1, np.int32), "array ships holds a value below 0"),
        ("group", np.array([["a", "b"]]), "array group has 2 dimensions, not 1"),
        ("group", np.array([0xD800, 65], np.uint32).view("<U1"), "array group holds what is no text"),
        ("group", np.array([0x110000, 65], np.uint32).view("<U1"), "array group holds what is no text"),
        ("voc_tp", np.zeros(3, [("a", "f4")]), "array voc_tp.npy is of"),
    ],
)  # fmt: skip
def test_arrays_have_the_types_shapes_and_values_that_they_state(
    tmp_path: Path, name: str, array: np.ndarray, wanted: str
) -> None:
    path = tmp_path / "scores.npz"
    in_place_of(name, array, path)
    with pytest.raises(BenchError, match=wanted) as error:
        read_samples(path, "detection")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("how", ["length", "objects", "encrypted", "packed", "many"])
def test_an_archive_that_does_not_fit_its_headers_is_refused(tmp_path: Path, how: str) -> None:
    path, head = tmp_path / "scores.npz", io.BytesIO()
    shape, descr = ((10**12,), "|O") if how == "objects" else ((10**12,), "<f8")
    npy.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2 if how == "packed" else zipfile.ZIP_STORED) as archive:
        for number in range(300 if how == "many" else 1):
            archive.writestr(f"x{number}.npy", head.getvalue() + bytes(80))
    if how == "encrypted":
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(content)
    with pytest.raises(BenchError, match="damaged thing"):
        load_arrays(path, "thing")


def test_the_committed_entries_hold_what_their_tasks_expect() -> None:
    for path in sorted(BOARDS.glob("*/entries/*.json"))[::6]:
        assert read_samples(path.with_suffix(".npz"), load_record(path).task)


# -- merge -------------------------------------------------------------------------------------------------------------
def test_a_merge_writes_nowhere_but_below_runs(tmp_path: Path) -> None:
    other, runs = tmp_path / "other", tmp_path / "machine" / "runs"
    innocent = put_cell(runs, *detected("innocent", 0, [1, 2]))
    write(innocent / "checkpoints" / "last.pt", b"kept")
    outside = tmp_path / "outside"
    outside.mkdir()
    hostile: dict[str, dict[str, Any]] = {
        "abs": {"task": f"{outside}/x"}, "up": {"task": "../../evil"}, "self": {"task": "."},
        "print": {"fingerprint": f"/../../detection/{innocent.name}"}, "row": {"method": f"x/../../{innocent.name}"},
    }  # fmt: skip
    for name, change in hostile.items():
        cell = put_cell(other, *detected(name, 0, [1, 2]))
        write_json(cell / "record.json", {**json.loads((cell / "record.json").read_text()), **change})
    put_cell(other, *detected("sound", 0, [1, 2]))
    before = {path: path.read_bytes() for path in innocent.rglob("*") if path.is_file()}
    found = {outcome.folder.name.split("--")[1]: outcome for outcome in merge_runs([other], runs)}
    assert {name: outcome.state for name, outcome in found.items()} == {
        **dict.fromkeys(hostile, DAMAGED),
        "sound": MERGED,
    }
    assert {path: path.read_bytes() for path in innocent.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["machine", "other", "outside"]
    assert not list(outside.iterdir()) and sorted(path.name for path in (tmp_path / "machine").iterdir()) == ["runs"]


def test_links_and_pipes_in_a_cell_are_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    other, runs = tmp_path / "other", tmp_path / "runs"
    secret = tmp_path / "secret"
    write(secret, b"of another user")
    for name in ("log.txt", "job.json", "model.safetensors", "figures/pr.png", "scores.npz", "record.json", ".lock"):
        cell = put_cell(other, *detected(name.split("/")[-1].strip(".").replace(".", "-"), 0, [1, 2]))
        (cell / name).unlink(missing_ok=True)
        (cell / name).symlink_to(secret) if name not in (".lock", "record.json") else os.mkfifo(cell / name)
    cell = put_cell(other, *detected("folder", 0, [1, 2]))
    shutil.rmtree(cell / "figures")
    (cell / "figures").symlink_to(tmp_path)
    elsewhere = put_cell(tmp_path / "elsewhere", *detected("whole", 0, [1, 2]))
    (other / "detection" / elsewhere.name).symlink_to(elsewhere)
    put_cell(other, *detected("sound", 0, [1, 2]))
    found = {outcome.folder.name.split("--")[1]: outcome for outcome in merge_runs([other], runs)}
    assert len(found) == 10 and found.pop("sound").state == MERGED
    assert {outcome.state for outcome in found.values()} == {DAMAGED}, found
    assert "log.txt is a symbolic link, no regular file" in found["log-txt"].reason
    assert "record.json is a pipe (FIFO), no regular file" in found["record-json"].reason
    assert len(list(runs.glob("*/*"))) == 1


def test_a_link_under_runs_that_leads_elsewhere_is_not_written_through(tmp_path: Path) -> None:
    put_cell(tmp_path / "other", *detected("net", 0, [1, 2]))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "detection").symlink_to(tmp_path / "elsewhere")
    (outcome,) = merge_runs([tmp_path / "other"], tmp_path / "runs")
    assert (
        outcome.state == STOPPED and "leads out of" in outcome.reason and not list((tmp_path / "elsewhere").iterdir())
    )


def test_one_cell_that_cannot_be_written_stops_no_other(tmp_path: Path) -> None:
    for method in ("a", "b", "c"):
        put_cell(tmp_path / "other", *detected(method, 0, [1, 2]))
    (tmp_path / "runs" / "detection").mkdir(parents=True)
    blocked = sorted((tmp_path / "other" / "detection").iterdir())[1]
    (tmp_path / "runs" / "detection" / blocked.name).write_text("a file in the way of the folder")
    assert [outcome.state for outcome in merge_runs([tmp_path / "other"], tmp_path / "runs")] == [
        MERGED,
        STOPPED,
        MERGED,
    ]


def test_a_row_with_a_seed_that_cannot_be_read_is_not_compared(tmp_path: Path) -> None:
    a_board(tmp_path)
    paths = {m: [put_entry(tmp_path, "s", *detected(m, seed, [1, 2])) for seed in (0, 1)] for m in ("a", "b", "c")}
    write(paths["c"][1], b"{")
    said: list[str] = []
    compare("a", "b", runs=tmp_path / "runs", boards=tmp_path, report=said.append)
    assert len(said) == 1 and said[0].startswith(f"left out: {paths['c'][1]}")
    with pytest.raises(BenchError, match="c: a seed of it cannot be read, and must not vanish from a mean: .*seed1"):
        compare("a", "c", runs=tmp_path / "runs", boards=tmp_path, report=said.append)
