"""The documentation's examples run: the matcher templates through the command line, and the configs that the text
shows.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.core.validation import validate
from bench.matching.spec import MatchingSection
from bench.suite.config import load_suite

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
GUIDE = (ROOT / "docs" / "adding-a-matcher.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, so that a plug-in registers nothing in this one."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BENCH_")}
    command = [sys.executable, "-m", "bench.cli.main", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def run(config: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = ["--runs", str(folder / "runs"), "--boards", str(folder / "boards")]
    return bench("run", "--config", str(config), *places, "--device", "cpu", "--threads", "1", "--no-figures", *words)


def records(folder: Path, suite: str) -> dict[str, dict[str, Any]]:
    """Return the filed records of a suite by "method/seed"."""
    found = [json.loads(path.read_text()) for path in sorted((folder / "boards" / suite / "entries").glob("*.json"))]
    return {f"{record['method']}/{record['seed']}": record for record in found}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's suite, run once as the guide says."""
    folder = tmp_path_factory.mktemp("template")
    done = run(EXAMPLES / "my_suite.yaml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_template_beats_chance_and_the_floor_does_not(finished: Path) -> None:
    rows = records(finished, "my-suite")
    assert set(rows) == {"edge-map/None", "edge-map-coarse/None", "random/0", "random/1"}
    for name in ("edge-map/None", "edge-map-coarse/None"):
        metrics = rows[name]["metrics"]
        assert metrics["uniform.accuracy"] > 0.85 and metrics["uniform.roc_auc"] > 0.95
        assert metrics["hard.roc_auc"] > 0.9  # it matches places and does not only tell scenes apart
        assert metrics["full.sar_to_optical.recall_at_1"] > 0.5
    for name in ("random/0", "random/1"):
        assert 0.3 < rows[name]["metrics"]["uniform.roc_auc"] < 0.7


def test_the_template_is_not_run_twice(finished: Path) -> None:
    board = finished / "boards" / "my-suite" / "matching.md"
    before = board.read_bytes()
    again = run(EXAMPLES / "my_suite.yaml", finished)
    assert again.returncode == 0 and "4 finished already, 0 to run" in again.stderr
    assert board.read_bytes() == before


def test_an_option_of_the_template_is_checked(tmp_path: Path) -> None:
    done = run(EXAMPLES / "my_suite.yaml", tmp_path, "--set", "matching.methods.edge-map-coarse.options.gird=8")
    assert done.returncode == 2 and "nearest: grid" in done.stderr


def test_the_template_refuses_patches_too_small_for_its_grid(tmp_path: Path) -> None:
    options = ["--set", "matching.methods.edge-map.options.grid=64", "--method", "edge-map"]
    done = run(EXAMPLES / "my_suite.yaml", tmp_path, *options)
    assert done.returncode == 1 and "edge-map: patches of 64 x 64 px are too small" in done.stderr


def test_the_guide_links_the_templates_and_copies_none() -> None:
    for name in ("my_matcher.py", "my_suite.yaml", "my_trained_matcher.py"):
        assert f"(examples/{name})" in GUIDE and (EXAMPLES / name).is_file()
    assert not blocks(GUIDE, "python")  # a copy would drift from the file that runs


def test_the_trained_template_trains_through_the_row_that_the_guide_shows(tmp_path: Path) -> None:
    shown = next(yaml.safe_load(text) for text in blocks(GUIDE, "yaml") if "plugins:" in text)
    shown |= {
        "extends": str(EXAMPLES / "my_suite.yaml"),
        "name": "trained",
        "plugins": [str(EXAMPLES / name) for name in ("my_matcher.py", *shown["plugins"])],
    }
    config = tmp_path / "trained.yaml"
    config.write_text(yaml.safe_dump(shown))
    method = "sigmoid-resnet18"
    done = run(
        config, tmp_path, "--method", method, "--seeds", "0", "--set", f"matching.methods.{method}.options.epochs=1"
    )
    assert done.returncode == 0, done.stderr
    record = records(tmp_path, "trained")[f"{method}/0"]
    assert record["facts"]["epochs"] == 1 and record["outputs"]["weights_sha256"]
    assert record["metrics"]["uniform.roc_auc"] is not None

    from safetensors.numpy import load_file

    (model,) = (tmp_path / "runs" / "matching").glob("*/model.safetensors")
    state = load_file(str(model))
    assert state["scale"] != 10.0 and {"bias", "sar.head.out.weight", "optical.head.out.weight"} <= set(state)


def test_whole_configs_in_the_text_are_valid(tmp_path: Path) -> None:
    checked = 0
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for text in blocks(path.read_text(encoding="utf-8"), "yaml"):
            if "name:" in text.splitlines()[0]:
                config = tmp_path / "shown.yaml"
                config.write_text(text)
                suite = load_suite(str(config))
                validate(MatchingSection, suite.tasks["matching"], path.name)
                checked += 1
    assert checked >= 1


def test_the_example_of_the_statistics_page_runs() -> None:
    (code,) = blocks((ROOT / "docs" / "statistics.md").read_text(encoding="utf-8"), "python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    difference, table = done.stdout.splitlines()
    assert difference.startswith("Difference(") and table.startswith("Analysis(")
