"""The data roots of a command line (`--root NAME=DIR`) against the data sets of its suite: a misspelt NAME would change
nothing, and the run would read another copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.core.errors import BenchError, nearest
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Selection
from bench.suite.config import Suite
from bench.suite.expansion import expand


def check_roots(workspace: Workspace, cells: Sequence[Cell], suite: Suite) -> None:
    """Hold the names of the workspace's roots against the chosen cells and, where that leaves some, the whole suite.

    Raises:
        BenchError: no data set has the name, as its label or as its registry name; the nearest are listed.
    """
    unknown = set(workspace.roots) - {""} - _data_names(cells)
    if not unknown:
        return
    known = _data_names(expand(suite, Selection(), list(suite.tasks), suite.origin))
    for name in sorted(unknown - known):
        text = f"roots {name}={workspace.roots[name]}"
        raise BenchError(f"{text}: suite {suite.name} has no such data set{nearest(name, known)}", "roots")


def _data_names(cells: Iterable[Cell]) -> set[str]:
    """Return the labels and the registry names of the data sets of cells, and of the cells that they need."""
    every = [one for cell in cells for one in cell.with_required()]
    return {name for cell in every for name in (cell.dataset.split("/")[0], str(cell.spec["dataset"]["name"]))}
