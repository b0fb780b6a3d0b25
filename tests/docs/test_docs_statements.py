"""The documentation is true to the project: its commands parse, its paths and links exist, the architecture names what
there is.
"""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cli.main import VERBS, build_parser
from bench.core.errors import BenchError

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = ("bench", "configs", "docs", "tests", "leaderboards", "benchmarks")
_FENCE = re.compile(r"^ *```.*?^ *```", flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Return every `bench ...` command of a page: lines of code blocks, and code inside a sentence."""
    fenced = [line.strip() for block in _FENCE.findall(text) for line in block.splitlines()]
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", _FENCE.sub("", text))]
    return [line for line in fenced + inline if line.startswith("bench ")]


def parses(words: list[str]) -> bool:
    try:
        build_parser(words[0]).parse_args(words)
    except SystemExit as stop:
        return stop.code == 0
    except BenchError:
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_parse(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(page.read_text(encoding="utf-8")):
        words = shlex.split(command, comments=True)[1:]
        assert words[0] in VERBS, f"{page.name}: {command}"
        mention = len(words) <= 2 and not any(word.startswith("-") for word in words)  # "`bench data split` writes ..."
        assert parses(words) or (mention and parses([*words, "--help"])), (
            f"{page.name}: {command}: {capsys.readouterr().err}"
        )


def test_commands_are_found_at_all() -> None:
    found = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {shlex.split(command)[1] for command in found} == set(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_paths_exist(page: Path) -> None:
    """Paths with a placeholder (`leaderboards/<suite>/`) are patterns and left out."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./-]*", text):
        if text[match.end() : match.end() + 1] in ("<", "*", "{"):
            continue
        path = ROOT / match.group().rstrip(".")
        assert path.exists(), f"{page.name} names {match.group()}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", page.read_text(encoding="utf-8"))):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_make_targets_exist() -> None:
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"^make ([a-z]+)", text, flags=re.MULTILINE) + re.findall(r"`make ([a-z]+)", text)
        assert set(named) <= known, page.name


def resolves(name: str) -> bool:
    """Return whether `bench.x.y` is a module, or a name that a module defines."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_modules_named_exist(page: Path) -> None:
    """`bench.x.y`, with or without an attribute behind it; `bench/x/y.py` is a path and checked above."""
    for name in set(re.findall(r"(?<![\w./-])bench(?:\.[A-Za-z_]\w*)+", page.read_text(encoding="utf-8"))):
        if not name.endswith(".my_module"):  # what a reader is to replace
            assert resolves(name), f"{page.name} names {name}"


def test_a_module_that_is_not_there_is_noticed() -> None:
    assert resolves("bench.core.errors.BenchError") and resolves("bench.matching")
    assert not resolves("bench.core.errors.Nothing") and not resolves("bench.takeover")


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert linked == {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert "(docs/index.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def rooms_of_the_page() -> list[tuple[int, str]]:
    """Return (layer, room) in the order of the architecture's table."""
    section = ARCHITECTURE.split("\n## The rooms\n")[1].split("\n## ")[0]
    return [(int(layer), room) for layer, room in re.findall(r"^\| (\d+) \| `(\w+)` \|", section, flags=re.MULTILINE)]


def test_architecture_is_one_screen() -> None:
    lines = ARCHITECTURE.splitlines()
    assert len(lines) <= 90 and max(map(len, lines)) <= 120


def test_architecture_names_every_room_and_module_and_none_that_is_not_there() -> None:
    package = ROOT / "bench"
    modules = {path.stem for path in package.glob("*.py")}
    assert len(modules) <= 8
    rooms = {room for _, room in rooms_of_the_page()}
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert folders <= rooms <= folders | modules
    beside = set(re.findall(r"`bench/(\w+)\.py`", ARCHITECTURE))
    assert rooms - folders | beside == modules


def test_architecture_names_files_that_are_there() -> None:
    everywhere = {path.name for path in (ROOT / "bench").rglob("*.py")}
    assert set(re.findall(r"[a-z_]+\.py", ARCHITECTURE)) <= everywhere
    tour = re.findall(r"^\| `([\w/]+\.py)` \|", ARCHITECTURE, flags=re.MULTILINE)
    assert tour == ["suite/config.py", "suite/expansion.py", "pipeline.py", "boards/tables.py"]
    assert all((ROOT / "bench" / name).is_file() for name in tour)


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that code imports, those in functions included, those for type checkers alone not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


def test_imports_run_downhill_as_the_architecture_says() -> None:
    layers = {room: layer for layer, room in rooms_of_the_page()}
    assert list(layers.values()) == sorted(layers.values())
    for path in (ROOT / "bench").rglob("*.py"):
        room = path.relative_to(ROOT / "bench").parts[0].removesuffix(".py")
        for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
            target = name.removeprefix("bench.").split(".")[0]
            if name.startswith("bench.") and room in layers and target in layers and target != room:
                assert layers[target] > layers[room], f"{path}: {name}"
