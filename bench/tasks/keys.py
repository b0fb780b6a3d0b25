"""The keys of a cell, made of what its record keeps: by the plan before it runs, and again by whoever reads a record.

A record states its spec, its seed and the hashes of its inputs. Version constants of the code it does not state; those
of an older release are smaller, so the keys of a record may follow from any version up to the present one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from bench.core.store import canonical_hash
from bench.execution.cell import Keys


class Version(int):
    """A version constant among the parts of a key. It is written as the number that it is."""


@dataclass(frozen=True)
class KeyParts:
    """What the three keys of a cell are made of, besides the key of the stage before.

    Attributes:
        train: None where a record does not settle it: the component is not installed here.
    """

    train: Mapping[str, Any] | None
    predict: Mapping[str, Any]
    score: Mapping[str, Any]

    def keys(self) -> Keys:
        """Return the keys of a cell that is planned now."""
        assert self.train is not None
        train = canonical_hash(self.train)
        predict = canonical_hash({"train": train, **self.predict})
        return Keys(train, predict, canonical_hash({"predict": predict, **self.score}))

    def wrong(self, keys: Mapping[str, str]) -> str:
        """Return the name of the first of recorded keys that does not follow from these parts, "" where all do."""
        stages = (("train", self.train), ("predict", self.predict), ("score", self.score))
        before: dict[str, str] = {}
        for stage, parts in stages:
            made = parts is None or any(
                canonical_hash({**before, **version}) == keys.get(stage) for version in _versions(parts)
            )
            if not made:
                return stage
            before = {stage: keys[stage]}
        return ""


def _versions(parts: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a key with the present version constants, then with every combination of earlier ones."""
    for numbers in product(*(range(version, 0, -1) for version in _found(parts))):
        yield _replaced(parts, iter(numbers))


def _found(value: Any) -> list[Version]:
    """Return the version constants in `value`, in the order in which `_replaced` takes them."""
    if isinstance(value, Version):
        return [value]
    inner = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else []
    return [version for each in inner for version in _found(each)]


def _replaced(value: Any, numbers: Iterator[int]) -> Any:
    """Return `value` with the next of `numbers` in the place of each version constant in it."""
    if isinstance(value, Version):
        return next(numbers)
    if isinstance(value, Mapping):
        return {name: _replaced(inner, numbers) for name, inner in value.items()}
    return [_replaced(inner, numbers) for inner in value] if isinstance(value, list | tuple) else value
