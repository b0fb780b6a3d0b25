"""The data of a matching cell: whether its training samples whole scenes, and the scalings of both views."""

from __future__ import annotations

from bench.execution.cell import Cell
from bench.matching.matchers.base import Scalings
from bench.tasks.data import LoadedPairs, fit_view


def samples_scenes(cell: Cell) -> bool:
    """Return whether the matcher of a cell trains on crops of whole scenes."""
    return bool(cell.spec["method"]["options"].get("sampling") == "scenes")


def fit_scalings(data: LoadedPairs, sar: str | None, optical: str | None) -> Scalings:
    """Return the scalings of both views, their statistics taken from the training part alone: from its whole scenes
    where those are sampled.
    """
    store, blocks = data.train.store, (data.train if data.scenes is None else data.scenes).blocks
    return Scalings(
        fit_view(sar, store.sar.dtype, data.plan.dataset.sar_scale, blocks("sar")),
        fit_view(optical, store.optical.dtype, None, blocks("optical")),
    )
