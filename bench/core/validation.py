"""Validation of what a user writes: frozen pydantic models; one line says what is wrong, where, and what was meant."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.core.errors import BenchError, nearest

MAX_SEED = 2**32 - 1  # what every generator takes
LABEL_LENGTH = 200  # characters of a label: a data set with its split, a method with its pretraining


class Spec(BaseModel):
    """Base of everything a user writes: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Return `seeds` as a tuple; raise ValueError when there are none, one repeats or one is negative."""
    if not seeds:
        raise ValueError("at least one seed is needed, e.g. seeds: [0, 1, 2]")
    twice = sorted(seed for seed, times in Counter(seeds).items() if times > 1)
    if twice:
        raise ValueError(f"seed {twice[0]} is given more than once; repeated seeds would count one run twice")
    if min(seeds) < 0:
        raise ValueError(f"seed {min(seeds)} is negative; seeds are whole numbers from 0")
    if max(seeds) > MAX_SEED:
        raise ValueError(f"seed {max(seeds)} is too large; seeds are whole numbers up to {MAX_SEED}")
    return tuple(seeds)


def label_problem(label: str) -> str:
    """Return what keeps a text from being the label of a data set, split or method, "" where nothing does.

    Labels name files and stand in tables. Those of a suite and those in records, which anyone may have written, obey
    one rule: parts parted by "/", none of them empty or with "..", nothing that cannot be printed, no blank at an end.
    """
    shown = ascii(label if len(label) <= 40 else f"{label[:40]}...")
    if len(label) > LABEL_LENGTH:
        return f"label {shown} has {len(label)} characters; give it at most {LABEL_LENGTH}"
    if not label.isprintable():
        return f"label {shown} holds a character that cannot be printed, such as a line break; leave it out"
    if ".." in label:
        return f'label {shown} holds "..", as a path that leads out of its folder; leave it out'
    if any(not part or part != part.strip() for part in label.split("/")):
        return f"label {shown} is empty, or begins or ends with a blank or a slash; give it a name"
    return ""


def validate(model: type[BaseModel], value: Any, where: str) -> Any:
    """Return `value` validated by the pydantic `model`.

    Raises:
        BenchError: one line with the first problem: place, key, what is wrong, nearest legal key.
    """
    try:
        result = model.model_validate(value)
    except ValidationError as error:
        raise BenchError(_explain(model, error, where)) from error
    wrong = mistaken(value, result)
    if wrong is not None:
        raise BenchError(f"{where}: {'.'.join(wrong[0])}: {wrong[1]}")
    return result


def mistaken(written: Any, read: Any, place: tuple[str, ...] = ()) -> tuple[tuple[str, ...], str] | None:
    """Return place and fault of the first value that pydantic reads as a number and that is none: a truth, which it
    takes for 0 or 1, and what is not finite, which no key and no record can hold. None where there is no such value.

    Args:
        written: as the user wrote it. read: the value that became of it.
    """
    if isinstance(written, bool) and isinstance(read, int | float) and not isinstance(read, bool):
        return place, f"{str(written).lower()} is no number; write the number"
    if isinstance(read, float) and not math.isfinite(read):
        return place, f"{read} is not finite; write a number"
    parts: list[tuple[str, Any, Any]] = []
    if isinstance(written, Mapping) and isinstance(read, BaseModel):
        parts = [(name, written[name], getattr(read, name)) for name in type(read).model_fields if name in written]
    elif isinstance(written, Mapping) and isinstance(read, Mapping):
        # what stays as it is written (a section, options) is validated by whom it belongs to
        changed = {
            name
            for name in read
            if isinstance(read[name], BaseModel) or type(read[name]) is not type(written.get(name))
        }
        parts = [(str(name), value, read[name]) for name, value in written.items() if name in changed]
    elif isinstance(written, list | tuple) and isinstance(read, list | tuple) and len(written) == len(read):
        parts = [(str(number), *pair) for number, pair in enumerate(zip(written, read, strict=True))]
    found = (mistaken(value, became, (*place, name)) for name, value, became in parts)
    return next((each for each in found if each is not None), None)


def _explain(model: type[BaseModel], error: ValidationError, where: str) -> str:
    problems = error.errors()
    # an unknown key explains more than the missing one it was meant to be
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    location = [str(part) for part in first["loc"]]
    at = ".".join(location) or "top level"
    more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        return f"{where}: unknown key {at!r}{nearest(location[-1], known)}{more}"
    if first["type"] == "missing":
        return f"{where}: key {at!r} is missing{more}"
    if first["type"] in ("model_type", "dict_type") and first.get("input") is None:
        return f"{where}: {at!r} is empty; give its keys or remove it; null takes out what an extended config has{more}"
    message = first["msg"].removeprefix("Value error, ")
    shown = repr(first.get("input"))
    got = f", got {shown}" if len(shown) <= 60 and not first["msg"].startswith("Value error") else ""
    return f"{where}: {at}: {message[0].lower() + message[1:]}{got}{more}"


def _keys_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """Return the legal keys of the nested model at `location`, walking through dicts and optionals."""
    current: type[BaseModel] | None = model
    pending: list[type[BaseModel]] = [model]
    for part in location:
        if current is not None and part in current.model_fields:
            pending = _models_in(current.model_fields[part].annotation)
            current = pending[0] if len(pending) == 1 else None
        elif current is None or part not in current.model_fields:
            current = pending[0] if pending else None
    return sorted({key for m in pending for key in m.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
