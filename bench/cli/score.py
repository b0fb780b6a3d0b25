"""Score stored predictions again, without model, images or GPU, and compare every number with the record beside them.

With --all the committed entries too: from predictions where they are present, else what their per-sample scores
determine. With --coco COCO's APs of detection cells by pycocotools, beside ours: without a cap on the detections of an
image, as ours, and with COCO's usual one of 100, as other tools report them.

Exit code 1 when a number moved (a metric's code changed, or a file did), differs from pycocotools' by more than
rounding, or when a file cannot be read.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.boards.checks import Twins, agree, recompute, same_fact, wrong_identity, wrong_numbers
from bench.boards.entries import read_samples
from bench.boards.equal_scores import EQUAL_SCORES
from bench.core.errors import BenchError, first_line
from bench.core.workspace import user_path
from bench.execution.records import CHANGED, PREDICTIONS, RECORD, Record, file_state, load_record, output_hashes
from bench.execution.task import Reference, Scores, get_task
from bench.tools.lineage import Source, find_sources

EXAMPLES = """  bench score                        every finished cell under runs/
  bench score runs/matching/CELL     one cell, with all its metrics
  bench score --all                  every finished cell and every entry of every board
  bench score --coco                 every finished detection cell beside pycocotools, one line each
  bench score --coco runs/detection/CELL     every AP of one cell"""


@dataclass(frozen=True)
class Rescored:
    """What came out of scoring again.

    Attributes:
        values: metric -> the number now; where an entry's predictions are missing, only what its per-sample scores
            give.
        moved: the metrics whose number is another one in the record.
        how: in words, what the numbers were computed from.
        problem: why nothing could be computed, "" otherwise.
    """

    values: Mapping[str, float | None] = field(default_factory=dict)
    moved: tuple[str, ...] = ()
    how: str = ""
    problem: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cell", nargs="*", type=user_path, help="cell folders; every finished cell when left out")
    parser.add_argument("--all", action="store_true", dest="everything", help="the entries of every board too")
    parser.add_argument("--coco", action="store_true", help="COCO's APs by pycocotools beside ours, of detection cells")
    parser.add_argument(
        "--runs", type=user_path, default=Path("runs"), metavar="DIR", help="the runs folder (default: runs)"
    )
    parser.add_argument(
        "--boards",
        type=user_path,
        default=Path("leaderboards"),
        metavar="DIR",
        help="where boards are (default: leaderboards)",
    )


def execute(args: argparse.Namespace) -> int:
    if args.cell and args.everything:
        raise BenchError("give cells or --all, not both")
    if args.coco and args.everything:
        raise BenchError("--coco needs predictions, which entries of boards do not hold; leave --all out")
    if args.coco:
        return _compare_with_reference(args)
    if args.cell:
        return _report(
            [(source, from_predictions(source.path.parent, source.record)) for source in _named(args.cell)],
            [],
            in_full=True,
        )
    sources, damaged = find_sources(args.runs, args.boards if args.everything else None)
    finished = [source for source in sources if source.record.status == "finished"]
    if not finished and not damaged:
        where = f"{args.runs} or {args.boards}" if args.everything else f"{args.runs}"
        raise BenchError(f"no finished cell under {where}; run a suite first: bench run --config quickstart")
    available = {source.record.fingerprint: source.path.parent for source in finished if not source.board}
    twins = Twins()
    return _report([(source, _rescored(source, available, twins)) for source in finished], damaged)


def _named(folders: Sequence[Path]) -> list[Source]:
    out = []
    for folder in folders:
        if not (folder / RECORD).is_file():
            raise BenchError(f"{folder}: no record.json there; give the folder of a finished cell, runs/<task>/<cell>")
        record = load_record(folder / RECORD)
        if record.status != "finished":
            raise BenchError(f"{folder}: this cell failed; there is nothing to score")
        out.append(Source(folder / RECORD, record))
    return out


def _rescored(source: Source, available: Mapping[str, Path], twins: Twins) -> Rescored:
    """Score one record again from the best source present, and look for other seeds with the same result. A file that
    cannot be read is reported, and affects no other record.
    """
    folder = available.get(source.record.fingerprint)
    try:
        if folder is not None and (not source.board or (folder / PREDICTIONS).is_file()):
            found = from_predictions(folder, source.record)
        else:
            found = from_samples(source)
        twin = (
            twins.add(source.record, read_samples(source.samples, source.record.task))
            if os.path.lexists(source.samples)
            else ""
        )
        return replace(found, problem=found.problem or twin)
    except BenchError as error:
        return Rescored(problem=first_line(error))


def from_predictions(folder: Path, record: Record) -> Rescored:
    """Return every metric of a cell from its predictions file.

    Raises:
        BenchError: the file is missing or damaged.
    """
    scores = get_task(record.task).score(folder)
    moved = [name for name, value in scores.metrics.items() if record.metrics.get(name) != value]
    moved += [name for name in record.metrics if name not in scores.metrics]
    problem = wrong_identity(record)
    facts = json.loads(json.dumps({name: scores.facts.get(name) for name in (*scores.facts, EQUAL_SCORES)}))
    other = [name for name, value in facts.items() if name in record.facts and not same_fact(record.facts[name], value)]
    if other and not moved and not problem:
        problem = f"{other[0]} is {record.facts[other[0]]} in the record but {facts[other[0]]} by its predictions"
    sha256 = output_hashes(record).get("predictions_sha256")
    if sha256 is not None and file_state(folder / PREDICTIONS, sha256) == CHANGED:
        problem = f"{PREDICTIONS} is not the file that its record was made of"
    return Rescored(scores.metrics, tuple(sorted(moved)), "", problem)


def from_samples(source: Source) -> Rescored:
    """Return the metrics of an entry that its per-sample scores settle; those may differ from the record by rounding
    alone.

    Raises:
        BenchError: the file of its per-sample scores is missing or damaged.
    """
    if not os.path.lexists(source.samples):
        raise BenchError(
            "neither per-sample scores beside it nor predictions were found; file the cell again with `bench run`"
        )
    record, samples = source.record, read_samples(source.samples, source.record.task)
    values = recompute(record, samples).metrics
    if not any(value is not None for value in values.values()):
        raise BenchError("its per-sample scores settle none of its metrics; file the cell again with `bench run`")
    moved = [name for name, value in values.items() if not agree(record.metrics.get(name), value)]
    problem = wrong_identity(record) or ("" if moved else wrong_numbers(record, samples)[0])
    known = len({*values, *(name for name, value in record.metrics.items() if value is not None)})
    return Rescored(values, tuple(sorted(moved)), f", of {known}, from per-sample scores", problem)


def _report(results: Sequence[tuple[Source, Rescored]], damaged: Sequence[str], in_full: bool = False) -> int:
    """Print what came out; return the exit code."""
    for source, result in results:
        name = f"{source.board}/{source.path.stem}" if source.board else source.path.parent.name
        summary = (
            f"{len(result.moved)} numbers moved"
            if result.moved
            else f"{len(result.values)} numbers as recorded{result.how}"
        )
        print(
            f"{name}: "
            + (f"PROBLEM {result.problem}" + (f"; {summary}" if result.values else "") if result.problem else summary)
        )
        for metric in sorted(result.values) if in_full else result.moved:
            print(
                f"  {metric.ljust(38)} {_shown(result.values.get(metric))}"
                + _was(source.record, metric, metric in result.moved)
            )
    for problem in damaged:
        print(f"PROBLEM {problem}")
    moved = sum(bool(result.moved) for _, result in results)
    bad = sum(bool(result.problem) for _, result in results) + len(damaged)
    if moved:
        print(f"{moved} of {len(results)} cells moved; `bench run` scores them again under the present metrics version")
    if bad:
        print(f"{bad} cells or entries have a problem; what is named above was not compared in full")
    return 1 if moved or bad else 0


# -- beside another's code ---------------------------------------------------------------------------------------------
def _compare_with_reference(args: argparse.Namespace) -> int:
    """Print the metrics of cells beside those by another's code; return the exit code."""
    sources, damaged = (_named(args.cell), []) if args.cell else find_sources(args.runs, None)
    compared, bad = 0, len(damaged)
    for source in sources:
        folder, task = source.path.parent, get_task(source.record.task)
        try:
            reference = task.reference(folder) if source.record.status == "finished" else None
            if reference is not None:
                compared += 1
                bad += not _print_beside(folder.name, task.score(folder), reference, in_full=bool(args.cell))
        except BenchError as error:
            compared, bad = compared + 1, bad + 1
            print(f"{folder.name}: PROBLEM {first_line(error)}")
    for problem in damaged:
        print(f"PROBLEM {problem}")
    if not compared and not bad:
        where = ", ".join(map(str, args.cell)) or f"{args.runs}"
        raise BenchError(f"no finished detection cell in {where}; --coco is for those")
    return 1 if bad else 0


def _print_beside(name: str, scores: Scores, reference: Reference, in_full: bool) -> bool:
    """Print one cell; return whether every number is the reference's, up to rounding."""
    pairs = {metric: (scores.metrics.get(metric), value) for metric, value in reference.metrics.items()}
    alone = [metric for metric, (ours, theirs) in pairs.items() if (ours is None) != (theirs is None)]
    off = max((abs(a - b) for a, b in pairs.values() if a is not None and b is not None), default=0.0)
    equal = not alone and off <= reference.within
    summary = (
        f"{len(pairs)} numbers {'equal to' if equal else 'DIFFER from'} {reference.name}, off by {off:.2g} at most"
    )
    print(f"{name}: {summary}" + (f"; undefined in one alone: {', '.join(alone)}" if alone else ""))
    print(f"  {'metric'.ljust(28)} {'ours'.ljust(20)} {reference.name.ljust(20)} {reference.setting}")
    for metric in pairs if in_full else tuple(pairs)[:1]:
        ours, theirs, usual = (_shown(value).ljust(20) for value in (*pairs[metric], reference.usual[metric]))
        print(f"  {metric.ljust(28)} {ours} {theirs} {usual.rstrip()}")
    return equal


def _shown(value: float | None) -> str:
    return "unknown" if value is None else repr(value)


def _was(record: Record, name: str, moved: bool) -> str:
    return f"  (recorded: {_shown(record.metrics.get(name))})" if moved else ""
