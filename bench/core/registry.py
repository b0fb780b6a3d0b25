"""One generic registry for every kind of component: datasets, matchers, backbones, tasks.

An entry is lazy: a name, a `module:attribute` target and a one-line summary, so that listing what exists imports
nothing heavy. Third parties add entries through an entry point of the registry's group, or by calling `register` in a
module named under `plugins:`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from bench.core.errors import BenchError, nearest

Component = TypeVar("Component")
_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*$")


@dataclass(frozen=True)
class Entry:
    """One registered component: where it lives (`target`), what it is (`summary`), who registered it (`source`)."""

    name: str
    target: str | Any
    summary: str
    source: str


class Registry:
    """Names to components of one kind.

    Args:
        kind: what an entry is, singular; appears in messages ("unknown matcher 'bn'; nearest: bnn").
        group: entry-point group through which installed packages add entries.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._entries: dict[str, Entry] = {}
        self._loaded: dict[str, Any] = {}
        self._scanned = False
        self._lock = threading.RLock()

    def add(self, name: str, target: str | Any, summary: str, source: str = "saropt-bench") -> None:
        """Register `target` ("module:attribute", imported on first use, or the object itself) under `name`.

        A class of an interactive session takes the place of the one that its cell defined before.

        Raises:
            BenchError: the name is malformed, or taken by another target (both sides are named).
        """
        if not _NAME.match(name):
            raise BenchError(
                f"{self.kind} name {name!r} is not usable: lower-case letters, digits, '-', '_' and '.' only"
            )
        with self._lock:
            old = self._entries.get(name)
            if old is not None and _redefined(old.target, target):
                del self._entries[name]
                self._loaded.pop(name, None)
            elif old is not None and old.target != target:
                raise BenchError(
                    f"two {self.kind}s are called {name!r}: {_describe(old.target)} (from {old.source}) and "
                    f"{_describe(target)} (from {source}); rename one"
                )
            self._entries.setdefault(name, Entry(name, target, summary, source))

    def register(self, name: str, summary: str = "") -> Callable[[Component], Component]:
        """Return a decorator that registers a class or function under `name`; for plug-in modules."""

        def decorate(component: Component) -> Component:
            text = summary or (component.__doc__ or "").strip().split("\n")[0]
            self.add(name, component, text, source=getattr(component, "__module__", "plugin"))
            return component

        return decorate

    @contextmanager
    def lend(self, name: str, component: Any) -> Iterator[None]:
        """Have `component` registered under `name` for a while."""
        self.add(name, component, "", source="lent")
        try:
            yield
        finally:
            with self._lock:
                del self._entries[name]
                self._loaded.pop(name, None)

    def names(self) -> list[str]:
        """Return all names, sorted, entry points included."""
        self._scan()
        with self._lock:
            return sorted(self._entries)

    def knows(self, name: str) -> bool:
        """Return whether there is an entry called `name`."""
        self._scan()
        return name in self._entries

    def entry(self, name: str) -> Entry:
        """Return the entry called `name` without importing its target.

        Raises:
            BenchError: no such entry; the message lists the nearest names.
        """
        self._scan()
        if name not in self._entries:
            raise BenchError(f"unknown {self.kind} {name!r}{nearest(name, self._entries)}")
        return self._entries[name]

    def get(self, name: str) -> Any:
        """Return the component called `name`, importing it on first use.

        Raises:
            BenchError: no such entry, or its target cannot be imported.
        """
        entry = self.entry(name)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(entry)
            return self._loaded[name]

    def _load(self, entry: Entry) -> Any:
        if not isinstance(entry.target, str):
            return entry.target
        module, _, attribute = entry.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise BenchError(
                f"{self.kind} {entry.name!r} (from {entry.source}) cannot be loaded from {entry.target}: {error}"
            ) from error

    def _scan(self) -> None:
        """Take in the entry points of installed packages, once."""
        with self._lock:
            if self._scanned:
                return
            for point in importlib.metadata.entry_points(group=self.group):
                source = point.dist.name if point.dist else "an entry point"
                self.add(point.name, point.value, f"from {source}", source=source)
            self._scanned = True  # only now: a collision is reported to every caller


def _redefined(old: Any, new: Any) -> bool:
    """Return whether `new` is what an interactive session defined anew in place of `old`."""
    names = [(getattr(each, "__module__", ""), getattr(each, "__qualname__", "")) for each in (old, new)]
    return old is not new and names[0] == names[1] and names[0][0] == "__main__"


def _describe(target: str | Any) -> str:
    if isinstance(target, str):
        return target
    return f"{getattr(target, '__module__', '?')}:{getattr(target, '__qualname__', repr(target))}"
