"""Show what a run would do, before anything is computed: which cells run, which are reused, what is missing, the expected cost."""

from __future__ import annotations

import argparse

from bench.cli.options import add_place_arguments, add_suite_arguments, choose
from bench.runner import Plan, PlanItem, make_plan

EXAMPLES = """  bench plan --config quickstart
  bench plan matching --backbone resnet50
  bench plan --config s1s2 --root DIR"""

STATES = {
    "done": "finished",
    "train": "train, predict, score",
    "predict": "reuse training; predict, score",
    "score": "reuse predictions; score",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite_arguments(parser)
    add_place_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    chosen = choose(args)
    plan = make_plan(chosen.suite, chosen.cells, chosen.workspace)
    print(f"{chosen.suite.name}: {len(chosen.cells)} cells")
    width = max((len(item.cell.describe()) for item in plan.items), default=0)
    for item in plan.items:
        print(f"  {item.cell.describe().ljust(width)}  {item.identity.keys.score[:12]}  {_state(item)}")
    print(_summary(plan))
    for message in plan.missing:
        print(f"\nmissing: {message}")
    return 2 if plan.missing else 0


def _state(item: PlanItem) -> str:
    text = STATES[item.state]
    if item.resumes:
        text = "resumes from its last checkpoint"
    if item.expected_s is not None:
        text += f", about {_duration(item.expected_s)}"
    return text


def _summary(plan: Plan) -> str:
    pending = [item for item in plan.items if item.state != "done"]
    trained = [item for item in pending if item.state == "train"]
    known = [item.expected_s for item in trained if item.expected_s is not None]
    text = f"{len(plan.items) - len(pending)} finished, {len(pending)} to run, {len(trained)} of them with training"
    if known:
        unknown = len(trained) - len(known)
        text += f"; expected {_duration(sum(known))}" + (f" plus {unknown} cells of unknown cost" if unknown else "")
    elif trained:
        text += "; cost unknown: no finished record of these methods on such data yet"
    return text


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
