"""Which of a cell's components (task, data set, matcher, detector, backbone) a worker process will find registered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.core.errors import MissingInputs
from bench.core.plugins import PLUGIN_PREFIX
from bench.core.registries import BACKBONES, DATASETS, DETECTORS, MATCHERS, TASKS
from bench.core.registry import Registry
from bench.execution.cell import Cell

REMEDY = "run with in_process=True, or put it into a file that the suite names under `plugins:`"


def for_workers(cell: Cell) -> Cell:
    """Return `cell` with every module among its plug-ins that a worker has to import for its components.

    Raises:
        MissingInputs: a component is defined where a worker cannot import it.
    """
    plugins, unseen = list(cell.origin.plugins), []
    stems = {PLUGIN_PREFIX + Path(plugin).stem for plugin in plugins if plugin.endswith(".py")}
    for registry, name in dict.fromkeys(_components(cell)):
        target = registry.entry(name).target
        module = "bench" if isinstance(target, str) else str(target.__module__)
        if module.partition(".")[0] == "bench" or module in stems or module in plugins:
            continue
        if module == "__main__":
            unseen.append(
                f"{registry.kind} {name!r} is defined in this session, which no worker process sees; {REMEDY}"
            )
        elif module.startswith(PLUGIN_PREFIX) or not _importable(module):
            unseen.append(f"{registry.kind} {name!r} is defined in {module}, which no worker can import; {REMEDY}")
        else:
            plugins.append(module)
    if unseen:
        raise MissingInputs(unseen)
    return replace(cell, origin=replace(cell.origin, plugins=tuple(plugins)))


def _components(cell: Cell) -> Iterator[tuple[Registry, str]]:
    yield TASKS, cell.task
    dataset, method = (_mapping(cell.spec.get(part)) for part in ("dataset", "method"))
    if "name" in dataset:
        yield DATASETS, str(dataset["name"])
    for registry in (MATCHERS, DETECTORS, BACKBONES):
        if method.get(registry.kind):
            yield registry, str(method[registry.kind])
    for required in cell.requires:
        yield from _components(required)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@lru_cache(maxsize=64)
def _importable(module: str) -> bool:
    """Return whether a new process finds a module; asked of one, since this one's path may have been changed."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    found = subprocess.run([sys.executable, "-c", code, module], env=dict(os.environ), stderr=subprocess.DEVNULL)
    return found.returncode == 0
