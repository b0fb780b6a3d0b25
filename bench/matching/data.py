"""The scalings of both views of a matching cell."""

from __future__ import annotations

from bench.matching.matchers.base import Scalings
from bench.tasks.data import LoadedPairs, fit_view


def fit_scalings(data: LoadedPairs, sar: str | None, optical: str | None) -> Scalings:
    """Return the scalings of both views, their statistics taken from the training part alone."""
    train, store = data.train, data.train.store
    return Scalings(
        fit_view(sar, store.sar.dtype, data.plan.dataset.sar_scale, train.blocks("sar")),
        fit_view(optical, store.optical.dtype, None, train.blocks("optical")),
    )
