"""Names and numbers in annotation files of other tools. Known names match whatever their case, and an unknown one that
nearly is a known one is refused, since what it says would be passed over; whole numbers may be written as 1.0 or "1".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from bench.core.errors import BenchError

_NEAR = (
    0.81  # difflib's ratio: "crowd" is near "iscrowd" (.83), "heigth" near "height" (.83), "img_height" is not (.80)
)
_WHOLE = re.compile(r"-?\d{1,16}(\.0*)?", re.ASCII)


@lru_cache(maxsize=256)
def spelled(
    written: tuple[str, ...], known: frozenset[str], guarded: frozenset[str] = frozenset()
) -> Mapping[str, str]:
    """Return the names that have another spelling than the known one: as written -> known.

    Args:
        written: the names of an object's fields.
        known: in lower case.
        guarded: those of them that may be left out, so that a misspelt one would go unnoticed.

    Raises:
        BenchError: two spellings of one known name, or an unknown name that is like a guarded one.
    """
    first: dict[str, str] = {}
    for name in dict.fromkeys(written):
        plain = name.casefold()
        if plain in known and first.setdefault(plain, name) != name:
            raise BenchError(f"has both {first[plain]!r} and {name!r}; leave one")
        near = [] if plain in known else difflib.get_close_matches(_bare(plain), guarded, n=1, cutoff=_NEAR)
        if near:
            raise BenchError(f"has {name!r}, which is not known; is {near[0]!r} meant? Rename or remove it")
    return {name: plain for plain, name in first.items() if name != plain}


def _bare(name: str) -> str:
    """Return a name without what parts its words: "is_crowd" and "is-crowd" are "iscrowd"."""
    return re.sub("[_ -]", "", name)


def with_known_names(item: Any, known: frozenset[str], guarded: Collection[str] = ()) -> dict[str, Any]:
    """Return a JSON object with its known fields in lower case. Raises BenchError as `spelled`, or for no object."""
    if not isinstance(item, dict):
        raise BenchError(f"expected an object, found {repr(item)[:40]}")
    other = spelled(tuple(item), known, frozenset(guarded))
    return {other.get(name, name): value for name, value in item.items()} if other else item


def whole_number(value: Any) -> int | None:
    """Return a JSON value as the whole number that it is: 1, 1.0 or "1"; None for anything else, and beyond 2^53."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value.strip().partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None
