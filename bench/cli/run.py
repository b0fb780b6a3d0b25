"""Run a suite, or the part of it that the options select: train, predict, score, draw, and write the boards.

What is finished is never computed again; what was interrupted resumes from its last checkpoint. With --smoke every cell
runs for a few samples and iterations, in a folder of its own and on no board: the wiring check before a GPU is booked.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.boards.entries import file_entries, prune_entries, with_readable_scores
from bench.boards.evidence import Evidence
from bench.boards.leaderboard import Boards, build_boards, write_suite
from bench.boards.rendering import to_text
from bench.cli.options import Chosen, add_place_arguments, add_suite_arguments, available_cores, choose, terminal_width
from bench.core.errors import BenchError
from bench.core.store import folder_lock
from bench.execution.job import Settings
from bench.execution.plan import make_plan
from bench.execution.records import Record
from bench.execution.runner import Outcome, run_plan
from bench.execution.slurm.spec import SlurmSpec, slurm_spec
from bench.execution.task import get_task
from bench.suite.expansion import board_order
from bench.suite.smoke import replace_absent_weights

EXAMPLES = """  bench run --config quickstart
  bench run matching --backbone darknet53
  bench run --config paper --smoke
  bench run detection --pretrain osm --seeds 0 1 2
  bench run --config paper --executor slurm --slurm partition=gpu --slurm gpus=1
  bench run --config s1s2 --root DIR --matcher cfog --seeds 0 1 2
  bench run --config my.yaml --set matching.methods.bnn.options.epochs=5"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite_arguments(parser)
    add_place_arguments(parser)
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="wiring check: a few samples and iterations a cell, two seeds, in RUNS/smoke, on no board",
    )
    how = parser.add_argument_group("how (context: recorded, but entering no key)")
    how.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:N, or auto: cuda where there is one (default: auto)"
    )
    how.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of each process (default: all cores, divided by --processes)",
    )
    how.add_argument(
        "--workers", type=int, default=0, metavar="N", help="data-loading processes of each process (default: 0)"
    )
    how.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes that train a network together, a GPU each (default: 1)",
    )
    how.add_argument("--executor", choices=("local", "slurm"), default="local", help="where cells run (default: local)")
    how.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of each job, e.g. partition=gpu or gpus=1 (docs/slurm.md)",
    )
    how.add_argument("--no-figures", action="store_true", help="draw no pictures")
    how.add_argument("--force", action="store_true", help="compute again what is finished")


def execute(args: argparse.Namespace) -> int:
    chosen = choose(args)
    if args.processes < 1:
        raise BenchError(f"--processes {args.processes}: from 1")
    if args.slurm and args.executor != "slurm":
        raise BenchError("--slurm is for --executor slurm; add that, or leave it out")
    cluster = slurm_spec(chosen.suite.execution, args.slurm, chosen.suite.name) if args.executor == "slurm" else None
    if cluster is not None:
        return _complete_on_cluster(chosen, args, cluster)
    threads = max(1, available_cores() // args.processes) if args.threads is None else args.threads
    if threads < 1 or args.workers < 0:
        raise BenchError(f"--threads {threads} --workers {args.workers}: threads from 1, workers from 0")
    return complete(
        chosen, Settings(args.device, threads, args.workers, not args.no_figures, args.force, args.processes)
    )


def _complete_on_cluster(chosen: Chosen, args: argparse.Namespace, spec: SlurmSpec) -> int:
    """As `complete`, with a job for each cell: device and threads are those of a job, whatever this machine has."""
    device = ("cuda" if spec.gpus else "cpu") if args.device == "auto" else args.device
    threads = args.threads or max(1, spec.cpus // args.processes)
    settings = Settings(device, threads, args.workers, not args.no_figures, args.force, args.processes)
    return complete(chosen, settings, spec)


def complete(chosen: Chosen, settings: Settings, cluster: SlurmSpec | None = None) -> int:
    """Plan the chosen cells, run what is not finished, file and print; return the exit code.

    `settings.device` may be "auto": it is settled only when something has to run. With `cluster` each cell is a job
    there.

    Raises:
        BenchError: something is missing on disk, a folder cannot be written to, or there is no such device.
    """
    workspace, boards = chosen.workspace, chosen.workspace.boards
    if chosen.smoke:
        _check_writable(workspace.runs)
        replace_absent_weights(chosen.cells, workspace, _say)
        settings = replace(settings, force=True)  # what is checked is this machine as it is now
    plan = make_plan(chosen.cells, workspace, settings.force)
    if plan.missing:
        raise BenchError("\n\n".join(plan.missing))
    _check_writable(workspace.runs, *([] if chosen.smoke else [boards]))
    pending = [item for item in plan.items if item.state != "done"]
    done = len(plan.items) - len(pending)
    what = (
        f"smoke run in {workspace.runs}, on no board"
        if chosen.smoke
        else f"{done} finished already, {len(pending)} to run"
    )
    _say(f"{chosen.suite.name}: {len(plan.items)} cell{'' if len(plan.items) == 1 else 's'}, {what}")
    if cluster is not None:
        from bench.execution.slurm.execute import ClusterRun

        return _report(chosen, ClusterRun(plan, workspace, settings, cluster, _say).run())
    settings = replace(settings, device=_device(settings.device, settings.processes) if pending else "cpu")
    return _report(chosen, run_plan(plan, workspace, settings, _say))


def _report(chosen: Chosen, outcome: Outcome) -> int:
    """File the entries, rebuild the boards, print the tables and the failures; return the exit code."""
    whole = True
    if chosen.smoke:
        _print_unfiled(chosen, outcome, "smoke run: wiring check, no measurement")
    elif any(record.limit is not None for _, record in outcome.records):
        _print_unfiled(chosen, outcome, "limited run: a wiring check, not on any board")
    else:
        whole = _file(chosen, outcome)
    if outcome.records:
        print(
            f"each cell's pictures, log and predictions: {outcome.records[0][0].parent}/<data"
            " set>--<method>--<seed>--<fingerprint>/"
        )
    _print_failures(outcome, each=chosen.smoke)
    if chosen.smoke:
        lost = {folder for folder, _ in outcome.failed} | set(outcome.undrawn)
        print(f"smoke: {len({folder for folder, _ in outcome.records} - lost)} of {len(chosen.cells)} cells ran")
    if outcome.interrupted:
        return 130
    return 0 if whole and not outcome.failed and not outcome.undrawn else 1


def _file(chosen: Chosen, outcome: Outcome) -> bool:
    """File the records, rebuild the suite's boards and print them; return whether every entry could be read."""
    boards, suite = chosen.workspace.boards, chosen.suite
    for number, (folder, record) in enumerate(outcome.records):
        readable = with_readable_scores(folder, record)
        if readable is not record:
            outcome.records[number] = (folder, readable)
            outcome.failed.append((folder, readable))
    with folder_lock(boards / suite.name):
        filed = file_entries(boards / suite.name, outcome.records)
        if filed:
            write_suite(boards / suite.name, suite, chosen.cells, board_order(suite, chosen.origin))
        gone = prune_entries(boards / suite.name, chosen.cells, chosen.whole_tasks)
        built = build_boards(boards, suite.name) if filed else Boards({})
    for path, table in built.tables.items():
        print(to_text(table, terminal_width()))
        print(f"board: {path}")
    for problem in built.problems:
        print(f"PROBLEM {problem}", file=sys.stderr)
    if gone:
        print(f"taken off the board, no longer in the suite: {', '.join(gone)}")
    return not built.problems


def _print_failures(outcome: Outcome, each: bool) -> None:
    """Say which cells failed and where their logs are; those that failed alike in one line, with `each` every one by
    its name.
    """
    alike: dict[str, list[tuple[Path, Record]]] = {}
    for folder, record in outcome.failed:
        message = record.failure.message if record.failure else "?"
        alike.setdefault(f"{folder} {message}" if each else message, []).append((folder, record))
    for failed in alike.values():
        folder, record = failed[0]
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        message = record.failure.message if record.failure else "?"
        print(f"FAILED {record.slot}{more}: {message} (details: {folder}/log.txt)", file=sys.stderr)
    for folder in outcome.undrawn if each else ():
        print(f"FAILED pictures of {folder.name} (details: {folder}/log.txt)", file=sys.stderr)


def _print_unfiled(chosen: Chosen, outcome: Outcome, what: str) -> None:
    """Print the tables of a run that checks the wiring, without filing them."""
    for name in dict.fromkeys(record.task for _, record in outcome.records):
        records = [record for _, record in outcome.records if record.task == name]
        title = f"{chosen.suite.name} ({what})"
        print(to_text(get_task(name).table(chosen.suite.name, title, "", records, Evidence()), terminal_width()))


def _device(name: str, processes: int) -> str:
    """Return the device to use, checked to exist; "cuda" where each of several processes takes its own. Imports torch,
    so only when something has to run.
    """
    import torch

    from bench.training.api import resolve_device

    found = "cuda" if torch.cuda.is_available() else "cpu"
    if processes == 1:
        return found if name == "auto" else str(resolve_device(name))
    name = found if name == "auto" else name
    if name == "cpu":
        return name
    if name != "cuda":
        raise BenchError(
            f"--device {name} --processes {processes}: each process takes a GPU of its own; use --device cuda, or cpu"
        )
    resolve_device(f"cuda:{processes - 1}")
    return name


def _check_writable(*folders: Path) -> None:
    """Find out before anything runs that results can be written."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:  # no name that a second run could take away
                probe.write(b"x")
        except OSError as error:
            raise BenchError(
                f"cannot write to {folder}: {error.strerror or error}; choose another with --runs / --boards"
            ) from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
