"""Pictures of a finished matching cell: matched pairs, worst errors, distance histograms, ROC, recall and training
curves.

Views of the predictions file, of `curves.csv` and of the decoded images; nothing here measures anything for a record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.boards.figures import BLUE, ORANGE, RED, grey_levels, plain_axes, training_curves, write_figures
from bench.data.cache import PairView
from bench.execution.records import PREDICTIONS, RECORD, load_record
from bench.matching.scoring.metrics import recall_at_k, roc_auc, roc_curve
from bench.matching.scoring.pairs import HARD, POSITIVE, UNIFORM
from bench.matching.scoring.predictions import PartPredictions, Predictions, load_predictions
from bench.matching.scoring.retrieval import overlap_mask, retrieval_from_matrix
from bench.tasks.data import LoadedPairs

SHOWN = 8  # pairs in a picture


def draw_cell(folder: Path, title: str, data: LoadedPairs) -> list[Path]:
    """Write the pictures of one cell into `folder/figures`; return their paths."""
    from matplotlib.figure import Figure

    predictions = load_predictions(folder / PREDICTIONS)
    threshold = load_record(folder / RECORD).facts.get("uniform.threshold")
    figures: dict[str, Figure | None] = {
        "matches": _pairs_figure(predictions.test, data.test, "matches", threshold, title),
        "false_matches": _pairs_figure(predictions.test, data.test, "false_matches", threshold, title),
        "misses": _pairs_figure(predictions.test, data.test, "misses", threshold, title),
        "distances": _distances_figure(predictions, threshold, title),
        "roc": _roc_figure(predictions, title),
        "recall": _recall_figure(predictions, title) if len(predictions.gallery_position) else None,
        "curves": training_curves(folder / "curves.csv", title),
    }
    return write_figures(folder, figures)


def choose_pairs(part: PartPredictions, what: str, threshold: float | None) -> np.ndarray:
    """Return up to SHOWN indices of pairs, the most telling first.

    "matches": true pairs of smallest distance (the paper's Figure 6), "false_matches": non-matching pairs of smallest
    distance that were called a match, "misses": true pairs of largest distance that were called none.
    """
    distance = np.where(np.isfinite(part.distance), part.distance, np.inf)
    limit = np.inf if threshold is None else threshold
    accepted = distance <= limit
    if what == "matches":
        candidates = np.flatnonzero((part.kind == POSITIVE) & accepted)
        return candidates[np.argsort(distance[candidates], kind="stable")][:SHOWN]
    if what == "false_matches":
        candidates = np.flatnonzero((part.kind != POSITIVE) & accepted)
        candidates = candidates[np.argsort(distance[candidates], kind="stable")]
        _, first = np.unique(
            part.pair_sar[candidates] * len(part.id) + part.pair_optical[candidates], return_index=True
        )
        return candidates[np.sort(first)][:SHOWN]  # a pair may be both a uniform and a hard negative
    candidates = np.flatnonzero((part.kind == POSITIVE) & ~accepted)
    return candidates[np.argsort(-distance[candidates], kind="stable")][:SHOWN]


_HEADINGS = {
    "matches": "correctly matched pairs, smallest distance first",
    "false_matches": "worst false matches",
    "misses": "worst misses",
}


def _pairs_figure(part: PartPredictions, view: PairView, what: str, threshold: float | None, title: str) -> Any:
    """Columns of pairs: SAR above, optical below; for a false match the true optical partner stands third."""
    from matplotlib.figure import Figure

    chosen = choose_pairs(part, what, threshold)
    third = what == "false_matches"
    rows = ["SAR", "optical", "its true partner"] if third else ["SAR", "optical"]
    columns = max(len(chosen), 4)
    figure = Figure(figsize=(1.55 * columns + 0.6, 1.6 * len(rows) + 0.9), layout="constrained")
    figure.suptitle(f"{title}: {_HEADINGS[what]}", fontsize=11)
    if len(chosen) == 0:
        figure.text(0.5, 0.45, "none", ha="center", fontsize=12)
        return figure
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axis in grid.ravel():
        axis.set_axis_off()
    sar, optical = part.pair_sar[chosen], part.pair_optical[chosen]
    pictures = [grey_levels(view.sar(sar)), grey_levels(view.optical(optical))] + (
        [grey_levels(view.optical(sar))] if third else []
    )
    for column, index in enumerate(chosen):
        for row, images in enumerate(pictures):
            axis = grid[row][column]
            axis.imshow(images[column], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            if row == 0:
                axis.set_title(f"{part.id[part.pair_sar[index]]}\nd = {part.distance[index]:.3f}", fontsize=7)
    for row, name in enumerate(rows):
        grid[row][0].text(
            -0.06, 0.5, name, transform=grid[row][0].transAxes, rotation=90, va="center", ha="right", fontsize=9
        )
    return figure


def _distances_figure(predictions: Predictions, threshold: float | None, title: str) -> Any:
    figure, axis = plain_axes(title)
    test = predictions.test
    finite = test.distance[np.isfinite(test.distance)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    bins = np.linspace(low, high if high > low else low + 1.0, 50)
    kinds = ((POSITIVE, "matching", BLUE), (UNIFORM, "uniform negatives", ORANGE), (HARD, "hard negatives", RED))
    for kind, label, colour in kinds:
        values = test.distance[(test.kind == kind) & np.isfinite(test.distance)]
        if values.size:
            axis.hist(values, bins=bins, histtype="stepfilled", alpha=0.25, color=colour)
            axis.hist(values, bins=bins, histtype="step", color=colour, label=f"{label} ({values.size})")
    if threshold is not None:
        axis.axvline(threshold, color="black", lw=1, label=f"validation threshold {threshold:.3f}")
    if predictions.fixed_threshold is not None:
        axis.axvline(
            predictions.fixed_threshold,
            color="black",
            lw=1,
            ls=":",
            label=f"fixed threshold {predictions.fixed_threshold:g}",
        )
    axis.set(xlabel="distance (smaller = more alike)", ylabel="test pairs")
    axis.legend(fontsize=8)
    return figure


def _roc_figure(predictions: Predictions, title: str) -> Any:
    figure, axis = plain_axes(title)
    for kind, label, colour in ((UNIFORM, "uniform negatives", ORANGE), (HARD, "hard negatives", RED)):
        truth, distance = predictions.test.select(kind)
        if truth.all():
            continue
        fpr, tpr, _ = roc_curve(truth, distance)
        axis.plot(fpr, tpr, color=colour, label=f"{label}, AUC {roc_auc(truth, distance):.3f}")
    axis.plot([0, 1], [0, 1], color="grey", lw=0.8, ls=":")
    axis.axhline(0.95, color="grey", lw=0.8, ls="--")
    axis.set(xlabel="false-positive rate", ylabel="true-positive rate", xlim=(0, 1), ylim=(0, 1.01))
    axis.legend(fontsize=8, loc="lower right")
    return figure


def _recall_figure(predictions: Predictions, title: str) -> Any:
    """Recall at k on the sampled gallery, both directions, with chance as a dotted line."""
    size = len(predictions.gallery_position)
    places = predictions.test.place[predictions.gallery_position]
    retrieval = retrieval_from_matrix(predictions.gallery_distance, overlap_mask(places))
    figure, axis = plain_axes(title)
    ks = np.arange(1, size + 1)
    for ranks, label, colour in (
        (retrieval.sar_to_optical, "SAR → optical", BLUE),
        (retrieval.optical_to_sar, "optical → SAR", ORANGE),
    ):
        axis.plot(ks, [recall_at_k(ranks, int(k)) for k in ks], color=colour, label=label)
    axis.plot(ks, ks / size, color="grey", lw=0.8, ls=":", label="chance")
    axis.set(xlabel=f"k (gallery of {size})", ylabel="recall@k", xscale="log", ylim=(0, 1.01))
    axis.legend(fontsize=8, loc="lower right")
    return figure
