"""`job.json`: all that a worker, on this machine or another, needs to execute one cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from bench.core.errors import BenchError
from bench.core.store import read_json, write_json
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Identity

JOB = "job.json"
# exit codes of the worker: 0 finished, 1 failed and recorded, 2 nothing recorded, 3 recorded but a picture failed
EXIT_NOTHING, EXIT_NO_FIGURES, EXIT_INTERRUPTED = 2, 3, 130
DATA_STAGE = "data"  # where a worker fails when images cannot be read


@dataclass(frozen=True)
class Settings:
    """Context of a run, chosen on the command line: it changes no result. `processes` train one cell together, with
    `threads` each.
    """

    device: str = "cpu"
    threads: int = 1
    workers: int = 0
    figures: bool = True
    force: bool = False
    processes: int = 1


class Folders(BaseModel):
    """The folders of a job, absolute: a worker may start elsewhere."""

    model_config = ConfigDict(frozen=True)

    runs: Path
    boards: Path
    roots: dict[str, Path]

    @classmethod
    def of(cls, workspace: Workspace) -> Folders:
        """Return the folders of `workspace`, absolute."""
        roots = {name: Path(root).resolve() for name, root in workspace.roots.items()}
        return cls(runs=workspace.runs.resolve(), boards=workspace.boards.resolve(), roots=roots)

    def workspace(self) -> Workspace:
        """Return the workspace of the worker: these folders, and its own environment."""
        return Workspace(self.runs, self.boards, self.roots)


class JobFile(BaseModel):
    """One cell to execute: what it is, the keys it was planned with, where its files lie, and how to run it."""

    model_config = ConfigDict(frozen=True)

    cell: Cell
    identity: Identity
    workspace: Folders
    settings: Settings

    @field_validator("cell", mode="before")
    @classmethod
    def _nested(cls, raw: Any) -> Any:
        return _from_flat(raw) if isinstance(raw, Mapping) and "config" in raw else raw

    @classmethod
    def of(cls, cell: Cell, identity: Identity, workspace: Workspace, settings: Settings) -> JobFile:
        """Return the job of a planned cell."""
        # dictionaries: pydantic checks here what it will check when the file is read
        return cls.model_validate(
            {
                "cell": asdict(cell),
                "identity": asdict(identity),
                "workspace": Folders.of(workspace),
                "settings": asdict(settings),
            }
        )

    def write(self, folder: Path) -> None:
        """Write `job.json` into a cell's folder."""
        write_json(folder / JOB, self.model_dump(mode="json"))


def read_job(path: Path) -> JobFile:
    """Return the job in a file.

    Raises:
        BenchError: missing or damaged.
    """
    raw = read_json(path)
    try:
        return JobFile.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BenchError(f"{path}: damaged job ({where}: {first['msg']}); run the command again") from error


def _from_flat(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cell of a job that was written before origin and mode were parts of their own (release 0.1)."""
    own = ("task", "suite", "dataset", "method", "seed", "spec")
    return {
        **{name: raw[name] for name in own if name in raw},
        "origin": {
            "words": raw["config"],
            "folder": raw.get("config_folder", "."),
            **{name: raw[name] for name in ("plugins", "names", "places", "verb") if name in raw},
        },
        "mode": {name: raw[name] for name in ("limit", "smoke") if name in raw},
        "requires": [_from_flat(cell) for cell in raw.get("requires", ())],
    }
