"""`bench data pairs` and `bench submit --task matching` as a user types them: distances of a known row come back as
that row.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Bench

from bench.data.images import read_image
from bench.matching.scoring.predictions import load_predictions

SUBMIT = ("submit", "mine.csv", "--config", "tiny.yaml", "--no-figures", "--name", "mine")
Rows = list[dict[str, str]]


@pytest.fixture(scope="session")
def asked(tiny_run: Bench, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A copy of the finished run of TINY with the pairs that its board asks for, and cfog's distances of them. Read
    only.
    """
    bench = Bench(tmp_path_factory.mktemp("asked") / "tiny")
    shutil.copytree(tiny_run.folder, bench.folder)
    out = bench("data", "pairs", "--config", "tiny.yaml", "--out", "pairs.csv", "--originals").stdout
    assert (
        "wrote pairs.csv: " in out
        and "bench submit pairs.csv --task matching --config tiny.yaml --dataset toy --split grouped" in out
    )
    write(bench, "mine.csv", with_distances(read(bench), bench))
    return bench


@pytest.fixture
def pairs(asked: Bench, tmp_path: Path) -> Bench:
    shutil.copytree(asked.folder, tmp_path / "tiny")
    return Bench(tmp_path / "tiny")


def read(bench: Bench, name: str = "pairs.csv") -> Rows:
    with (bench.folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def write(bench: Bench, name: str, rows: list[dict[str, Any]]) -> None:
    with (bench.folder / name).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def with_distances(rows: Rows, bench: Bench, method: str = "cfog") -> list[dict[str, Any]]:
    """Add the distances that a row of the board gave, looked up by what the table names."""
    found = load_predictions(bench.cell(f"--{method}--") / "predictions.npz")
    known = {}
    for part in ("validation", "test"):
        own = getattr(found, part)
        for s, o, value in zip(own.pair_sar, own.pair_optical, own.distance, strict=True):
            known[part, str(own.id[s]), str(own.id[o])] = float(value)
    ids = found.test.id[found.gallery_position]
    known |= {
        ("gallery", str(s), str(o)): float(found.gallery_distance[i, j])
        for i, s in enumerate(ids)
        for j, o in enumerate(ids)
    }
    return [{**row, "distance": repr(known[row["part"], row["sar"], row["optical"]])} for row in rows]


def record(bench: Bench, part: str = "--mine--") -> dict[str, Any]:
    (path,) = [path for path in (bench.folder / "leaderboards/tiny/entries").glob("*.json") if part in path.name]
    return dict(json.loads(path.read_text()))


def board(bench: Bench) -> str:
    return (bench.folder / "leaderboards/tiny/matching.md").read_text()


def of_cfog(bench: Bench, *left_out: str) -> dict[str, float | None]:
    """The metrics of cfog, with None for those that begin with one of `left_out`."""
    return {
        name: None if name.startswith(left_out) else value
        for name, value in record(bench, "--cfog--")["metrics"].items()
    }


def test_what_is_handed_out_names_pairs_and_files_and_no_label(asked: Bench) -> None:
    rows = read(asked)
    assert set(rows[0]) == {"pair", "part", "sar", "optical", "sar_file", "optical_file", "made_for"}
    about = json.loads((asked.folder / "pairs.csv.info.json").read_text())
    assert (
        about["made_for"] == rows[0]["made_for"] and about["protocol"]["negative_seed"] == 0 and about["gallery"] == 8
    )
    assert about["pairs"] == {
        part: sum(row["part"] == part for row in rows) for part in ("validation", "test", "gallery")
    }
    data = record(asked, "--cfog--")["inputs"]["data"]
    assert (about["manifest_sha256"], about["split_sha256"]) == (data["manifest"], data["split"])
    assert str(asked.folder) not in (asked.folder / "pairs.csv").read_text() + json.dumps(about)


def test_opaque_patches_are_those_of_the_set_and_their_distances_score_alike(pairs: Bench) -> None:
    """What is handed out by default: the patches are found again by their pixels alone, since no name tells."""
    rows = read(pairs)
    out = pairs("data", "pairs", "--config", "tiny.yaml", "--out", "blind.csv").stdout
    assert "the files lie in blind_patches" in out
    blind = read(pairs, "blind.csv")
    assert set(blind[0]) == set(rows[0]) and len(blind) == len(rows)
    named = ("sar", "optical", "sar_file", "optical_file")
    assert not {row[name] for row in blind for name in named} & {row[name] for row in rows for name in named}
    pixels = {}
    root = next(path for path in pairs.folder.rglob(rows[0]["sar_file"])).parents[rows[0]["sar_file"].count("/")]
    for view in ("sar", "optical"):
        for file, name in {(row[f"{view}_file"], row[view]) for row in rows}:
            pixels[view, read_image(root / file).tobytes()] = name
    known = [
        row | {view: pixels[view, read_image(pairs.folder / "blind_patches" / row[f"{view}_file"]).tobytes()]
        for view in ("sar", "optical")}
        for row in blind
    ]  # fmt: skip
    assert {(row["part"], row["sar"], row["optical"]) for row in known} == {
        (row["part"], row["sar"], row["optical"]) for row in rows
    }
    answered = with_distances(known, pairs)
    write(pairs, "mine.csv", [{**row, "distance": each["distance"]} for row, each in zip(blind, answered, strict=True)])
    pairs(*SUBMIT)
    assert record(pairs)["metrics"] == of_cfog(pairs)
    pairs("data", "pairs", "--config", "tiny.yaml", "--out", "blind.csv")  # again: our own folder is replaced
    assert read(pairs, "blind.csv") == blind
    (pairs.folder / "other_patches").mkdir()
    refused = pairs.refused("data", "pairs", "--config", "tiny.yaml", "--out", "other.csv")
    assert "other_patches exists and was not written by this command" in refused
    assert not (pairs.folder / "other.csv").exists()


def test_distances_of_a_known_row_give_its_numbers_and_the_row_stays(pairs: Bench, tmp_path: Path) -> None:
    out = pairs(*SUBMIT, "--reference", "https://example.org/mine").stdout
    assert "mine" in out
    mine, cfog = record(pairs), record(pairs, "--cfog--")
    assert mine["metrics"] == cfog["metrics"] and mine["metrics"]["gallery.sar_to_optical.recall_at_1"] is not None
    assert (
        mine["facts"]["pairs_sha256"] == cfog["facts"]["pairs_sha256"]
        and mine["facts"]["gallery_sha256"] == cfog["facts"]["gallery_sha256"]
    )
    assert (
        mine["facts"]["submitted_for"] == {"made_for": read(pairs)[0]["made_for"]}
        and mine["facts"]["submitted"] is True
    )
    assert "[mine](https://example.org/mine)" in board(pairs) and board(pairs).index("| random") < board(pairs).index(
        "| [mine]"
    )
    assert (
        "bench submit mine.csv --task matching --config tiny.yaml --dataset toy --split grouped --name mine"
        in board(pairs)
    )
    assert "numbers as recorded" in pairs("score", str(pairs.cell("--mine--").relative_to(pairs.folder))).stdout
    pairs("run", "--config", "tiny.yaml")  # a whole run prunes what the suite lacks, but not what was submitted
    assert "[mine](https://example.org/mine)" in board(pairs)
    again = pairs(*SUBMIT, "--reference", "https://example.org/corrected")
    assert "1 finished already, 0 to run" in again.stderr and "(from the same file)" in again.stdout
    assert "[mine](https://example.org/corrected)" in board(pairs)
    clone = Bench(tmp_path / "clone")  # without runs
    shutil.copytree(pairs.folder / "leaderboards", clone.folder / "leaderboards")
    for path in (clone.folder / "leaderboards/tiny").glob("matching.*"):
        path.unlink()
    clone("leaderboard", "tiny")
    assert board(clone) == board(pairs)
    # how it is taken back
    for path in (clone.folder / "leaderboards/tiny/entries").glob("matching--toy-grouped--mine--once.*"):
        path.unlink()
    clone("leaderboard", "tiny")
    assert "[mine]" not in board(clone) and "| cfog" in board(clone)


def test_no_gallery_and_a_fixed_threshold_leave_out_what_they_cannot_say(pairs: Bench) -> None:
    rows = with_distances(read(pairs), pairs)
    for row in rows:
        row["similarity"] = repr(-float(row.pop("distance")))
    write(pairs, "mine.csv", [row for row in rows if row["part"] == "test"])
    assert "on which the threshold is chosen; add them, or state a threshold with --threshold" in pairs.refused(*SUBMIT)
    pairs("submit", "mine.csv", "--config", "tiny.yaml", "--name", "mine", "--threshold=-0.5")  # with its pictures
    mine = record(pairs)
    wanted = of_cfog(
        pairs, "gallery.", "uniform.accuracy", "uniform.precision", "uniform.recall", "uniform.f1", "hard."
    )
    known = {name: value for name, value in mine["metrics"].items() if not name.startswith(("hard.", "uniform.fixed."))}
    assert known == {name: value for name, value in wanted.items() if name in known}
    assert mine["metrics"]["uniform.fixed.accuracy"] is not None and mine["facts"]["fixed_threshold"] == 0.5
    assert mine["command"].startswith("bench submit mine.csv --task matching --threshold -0.5 --config")
    assert (pairs.cell("--mine--") / "figures/roc.png").is_file() and not (
        pairs.cell("--mine--") / "figures/recall.png"
    ).exists()
    assert "mine" in board(pairs)


def test_our_own_predictions_file_is_taken_as_it_is(pairs: Bench) -> None:
    shutil.copyfile(pairs.cell("--random--seed0") / "predictions.npz", pairs.folder / "mine.npz")
    pairs("submit", "mine.npz", "--config", "tiny.yaml", "--name", "mine", "--no-figures")
    assert record(pairs)["metrics"] == record(pairs, "--random--seed0")["metrics"]
    assert record(pairs)["metrics"]["full.sar_to_optical.recall_at_1"] is not None  # by its embeddings


def test_seeds_make_a_row_and_failures_count_against_the_method(pairs: Bench) -> None:
    rows = with_distances(read(pairs), pairs)
    write(pairs, "seed0.csv", rows)
    true = [row for row in rows if row["part"] == "test" and row["sar"] == row["optical"]]
    for row in true:
        row["distance"] = ""
    write(pairs, "seed1.csv", rows)
    for seed in ("0", "1"):
        pairs("submit", f"seed{seed}.csv", "--config", "tiny.yaml", "--name", "two", "--seed", seed, "--no-figures")
    good, bad = (record(pairs, f"--two--seed{seed}") for seed in (0, 1))
    assert (
        bad["facts"]["uniform.failures"] == len(true) == 12
        and bad["metrics"]["uniform.roc_auc"] == bad["metrics"]["uniform.recall"] == 0
    )
    whole = board(pairs).partition("<details>")[2]
    shown = next(line for line in whole.splitlines() if line.startswith("| two"))
    assert "[0](entries/" in shown and "[1](entries/" in shown
    assert f"{(good['metrics']['uniform.accuracy'] + bad['metrics']['uniform.accuracy']) / 2:.3f}" in shown


def test_bad_answers_end_in_one_line_and_file_nothing(pairs: Bench) -> None:
    whole = with_distances(read(pairs), pairs)
    before = pairs.files("leaderboards")
    test = next(i for i, row in enumerate(whole) if row["part"] == "test")
    bad: dict[str, tuple[Any, str]] = {
        "twice": ([*whole, whole[0]], "stands twice"),
        "one lacks": (whole[:test] + whole[test + 1 :], "lacks 1 of "),
        "NaN": ([{**whole[0], "distance": "nan"}, *whole[1:]], "distance is 'nan'"),
        "unknown": ([{**whole[0], "sar": "nobody"}, *whole[1:]], "unknown SAR patch 'nobody'"),
        "another sampling": (
            [{**row, "made_for": "0" * 16} for row in whole],
            "was made for another data, split or sampling",
        ),
        "empty": ([{**row, "distance": ""} for row in whole], "every distance of the test pairs is empty"),
    }
    for name, (rows, message) in bad.items():
        write(pairs, "mine.csv", rows)
        assert message in pairs.refused(*SUBMIT), name
    write(pairs, "mine.csv", whole)
    other = ("--set", "matching.protocol.negative_seed=1")
    assert "was made for another data, split or sampling" in pairs.refused(*SUBMIT, *other)
    assert "was made for another data" in pairs.refused(*SUBMIT, "--set", "matching.datasets.toy.options.seed=1")
    assert "is a row of the suite" in pairs.refused(*SUBMIT[:-1], "cfog")
    assert "does not apply to matching" in pairs.refused(*SUBMIT, "--category", "1")
    assert "no such section" in pairs.refused(*SUBMIT, "--task", "detection")
    pairs.write("mine.csv", "pair,distance\n")
    assert "mine.csv has no rows" in pairs.refused(*SUBMIT)
    assert pairs.files("leaderboards") == before


def test_other_formats_of_the_handout(pairs: Bench) -> None:
    pairs("data", "pairs", "--config", "tiny.yaml", "--out", "pairs.json", "--originals")
    rows = json.loads((pairs.folder / "pairs.json").read_text())
    assert [{key: str(value) for key, value in row.items()} for row in rows] == read(pairs)
    assert "ends in one of .json, .csv, .parquet" in pairs.refused(
        "data", "pairs", "--config", "tiny.yaml", "--out", "pairs.txt"
    )
    asked = ("data", "pairs", "--config", "tiny.yaml", "--out", "x.csv")
    assert "nearest: grouped" in pairs.refused(*asked, "--split", "groupd")
