"""State on disk: the Record of a cell, its folder with one file per finished stage, and where to look for reusable
stages.

A record is written once, when the cell has ended; full precision, unknown is null. It holds no host name, user name or
absolute path.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.core.errors import BenchError, first_line
from bench.core.store import read_json, write_json
from bench.core.untrusted import is_regular, strange_file
from bench.data.manifest import file_sha256
from bench.execution.cell import Cell, Identity, Keys, Mode, slot_of
from bench.execution.record_schema import record_problem, validation_problem

SCHEMA_VERSION = 2
RECORD, TRAIN, PREDICT = "record.json", "train.json", "predict.json"
MODEL, PREDICTIONS, SCORES = "model.safetensors", "predictions.npz", "scores.npz"
FIGURES, DRAWN = "figures", "drawn.txt"  # the pictures, and the fingerprint of the record they show
UNCHANGED, CHANGED, GONE = "unchanged", "CHANGED", "cleaned away"  # what became of a file that a record names
STAGE_FILES = {"train": (TRAIN, MODEL, "curves.csv"), "predict": (PREDICT, PREDICTIONS)}


class Stored(BaseModel):
    """Base of what we write and read back: unknown keys are refused, so a damaged file cannot pass."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Failure(Stored):
    """Why a cell failed. `where` is the stage; the traceback's paths are relative to the package."""

    stage: str
    message: str
    traceback: str


class Record(Stored):
    """One measurement, finished or failed.

    Attributes:
        schema_version: 2; older files are brought up to it when they are read.
        smoke: of a wiring check with a few samples and iterations (`--smoke`): it measures nothing and enters no board.
        fingerprint: the score key; `keys` holds all three.
        row_key: hash of the spec without the seed; equal for all seeds of a row.
        requires: "task:train key" of the cells whose training this one started from.
        inputs: hashes and counts of what went in (data manifest, split, initial weights, pairs).
        outputs: hashes of what came out (weights, predictions).
        metrics: full precision; null where not defined.
        facts: gallery size, thresholds, counts, failures: what a reader needs to judge the metrics.
        cost: per stage: seconds, peak_memory_bytes, and throughput where there is one.
        provenance: git state of the package, versions, hardware, device, threads.
        command: the command line that reproduces the row.
    """

    model_config = ConfigDict(strict=True)

    schema_version: Literal[2] = 2
    status: Literal["finished", "failed"]
    task: str
    suite: str
    dataset: str
    method: str
    seed: int | None
    limit: int | None
    smoke: bool = False
    names: dict[str, str]
    spec: dict[str, Any]
    fingerprint: str
    keys: dict[str, str]
    row_key: str
    requires: list[str] = []
    inputs: dict[str, Any]
    outputs: dict[str, Any] = {}
    metrics: dict[str, float | None] = {}
    facts: dict[str, Any] = {}
    cost: dict[str, Any] = {}
    provenance: dict[str, Any] = {}
    command: str = ""
    failure: Failure | None = None

    @property
    def slot(self) -> str:
        return slot_of(self.dataset, self.method, self.seed)


def _from_1(raw: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew no smoke runs: what it holds is a measurement."""
    return {"smoke": False, **raw}


# from version -> what brings a record one version further; in memory only, the file stays as it is
_UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}


def load_record(path: Path) -> Record:
    """Read and validate a record; one of an older schema is brought up to the present one in memory.

    Raises:
        BenchError: missing, damaged, written by a newer version, of a task that is not registered here, or without what
            its task needs.
    """
    raw = read_json(path)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if type(version) is int and version > SCHEMA_VERSION:
        raise BenchError(
            f"{path}: record schema {version} is newer than {SCHEMA_VERSION}; made by a newer saropt-bench, update"
            " this one"
        )
    if not isinstance(raw, dict) or type(version) is not int or version not in (*_UPGRADES, SCHEMA_VERSION):
        raise BenchError(
            f"{path}: record schema {version!r} is not one of 1 to {SCHEMA_VERSION}; delete the file and run again"
        )
    while version < SCHEMA_VERSION:
        raw = _UPGRADES[version](raw) | {"schema_version": version + 1}
        version += 1
    try:
        record = Record.model_validate(raw)
        problem = record_problem(record)
    except ValidationError as error:
        problem = validation_problem(error)
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from error
    if problem:
        raise BenchError(f"{path}: damaged record ({problem}); delete it and run again")
    return record


def new_record(cell: Cell, identity: Identity, status: Literal["finished", "failed"], **rest: Any) -> Record:
    """Return a record of `cell` with the parts that its spec and identity settle."""
    return Record(
        status=status,
        task=cell.task,
        suite=cell.suite,
        dataset=cell.dataset,
        method=cell.method,
        seed=cell.seed,
        limit=cell.mode.limit,
        smoke=cell.mode.smoke,
        names=dict(cell.origin.names),
        spec=dict(cell.spec),
        fingerprint=identity.keys.score,
        keys=asdict(identity.keys),
        row_key=cell.row_key,
        command=cell.command,
        requires=[f"{task}:{key}" for task, key in identity.requires],
        inputs=dict(identity.inputs),
        **rest,
    )


def cell_of(record: Record) -> Cell:
    """Return the cell of a record, without its origin and the cells that it requires."""
    mode = Mode(record.limit, record.smoke)
    return Cell(record.task, record.suite, record.dataset, record.method, record.seed, record.spec, mode=mode)


def cell_folder(runs: Path, cell: Cell, keys: Keys) -> Path:
    """Return the folder of a cell: readable, and unique by its fingerprint."""
    return runs / cell.task / f"{cell.slot}--{keys.score[:12]}"


def finished_record(folder: Path, keys: Keys) -> Record | None:
    """Return the finished record of `folder` when it is the one of these keys, else None (a failed cell is tried
    again).

    Raises:
        BenchError: the record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    record = load_record(path)
    return record if record.status == "finished" and record.fingerprint == keys.score else None


class StageStore:
    """The finished stages of one task under `runs`, found by key, so that a new metric re-scores and trains nothing.

    An instance reads the folders' markers once, on the first question; make a new one to look again.
    """

    def __init__(self, runs: Path, task: str) -> None:
        self.folder = runs / task
        self._by_key: dict[tuple[str, str], list[Path]] | None = None

    def find(self, stage: str, key: str, first: Path, whole: bool = True) -> Path | None:
        """Return a cell folder that holds the finished `stage` with `key`; `first` is looked at before all others.

        `whole=False` is content with the stage's facts: its files may have been cleaned away.
        """
        for folder in [first, *self._folders().get((stage, key), [])]:
            if stage_done(folder, stage, key, whole):
                return folder
        return None

    def _folders(self) -> dict[tuple[str, str], list[Path]]:
        """Return the folders by stage and key. Every marker is read once, so that a plan's cost grows with the cells,
        not their square.
        """
        if self._by_key is None:
            self._by_key = {}
            for folder in sorted(path for path in self.folder.glob("*") if path.is_dir()):
                for stage in STAGE_FILES:
                    key = _marker(folder, stage).get("key")
                    if isinstance(key, str):
                        self._by_key.setdefault((stage, key), []).append(folder)
        return self._by_key

    def state(self, keys: Keys, folder: Path) -> str:
        """Return the first stage that an unfinished cell has to run; a model is needed for predicting only."""
        if self.find("predict", keys.predict, folder) and self.find("train", keys.train, folder, whole=False):
            return "score"
        return "predict" if self.find("train", keys.train, folder) else "train"

    def adopt(self, stage: str, source: Path, target: Path) -> None:
        """Give `target` the files of a finished stage of `source`: hard links where the file system has them, else
        copies.

        The stage's own JSON goes last, so that a stage that was half adopted does not look finished.
        """
        if source.resolve() == target.resolve():
            return
        target.mkdir(parents=True, exist_ok=True)
        marker, *files = STAGE_FILES[stage]
        for name in (*files, marker):
            if (source / name).is_file():
                link_file(source / name, target / name)


def find_model(runs: Path, task: str, train_key: str) -> Path:
    """Return the model that the training with `train_key` left, for a cell that starts from it.

    Raises:
        BenchError: no folder holds it; the required cell failed or was cleaned away.
    """
    what = f"the {task} training {train_key[:12]} that this cell starts from is"
    return _find_left(runs, task, "train", train_key, MODEL, what) / MODEL


def find_predictions(runs: Path, task: str, predict_key: str) -> Path:
    """Return the folder of a cell with the predictions of `predict_key`, for a row that is made of them.

    Raises:
        BenchError: no folder holds them; the required cell failed or was cleaned away.
    """
    what = f"the {task} predictions {predict_key[:12]} that this row fuses are"
    return _find_left(runs, task, "predict", predict_key, PREDICTIONS, what)


def _find_left(runs: Path, task: str, stage: str, key: str, file: str, what: str) -> Path:
    """Return the folder in which a stage with `key` left `file`; `what` begins the message where none did."""
    folder = StageStore(runs, task).find(stage, key, runs / task)
    if folder is None or not (folder / file).is_file():
        raise BenchError(f"{what} not under {runs}; run the same command again")
    return folder


def predictions_left(folder: Path) -> dict[str, Any]:
    """Return what the facts of the stage "predict" say of the predictions file that it wrote into `folder`."""
    return {"outputs": {"predictions_sha256": file_sha256(folder / PREDICTIONS, None)}}


def stage_done(folder: Path, stage: str, key: str, whole: bool = True) -> bool:
    """Return whether `folder` holds the finished `stage` with `key`, with `whole` also every file that it left."""
    marker = _marker(folder, stage)
    if marker.get("key") != key or not all(isinstance(marker.get(name), dict) for name in ("facts", "cost", "made_by")):
        return False
    return not whole or all((folder / name).is_file() for name in marker["files"])


def _marker(folder: Path, stage: str) -> dict[str, Any]:
    """Return what marks a stage as finished, empty where there is nothing or it is damaged: then the stage is
    unfinished.
    """
    path = folder / STAGE_FILES[stage][0]
    if not path.is_file():
        return {}
    try:
        marker = read_json(path)
    except BenchError:
        return {}
    if not isinstance(marker, dict):
        return {}
    files = marker.get("files")
    own = STAGE_FILES[stage][1:]
    return marker if isinstance(files, list) and all(name in own for name in files) else {}


def write_stage(folder: Path, stage: str, key: str, facts: dict[str, Any]) -> None:
    """Mark a stage as finished: its marker is written last, after everything it stands for."""
    marker, *files = STAGE_FILES[stage]
    write_json(folder / marker, {"key": key, "files": [name for name in files if (folder / name).is_file()], **facts})


def link_file(source: Path, target: Path) -> None:
    """Make `target` the file `source`, whole or not at all: a hard link where the file system has them, else a copy.

    Raises:
        BenchError: the folder cannot be written to, or the disk is full.
    """
    temporary = target.with_name(f".{target.name}.link")
    try:
        if target.exists() and target.samefile(source):
            return
        if not is_regular(source):
            raise BenchError(
                f"{source} is {strange_file(source) or 'missing'}, no regular file; put the file itself there"
            )
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise BenchError(f"cannot write {target}: {first_line(error)}") from error


def figures_drawn(folder: Path, fingerprint: str) -> bool:
    """Return whether the pictures of the record `fingerprint` have been drawn completely."""
    path = folder / FIGURES / DRAWN
    return path.is_file() and path.read_bytes().strip() == fingerprint.encode()


def output_hashes(record: Record) -> dict[str, Any]:
    """Return the hashes of what a cell left: `weights_sha256`, `predictions_sha256`; early records keep them among the
    facts.
    """
    return {**record.facts.get("outputs", {}), **record.outputs}


def file_state(path: Path, sha256: str) -> str:
    """Return whether a file still is what its hash says: unchanged, CHANGED (a link is not followed), or cleaned
    away.
    """
    if strange_file(path):
        return CHANGED
    if not path.is_file():
        return GONE
    return UNCHANGED if file_sha256(path, None) == sha256 else CHANGED
