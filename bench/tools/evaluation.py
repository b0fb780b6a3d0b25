"""One method on one data set from Python: what a cell of a suite would measure, without a suite and without a board.

The method may be registered, an object that fulfils the contract of its base class, or a plain function. It goes the
way of every cell, in this process: fit where it learns, predict, score.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from pydantic import BaseModel

from bench.core.arrays import load_arrays
from bench.core.errors import BenchError, MissingInputs
from bench.core.processes import available_cores
from bench.core.registries import DATASETS, DETECTORS, MATCHERS
from bench.core.registry import Registry
from bench.core.validation import validate
from bench.core.workspace import Workspace, user_path
from bench.detection.detectors.base import Detections, Detector, DetectorOptions, ScenePrediction
from bench.detection.scoring.predictions import DetectionPredictions
from bench.execution.cell import Cell, Selection
from bench.execution.job import Settings
from bench.execution.records import PREDICTIONS, SCORES, Record
from bench.matching.matchers.base import Matcher, MatcherOptions
from bench.matching.scoring.predictions import Predictions

FindShips = Callable[[np.ndarray], "tuple[Any, Any] | Detections"]
CompareImages = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]
Keys = Mapping[str, Any]
P = TypeVar("P")
GIVEN = "given"  # the registry's name of a method that is not registered, for as long as it is measured
BY_SCENE: Keys = {"kind": "grouped", "by": "scene"}


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Generic[P]):
    """What a method came to on the test part of a data set.

    Attributes:
        metrics: by name, in full precision; None where one is not defined.
        samples: per-sample scores by name: what intervals and comparisons are made of.
        predictions: of the validation and the test part, as the predictions file of a cell holds them.
        record: what a cell's record says: facts, data, split, cost, versions.
    """

    metrics: Mapping[str, float | None]
    samples: Mapping[str, np.ndarray]
    predictions: P
    record: Record

    def __repr__(self) -> str:
        known = {name: value for name, value in self.metrics.items() if value is not None}
        lines = [f"  {name.ljust(max(map(len, known)))}  {value:.4f}" for name, value in known.items()]
        return "\n".join([f"Evaluation of {self.record.method} on {self.record.dataset}", *lines])


def evaluate_detector(
    detector: str | Detector | type[Detector] | FindShips,
    dataset: str,
    *,
    split: Keys = BY_SCENE,
    root: str | Path | None = None,
    dataset_options: Keys | None = None,
    options: Keys | None = None,
    backbone: str | None = None,
    pretrain: str = "none",
    tiles: Keys | None = None,
    protocol: Keys | None = None,
    seed: int = 0,
    limit: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    runs: str | Path = "runs",
) -> Evaluation[DetectionPredictions]:
    """Measure how well a detector finds the ships of a data set, as a cell of a suite does.

    Args:
        detector: a registered name; a class or an instance of `Detector`; or a function that takes a scene (H, W) in
            its native dtype and returns boxes (n, 4) x1, y1, x2, y2 in pixels, and scores (n,). One that learns is
            fitted.
        dataset: registry name of a set of scenes. root: its folder, where the environment names none.
        split: keys of a split as in a suite; by default by the column `scene`.
        dataset_options: of the data set. options: of a detector that is given by name or class.
        backbone, pretrain, tiles, protocol: as in a suite's detection section.
        seed: of a detector that has one. limit: at most so many scenes a part.
        device, threads: as in `bench.run`. runs: the folder whose cache of decoded images is used.

    Raises:
        BenchError: unknown names (the nearest are listed), missing data, options that do not fit, or a detector that
            failed; the traceback is a note of the error.
    """
    from bench.detection.scoring.predictions import load_predictions

    found = _method(detector, DETECTORS, Detector, _FunctionDetector, options)
    method = {"backbone": backbone, "pretrain": pretrain}
    data = _data(dataset, split, dataset_options) | ({"tiles": dict(tiles)} if tiles else {})
    wanted = _Wanted("detection", found, method, data, dict(protocol or {}), seed, limit)
    return _measure(wanted, load_predictions, root, device, threads, user_path(runs))


def evaluate_matcher(
    matcher: str | Matcher | type[Matcher] | CompareImages,
    dataset: str,
    *,
    split: Keys = BY_SCENE,
    root: str | Path | None = None,
    dataset_options: Keys | None = None,
    options: Keys | None = None,
    backbone: str | None = None,
    init: str = "none",
    protocol: Keys | None = None,
    seed: int = 0,
    limit: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    runs: str | Path = "runs",
) -> Evaluation[Predictions]:
    """Measure how well a matcher decides which SAR and optical patches show the same place, as a cell of a suite does.

    Args:
        matcher: a registered name; a class or an instance of `Matcher`; or a function that takes SAR patches (n, H, W),
            optical patches (m, H, W, 3), both in their native dtype, and pairs (p, 2) of positions in the two, and
            returns distances (p,), smaller for more alike. One that learns is fitted on the training part; the
            threshold is chosen on the validation part.
        dataset: registry name of a set of pairs. root: its folder, where the environment names none.
        split: keys of a split as in a suite; by default by the column `scene`.
        dataset_options: of the data set. options: of a matcher that is given by name or class.
        backbone, init, protocol: as in a suite's matching section.
        seed: of a matcher that has one. limit: at most so many pairs a part.
        device, threads: as in `bench.run`. runs: the folder whose cache of decoded images is used.

    Raises:
        BenchError: unknown names (the nearest are listed), missing data, options that do not fit, or a matcher that
            failed; the traceback is a note of the error.
    """
    from bench.matching.scoring.predictions import load_predictions

    found = _method(matcher, MATCHERS, Matcher, _FunctionMatcher, options)
    data = _data(dataset, split, dataset_options)
    wanted = _Wanted("matching", found, {"backbone": backbone, "init": init}, data, dict(protocol or {}), seed, limit)
    return _measure(wanted, load_predictions, root, device, threads, user_path(runs))


# -- what is measured --------------------------------------------------------------------------------------------------
class _FunctionDetector(Detector):
    """A function that finds ships in a scene, as a detector."""

    def __init__(self, function: FindShips) -> None:
        super().__init__(DetectorOptions())
        self.function = function

    def _predict(self, image: np.ndarray) -> ScenePrediction:
        found = self.function(image)
        if isinstance(found, Detections):
            return ScenePrediction(found)
        boxes, scores = (np.asarray(part, dtype=np.float64) for part in found)
        return ScenePrediction(Detections(boxes if boxes.size else boxes.reshape(0, 4), scores))


class _FunctionMatcher(Matcher):
    """A function that compares pairs of images, as a matcher."""

    def __init__(self, function: CompareImages) -> None:
        super().__init__(MatcherOptions())
        self.function = function

    def _score_pairs(self, sar: np.ndarray, optical: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        return np.asarray(self.function(sar, optical, pairs))


@dataclass(frozen=True)
class _Method:
    """A method by the name that the registry will know, its options, and its class where that has to be lent."""

    registry: Registry
    name: str
    label: str
    options: Keys
    lent: type | None = None


@dataclass(frozen=True)
class _Wanted:
    """The one cell that is wanted, in the words of a suite."""

    task: str
    method: _Method
    more: Keys
    data: Keys
    protocol: Keys
    seed: int
    limit: int | None


def _method(given: Any, registry: Registry, base: type, adapter: type, options: Keys | None) -> _Method:
    """Return what is given as a method that the registry can return."""
    if isinstance(given, str):
        return _Method(registry, registry.entry(given).name, given, options or {})
    if isinstance(given, type) and issubclass(given, base):
        return _Method(registry, GIVEN, given.__name__, options or {}, _lent(given))
    if options is not None:
        raise BenchError(
            "options go with a name or a class: an object has its own, and a function takes none", "options"
        )
    if not isinstance(given, base) and not callable(given):
        expected = f"a registered name, a class or an object of {base.__name__}, or a function"
        raise BenchError(f"{given!r} is no {registry.kind}; give {expected}")
    made: Any = given if isinstance(given, base) else adapter(given)
    own = made.options.model_dump(mode="json", exclude_unset=True) if isinstance(made.options, BaseModel) else {}
    label = re.sub(r"\W", "", str(getattr(given, "__name__", type(given).__name__)))
    return _Method(registry, GIVEN, label, own, _lent(type(made), __new__=lambda cls, options: made))


def _lent(cls: type, **members: Any) -> type:
    """Return a class as it is registered for a while: as one of this module, whose source stands in no key."""
    return type(cls.__name__, (cls,), {"__module__": __name__, **members})


def _measure(
    wanted: _Wanted, load: Callable[[Path], P], root: str | Path | None, device: str, threads: int | None, runs: Path
) -> Evaluation[P]:
    """Run the one cell in a temporary folder, with the cache of `runs`; return what it came to."""
    from bench.execution.in_process import run_here
    from bench.execution.plan import make_plan
    from bench.execution.runner import run_plan
    from bench.suite.data_plan import forget_plans
    from bench.training.api import choose_device

    name = str(wanted.data["dataset"])
    roots = None if root is None else {DATASETS.entry(name).name: root}
    method = wanted.method
    with (
        tempfile.TemporaryDirectory(prefix="bench-evaluate-") as scratch,
        method.registry.lend(method.name, method.lent) if method.lent else nullcontext(),
    ):
        place = Workspace.at(Path(scratch) / "runs", Path(scratch) / "boards", roots)
        place = replace(place, env={**place.env, "BENCH_CACHE": str(Workspace(runs).cache.resolve())})
        forget_plans()
        planned = make_plan([_cell(wanted)], place, in_process=True)
        if planned.missing:
            raise MissingInputs(list(planned.missing))
        settings = Settings(choose_device(device), available_cores() if threads is None else threads, figures=False)
        outcome = run_plan(planned, place, settings, lambda line: None, run_here)
        if outcome.interrupted:
            raise KeyboardInterrupt
        ((folder, record),) = outcome.records
        if record.failure is not None:
            error = BenchError(f"{record.method} failed in {record.failure.stage}: {record.failure.message}")
            error.add_note(record.failure.traceback)
            raise error
        return Evaluation(
            record.metrics, load_arrays(folder / SCORES, "per-sample scores"), load(folder / PREDICTIONS), record
        )


def _cell(wanted: _Wanted) -> Cell:
    """Return the cell, checked as a suite's is.

    Raises:
        BenchError: unknown names or keys, or a split that makes several cells.
    """
    from bench.suite.config import Suite
    from bench.suite.expansion import expand

    method, name = wanted.method, str(wanted.data["dataset"])
    entry = {wanted.method.registry.kind: method.name, "options": dict(method.options), **wanted.more}
    section = {"protocol": wanted.protocol, "datasets": {name: wanted.data}, "methods": {method.label: entry}}
    words = {"name": "evaluation", "seeds": [wanted.seed], "tasks": {wanted.task: section}}
    suite: Suite = validate(Suite, words, "evaluation")
    cells = expand(suite, Selection(limit=wanted.limit), [wanted.task], suite.origin)
    if len(cells) > 1:
        raise BenchError(f"the split makes {len(cells)} cells; choose one fold, e.g. fold: 0")
    return cells[0]


def _data(dataset: str, split: Keys, options: Keys | None) -> dict[str, Any]:
    return {"dataset": dataset, "options": dict(options or {}), "splits": {"split": dict(split)}}
