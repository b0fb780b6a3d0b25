"""Options of methods and data sets: which of them stand in a key, and how a smoke run cuts them down.

The written-out options of a method and of a data set stand in its keys. An option declared with `later` stays out of
them while it has its default, which must be what the code did before the option existed: so a release may add one, and
a cell that does not use it keeps its identity.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, Field

from bench.core.errors import BenchError

_LATER: dict[str, Any] = {"later": True}
CAPS = {  # of a smoke run
    "epochs": 2,
    "per_epoch": 2,
    "warmup_epochs": 1,
    "batch_size": 4,
    "entries": 8,
    "samples": 4,
    "iterations": 2,
    "steps": 2,
    "max_iters": 2,
}
Options = TypeVar("Options", bound=BaseModel)


def later(default: Any, **constraints: Any) -> Any:
    """Return a pydantic field that enters a key only when it differs from `default`; `constraints` are those of
    `pydantic.Field`.
    """
    return Field(default, json_schema_extra=_LATER, **constraints)


def option_values(options: BaseModel) -> dict[str, Any]:
    """Return `options` as the plain JSON values that stand in a cell's spec and keys: every default written out, but
    for later ones.
    """
    values = options.model_dump(mode="json")
    kept = {}
    for name, field in type(options).model_fields.items():
        if field.json_schema_extra == _LATER and getattr(options, name) == field.default:
            continue
        kept[name] = values[name]
    return kept


def capped(options: Options, **more: Any) -> Options:
    """Return a component's options with a couple of iterations: the usual fields (`CAPS`) at most as large as the cap.

    A field that is not there, not a number or small enough stays as it is. `more` sets further fields.

    Raises:
        pydantic.ValidationError: the options refuse the small values; the component needs a `smoke` method of its own.
    """
    values = {name: getattr(options, name) for name in type(options).model_fields}
    for name, cap in CAPS.items():
        value = values.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > cap:
            values[name] = cap
    return type(options).model_validate({**values, **more})


def check_overridden(options: BaseModel, where: str) -> None:
    """Raise BenchError where `options`, as the user wrote them, state one that another overrides
    (`MethodOptions.overridden`).
    """
    hook = getattr(options, "overridden", None)
    overridden: dict[str, str] = hook() if callable(hook) else {}
    for name in overridden.keys() & options.model_fields_set:
        raise BenchError(f"{where}: {name} changes nothing: {overridden[name]}; remove one of the two")


def options_for(options: Options, smoke: bool) -> Options:
    """Return the options that a cell gets: as written, or in a smoke run what their `smoke()` returns (`capped` without
    one).
    """
    if not smoke:
        return options
    hook = getattr(options, "smoke", None)
    cut: Options = hook() if callable(hook) else capped(options)
    return cut
