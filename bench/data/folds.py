"""Dealing leakage groups into folds for cross-validation, and the order of chance that every split uses. No library's
random stream takes part.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from bench.core.errors import BenchError


def by_chance(names: Sequence[str], seed: int) -> list[int]:
    """Return the positions of `names` in the order of SHA-256 over (seed, name)."""
    keys = [hashlib.sha256(f"{seed}\x1f{name}".encode()).digest() for name in names]
    return sorted(range(len(names)), key=keys.__getitem__)


def deal_folds(groups: Sequence[str], strata: Sequence[tuple[str, ...]], folds: int, seed: int) -> dict[str, int]:
    """Deal whole groups to folds, stratum by stratum, each stratum in the order of chance.

    The dealing goes on where the last stratum ended, so the number of groups a fold has differs by at most one, in each
    stratum and in all. A group whose samples lie in several strata belongs to the commonest (of equals, the first by
    name).

    Args:
        groups: group of every sample.
        strata: stratum of every sample; empty tuples for none.
        folds: number of folds.

    Returns:
        group -> fold, 0 .. folds - 1.

    Raises:
        BenchError: fewer groups than folds.
    """
    found: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for group, stratum in zip(groups, strata, strict=True):
        found[group][stratum] += 1
    if len(found) < folds:
        raise BenchError(
            f"folds: {folds} folds need as many groups, and there are {len(found)}; use fewer folds or a finer column"
            " (`by`)"
        )
    members: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for group in sorted(found):
        members[min(found[group], key=lambda stratum: (-found[group][stratum], stratum))].append(group)
    order = [names[i] for _, names in sorted(members.items()) for i in by_chance(names, seed)]
    return {group: number % folds for number, group in enumerate(order)}
