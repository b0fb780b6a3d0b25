"""The speed benchmarks run at toy size and print what they promise; what they compare is equal. Nothing is judged by
its time.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *words: str, code: int = 0) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *words, "--rounds", "1", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def rows(text: str) -> dict[str, list[str]]:
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    return {line[0]: line[1:] for line in lines[1:]}


def test_evaluator_and_cfar_agree_with_what_they_are_compared_with() -> None:
    found = rows(
        run("detection.py", "evaluator", "cfar", "--detections", "600", "--cfar-px", "200", "--naive-px", "96")
    )
    evaluator, test, whole = found.values()
    assert [name.split(",")[0] for name in found] == ["evaluator", "CFAR threshold test", "CFAR"]
    assert evaluator[0].endswith(" s") and float(evaluator[2]) > 0 and evaluator[3] == "at least 8"
    assert test[0].endswith("MP/s") and whole[1] == ""


def test_reading_and_metrics() -> None:
    found = rows(run("matching.py", "reading", "metrics", "--pairs", "40", "--patch-px", "32", "--scored", "200"))
    reading, seconds, memory = found.values()
    assert float(reading[2]) > 0 and reading[0].endswith("pairs/s")
    assert "metrics of 200 test pairs" in list(found)[1] and seconds[4] in ("yes", "**no**")
    assert 0.01 < float(memory[0].removesuffix(" GiB")) < 2


def test_an_unknown_part_is_refused() -> None:
    assert "unknown part readng; known: training, reading, metrics" in run("matching.py", "readng", code=2)


@pytest.mark.slow
def test_trainings_and_inference_run_through() -> None:
    found = rows(run("matching.py", "training", "--pairs", "40", "--patch-px", "64", "--batch", "4", "--steps", "4"))
    assert len(found) == 2 and all(float(line[2]) > 0 for line in found.values())
    words = (
        "training",
        "inference",
        "--steps",
        "4",
        "--batch",
        "2",
        "--tile-px",
        "64",
        "--scene-px",
        "256",
        "--ships",
        "12",
    )
    found = rows(run("detection.py", *words))
    assert len(found) == 3 and all(float(line[2]) > 0 for line in found.values())
