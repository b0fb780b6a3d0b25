"""Files that are not there under the name that was asked for, but under one that differs only in how it is written:
case, percent-encoding, the Unicode form of accents, a folder more or less.

Owns what counts as the same name and how a message says so. Decides nothing: a file of another name is never read.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote

_LOOKED_INTO = 20  # folders on the way that are searched for what should lie a level higher
_FORMS: dict[str, Callable[[str], str]] = {
    "upper and lower case": str.casefold,
    "percent-encoding": unquote,
    "Unicode form": lambda name: unicodedata.normalize("NFC", name),
}


def alike(name: str) -> str:
    """Return what names that differ only in how they are written have in common."""
    for form in ("percent-encoding", "Unicode form", "upper and lower case", "Unicode form"):
        name = _FORMS[form](name)
    return name


def by_likeness(names: Iterable[str]) -> dict[str, str]:
    """Return what names have in common (`alike`) -> the first of them."""
    out: dict[str, str] = {}
    for name in names:
        out.setdefault(alike(name), name)
    return out


def difference(wanted: str, found: str) -> str:
    """Return in what two names that are alike differ, in words."""
    single = [what for what, form in _FORMS.items() if form(wanted) == form(found)]
    return single[0] if single else "how the name is written"


def nearest_of(wanted: str, others: Mapping[str, str], shown: Mapping[str, str]) -> str:
    """Return the tail of a message on the name among `others` (`by_likeness`) that is alike `wanted`; "" for none.

    Args:
        shown: name -> how the message shows it.
    """
    found = others.get(alike(wanted))
    return "" if found is None else f"; nearest: {shown[found]} (differs in {difference(wanted, found)})"


class Nearby:
    """What lies below a folder, looked at once for each folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listed: dict[str, tuple[dict[str, str], list[str]]] = {}  # folder -> what lies in it, its folders

    def tail(self, wanted: str) -> str:
        """Return the tail of a message on the path below the folder that is nearest to `wanted`, a path with "/"
        between parts; "" where there is none.
        """
        path, why = "", []
        for part in wanted.split("/"):
            if os.path.lexists(self._root / path / part):
                path = f"{path}/{part}" if path else part
                continue
            inside, folders = self._entries(path)
            found = inside.get(alike(part))
            deeper = next((name for name in folders if (self._root / path / name / part).exists()), None)
            if found is not None:
                why.append(f"differs in {difference(part, found)}")
            elif deeper is not None:
                found = f"{deeper}/{part}"
                why.append("a folder deeper")
            elif part == path.rpartition("/")[2] and path:
                why.append("without the doubled folder")
                continue
            else:
                return ""
            path = f"{path}/{found}" if path else found
        return f"; nearest: {path} ({', '.join(dict.fromkeys(why))})" if why else ""

    def _entries(self, path: str) -> tuple[dict[str, str], list[str]]:
        if path not in self._listed:
            try:
                with os.scandir(self._root / path) as entries:
                    kinds = sorted((entry.name, entry.is_dir()) for entry in entries)
            except OSError:
                kinds = []
            folders = [name for name, folder in kinds if folder][:_LOOKED_INTO]
            self._listed[path] = by_likeness(name for name, _ in kinds), folders
        return self._listed[path]
