"""Text of others (labels, titles, file names, messages) on its way out: one rule for each kind of output.

`printable` for terminals and logs, `label`, `sentence`, `prose` and `code_lines` for Markdown, `spreadsheet_text` for
CSV that is opened in a spreadsheet. HTML is escaped wherever Markdown is, which passes it through. What a record, a
suite or an entry holds is never changed; only what is shown of it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed: terminals obey them
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # they turn the direction of text, or end a line
    "\ud800-\udfff]"  # lone surrogates, which no encoding writes
)
_ACTIVE = re.compile(r"([\\`*\[\]|~])|(?<!\w)(_)|(_)(?!\w)")  # within a line of Markdown; "a_b" is no emphasis
_OWN_LINK = re.compile(r"(\[[^\[\]]*\]\((?:\.\./\.\./docs/|entries/)[\w./#-]*\))")
_BRACKET = re.compile(r"\[(?![-+.,\d ]+\](?![(:\[]))")  # but not that of an interval
# an address, or a path without a scheme
_SAFE_TARGET = re.compile(r"(?:https?://[^\s()<>]+|(?![\w+.-]*:)[^\s()<>&]+)[)\s]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """Return text whose control characters, direction marks and lone surrogates are written out ("\\x1b").

    Tabs and line feeds stay.
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """Return printable text on one line, each run of blanks and line feeds one blank."""
    return " ".join(printable(text).split())


def label(text: str) -> str:
    """Return a label, title or table cell as Markdown that shows it as it is, on one line."""
    return _html(_ACTIVE.sub(lambda found: "\\" + found[0], one_line(text)))


def sentence(text: str) -> str:
    """Return a sentence of ours, in which labels of others stand, as Markdown on one line.

    Its bold words, `code` and links into the documentation stay, and no label adds a link, an image or HTML.
    """
    parts = _OWN_LINK.split(_html(one_line(text)))
    return "".join(part if number % 2 else _BRACKET.sub(r"\\[", part) for number, part in enumerate(parts))


def prose(text: str) -> str:
    """Return the Markdown that a suite's author wrote without what could pass for the board's own: HTML, images,
    headings, tables, code blocks and links that lead neither to a web address nor to a file.
    """
    return "\n".join(_prose_line(line) for line in _html(printable(text)).splitlines())


def _prose_line(line: str) -> str:
    line = re.sub(r"^(\s*)(#|\||```|~~~|===|---|\[[^\]]*\]:)", r"\1\\\2", line).replace("![", "!\\[")
    out, start = "", 0
    for found in re.finditer(r"\]\(", line):
        safe = _SAFE_TARGET.match(line, found.end())
        out, start = out + line[start : found.start()] + ("](" if safe else "]\\("), found.end()
    return out + line[start:]


def code_lines(lines: Sequence[str]) -> list[str]:
    """Return lines as a fenced block of code that none of them can end."""
    shown = [printable(line) for line in lines]
    fence = "`" * max(3, 1 + max((len(run) for line in shown for run in re.findall("`+", line)), default=0))
    return [fence, *shown, fence]


def link_target(path: str) -> str:
    """Return a relative path as the target of a Markdown link."""
    return quote(path.encode("utf-8", "surrogatepass"), safe="/+,=@~")


def spreadsheet_text(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: an apostrophe before =, +, -, @. Numbers are no texts."""
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _html(text: str) -> str:
    return text.replace("<", "&lt;")
