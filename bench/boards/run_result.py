"""What a run came to: its records, and the tables that were made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.boards.leaderboard import Boards
from bench.boards.tables import Table
from bench.execution.records import Record

if TYPE_CHECKING:
    from bench.execution.runner import Outcome


@dataclass(frozen=True, repr=False)
class RunResult:
    """What a run came to. A cell that fails raises nothing: its record stands here with its `failure`.

    Attributes:
        suite: name of the suite. cells: how many were chosen.
        records: of the cells in board order, finished and failed; the cells after an interruption have none.
        folders: of these records' cells, in the same order: predictions, pictures, log.
        undrawn: folders of finished cells whose pictures could not all be drawn; the next run tries again.
        tables: task -> table. Of a filed run the whole board, with rows that other runs filed.
        boards: task -> Markdown file of the table; empty where `unfiled`.
        unfiled: why nothing was filed (a smoke run, a limited one), "" where it was.
        problems: what is wrong with entries of the board.
        removed: entries that were taken off the board, since the suite no longer has their cells.
        interrupted: whether the user interrupted the run; the same call resumes it.
    """

    suite: str
    cells: int = 0
    records: tuple[Record, ...] = ()
    folders: tuple[Path, ...] = ()
    undrawn: tuple[Path, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    boards: Mapping[str, Path] = field(default_factory=dict)
    unfiled: str = ""
    problems: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    interrupted: bool = False

    @classmethod
    def of(cls, suite: str, cells: int, outcome: Outcome, built: Boards, unfiled: str) -> RunResult:
        """Return what a run of so many chosen cells came to, with the tables that were made of it."""
        return cls(
            suite=suite,
            cells=cells,
            records=tuple(record for _, record in outcome.records),
            folders=tuple(folder for folder, _ in outcome.records),
            undrawn=tuple(outcome.undrawn),
            tables={path.stem: table for path, table in built.tables.items()},
            boards={} if unfiled else {path.stem: path for path in built.tables},
            unfiled=unfiled,
            problems=built.problems,
            removed=built.removed,
            interrupted=outcome.interrupted,
        )

    @property
    def failures(self) -> tuple[Record, ...]:
        """The records of the cells that failed."""
        return tuple(record for record in self.records if record.status == "failed")

    @property
    def whole(self) -> bool:
        """Whether everything went well: no failed cell, no missing picture, no damaged entry, no interruption."""
        return not (self.failures or self.undrawn or self.problems or self.interrupted)

    def folder(self, record: Record) -> Path:
        """Return the folder of a record's cell."""
        return next(folder for folder, each in zip(self.folders, self.records, strict=True) if each is record)

    def __repr__(self) -> str:
        counts = [f"{len(self.records)} cells", f"{len(self.failures)} failed", *(["interrupted"] * self.interrupted)]
        counts += [self.unfiled] if self.unfiled else [f"tables {', '.join(self.tables) or 'none'}"]
        lines = [f"  failed: {each.slot}: {each.failure.message if each.failure else '?'}" for each in self.failures]
        return "\n".join([f"RunResult of {self.suite}: {', '.join(counts)}", *lines])
