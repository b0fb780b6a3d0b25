"""The data of a cell, planned from file names and hashes alone: samples, manifest, split. Shared by both tasks; decodes
no pixel.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from bench.core.errors import BenchError
from bench.core.plugins import PLUGIN_PREFIX, session_sha256
from bench.core.registries import DATASETS
from bench.core.store import canonical_hash, canonical_json
from bench.core.workspace import Workspace
from bench.data.dataset import open_dataset
from bench.data.manifest import Manifest, build_manifest, file_sha256
from bench.data.split_spec import SplitSpec
from bench.data.splits import Split, make_split
from bench.execution.cell import Cell
from bench.suite.smoke import few_pairs, few_scenes

PARTS = ("train", "validation", "test")
Kind = Literal["pairs", "ships"]
ViewT = TypeVar("ViewT")


@dataclass(frozen=True)
class PlannedData:
    """What planning knows of a data set. No pixel has been read.

    Attributes:
        dataset: the opened reader.
        index: its samples: a PairIndex, or a SceneIndex for detection.
        guard_m: guard distance of the split, which its hash stands for.
        uncut: the split before a limit or a smoke run shortened its parts; None where nothing did.
    """

    name: str
    version: int
    options: Mapping[str, Any]
    root: Path
    dataset: Any
    index: Any
    manifest: Manifest
    split: Split
    guard_m: float = 0.0
    uncut: Split | None = None

    def part(self, name: str) -> np.ndarray:
        """Return the positions of a part in the index, (n,) int64, ascending."""
        return {"train": self.split.train, "validation": self.split.validation, "test": self.split.test}[name]

    def counts(self) -> dict[str, int]:
        """Return the number of samples of each part."""
        return {name: len(self.part(name)) for name in PARTS}

    def losses(self) -> dict[str, Any]:
        """Return, under "left_out", what the options of the data set leave out of each scene (`Dataset.left_out`), and
        under "left_out_by" by which rule; nothing where all is used.
        """
        lost = self.dataset.left_out()
        if not lost:
            return {}
        rules = dict(self.dataset.left_out_by())
        scenes = {scene: list(counts) for scene, counts in lost.items()}
        return {"left_out": scenes, **({"left_out_by": rules} if rules else {})}

    def identity(self) -> dict[str, Any]:
        """Return what stands for the data in a key: no path, no time."""
        return {
            "dataset": self.name,
            "version": self.version,
            "options": dict(self.options),
            "manifest": self.manifest.sha256,
            "split": self.split.sha256,
        }

    def audited(self, split: Mapping[str, Any]) -> dict[str, str]:
        """Return as "audited" what is declared of the official parts that a split is made of; {} where nothing is.

        Args:
            split: its spec.
        """
        known = self.dataset.facts.audited if split["kind"] == "grouped" else {}
        return {"audited": known[split["by"]]} if split["by"] in known else {}

    def data_key(self) -> str:
        """Hash of what the cells on these files share, whatever their split."""
        return canonical_hash({key: value for key, value in self.identity().items() if key != "split"})


@dataclass(frozen=True)
class LoadedParts(Generic[ViewT]):
    """The three parts of planned data, as views on the decoded samples."""

    plan: PlannedData
    train: ViewT
    validation: ViewT
    test: ViewT

    def part(self, name: str) -> ViewT:
        """Return the part called `name`."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def plan_data(cell: Cell, workspace: Workspace, kind: Kind = "pairs", smallest: int = 4) -> PlannedData:
    """Return the planned data of a cell; equal data sets and splits are planned once per process.

    Args:
        kind: of data set that the task works on.
        smallest: number of samples a part from which `--limit` makes sense for the task.

    Raises:
        BenchError: the data are missing (what to place where), damaged, of the other kind, or the split leaves a part
            empty.
    """
    spec = cell.spec["dataset"]
    given = workspace.root_for(cell.dataset.split("/")[0], spec["name"])
    root = given or (Path(cell.origin.places["root"]) if "root" in cell.origin.places else None)
    options = {key: cell.origin.places.get(f"options.{key}", value) for key, value in spec["options"].items()}
    split = {**spec["split"], "path": cell.origin.places["split"]} if "split" in cell.origin.places else spec["split"]
    env = tuple(workspace.env.items())
    plan = _plan(canonical_json(options), spec["name"], root, workspace.cache, canonical_json(split), env, kind)
    plan = replace(plan, options=spec["options"])
    if cell.mode.limit:
        return limited(plan, cell.mode.limit, smallest)
    return for_smoke(plan, kind) if cell.mode.smoke else plan


@lru_cache(maxsize=8)
def _open(
    options: str, name: str, root: Path | None, cache: Path, env: tuple[tuple[str, str], ...], kind: Kind
) -> tuple[Any, Any, Manifest]:
    dataset = open_dataset(name, json.loads(options), root, cache, dict(env), kind=kind)
    manifest = build_manifest(dataset.root, dataset.files(), cache, dataset.declared())
    return dataset, dataset.index(), manifest


@lru_cache(maxsize=32)
def _plan(
    options: str, name: str, root: Path | None, cache: Path, split: str, env: tuple[tuple[str, str], ...], kind: Kind
) -> PlannedData:
    dataset, index, manifest = _open(options, name, root, cache, env, kind)
    spec = _beside_data(SplitSpec.model_validate(json.loads(split)), dataset.root)
    return PlannedData(
        name,
        DATASETS.get(name).version,
        json.loads(options),
        dataset.root,
        dataset,
        index,
        manifest,
        make_split(index, spec),
        spec.guard_m,
    )


def _beside_data(spec: SplitSpec, root: Path) -> SplitSpec:
    """Return a split by file with the path that exists: as given (the config's folder was tried before), or below the
    data's folder.

    Raises:
        BenchError: there is no such file.
    """
    if spec.path is None or Path(spec.path).is_file():
        return spec
    if (root / spec.path).is_file():
        return spec.model_copy(update={"path": str(root / spec.path)})
    raise BenchError(
        f"no split file {spec.path}, neither beside the config nor in {root}; `bench data split` writes one, and for"
        " patches that overlap `bench data audit NAME --out FOLDER` one that leaks nothing"
    )


def limited(plan: PlannedData, limit: int, smallest: int) -> PlannedData:
    """Return `plan` with each part cut to its first `limit` samples; the split's hash says so."""
    if limit < smallest:
        raise BenchError(f"--limit {limit} is too small: training and scoring need at least {smallest} samples a part")
    split = plan.split
    cut = replace(
        split,
        train=split.train[:limit],
        validation=split.validation[:limit],
        test=split.test[:limit],
        sha256=canonical_hash({"split": split.sha256, "limit": limit}),
    )
    return replace(plan, split=cut, uncut=plan.uncut or split)


def for_smoke(plan: PlannedData, kind: Kind) -> PlannedData:
    """Return `plan` with a few samples of each part, for a smoke run; the split's hash says so."""
    ships = kind == "ships"
    parts = {
        name: few_scenes(plan.part(name), plan.index.items) if ships else few_pairs(plan.part(name), name)
        for name in PARTS
    }
    ids = {name: [plan.index.ids[i] for i in positions.tolist()] for name, positions in parts.items()}
    digest = canonical_hash({"split": plan.split.sha256, "smoke": ids})
    split = replace(plan.split, train=parts["train"], validation=parts["validation"], test=parts["test"], sha256=digest)
    return replace(plan, split=split, uncut=plan.uncut or plan.split)


def forget_plans() -> None:
    """Forget the data sets that this process has opened: files may have changed since an earlier run in it."""
    _open.cache_clear()
    _plan.cache_clear()


def plugin_sha256(component: type, workspace: Workspace) -> str | None:
    """Return the SHA-256 of the plug-in file, or of the cells of an interactive session, that define a component; None
    for an installed one, which its `version` stands for.

    Raises:
        BenchError: the source of a class of this session cannot be read.
    """
    if not is_plugin(component):
        return None
    if component.__module__ == "__main__":
        return session_sha256(component)
    return file_sha256(Path(str(sys.modules[component.__module__].__file__)), workspace.cache)


def is_plugin(component: type) -> bool:
    """Return whether a component comes from a plug-in file or an interactive session: its source enters the keys."""
    return component.__module__ == "__main__" or component.__module__.startswith(PLUGIN_PREFIX)
