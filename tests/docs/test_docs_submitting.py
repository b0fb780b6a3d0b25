"""docs/submitting.md: its commands run as they stand, one after the other, by the scripts beside it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import REPOSITORY, Bench

GUIDE = (REPOSITORY / "docs" / "submitting.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)  # (language, text)
COMMANDS = [line for language, text in BLOCKS if not language for line in text.splitlines()]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, shared_cache: dict[str, str]) -> tuple[Bench, dict[str, str]]:
    """A folder in which the guide was followed from top to bottom (without pictures), and what each command printed."""
    bench = Bench(tmp_path_factory.mktemp("guide"))
    bench.env |= shared_cache
    shutil.copytree(REPOSITORY / "docs" / "examples", bench.folder / "docs" / "examples")
    printed: dict[str, str] = {}
    roots: dict[str, str] = {}
    for line in COMMANDS:
        words = shlex.split(line)
        if words[0] == "git":
            assert (bench.folder / words[-1]).is_dir()
            continue
        if words[0] == "python":
            words = [sys.executable, *(roots[words[3]] if word == "ROOT" else word for word in words[1:])]
            subprocess.run(words, cwd=bench.folder, check=True, timeout=100)
            continue
        printed[line] = bench(*words[1:], *(["--no-figures"] if words[1] == "submit" else [])).stdout
        root = re.search(r"the files lie in (\S+)", printed[line])
        if root is not None:
            roots[words[words.index("--out") + 1]] = root[1]
    return bench, printed


def records(bench: Bench) -> dict[str, dict[str, Any]]:
    found = [
        json.loads(path.read_text())
        for path in sorted((bench.folder / "leaderboards/quickstart/entries").glob("*.json"))
    ]
    return {f"{record['method']}/{record['seed']}": record for record in found}


def test_the_guide_has_the_commands_of_three_examples() -> None:
    verbs = [" ".join(line.split()[:3]) for line in COMMANDS]
    assert (
        sum(verb.startswith("bench submit") for verb in verbs) == 4
        and "bench data coco" in verbs
        and "bench data pairs" in verbs
    )


def test_following_the_guide_fills_two_boards(followed: tuple[Bench, dict[str, str]]) -> None:
    bench, _ = followed
    rows = records(bench)
    assert set(rows) == {"bright-spots/None", "edge-blocks/None", "bright-spots-trained/1", "bright-spots-trained/2"}
    # at the shore, buildings are as bright as ships
    assert rows["bright-spots/None"]["metrics"]["scene.offshore.ap_area"] > 0.3
    matching = rows["edge-blocks/None"]["metrics"]
    # chance: 0.5 and 0.1
    assert matching["uniform.roc_auc"] > 0.7 and matching["gallery.sar_to_optical.recall_at_10"] > 0.2
    assert all(record["facts"]["submitted_for"] for record in rows.values())
    assert rows["bright-spots-trained/1"]["metrics"] != rows["bright-spots-trained/2"]["metrics"]
    boards = {
        task: (bench.folder / f"leaderboards/quickstart/{task}.md").read_text() for task in ("matching", "detection")
    }
    assert "[edge-blocks](https://doi.org/10.1000/182)" in boards["matching"]
    assert "[bright-spots](https://example.org/bright-spots)" in boards["detection"]


def test_the_entries_hold_nothing_of_this_machine(followed: tuple[Bench, dict[str, str]]) -> None:
    bench, _ = followed
    for name in bench.files("leaderboards"):
        assert str(bench.folder) not in (bench.folder / name).read_bytes().decode("utf-8", "replace"), name


def test_the_guide_links_the_scripts_that_its_commands_run_and_copies_none() -> None:
    run = {line.split()[1] for line in COMMANDS if line.startswith("python ")}
    linked = {f"docs/{name}" for name in re.findall(r"\]\((examples/[^)]+)\)", GUIDE)}
    assert run == linked and all((REPOSITORY / name).is_file() for name in run)
    assert "python" not in {language for language, _ in BLOCKS}  # a copy would drift from the file that runs


def test_the_object_in_the_guide_is_what_the_reader_takes(tmp_path: Path) -> None:
    from bench.detection.submission.coco_results import read_coco

    (shown,) = [text for language, text in BLOCKS if language == "json"]
    (tmp_path / "x.json").write_text(shown)
    found = read_coco(tmp_path / "x.json")
    assert (
        found.complete
        and [each.by for each in found.looked_at] == [12, 13]
        and found.numbers.tolist() == [[10, 20, 30, 15, 0.93]]
    )
