"""Records, entries and array files of others: what cannot be trusted is named and fails alone, and nothing of it leaves
its folder.
"""

from __future__ import annotations

from pathlib import Path

from lineage_toys import DETECTION, MATCHING, detected, put_entry, write

from bench.boards.leaderboard import SUITE, build_boards
from bench.boards.rendering import to_markdown
from bench.core.store import write_json

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
