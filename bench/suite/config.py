"""Suite: the one YAML file a user writes, read into a validated, frozen spec.

Owns loading (`extends:`, `--set key=value`), merging and validation with messages that name the file, the key and the
nearest legal key. What a task's section means is the task's own business; its model is validated here through the
task's `Section`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, field_validator

from bench.core.errors import BenchError, nearest
from bench.core.plugins import Gate, import_plugins
from bench.core.validation import Spec, check_seeds, validate
from bench.core.workspace import CONFIG_SUFFIXES, config_folder, shipped_configs, user_path
from bench.core.yaml_text import MAX_DEPTH, read_yaml, storable
from bench.execution.cell import Origin


class Suite(Spec):
    """One config file: a named list of measurements.

    Attributes:
        name: names the board's folder; lower-case letters, digits, '-', '_'.
        seeds: one measurement per method, data set and seed; distinct, not negative.
        plugins: modules (dotted names, or paths of .py files relative to the config) imported first, which register
            components.
        execution: the section `execution:` as written, validated by the executor (`bench.execution.slurm.spec`); it
            enters no key.
        tasks: the sections `matching:` and `detection:` as written, validated by their tasks.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=100)
    title: str = ""
    description: str = ""
    seeds: tuple[int, ...] = (0,)
    plugins: tuple[str, ...] = ()
    execution: dict[str, Any] = {}
    tasks: dict[str, Any]
    _origin: Origin = PrivateAttr(default=Origin())
    _settings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def origin(self) -> Origin:
        """Where the suite came from (`load_suite`): what names it on a command line, and its folder."""
        return self._origin

    @property
    def settings(self) -> tuple[str, ...]:
        """The "key=value" texts that changed what is written in its file."""
        return self._settings

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return check_seeds(seeds)


class _Plugins(Spec):
    plugins: tuple[str, ...] = ()


def find_config(name: str) -> Path:
    """Return the path of a config given by path or by the name of a shipped one.

    Raises:
        BenchError: neither exists; the message lists the shipped names.
    """
    path = user_path(name)
    if path.suffix in CONFIG_SUFFIXES:
        if path.is_file():
            return path
        inside = config_folder() / path
        if inside.is_file():
            return inside
        if path.parent in (Path("."), Path("configs")) and path.stem in shipped_configs():
            return shipped_configs()[path.stem]
        raise BenchError(f"config file {name} does not exist{nearest(path.stem, shipped_configs())}")
    shipped = shipped_configs()
    if name in shipped:
        return shipped[name]
    raise BenchError(f"unknown config {name!r}: neither a .yaml file nor a shipped name{nearest(name, shipped)}")


def origin_of(config: str, settings: Sequence[str]) -> Origin:
    """Return where a suite came from.

    A path is shortened to its name: records hold no path of a machine, and boards are the same from every folder.
    """
    path = find_config(config)
    shipped = path == shipped_configs().get(path.stem)
    shown = path.stem if shipped else path.name
    words = [f"--config {shown}", *(f"--set {shlex.quote(setting)}" for setting in settings)]
    return Origin(" ".join(words), path.parent)


def load_suite(name: str | Path, settings: Sequence[str] = (), gate: Gate | None = None) -> Suite:
    """Read a config, apply `extends:` and `settings`, import its plug-ins and validate it.

    Args:
        name: path of a YAML file, or the name of a shipped config.
        settings: "a.b.c=value" strings; the value is read as YAML.
        gate: gets the plug-ins before any is imported, and keeps them out by an error, as
            `bench.core.plugins.refuse_plugins` does for a suite of others; None imports them.

    Raises:
        BenchError: unreadable file, unknown or ill-typed key (the nearest legal key is named), bad plug-in.
    """
    path = find_config(str(name))
    raw = _read(path, ())
    for setting in settings:
        _apply_setting(raw, setting)
    plugins = validate(_Plugins, {"plugins": raw.get("plugins", ())}, str(path)).plugins
    import_plugins(plugins, path.parent, gate)  # first: a plug-in may register the very task of a section
    suite: Suite = validate(Suite, _fold_tasks(raw, str(path)), str(path))
    suite._origin, suite._settings = origin_of(str(name), settings), tuple(settings)
    return suite


def _read(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    """Read one YAML file with everything it extends merged under it."""
    resolved = path.resolve()
    if resolved in chain:
        raise BenchError(f"{path}: extends itself through " + " -> ".join(p.name for p in (*chain, resolved)))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"cannot read config {path}: {error}") from error
    raw = read_yaml(text, str(path))
    if not isinstance(raw, dict):
        raise BenchError(f"{path}: a config is a mapping of keys, e.g. 'name: my-suite'; found {type(raw).__name__}")
    parents = raw.pop("extends", None) or []
    parents = [parents] if isinstance(parents, str) else parents
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise BenchError(
            f"{path}: extends names one config or a list of them, e.g. extends: quickstart; got {parents!r}"
        )
    if isinstance(raw.get("plugins"), list):
        raw["plugins"] = [_beside(plugin, path.parent) for plugin in raw["plugins"]]
    merged: dict[str, Any] = {}
    for parent in parents:
        beside = path.parent / user_path(parent)
        source = beside if beside.suffix in CONFIG_SUFFIXES and beside.is_file() else find_config(parent)
        merged = _merge(merged, _read(source, (*chain, resolved)))
    return _merge(merged, raw)


def _beside(plugin: Any, folder: Path) -> Any:
    """Return the path of a plug-in file beside the config that names it, which another config may extend; other names
    as they are.
    """
    if isinstance(plugin, str) and plugin.endswith(".py") and (folder / user_path(plugin)).is_file():
        return str((folder / user_path(plugin)).resolve())
    return plugin


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on top: mappings merge key by key, null removes a key, anything else replaces."""
    out = dict(base)
    for key, value in over.items():
        if value is None and key in out:
            del out[key]
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = _merge(out[key], value)
        else:
            out[key] = value
    return out


def _apply_setting(raw: dict[str, Any], setting: str) -> None:
    """Apply one `a.b.c=value` in place; null removes a key, as in a config that extends another. The first part must be
    a section.
    """
    dotted, equals, text = setting.partition("=")
    if not equals or not dotted.strip():
        raise BenchError(
            f"settings {setting!r}: expected key=value, e.g. matching.methods.bnn.options.epochs=5", "settings"
        )
    value = read_yaml(text, f"settings {setting!r}: the value", "settings")
    *parents, last = dotted.strip().split(".")
    if len(parents) > MAX_DEPTH or not storable(dotted):
        raise BenchError(f"settings {setting[:40]!r}...: no key of a config", "settings")
    node: Any = raw
    for depth, part in enumerate(parents):
        if not isinstance(node.get(part), dict):
            if part in node or depth == 0:
                known = [key for key, inner in node.items() if isinstance(inner, dict)]
                section = ".".join(parents[: depth + 1])
                message = f"settings {setting!r}: no section {section!r}{nearest(part, known)}"
                raise BenchError(message, "settings")
            node[part] = {}
        node = node[part]
    if value is None and last in node:
        del node[last]
    else:
        node[last] = value


def _fold_tasks(raw: dict[str, Any], where: str) -> dict[str, Any]:
    """Move the task sections (`matching:`, `detection:`, plug-in tasks) under `tasks`, so that other keys stay
    checked.
    """
    from bench.core.registries import TASKS

    known = [name for name in Suite.model_fields if name != "tasks"]
    folded = {key: value for key, value in raw.items() if key in known}
    tasks = {key: value for key, value in raw.items() if key in TASKS.names()}
    for key in raw:
        if key not in folded and key not in tasks:
            what = "key or task" if isinstance(raw[key], dict) else "key"
            raise BenchError(f"{where}: unknown {what} {key!r}{nearest(str(key), known + TASKS.names())}")
    if not tasks:
        raise BenchError(f"{where}: no task section; add one of: {', '.join(TASKS.names())}")
    return {**folded, "tasks": tasks}
