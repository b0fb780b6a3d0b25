"""The shortcut test of docs/protocols.md: how far a matcher gets that knows radiometry, or the source scene, and no
place. A view.

Patches of one scene share tones, so that a matcher can accept a pair because both patches stem from one scene. Drawn
uniformly, most wrong partners come from other scenes: that matcher misses nothing and errs only where a wrong partner
stems from the same scene by chance. With the shares p_g of the scenes its false positive rate is F = sum p_g^2, so at
1:1 negatives

    accuracy = 1 - F / 2,  precision = 1 / (1 + F),  recall = 1,  AUC = 1 - F / 2,  FPR95 = F,
    R@1 = scenes / patches of the gallery.

Three equally large scenes give 0.833, 0.750, 1.000 and F = 0.333. Negatives of the same scene leave it 0.5.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.boards.reading import see
from bench.boards.tables import Column, RowRecords, Section, TableCell, TableRow, aggregate, seeds_text
from bench.execution.records import Record
from bench.matching.scoring.metrics import pair_metrics
from bench.matching.scoring.pairs import HARD, POSITIVE, UNIFORM
from bench.matching.scoring.resampled import cluster_of_samples

Samples = Callable[[Record], Mapping[str, Any] | None]

RADIOMETRY = "histogram"
"""The matcher that sees grey levels and colours of whole patches alone."""

_R1, _DROP = "gallery.sar_to_optical.recall_at_1", "shortcut.drop"
_COLUMNS = (
    Column("uniform.accuracy", "accuracy"),
    Column("uniform.precision", "precision"),
    Column("uniform.recall", "recall"),
    Column("uniform.roc_auc", "AUC"),
    Column("uniform.fpr95", "FPR95", higher_better=False),
    Column("hard.accuracy", "hard acc"),
    Column(_DROP, "drop on hard", higher_better=None, signed=True),
    Column(_R1, "R@1 S→O"),
)


@dataclass(frozen=True)
class Scenes:
    """The source scenes of a test part.

    Attributes:
        of: (n,) text, scene of each test sample; "" where it is unknown.
        noun: what they are called: "source scene", or "group of the split" where only that is known.
    """

    of: np.ndarray
    noun: str

    @property
    def known(self) -> np.ndarray:
        """(n,) bool, whose scene is known."""
        mask: np.ndarray = self.of != ""
        return mask

    @property
    def sizes(self) -> np.ndarray:
        """(g,) int64, number of samples of each scene."""
        sizes: np.ndarray = np.unique(self.of[self.known], return_counts=True)[1].astype(np.int64)
        return sizes


def scenes_of(samples: Mapping[str, Any]) -> Scenes:
    """Return the scenes of the test samples: the recorded scene, else the split's group; a group named by the sample's
    own id says nothing.
    """
    cluster, ids = cluster_of_samples(samples), np.asarray(samples["id"])
    named = samples.get("scene")
    recorded = named is not None and bool((np.asarray(named) != "").any())
    return Scenes(np.where(cluster == ids, "", cluster), "source scene" if recorded else "group of the split")


def scene_only(rate: float) -> dict[str, float]:
    """Return the metrics, at 1:1 negatives, of the matcher that accepts a pair if and only if both patches stem from
    one scene.

    Args:
        rate: its false positive rate: the probability that a wrong partner stems from the same scene.
    """
    return {
        "uniform.accuracy": 1 - rate / 2,
        "uniform.precision": 1 / (1 + rate),
        "uniform.recall": 1.0,
        "uniform.roc_auc": 1 - rate / 2,
        "uniform.fpr95": rate,
    }


def same_scene_rate(shares: Sequence[float] | np.ndarray) -> float:
    """Return the probability that two samples stem from one scene, from the scenes' shares (any scale): sum p_g^2."""
    p = np.asarray(shares, dtype=np.float64)
    return float(((p / p.sum()) ** 2).sum())


def same_scene_rate_of(sizes: np.ndarray) -> float | None:
    """Return the probability that two *different* samples of a finite set stem from one scene; None for fewer than two
    samples.
    """
    total = int(sizes.sum())
    return float((sizes * (sizes - 1)).sum() / (total * (total - 1))) if total > 1 else None


def expected(samples: Mapping[str, Any], scenes: Scenes) -> dict[str, float]:
    """Return what the scene-only matcher scores in expectation over the draw of uniform negatives; {} where no scene is
    known.

    Hard negatives of the same scene leave it 0.5; the gallery is the protocol's, ties broken at random.
    """
    rate = same_scene_rate_of(scenes.sizes)
    if rate is None:
        return {}
    out = scene_only(rate)
    position = np.asarray(samples["gallery_position"])
    held = scenes.of[position][scenes.known[position]]
    if len(held):
        out[_R1] = len(np.unique(held)) / len(held)
    return out


def on_drawn_pairs(samples: Mapping[str, Any], scenes: Scenes) -> dict[str, float]:
    """Return what the scene-only matcher scores on the pairs as drawn, those with an unknown scene left out; {} where
    none is left.
    """
    sar, optical, kind = (np.asarray(samples[name]) for name in ("pair_sar", "pair_optical", "kind"))
    known = scenes.known[sar] & scenes.known[optical]
    apart = (scenes.of[sar] != scenes.of[optical]).astype(np.float64)
    out: dict[str, float] = {}
    for name, code in (("uniform", UNIFORM), ("hard", HARD)):
        keep = known & ((kind == POSITIVE) | (kind == code))
        if not (kind[keep] == code).any():
            continue
        found = pair_metrics(kind[keep] == POSITIVE, apart[keep], 0.5)
        wanted = ("accuracy",) if name == "hard" else ("accuracy", "precision", "recall", "roc_auc", "fpr95")
        out |= {f"{name}.{metric}": float(value) for metric in wanted if (value := found[metric]) is not None}
    return out


# -- the section of a board --------------------------------------------------------------------------------------------
def shortcut_section(block: str, rows: Sequence[RowRecords], samples: Samples) -> Section | None:
    """Return the section that stands under every matching board; None where no row is finished.

    Args:
        block: its label. rows: all rows of the block. samples: record -> its per-sample arrays, None where they are
            not available.
    """
    finished = [record for _, group, _ in rows for record in group if record.status == "finished"]
    if not finished:
        return None
    arrays = next((found for record in finished if (found := samples(record)) is not None), None)
    scenes = None if arrays is None else scenes_of(arrays)
    models: list[TableRow] = []
    shares: dict[str, float] = {}
    drawn: dict[str, float] = {}
    if arrays is not None and scenes is not None and scenes.known.any():
        drawn = on_drawn_pairs(arrays, scenes)
        hard = finished[0].facts.get("hard_negatives") == "scene"
        shares = {**expected(arrays, scenes), **({"hard.accuracy": 0.5} if hard else {})}
        models = [_model("the scene alone, expected", shares), _model("the scene alone, pairs as drawn", drawn)]
    own = tuple(_row(*row) for row in sorted(rows, key=lambda row: not _is_radiometry(row[1])))
    after = [_said_of_scenes(scenes, {**shares, **drawn}, rows), _said_of_radiometry(rows), *_said_of_hard(rows)]
    note = _note(finished[0], models)
    return Section(block, "how far shortcuts go", note, _COLUMNS, (*models, *own), after=tuple(after))


def _note(record: Record, models: Sequence[TableRow]) -> str:
    named = {"scene": "another patch of the same scene", "cluster": "another patch of the same low-level cluster"}
    kind = named.get(str(record.facts.get("hard_negatives")))
    known = "The source scene alone, or radiometry alone" if models else "Radiometry alone"
    hard = f"; hard negatives: {kind}" if kind else ""
    return f"{known} (`{RADIOMETRY}`), as bars that a row must beat{hard} ({see('How far shortcuts go')})."


def _model(label: str, metrics: Mapping[str, float]) -> TableRow:
    values = dict(metrics)
    if "hard.accuracy" in values and "uniform.accuracy" in values:
        values[_DROP] = values["hard.accuracy"] - values["uniform.accuracy"]
    return TableRow(label, {column.key: TableCell(values.get(column.key)) for column in _COLUMNS}, "–", "")


def _row(label: str, records: Sequence[Record], marks: tuple[str, ...]) -> TableRow:
    cells = {
        column.key: _drop(records) if column.key == _DROP else aggregate(records, column.key) for column in _COLUMNS
    }
    return TableRow(label, cells, seeds_text(records), "", {}, marks)


def _drop(records: Sequence[Record]) -> TableCell:
    """Return accuracy on hard minus on uniform negatives, mean and spread over seeds; unknown where one of the two
    is.
    """
    if any(aggregate(records, f"{kind}.accuracy").value is None for kind in ("uniform", "hard")):
        return TableCell(None, n=len(records))
    drops = [float(r.metrics["hard.accuracy"] or 0) - float(r.metrics["uniform.accuracy"] or 0) for r in records]
    return TableCell(statistics.fmean(drops), statistics.stdev(drops) if len(drops) > 1 else None, len(drops))


def _is_radiometry(records: Sequence[Record]) -> bool:
    method = records[0].spec["method"]
    return bool(method["matcher"] == RADIOMETRY and method["control"] == "none")


def _means(rows: Sequence[RowRecords], metric: str) -> dict[str, float]:
    """Return label -> mean over seeds, of the rows where it is known, the greatest first."""
    found = {label: aggregate(records, metric).value for label, records, _ in rows}
    return dict(
        sorted(((label, value) for label, value in found.items() if value is not None), key=lambda item: -item[1])
    )


def _listed(means: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {value:.3f}" for label, value in means.items())


def _said_of_scenes(scenes: Scenes | None, model: Mapping[str, float], rows: Sequence[RowRecords]) -> str:
    """Return what knowing the scene would score here, and which rows are not above it."""
    if scenes is None:
        return "The score of the source scene alone is unknown: no row's per-sample scores are available."
    if not scenes.known.any():
        three = scene_only(same_scene_rate((1, 1, 1)))
        numbers = " / ".join(f"{three[f'uniform.{name}']:.3f}" for name in ("accuracy", "precision", "recall"))
        return (
            "Source scenes unknown; three equally large ones would give the scene alone accuracy / precision / recall"
            f" {numbers}."
        )
    count, known = len(scenes.sizes), int(scenes.known.sum())
    some = "" if known == len(scenes.of) else f", known of {known} of {len(scenes.of)} test patches"
    if "uniform.accuracy" not in model:
        return (
            f"No sampled pair has two patches of known {scenes.noun}{some}, so the score of the scene alone is unknown."
        )
    if count == 1:
        return (
            f"All test patches stem from one {scenes.noun}{some}: recognising it is no shortcut (accuracy"
            f" {model['uniform.accuracy']:.3f})."
        )
    bar, found = model["uniform.accuracy"], model.get(_R1, 0.0)
    below = {label: value for label, value in _means(rows, "uniform.accuracy").items() if value <= bar}
    above = {label: value for label, value in _means(rows, _R1).items() if value > found}
    text = f"The scene alone ({count} {scenes.noun}s{some}): accuracy {bar:.3f}; "
    text += f"not above it: {_listed(below)}." if below else "every row is above it."
    return text + (f" R@1 {found:.3f}; above it: {_listed(above) or 'no row'}." if found else "")


def _said_of_radiometry(rows: Sequence[RowRecords]) -> str:
    """Return how far radiometry alone goes, and which rows are not above it."""
    bars = _means([row for row in rows if _is_radiometry(row[1])], "uniform.accuracy")
    if not bars:
        return (
            f"Radiometry alone is not measured: the suite has no finished `{RADIOMETRY}` row; add"
            f" `{RADIOMETRY}: {{matcher: {RADIOMETRY}}}` to its methods."
        )
    name, bar = next(iter(bars.items()))
    others = {label: value for label, value in _means(rows, "uniform.accuracy").items() if label not in bars}
    below = {label: value for label, value in others.items() if value <= bar}
    if not others:
        return f"Radiometry alone (`{name}`): accuracy {bar:.3f}; there is no other row."
    return f"Radiometry alone (`{name}`): accuracy {bar:.3f}; " + (
        f"not above it: {_listed(below)}." if below else "every other row is above it."
    )


def _said_of_hard(rows: Sequence[RowRecords]) -> list[str]:
    """Return what is left on hard negatives; nothing where there are none."""
    left = _means(rows, "hard.accuracy")
    if not left:
        return []
    bars = [label for label, records, _ in rows if _is_radiometry(records) and label in left]
    bar = max([0.5, *(left[label] for label in bars)])
    below = {label: value for label, value in left.items() if value <= bar and label not in bars}
    what = f"radiometry ({bar:.3f})" if bar > 0.5 else "chance (0.500)"
    tail = f"not above {what}: {_listed(below)}." if below else f"every {'other ' if bars else ''}row is above {what}."
    return [f"On hard negatives: {_listed(left)}; {tail}"]
