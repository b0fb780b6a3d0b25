"""Run a suite, or the part of it that the options select: train, predict, score, draw, and write the boards.

What is finished is never computed again; what was interrupted resumes from its last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from bench.cli.options import Chosen, add_place_arguments, add_suite_arguments, available_cores, choose, terminal_width
from bench.errors import BenchError
from bench.leaderboard import build_boards, file_entries, prune_entries, to_text
from bench.records import Record
from bench.runner import Outcome, Plan, Settings, make_plan, run_plan
from bench.store import folder_lock
from bench.task import get_task

EXAMPLES = """  bench run --config quickstart
  bench run matching --backbone darknet53
  bench run detection --pretrain osm --seeds 0 1 2
  bench run --config s1s2 --root DIR --matcher cfog --seeds 0 1 2
  bench run --config my.yaml --set matching.methods.bnn.options.epochs=5"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite_arguments(parser)
    add_place_arguments(parser)
    how = parser.add_argument_group("how (context: recorded, but entering no key)")
    how.add_argument("--device", default="auto", help="cpu, cuda, cuda:N, or auto: cuda where there is one (default: auto)")
    how.add_argument("--threads", type=int, default=available_cores(), metavar="N", help="CPU threads (default: all cores)")
    how.add_argument("--workers", type=int, default=0, metavar="N", help="data-loading processes (default: 0)")
    how.add_argument("--no-figures", action="store_true", help="draw no pictures")
    how.add_argument("--force", action="store_true", help="compute again what is finished")


def execute(args: argparse.Namespace) -> int:
    chosen = choose(args)
    if args.threads < 1 or args.workers < 0:
        raise BenchError(f"--threads {args.threads} --workers {args.workers}: threads from 1, workers from 0")
    return complete(chosen, Settings(args.device, args.threads, args.workers, not args.no_figures, args.force))


def complete(chosen: Chosen, settings: Settings) -> int:
    """Plan the chosen cells, run what is not finished, file and print; return the exit code.

    `settings.device` may be "auto": it is settled only when something has to run.

    Raises:
        BenchError: something is missing on disk, a folder cannot be written to, or there is no such device.
    """
    plan = make_plan(chosen.suite, chosen.cells, chosen.workspace, settings.force)
    if plan.missing:
        raise BenchError("\n\n".join(plan.missing))
    _check_writable(chosen.workspace.runs, chosen.workspace.boards)
    pending = [item for item in plan.items if item.state != "done"]
    done = len(plan.items) - len(pending)
    _say(f"{chosen.suite.name}: {len(plan.items)} cells, {done} finished already, {len(pending)} to run")
    settings = replace(settings, device=_device(settings.device) if pending else "cpu")
    outcome = run_plan(plan, chosen.workspace, settings, _say)
    return _report(chosen, plan, outcome)


def _report(chosen: Chosen, plan: Plan, outcome: Outcome) -> int:
    """File the entries, rebuild the boards, print the tables and the failures; return the exit code."""
    boards = chosen.workspace.boards
    if any(record.limit is not None for _, record in outcome.records):
        _print_limited(chosen, outcome)
    else:
        with folder_lock(boards / chosen.suite.name):
            filed = file_entries(boards, chosen.suite, chosen.cells, outcome.records)
            gone = prune_entries(boards / chosen.suite.name, chosen.cells, chosen.whole_tasks)
            tables = build_boards(boards, chosen.suite.name) if filed else {}
        for path, table in tables.items():
            print(to_text(table, terminal_width()))
            print(f"board: {path}")
        if gone:
            print(f"taken off the board, no longer in the suite: {', '.join(gone)}")
    if outcome.records:
        print(f"each cell's pictures, log and predictions: {outcome.records[0][0].parent}/<data set>--<method>--<seed>--<fingerprint>/")
    by_message: dict[str, list[tuple[Path, Record]]] = {}
    for folder, record in outcome.failed:
        by_message.setdefault(record.failure.message if record.failure else "?", []).append((folder, record))
    for message, failed in by_message.items():
        folder, record = failed[0]
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        print(f"FAILED {record.slot}{more}: {message} (details: {folder}/log.txt)", file=sys.stderr)
    if outcome.interrupted:
        return 130
    return 1 if outcome.failed or outcome.undrawn else 0


def _print_limited(chosen: Chosen, outcome: Outcome) -> None:
    """Print the table of a limited run without filing it: it checks the wiring and measures nothing."""
    for name in dict.fromkeys(record.task for _, record in outcome.records):
        records = [record for _, record in outcome.records if record.task == name]
        title = f"{chosen.suite.name} (limited run: a wiring check, not on any board)"
        print(to_text(get_task(name).table(chosen.suite.name, title, "", records)))


def _device(name: str) -> str:
    """Return the device to use, checked to exist. Imports torch, so only when something has to run."""
    from bench.training import resolve_device

    if name == "auto":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    return str(resolve_device(name))


def _check_writable(*folders: Path) -> None:
    """Find out before anything runs that results can be written."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".probe"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise BenchError(f"cannot write to {folder}: {error.strerror or error}; choose another with --runs / --boards") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
