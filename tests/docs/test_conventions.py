"""What a contributor finds at the top of the repository agrees with the project: workflow, hooks, template, changelog."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import REPOSITORY

import bench

MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE))
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def commands(workflow: Any) -> list[str]:
    """Return the lines that the jobs of a workflow run."""
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    return [line for step in steps for line in step.get("run", "").splitlines()]


def test_the_workflow_runs_checks_tests_and_boards_on_pull_requests() -> None:
    workflow = parsed(REPOSITORY / ".github" / "workflows" / "ci.yml")
    assert "pull_request" in workflow[True]  # YAML 1.1 reads the key `on` as a truth value
    assert {"make check", "make test", "make boards"} <= set(commands(workflow))
    for job in workflow["jobs"].values():
        assert job["steps"][0]["uses"].startswith("actions/checkout@")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_targets_that_exist(path: Path) -> None:
    called = [line.split() for line in commands(parsed(path))]
    assert called and all(words[0] == "make" and set(words[1:]) <= TARGETS for words in called)


def test_make_boards_looks_at_changed_and_at_new_files() -> None:
    recipe = MAKEFILE.partition("\nboards:")[2].partition("\n\n")[0]
    assert "bench leaderboard" in recipe and "diff --exit-code" in recipe and "ls-files --others" in recipe


def test_hooks_run_the_lint_and_the_format_of_make_check() -> None:
    hooks = [
        hook["entry"] for repo in parsed(REPOSITORY / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]
    ]
    for command in ("ruff check", "ruff format"):
        assert f"$(BIN)/{command}" in MAKEFILE and any(entry.startswith(f".venv/bin/{command}") for entry in hooks)


def test_the_template_asks_for_numbers_and_their_command() -> None:
    template = (REPOSITORY / ".github" / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8")
    assert "## Numbers" in template and "The command that gave them" in template
    assert set(re.findall(r"`make ([a-z]+)`", template)) <= TARGETS


def test_the_changelog_knows_this_version_and_what_is_unreleased() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert headings[:2] == ["Unreleased", bench.__version__] and project["version"] == bench.__version__


def test_addresses_of_the_project_are_whole() -> None:
    urls = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    assert urls and all(re.fullmatch(r"https://[\w.-]+/[\w./-]+", url) for url in urls.values())
