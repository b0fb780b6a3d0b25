"""`bench submit`: a COCO results file of any tool -> one cell of a suite's detection section, scored and filed like every other."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.config import Suite, validate
from bench.detection.expand import expand_section
from bench.detection.spec import DetectionSection, DetectorEntry
from bench.errors import BenchError
from bench.task import Cell, Origin, Selection

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def submission_cell(
    suite: Suite,
    origin: Origin,
    results: Path,
    name: str,
    filters: dict[str, tuple[str, ...]],
    seed: int | None = None,
    category: int | None = None,
    link: str = "",
) -> Cell:
    """Return the cell that scores `results` under the row `name`.

    Args:
        filters: "dataset" and "split", where the suite has several blocks.
        seed: of the training behind the file; files of several seeds under one name become one row.

    Raises:
        BenchError: no such file, a name that is no file name or is a row of the suite, several blocks to choose from.
    """
    if "detection" not in suite.tasks:
        raise BenchError(f"suite {suite.name!r} has no detection section; it has: {', '.join(suite.tasks)}")
    if not results.is_file():
        raise BenchError(f"no results file at {results}; give a COCO results file (a JSON list of image_id, bbox, score)")
    section: DetectionSection = validate(DetectionSection, suite.tasks["detection"], f"{suite.name}: detection")
    if not _NAME.fullmatch(name) or name in section.methods:
        raise BenchError(f"--name {name!r}: choose letters, digits, . _ + - and no row of the suite ({', '.join(section.methods)})")
    entry = DetectorEntry(detector="submission", options={"results": str(results.resolve()), "category": category, "link": link})
    alone = section.model_copy(update={"methods": {name: entry}})
    cells = expand_section(suite, alone, Selection(filters), origin)
    if len(cells) > 1:
        raise BenchError(f"choose one block with --dataset and --split: {', '.join(cell.dataset for cell in cells)}")
    return _told(cells[0], results, name, seed, [f"--category {category}"] if category is not None else [])


def _told(cell: Cell, results: Path, name: str, seed: int | None, further: Sequence[str]) -> Cell:
    """Return the cell with the command that makes it; its spec does not depend on the file's name, so that seeds share a row."""
    method = cell.spec["method"]
    spec = {**cell.spec, "method": {**method, "options": {**method["options"], "results": f"{name}.json"}}}
    verb = " ".join(["submit", shlex.quote(results.name), *further])
    names = {**{key: cell.names[key] for key in ("dataset", "split")}, "name": name}
    return replace(cell, spec=spec, names=names, verb=verb, seed=seed)
