"""Which data sets, splits and rows of a section are meant: the filters of the command line, a row's own restrictions,
the folds of a split; and what stays out of a cell's spec: labels and folders never enter one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.core.errors import BenchError, NotSelected, nearest
from bench.core.workspace import user_path
from bench.data.split_spec import SplitSpec
from bench.execution.cell import Selection, row_names
from bench.suite.config import Suite
from bench.suite.smoke import SMOKE_SEEDS

Filters = Mapping[str, tuple[str, ...]]


class Entry(Protocol):
    """What the entry of a data set looks like in every task's section."""

    @property
    def dataset(self) -> str: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def splits(self) -> dict[str, SplitSpec]: ...
    @property
    def root(self) -> str | None: ...


@dataclass(frozen=True)
class Block:
    """One data set with one split: a part of the board of its own.

    Attributes:
        data, split: their labels in the suite.
        entry: the data set's entry in the section.
    """

    data: str
    split: str
    entry: Any

    @property
    def label(self) -> str:
        """The block's label on a board: "s1s2-256/place"."""
        return f"{self.data}/{self.split}"

    @property
    def split_spec(self) -> SplitSpec:
        """How the samples are parted."""
        spec: SplitSpec = self.entry.splits[self.split]
        return spec


def select_blocks(datasets: Mapping[str, Any], filters: Filters) -> list[Block]:
    """Return the blocks that pass --dataset and --split, in the section's order.

    Raises:
        BenchError: an unknown name (the nearest are listed), or nothing left.
    """
    blocks = [Block(label, split, entry) for label, entry in datasets.items() for split in entry.splits]
    if "dataset" in filters:
        known = {block.data for block in blocks} | {block.entry.dataset for block in blocks}
        check_known("dataset", filters["dataset"], known)
        blocks = [b for b in blocks if {b.data, b.entry.dataset} & set(filters["dataset"])]
    if "split" in filters:
        names = {b.label: split_names(b.split, b.split_spec) for b in blocks}
        check_known("split", filters["split"], set().union(*names.values()))
        blocks = [b for b in blocks if names[b.label] & set(filters["split"])]
    if not blocks:
        raise NotSelected(f"no data set of the suite fits {shown(filters)}; it has: {', '.join(datasets)}")
    return blocks


def check_restriction(task: str, label: str, names: Sequence[str] | None, datasets: Mapping[str, Any]) -> None:
    """Raise BenchError where a row's `datasets` names a block that the section does not have."""
    splits = [(data, split, entry.splits[split]) for data, entry in datasets.items() for split in entry.splits]
    known = {
        *datasets,
        *(
            f"{data}/{name}"
            for data, split, spec in splits
            for name in split_names(split, spec) - ({spec.kind} - {split})
        ),
    }
    for name in names or ():
        if name not in known:
            raise BenchError(f"{task}.methods.{label}.datasets: unknown data set {name!r}{nearest(name, known)}")


def allowed(names: Sequence[str] | None, block: Block) -> bool:
    """Return whether a row restricted to `names` runs on a block; None restricts nothing."""
    if names is None:
        return True
    mine = {block.data, *(f"{block.data}/{name}" for name in split_names(block.split, block.split_spec))}
    return bool(mine & set(names))


def with_folds(splits: Mapping[str, SplitSpec]) -> dict[str, SplitSpec]:
    """Return the splits with each that leaves its fold open written out: "cv" of three folds as "cv-1of3", "cv-2of3",
    "cv-3of3".
    """
    out = {}
    for label, spec in splits.items():
        if spec.kind == "folds" and spec.fold is None:
            for fold in range(spec.folds or 0):
                out[f"{label}-{fold + 1}of{spec.folds}"] = spec.model_copy(update={"fold": fold})
        else:
            out[label] = spec
    return out


def fold_of(label: str) -> tuple[str, int] | None:
    """Return ("cv", 0) of "cv-1of3", None of a split that is no written-out fold."""
    found = re.fullmatch(r"(.+)-(\d+)of(\d+)", label)
    return (found[1], int(found[2]) - 1) if found else None


def split_names(label: str, spec: SplitSpec) -> set[str]:
    """Return what a split is selected by: its label, its kind, and of a fold the label of all folds."""
    fold = fold_of(label) if spec.kind == "folds" else None
    return {label, spec.kind} | ({fold[0]} if fold else set())


def check_known(kind: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    """Raise NotSelected, with the nearest names, where a filter names what the section does not have."""
    known = set(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise NotSelected(
            f"{kind} {unknown[0]!r} is not in this suite{nearest(unknown[0], known)}", kind, unknown, known
        )


def reference_label(
    suite: str, task: str, text: str | None, labels: Iterable[str], blocks: Iterable[str]
) -> str | None:
    """Return the label of the row that a section's `reference` names, as rows are named everywhere (`row_names`).

    Raises:
        BenchError: it is none of the section's rows; the nearest are named.
    """
    labels, blocks = list(labels), list(blocks)
    for label in labels if text is not None else ():
        if text == label or any(text in row_names(suite, task, block, label) for block in blocks):
            return label
    if text is not None:
        raise BenchError(f"{task}.reference: the section has no row {text!r}{nearest(text, labels)}")
    return None


def chosen_seeds(own: tuple[int, ...] | None, suite: Suite, selection: Selection) -> tuple[int, ...]:
    """Return the seeds of a row: the command line's, else its own, else the suite's; of these a smoke run takes the
    first two.
    """
    if selection.seeds is not None:
        return selection.seeds
    seeds = own or suite.seeds
    return seeds[:SMOKE_SEEDS] if selection.smoke else seeds


def shown(filters: Filters) -> str:
    """Return the filters as messages name them."""
    return ", ".join(f"{name} {' '.join(values)}" for name, values in filters.items())


def split_spec(spec: SplitSpec) -> dict[str, Any]:
    """Return the spec of a split; of a split file only the bare name, since its content is hashed."""
    values = spec.model_dump(mode="json")
    return values if values["path"] is None else {**values, "path": Path(values["path"]).name}


def bare(option: Any) -> Any:
    """Return a data set's option as it is, of an absolute path only the name: the manifest has what it holds."""
    return Path(option).name if isinstance(option, str) and option.startswith(("/", "~/")) else option


def places_of(block: Block, folder: Path, named: Mapping[str, str | None]) -> dict[str, str]:
    """Return the files and folders that the config names; relative ones are looked up beside the config first.

    They are kept out of the spec, so that no key and no record depends on where something lies: "root", "split" (a
    split file), what `named` adds, and "options.NAME" for options that are absolute paths.
    """
    entry: Entry = block.entry
    paths = {"root": entry.root, "split": block.split_spec.path, **named}
    given = {key: user_path(value) for key, value in paths.items() if value}
    absolute = {f"options.{key}": str(user_path(value)) for key, value in entry.options.items() if bare(value) != value}
    return {key: str(folder / path if (folder / path).exists() else path) for key, path in given.items()} | absolute
