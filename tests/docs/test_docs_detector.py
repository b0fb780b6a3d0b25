"""The detector template of docs/adding-a-detector.md runs as the guide says, and finds ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import REPOSITORY, Bench

EXAMPLES = REPOSITORY / "docs" / "examples"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The template's suite, run once as the guide says."""
    bench = Bench(tmp_path_factory.mktemp("detector"))
    bench("run", "--config", str(EXAMPLES / "my_ships.yaml"), "--device", "cpu", "--threads", "1")
    return bench


def entries(bench: Bench) -> dict[str, dict[str, object]]:
    found = [
        json.loads(path.read_text()) for path in sorted((bench.folder / "leaderboards/my-ships/entries").glob("*.json"))
    ]
    return {record["method"]: record for record in found}


def test_the_template_finds_ships(finished: Bench) -> None:
    rows = entries(finished)
    assert set(rows) == {"bright-blob", "cfar"}
    metrics, facts = rows["bright-blob"]["metrics"], rows["bright-blob"]["facts"]
    assert isinstance(metrics, dict) and isinstance(facts, dict)
    assert metrics["scene.ap_area"] > 0.2 and metrics["scene.best_f1"] > 0.3
    assert facts["training_ships"] > 0 and facts["threshold"] > 0


def test_the_template_is_not_run_twice_and_keeps_what_it_learned(finished: Bench) -> None:
    board = finished.folder / "leaderboards/my-ships/detection.md"
    before = board.read_bytes()
    again = finished("run", "--config", str(EXAMPLES / "my_ships.yaml"))
    assert "2 finished already, 0 to run" in again.stderr and board.read_bytes() == before
    (cell,) = (finished.folder / "runs/detection").glob("*bright-blob*")
    assert (cell / "model.safetensors").is_file() and (cell / "figures/scenes.png").is_file()


def test_an_option_of_the_template_is_checked(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    words = [
        "run",
        "--config",
        str(EXAMPLES / "my_ships.yaml"),
        "--set",
        "detection.methods.bright-blob.options.inner=3",
    ]
    assert "nearest: inner_px" in bench.error(*words)


def test_the_guide_names_the_template() -> None:
    guide = (REPOSITORY / "docs" / "adding-a-detector.md").read_text(encoding="utf-8")
    assert "(examples/my_detector.py)" in guide and "(examples/my_ships.yaml)" in guide
