"""What holds for all comparisons of a table together: Holm's correction, and the ranks that separable pairs come to.

Owns no p: that of a pair is `inference.py`'s. Pure Python.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.statistics.intervals import TOLERANCE

LEVEL = 0.95


def tiers(values: Sequence[float | None], beaten: Sequence[tuple[int, int]]) -> tuple[int | None, ...]:
    """Return the tier of each row; equal values stand in one.

    Args:
        values: of the rows; None for one that cannot be ranked. beaten: (better row, worse row) of separable pairs.
    """
    known = {row: value for row, value in enumerate(values) if value is not None}
    over = [pair for pair in beaten if set(pair) <= set(known)]
    known = {row: known[row] for row in known if all(known[i] > known[j] for i, j in over if row in (i, j))}
    over = [pair for pair in over if set(pair) <= set(known)]
    tier: dict[int, int] = {}
    last = 1
    for value in sorted(set(known.values()), reverse=True) if over else ():
        level = [row for row in known if known[row] == value]
        better = [[i for i, j in over if j == row] for row in level]
        last = max([last, *(1 + max(len(rows), *(tier[i] for i in rows)) for rows in better if rows)])
        tier |= dict.fromkeys(level, last)
    return tuple(tier.get(row) for row in range(len(values)))


def holm(p: Sequence[float | None], level: float = 1 - LEVEL) -> list[bool]:
    """Return which hypotheses are rejected at `level` over the whole family (Holm 1979); None is no hypothesis, and
    never rejected.
    """
    known = sorted((value, at) for at, value in enumerate(p) if value is not None)
    rejected = [False] * len(p)
    for number, (value, at) in enumerate(known):
        if value > level / (len(known) - number) + TOLERANCE:
            break
        rejected[at] = True
    return rejected
