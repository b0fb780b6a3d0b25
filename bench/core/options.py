"""Options that came later: a release may add one without training anybody's finished cells again.

The written-out options of a method and of a data set stand in its keys. An option declared with `later` stays out of
them while it has its default, which must be what the code did before the option existed; so a cell that does not use it
keeps its identity.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

_LATER: dict[str, Any] = {"later": True}


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
