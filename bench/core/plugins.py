"""Plug-ins of a suite: modules, by dotted name or path of a .py file, imported because they register components."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import BenchError

PLUGIN_PREFIX = "bench_plugin_"  # module names of plug-ins given by path


def import_plugins(plugins: Sequence[str], folder: Path) -> None:
    """Import plug-ins again, in a worker process."""
    for plugin in plugins:
        _import_plugin(plugin, folder)


def _import_plugin(plugin: str, folder: Path) -> None:
    """Import a plug-in module by dotted name, or by the path of a .py file relative to the config."""
    try:
        if plugin.endswith(".py"):
            path = Path(plugin) if Path(plugin).is_absolute() else folder / plugin
            name = PLUGIN_PREFIX + path.stem
            if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path.resolve()):
                return
            if not path.is_file():
                raise BenchError(f"plug-in {plugin}: no such file beside the config")
            spec = importlib.util.spec_from_file_location(name, path.resolve())
            assert spec is not None and spec.loader is not None  # a .py path always has a loader
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]  # a half-imported plug-in must not pass for an imported one
                raise
        else:
            importlib.import_module(plugin)
    except (ImportError, SyntaxError) as error:
        raise BenchError(f"plug-in {plugin} cannot be imported: {error}; install it or correct `plugins:`") from error
