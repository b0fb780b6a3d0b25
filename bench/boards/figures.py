"""What the pictures of all tasks share: plain axes, training curves, grey levels for display, writing PNG files. No
task's data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.store import atomic_write
from bench.execution.records import FIGURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, RED = "#2b6cb0", "#dd8a1f", "#b83232"
DPI = 110


def write_figures(folder: Path, figures: Mapping[str, Figure | None]) -> list[Path]:
    """Write figures as `folder/figures/<name>.png`, each atomically; None is passed over. Return the paths."""
    written = []
    for name, figure in figures.items():
        if figure is not None:
            for text in (*figure.texts, *(axis.title for axis in figure.axes)):
                text.set_parse_math(False)  # a label with two "$" is no formula
            path = folder / FIGURES / f"{name}.png"
            with atomic_write(path) as temporary:
                figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})
            written.append(path)
    return written


def plain_axes(title: str) -> tuple[Any, Any]:
    """Return a figure with one pair of axes, and these."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def training_curves(path: Path, title: str) -> Any:
    """Return the figure of training loss and first validation metric by epoch; None where there is no curves.csv at
    `path`.
    """
    if not path.is_file():
        return None
    import pandas

    curves = pandas.read_csv(path)
    figure, axis = plain_axes(title)
    handles = axis.plot(curves["epoch"], curves["loss"], color=BLUE, marker=".", label="training loss")
    axis.set(xlabel="epoch", ylabel="loss")
    metric = next((name for name in curves if name.startswith("val_")), None)
    shown = "validation " + (metric or "").removeprefix("val_").replace("auc", "AUC")
    if metric is not None:
        other = axis.twinx()
        handles += other.plot(curves["epoch"], curves[metric], color=ORANGE, marker=".", label=shown)
        other.set_ylabel(shown)
    figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=2)
    return figure


def grey_levels(images: np.ndarray) -> np.ndarray:
    """Return images of any shape as uint8 for display: 8-bit as they are, others stretched between their 1 % and 99 %
    values.
    """
    if images.dtype == np.uint8:
        return images
    low, high = np.percentile(images, (1, 99))
    grey: np.ndarray = (np.clip((images - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)
    return grey
