"""The cluster executor against a genuine Slurm of one node (`one_node.py`): results, dependencies, cancelling,
pre-emption, kills.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import Bench
from one_node import one_node_slurm, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=f"no one-node Slurm: {why_not()}")]

SUITE = """\
name: onenode
seeds: [0]
execution: {slurm: {partition: main, cpus: 1, minutes: 20, poll_s: 0.5}}
matching:
  protocol: {gallery: 4}
  datasets:
    toy:
      dataset: toy-pairs
      options: {scenes: 4, patches_per_scene: 16, patch_px: 32}
      splits: {grouped: {kind: grouped, test: 0.3, validation: 0.3}}
  methods:
    bnn18: {matcher: bnn, backbone: resnet18, options: {epochs: 6, input_px: 32}}
    histogram: {matcher: histogram}
detection:
  datasets:
    ships:
      dataset: toy-ships
      options: {scenes: 4, scene_px: 128, ships_per_scene: 3}
      tiles: {size_px: 96, overlap_px: 32}
      splits: {half: {kind: random, by: id, test: 0.5, validation: 0}}
  methods:
    frcnn:
      detector: faster-rcnn
      backbone: resnet18
      pretrain: [osm]
      options: {epochs: 1, per_epoch: 4, batch_size: 2, fpn_channels: 16, rpn_channels: 16, roi_fc: 16, train_proposals: 50}
"""
PATIENCE_S = 240.0
RUN = ("run", "--config", "suite.yaml", "--no-figures", "--threads", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    with one_node_slurm() as environment:
        yield environment


@pytest.fixture
def bench(tmp_path: Path, cluster: dict[str, str]) -> Bench:
    bench = Bench(tmp_path)
    bench.env |= {name: cluster[name] for name in ("SLURM_CONF", "PATH")}
    bench.write("suite.yaml", SUITE)
    return bench


def metrics(folder: Path, runs: str) -> dict[str, object]:
    records = [json.loads(path.read_text()) for path in sorted((folder / runs).glob("*/*/record.json"))]
    assert records and all(record["status"] == "finished" for record in records)
    return {f"{record['task']} {record['method']} {record['seed']}": record["metrics"] for record in records}


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, "nothing happened"
        if process.poll() is not None and not what():
            raise AssertionError("the run ended before: " + "\n".join(map(str, process.communicate())))
        time.sleep(0.05)


def cell(bench: Bench, part: str, runs: str = "runs") -> Path:
    (found,) = [path for path in (bench.folder / runs / "matching").glob("*") if part in path.name]
    return found


def in_training(bench: Bench) -> bool:
    try:
        return (cell(bench, "bnn18") / "checkpoints" / "last.pt").is_file()
    except ValueError:
        return False


def job_of(bench: Bench) -> str:
    return str(json.loads((cell(bench, "bnn18") / "slurm.json").read_text())["job"])


def test_the_same_numbers_as_here_and_the_dependant_waits(bench: Bench) -> None:
    said = bench(*RUN, "--executor", "slurm").stderr
    assert "submitted as job" in said and said.index("bnn18 on toy/grouped, seed 0: done") < said.index(
        "frcnn/osm on ships/half, seed 0: train"
    )
    bench(*RUN, "--runs", "local", "--boards", "local-boards")
    assert metrics(bench.folder, "runs") == metrics(bench.folder, "local")
    again = bench(*RUN, "--executor", "slurm").stderr
    assert "3 finished already, 0 to run" in again and "submitted" not in again


@pytest.mark.parametrize("how", ["scancel", "requeue"])
def test_a_job_that_is_cancelled_or_queued_again_resumes(bench: Bench, cluster: dict[str, str], how: str) -> None:
    words = (*RUN, "matching", "--method", "bnn18", "--executor", "slurm")
    process = bench.start(*words)
    wait_for(lambda: in_training(bench), process)
    job = job_of(bench)
    subprocess.run(["scancel", job] if how == "scancel" else ["scontrol", "requeue", job], env=cluster, check=True)
    out, err = process.communicate(timeout=PATIENCE_S)
    if how == "scancel":
        assert process.returncode == 1 and f"job {job} was cancelled" in err, out + err
        bench(*words)
    else:
        assert process.returncode == 0, out + err
    log = (cell(bench, "bnn18") / "log.txt").read_text()
    assert "training goes on after epoch" in log, log
    bench(*RUN, "matching", "--method", "bnn18", "--runs", "local", "--boards", "local-boards")
    assert metrics(bench.folder, "runs") == metrics(bench.folder, "local")


def test_a_killed_run_finds_its_job_again(bench: Bench) -> None:
    words = (*RUN, "matching", "--method", "bnn18", "--executor", "slurm")
    process = bench.start(*words)
    wait_for(lambda: in_training(bench), process)
    job = job_of(bench)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    said = bench(*words).stderr
    assert f"job {job} is still there" in said and "submitted" not in said
    assert job_of(bench) == job


def test_an_interrupted_run_cancels_its_jobs(bench: Bench, cluster: dict[str, str]) -> None:
    process = bench.start(*RUN, "matching", "--method", "bnn18", "--executor", "slurm")
    wait_for(lambda: in_training(bench), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "1 jobs cancelled" in err, err
    end = time.monotonic() + 30
    while (
        subprocess.run(["squeue", "-h"], env=cluster, capture_output=True, text=True, check=True).stdout
        and time.monotonic() < end
    ):
        time.sleep(0.2)
    assert not subprocess.run(["squeue", "-h"], env=cluster, capture_output=True, text=True, check=True).stdout


def test_an_unknown_partition_is_refused_in_one_line(bench: Bench) -> None:
    message = bench.error(*RUN, "--executor", "slurm", "--slurm", "partition=gpuu")
    assert (
        message == "the cluster did not take the job: invalid partition specified: gpuu"
        or "partition" in message
        and "\n" not in message
    )
    assert not list((bench.folder / "runs").rglob("record.json"))
