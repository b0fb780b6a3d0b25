"""Links from a board to the page that explains it, docs/reading-a-board.md: a table says in one sentence what is its
own, and links the section that holds the rest, which is written once.
"""

from __future__ import annotations

import re

PAGE = "reading-a-board"
_FROM_BOARD = "../../docs/"  # a committed board is leaderboards/<suite>/<task>.md
_LINK = re.compile(rf"\[[^]]*\]\({re.escape(_FROM_BOARD)}([\w-]+)\.md[^)]*\)")


def see(section: str) -> str:
    """Return a Markdown link to a section of the page.

    Args:
        section: its heading, such as "Values and differences".
    """
    anchor = re.sub(r"[^\w -]", "", section.lower()).replace(" ", "-")
    return f"[{PAGE}]({_FROM_BOARD}{PAGE}.md#{anchor})"


def for_terminal(text: str) -> str:
    """Return a board's text without Markdown: links become the command that prints their page, bold becomes plain."""
    return _LINK.sub(r"bench docs \1", text).replace("**", "")
