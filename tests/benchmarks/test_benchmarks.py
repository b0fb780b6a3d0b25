"""The benchmarks run at toy size, say what they promise, and derive the work of the paper's trainings from its config.
Nothing is timed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from benchmarks import full_size, generated_sets, paper_steps, process_tree  # noqa: E402

SMALL = """\
extends: paper
name: small
seeds: [0, 1]
matching:
  methods:
    bnn-darknet53: null
    cfog: null
    bnn-resnet50: {backbone: resnet18, init: none, options: {epochs: 2, batch_size: 4, input_px: 32}}
detection:
  osm: {methods: {resnet50: null, darknet53: null, resnet18: bnn-resnet50}}
  datasets:
    air-sarship-1.0: {tiles: {size_px: 64, overlap_px: 16}}
  reference: faster-rcnn/none
  methods:
    cfar: null
    yolov3: null
    faster-rcnn:
      backbone: resnet18
      pretrain: [none, osm]
      options: {epochs: 3, batch_size: 2, fpn_channels: 16, rpn_channels: 16, roi_fc: 16, train_proposals: 50, test_proposals: 50}
"""


def run(script: str, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


def cells_of(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]


# -- memory ------------------------------------------------------------------------------------------------------------
def test_memory_of_a_process_and_its_child_is_summed(tmp_path: Path) -> None:
    hold = "b = bytearray(80 * 2**20); b[::4096] = b'x' * len(b[::4096]); import time; time.sleep(0.6)"
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {hold!r}]); {hold}; p.wait()"
    usage = process_tree.measure([sys.executable, "-c", parent], tmp_path, {})
    assert usage.code == 0 and usage.processes == 2 and usage.seconds > 0.6
    assert 160 < usage.own_bytes / 2**20 < 220 and usage.own_bytes <= usage.peak_bytes


def test_a_command_that_fails_tells_its_exit_code_and_output(tmp_path: Path) -> None:
    usage = process_tree.measure([sys.executable, "-c", "import sys; print('no'); sys.exit(3)"], tmp_path, {})
    assert usage.code == 3 and usage.output == "no\n"


@pytest.mark.slow
def test_stages_at_toy_size(tmp_path: Path) -> None:
    generated_sets.write_pairs(tmp_path / "pairs", 24, 64)
    generated_sets.write_scenes(tmp_path / "scenes", 200, 6)
    roots = ("--pairs-root", str(tmp_path / "pairs"), "--scenes-root", str(tmp_path / "scenes"), "--threads", "2")
    stages = ("--stages", "train", "score", "cfar")
    done = run("full_size.py", *roots, *stages, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "table.md"))
    assert (tmp_path / "table.md").read_text() == done.stdout
    head, _, *rows = cells_of(done.stdout)
    assert [row[0] for row in rows] == [full_size.STAGES[name].title for name in stages[1:]]
    for row in rows:
        named = dict(zip(head, row, strict=True))
        assert (
            named["limit 6 GiB"] == "kept"
            and 100 < float(named["peak memory MiB"]) < 6144
            and named["of it the stage s"] != "-"
        )
    predicted = sorted(
        (tmp_path / "work/runs/matching").glob("*/predictions.npz"), key=lambda path: path.stat().st_mtime
    )
    sizes = [np.load(path)["gallery.distance"].shape for path in predicted]
    assert sizes == [(2, 2), (7, 7)]  # 30 % of 24 pairs: the whole test part


def test_what_cannot_be_measured_is_told_in_one_line(tmp_path: Path) -> None:
    for words, wanted in (
        ((), "nothing to measure: give --pairs-root"),
        (("--scenes-root", str(tmp_path), "--stages", "train"), "stage train needs --pairs-root"),
        (("--pairs-root", str(tmp_path), "--stages", "score"), "what stage train has trained"),
        (("--pairs-root", str(tmp_path / "none")), "is not a folder"),
    ):
        assert full_size.main(words) == 2, wanted
    done = run("full_size.py", "--pairs-root", str(tmp_path), "--stages", "cache", code=1)
    assert "data set qxs-saropt is not here" in done.stderr and "| failed |" in done.stdout


# -- steps -------------------------------------------------------------------------------------------------------------
def test_work_of_the_paper_follows_from_its_config() -> None:
    groups, left_out = paper_steps._trainings("paper")
    assert left_out == 0 and [len(cells) for cells in groups] == [5, 5, 10, 10]
    work = {cells[0].method: paper_steps._work(cells[0], None, Path()) for cells in groups}
    per_epoch = -(-2 * 12_600 // 32)  # 70 % of 20,000 without a tenth, each with a negative, in batches of 32
    assert work["bnn-resnet50"] == work["bnn-darknet53"] == paper_steps.Work(200 * per_epoch, 201 * 1400 + 6000)
    tiles = 9 * 9  # 512 px every 312 px over 3000 px
    assert work["faster-rcnn/imagenet"] == paper_steps.Work(36 * -(-21 * tiles // 8), 10 * tiles)
    assert work["yolov3/imagenet"] == paper_steps.Work(72 * -(-21 * tiles // 8), 10 * tiles)


def test_tiles_are_counted_where_the_scenes_are_at_hand(tmp_path: Path) -> None:
    generated_sets.write_scenes(tmp_path / "scenes", 1000, 1)
    cells = next(cells for cells in paper_steps._trainings("paper")[0] if cells[0].method.startswith("yolov3"))
    work = paper_steps._work(cells[0], tmp_path / "scenes", tmp_path / "cache")
    # 9 tiles at most, of which one ship shows in 1 to 4, as many empty ones
    assert work.inferred == 9 and work.steps in (72, 144)


def test_trainings_that_are_not_estimated_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "random.yaml").write_text(
        "extends: paper\nname: x\nmatching: {methods: {bnn-resnet50: null, bnn-darknet53: null}}\ndetection: null\n"
    )
    assert paper_steps.main(["--config", str(tmp_path / "random.yaml"), "--device", "cpu"]) == 2
    assert "trains no network" in capsys.readouterr().err
    assert paper_steps.main(["--config", "s1s2", "--device", "cpu"]) == 2
    assert "steps are derived for qxs-saropt" in capsys.readouterr().err
    assert paper_steps.main(["--device", "cuda:99"]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.slow
def test_step_times_at_toy_size(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    done = run(
        "paper_steps.py", "--config", str(tmp_path / "small.yaml"), "--device", "cpu", "--warmup", "0", "--steps", "1"
    )
    head, _, *rows, total = cells_of(done.stdout)
    assert [row[0] for row in rows] == ["bnn-resnet50", "faster-rcnn"] and total[0] == "**all**"
    for row in rows:
        named = dict(zip(head, row, strict=True))
        assert all(float(named[name].replace(",", "")) > 0 for name in head[1:])
        hours = int(named["steps"].replace(",", "")) * float(named["step s"]) + int(
            named["samples"].replace(",", "")
        ) * float(named["inference s a sample"])
        assert float(named["hours each"].replace(",", "")) == pytest.approx(hours / 3600, rel=0.1, abs=0.06)
    assert [row[head.index("cells")] for row in rows] == ["2", "4"]
