"""`bench run --processes N`: one cell trained by several processes, started by the command line as a user types it."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import NET, REPOSITORY, Bench

from bench.core.errors import BenchError
from bench.training.api import choose_device

RUN = ("run", "--config", "net.yaml", "--no-figures", "--processes", "2", "--threads", "1")
ASK_DEVICE = """
import sys
import bench.training.api as training
training.has_gpu_driver = lambda: {driver}
asked = training.choose_device("auto")
print("cpu" if asked.startswith("cuda") else asked, training.choose_device("cpu", 4), "torch" in sys.modules)
"""
LEARNING = """\
name: learning
seeds: [0, 1, 2]
matching:
  protocol: {name: match/test-v1, hard: none, gallery: 32}
  datasets:
    toy:
      dataset: toy-pairs
      options: {scenes: 6, patches_per_scene: 32, patch_px: 32}
      splits:
        random: {kind: random, train: 0.7, validation: 0.1, seed: 0}
  methods:
    infonce-resnet18:
      matcher: infonce
      backbone: resnet18
      options: {epochs: 15, batch_size: 16, lr: 0.002, dim: 32, augment: dihedral}
"""


def record_of(cell: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cell / "record.json").read_text())
    return found


def children_of(pid: int) -> list[int]:
    """Return the processes below `pid`, deepest first."""
    own = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return [found for child in own for found in (*children_of(child), child)]


def ranks_below(pid: int) -> list[int]:
    """Return the workers below `pid`, by age."""
    found = []
    for child in sorted(children_of(pid)):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if (
            b"bench.worker" in words
            and b"bench.execution.launch" not in words
            and b"torch.distributed.run" not in words
        ):
            found.append(child)
    return found


def wait_for(what: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


@pytest.fixture
def net(bench: Bench) -> Bench:
    bench.write("net.yaml", NET.replace("matcher: infonce\n", "matcher: infonce\n      seeds: [0]\n"))
    return bench


def test_bad_numbers_are_refused(net: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert net.refused("run", "--config", "net.yaml", "--processes", "0") == "--processes 0: from 1"
    monkeypatch.setattr("bench.training.api.has_gpu_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert (
        choose_device("cuda", 2) == "cuda"
        and choose_device("auto", 2) == "cuda"
        and choose_device("cpu", 4) == "cpu"
        and choose_device("cuda", 1) == "cuda:0"
    )
    with pytest.raises(BenchError, match="device cuda:1: each of 2 processes takes a GPU of its own"):
        choose_device("cuda:1", 2)
    with pytest.raises(BenchError, match="device 'cuda:2' does not exist: this machine has 2 CUDA devices"):
        choose_device("cuda", 3)


@pytest.mark.parametrize("driver", [False, True])
def test_without_a_driver_the_device_is_known_without_torch(driver: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK_DEVICE.format(driver=driver)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=REPOSITORY,
    )
    assert done.stdout.split() == ["cpu", "cpu", str(driver)]


@pytest.mark.slow
def test_two_processes_train_a_cell_and_a_killed_one_is_resumed_to_the_same_bytes(
    net: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    net(*RUN)
    cell = net.cell("infonce")
    record = record_of(cell)
    assert record["status"] == "finished" and record["provenance"]["trained_by"]["hardware"]["processes"] == 2
    assert record["provenance"]["hardware"]["processes"] == 1  # predicted and scored by rank 0
    assert "2 processes" in net("explain", record["keys"]["score"][:12]).stdout
    assert "0 to run" in net(*RUN).stderr

    again = Bench(tmp_path_factory.mktemp("again"))
    again.write("net.yaml", (net.folder / "net.yaml").read_text())
    folder = again.folder / "runs/matching" / cell.name
    process = again.start(*RUN)
    wait_for((folder / "checkpoints/last.pt").is_file)
    os.kill(ranks_below(process.pid)[-1], signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in stderr, stderr
    assert re.search(
        r"FAILED in (worker|train): (the worker process was killed by signal 9|another of the 2 processes is gone)",
        stderr,
    ), stderr
    again(*RUN)
    assert "training goes on after epoch" in (folder / "log.txt").read_text()
    for name in ("model.safetensors", "predictions.npz", "curves.csv", "scores.npz"):
        assert (folder / name).read_bytes() == (cell / name).read_bytes(), name


@pytest.mark.slow
def test_no_process_outlives_a_killed_or_interrupted_run(net: Bench) -> None:
    for number in (signal.SIGKILL, signal.SIGINT):
        process = net.start(*RUN)
        wait_for(
            lambda process=process: (
                len(ranks_below(process.pid)) == 2 and list(net.folder.glob("runs/matching/*/checkpoints/last.pt"))
            )
        )
        below = children_of(process.pid)
        process.send_signal(number)  # to the run alone
        _, stderr = process.communicate(timeout=120)
        wait_for(lambda below=below: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in below))
        assert "Traceback" not in stderr, stderr
        if number == signal.SIGINT:
            assert process.returncode == 130 and "interrupted; the same command resumes" in stderr
        assert not list(net.folder.glob("runs/matching/*/record.json"))
    net(*RUN)
    assert record_of(net.cell("infonce"))["status"] == "finished"


@pytest.mark.slow
def test_the_same_batch_shared_by_two_processes_gives_the_same_row_within_the_scatter_of_seeds(bench: Bench) -> None:
    bench.write("learning.yaml", LEARNING)
    values: dict[int, list[float]] = {}
    for processes in (1, 2):
        words = (
            "--processes",
            str(processes),
            "--threads",
            "1",
            "--runs",
            f"runs-{processes}",
            "--boards",
            f"boards-{processes}",
        )
        for seed in ("0", "1", "2"):
            bench("run", "--config", "learning.yaml", "--no-figures", "--seeds", seed, *words)
        cells = sorted((bench.folder / f"runs-{processes}/matching").iterdir())
        values[processes] = [record_of(cell)["metrics"]["full.sar_to_optical.mrr"] for cell in cells]
    one, two = values[1], values[2]
    scatter = (statistics.variance(one) / 3 + statistics.variance(two) / 3) ** 0.5
    assert min(one + two) > 0.14, values  # both have learned to match: chance is 0.08 among 58
    assert abs(statistics.mean(one) - statistics.mean(two)) < 4.3 * scatter, values  # t, 2 degrees of freedom, 5 %
