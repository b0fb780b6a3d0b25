"""Options that several verbs share, and what they come to: a suite, its cells, a workspace."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.registries import TASKS
from bench.core.validation import check_seeds
from bench.core.workspace import Workspace, shipped_configs
from bench.execution.cell import Cell, Origin, Selection
from bench.suite.config import Suite, find_config, load_suite
from bench.suite.expansion import expand
from bench.suite.smoke import smoke_workspace

FILTERS = {
    "dataset": "data sets, by label or registry name",
    "split": "splits, by label or kind (random, grouped, folds, file)",
    "method": "rows, by label",
    "matcher": "matchers, by registry name; one without a row joins with its defaults",
    "backbone": "backbones; one without a row re-targets the rows with a network to it",
    "control": "controls of matching rows (none, shuffled); one without a row re-targets the rows with a network",
    "detector": "detectors, by registry name; one without a row joins with its defaults",
    "pretrain": "pretrainings of detectors: none, imagenet, osm, osm-dense (each also -shuffled), checkpoint:PATH; "
    "one without a row joins them all",
}


@dataclass(frozen=True)
class Chosen:
    """What the options name: the suite, the cells left after the filters, the tasks that were left whole, and where
    things are and where the suite came from.

    Of a smoke run the cells are marked, and the workspace has a folder of its own.
    """

    suite: Suite
    cells: tuple[Cell, ...]
    whole_tasks: tuple[str, ...]
    workspace: Workspace
    origin: Origin
    smoke: bool = False


def add_suite_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a suite and cells of it."""
    parser.add_argument(
        "task", nargs="?", help=f"task to run, one of: {', '.join(TASKS.names())}; all of the suite's when left out"
    )
    parser.add_argument(
        "--config", metavar="FILE|NAME", help="a YAML file or the name of a shipped config (default with TASK: paper)"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key, e.g. seeds=[0]",
    )
    chosen = parser.add_argument_group("selection (each takes one or more values)")
    for name, text in FILTERS.items():
        chosen.add_argument(f"--{name}", nargs="+", metavar="NAME", help=text)
    chosen.add_argument("--seeds", nargs="+", type=int, metavar="N", help="seeds instead of the suite's")
    chosen.add_argument("--limit", type=int, metavar="N", help="at most N samples a part; marked, never on a board")


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where things are."""
    places = parser.add_argument_group("places (context: they change no result)")
    places.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="where a data set lies; without NAME for every set. Else $BENCH_ROOT_<NAME>, $BENCH_DATA/<folder>",
    )
    places.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="where cells keep their files (default: runs)"
    )
    places.add_argument(
        "--boards",
        type=Path,
        default=Path("leaderboards"),
        metavar="DIR",
        help="where boards go (default: leaderboards)",
    )


def make_workspace(args: argparse.Namespace) -> Workspace:
    """Return the workspace that the options name. Raises BenchError when a given root does not exist."""
    roots: dict[str, Path] = {}
    for text in getattr(args, "root", []):
        name, equals, folder = text.rpartition("=")
        path = Path(folder if equals else text)
        if not path.is_dir():
            raise BenchError(f"--root {text}: {path} is not a folder; give the folder that holds the data set")
        roots[name if equals else ""] = path
    return Workspace(args.runs, getattr(args, "boards", Path("leaderboards")), roots)


def choose(args: argparse.Namespace) -> Chosen:
    """Return the suite, cells and workspace that the options name.

    Raises:
        BenchError: unknown names, invalid seeds, nothing left to run.
    """
    if args.task is None and args.config is None:
        raise BenchError("say what to run: a task (bench run matching) or a config (bench run --config quickstart)")
    if args.task is not None:
        TASKS.entry(args.task)
    config = args.config or "paper"
    suite = load_suite(config, args.settings)
    if args.limit is not None and args.limit < 1:
        raise BenchError(f"--limit {args.limit}: give a number of samples, at least 4")
    filters = {name: tuple(getattr(args, name)) for name in FILTERS if getattr(args, name)}
    smoke = getattr(args, "smoke", False)
    selection = Selection(filters, _seeds(args.seeds), args.limit, smoke)
    tasks = [args.task] if args.task else list(suite.tasks)
    origin = origin_of(config, args.settings)
    cells = expand(suite, selection, tasks, origin)
    whole = not filters and args.seeds is None and args.limit is None and not args.settings and not smoke
    workspace = make_workspace(args)
    place = smoke_workspace(workspace) if smoke else workspace
    return Chosen(suite, tuple(cells), tuple(tasks) if whole else (), place, origin, smoke)


def origin_of(config: str, settings: Sequence[str]) -> Origin:
    """Return where a suite came from. An absolute path is shortened to its name: records hold no path of a machine."""
    path = find_config(config)
    shipped = path == shipped_configs().get(path.stem)
    shown = path.stem if shipped else path.name if path.is_absolute() else config
    return Origin(
        " ".join([f"--config {shown}", *(f"--set {shlex.quote(setting)}" for setting in settings)]), path.parent
    )


def _seeds(seeds: Sequence[int] | None) -> tuple[int, ...] | None:
    if seeds is None:
        return None
    try:
        return check_seeds(seeds)
    except ValueError as error:
        raise BenchError(f"--seeds: {error}") from error


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def terminal_width() -> int | None:
    """Return the width of the terminal in characters, None where the output goes elsewhere (a file is not cut)."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
