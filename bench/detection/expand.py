"""A validated detection section -> cells: data sets, splits, detectors, pretrainings and seeds, narrowed by the command
line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.core.errors import BenchError, NotSelected
from bench.core.options import option_values
from bench.core.registries import BACKBONES, DATASETS, DETECTORS
from bench.core.validation import validate
from bench.detection.pretraining import Arm, matching_cell, parse_arm
from bench.detection.spec import DetectionSection, DetectorEntry, ShipsEntry
from bench.execution.cell import Cell, Mode, Origin, Selection
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
    with_folds,
)
from bench.suite.smoke import options_for

Methods = dict[str, tuple[DetectorEntry, dict[str, str]]]  # label -> the entry, and the options that select it again


@dataclass(frozen=True)
class _Row:
    """One detector with one pretraining."""

    label: str
    method: DetectorEntry
    arm: Arm
    names: dict[str, str]
    where: str


def expand_section(suite: Suite, section: DetectionSection, selection: Selection, origin: Origin) -> list[Cell]:
    """Return the cells in board order: data set, split, detector, pretraining, seed; each names the matching cell it
    starts from.

    Raises:
        BenchError: unknown detector, backbone, pretraining, data set or label; options that the detector does not know;
            an empty selection.
    """
    datasets = {
        label: entry.model_copy(update={"splits": with_folds(entry.splits)})
        for label, entry in section.datasets.items()
    }
    check_reference("detection", section.reference, _labels(section))
    rows = _rows(suite, section, selection)
    for label, method in section.methods.items():
        check_restriction("detection", label, method.datasets, datasets)
    cells = []
    for data_label, split_label, entry in select_blocks(datasets, selection.filters):
        for row in rows:
            if allowed(row.method.datasets, data_label, split_label, entry.splits[split_label]):
                for seed in _seeds(row.method, suite, selection):
                    cells.append(_cell(suite, section, selection, origin, (data_label, split_label, entry), row, seed))
    return cells


def _cell(
    suite: Suite,
    section: DetectionSection,
    selection: Selection,
    origin: Origin,
    block: tuple[str, str, ShipsEntry],
    row: _Row,
    seed: int | None,
) -> Cell:
    data_label, split_label, entry = block
    required: tuple[Cell, ...] = ()
    if row.arm.needs_matching:
        backbone = str(row.method.backbone)
        required = (matching_cell(row.arm, section.osm, suite, backbone, seed, selection, origin, row.where),)
    named = {"pretrain": row.arm.path, "results": row.method.options.get("results")}
    return Cell(
        task="detection",
        suite=suite.name,
        dataset=f"{data_label}/{split_label}",
        method=row.label,
        seed=seed,
        spec=_resolve(row, block, section, required, selection.smoke),
        origin=replace(
            origin,
            plugins=suite.plugins,
            names={"dataset": data_label, "split": split_label, **row.names},
            places=places_of(entry, entry.splits[split_label], origin.folder, **named),
        ),
        mode=Mode(selection.limit, selection.smoke),
        requires=required,
    )


def _resolve(
    row: _Row, block: tuple[str, str, ShipsEntry], section: DetectionSection, required: tuple[Cell, ...], smoke: bool
) -> dict[str, Any]:
    """Return the full spec of a row: every default written out, no label and no folder in it."""
    _, split_label, entry = block
    written: BaseModel = validate(
        DETECTORS.get(row.method.detector).Options, row.method.options, f"{row.where}.options"
    )
    options = options_for(written, smoke)
    dataset_options: BaseModel = validate(
        DATASETS.get(entry.dataset).Options, entry.options, f"{entry.dataset} options"
    )
    return {
        "dataset": {
            "name": entry.dataset,
            "options": {key: bare(value) for key, value in option_values(dataset_options).items()},
            "split": split_spec(entry.splits[split_label]),
            "sar_scaling": entry.sar_scaling,
            "tiles": entry.tiles.model_dump(mode="json"),
        },
        "method": {
            "detector": row.method.detector,
            "backbone": row.method.backbone,
            "pretrain": row.arm.label,
            "pretrained_by": required[0].row_key if required else None,
            "options": {
                key: Path(value).name if key == "results" else value for key, value in option_values(options).items()
            },
            "precision": row.method.precision,
        },
        "protocol": section.protocol.model_dump(mode="json"),
    }


def _seeds(method: DetectorEntry, suite: Suite, selection: Selection) -> tuple[int | None, ...]:
    if not DETECTORS.get(method.detector).seeded:
        return (None,)
    return chosen_seeds(method.seeds, suite, selection)


def _labels(section: DetectionSection) -> list[str]:
    """Return the labels of all rows of the section, whatever the selection."""
    labels = []
    for label, method in section.methods.items():
        arms = [parse_arm(text, f"detection.methods.{label}").label for text in method.pretrain]
        labels += [f"{label}/{arm}" for arm in arms] if DETECTORS.get(method.detector).backbones else [label]
    return labels


def _rows(suite: Suite, section: DetectionSection, selection: Selection) -> list[_Row]:
    rows = []
    for label, (method, how) in _select_methods(section, selection).items():
        where = f"{suite.name}: detection.methods.{label}"
        detector = DETECTORS.get(method.detector)
        method = _with_backbone(method, detector, where)
        if not detector.backbones:
            if method.pretrain != ("none",):
                raise BenchError(f"{where}: detector {method.detector!r} has no backbone to pretrain; remove pretrain")
            if "pretrain" not in selection.filters or "none" in selection.filters["pretrain"]:
                rows.append(_Row(label, method, Arm("none", "none"), how, where))
            continue
        for arm in _arms(method, selection, where):
            rows.append(_Row(f"{label}/{arm.label}", method, arm, {**how, "pretrain": arm.text}, where))
    if not rows:
        raise NotSelected(
            f"no method of the suite fits {shown(selection.filters)}; it has: {', '.join(section.methods)}"
        )
    return rows


def _with_backbone(method: DetectorEntry, detector: Any, where: str) -> DetectorEntry:
    """Return the entry with its backbone written out. Raises BenchError where the detector cannot be built on it."""
    if not detector.backbones:
        if method.backbone is not None:
            raise BenchError(f"{where}: detector {method.detector!r} takes no backbone; remove it")
        return method
    backbone = method.backbone or detector.backbones[0]
    BACKBONES.entry(backbone)
    if backbone not in detector.backbones:
        raise BenchError(
            f"{where}: detector {method.detector!r} is built on {', '.join(detector.backbones)}, not on {backbone!r}"
        )
    return method.model_copy(update={"backbone": backbone})


def _arms(method: DetectorEntry, selection: Selection, where: str) -> list[Arm]:
    """Return a row's pretrainings that pass --pretrain; one that the row does not list joins it."""
    wanted = selection.filters.get("pretrain", method.pretrain)
    return [parse_arm(text, where if text in method.pretrain else "--pretrain") for text in wanted]


def _select_methods(section: DetectionSection, selection: Selection) -> Methods:
    """Return the methods that pass --method, --detector and --backbone.

    A detector without a row of its own joins with its default options; a backbone without one re-targets the rows that
    can be built on it.
    """
    filters = selection.filters
    methods: Methods = {label: (method, {"method": label}) for label, method in section.methods.items()}
    if "method" in filters:
        check_known("method", filters["method"], methods)
        methods = {label: m for label, m in methods.items() if label in filters["method"]}
    if "detector" in filters:
        methods = _with_detectors(methods, filters["detector"])
    if "backbone" in filters:
        methods = _with_backbones(methods, filters["backbone"])
    return methods


def _with_detectors(methods: Methods, wanted: Iterable[str]) -> Methods:
    out = {label: m for label, m in methods.items() if m[0].detector in wanted}
    for name in wanted:
        DETECTORS.entry(name)
        if not any(m.detector == name for m, _ in methods.values()):
            out[name] = (DetectorEntry(detector=name), {"detector": name})
    return out


def _with_backbones(methods: Methods, wanted: Iterable[str]) -> Methods:
    out = {}
    for name in wanted:
        BACKBONES.entry(name)
        mine = {label: m for label, m in methods.items() if _backbone(m[0]) == name}
        out.update(mine)
        for label, (method, how) in ({} if mine else methods).items():
            if name in DETECTORS.get(method.detector).backbones:
                out[f"{label}-{name}"] = (method.model_copy(update={"backbone": name}), {**how, "backbone": name})
    return out


def _backbone(method: DetectorEntry) -> str | None:
    choices = DETECTORS.get(method.detector).backbones
    return method.backbone or (choices[0] if choices else None)
