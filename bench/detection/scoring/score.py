"""Predictions -> metrics, without model, images or torch.

Metric names are `<level>.<metric>`. Levels: "scene" is what counts: detections merged over each whole scene.
`scene.<stratum>` is the same on the scenes of one stratum, such as `scene.inshore`. "tile" is each tile on its own,
before merging, by the truth in it; overlapping tiles show a ship several times, so tile numbers have another
denominator and are never to be compared with scene numbers.

    ap_area, ap_11pt         AP at IoU 0.5 by the area (VOC 2010) and by 11 points (VOC 2007); rule "voc"
    ap_coco, ap50, ap75      COCO's 101-point AP: mean over IoU 0.50:0.95, at 0.5, at 0.75; rule "coco"
    ap_<size>, ap50_<size>   the same for small, medium, large ships: box area up to 32^2, to 96^2, above (pixels)
    best_f1, best_f1_precision, best_f1_recall
                             at the threshold that is best *on the test scenes*: an upper bound; IoU 0.5, rule "voc"
    f1, precision, recall    at the threshold that is best on the validation scenes (scene levels only)

None where not defined: no ship of that size or stratum, no tiles, no validation scenes. Detections are not capped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.detection.scoring.average_precision import Curve, Decision, best_decision, decide
from bench.detection.scoring.evaluator import (
    IOUS,
    SIZES,
    BoxTable,
    Matches,
    ap_from_matches,
    curve_from_matches,
    match,
    mean_ap_from_matches,
    overlapping,
)
from bench.detection.scoring.predictions import DetectionPredictions, PartPredictions
from bench.detection.scoring.ties import order_spread, stated_spread
from bench.execution.records import Record
from bench.execution.task import Scores, Settled

PASCAL_IOU = 0.5  # of ap_area, ap_11pt, the curve, F1, precision and recall
APS = (
    "ap_area",
    "ap_11pt",
    "ap_coco",
    "ap50",
    "ap75",
    *(f"ap{t}_{size}" for t in ("", "50") for size in tuple(SIZES)[1:]),
)
BEST = ("best_f1", "best_f1_precision", "best_f1_recall")
DECISIONS = ("f1", "precision", "recall")
TILE = "tile_"  # before the names of the per-sample arrays of tiles


def score_predictions(predictions: DetectionPredictions) -> Scores:
    """Return every metric of a cell, the counts behind them, and the per-sample arrays of `matches_from_samples`."""
    test = predictions.test
    coco, voc = match_both(test.scene)
    chosen = _validation_decision(predictions.validation)
    facts: dict[str, Any] = {"scene.threshold": None if chosen is None else chosen.threshold}
    facts["scene.validation_f1"] = None if chosen is None else chosen.f1
    metrics, scene_facts = score_scenes(coco, voc, test.stratum, chosen is not None, facts["scene.threshold"])
    facts |= scene_facts
    for level, weights in levels_of(test.stratum).items():
        facts[f"{level}.ignored"] = int(_ignored(test.scene)[weights > 0].sum())
    facts |= order_spread(test.scene, metrics["scene.ap_area"], metrics["scene.ap_coco"])
    tiles = match_both(test.tile) if len(test.tile_scene) else None
    tile_metrics, tile_facts = score_tiles(tiles)
    if tiles is not None:
        facts["tile.ignored"] = int(_ignored(test.tile).sum())
    return Scores(metrics | tile_metrics, facts | tile_facts, _samples(test, (coco, voc), tiles))


def score_scenes(
    coco: Matches, voc: Matches, stratum: np.ndarray, decided: bool, threshold: float | None
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Return the metrics of whole scenes at every level, and the counts behind them.

    Args:
        stratum: (s,) text. decided: whether validation scenes chose a threshold. threshold: theirs; None accepts
            nothing.
    """
    metrics: dict[str, float | None] = {}
    facts: dict[str, Any] = {}
    for level, weights in levels_of(stratum).items():
        chosen = weights > 0
        of_level = coco.of(chosen), voc.of(chosen)
        curve = curve_from_matches(of_level[1], PASCAL_IOU)
        metrics |= _metrics(level, *of_level, curve)
        decision = decide(curve, threshold) if decided else Decision(None, None, None, None)
        metrics |= {f"{level}.{metric}": getattr(decision, metric) for metric in DECISIONS}
        facts |= _facts(level, *of_level, chosen, curve)
    return metrics, facts


def score_tiles(matches: tuple[Matches, Matches] | None) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Return the metrics of tiles, and the counts behind them; None, and no counts, where there are no tiles."""
    if matches is None:
        return {f"tile.{metric}": None for metric in (*APS, *BEST)}, {}
    coco, voc = matches
    curve = curve_from_matches(voc, PASCAL_IOU)
    everywhere = np.ones(voc.positives.shape[1], dtype=bool)
    return _metrics("tile", coco, voc, curve), _facts("tile", coco, voc, everywhere, curve)


def levels_of(stratum: np.ndarray) -> dict[str, np.ndarray]:
    """Return the levels of whole scenes, given the stratum (s,) of each: all of them, and each stratum; (s,) int64, 1
    where a scene belongs to it.
    """
    strata = sorted(set(stratum.tolist()) - {""})
    return {
        "scene": np.ones(len(stratum), dtype=np.int64),
        **{f"scene.{name}": (stratum == name).astype(np.int64) for name in strata},
    }


def match_both(table: BoxTable) -> tuple[Matches, Matches]:
    """Return the matches by the rule "coco" at all IoUs and sizes, and by "voc" at IoU 0.5."""
    pairs = overlapping(table, min(PASCAL_IOU, *IOUS))
    return match(table, "coco", IOUS, tuple(SIZES), pairs), match(table, "voc", (PASCAL_IOU,), pairs=pairs)


def all_aps(coco: Matches, voc: Matches, weights: np.ndarray | None = None) -> dict[str, float | None]:
    """Return every AP by its short name; `weights` (S,) says how often each scene counts."""
    out: dict[str, float | None] = {
        "ap_area": ap_from_matches(voc, "area", PASCAL_IOU, "all", weights),
        "ap_11pt": ap_from_matches(voc, "11-point", PASCAL_IOU, "all", weights),
        "ap_coco": mean_ap_from_matches(coco, "all", weights),
        "ap50": ap_from_matches(coco, "101-point", 0.5, "all", weights),
        "ap75": ap_from_matches(coco, "101-point", 0.75, "all", weights),
    }
    for size in tuple(SIZES)[1:]:
        out[f"ap_{size}"] = mean_ap_from_matches(coco, size, weights)
        out[f"ap50_{size}"] = ap_from_matches(coco, "101-point", 0.5, size, weights)
    return out


def _validation_decision(part: PartPredictions) -> Decision | None:
    """Return the best decision on the validation scenes; None where they hold no ship."""
    voc = match(part.scene, "voc", (PASCAL_IOU,))
    return best_decision(curve_from_matches(voc, PASCAL_IOU)) if voc.positives.sum() else None


def _metrics(level: str, coco: Matches, voc: Matches, curve: Curve) -> dict[str, float | None]:
    best = best_decision(curve)
    values = all_aps(coco, voc) | dict(zip(BEST, (best.f1, best.precision, best.recall), strict=True))
    return {f"{level}.{metric}": value for metric, value in values.items()}


def _facts(level: str, coco: Matches, voc: Matches, chosen: np.ndarray, curve: Curve) -> dict[str, Any]:
    """Return the counts behind a level's metrics; sizes count as their APs do, both bounds included. `chosen` (S,)
    bool: the scenes of the level.
    """
    found = np.bincount(voc.scene, minlength=len(chosen))[chosen]
    facts: dict[str, Any] = {
        "tiles" if level == "tile" else "scenes": int(chosen.sum()),
        "ships": int(voc.positives[0].sum()),
        "detections": int(found.sum()),
        "max_detections": int(found.max(initial=0)),
        "without_detection": int((found == 0).sum()),
        "best_f1_threshold": best_decision(curve).threshold,
    }
    facts |= {f"ships_{size}": int(coco.positives[a].sum()) for a, size in enumerate(coco.sizes) if size != "all"}
    return {f"{level}.{name}": value for name, value in facts.items()}


def _ignored(table: BoxTable) -> np.ndarray:
    """Return the number of ignored ships of each scene, (s,)."""
    return np.diff(np.concatenate([[0], np.cumsum(table.truth_ignore)])[table.truth_offset])


# -- per-sample arrays of a committed entry ----------------------------------------------------------------------------
def _samples(
    part: PartPredictions, scenes: tuple[Matches, Matches], tiles: tuple[Matches, Matches] | None
) -> dict[str, np.ndarray]:
    """Return what a board's entry keeps: enough to compute every number again, those of scenes for any resampling of
    scenes.

    scene_id, group, stratum (s,) text; ships (4, s) int32 by size (all, small, medium, large). Detections by rank,
    highest score first: scene (n,) int32, score (n,) float64; coco_tp, coco_ignored (4, n) uint16 by size, bit t for
    the IoU 0.50 + 0.05 t; voc_tp, voc_ignored (n,) bool at IoU 0.5. The same of tiles with `tile_` before each name,
    their ships (4, 0) where there are no tiles.
    """
    nobody = match_both(BoxTable.of([], [])) if tiles is None else tiles
    return {
        "scene_id": part.id,
        "group": part.group,
        "stratum": part.stratum,
        **_kept(*scenes),
        **{f"{TILE}{name}": values for name, values in _kept(*nobody).items()},
    }


def _kept(coco: Matches, voc: Matches) -> dict[str, np.ndarray]:
    return {
        "ships": coco.positives.astype(np.int32),
        "scene": coco.scene.astype(np.int32),
        "score": coco.score,
        "coco_tp": _pack(coco.tp),
        "coco_ignored": _pack(coco.ignored),
        "voc_tp": voc.tp[0, 0],
        "voc_ignored": voc.ignored[0, 0],
    }


def settled(record: Record, samples: Mapping[str, np.ndarray]) -> Settled:
    """Return the metrics of a record, and the counts behind them, by its per-sample arrays.

    The threshold is the record's: the validation scenes that it was chosen on stand in the predictions file alone.
    How far equal scores move a number only the boxes say; here, that some are equal, and that the range holds it.
    Entries of early releases hold no arrays of tiles: their `tile.*` is not settled.

    Raises:
        BenchError: an array is missing, or they do not fit together.
    """
    decided = record.facts.get("scene.validation_f1") is not None
    matches = matches_from_samples(samples)
    metrics, facts = score_scenes(*matches, samples["stratum"], decided, record.facts.get("scene.threshold"))
    if f"{TILE}ships" in samples:
        some = samples[f"{TILE}ships"].shape[-1] > 0
        tile_metrics, tile_facts = score_tiles(matches_from_samples(samples, TILE) if some else None)
        metrics, facts = metrics | tile_metrics, facts | tile_facts
    return Settled(metrics, facts | stated_spread(record.facts, samples["score"], metrics))


def matches_from_samples(samples: Mapping[str, np.ndarray], of: str = "") -> tuple[Matches, Matches]:
    """Return the matches by "coco" and by "voc" that an entry's per-sample arrays keep; which truth was taken they do
    not hold (-1).

    Args:
        of: "" for those of scenes, `TILE` for those of tiles.

    Raises:
        BenchError: an array is missing, or they do not fit together.
    """
    try:
        scene, ships = samples[f"{of}scene"].astype(np.int64), samples[f"{of}ships"].astype(np.int64)
        score = samples[f"{of}score"]
        coco_tp, coco_ignored = _unpack(samples[f"{of}coco_tp"]), _unpack(samples[f"{of}coco_ignored"])
        voc_tp, voc_ignored = samples[f"{of}voc_tp"][None, None], samples[f"{of}voc_ignored"][None, None]
    except KeyError as error:
        raise BenchError(f"the per-sample scores lack {error}; score the cell again") from error
    n, sizes = len(score), tuple(SIZES)
    fits = coco_tp.shape == coco_ignored.shape == (len(sizes), len(IOUS), n) and voc_tp.shape == voc_ignored.shape == (
        1,
        1,
        n,
    )
    if (
        not fits
        or scene.shape != (n,)
        or ships.ndim != 2
        or len(ships) != len(sizes)
        or n
        and not (0 <= scene.min() <= scene.max() < ships.shape[1])
    ):
        raise BenchError("the per-sample scores do not fit together; score the cell again")
    position = np.arange(n)
    coco = Matches(
        "coco", IOUS, sizes, scene, score, position, coco_tp, coco_ignored, np.full((len(IOUS), n), -1), ships
    )
    voc = Matches(
        "voc", (PASCAL_IOU,), ("all",), scene, score, position, voc_tp, voc_ignored, np.full((1, n), -1), ships[:1]
    )
    return coco, voc


def curve_from_samples(samples: Mapping[str, np.ndarray], weights: np.ndarray | None = None) -> Curve:
    """Return the precision-recall curve at IoU 0.5 by the rule "voc" from an entry's per-sample arrays; `weights` (S,)
    chooses scenes.
    """
    return curve_from_matches(matches_from_samples(samples)[1], PASCAL_IOU, "all", weights)


def _pack(flags: np.ndarray) -> np.ndarray:
    """Return (A, T, n) bool as (A, n) uint16 with bit t for threshold t."""
    return np.asarray((flags << np.arange(flags.shape[1], dtype=np.uint16)[None, :, None]).sum(axis=1, dtype=np.uint16))


def _unpack(bits: np.ndarray) -> np.ndarray:
    return np.asarray((bits[:, None, :] >> np.arange(len(IOUS), dtype=np.uint16)[None, :, None]) & 1 > 0)
