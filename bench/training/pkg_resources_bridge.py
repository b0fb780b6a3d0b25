"""Serves `pkg_resources`, as far as mmengine asks for it, where setuptools no longer brings it.

mmengine 0.10 asks `pkg_resources` whether a package is installed and where it stands (`mmengine.utils.is_installed`,
`get_installed_path`: a configuration based on "mmdet::...", its model hub). setuptools dropped that module in its
version 82, and others (vismatch) want a later one. `install` makes this very file importable as `pkg_resources`, behind
all other places that modules come from: a genuine one goes first. What mmengine does not use is refused by name.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError as DistributionNotFound
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import NoReturn

__all__ = ["Distribution", "DistributionNotFound", "get_distribution", "install"]

SERVED = "pkg_resources"


class Distribution:
    """An installed distribution, with the three attributes of pkg_resources' own that mmengine looks at."""

    def __init__(self, found: importlib.metadata.Distribution) -> None:
        self._found = found
        self.location = str(found.locate_file(""))  # the folder that its packages stand in

    def has_metadata(self, name: str) -> bool:
        """Return whether the distribution carries a metadata file `name` ("top_level.txt")."""
        return self._found.read_text(name) is not None

    def get_metadata(self, name: str) -> str:
        """Return the text of a metadata file. Raises FileNotFoundError without one."""
        text = self._found.read_text(name)
        if text is None:
            raise FileNotFoundError(f"{self._found.metadata['Name']} has no metadata file {name}")
        return text


def get_distribution(name: str) -> Distribution:
    """Return the installed distribution called `name`. Raises DistributionNotFound without one."""
    return Distribution(importlib.metadata.distribution(name))


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(
        f"{SERVED}.{name} is not served: {__file__} stands in for {SERVED} with what mmengine needs of it; whoever"
        " needs more installs 'setuptools<82'"
    )


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_file_location(SERVED, __file__) if fullname == SERVED else None


def install() -> None:
    """Make `pkg_resources` importable in this process where it is not. Calling again changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
