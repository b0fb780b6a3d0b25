"""Validation of what a user writes: frozen pydantic models; one line says what is wrong, where, and what was meant."""

from __future__ import annotations

from collections.abc import Sequence
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
    twice = sorted({seed for seed in seeds if list(seeds).count(seed) > 1})
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
        return model.model_validate(value)
    except ValidationError as error:
        raise BenchError(_explain(model, error, where)) from error


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
