"""Whether a file of another tool may enter a suite's board: which task takes it, and whose place it would have."""

from __future__ import annotations

from pathlib import Path

from bench.boards.entries import ENTRIES, ENTRY_FILES, load_entries
from bench.core.errors import BenchError, nearest
from bench.execution.cell import Cell, slot_of
from bench.execution.records import Record
from bench.execution.task import get_task
from bench.submissions.request import Submissions
from bench.suite.config import Suite


def submissions_of(suite: Suite, name: str | None) -> Submissions:
    """Return how a task of the suite takes submissions: the given one, else the suite's only one.

    Raises:
        BenchError: no such task, several and none given, or one that takes no submissions.
    """
    known = {task: found for task in suite.tasks if (found := get_task(task).submissions()) is not None}
    if not known:
        raise BenchError(f"suite {suite.name!r} has no task that takes submissions: {', '.join(suite.tasks)}")
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name is None:
        raise BenchError(f"suite {suite.name!r} has several tasks; say which: {', '.join(known)}", "task")
    if name not in known:
        raise BenchError(f"task {name!r}: suite {suite.name!r} has no such section{nearest(name, known)}", "task")
    return known[name]


def replaced_submission(folder: Path, submissions: Submissions, cell: Cell, sha256: str) -> Record | None:
    """Return the earlier submission on the board in `folder` that this one replaces, None for a new one.

    Raises:
        BenchError: the place on the board belongs to a measured row, or other seeds of the row do not fit: another
            spelling of the name, other options, the very same file, or a row without seeds.
    """
    if not any((folder / ENTRIES).glob(ENTRY_FILES)):
        return None
    place = slot_of(cell.dataset, cell.method, None).lower()
    earlier: Record | None = None
    for record in load_entries(folder).records:
        if record.task != cell.task or slot_of(record.dataset, record.method, None).lower() != place:
            continue
        if not submissions.made(record) or record.method != cell.method:
            message = f"name {cell.method!r}: {record.method!r} is on this board already; choose another name"
            raise BenchError(message, "name")
        if record.seed == cell.seed:
            earlier = record
            continue
        seed = "no seed" if record.seed is None else f"seed {record.seed}"
        earlier_one = f"name {cell.method!r} was submitted with {seed}"
        remove = f"or remove {ENTRIES}/{record.task}--{record.slot}.json and .npz"
        if record.seed is None or cell.seed is None:
            message = f"{earlier_one}; a row has seeds for all its files or for none: give them alike, {remove}"
            raise BenchError(message, "name")
        if record.inputs.get("files_sha256", {}).get("results") == sha256:
            raise BenchError(
                f"{earlier_one} from the very same file; another seed needs predictions of its own", "name"
            )
        same_block = all(record.spec[part] == cell.spec[part] for part in ("dataset", "protocol"))
        if same_block and record.spec["method"] != cell.spec["method"]:
            raise BenchError(f"{earlier_one} and other options; submit all seeds alike, {remove}", "name")
    return earlier
