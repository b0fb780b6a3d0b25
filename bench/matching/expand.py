"""A validated matching section -> cells: the product of data sets, splits, methods and seeds, narrowed by the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.config import Suite, validate
from bench.data import DATASETS
from bench.errors import BenchError, nearest
from bench.matching import MATCHERS
from bench.matching.spec import DatasetEntry, MatchingSection, MethodEntry
from bench.models import BACKBONES
from bench.task import Cell, Origin, Selection

INITS = ("none", "imagenet")  # any other `init:` is the path of a checkpoint
Methods = dict[str, tuple[MethodEntry, dict[str, str]]]  # row label -> the method, and the options that select it again


def expand_section(suite: Suite, section: MatchingSection, selection: Selection, origin: Origin) -> list[Cell]:
    """Return the cells in board order: data set, split, method, seed.

    Raises:
        BenchError: unknown matcher, backbone, data set or label; options that the matcher does not know; an empty selection.
    """
    methods = _select_methods(section, selection)
    blocks = _select_blocks(section, selection)
    for label, method in section.methods.items():
        _check_restriction(label, method, section)
    cells = []
    for data_label, split_label, entry in blocks:
        for label, (method, how) in methods.items():
            if method.datasets is not None and not {data_label, f"{data_label}/{split_label}"} & set(method.datasets):
                continue
            spec = _resolve(f"{suite.name}: matching.methods.{label}", entry, split_label, method, section)
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
                        names=names,
                        plugins=suite.plugins,
                        config=origin.words,
                        config_folder=str(origin.folder),
                        places=_places(entry, split_label, method, origin.folder),
                        limit=selection.limit,
                    )
                )
    return cells


def _seeds(method: MethodEntry, suite: Suite, selection: Selection) -> tuple[int | None, ...]:
    if not MATCHERS.get(method.matcher).seeded:
        return (None,)
    return selection.seeds or method.seeds or suite.seeds


def _resolve(where: str, entry: DatasetEntry, split: str, method: MethodEntry, section: MatchingSection) -> dict[str, Any]:
    """Return the full spec of a row: every default written out, no label and no folder in it (see `_places`)."""
    matcher = MATCHERS.get(method.matcher)
    options = validate(matcher.Options, method.options, f"{where}.options")
    if matcher.uses_backbone:
        if method.backbone is None:
            raise BenchError(f"{where}: matcher {method.matcher!r} needs a backbone: one of {', '.join(BACKBONES.names())}")
        BACKBONES.entry(method.backbone)
    elif method.backbone is not None or method.init != "none":
        raise BenchError(f"{where}: matcher {method.matcher!r} takes neither backbone nor init; remove them")
    if method.init_branch and method.init in INITS:
        raise BenchError(f"{where}: init_branch goes with the path of a checkpoint as init, not with {method.init!r}")
    if method.control != "none" and not matcher.trains:
        raise BenchError(f"{where}: control {method.control!r} needs a matcher that trains; {method.matcher!r} does not")
    dataset = DATASETS.get(entry.dataset)
    dataset_options: BaseModel = validate(dataset.Options, entry.options, f"{entry.dataset} options")
    return {
        "dataset": {
            "name": entry.dataset,
            "options": {key: _bare(value) for key, value in dataset_options.model_dump(mode="json").items()},
            "split": _split_spec(entry, split),
            "sar_scaling": entry.sar_scaling,
            "optical_scaling": entry.optical_scaling,
        },
        "method": {
            "matcher": method.matcher,
            "backbone": method.backbone,
            "init": method.init if method.init in INITS else f"checkpoint:{Path(method.init).name}",
            "init_branch": method.init_branch,
            "options": options.model_dump(mode="json"),
            "control": method.control,
            "precision": method.precision,
        },
        "protocol": section.protocol.model_dump(mode="json"),
    }


def _split_spec(entry: DatasetEntry, label: str) -> dict[str, Any]:
    """Return the spec of a split; of a split file only the bare name, since its content is hashed."""
    spec = entry.splits[label].model_dump(mode="json")
    return spec if spec["path"] is None else {**spec, "path": Path(spec["path"]).name}


def _bare(option: Any) -> Any:
    """Return a data set's option as it is, of an absolute path only the name: the manifest has what it holds."""
    return Path(option).name if isinstance(option, str) and Path(option).is_absolute() else option


def _places(entry: DatasetEntry, split: str, method: MethodEntry, folder: Path) -> dict[str, str]:
    """Return the files and folders that the config names; relative ones are looked up beside the config first.

    They are kept out of the spec, so that no key and no record depends on where something lies: "root", "init", "split" (a split
    file), and "options.NAME" for options that are absolute paths.
    """
    named = {"root": entry.root, "init": None if method.init in INITS else method.init, "split": entry.splits[split].path}
    beside = {key: folder / value for key, value in named.items() if value}
    absolute = {f"options.{key}": value for key, value in entry.options.items() if _bare(value) != value}
    return {key: str(path if path.exists() else named[key]) for key, path in beside.items()} | absolute


def _select_methods(section: MatchingSection, selection: Selection) -> Methods:
    """Return the methods that pass --method, --matcher and --backbone.

    A matcher without a row of its own joins with its default options; a backbone without one re-targets the rows with a network to it:
    `bench run matching --backbone resnet50` works on every suite.
    """
    filters = selection.filters
    methods: Methods = {label: (method, {"method": label}) for label, method in section.methods.items()}
    if "method" in filters:
        _check_known("method", filters["method"], methods)
        methods = {label: m for label, m in methods.items() if label in filters["method"]}
    for name in filters.get("matcher", ()):
        MATCHERS.entry(name)
    if "matcher" in filters:
        methods = _with_matchers(methods, filters["matcher"])
    for name in filters.get("backbone", ()):
        BACKBONES.entry(name)
    if "backbone" in filters:
        methods = _with_backbones(methods, filters["backbone"])
    if not methods:
        raise BenchError(f"no method of the suite fits {_shown(filters)}; it has: {', '.join(section.methods)}")
    return methods


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


def _select_blocks(section: MatchingSection, selection: Selection) -> list[tuple[str, str, DatasetEntry]]:
    """Return (data set label, split label, entry) for each block that passes --dataset and --split."""
    filters = selection.filters
    blocks = [(label, split, entry) for label, entry in section.datasets.items() for split in entry.splits]
    if "dataset" in filters:
        known = {label for label, _, _ in blocks} | {entry.dataset for _, _, entry in blocks}
        _check_known("dataset", filters["dataset"], known)
        blocks = [b for b in blocks if {b[0], b[2].dataset} & set(filters["dataset"])]
    if "split" in filters:
        _check_known("split", filters["split"], {split for _, split, _ in blocks} | {b[2].splits[b[1]].kind for b in blocks})
        blocks = [b for b in blocks if {b[1], b[2].splits[b[1]].kind} & set(filters["split"])]
    if not blocks:
        raise BenchError(f"no data set of the suite fits {_shown(filters)}; it has: {', '.join(section.datasets)}")
    return blocks


def _check_restriction(label: str, method: MethodEntry, section: MatchingSection) -> None:
    known = {*section.datasets, *(f"{d}/{s}" for d, entry in section.datasets.items() for s in entry.splits)}
    for name in method.datasets or ():
        if name not in known:
            raise BenchError(f"matching.methods.{label}.datasets: unknown data set {name!r}{nearest(name, known)}")


def _check_known(kind: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    known = set(known)
    for name in wanted:
        if name not in known:
            raise BenchError(f"--{kind} {name!r} is not in this suite{nearest(name, known)}")


def _shown(filters: Mapping[str, tuple[str, ...]]) -> str:
    return " ".join(f"--{name} {' '.join(values)}" for name, values in filters.items())
