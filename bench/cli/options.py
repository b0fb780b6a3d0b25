"""Options that several verbs share, as the arguments of the functions that they stand for."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.plugins import Gate, refuse_plugins
from bench.core.registries import TASKS
from bench.core.workspace import user_path
from bench.suite.config import load_suite

FILTERS = {
    "dataset": "data sets, by label or registry name",
    "split": "splits, by label or kind (random, grouped, folds, file)",
    "method": "rows, by label",
    "matcher": "matchers, by registry name; one without a row joins with its defaults",
    "backbone": "backbones; one without a row re-targets the rows with a network to it (*)",
    "control": "controls of matching rows (none, shuffled); one without a row re-targets the rows with a network (*)",
    "detector": "detectors, by registry name; one without a row joins with its defaults",
    "pretrain": "pretrainings of detectors: none, imagenet, osm, osm-dense (each also -shuffled), checkpoint:PATH; "
    "one without a row joins them all (*)",
}


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
    add_plugin_argument(parser)
    chosen = parser.add_argument_group(
        "selection (each takes one or more values)",
        "(*) keeps the reference row and the rows that train nothing beside them, unless rows are named",
    )
    for name, text in FILTERS.items():
        chosen.add_argument(f"--{name}", nargs="+", metavar="NAME", help=text)
    chosen.add_argument("--seeds", nargs="+", type=int, metavar="N", help="seeds instead of the suite's")
    chosen.add_argument("--limit", type=int, metavar="N", help="at most N samples a part; marked, never on a board")


def add_plugin_argument(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the option that keeps the plug-ins of a suite or cell out."""
    parser.add_argument(
        "--no-plugins",
        action="store_true",
        help="refuse a suite that names plug-ins: importing runs their code",
    )


def plugin_gate(args: argparse.Namespace) -> Gate:
    """Return what is asked before plug-ins are imported: it names them, or refuses them with `--no-plugins`."""
    return refuse_plugins if args.no_plugins else _name_plugins


def _name_plugins(plugins: Sequence[str]) -> None:
    print(
        f"plug-ins, whose code runs now (--no-plugins refuses them): {', '.join(plugins)}", file=sys.stderr, flush=True
    )


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
        "--runs",
        type=user_path,
        default=Path("runs"),
        metavar="DIR",
        help="where cells keep their files (default: runs)",
    )
    places.add_argument(
        "--boards",
        type=user_path,
        default=Path("leaderboards"),
        metavar="DIR",
        help="where boards go (default: leaderboards)",
    )


def suite_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options of `add_suite_arguments` say, as arguments of `bench.api.run` and `plan`.

    Raises:
        BenchError: neither a task nor a config is given, or the suite cannot be read.
    """
    if args.task is None and args.config is None:
        raise BenchError("say what to run: a task (bench run matching) or a config (bench run --config quickstart)")
    if args.task is not None:
        TASKS.entry(args.task)
    suite = load_suite(args.config or "paper", args.settings, plugin_gate(args))
    filters = {name: getattr(args, name) for name in FILTERS if getattr(args, name)}
    return {"suite": suite, "task": args.task, "seeds": args.seeds, "limit": args.limit, **filters}


def place_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options of `add_place_arguments` say, as arguments of `bench.api.run` and of `Workspace.at`."""
    roots = {}
    for text in args.root:
        name, _, folder = text.partition("=") if "=" in text and not user_path(text).is_dir() else ("", "", text)
        roots[name] = folder
    return {"runs": args.runs, "boards": args.boards, "roots": roots}


def terminal_width() -> int | None:
    """Return the width of the terminal in characters, None where the output goes elsewhere (a file is not cut)."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
