"""The benchmark of precision names what it measures and computes its ratios rightly; slow: it measures at toy size.
Nothing is timed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from benchmarks import precision  # noqa: E402
from benchmarks.precision import QUICK, Row, Variant  # noqa: E402
from benchmarks.step_times import Times  # noqa: E402


def test_every_combination_once_and_plain_first() -> None:
    full, quick = precision.variants(False, True), precision.variants(True, False)
    assert len(set(full)) == len(full) == 12 and full[0] == quick[0] == Variant("fp32", False, False)
    assert [way.words for way in quick] == [
        "fp32",
        "fp32, channels last",
        "bf16",
        "bf16, channels last",
        "bf16, channels last, compiled",
    ]


@pytest.mark.parametrize("network", precision.NETWORKS)
def test_the_cells_compute_as_they_are_called(network: str, tmp_path: Path) -> None:
    method = precision.cell_of(network, Variant("bf16", True, True), QUICK, tmp_path).spec["method"]
    assert (method["precision"], method["options"]["channels_last"], method["options"]["compile"]) == (
        "bf16",
        True,
        True,
    )
    plain = precision.cell_of(network, Variant("fp32", False, False), QUICK, tmp_path).spec["method"]
    assert (
        plain["precision"] == "fp32"
        and plain["options"]["channels_last"] is False
        and "compile" not in plain["options"]
    )


def test_ratios_are_to_the_plain_row_of_the_same_network() -> None:
    plain, rich = Variant("fp32", False, False), Variant("bf16", True, False)
    rows = [
        Row("a", plain, 8, Times(2.0, 2.0, 0.1, 0.5, 2**20)),
        Row("a", rich, 8, Times(0.5, 2.0, 0.1, 1.0, 2**21)),
        Row("b", rich, 4, None, "no compiler"),
    ]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in precision.table(rows)[2:]]
    assert cells == [
        ["a", "fp32", "8", "4", "1.00", "2", "1.00", "1"],
        ["a", "bf16, channels last", "8", "16", "4.00", "1", "0.50", "2"],
    ]
    assert precision._problems(rows) == ["b, bf16, channels last: no compiler"]


def test_an_unknown_network_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert precision.main(["--device", "cpu", "--networks", "yolo3"]) == 2
    assert capsys.readouterr().err == "precision: error: unknown network 'yolo3'; nearest: yolov3\n"


@pytest.mark.slow
def test_it_measures(tmp_path: Path) -> None:
    words = [
        "--quick",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--steps",
        "1",
        "--networks",
        "bnn-resnet18",
        "--out",
        str(tmp_path / "t.md"),
    ]
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/precision.py"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert (
        done.stdout == (tmp_path / "t.md").read_text()
        and len([line for line in lines if line.startswith("| bnn-resnet18 |")]) == 5
    )
