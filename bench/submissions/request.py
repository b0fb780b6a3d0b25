"""What a submission says of itself, and the way from there to the cell that scores it: the same for every task.

A task that takes files of other tools says how in a `Submissions` (`Task.submissions`). What a file's columns mean is
the task's too.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench.core.errors import BenchError
from bench.core.validation import validate
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Origin, Selection
from bench.execution.records import Record
from bench.submissions.sheets import existing_file

if TYPE_CHECKING:
    from bench.suite.config import Suite
    from bench.tasks.base import SectionTask

METHOD = "submission"  # the registry name of what reads a submitted file, in every task

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_DOI = re.compile(r"(?:doi:|https?://(?:dx\.)?doi\.org/)?(10\.\d{4,9}/\S+)", re.IGNORECASE)
_MAX_REFERENCE = 300


@dataclass(frozen=True)
class Request:
    """What a submission says of itself.

    Attributes:
        file: the predictions.
        name: label of the row.
        seed: of the training behind the file; files of several seeds under one name become one row.
        reference: where the method is described, as `reference_link` returns it; "" for none.
        filters: "dataset" and "split", where the suite has several blocks.
        options: the task's own (`SubmissionOptions` of its submission module); those at their default may be left out.
    """

    file: Path
    name: str
    seed: int | None = None
    reference: str = ""
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Submissions:
    """How a task takes predictions of other tools.

    Attributes:
        task: the task; its registry knows `METHOD`, its `formats` are the endings of the files that are read.
        stand_in: a component without network, whose cell stands for a block before anything is submitted to it.
        options: of the command line, that only submissions to this task take.
    """

    task: SectionTask
    stand_in: str
    options: tuple[str, ...] = ()

    def block_cell(self, suite: Suite, origin: Origin, filters: Mapping[str, tuple[str, ...]]) -> Cell:
        """Return a cell of the chosen block, for its data, split and protocol; what its method computes plays no part.

        Raises:
            BenchError: unknown data set or split, or several blocks to choose from.
        """
        return self._only_cell(suite, METHOD, {self.task.component: self.stand_in}, Selection(filters), origin)

    def cell(self, suite: Suite, origin: Origin, request: Request) -> Cell:
        """Return the cell that scores a request, with the command that makes it.

        Its spec names no file, so that seeds share a row. The reference stands in `names`, which are no part of a key:
        it can be corrected by submitting the same file again.

        Raises:
            BenchError: no such file, a name that is no file name or is a row of the suite, several blocks to choose
                from.
        """
        path = existing_file(request.file, self.task.formats)
        section = self._section(suite)
        check_name(request.name, {*section.methods, *self.task.labels(section)})
        entry = {self.task.component: METHOD, "options": {"results": str(path.resolve()), **request.options}}
        cell = self._only_cell(suite, request.name, entry, Selection(dict(request.filters)), origin)
        method = cell.spec["method"]
        spec = {**cell.spec, "method": {**method, "options": {**method["options"], "results": request.name}}}
        names = {**{key: cell.origin.names[key] for key in ("dataset", "split")}, "name": request.name}
        if request.reference:
            names["reference"] = request.reference
        words = ["submit", shlex.quote(request.file.name), "--task", self.task.name, *_flags(request.options)]
        made = replace(cell.origin, names=names, verb=" ".join(words))
        return replace(cell, spec=spec, origin=made, seed=request.seed)

    def check(self, cell: Cell, workspace: Workspace) -> None:
        """Read the file of a submitted cell, before anything runs or is filed; nothing where planning the cell has.

        Raises:
            BenchError: missing data, or a file that does not hold what was requested.
        """

    def made(self, record: Record) -> bool:
        """Return whether a record of this task, finished or failed, is of a submitted row."""
        return bool(record.spec.get("method", {}).get(self.task.component) == METHOD)

    def _section(self, suite: Suite, **changes: Any) -> Any:
        words, where = suite.tasks[self.task.name], f"{suite.name}: {self.task.name}"
        whole = validate(self.task.Section, words, where)
        return validate(self.task.Section, {**words, **changes}, where) if changes else whole

    def _only_cell(
        self, suite: Suite, label: str, entry: Mapping[str, Any], selection: Selection, origin: Origin
    ) -> Cell:
        """Return the only cell of the suite's section with `entry` as its only method."""
        section = self._section(suite, reference=None, methods={label: dict(entry)})
        cells = self.task.expand(suite, section, selection, origin)
        if len(cells) > 1:
            blocks = ", ".join(cell.dataset for cell in cells)
            raise BenchError(f"choose one block by its dataset and split: {blocks}", "dataset")
        return cells[0]


def submitted_file(cell: Cell, formats: Iterable[str]) -> Path:
    """Return the file of a submitted cell. Raises BenchError when it is missing or in no known format."""
    return existing_file(Path(cell.origin.places["results"]), formats)


def check_name(name: str, rows: Iterable[str]) -> None:
    """Raise BenchError unless `name` can label a submitted row: usable in a file name, and no row of the suite.

    Args:
        rows: labels of the suite's own rows ("faster-rcnn/none").
    """
    own = list(rows)
    taken = {label.replace("/", "-").lower() for label in own} | {label.split("/")[0].lower() for label in own}
    if not _NAME.fullmatch(name):
        legal = "up to 80 letters, digits, . _ + -, beginning with a letter or digit"
        raise BenchError(f"name {name!r}: choose {legal}", "name")
    if name.lower() in taken:
        raise BenchError(f"name {name!r} is a row of the suite; choose a name of your own", "name")


def reference_link(text: str) -> str:
    """Return a reference as a link that is safe in Markdown: an http(s) address as it is, a DOI as https://doi.org/...;
    "" stays "".

    Raises:
        BenchError: anything else: other schemes, blanks, a host without a dot, a user name in the address.
    """
    if not text:
        return ""
    doi = _DOI.fullmatch(text)
    url = f"https://doi.org/{doi[1]}" if doi else text
    wrong = (
        f"reference {text!r}: give an address that begins with https:// or http://, or a DOI such as doi:10.1000/182"
    )
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise BenchError(wrong, "reference") from error
    strange = any(not 32 < ord(letter) < 127 for letter in url) or any(letter in url for letter in "\"'<>\\^`{}")
    if parts.scheme.lower() not in ("http", "https") or "." not in host.strip(".") or "@" in parts.netloc or strange:
        raise BenchError(wrong, "reference")
    if len(url) > _MAX_REFERENCE:
        raise BenchError(f"reference has {len(url)} characters; give one of at most {_MAX_REFERENCE}", "reference")
    for letter, code in {"(": "%28", ")": "%29", "|": "%7C", "[": "%5B", "]": "%5D"}.items():
        url = url.replace(letter, code)
    return url


def _flags(options: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line that give these options."""
    flags = []
    for name, value in options.items():
        if value is True:
            flags.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            flags.append(f"--{name.replace('_', '-')} {shlex.quote(str(value))}")
    return flags
