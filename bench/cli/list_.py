"""List what is registered: tasks, datasets, matchers, detectors, backbones, and the shipped configs. Imports nothing
heavy.
"""

from __future__ import annotations

import argparse

from bench.core.errors import BenchError, nearest
from bench.core.registries import BACKBONES, DATASETS, DETECTORS, MATCHERS, TASKS
from bench.core.registry import Registry
from bench.core.workspace import shipped_configs

EXAMPLES = """  bench list
  bench list matchers"""

KINDS: dict[str, Registry] = {
    "tasks": TASKS,
    "datasets": DATASETS,
    "matchers": MATCHERS,
    "detectors": DETECTORS,
    "backbones": BACKBONES,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", help=f"one of: {', '.join((*KINDS, 'configs'))}; all when left out")


def execute(args: argparse.Namespace) -> int:
    kinds = (*KINDS, "configs")
    wanted = args.kind
    if wanted is not None and wanted not in kinds:
        if wanted + "s" not in kinds:
            raise BenchError(f"unknown kind {wanted!r}{nearest(wanted, kinds)}")
        wanted += "s"
    for kind in kinds if wanted is None else (wanted,):
        print(f"{kind}:")
        entries = _entries(kind)
        width = max([14, *(len(name) for name, _ in entries)])
        for name, summary in entries:
            print(f"  {name.ljust(width)} {summary}")
    return 0


def _entries(kind: str) -> list[tuple[str, str]]:
    if kind == "configs":
        return [(name, _first_title(path.read_text(encoding="utf-8"))) for name, path in shipped_configs().items()]
    registry = KINDS[kind]
    return [(name, registry.entry(name).summary) for name in registry.names()]


def _first_title(text: str) -> str:
    """Return the `title:` line of a config without parsing the YAML."""
    for line in text.splitlines():
        if line.startswith("title:"):
            return line.removeprefix("title:").strip().strip("\"'")
    return ""
