"""Plug-ins of a suite: modules by dotted name or by the path of a .py file, imported because they register components;
and what stands for the code of a class that an interactive session defines.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import linecache
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType

from bench.core.errors import BenchError
from bench.core.workspace import user_path

PLUGIN_PREFIX = "bench_plugin_"  # module names of plug-ins given by path
_TEXT = "__bench_text__"  # attribute of such a module: the bytes that were imported


Gate = Callable[[Sequence[str]], None]  # gets the plug-ins before any is imported; what it raises keeps them out


def refuse_plugins(plugins: Sequence[str]) -> None:
    """Raise BenchError, naming the plug-ins: a `Gate` for suites and cells of others."""
    listed = ", ".join(plugins)
    raise BenchError(
        f"plug-ins are refused, and `plugins:` names {listed}: importing them runs their code; read it first"
    )


def import_plugins(plugins: Sequence[str], folder: Path, gate: Gate | None = None) -> None:
    """Import the plug-ins that a suite names: **their code runs**.

    Args:
        folder: where relative paths start. gate: is asked first; None in a worker process, whose run was.
    """
    if plugins and gate is not None:
        gate(plugins)
    for plugin in plugins:
        _import_plugin(plugin, folder)


def _import_plugin(plugin: str, folder: Path) -> None:
    """Import a plug-in module by dotted name, or by the path of a .py file relative to the config."""
    try:
        if plugin.endswith(".py"):
            path = folder / user_path(plugin)
            name = PLUGIN_PREFIX + path.stem
            if not path.is_file():
                raise BenchError(f"plug-in {plugin}: no such file beside the config")
            text = path.read_bytes()
            if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path.resolve()):
                if getattr(sys.modules[name], _TEXT) != text:
                    raise BenchError(f"plug-in {plugin} was changed after this process imported it; start Python anew")
                return
            spec = importlib.util.spec_from_file_location(name, path.resolve())
            assert spec is not None and spec.loader is not None  # a .py path always has a loader
            module = importlib.util.module_from_spec(spec)
            setattr(module, _TEXT, text)
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


def session_sha256(component: type) -> str:
    """Return the SHA-256 of the notebook cells, or of the script, that define a class of `__main__`.

    Raises:
        BenchError: their text is not available, as under `python -c` and in the bare interpreter.
    """
    own = [cls for cls in component.__mro__ if cls.__module__ == "__main__"]
    functions = [value for cls in own for value in vars(cls).values() if isinstance(value, FunctionType)]
    texts = {name: linecache.getlines(name) for name in dict.fromkeys(each.__code__.co_filename for each in functions)}
    if not texts or not all(texts.values()):
        raise BenchError(
            f"the source of {component.__qualname__} cannot be read, so its results could not be distinguished from"
            " those of another version; define it in a notebook, in a script, or in a file that the suite names under"
            " `plugins:`"
        )
    return hashlib.sha256("".join(line for lines in texts.values() for line in lines).encode()).hexdigest()
