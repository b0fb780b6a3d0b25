"""Known predictions of the detection task, and the numbers that must come out of them by closed forms.

Four scenes hold four square ships each, two small, a medium and a large one; scenes 0 and 1 are inshore, scene 2
offshore, scene 3 neither; scene 4 is inshore and empty. In scene 0 an object is to be ignored. Two tiles of each scene
overlap where the ships are, so that tiles show every ship twice. All numbers of ships are powers of two, so that no
recall falls between two floating-point numbers. On validation all is right, with scores of 1/2: the threshold chosen
there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from bench.data.ships.index import ShipScene
from bench.detection.detectors.base import Detections, ScenePrediction
from bench.detection.scoring.predictions import DetectionPredictions, PartPredictions, build_part, save_predictions
from bench.detection.scoring.score import score_predictions
from bench.execution.known_answers import Expected, Known
from bench.execution.records import PREDICTIONS
from bench.execution.task import Scores

# pixels; divisible by 3 and 5, so that shares of them are whole
SIDES = {
    "small": (30, 30),
    "medium": (60,),
    "large": (120,),
}
EDGES = tuple(edge for edges in SIDES.values() for edge in edges)
HEIGHT, WIDTH, TILE, BAND = 640, 1024, 640, 128
LEFTS = (0, WIDTH - TILE)  # of a scene's two tiles
STRATA = ("inshore", "inshore", "offshore", "", "inshore")
EMPTY_SCENE, THRESHOLD, SURE = 4, 0.5, 0.9
IGNORED = np.array([100.0, 540.0, 160.0, 600.0])
# level -> the scenes (of the level "tile": tiles) that hold ships, four in each, in the order of the file
GROUPS = {"scene": 4, "scene.inshore": 2, "scene.offshore": 1, "tile": 8}
SHARES = {"": 4, **{f"_{size}": len(edges) for size, edges in SIDES.items()}}  # ships of a scene by size
Table = dict[str, Expected]
# (place of the scene or tile in its table, scene, tile 0 or 1, or None for the scene as a whole) -> boxes in the
# scene's frame
Find = Callable[[int, int, int | None], Detections]


def known_predictions() -> tuple[Known, ...]:
    """Return the known predictions; together they cover every metric of `score_predictions`."""
    cases = (
        _truth,
        _empty,
        _half,
        _constant,
        _shuffled,
        _duplicates,
        _false_first,
        _ignored,
        _unsure,
        _blind_tiles,
        _bare,
    )
    return tuple(case() for case in cases) + tuple(
        _shifted(share) for share in (Fraction(1, 5), Fraction(1, 3), Fraction(1, 2))
    )


# -- scenes and files --------------------------------------------------------------------------------------------------
def _ships(scene: int) -> np.ndarray:
    """Return the boxes (4, 4) of a scene; each scene has a band of its own, so that no box meets a ship of another
    scene.
    """
    if scene == EMPTY_SCENE:
        return np.zeros((0, 4))
    left = np.cumsum([LEFTS[1] + 2, *(edge + 2 for edge in EDGES[:-1])]).astype(np.float64)
    top, edge = np.full(4, float(BAND * scene)), np.array(EDGES, dtype=np.float64)
    return np.stack([left, top, left + edge, top + edge], axis=1)


def _truth_of(scene: int, tile: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (boxes, ignore) of a scene, or of what one of its tiles shows, in the scene's frame."""
    boxes = _ships(scene)
    aside = scene == 0 and tile != 1
    return (np.vstack([boxes, IGNORED]), np.arange(5) == 4) if aside else (boxes, np.zeros(len(boxes), dtype=bool))


def _moved(found: Detections, left: float) -> Detections:
    return Detections(found.boxes - [left, 0, left, 0], found.scores)


def _part(find: Find, scenes: Sequence[int]) -> PartPredictions:
    """Return what `find` sees in scenes and in both tiles of each."""
    items, predicted, tile_truth = [], [], []
    windows = tuple((0, left, TILE, TILE) for left in LEFTS)
    for place, scene in enumerate(scenes):
        items.append(ShipScene(f"s{scene}", f"s{scene}.png", scene + 1, HEIGHT, WIDTH, *_truth_of(scene)))
        tiles = tuple(_moved(find(2 * place + tile, scene, tile), left) for tile, left in enumerate(LEFTS))
        predicted.append(ScenePrediction(find(place, scene, None), windows, tiles))
        truths = [(*_truth_of(scene, tile), left) for tile, left in enumerate(LEFTS)]
        tile_truth.append([(boxes - [left, 0, left, 0], ignore) for boxes, ignore, left in truths])
    return build_part(items, predicted, [STRATA[scene] for scene in scenes], tile_truth)


def _right(place: int, scene: int, tile: int | None) -> Detections:
    boxes = _ships(scene)
    return Detections(boxes, np.full(len(boxes), SURE))


def _on_validation(place: int, scene: int, tile: int | None) -> Detections:
    boxes = _ships(scene)
    return Detections(boxes, np.full(len(boxes), THRESHOLD))


def _known(name: str, about: str, expected: Table, find: Find, validation: Find = _on_validation) -> Known:
    return _scored(name, about, expected, DetectionPredictions(_part(validation, (0, 2)), _part(find, range(5)), 0.5))


def _scored(name: str, about: str, expected: Table, predictions: DetectionPredictions) -> Known:
    def write(folder: Path) -> None:
        save_predictions(folder / PREDICTIONS, predictions)

    def score() -> Scores:
        return score_predictions(predictions)

    return Known(name, about, expected, write, score)


# -- tables of expected numbers ----------------------------------------------------------------------------------------
def _aps(
    precision: Callable[[int, int, str], Sequence[Fraction | int]], ious: int, why: str, within: float = 1e-12
) -> Table:
    """Return every AP from the interpolated precision at each found ship, by the definition of each kind of AP, in
    whole numbers.

    Args:
        precision: (scenes with ships in the level, ships of this size in each, size) -> precision at each ship that is
            found at IoU 0.5, by falling score.
        ious: of COCO's ten thresholds, those up to which the boxes are good enough.
    """
    out: Table = {}
    for level, scenes in GROUPS.items():
        for size, share in SHARES.items():
            ships, found = scenes * share, list(precision(scenes, share, size)) if ious else []
            points = {steps: _sampled(found, ships, steps) for steps in (10, 100)}
            values = {f"ap50{size}": points[100], f"ap{size or '_coco'}": points[100] * ious / 10}
            if not size:
                values |= {
                    "ap_area": Fraction(sum(found)) / ships,
                    "ap_11pt": points[10],
                    "ap75": points[100] if ious > 5 else Fraction(0),
                }
            out |= {f"{level}.{metric}": Expected(float(value), why, within) for metric, value in values.items()}
    return out


def _sampled(found: Sequence[Fraction | int], ships: int, steps: int) -> Fraction:
    """Return the mean precision at the recalls 0, 1 / steps, ..., 1; 0 where so many ships are not found."""
    needed = [max(1, math.ceil(Fraction(i * ships, steps))) for i in range(steps + 1)]
    return Fraction(sum(Fraction(found[n - 1]) for n in needed if n <= len(found))) / (steps + 1)


def _decisions(
    best: Callable[[int], tuple[int, int]], chosen: Callable[[int], tuple[int, int]], why: str, within: float = 1e-12
) -> Table:
    """Return F1, precision and recall from (true, false positives) for n ships, at the best threshold and at that of
    validation.
    """
    out: Table = {}
    for level, scenes in GROUPS.items():
        n = 4 * scenes
        of = {("best_f1", "best_f1_precision", "best_f1_recall"): best}
        of |= {("f1", "precision", "recall"): chosen} if level != "tile" else {}  # tiles have no threshold of their own
        for names, counts in of.items():
            tp, fp = counts(n)
            values = 2 * tp / (tp + fp + n), tp / (tp + fp) if tp + fp else None, tp / n
            reason = f"{why}: tp {tp} of {n}, fp {fp}"
            out |= {
                f"{level}.{name}": Expected(value, reason, within) for name, value in zip(names, values, strict=True)
            }
    return out


# -- the predictions ---------------------------------------------------------------------------------------------------
def _all(scenes: int, share: int, size: str) -> list[int]:
    return [1] * (scenes * share)


def _perfect(why: str) -> Table:
    return _aps(_all, 10, why, 0.0) | _decisions(lambda n: (n, 0), lambda n: (n, 0), why, 0.0)


def _nothing(why: str, false: int) -> Table:
    """Return what comes out when no ship is found; `false`: false positives a ship."""
    return _aps(lambda *_: [], 10, why) | _decisions(lambda n: (0, 0), lambda n: (0, false * n), why)


def _truth() -> Known:
    counts = {
        "scene.scenes": 5,
        "scene.ships": 16,
        "scene.detections": 16,
        "scene.without_detection": 1,
        "scene.ignored": 1,
    }
    counts |= {
        "scene.ships_small": 8,
        "scene.inshore.ships": 8,
        "tile.tiles": 10,
        "tile.ships": 32,
        "tile.ships_large": 8,
    }
    table = _perfect("all found, nothing else") | {
        name: Expected(value, "as dealt", 0.0) for name, value in counts.items()
    }
    return _known("truth", "every ship, by its own box", table, _right)


def _empty() -> Known:
    def find(place: int, scene: int, tile: int | None) -> Detections:
        return Detections.none()

    return _known("empty", "no box, on validation neither", _nothing("nothing found is 0, not unknown", 0), find, find)


def _half() -> Known:
    """Found are the two small ships of each scene: AP by area 1/2, by 11 points 6/11, by 101 points 51/101."""

    def find(place: int, scene: int, tile: int | None) -> Detections:
        return _right(place, scene, tile).take(np.arange(len(_ships(scene))) < 2)

    def precision(scenes: int, share: int, size: str) -> list[int]:
        return [1] * (scenes * {"": 2, "_small": 2}.get(size, 0))

    table = _aps(precision, 10, "precision 1 up to the recall of the small ships") | _decisions(
        lambda n: (n // 2, 0), lambda n: (n // 2, 0), "half is found"
    )
    return _known("half", "the small ships alone", table, find)


def _constant() -> Known:
    """Equal scores rank in the order of the scenes, then as they came: after s whole scenes s * c hits and as many
    false ones.
    """

    def find(place: int, scene: int, tile: int | None) -> Detections:
        boxes = np.vstack([_ships(scene), _elsewhere(scene)])
        return Detections(boxes, np.full(len(boxes), THRESHOLD))

    def precision(scenes: int, share: int, size: str) -> list[Fraction]:
        return [Fraction(s + 1, 2 * s + 1) for s in range(scenes) for _ in range(share)]

    table = _aps(precision, 10, "(s + 1) / (2s + 1) for the ships of scene s, tied ones in their order")
    table |= _decisions(lambda n: (n, n), lambda n: (n, n), "all are accepted together")
    return _known("constant", "one score; as many false boxes as ships", table, find)


def _elsewhere(scene: int) -> np.ndarray:
    """Return boxes of the ships' sizes where the scene has no ship: in the band of another scene's."""
    return _ships(scene if scene == EMPTY_SCENE else (scene + 1) % 4)


def _shuffled() -> Known:
    def find(place: int, scene: int, tile: int | None) -> Detections:
        boxes = _elsewhere(scene)
        return Detections(boxes, np.full(len(boxes), SURE))

    return _known("shuffled", "every scene's boxes in another scene", _nothing("no box meets a ship", 1), find)


def _duplicates() -> Known:
    """Each ship is found twice in a row: precision i / (2i - 1) at the i-th, falling, so interpolation changes
    nothing.
    """

    def find(place: int, scene: int, tile: int | None) -> Detections:
        boxes = np.repeat(_ships(scene), 2, axis=0)
        return Detections(boxes, SURE - 0.04 * place - 0.005 * np.arange(len(boxes)))

    def precision(scenes: int, share: int, size: str) -> list[Fraction]:
        return [Fraction(i, 2 * i - 1) for i in range(1, scenes * share + 1)]

    table = _aps(precision, 10, "mean of i / (2i - 1)") | _decisions(
        lambda n: (n, n - 1), lambda n: (n, n), "the second box on a ship is false; F1 rises up to the last ship"
    )
    return _known("duplicates", "every ship twice in a row", table, find)


def _false_first() -> Known:
    """A medium-sized false box of the highest score, in the empty inshore scene: precision at the last of n ships is
    n / (n + 1).
    """

    def find(place: int, scene: int, tile: int | None) -> Detections:
        if scene != EMPTY_SCENE or tile == 1:
            return _right(place, scene, tile)
        return Detections(np.array([[500.0, 500.0, 560.0, 560.0]]), np.array([0.99]))

    def precision(scenes: int, share: int, size: str) -> list[Fraction | int]:
        n, hit = scenes * share, scenes != GROUPS["scene.offshore"] and size in ("", "_medium")
        return [Fraction(n, n + 1) if hit else 1] * n

    def counts(n: int) -> tuple[int, int]:
        return n, 0 if n == 4 * GROUPS["scene.offshore"] else 1

    table = _aps(precision, 10, "n / (n + 1); 1 where that scene or size does not belong") | _decisions(
        counts, counts, "one false"
    )
    return _known("false-first", "right, but the box of highest score is false", table, find)


def _ignored() -> Known:
    def find(place: int, scene: int, tile: int | None) -> Detections:
        found = _right(place, scene, tile)
        if scene != 0 or tile == 1:
            return found
        return Detections(np.vstack([IGNORED, IGNORED, found.boxes]), np.concatenate([[0.99, 0.98], found.scores]))

    return _known(
        "ignored",
        "right, and two boxes on what is to be ignored",
        _perfect("boxes on ignored objects count neither way"),
        find,
    )


def _unsure() -> Known:
    """The large ship of each scene scores below the threshold of validation, the medium one just meets it."""

    def find(place: int, scene: int, tile: int | None) -> Detections:
        return Detections(_ships(scene), np.array([SURE, SURE, THRESHOLD, THRESHOLD - 0.1])[: len(_ships(scene))])

    why = "a threshold changes no ranking; scores that meet it are accepted"
    table = _aps(_all, 10, why) | _decisions(lambda n: (n, 0), lambda n: (n * 3 // 4, 0), why)
    return _known("unsure", "right, but large ships below the threshold", table, find)


def _blind_tiles() -> Known:
    """One tile of each scene sees nothing, the other and the scene as a whole see all."""

    def find(place: int, scene: int, tile: int | None) -> Detections:
        return Detections.none() if tile == 1 else _right(place, scene, tile)

    def precision(scenes: int, share: int, size: str) -> list[int]:
        return [1] * (scenes * share // (2 if scenes == GROUPS["tile"] else 1))

    def best(n: int) -> tuple[int, int]:
        return (n // 2 if n == 4 * GROUPS["tile"] else n), 0

    why = "tiles: precision 1 up to recall 1/2; scenes: all found"
    table = _aps(precision, 10, why) | _decisions(best, lambda n: (n, 0), why)
    return _known("blind-tiles", "right, but one tile of two sees nothing", table, find)


def _bare() -> Known:
    """Without tiles, strata, validation scenes and ships of some size, what they would show is unknown; nothing becomes
    0.
    """
    box = _ships(1)[2:3]
    scenes = [ShipScene("s1", "s1.png", 1, HEIGHT, WIDTH, box, np.zeros(1, dtype=bool))]
    test = build_part(scenes, [ScenePrediction(Detections(box, np.ones(1)))])
    kept = (
        "ap_area",
        "ap_11pt",
        "ap_coco",
        "ap50",
        "ap75",
        "ap_medium",
        "ap50_medium",
        "best_f1",
        "best_f1_precision",
        "best_f1_recall",
    )
    table = {}
    for name in _perfect(""):
        level, _, metric = name.rpartition(".")
        if level in ("scene", "tile"):
            there = level == "scene" and metric in kept
            table[name] = Expected(1.0 if there else None, "the one ship is found" if there else "not defined")
    return _scored(
        "bare", "right; one medium ship, no tiles, no validation", table, DetectionPredictions(build_part([], []), test)
    )


def _shifted(share: Fraction) -> Known:
    """Boxes pushed down by a share a of their edge have IoU (1 - a) / (1 + a): 2/3, exactly 1/2, 1/3."""
    iou = (1 - share) / (1 + share)
    good = sum(Fraction(50 + 5 * t, 100) <= iou for t in range(10))

    def find(place: int, scene: int, tile: int | None) -> Detections:
        found = _right(place, scene, tile)
        down = (found.boxes[:, 3] - found.boxes[:, 1]) * share.numerator / share.denominator
        return Detections(found.boxes + np.stack([0 * down, down, 0 * down, down], axis=1), found.scores)

    why = f"IoU (1 - a) / (1 + a) = {iou}, good for {good} of COCO's 10 thresholds"
    table = (
        _nothing(why, 1)
        if iou < Fraction(1, 2)
        else _aps(_all, good, why) | _decisions(lambda n: (n, 0), lambda n: (n, 0), why)
    )
    return _known(f"shifted-1/{share.denominator}", f"every box a = {share} of its edge too low", table, find)
