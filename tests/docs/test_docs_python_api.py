"""Every example of docs/python-api.md runs, in the order of the page, in a folder with the page's own suite."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import bench

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "python-api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|yaml)\n(.*?)```", PAGE, flags=re.DOTALL)


def test_every_example_runs(tmp_path: Path) -> None:
    suites = [text for language, text in BLOCKS if language == "yaml"]
    (tmp_path / "toy.yaml").write_text(suites[0])
    script = "\n".join(text for language, text in BLOCKS if language == "python")
    (tmp_path / "page.py").write_text("if __name__ == '__main__':\n" + textwrap.indent(script, "    "))
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_the_examples_are_clean_for_a_strict_type_checker(tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n".join(text for language, text in BLOCKS if language == "python"))
    words = ["--strict", "--follow-imports=silent", "--cache-dir", str(REPOSITORY / ".mypy_cache"), str(script)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_page_names_every_public_name() -> None:
    script = "\n".join(text for _, text in BLOCKS) + PAGE
    missing = [name for name in bench.__all__ if not re.search(rf"\b{name}\b", script)]
    assert missing == []
    called = set(re.findall(r"bench\.(\w+)\(", PAGE))
    functions = {
        "load_suite",
        "plan",
        "run",
        "leaderboard",
        "compare",
        "predict",
        "evaluate_detector",
        "evaluate_matcher",
    }
    assert functions <= called  # each with an example
