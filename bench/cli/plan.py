"""Show what a run would do, before anything is computed: which cells run and which are reused, what each starts from,
what is missing, and what past records say it will cost.

One line a row of the tables, its seeds together where their state is the same; --cells gives one line a cell.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.api import plan
from bench.cli.options import add_place_arguments, add_suite_arguments, place_arguments, suite_arguments
from bench.core.workspace import Workspace
from bench.data.windows import left_out_line
from bench.execution.cell import Cell
from bench.execution.costs import Estimate, PastCosts
from bench.execution.plan import BLOCKED, PlanItem

EXAMPLES = """  bench plan --config quickstart
  bench plan matching --backbone resnet50
  bench plan --config s1s2 --root DIR
  bench plan --config paper --cells"""


@dataclass(frozen=True)
class Entry:
    """One cell of the graph; `item` is None where something is missing, `estimate` where past records say nothing."""

    cell: Cell
    item: PlanItem | None
    estimate: Estimate | None

    @property
    def state(self) -> str:
        """What will be done with the cell, in words."""
        return BLOCKED if self.item is None else self.item.action

    @property
    def pending(self) -> bool:
        """Whether anything of it has to run, as far as is known."""
        return self.item is None or self.item.state != "done"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_suite_arguments(parser)
    parser.add_argument(
        "--cells", action="store_true", help="one line a cell, instead of one line for the seeds of a row"
    )
    add_place_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    arguments, places = suite_arguments(args), place_arguments(args)
    found = plan(**arguments, **places)
    costs = PastCosts.read(Workspace.at(**places))
    entries = [Entry(cell, item, None if item is None else costs.estimate(item)) for cell, item in found.states]
    print(f"{arguments['suite'].name}: {len(entries)} cell{'' if len(entries) == 1 else 's'}")
    for line in [*_graph(entries, args.cells), *_summary(entries)]:
        print(line)
    for line in _left_out(entries):
        print(line)
    for message in found.missing:
        print(f"\nmissing: {message}")
    problems = [item.problem for item in found.items if item.problem]
    for message in problems:
        print(f"\nPROBLEM {message}")
    return 2 if found.missing else int(bool(problems))


# -- the graph ---------------------------------------------------------------------------------------------------------
def _graph(entries: Sequence[Entry], each: bool) -> Iterator[str]:
    """Yield the lines of the cells by task, under each what it starts from and what starts from it."""
    starts: dict[tuple[str, str], list[Cell]] = {}  # task and slot of a cell -> the cells that start from it
    for entry in entries:
        for required in entry.cell.requires:
            starts.setdefault((required.task, required.slot), []).append(entry.cell)
    tasks = dict.fromkeys(entry.cell.task for entry in entries)
    groups = {task: _groups([entry for entry in entries if entry.cell.task == task], each) for task in tasks}
    width = max((len(_label(group)) for listed in groups.values() for group in listed), default=0)
    prints = max((len(_prints(group)) for listed in groups.values() for group in listed), default=0)
    for task, listed in groups.items():
        yield f"{task}:"
        for group in listed:
            yield f"  {_label(group).ljust(width)}  {_prints(group).ljust(prints)}  {group[0].state}{_cost(group)}"
            yield from (f"      <- {text}" for text in _requirements(group))
            yield from (f"      -> {text}" for text in _dependants(group, starts))


def _groups(entries: Sequence[Entry], each: bool) -> list[list[Entry]]:
    """Return the entries of a task line by line: the seeds of a row that are in the same state, in the order of the
    boards.
    """
    lines: dict[tuple[object, ...], list[Entry]] = {}
    for number, entry in enumerate(entries):
        key = (entry.cell.dataset, entry.cell.method, entry.state, number if each else 0)
        lines.setdefault(key, []).append(entry)
    return list(lines.values())


def _label(group: Sequence[Entry]) -> str:
    """Return "bnn-resnet50 on qxs-saropt/random, seeds 0-4"."""
    first = group[0].cell
    if len(group) == 1:
        return first.describe()
    numbers = sorted(seed for entry in group if (seed := entry.cell.seed) is not None)
    shown = ", ".join(map(str, numbers))
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        shown = f"{numbers[0]}-{numbers[-1]}"
    limit = f", limit {first.mode.limit}" if first.mode.limit else ""
    return f"{first.method} on {first.dataset}, seeds {shown}{limit}"


def _prints(group: Sequence[Entry]) -> str:
    """Return the first 12 digits of the fingerprint, and how many more cells the line stands for."""
    first = group[0].item
    if first is None:
        return "-"
    return first.identity.keys.score[:12] + (f" +{len(group) - 1}" if len(group) > 1 else "")


def _requirements(group: Sequence[Entry]) -> list[str]:
    """Return the rows that a line's cells start from; of several seeds each starts from the one with its own."""
    out: dict[str, None] = {}
    for entry in group:
        for required in entry.cell.requires:
            row = f"{required.task} {required.method} on {required.dataset}"
            each = len(group) > 1 and required.seed is not None
            out[f"{row}, seed by seed" if each else f"{required.task} {required.describe()}"] = None
    return list(out)


def _dependants(group: Sequence[Entry], starts: Mapping[tuple[str, str], Sequence[Cell]]) -> list[str]:
    """Return how many cells of other tables start from a line's cells, and in which rows they stand."""
    cells = [cell for entry in group for cell in starts.get((entry.cell.task, entry.cell.slot), ())]
    if not cells:
        return []
    methods: dict[tuple[str, bool], list[str]] = {}
    for cell in cells:
        methods.setdefault((cell.task, cell.fused), []).append(cell.method)
    return [
        f"also {'fused into' if fused else 'the pretraining behind'} {len(names)} {task} cell"
        f"{'s' if len(names) > 1 else ''}: {', '.join(dict.fromkeys(names))}"
        for (task, fused), names in methods.items()
    ]


def _cost(group: Sequence[Entry]) -> str:
    known = [entry.estimate.seconds for entry in group if entry.estimate is not None]
    if not group[0].pending or not known:
        return ""
    return f", about {_duration(sum(known) / len(known))}" + (" each" if len(group) > 1 else "")


# -- the sums ----------------------------------------------------------------------------------------------------------
def _summary(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield what is left to do and what it will cost, in all and by task, and where the estimates come from."""
    unknown = not _known(entries) and any(entry.pending for entry in entries)
    yield _sum(entries) + ("; cost unknown: no finished record of these methods on such data yet" if unknown else "")
    tasks = list(dict.fromkeys(entry.cell.task for entry in entries))
    if len(tasks) > 1:
        yield from (f"  {task}: {_sum([entry for entry in entries if entry.cell.task == task])}" for task in tasks)
    starting = [entry.cell for entry in entries if not entry.cell.fused]
    shared = Counter((cell.task, cell.slot) for start in starting for cell in start.requires)
    if shared:
        yield (
            f"{len(shared)} cells are shared: their trainings are the pretraining behind {sum(shared.values())} cells"
            " of another table"
        )
    machines = Counter(entry.estimate.machine for entry in entries if entry.pending and entry.estimate is not None)
    if machines:
        shown = "; ".join(f"{machine} ({count} cells)" for machine, count in machines.most_common())
        yield f"estimates are those of past records on: {shown}; another machine takes another time"


def _left_out(entries: Sequence[Entry]) -> list[str]:
    """Return a line for each data set that loses windows or, by its split, samples: what is not measured is said."""
    lines: dict[str, None] = {}
    for entry in entries:
        inputs = {} if entry.item is None else entry.item.identity.inputs
        lost = left_out_line(inputs.get("left_out", {}), 8, inputs.get("left_out_by"))
        dropped = (inputs.get("split_summary") or {}).get("dropped") or {}
        by = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in dropped.items() if count)
        split = f"the split puts {sum(dropped.values())} samples into no part: {by}" if by else ""
        lines |= {f"{entry.cell.dataset}: {text}": None for text in (lost, split) if text}
    return list(lines)


def _sum(entries: Sequence[Entry]) -> str:
    blocked = sum(entry.item is None for entry in entries)
    pending = [entry for entry in entries if entry.item is not None and entry.pending]
    items = [entry.item for entry in entries if entry.item is not None and entry.item.training]
    trained = len({(item.cell.task, item.identity.keys.train) for item in items})  # one may serve several cells
    text = f"{len(entries) - len(pending) - blocked} finished, {len(pending)} to run, {trained} of them with training"
    text += f", {blocked} miss something" if blocked else ""
    known = _known(entries)
    if not known:
        return text
    unknown = len(pending) - len(known)
    return f"{text}; expected {_duration(sum(known))}" + (f" plus {unknown} cells of unknown cost" if unknown else "")


def _known(entries: Sequence[Entry]) -> list[float]:
    """Return the expected seconds of the pending cells that past records say something about."""
    return [entry.estimate.seconds for entry in entries if entry.pending and entry.estimate is not None]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
