"""`bench docs`: every page is listed and printed, ships with the package, and every page that the code cites exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from command_line import REPOSITORY, Bench

from bench.core.workspace import shipped_pages

PAGES = shipped_pages()
SOURCES = sorted((REPOSITORY / "bench").rglob("*.py"))
_CITED = re.compile(r"(?:docs/|bench docs )([a-z][a-z-]*)(?:\.md)?(?:,[\s#]+section[\s#]+(\d+))?")


def cited(path: Path) -> list[tuple[str, str]]:
    """Return (page, section) of each citation in a file, "" where it names no section."""
    text = path.read_text(encoding="utf-8")
    return [(page, section) for page, section in _CITED.findall(text) if page != "examples"]


def test_pages_are_listed_with_their_headings_and_printed(bench: Bench) -> None:
    listed = dict(line.split(maxsplit=1) for line in bench("docs").stdout.splitlines())
    assert listed.keys() == PAGES.keys() and {"statistics", "adding-a-matcher"} <= listed.keys()
    for name, path in PAGES.items():
        assert path.read_text(encoding="utf-8").startswith(f"# {listed[name]}\n"), f"{name}: no heading in line 1"
    text = PAGES["statistics"].read_text(encoding="utf-8")
    for form in ("statistics", "statistics.md", "docs/statistics.md"):
        assert bench("docs", form).stdout == text


def test_an_unknown_page_lists_the_nearest(bench: Bench) -> None:
    done = bench("docs", "statistic", code=2)
    assert done.stderr == "bench: error: no page 'statistic'; nearest: statistics; `bench docs` lists them\n"


def test_pages_and_configs_ship_with_the_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {name: f"bench/{name}" for name in ("configs", "docs")}
    assert (REPOSITORY / "bench" / "py.typed").is_file()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_cited_pages_and_sections_exist(path: Path) -> None:
    for page, section in cited(path):
        assert page in PAGES, f"docs/{page}.md"
        if section:
            assert re.search(rf"^## {section}\. ", PAGES[page].read_text(encoding="utf-8"), re.MULTILINE), (
                f"docs/{page}.md has no section {section}"
            )


def test_citations_are_found_at_all() -> None:
    found = {page for path in SOURCES for page, _ in cited(path)}
    assert {"statistics", "protocols", "predicting"} <= found
    assert any(section for path in SOURCES for _, section in cited(path))
