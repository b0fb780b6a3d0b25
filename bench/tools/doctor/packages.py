"""What is installed: Python, this package and its code state, and every dependency against the range that is declared
for it.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import __version__
from bench.core.provenance import SAME_MODULES, git_state, installed, serving
from bench.tools.doctor import Finding

SECTION = "Packages"
NAME = "saropt-bench"


@dataclass(frozen=True)
class Declared:
    """What the package requires: a range of Python, requirements ("numpy>=2.0"), those of each extra, and tested
    versions.
    """

    python: str
    needed: tuple[str, ...]
    extras: dict[str, tuple[str, ...]]
    tested: dict[str, str]


def examine_packages() -> Iterator[Finding]:
    """Yield what is installed."""
    declared = read_declared()
    yield _python(declared.python)
    state = git_state()
    code = "installed, not a checkout"
    if state is not None:
        code = f"commit {state['commit'][:12]}" + (", with uncommitted changes" if state["dirty"] else "")
    yield Finding(SECTION, NAME, "ok", f"{__version__}, {code}")
    try:
        importlib.metadata.version("packaging")
    except importlib.metadata.PackageNotFoundError:
        yield Finding(SECTION, "packaging", "missing", "ranges of versions cannot be checked", "pip install packaging")
        return
    for requirement in declared.needed:
        yield from _dependency(requirement, declared.tested)
    for extra, requirements in declared.extras.items():
        yield _extra(extra, requirements)
    for group in SAME_MODULES:
        yield from _clash(group)


def read_declared() -> Declared:
    """Return what is declared: by the checkout that the code stands in, else by the installed package."""
    root = Path(__file__).resolve().parents[3]
    project = root / "pyproject.toml"
    if project.is_file():
        stated = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {})
        if stated.get("name") == NAME:
            extras = {name: tuple(of) for name, of in stated.get("optional-dependencies", {}).items()}
            return Declared(
                stated["requires-python"], tuple(stated["dependencies"]), extras, _tested(root / "constraints.txt")
            )
    try:
        metadata = importlib.metadata.metadata(NAME)
    except importlib.metadata.PackageNotFoundError:
        return Declared("", (), {}, {})
    lines = [line.partition(";") for line in importlib.metadata.requires(NAME) or []]
    of_extra = [(re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker), text.strip()) for text, _, marker in lines]
    extras = {
        name: tuple(text for found, text in of_extra if found and found[1] == name)
        for name in metadata.get_all("Provides-Extra") or ()
    }
    return Declared(
        str(metadata["Requires-Python"] or ""), tuple(text for found, text in of_extra if not found), extras, {}
    )


def _tested(path: Path) -> dict[str, str]:
    """Return the pinned versions of a constraints file, by lower-case name."""
    if not path.is_file():
        return {}
    pins = (line.split("#")[0].strip().split("==") for line in path.read_text(encoding="utf-8").splitlines())
    return {pin[0].lower(): pin[1] for pin in pins if len(pin) == 2}


def _python(wanted: str) -> Finding:
    version = platform.python_version()
    if not wanted or installed("packaging") is None:
        return Finding(SECTION, "python", "ok", version)
    from packaging.specifiers import SpecifierSet

    if version in SpecifierSet(wanted, prereleases=True):
        return Finding(SECTION, "python", "ok", f"{version}  (wanted {wanted})")
    return Finding(
        SECTION, "python", "warn", f"{version} is outside {wanted}", f"make an environment with a Python {wanted}"
    )


def _dependency(requirement: str, tested: dict[str, str]) -> Iterator[Finding]:
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    if wanted.marker is not None and not wanted.marker.evaluate():
        return
    text = requirement.partition(";")[0].strip().removeprefix(wanted.name)
    name = serving(wanted.name)
    version = None if name is None else installed(name)
    if version is None:
        yield Finding(SECTION, wanted.name, "missing", f"wanted {text}", _install([requirement], tested))
        return
    known = tested.get(wanted.name.lower())
    other = f", tested with {known}" if known is not None and known != version else ""
    other += f", {name} stands in" if name != wanted.name else ""
    if version in wanted.specifier or wanted.specifier.contains(version, prereleases=True):
        yield Finding(SECTION, wanted.name, "ok", f"{version}  (wanted {text}{other})")
    else:
        yield Finding(
            SECTION, wanted.name, "warn", f"{version} is outside {text}{other}", _install([requirement], tested)
        )


def _clash(group: Sequence[str]) -> Iterator[Finding]:
    """Yield what follows from several distributions that write the same files; two builds of OpenCV of one version do
    no harm, and pip installs both where packages require both names.
    """
    there = {name: version for name in group if (version := installed(name)) is not None}
    if len(there) < 2:
        return
    name = " and ".join(sorted(there))
    if "mmcv" not in there and len(set(there.values())) == 1:
        yield Finding(SECTION, name, "ok", "both installed, of one version: either serves", needed=False)
        return
    first = group[0] if "mmcv" in there else "opencv-python-headless"
    advice = f"they write into one folder: uninstall them all, then install {first} again"
    yield Finding(SECTION, name, "warn", "all installed: " + ", ".join(there.values()), advice)


def _extra(name: str, requirements: Sequence[str]) -> Finding:
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in requirements]
    absent = [each.name for each in wanted if installed(each.name) is None]
    outside = [
        each.name
        for each in wanted
        if each.name not in absent and not each.specifier.contains(installed(each.name) or "", True)
    ]
    advice = f"only for {name}: pip install 'saropt-bench[{name}]'"
    if absent:
        return Finding(SECTION, f"extra {name}", "missing", f"without {', '.join(absent)}", advice, needed=False)
    if outside:
        return Finding(
            SECTION, f"extra {name}", "warn", f"outside the declared range: {', '.join(outside)}", advice, needed=False
        )
    return Finding(SECTION, f"extra {name}", "ok", ", ".join(each.name for each in wanted), needed=False)


def _install(requirements: Sequence[str], tested: dict[str, str]) -> str:
    constraints = "-c constraints.txt " if tested else ""
    return f"pip install {constraints}" + " ".join(f"'{requirement}'" for requirement in requirements)
