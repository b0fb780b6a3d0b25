"""What benchmarks/gpu.sh runs on a GPU works on the CPU: clocks around a training, the comparison of two devices, the
script's own syntax. Nothing is judged by its time.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT), str(ROOT / "tests" / "training")]

from training_toys import BATCH, ToyBatches, toy_context, toy_net, toy_spec  # noqa: E402

from bench.training import api  # noqa: E402
from benchmarks import device_agreement, precision  # noqa: E402
from benchmarks.precision import Row, Variant  # noqa: E402
from benchmarks.step_times import How, Times, shortened  # noqa: E402


@pytest.mark.parametrize("bare", [False, True])
def test_a_training_is_cut_short_whatever_its_method_hands_over(bare: bool, tmp_path: Path) -> None:
    how = How("cpu", 1, 0, warmup=1, steps=2, bare=bare)
    with shortened(how) as seen:  # as `bench.training.learned` calls it
        api.train(toy_net(), ToyBatches(), toy_spec(5), toy_context(tmp_path), None, "last", None)
    assert seen.result is not None and len(seen.result.history) == 1
    assert len(seen.ends) == 1 + how.warmup + how.steps and len(seen.loading) == 3 and BATCH > 1
    assert (seen.bare is not None and seen.bare > 0) == bare


def test_the_share_of_the_network_is_a_column_where_it_was_measured(tmp_path: Path) -> None:
    plain = Variant("fp32", False, False)
    rows = [Row("a", plain, 8, Times(2.0, 2.0, 0.1, 0.5, 2**20, 1.5)), Row("a", plain, 8, None, "why, and more")]
    table = precision.table(rows)
    assert table[0].endswith("| peak MiB | network alone |") and table[2].endswith("| 1 | 0.75 |")
    for row in rows:
        precision._append(tmp_path / "rows.csv", row)
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert lines[0] == "network,way,batch,step_s,processor_s,loading_s,inference_s,peak_bytes,bare_s,free_s,problem"
    assert lines[1:] == ["a,fp32,8,2.0,2.0,0.1,0.5,1048576,1.5,,", 'a,fp32,8,,,,,,,,"why, and more"']


def test_ways_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert precision.chosen(["bf16+channels-last", "fp16+compile"], False, False) == [
        Variant("bf16", True, False),
        Variant("fp16", False, True),
    ]
    assert precision.main(["--device", "cpu", "--ways", "bf16+channel-last"]) == 2
    assert "unknown way 'bf16+channel-last'; nearest: bf16+channels-last" in capsys.readouterr().err


def test_boxes_are_compared_with_their_partners() -> None:
    def arrays(boxes: list[list[float]], scores: list[float]) -> dict[str, np.ndarray]:
        values = {"offset": [0, len(boxes), len(boxes)], "box": boxes, "score": scores}
        return {f"test.scene.{name}": np.array(value) for name, value in values.items()}

    ours = arrays([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 9, 9]], [0.9, 0.8, 0.05])
    theirs = arrays([[1, 0, 10, 10], [80, 80, 90, 90]], [0.7, 0.6])
    found = dict(device_agreement._boxes(ours, theirs))
    assert found["boxes, those again, with partner"] == "2 2 1" and found["boxes, largest move, px"] == 1.0
    assert found["scores, largest difference"] == pytest.approx(0.2)


def test_distances_are_compared_one_by_one() -> None:
    ours = {"test.distance": np.array([1.0, -2.0]), "test.sar_embedding": np.zeros((0, 2)), "test.label": np.array([1])}
    found = dict(device_agreement._distances(ours, {**ours, "test.distance": np.array([1.0, -1.5])}))
    assert found == {"test.distance, largest difference": 0.5, "test.distance, largest value": 2.0}


def test_a_folder_without_cells_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert device_agreement.main(["predictions", str(tmp_path)]) == 2
    assert "holds no finished cell" in capsys.readouterr().err


def test_the_script_has_no_error_of_syntax_and_knows_its_steps() -> None:
    script = ROOT / "benchmarks" / "gpu.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text()
    (names,) = [line.split(":-", 1)[1].rstrip("}").split() for line in text.splitlines() if line.startswith("steps=")]
    assert len(names) == 11 and all(f"\n{name}() {{" in text and f"\n#   {name}" in text for name in names)


@pytest.mark.slow
def test_two_runs_of_a_cell_agree(tmp_path: Path) -> None:
    small = ["--method", "infonce-resnet18", "--set", "matching.methods.infonce-resnet18.options.entries=64"]
    for name in ("one", "two"):
        places = ["--runs", str(tmp_path / name), "--boards", str(tmp_path / "boards")]
        words = ["run", "matching", "--config", str(ROOT / "benchmarks/gpu.yaml"), *small, *places, "--device", "cpu"]
        subprocess.run(
            [sys.executable, "-m", "bench", *words, "--threads", "1", "--no-figures"], check=True, cwd=tmp_path
        )
    assert device_agreement.main(["metrics", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    csv = tmp_path / "rows.csv"
    assert device_agreement.main(["predictions", str(tmp_path / "one"), "--threads", "1", "--csv", str(csv)]) == 0
    differences = [line for line in csv.read_text().splitlines() if "largest difference" in line]
    assert len(differences) == 4 and all(line.endswith(",0") for line in differences)
