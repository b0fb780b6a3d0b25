"""The data of a matching cell, loaded as views on the decoded cache (planned by `bench.suite.data_plan`), and its
scalings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.data.cache import PairView, open_cache
from bench.data.scaling import check_scaling, default_scaling, fit_scaling
from bench.matching.matchers.base import Scalings
from bench.suite.data_plan import PARTS, LoadedParts, PlannedData


class LoadedData(LoadedParts[PairView]):
    """The three parts as views on the decoded cache, with the leakage group of every sample."""


def load_data(plan: PlannedData, cache: Path, progress: Any = None) -> LoadedData:
    """Open (or build) the decoded cache and return the views of the three parts."""
    opened = open_cache(plan.index, plan.root, plan.manifest.sha256, f"{plan.name}-v{plan.version}", cache, progress)
    views = {name: PairView(opened, plan.index, plan.part(name), plan.split.groups) for name in PARTS}
    return LoadedData(plan, **views)


def fit_scalings(data: LoadedData, sar: str | None, optical: str | None) -> Scalings:
    """Return the scalings of both views, their statistics taken from the training part alone."""
    train, cache = data.train, data.train.store
    sar_name = sar or default_scaling(cache.sar.dtype, data.plan.dataset.sar_scale)
    check_scaling(sar_name, cache.sar.dtype, data.plan.dataset.sar_scale)
    optical_name = optical or default_scaling(cache.optical.dtype)
    check_scaling(optical_name, cache.optical.dtype)
    return Scalings(fit_scaling(sar_name, train.blocks("sar")), fit_scaling(optical_name, train.blocks("optical")))
