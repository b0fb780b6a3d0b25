"""Entries: what a board is built from. `leaderboards/<suite>/entries/` holds one compact JSON (the record) and one .npz
(per-sample scores) per slot; both are committed.
"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.arrays import SAMPLES, load_arrays
from bench.core.errors import BenchError
from bench.core.store import atomic_write, read_json, remove_stale, write_json
from bench.core.untrusted import is_regular
from bench.execution.cell import Cell
from bench.execution.records import RECORD, SCORES, Failure, Record, load_record
from bench.execution.task import get_task

ENTRIES, ENTRY_FILES = "entries", "[!.]*.json"  # a dot begins the temporary file of a writer that was killed
KEPT = 2 * SAMPLES  # bytes of per-sample scores that are kept in memory


@dataclass(frozen=True)
class Entries:
    """The entries of one suite. A damaged one fails its seed instead of vanishing from a mean; `damaged`: name -> what
    is wrong.
    """

    records: tuple[Record, ...]
    damaged: Mapping[str, str]


def entry_path(record: Record) -> str:
    """Return where a record stands as an entry, relative to its board."""
    return f"{ENTRIES}/{record.task}--{record.slot}.json"


def file_entries(folder: Path, records: Sequence[tuple[Path, Record]]) -> int:
    """File the records of a run, one slot each, into the board's `folder`; return how many were filed.

    Limited runs and smoke runs are left out: they are wiring checks, not measurements. The caller holds the folder's
    lock.
    """
    filed = 0
    remove_stale(folder)
    for source, record in records:
        if record.limit is not None or record.smoke:
            continue
        path = folder / entry_path(record)
        scores = path.with_suffix(".npz")
        if record.status == "finished" and is_regular(source / SCORES):
            if not _same_bytes(source / SCORES, scores):
                with atomic_write(scores) as temporary:
                    shutil.copyfile(source / SCORES, temporary)
        else:
            scores.unlink(missing_ok=True)  # of an earlier record of this slot
        content = record.model_dump()
        if not _holds(path, content):
            write_json(path, content)
        filed += 1
    return filed


def _same_bytes(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _holds(path: Path, content: Any) -> bool:
    """Return whether a JSON file says this already; to write it anew costs a thousand times as much."""
    try:
        return bool(read_json(path) == content)
    except BenchError:
        return False


def with_readable_scores(source: Path, record: Record) -> Record:
    """Return a record as it is to be filed: one whose per-sample scores are damaged counts as failed until they are
    made again.
    """
    if record.status != "finished" or not (source / SCORES).is_file():
        return record
    try:
        schema = get_task(record.task).samples_schema
        advice = f"the {RECORD} beside it, then run the cell again"
        load_arrays(source / SCORES, "per-sample scores", advice, schema, SAMPLES)
    except BenchError as error:
        failure = Failure(stage="files", message=str(error).replace(f"{source}/", ""), traceback="")
        return record.model_copy(
            update={"status": "failed", "failure": failure, "metrics": {}, "facts": {}, "outputs": {}}
        )
    return record


def prune_entries(folder: Path, cells: Sequence[Cell], whole_tasks: Sequence[str]) -> list[str]:
    """Remove the entries of tasks that were run whole whose slot the suite no longer has; return their names.

    What was submitted stays: no suite lists it. So does a damaged one, whose origin cannot be read.
    """
    kept = {f"{cell.task}--{cell.slot}" for cell in cells}
    removed = []
    for path in sorted((folder / ENTRIES).glob(ENTRY_FILES)):
        if path.stem in kept or path.stem.split("--")[0] not in whole_tasks:
            continue
        try:
            submitted = load_record(path).facts.get("submitted")
        except BenchError:
            continue
        if not submitted:
            removed.append(path.stem)
    for name in removed:
        for suffix in (".json", ".npz"):
            (folder / ENTRIES / f"{name}{suffix}").unlink(missing_ok=True)
    return removed


def load_entries(folder: Path) -> Entries:
    """Return the entries of a board's `folder`, in file-name order.

    Raises:
        BenchError: there is none that can be read.
    """
    paths = sorted((folder / ENTRIES).glob(ENTRY_FILES))
    if not paths:
        raise BenchError(f"{folder / ENTRIES}: no entries; run the suite first: bench run --config {folder.name}")
    records: dict[str, Record] = {}
    damaged: dict[str, str] = {}
    for path in paths:
        try:
            record = load_record(path)
            if record.smoke or record.limit is not None:
                raise BenchError(f"{path}: a smoke or limited run is no measurement and enters no board; delete it")
            if path.stem != Path(entry_path(record)).stem:
                raise BenchError(
                    f"{path}: the record in it belongs to {entry_path(record)}; delete it and run the suite again"
                )
            records[path.stem] = record
        except BenchError as error:
            damaged[path.stem] = str(error)
    if not records:
        raise BenchError(next(iter(damaged.values())))
    rows: dict[str, Record] = {}
    for name, record in records.items():
        rows.setdefault(name.rpartition("--seed")[0], record)
    failed = [_failed(name, message, rows) for name, message in damaged.items()]
    return Entries((*records.values(), *(record for record in failed if record is not None)), damaged)


def _failed(name: str, message: str, rows: Mapping[str, Record]) -> Record | None:
    """Return a failed record in place of a damaged entry, made after another seed of its row; None where the row has no
    other.

    Args:
        rows: name of an entry without its seed -> the first record of that row.
    """
    row, _, seed = name.rpartition("--seed")
    if not seed.isdigit() or row not in rows:
        return None
    return _failed_copy(rows[row], int(seed), message)


def with_failures(records: Sequence[Record], problems: Mapping[str, str]) -> list[Record]:
    """Return the records in their order, in the place of each that does not hold together a failed seed of its row.

    The row's first record that does hold together says what the row was measured on: in the wrong one it may have been
    changed.

    Args:
        problems: slot -> what is wrong.
    """
    sound: dict[tuple[str, str, str], Record] = {}
    for record in records:
        if record.slot not in problems:
            sound.setdefault((record.task, record.dataset, record.method), record)
    return [
        _failed_copy(
            sound.get((record.task, record.dataset, record.method), record), record.seed, problems[record.slot]
        )
        if record.slot in problems
        else record
        for record in records
    ]


def _failed_copy(like: Record, seed: int | None, message: str) -> Record:
    nothing: dict[str, Any] = {"metrics": {}, "facts": {}, "outputs": {}, "fingerprint": ""}
    failure = Failure(stage="entry", message=message, traceback="")
    return like.model_copy(update={"seed": seed, "status": "failed", "failure": failure, **nothing})


def entry_samples(folder: Path, record: Record) -> Mapping[str, Any] | None:
    """Return the per-sample scores of an entry, None where it has none.

    Raises:
        BenchError: the file is damaged.
    """
    path = (folder / entry_path(record)).with_suffix(".npz")
    if not os.path.lexists(path):
        return None
    return read_samples(path, record.task)


def read_samples(path: Path, task: str) -> Mapping[str, Any]:
    """Return the arrays of a per-sample scores file; those read last are kept.

    Args:
        task: whose `samples_schema` they have to fit.

    Raises:
        BenchError: the file is damaged, too large, no regular file, or does not hold what the task expects.
    """
    try:
        found = path.lstat()
        key = (path, task, found.st_mtime_ns, found.st_size)
        if key not in _READ:
            advice, schema = "run the suite again", get_task(task).samples_schema
            arrays = load_arrays(path, "per-sample scores", advice, schema, SAMPLES)
            _READ.keep(key, arrays)
        return _READ.used(key)
    except FileNotFoundError as error:
        raise BenchError(f"{path} does not exist; run the suite again") from error


class _Kept(OrderedDict[Hashable, Mapping[str, Any]]):
    """The arrays that were used last, as many as fit into `KEPT`."""

    total = 0

    def keep(self, key: Hashable, arrays: Mapping[str, Any]) -> None:
        self[key] = arrays
        self.total += _bytes(arrays)
        while self.total > KEPT and len(self) > 1:
            self.total -= _bytes(self.popitem(last=False)[1])

    def used(self, key: Hashable) -> Mapping[str, Any]:
        self.move_to_end(key)
        return self[key]


def _bytes(arrays: Mapping[str, Any]) -> int:
    return sum(int(array.nbytes) for array in arrays.values())


_READ = _Kept()
