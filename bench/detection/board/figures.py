"""Pictures of a finished detection cell: scenes with true, false and missed ships, precision-recall, recall by length,
training curves.

Views of the predictions file, the record, `curves.csv` and the decoded scenes; nothing here measures anything for a
record. A detection is true by the rule "voc" at IoU 0.5, as in the record. The threshold is the record's: chosen on
validation scenes where there are any, else the one of best F1 on the test scenes, and the titles say which.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.boards.figures import plain_axes, training_curves, write_figures
from bench.detection.scoring.evaluator import BoxTable, Matches, curve_from_matches, match
from bench.detection.scoring.predictions import PartPredictions, load_predictions
from bench.detection.scoring.score import PASCAL_IOU
from bench.execution.records import PREDICTIONS, RECORD, Record, load_record

if TYPE_CHECKING:
    from bench.data.ships.view import SceneView

WORST, BEST = 6, 3  # panels
CROP_PX = 320
# Okabe & Ito's palette, which colour-blind readers can distinguish; every kind has a line style of its own too.
TRUE, FALSE, MISSED = "#009E73", "#D55E00", "#F0E442"
STYLES = {
    "true": (TRUE, "-", 1.6),
    "truth": (TRUE, ":", 1.0),
    "false": (FALSE, "-", 1.6),
    "missed": (MISSED, "--", 1.6),
    "ignored": ("0.7", ":", 1.2),
}
_LINES = (("black", "-"), ("#0072B2", "--"), ("#E69F00", "-."), ("#CC79A7", ":"), ("#56B4E9", (0, (5, 1))))
_LENGTHS_PX = (0, 8, 16, 24, 32, 48, 64, 96, 128, 192)


@dataclass(frozen=True, eq=False)
class Decided:
    """What was called a ship at a threshold.

    Attributes:
        threshold: None accepts nothing. source: where it comes from, for titles.
        true, false: (n,) bool over the detections of the table: accepted and right, accepted and wrong. Ignored ones
            are neither.
        partner: (n,) int64, row of the truth that a true detection found, -1 for none.
        found: (k,) bool over the truths. missed: (k,) bool, ships that count and were not found.
    """

    threshold: float | None
    source: str
    true: np.ndarray
    false: np.ndarray
    partner: np.ndarray
    found: np.ndarray
    missed: np.ndarray


def draw_cell(folder: Path, title: str, view: SceneView) -> list[Path]:
    """Write the pictures of one cell into `folder/figures`; return their paths.

    Args:
        folder: the cell's, with record and predictions. view: pixels of the test scenes, known by their ids.

    Raises:
        BenchError: no record, or damaged predictions.
    """
    predictions, record = load_predictions(folder / PREDICTIONS), load_record(folder / RECORD)
    test = predictions.test
    matches = match(test.scene, "voc", (PASCAL_IOU,))
    decided = decide_scenes(test.scene, matches, *_threshold(record))
    return write_figures(
        folder,
        {
            "scenes": scenes_figure(test, view, decided, title),
            "precision-recall": _curve_figure(test, matches, record, decided, title),
            "sizes": _sizes_figure(test.scene, matches, decided, title),
            "curves": training_curves(folder / "curves.csv", title),
        },
    )


def _threshold(record: Record) -> tuple[float | None, str]:
    chosen = record.facts.get("scene.threshold")
    return (
        (chosen, "validation")
        if chosen is not None
        else (record.facts.get("scene.best_f1_threshold"), "best F1 on test")
    )


def decide_scenes(table: BoxTable, matches: Matches, threshold: float | None, source: str) -> Decided:
    """Return what is true, false and missed when detections with a score of `threshold` or more are accepted."""
    accepted = np.zeros(len(table.box), dtype=bool) if threshold is None else table.score >= threshold
    true, false = np.zeros((2, len(table.box)), dtype=bool)
    partner = np.full(len(table.box), -1)
    true[matches.position] = matches.tp[0, 0]
    false[matches.position] = ~matches.tp[0, 0] & ~matches.ignored[0, 0]
    true &= accepted
    partner[matches.position] = matches.truth[0]
    found = np.zeros(len(table.truth_box), dtype=bool)
    found[partner[true]] = True
    return Decided(
        threshold, source, true, false & accepted, np.where(true, partner, -1), found, ~found & ~table.truth_ignore
    )


# -- scenes ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Panel:
    """One scene to show: position in the part, (y0, x0, height, width) of the piece shown, and the counts of the whole
    scene.
    """

    kind: str
    scene: int
    window: tuple[int, int, int, int]
    true: int
    false: int
    missed: int


def choose_panels(part: PartPredictions, decided: Decided) -> list[Panel]:
    """Return the scenes with the most misses and false alarms, the worst first, then the others where most ships were
    found.
    """
    table = part.scene
    true, false = (
        np.diff(np.concatenate([[0], np.cumsum(flags)])[table.offset]) for flags in (decided.true, decided.false)
    )
    missed = np.diff(np.concatenate([[0], np.cumsum(decided.missed)])[table.truth_offset])
    errors = false + missed
    worst = [scene for scene in np.argsort(-errors, kind="stable").tolist() if errors[scene]][:WORST]
    best = [scene for scene in np.lexsort((errors, -true)).tolist() if true[scene] and scene not in worst][:BEST]
    chosen = [("worst", scene) for scene in worst] + [("best", scene) for scene in best]
    return [Panel(k, i, _window(part, decided, i, k), int(true[i]), int(false[i]), int(missed[i])) for k, i in chosen]


def _window(part: PartPredictions, decided: Decided, scene: int, kind: str) -> tuple[int, int, int, int]:
    """Return the piece of a scene that shows most of its errors ("worst") or of its ships ("best"); small scenes are
    shown whole.
    """
    table = part.scene
    here, ships = slice(*table.offset[scene : scene + 2]), slice(*table.truth_offset[scene : scene + 2])
    boxes = table.truth_box[ships]
    if kind == "worst":
        boxes = np.concatenate([table.box[here][decided.false[here]], boxes[decided.missed[ships]]])
    height, width = int(part.height[scene]), int(part.width[scene])
    longest = float((boxes[:, 2:] - boxes[:, :2]).max(initial=0))
    edge = max(CROP_PX, int(1.3 * longest))
    h, w = min(height, edge), min(width, edge)
    if len(boxes) == 0:
        return (height - h) // 2, (width - w) // 2, h, w
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = (np.abs(centres[:, None] - centres[None]) <= np.array([w, h]) / 2 - 8).all(axis=2)
    best = int(near.sum(axis=1).argmax())
    x, y = centres[near[best]].mean(axis=0)
    # the mean of a cluster may push one of it over the edge; its own centre does not
    if not near[best].all() or len(boxes) == 1:
        x, y = centres[best]
    return int(np.clip(y - h / 2, 0, height - h)), int(np.clip(x - w / 2, 0, width - w)), h, w


def scenes_figure(part: PartPredictions, view: SceneView, decided: Decided, title: str) -> Any:
    """Return the figure of the worst scenes with their boxes."""
    from matplotlib.figure import Figure

    panels = choose_panels(part, decided)
    columns = min(3, max(1, len(panels)))
    rows = -(-len(panels) // columns) if panels else 1
    figure = Figure(figsize=(3.9 * columns + 0.2, 4.15 * rows + 1.0), layout="constrained")
    figure.suptitle(f"{title}: worst scenes first, then the best\n{_summary(decided)}", fontsize=10)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    where = {name: k for k, name in enumerate(view.ids)}
    for axis in grid:
        axis.set_axis_off()
    if not panels:
        grid[0].text(0.5, 0.5, "no ship and no detection", ha="center", transform=grid[0].transAxes)
    for axis, panel in zip(grid, panels, strict=False):
        y0, x0, height, width = panel.window
        pixels = np.asarray(view.image(where[str(part.id[panel.scene])])[y0 : y0 + height, x0 : x0 + width])
        axis.imshow(
            display(pixels),
            cmap="gray",
            vmin=0,
            vmax=1,
            interpolation="nearest",
            extent=(x0, x0 + width, y0 + height, y0),
        )
        _draw_boxes(axis, part.scene, decided, panel.scene)
        axis.set(xlim=(x0, x0 + width), ylim=(y0 + height, y0))
        axis.set_title(_caption(part, panel), fontsize=7.5)
    names = {
        "true": "found",
        "truth": "its true box",
        "false": "false alarm",
        "missed": "missed ship",
        "ignored": "not counted",
    }
    figure.legend(
        handles=[_patch(kind, names[kind]) for kind in names],
        loc="outside lower center",
        ncols=5,
        fontsize=8,
        facecolor="0.2",
        labelcolor="white",
    )
    return figure


def _caption(part: PartPredictions, panel: Panel) -> str:
    scene = panel.scene
    stratum = f" ({part.stratum[scene]})" if part.stratum[scene] else ""
    y0, x0, height, width = panel.window
    whole = (height, width) == (int(part.height[scene]), int(part.width[scene]))
    piece = f"{width} x {height} px" + (
        "" if whole else f" at x {x0}, y {y0} of {part.width[scene]} x {part.height[scene]}"
    )
    return (
        f"{panel.kind}: {part.id[scene]}{stratum}\n{panel.true} found, {panel.false} false, {panel.missed} missed;"
        f" {piece}"
    )


def _summary(decided: Decided) -> str:
    counts = f"{decided.true.sum()} found, {decided.false.sum()} false alarms, {decided.missed.sum()} missed"
    at = "nothing accepted" if decided.threshold is None else f"threshold {decided.threshold:.4g} ({decided.source})"
    return f"{counts} at {at}"


def _draw_boxes(axis: Any, table: BoxTable, decided: Decided, scene: int) -> None:
    here, ships = slice(*table.offset[scene : scene + 2]), slice(*table.truth_offset[scene : scene + 2])
    boxes, truths = table.box[here], table.truth_box[ships]
    kinds = {
        "ignored": truths[table.truth_ignore[ships]],
        "truth": truths[decided.found[ships]],
        "true": boxes[decided.true[here]],
        "false": boxes[decided.false[here]],
        "missed": truths[decided.missed[ships]],
    }
    for kind, chosen in kinds.items():
        for x1, y1, x2, y2 in chosen.tolist():
            axis.add_patch(_patch(kind, "", (x1, y1, x2 - x1, y2 - y1)))


def _patch(kind: str, label: str, box: tuple[float, float, float, float] = (0, 0, 1, 1)) -> Any:
    from matplotlib.patches import Rectangle

    colour, style, width = STYLES[kind]
    return Rectangle(
        box[:2], box[2], box[3], fill=False, edgecolor=colour, linestyle=style, linewidth=width, label=label
    )


def display(pixels: np.ndarray) -> np.ndarray:
    """Return pixels (h, w) as float64 in [0, 1] for display, so that speckle stays dark grey and ships stand out.

    White is the 99.8 % value, but at least 5 times the median where the data type reaches so far; black is 0, or the 1
    % value where there are negative ones (dB).
    """
    values = pixels.astype(np.float64)
    low, middle, high = np.percentile(values, (1, 50, 99.8))
    if values.min() >= 0:
        most = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else np.inf
        low, high = 0.0, max(high, min(5 * middle, most))
    out: np.ndarray = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    return out


# -- curves ------------------------------------------------------------------------------------------------------------
def _curve_figure(part: PartPredictions, matches: Matches, record: Record, decided: Decided, title: str) -> Any:
    """Precision over recall on all test scenes and on those of each stratum, with the AP of the record."""
    figure, axis = plain_axes(f"{title}\nscene level, IoU 0.5; dots: threshold from {decided.source}")
    levels = {"scene": np.ones(len(part), dtype=np.int64)}
    levels |= {
        f"scene.{name}": (part.stratum == name).astype(np.int64) for name in sorted(set(part.stratum.tolist()) - {""})
    }
    for f1 in (0.2, 0.4, 0.6, 0.8):
        at = np.linspace(f1 / (2 - f1), 1, 100)
        axis.plot(at, f1 * at / (2 * at - f1), color="0.88", lw=0.8, zorder=0)
        axis.text(1.005, f1 / (2 - f1), f"F1 {f1:g}", color="0.6", fontsize=7, va="center")
    for i, (level, weights) in enumerate(levels.items()):
        curve = curve_from_matches(matches, PASCAL_IOU, "all", weights)
        colour, style = _LINES[i % len(_LINES)]
        name, ap = level.removeprefix("scene").lstrip(".") or "all", record.metrics.get(f"{level}.ap_area")
        ships = record.facts.get(f"{level}.ships", curve.positives)
        label = f"{name}: AP {'-' if ap is None else format(ap, '.3f')} ({ships} ships, {int(weights.sum())} scenes)"
        recall = curve.recall
        if recall is None or not len(recall):
            axis.plot([], [], color=colour, ls=style, label=label)
            continue
        axis.plot(recall, curve.precision, color=colour, ls=style, lw=1.6, label=label)
        accepted = 0 if decided.threshold is None else int((curve.threshold >= decided.threshold).sum())
        if accepted:
            axis.plot(recall[accepted - 1], curve.precision[accepted - 1], "o", color=colour, ms=6)
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.0), ylim=(0, 1.02))
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    return figure


def _sizes_figure(table: BoxTable, matches: Matches, decided: Decided, title: str) -> Any:
    """Recall by ship length, and the scores of true and of false detections."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.2, 4.2), layout="constrained")
    figure.suptitle(f"{title}\n{_summary(decided)}", fontsize=10)
    left, right = figure.subplots(1, 2)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    _recall_by_length(left, table, decided)
    _score_histogram(right, matches, decided)
    return figure


def _recall_by_length(axis: Any, table: BoxTable, decided: Decided) -> None:
    counted = ~table.truth_ignore
    length = (table.truth_box[:, 2:] - table.truth_box[:, :2]).max(axis=1, initial=0)
    group = np.searchsorted(_LENGTHS_PX, length, side="right") - 1
    names = [f"{low}-{high}" for low, high in zip(_LENGTHS_PX[:-1], _LENGTHS_PX[1:], strict=True)] + [
        f"{_LENGTHS_PX[-1]}+"
    ]
    ships = np.bincount(group[counted], minlength=len(names))
    found = np.bincount(group[counted & decided.found], minlength=len(names))
    share = found / np.maximum(ships, 1)
    axis.bar(np.arange(len(names)), share, color="#0072B2", alpha=0.8)
    for i, (value, of, n) in enumerate(zip(share, found, ships, strict=True)):
        axis.text(
            i, value + 0.015, f"{of}/{n}" if n else "none", ha="center", fontsize=7, color="black" if n else "0.6"
        )
    axis.set_xticks(np.arange(len(names)), names, fontsize=7, rotation=30)
    axis.set(xlabel="longer side of the true box, px", ylabel="share of ships found", ylim=(0, 1.08))


def _score_histogram(axis: Any, matches: Matches, decided: Decided) -> None:
    """Scores of all detections, accepted or not; those that are not counted are left out."""
    true = matches.tp[0, 0]
    false = ~true & ~matches.ignored[0, 0]
    if not (true | false).any():
        axis.text(0.5, 0.5, "no detections", ha="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    low, high = float(matches.score.min()), float(matches.score.max())
    bins = np.linspace(low, high if high > low else low + 1.0, 40)
    for flags, label, colour, style in ((false, "no ship", FALSE, "-"), (true, "a ship", TRUE, "--")):
        axis.hist(
            matches.score[flags],
            bins=bins,
            histtype="step",
            color=colour,
            ls=style,
            lw=1.6,
            label=f"{label} ({int(flags.sum())})",
        )
    if decided.threshold is not None:
        axis.axvline(decided.threshold, color="black", lw=1, ls="--", label=f"threshold {decided.threshold:.4g}")
    axis.set(xlabel="score", ylabel="detections", yscale="log", ylim=(0.7, None))
    axis.legend(fontsize=8)
