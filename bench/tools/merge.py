"""Finished cells of other runs folders -> this one: what several machines measured comes together by fingerprint.

A cell is checked against the hashes of its record, then its files are linked (or copied) one by one, each whole, the
record last: a merge that is killed leaves a cell that is not finished, and the next one completes it. What another
machine wrote is not believed: only regular files that lie in the cell's own folder come over, and they come into ours.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.boards.checks import agree, predictions_digest, wrong_identity, wrong_numbers
from bench.boards.entries import read_samples
from bench.core.errors import BenchError, first_line, nearest
from bench.core.store import atomic_write, folder_lock, write_json
from bench.core.untrusted import MIB, is_folder, open_regular, size_text, strange_file
from bench.data.manifest import file_sha256
from bench.execution.records import (
    DRAWN,
    FIGURES,
    MODEL,
    PREDICTIONS,
    RECORD,
    SCORES,
    STAGE_FILES,
    Record,
    link_file,
    load_record,
    output_hashes,
    stage_done,
)
from bench.execution.task import get_task

MERGED, HERE, LEFT, BUSY, DAMAGED, CONFLICT, STOPPED = (
    "merged",
    "finished here already",
    "left",
    "in use",
    "damaged",
    "conflict",
    "not merged",
)
PROBLEMS = (BUSY, DAMAGED, CONFLICT, STOPPED)
CONTEXT_LARGEST = 256 * MIB  # of a log
CONTEXT = ("job.json", "log.txt")  # of the other machine: copied, since a later run writes into them


@dataclass(frozen=True)
class MergeOutcome:
    """The outcome for one cell of another runs folder, and its reason."""

    folder: Path
    state: str
    reason: str = ""
    record: Record | None = None


def merge_runs(
    others: Sequence[Path], runs: Path, models: bool = True, dry_run: bool = False
) -> Iterator[MergeOutcome]:
    """Merge the finished cells of `others` into `runs`; yield one verdict a cell, as it is done.

    Args:
        models: whether trained models come along. Without them a new metric still works; what starts from a model
            trains it again.
        dry_run: check everything and write nothing.

    Raises:
        BenchError: one of `others` is no runs folder or is `runs` itself. What is wrong with one cell, or with writing
            it, is its outcome, and stops no other.
    """
    for other in others:
        _check_folder(other, runs)
    ours = _Finished(runs)
    for other in others:
        for path in sorted(other.glob(f"*/*/{RECORD}")):
            try:
                verdict = _merge(path.parent, runs, ours, models, dry_run)
            except (BenchError, OSError) as error:
                verdict = MergeOutcome(path.parent, STOPPED, first_line(error))
            if verdict.state == MERGED and verdict.record is not None:
                ours.add(verdict.record)
            yield verdict


def _check_folder(other: Path, runs: Path) -> None:
    if not other.is_dir():
        raise BenchError(
            f"{other} is not a folder{nearest(other.name, _siblings(other))}; give the runs folder of another machine"
        )
    if other.resolve() == runs.resolve():
        raise BenchError(f"{other} is the runs folder itself; give that of another machine")
    if not any(other.glob(f"*/*/{RECORD}")):
        inner = next((path.parents[2] for path in sorted(other.glob(f"*/*/*/{RECORD}"))), None)
        hint = f"did you mean {inner}?" if inner is not None else "expected <task>/<cell>/record.json below it"
        raise BenchError(f"{other} holds no cell; {hint}")


def _siblings(path: Path) -> list[str]:
    return [inner.name for inner in path.parent.iterdir() if inner.is_dir()] if path.parent.is_dir() else []


class _Finished:
    """Our finished cells, by fingerprint, and by what they predicted; a damaged record of ours counts as none."""

    def __init__(self, runs: Path) -> None:
        self.known: dict[str, Record] = {}
        self._predicted: dict[tuple[str, str], Record] = {}
        for path in sorted(runs.glob(f"*/*/{RECORD}")):
            with suppress(BenchError):
                record = load_record(path)
                if record.status == "finished":
                    self.add(record)

    def add(self, record: Record) -> None:
        self.known[record.fingerprint] = record
        self._predicted.setdefault(_predicted(record), record)

    def twin(self, record: Record) -> Record | None:
        """Return the cell of the same row that has the same predictions under another seed."""
        other = self._predicted.get(_predicted(record))
        return None if other is None or other.seed == record.seed else other


def _predicted(record: Record) -> tuple[str, str]:
    return record.row_key, str(output_hashes(record).get("predictions_sha256"))


def _merge(folder: Path, runs: Path, ours: _Finished, models: bool, dry_run: bool) -> MergeOutcome:
    strange = _strange(folder)
    if strange:
        return MergeOutcome(folder, DAMAGED, strange)
    try:
        record = load_record(folder / RECORD)
    except BenchError as error:
        return MergeOutcome(folder, DAMAGED, str(error))
    why = _no_measurement(record)
    if why:
        return MergeOutcome(folder, LEFT, why, record)
    if record.fingerprint in ours.known:
        return _against(folder, record, ours.known[record.fingerprint])
    target = _target(runs, record)
    with ExitStack() as locks:
        if not locks.enter_context(_reading(folder)):
            return MergeOutcome(folder, BUSY, "a process works on it there; merge again when it has finished", record)
        damage = _damage(folder, record, models) or _same_result(folder, record, ours)
        if damage:
            return MergeOutcome(folder, DAMAGED, damage, record)
        if dry_run:
            return MergeOutcome(folder, MERGED, "", record)
        if not locks.enter_context(folder_lock(target, wait=False)):
            return MergeOutcome(folder, BUSY, f"a process works on {target}; merge again when it has finished", record)
        with suppress(BenchError):  # finished by that process since we looked; a damaged record of ours is replaced
            mine = load_record(target / RECORD)
            if mine.status == "finished" and mine.fingerprint == record.fingerprint:
                return _against(folder, record, mine)
        _copy(folder, target, record, models)
    return MergeOutcome(folder, MERGED, "", record)


def _target(runs: Path, record: Record) -> Path:
    """Return the folder that a cell comes into.

    Raises:
        BenchError: it does not lie under `runs`: a symbolic link there leads elsewhere.
    """
    task = runs / record.task
    target = task / f"{record.slot}--{record.fingerprint[:12]}"
    if target.parent != task or target.resolve() != runs.resolve() / record.task / target.name:
        raise BenchError(f"{target} leads out of {runs}; replace the symbolic link there by a folder")
    return target


def _strange(folder: Path) -> str:
    """Return what keeps a folder from being read as a cell's: a link or anything but a regular file among what would
    come over, which is neither followed nor waited for; "" where nothing does.
    """
    for path in (folder.parent, folder, folder / FIGURES):
        if not is_folder(path) and (path.is_symlink() or path.exists()):
            return f"{path} is {strange_file(path) or 'a file'}, no folder; what it leads to does not come along"
    names = [RECORD, SCORES, ".lock", *CONTEXT, *(name for files in STAGE_FILES.values() for name in files)]
    for path in (*(folder / name for name in names), *_pictures(folder), folder / FIGURES / DRAWN):
        strange = strange_file(path)
        if strange:
            return f"{path.relative_to(folder)} is {strange}, no regular file; nothing of this cell comes along"
    for name in CONTEXT:
        if (folder / name).is_file() and (folder / name).stat().st_size > CONTEXT_LARGEST:
            return f"{name} has more than {size_text(CONTEXT_LARGEST)}"
    return ""


def _pictures(folder: Path) -> list[Path]:
    return sorted((folder / FIGURES).glob("*.png"))


def _no_measurement(record: Record) -> str:
    if record.smoke:
        return "a smoke run, which measures nothing"
    if record.limit is not None:
        return f"a run with --limit {record.limit}, which measures nothing"
    if record.status != "finished":
        return "failed there" + (f" in {record.failure.stage}: {record.failure.message}" if record.failure else "")
    return ""


def _against(folder: Path, record: Record, mine: Record) -> MergeOutcome:
    """Compare two finished records of one fingerprint: nothing that enters it differs, so neither may the numbers."""
    if record.metrics == mine.metrics:
        return MergeOutcome(folder, HERE, "", record)
    names = sorted(set(record.metrics) | set(mine.metrics))
    differing = [name for name in names if record.metrics.get(name) != mine.metrics.get(name)]
    first = differing[0]
    reason = (
        f"{len(differing)} numbers differ under the same fingerprint, such as {first}: {mine.metrics.get(first)!r} here"
    )
    return MergeOutcome(folder, CONFLICT, f"{reason}, {record.metrics.get(first)!r} there; ours stays", record)


def _damage(folder: Path, record: Record, models: bool) -> str:
    """Return what does not fit the record among a cell's files, "" when all is whole."""
    for stage, whole in (("predict", True), ("train", False)):
        if not stage_done(folder, stage, record.keys[stage], whole):
            return f"{STAGE_FILES[stage][0]} does not belong to its record, or a file of that stage is missing"
    if not (folder / SCORES).is_file():
        return f"{SCORES} is missing"
    hashes = output_hashes(record)
    wanted = {
        PREDICTIONS: hashes.get("predictions_sha256"),
        **({MODEL: hashes.get("weights_sha256")} if models else {}),
    }
    for name, sha256 in wanted.items():
        if sha256 is None or (name == MODEL and not (folder / name).is_file()):
            continue  # a model may have been cleaned away; the cell is finished without
        if file_sha256(folder / name, None) != sha256:
            return f"{name} is not the file that its record was made of"
    return _wrong_numbers(folder, record)


def _wrong_numbers(folder: Path, record: Record) -> str:
    """Return what in a record does not follow from its own words, its per-sample scores and, where those do not settle
    every number, its predictions.
    """
    problem = wrong_identity(record)
    if problem:
        return problem
    try:
        problem, unsettled = wrong_numbers(record, read_samples(folder / SCORES, record.task))
        scored = get_task(record.task).score(folder).metrics if unsettled and not problem else {}
    except BenchError as error:
        return str(error)
    moved = [name for name in unsettled if not agree(record.metrics[name], scored.get(name))]
    if moved:
        return f"{moved[0]} is {record.metrics[moved[0]]} in the record but {scored.get(moved[0])} by its predictions"
    return problem


def _same_result(folder: Path, record: Record, ours: _Finished) -> str:
    """Return what is wrong with a cell whose predictions are those of another seed, "" where they say nothing."""
    twin = ours.twin(record)
    if twin is None or predictions_digest(record, read_samples(folder / SCORES, record.task)) is None:
        return ""
    return f"its predictions are those of seed {twin.seed}; one result counts as one seed"


def _copy(folder: Path, target: Path, record: Record, models: bool) -> None:
    """Bring a checked cell into `target`, whose lock we hold. What a failed run left there goes first."""
    (target / RECORD).unlink(missing_ok=True)
    for marker, *files in STAGE_FILES.values():
        for name in (marker, *files):
            (target / name).unlink(missing_ok=True)
    for name in ("checkpoints", FIGURES):
        if (target / name).is_symlink():
            (target / name).unlink()
        shutil.rmtree(target / name, ignore_errors=True)
    pictures = [path.relative_to(folder).as_posix() for path in _pictures(folder)]
    files = [name for _, *names in STAGE_FILES.values() for name in names if models or name != MODEL]
    markers = [marker for marker, *_ in STAGE_FILES.values()]
    for name in (*files, SCORES, *pictures, f"{FIGURES}/{DRAWN}", *markers):  # what marks something as whole, behind it
        if (folder / name).is_file():
            (target / name).parent.mkdir(exist_ok=True)
            link_file(folder / name, target / name)
    for name in CONTEXT:
        if (folder / name).is_file():
            with atomic_write(target / name) as temporary, open_regular(folder / name, CONTEXT_LARGEST) as stream:
                temporary.write_bytes(stream.read())
    write_json(target / RECORD, record.model_dump())


@contextmanager
def _reading(folder: Path) -> Iterator[bool]:
    """Keep workers off a cell of another runs folder while it is read, writing nothing there; yield whether it was
    free.

    The lock is shared, which filelock's are not: it wants no right to write, also on NFS, and two takeovers may read
    one cell. `folder_lock` takes its own by the same call (flock), so that each keeps the other out.
    """
    with ExitStack() as opened:
        try:
            stream = opened.enter_context(open_regular(folder / ".lock", MIB))
        except FileNotFoundError:
            yield True  # it was copied here without its lock: no process works on a copy
            return
        except OSError as error:
            raise BenchError(f"cannot read {folder}: {first_line(error)}") from error
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
