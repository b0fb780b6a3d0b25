"""The data of a matching cell: planned from file names and hashes alone, then loaded as views on the decoded cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import DATASETS
from bench.data.cache import PairView, open_cache
from bench.data.dataset import PairDataset, open_dataset
from bench.data.index import PairIndex
from bench.data.manifest import Manifest, build_manifest
from bench.data.scaling import check_scaling, default_scaling, fit_scaling
from bench.data.splits import Split, SplitSpec, make_split
from bench.errors import BenchError
from bench.matching.matcher import Scalings
from bench.store import canonical_hash, canonical_json
from bench.task import Cell
from bench.workspace import Workspace

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class PlannedData:
    """What planning knows of a data set: samples, manifest, split. No pixel has been read."""

    name: str
    version: int
    options: Mapping[str, Any]
    root: Path
    dataset: PairDataset
    index: PairIndex
    manifest: Manifest
    split: Split

    def part(self, name: str) -> np.ndarray:
        """Return the positions of a part in the index, (n,) int64, ascending."""
        return {"train": self.split.train, "validation": self.split.validation, "test": self.split.test}[name]

    def identity(self) -> dict[str, Any]:
        """Return what stands for the data in a key: no path, no time."""
        return {
            "dataset": self.name,
            "version": self.version,
            "options": dict(self.options),
            "manifest": self.manifest.sha256,
            "split": self.split.sha256,
        }


@dataclass(frozen=True)
class LoadedData:
    """The three parts as views on the decoded cache, with the leakage group of every sample."""

    plan: PlannedData
    train: PairView
    validation: PairView
    test: PairView

    def part(self, name: str) -> PairView:
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def plan_data(cell: Cell, workspace: Workspace) -> PlannedData:
    """Return the planned data of a cell; equal data sets and splits are planned once per process.

    Raises:
        BenchError: the data are missing (what to place where), damaged, or the split leaves a part empty.
    """
    spec = cell.spec["dataset"]
    given = workspace.root_for(cell.dataset.split("/")[0], spec["name"])
    root = given or (Path(cell.places["root"]) if "root" in cell.places else None)
    options = {key: cell.places.get(f"options.{key}", value) for key, value in spec["options"].items()}
    split = {**spec["split"], "path": cell.places["split"]} if "split" in cell.places else spec["split"]
    plan = _plan(canonical_json(options), spec["name"], root, workspace.cache, canonical_json(split), tuple(workspace.env.items()))
    plan = replace(plan, options=spec["options"])
    return limited(plan, cell.limit) if cell.limit else plan


@lru_cache(maxsize=8)
def _open(
    options: str, name: str, root: Path | None, cache: Path, env: tuple[tuple[str, str], ...]
) -> tuple[PairDataset, PairIndex, Manifest]:
    dataset = open_dataset(name, json.loads(options), root, cache, dict(env))
    manifest = build_manifest(dataset.root, dataset.files(), cache)
    return dataset, dataset.index(), manifest


@lru_cache(maxsize=32)
def _plan(options: str, name: str, root: Path | None, cache: Path, split: str, env: tuple[tuple[str, str], ...]) -> PlannedData:
    dataset, index, manifest = _open(options, name, root, cache, env)
    spec = SplitSpec.model_validate(json.loads(split))
    return PlannedData(
        name, DATASETS.get(name).version, json.loads(options), dataset.root, dataset, index, manifest, make_split(index, spec)
    )


def limited(plan: PlannedData, limit: int) -> PlannedData:
    """Return `plan` with each part cut to its first `limit` samples; the split's hash says so."""
    if limit < 4:
        raise BenchError(f"--limit {limit} is too small: training and scoring need at least 4 samples a part")
    split = plan.split
    cut = replace(
        split,
        train=split.train[:limit],
        validation=split.validation[:limit],
        test=split.test[:limit],
        sha256=canonical_hash({"split": split.sha256, "limit": limit}),
    )
    return replace(plan, split=cut)


def load_data(plan: PlannedData, cache: Path, progress: Any = None) -> LoadedData:
    """Open (or build) the decoded cache and return the views of the three parts."""
    opened = open_cache(plan.index, plan.root, plan.manifest.sha256, f"{plan.name}-v{plan.version}", cache, progress)
    views = {name: PairView(opened, plan.index, plan.part(name), plan.split.groups) for name in PARTS}
    return LoadedData(plan, **views)


def fit_scalings(data: LoadedData, sar: str | None, optical: str | None) -> Scalings:
    """Return the scalings of both views, their statistics taken from the training part alone."""
    train, cache = data.train, data.train.cache
    sar_name = sar or default_scaling(cache.sar.dtype, data.plan.dataset.sar_scale)
    check_scaling(sar_name, cache.sar.dtype, data.plan.dataset.sar_scale)
    optical_name = optical or default_scaling(cache.optical.dtype)
    check_scaling(optical_name, cache.optical.dtype)
    return Scalings(fit_scaling(sar_name, train.blocks("sar")), fit_scaling(optical_name, train.blocks("optical")))
