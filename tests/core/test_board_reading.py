"""Boards link what is explained once: every link of a committed board leads to a section, and a terminal names the
command that prints the page.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.boards.leaderboard import leaderboard
from bench.boards.reading import PAGE, for_terminal, see
from bench.boards.rendering import to_text

ROOT = Path(__file__).resolve().parents[2]
BOARDS = sorted((ROOT / "leaderboards").glob("*/*.md"))
HEADINGS = re.findall(r"^#+ (.+)$", (ROOT / "docs" / f"{PAGE}.md").read_text(encoding="utf-8"), re.MULTILINE)
SECTIONS = {re.search(r"#(.+)\)", see(heading))[1] for heading in HEADINGS}  # type: ignore[index]


def test_a_link_has_the_anchor_that_a_heading_gets() -> None:
    assert see("Is it a match?") == "[reading-a-board](../../docs/reading-a-board.md#is-it-a-match)"
    assert see("Ranking, hard negatives").endswith("#ranking-hard-negatives)")
    assert for_terminal(f"**0.1** ({see('All metrics')}).") == "0.1 (bench docs reading-a-board)."
    assert for_terminal("[record](entries/a.json)") == "[record](entries/a.json)"


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_links_of_committed_boards_lead_to_sections(board: Path) -> None:
    links = re.findall(r"\]\((\.\./\.\./[^)#]+)#([^)]+)\)", board.read_text(encoding="utf-8"))
    assert links
    for path, anchor in links:
        assert (board.parent / path).is_file() and anchor in SECTIONS, f"{path}#{anchor}"


def test_a_terminal_gets_no_markdown_links() -> None:
    tables = [leaderboard("s1s2", boards=ROOT / "leaderboards")]
    tables.append(leaderboard("hrsid", "matching", boards=ROOT / "leaderboards"))
    for text in map(to_text, tables):
        assert "](" not in text and "bench docs reading-a-board" in " ".join(text.split())
