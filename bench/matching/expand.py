"""A validated matching section -> cells: the product of data sets, splits, methods and seeds, narrowed by the command
line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from bench.core.errors import BenchError, NotSelected
from bench.core.options import option_values
from bench.core.registries import BACKBONES, DATASETS, MATCHERS
from bench.core.validation import validate
from bench.execution.cell import Cell, Mode, Origin, Selection
from bench.matching.spec import DatasetEntry, MatchingSection, MethodEntry
from bench.suite.config import Suite
from bench.suite.expansion import (
    allowed,
    bare,
    check_known,
    check_reference,
    check_restriction,
    chosen_seeds,
    places_of,
    select_blocks,
    shown,
    split_spec,
)
from bench.suite.smoke import options_for

INITS = ("none", "imagenet")  # any other `init:` is the path of a checkpoint
Methods = dict[str, tuple[MethodEntry, dict[str, str]]]  # row label -> the method, and the options that select it again


def expand_section(suite: Suite, section: MatchingSection, selection: Selection, origin: Origin) -> list[Cell]:
    """Return the cells in board order: data set, split, method, seed.

    Raises:
        BenchError: unknown matcher, backbone, data set or label; options that the matcher does not know; an empty
            selection.
    """
    check_reference("matching", section.reference, section.methods)
    methods = _select_methods(section, selection)
    blocks = select_blocks(section.datasets, selection.filters)
    for label, method in section.methods.items():
        check_restriction("matching", label, method.datasets, section.datasets)
    cells = []
    for data_label, split_label, entry in blocks:
        for label, (method, how) in methods.items():
            if not allowed(method.datasets, data_label, split_label, entry.splits[split_label]):
                continue
            spec = _resolve(
                f"{suite.name}: matching.methods.{label}", entry, split_label, method, section, selection.smoke
            )
            names = {"dataset": data_label, "split": split_label, **how}
            for seed in _seeds(method, suite, selection):
                cells.append(
                    Cell(
                        task="matching",
                        suite=suite.name,
                        dataset=f"{data_label}/{split_label}",
                        method=label,
                        seed=seed,
                        spec=spec,
                        origin=replace(
                            origin,
                            plugins=suite.plugins,
                            names=names,
                            places=places_of(
                                entry,
                                entry.splits[split_label],
                                origin.folder,
                                init=None if method.init in INITS else method.init,
                                results=method.options.get("results"),
                            ),
                        ),
                        mode=Mode(selection.limit, selection.smoke),
                    )
                )
    return cells


def _seeds(method: MethodEntry, suite: Suite, selection: Selection) -> tuple[int | None, ...]:
    if not MATCHERS.get(method.matcher).seeded:
        return (None,)
    return chosen_seeds(method.seeds, suite, selection)


def _resolve(
    where: str, entry: DatasetEntry, split: str, method: MethodEntry, section: MatchingSection, smoke: bool
) -> dict[str, Any]:
    """Return the full spec of a row: every default written out, no label and no folder in it (see `places_of`)."""
    matcher = MATCHERS.get(method.matcher)
    options = options_for(validate(matcher.Options, method.options, f"{where}.options"), smoke)
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
    dataset = DATASETS.get(entry.dataset)
    dataset_options: BaseModel = validate(dataset.Options, entry.options, f"{entry.dataset} options")
    return {
        "dataset": {
            "name": entry.dataset,
            "options": {key: bare(value) for key, value in option_values(dataset_options).items()},
            "split": split_spec(entry.splits[split]),
            "sar_scaling": entry.sar_scaling,
            "optical_scaling": entry.optical_scaling,
        },
        "method": {
            "matcher": method.matcher,
            "backbone": method.backbone,
            "init": method.init if method.init in INITS else f"checkpoint:{Path(method.init).name}",
            "init_branch": method.init_branch,
            "options": {
                key: Path(value).name if key == "results" else value for key, value in option_values(options).items()
            },
            "control": method.control,
            "precision": method.precision,
        },
        "protocol": section.protocol.model_dump(mode="json"),
    }


def _select_methods(section: MatchingSection, selection: Selection) -> Methods:
    """Return the methods that pass --method, --matcher, --backbone and --control.

    A matcher without a row of its own joins with its default options; a backbone or control without one re-targets the
    rows with a network to it: `bench run matching --backbone resnet50` works on every suite.
    """
    filters = selection.filters
    methods: Methods = {label: (method, {"method": label}) for label, method in section.methods.items()}
    if "method" in filters:
        check_known("method", filters["method"], methods)
        methods = {label: m for label, m in methods.items() if label in filters["method"]}
    for name in filters.get("matcher", ()):
        MATCHERS.entry(name)
    if "matcher" in filters:
        methods = _with_matchers(methods, filters["matcher"])
    for name in filters.get("backbone", ()):
        BACKBONES.entry(name)
    if "backbone" in filters:
        methods = _with_backbones(methods, filters["backbone"])
    if "control" in filters:
        check_known("control", filters["control"], get_args(MethodEntry.model_fields["control"].annotation))
        methods = _with_controls(methods, filters["control"])
    if not methods:
        raise NotSelected(f"no method of the suite fits {shown(filters)}; it has: {', '.join(section.methods)}")
    return methods


def _with_controls(methods: Methods, wanted: Iterable[str]) -> Methods:
    """Keep the rows with a wanted control; where none of the selected has it, each network's row joins once more with
    it.
    """
    out = {label: m for label, m in methods.items() if m[0].control in wanted}
    for name in wanted:
        if not any(m.control == name for m, _ in methods.values()):
            for label, (method, how) in methods.items():
                if method.backbone:
                    out[f"{label}-{name}"] = (method.model_copy(update={"control": name}), {**how, "control": name})
    return out


def _with_matchers(methods: Methods, wanted: Iterable[str]) -> Methods:
    out = {label: m for label, m in methods.items() if m[0].matcher in wanted}
    for name in wanted:
        if not any(m.matcher == name for m, _ in methods.values()):
            backbone = next((m.backbone for m, _ in methods.values() if m.backbone), "resnet18")
            uses = MATCHERS.get(name).uses_backbone
            label = f"{name}-{backbone}" if uses else name
            out[label] = (MethodEntry(matcher=name, backbone=backbone if uses else None), {"matcher": name})
    return out


def _with_backbones(methods: Methods, wanted: Iterable[str]) -> Methods:
    chosen = set(wanted)
    out = {label: m for label, m in methods.items() if m[0].backbone in chosen}
    for name in sorted(chosen):
        if any(m.backbone == name for m, _ in methods.values()):
            continue
        for label, (method, how) in methods.items():
            if method.backbone:
                renamed = label.replace(method.backbone, name) if method.backbone in label else f"{label}-{name}"
                out.setdefault(renamed, (method.model_copy(update={"backbone": name}), {**how, "backbone": name}))
    return out
