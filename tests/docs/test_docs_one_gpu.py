"""The script for the whole paper: its steps exist, its configs plan, and what it is told wrongly is said in one
line.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ship_files import write_air_sarship

from bench.data.toy import ToyScene, write_toy_pairs

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "examples" / "paper_on_one_gpu.sh"
GUIDE = (ROOT / "docs" / "paper-on-one-gpu.md").read_text(encoding="utf-8")


def script(
    folder: Path, *steps: str, code: int = 0, sets: Mapping[str, str] | None = None, start: str = "imagenet"
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    environment |= {
        "BENCH": str(Path(sys.executable).with_name("bench")),
        "PYTHON": sys.executable,
        "WORK": str(folder / "work"),
        "START": start,
        **(sets or {}),
    }
    done = subprocess.run(
        [str(SCRIPT), *steps], env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_whole_paper_is_planned_without_weight_files(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    write_toy_pairs(
        tmp_path / "pairs", ToyScene(scenes=1, patches_per_scene=24, patch_px=16), ("opt_256_oc_0.2", "sar_256_oc_0.2")
    )
    write_air_sarship(tmp_path / "scenes", {1: [(3, 4, 20, 30)], 5: [(3, 4, 20, 30)]})
    sets = {"PAIRS": str(tmp_path / "pairs"), "SCENES": str(tmp_path / "scenes")}
    done = script(tmp_path, "weights", "plan", start="random", sets=sets)
    assert "0 finished, 42 to run" in done.stdout and "seed by seed" in done.stdout
    assert [line for line in done.stderr.splitlines() if line.startswith("==")] == ["== weights", "== plan"]
    assert "no ImageNet weights for darknet53" in script(tmp_path, "plan", code=2, sets=sets).stdout


def test_wrong_words_are_told(tmp_path: Path) -> None:
    assert "unknown step plot; known: sets doctor" in script(tmp_path, "plan", "plot", code=2).stderr
    assert "START is coco" in script(tmp_path, "plan", code=2, start="coco").stderr


def test_the_guide_explains_every_step() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    steps = re.findall(r"^step_(\w+)\(\)", text, flags=re.MULTILINE)
    assert f"({' '.join(steps)})" in text and len(steps) == 8
    assert re.findall(r"^- `(\w+)`:", GUIDE, flags=re.MULTILINE) == steps
    assert "(examples/paper_on_one_gpu.sh)" in GUIDE and "(examples/paper_random_start.yaml)" in GUIDE
