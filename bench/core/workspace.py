"""Where things are: runs, cache, boards, data roots, weights. Context only: nothing here enters a key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import BenchError

CONFIG_SUFFIXES = (".yaml", ".yml")
Roots = str | Path | Mapping[str, str | Path] | None


def user_path(text: str | Path) -> Path:
    """Return the path that a user names, "~" and "~NAME" expanded: shells leave them as they are behind "NAME=".

    Raises:
        BenchError: nobody knows that home folder.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise BenchError(f"{text}: the home folder that {str(text).split('/')[0]!r} means is not known") from error


@dataclass(frozen=True)
class Workspace:
    """The folders of one invocation.

    Attributes:
        runs: cells' folders, `runs/<task>/<cell>/`.
        boards: `leaderboards/<suite>/...`.
        roots: data roots given on the command line; the key is a data set's registry name or its label in the suite, ""
            means any.
        env: the environment, for `BENCH_DATA`, `BENCH_ROOT_<NAME>`, `BENCH_WEIGHTS`.
    """

    runs: Path = Path("runs")
    boards: Path = Path("leaderboards")
    roots: Mapping[str, Path] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @classmethod
    def at(cls, runs: str | Path, boards: str | Path, roots: Roots = None) -> Workspace:
        """Return the workspace of these folders.

        Args:
            roots: the folder of every data set, or folders by a data set's registry name or label.

        Raises:
            BenchError: a root that is no folder.
        """
        named = {"": roots} if isinstance(roots, str | Path) else roots or {}
        given = {name: user_path(root) for name, root in named.items()}
        for name, root in given.items():
            if not root.is_dir():
                text = f"{name}={root}" if name else f"{root}"
                message = f"roots {text}: {root} is not a folder; give the folder that holds the data set"
                raise BenchError(message, "roots")
        return cls(user_path(runs), user_path(boards), given)

    @property
    def cache(self) -> Path:
        """Decoded images, manifests, generated sets: all of it can be made again."""
        given = self.env.get("BENCH_CACHE")
        return user_path(given) if given else self.runs / "cache"

    def root_for(self, label: str, dataset: str) -> Path | None:
        """Return the root given on the command line for a data set (by label, then by registry name, then for any)."""
        for key in (label, dataset, ""):
            if key in self.roots:
                return self.roots[key]
        return None


def config_folder() -> Path:
    """Return the folder of the shipped configs: inside the installed package, or beside it in a checkout."""
    return _shipped("configs")


def _shipped(folder: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


def shipped_configs() -> dict[str, Path]:
    """Return the shipped configs by name (pieces that only exist to be extended live in a sub-folder and are left
    out).
    """
    return {path.stem: path for path in sorted(config_folder().glob("*.yaml"))}


def shipped_pages() -> dict[str, Path]:
    """Return the pages of the documentation by name, as `bench docs` prints them."""
    return {path.stem: path for path in sorted(_shipped("docs").glob("*.md"))}
