"""`bench submit --task detection` as a user types it: boxes of another tool enter the board, stay there, and are
refused in one line.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import TOY, Bench

SHIPS = f"""\
name: ships
title: "Ships: generated scenes"
seeds: [0]
matching:{TOY}\
  methods:
    random: {{matcher: random}}
detection:
  protocol: {{name: det/test-v1, strata: shore}}
  datasets:
    toy:
      dataset: toy-ships
      options: {{scenes: 6, scene_px: 128}}
      splits:
        half: {{kind: random, by: scene, test: 0.5, validation: 0}}
  methods:
    cfar: {{detector: cfar}}
"""
TO = ("--task", "detection", "--config", "ships.yaml")
SUBMIT = ("submit", "boxes.json", *TO, "--no-figures", "--name", "mine")
RUN = ("run", "detection", "--config", "ships.yaml", "--no-figures", "--threads", "1")


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A folder with the suite and the truth of its test part; the generated set is in its cache. Read only."""
    bench = Bench(tmp_path_factory.mktemp("asked"))
    bench.write("ships.yaml", SHIPS)
    bench("data", "coco", "--config", "ships.yaml", "--out", "truth.json")
    return bench


@pytest.fixture
def ships(asked: Bench, tmp_path: Path) -> Bench:
    shutil.copytree(asked.folder, tmp_path / "ships")
    return Bench(tmp_path / "ships")


def truth(bench: Bench) -> dict[str, Any]:
    return dict(json.loads((bench.folder / "truth.json").read_text()))


def perfect(bench: Bench, score: float = 1.0) -> list[dict[str, Any]]:
    """Results that are the truth."""
    return [{"image_id": one["image_id"], "bbox": one["bbox"], "score": score} for one in truth(bench)["annotations"]]


def entries(bench: Bench) -> list[Path]:
    return sorted((bench.folder / "leaderboards/ships/entries").glob("*"))


def record(bench: Bench, part: str = "--mine--") -> dict[str, Any]:
    (path,) = [path for path in entries(bench) if path.suffix == ".json" and part in path.name]
    return dict(json.loads(path.read_text()))


def board(bench: Bench) -> str:
    return (bench.folder / "leaderboards/ships/detection.md").read_text()


def test_boxes_enter_the_board_with_their_reference_and_stay(ships: Bench) -> None:
    # a row that is on the board and not in the suite's file
    ships(*RUN, "--set", "detection.methods.other={detector: cfar}")
    ships.write(
        "boxes.json",
        json.dumps({"info": truth(ships)["info"], "images": truth(ships)["images"], "annotations": perfect(ships)}),
    )
    for name in ("other", "Other"):
        assert "'other' is on this board already; choose another name" in ships.refused(*SUBMIT[:-1], name)
    out = ships(*SUBMIT, "--reference", "doi:10.1000/182")
    assert "mine" in out.stdout and "replaced" not in out.stdout
    assert "WARNING mine on toy/half: the boxes fit as only the truth's own do" in out.stderr and " ‼ |" in board(ships)
    mine = record(ships)
    assert mine["metrics"]["scene.ap_area"] == 1.0 and mine["metrics"]["scene.ap_coco"] == 1.0
    assert mine["inputs"]["files_sha256"]["results"] and mine["names"]["reference"] == "https://doi.org/10.1000/182"
    claims = {key: truth(ships)["info"][key] for key in ("manifest_sha256", "split_sha256", "made_for")}
    assert mine["facts"]["submitted_for"] == claims and mine["inputs"]["data"]["split"] == claims["split_sha256"]
    words = "bench submit boxes.json --task detection --config ships.yaml --dataset toy --split half --name mine"
    assert mine["command"] == f"{words} --reference https://doi.org/10.1000/182"
    assert "[mine](https://doi.org/10.1000/182)" in board(ships) and board(ships).index("| cfar") < board(ships).index(
        "| [mine]"
    )
    ships(*RUN)  # a whole run prunes what the suite lacks, but not what was submitted
    assert "[mine](https://doi.org/10.1000/182)" in board(ships)
    # same file, nothing to compute: the reference is corrected all the same
    ships(*SUBMIT, "--reference", "https://example.org/corrected")
    assert "[mine](https://example.org/corrected)" in board(ships)


def test_the_board_is_rebuilt_from_entries_alone_and_scored_from_the_cell(ships: Bench, tmp_path: Path) -> None:
    boxes = perfect(ships, 0.9)
    ships.write("boxes.json", json.dumps([{**boxes[0], "score": 0.1}, *boxes[1:]]))
    ships(*SUBMIT, "--empty-images-ok", "--set", "detection.protocol.score_floor=0.5")
    # what lies below the protocol's floor is dropped
    assert record(ships)["facts"]["scene.detections"] == len(boxes) - 1
    assert "numbers as recorded" in ships("score").stdout
    clone = Bench(tmp_path / "clone")
    shutil.copytree(ships.folder / "leaderboards", clone.folder / "leaderboards")
    before = board(clone)
    for path in (clone.folder / "leaderboards/ships").glob("detection.*"):
        path.unlink()
    clone("leaderboard", "ships")
    assert board(clone) == before and not (clone.folder / "runs").exists()
    for path in entries(clone):  # how a submission is taken back
        if "--mine--" in path.name:
            path.unlink()
    assert not entries(clone)


def test_several_seeds_make_a_row_and_a_second_file_replaces_the_first(ships: Bench) -> None:
    tables = {}
    for seed in (1, 2):
        rows = [
            {"image_id": r["image_id"], **dict(zip(("x", "y", "width", "height"), r["bbox"], strict=True))}
            for r in perfect(ships)
        ]
        tables[seed] = [{**row, "score": 0.9 - seed * i / 100} for i, row in enumerate(rows)]
        with (ships.folder / f"boxes-{seed}.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, tables[seed][0])
            writer.writeheader()
            writer.writerows(tables[seed])
        ships(
            "submit",
            f"boxes-{seed}.csv",
            *TO,
            "--name",
            "two",
            "--seed",
            str(seed),
            "--empty-images-ok",
            "--no-figures",
        )
    text = board(ships)
    assert "2 ([1](entries/detection--toy-half--two--seed1.json), [2]" in text
    commands = [line for line in text.splitlines() if line.startswith("bench submit boxes-")]
    assert [line.split()[2] for line in commands] == ["boxes-1.csv", "boxes-2.csv"] and commands[1].endswith(
        "--name two --seed 2"
    )
    first = record(ships, "--two--seed1")["fingerprint"]
    assert (
        ships(*commands[0].split()[1:], "--no-figures").stdout.count(
            "replaced the earlier submission of two on toy/half, seed 1"
        )
        == 1
    )
    assert record(ships, "--two--seed1")["fingerprint"] == first  # the board's own line files the very same again
    words = ("submit", "boxes-2.csv", *TO, "--name", "two", "--no-figures", "--empty-images-ok")
    assert "submitted with seed 2 from the very same file" in ships.refused(*words, "--seed", "3")
    assert "a row has seeds for all its files or for none" in ships.refused(*words)
    ships.write("boxes-3.json", json.dumps({"images": truth(ships)["images"], "annotations": perfect(ships)}))
    words = ("submit", "boxes-3.json", *TO, "--name", "two", "--no-figures", "--seed")
    assert "submitted with seed 1 and other options; submit all seeds alike" in ships.refused(*words, "3")
    out = ships(*words, "2", "--empty-images-ok").stdout
    assert "replaced the earlier submission of two on toy/half, seed 2 (file " in out and len(entries(ships)) == 4


def test_a_detector_that_found_nothing_says_so(ships: Bench) -> None:
    ships.write("boxes.json", "[]")
    assert "says nothing of 3 of the 3 test scenes" in ships.refused(*SUBMIT)
    assert not entries(ships)
    ships(*SUBMIT, "--empty-images-ok")
    mine = record(ships)
    assert mine["metrics"]["scene.ap_area"] == 0.0 and mine["facts"]["scenes_without_entry"] == 3
    assert mine["command"].startswith("bench submit boxes.json --task detection --empty-images-ok --config ships.yaml")


def test_bad_submissions_end_in_one_line_and_file_nothing(ships: Bench) -> None:
    boxes = perfect(ships)
    info = truth(ships)["info"]
    wrapped = {"info": info, "images": truth(ships)["images"], "annotations": boxes}
    bad: dict[str, tuple[str, str]] = {
        "unknown image": (json.dumps([{**boxes[0], "image_id": 9999}]), "unknown image_id 9999"),
        "NaN": (json.dumps([{**boxes[0], "score": float("nan")}]), "score is nan"),
        "corners": (json.dumps([{**box, "bbox": [100, 100, 120, 110]} for box in boxes]), "looks like x1, y1, x2, y2"),
        "truncated": (json.dumps(boxes)[:-9], "is not valid JSON"),
        "no list": ("{}", "holds a JSON dict"),
        "another split": (
            json.dumps({**wrapped, "info": {**info, "split_sha256": "0" * 64}}),
            "was made for another split",
        ),
        "a scene forgotten": (
            json.dumps({**wrapped, "images": truth(ships)["images"][:-1], "annotations": []}),
            "says nothing of 1 of",
        ),
    }
    for name, (text, message) in bad.items():
        ships.write("boxes.json", text)
        assert message in ships.refused(*SUBMIT), name
    ships.write("boxes.json", json.dumps(wrapped))
    for words, message in (
        ((*SUBMIT[:-1], "cfar"), "is a row of the suite"),
        ((*SUBMIT[:-1], "../x"), "choose up to 80 letters"),
        ((*SUBMIT, "--reference", "example.org"), "--reference 'example.org'"),
        ((*SUBMIT, "--threshold", "1"), "--threshold does not apply to detection"),
        ((*SUBMIT, "--seed", "-1"), "--seed -1"),
        ((*SUBMIT, "--split", "haf"), "--split 'haf' is not in this suite; nearest: half"),
        (("submit", "boxes.json", "--config", "ships.yaml", "--name", "x"), "several tasks; say which"),
        (("submit", "boxes.json", "--config", "ships.yaml", "--name", "x", "--task", "detect"), "nearest: detection"),
        (("submit", "nowhere.json", *TO, "--name", "x"), "no predictions file at nowhere.json"),
        (("submit", "ships.yaml", *TO, "--name", "x"), "unknown kind of file '.yaml'"),
    ):
        assert message in ships.refused(*words), words
    assert not entries(ships)


def test_the_truth_by_data_set_carries_the_same_hashes_as_by_suite(ships: Bench) -> None:
    words = ("data", "coco", "toy-ships", "--option", "{scenes: 6, scene_px: 128}")
    split = "{kind: random, by: scene, test: 0.5, validation: 0}"
    ships(*words, "--spec", split, "--part", "test", "--out", "by-name.json")
    assert json.loads((ships.folder / "by-name.json").read_text()) == truth(ships) and len(truth(ships)["images"]) == 3
    ships(*words, "--out", "all.json")
    assert set(json.loads((ships.folder / "all.json").read_text())["info"]) == {"dataset", "manifest_sha256"}
    assert "one of the two" in ships.refused("data", "coco", "toy-ships", "--config", "ships.yaml", "--out", "x.json")
    assert "--part does not go with --config" in ships.refused(
        "data", "coco", "--config", "ships.yaml", "--part", "test", "--out", "x.json"
    )
    assert "--split does not go with a data set by name" in ships.refused(
        "data", "coco", "toy-ships", "--split", "half", "--out", "x.json"
    )
