"""What the matching task adds to the expansion of its section: checks of a row, and the filter --control."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from bench.core.errors import BenchError
from bench.core.registries import BACKBONES, MATCHERS
from bench.matching.spec import MatcherEntry
from bench.suite.selection import check_known
from bench.tasks.rows import Methods

INITS = ("none", "imagenet")  # any other `init:` is the path of a checkpoint


def check_method(method: MatcherEntry, where: str) -> None:
    """Raise BenchError, naming the place in the config, where a row names what its matcher does not have."""
    matcher = MATCHERS.get(method.matcher)
    if matcher.uses_backbone:
        if method.backbone is None:
            raise BenchError(
                f"{where}: matcher {method.matcher!r} needs a backbone: one of {', '.join(BACKBONES.names())}"
            )
        BACKBONES.entry(method.backbone)
    elif method.backbone is not None or method.init != "none":
        raise BenchError(f"{where}: matcher {method.matcher!r} takes neither backbone nor init; remove them")
    if method.init_branch and method.init in INITS:
        raise BenchError(f"{where}: init_branch goes with the path of a checkpoint as init, not with {method.init!r}")
    if method.control != "none" and not matcher.trains:
        raise BenchError(
            f"{where}: control {method.control!r} needs a matcher that trains; {method.matcher!r} does not"
        )


def with_controls(methods: Methods, wanted: Iterable[str]) -> Methods:
    """Keep the rows with a wanted control; where none of the selected has it, each network's row joins once more with
    it.

    Raises:
        NotSelected: an unknown control.
    """
    check_known("control", wanted, get_args(MatcherEntry.model_fields["control"].annotation))
    out = {label: found for label, found in methods.items() if found[0].control in wanted}
    for name in wanted:
        if not any(method.control == name for method, _ in methods.values()):
            for label, (method, how) in methods.items():
                if method.backbone:
                    out[f"{label}-{name}"] = (method.model_copy(update={"control": name}), {**how, "control": name})
    return out
