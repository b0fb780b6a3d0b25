"""saropt-bench: a benchmark harness for SAR-optical matching and SAR ship detection.

The names below are the Python API (docs/python-api.md). Each is imported when it is first used: importing this package
imports neither torch nor any other heavy library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import plan as plan
    from bench.api import run as run
    from bench.boards.leaderboard import leaderboard as leaderboard
    from bench.core.errors import BenchError as BenchError
    from bench.core.registries import BACKBONES as BACKBONES
    from bench.core.registries import DATASETS as DATASETS
    from bench.core.registries import DETECTORS as DETECTORS
    from bench.core.registries import MATCHERS as MATCHERS
    from bench.core.registries import TASKS as TASKS
    from bench.detection.detectors.base import Detections as Detections
    from bench.detection.detectors.base import Detector as Detector
    from bench.detection.detectors.base import DetectorOptions as DetectorOptions
    from bench.matching.matchers.base import Matcher as Matcher
    from bench.matching.matchers.base import MatcherOptions as MatcherOptions
    from bench.suite.config import load_suite as load_suite
    from bench.tools.comparison import compare as compare
    from bench.tools.evaluation import evaluate_detector as evaluate_detector
    from bench.tools.evaluation import evaluate_matcher as evaluate_matcher
    from bench.tools.prediction import predict as predict

__version__ = "0.1.0"
_HOMES = {
    "load_suite": "bench.suite.config",
    **dict.fromkeys(("plan", "run"), "bench.api"),
    "leaderboard": "bench.boards.leaderboard",
    "compare": "bench.tools.comparison",
    "predict": "bench.tools.prediction",
    **dict.fromkeys(("evaluate_detector", "evaluate_matcher"), "bench.tools.evaluation"),
    **dict.fromkeys(("Matcher", "MatcherOptions"), "bench.matching.matchers.base"),
    **dict.fromkeys(("Detector", "DetectorOptions", "Detections"), "bench.detection.detectors.base"),
    "BenchError": "bench.core.errors",
    **dict.fromkeys(("MATCHERS", "DETECTORS", "DATASETS", "BACKBONES", "TASKS"), "bench.core.registries"),
}
__all__ = [
    "BACKBONES",
    "DATASETS",
    "DETECTORS",
    "MATCHERS",
    "TASKS",
    "BenchError",
    "Detections",
    "Detector",
    "DetectorOptions",
    "Matcher",
    "MatcherOptions",
    "compare",
    "evaluate_detector",
    "evaluate_matcher",
    "leaderboard",
    "load_suite",
    "plan",
    "predict",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
