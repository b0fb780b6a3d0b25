"""Disks that fill up, folders that cannot be written to, damaged files of a cell: one clear line, and the next run mends."""

from __future__ import annotations

import json
import re
import resource
import subprocess

import pytest
from command_line import NET, TINY, Bench, failed_cells


# -- disks and damaged files -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("option", ["--runs", "--boards"])
def test_an_output_folder_that_cannot_be_written_to(bench: Bench, option: str) -> None:
    bench.write("tiny.yaml", TINY)
    bench.write("taken", "a file")
    message = bench.error("run", "--config", "tiny.yaml", option, "taken/inside")
    assert "cannot write" in message and "taken/inside" in message and "\n" not in message
    assert not (bench.folder / "runs/matching").exists()


def limited_files(bench: Bench, size: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `bench WORDS` where no file may grow beyond `size` bytes: what a full disk looks like to the writer."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return subprocess.run(
        bench.words(*words),
        cwd=bench.folder,
        env=bench.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )


@pytest.mark.parametrize("size", [500, *(pytest.param(size, marks=pytest.mark.slow) for size in (6_000, 60_000))])
def test_a_full_disk_ends_in_a_clear_line_and_the_next_run_repairs_it(tiny_run: Bench, bench: Bench, size: int) -> None:
    """Files that may not grow beyond 500 bytes (manifest), 6 kB (tables), 60 kB (decoded images)."""
    bench.write("tiny.yaml", TINY)
    words = ("run", "--config", "tiny.yaml", "--method", "histogram", "--no-figures")
    done = limited_files(bench, size, *words)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stderr
    assert "cannot write" in done.stderr and "File too large" in done.stderr
    assert not list(bench.folder.rglob("*.tmp*")) and not list((bench.folder / "runs").glob("matching/*/*.npz"))
    bench(*words)
    same = ("model.safetensors", "predictions.npz", "scores.npz")
    assert all(
        (bench.cell("histogram") / name).read_bytes() == (tiny_run.cell("histogram") / name).read_bytes()
        for name in same
    )


def test_a_disk_that_fills_up_during_training(bench: Bench) -> None:
    bench.write("net.yaml", NET)
    done = limited_files(bench, 1_000_000, "run", "--config", "net.yaml", "--no-figures", "--threads", "1")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "FAILED in train: cannot write" in done.stderr and "choose another" in done.stderr
    assert not [name for name in bench.files("runs/matching") if name.endswith((".pt", ".safetensors"))]


def test_a_damaged_predictions_file(tiny: Bench) -> None:
    cell = tiny.cell("cfog")
    path, whole = cell / "predictions.npz", (cell / "predictions.npz").read_bytes()
    for damaged in (b"", b"no archive", whole[: len(whole) // 2], whole[:300] + bytes(80) + whole[380:]):
        path.write_bytes(damaged)
        message = tiny.error("score", str(cell))
        assert "predictions.npz: damaged predictions file" in message and "delete it and run the cell again" in message
    path.unlink()
    assert "predictions.npz does not exist; run the cell first" in tiny.error("score", str(cell))
    (cell / "record.json").unlink()
    tiny("run", "--config", "tiny.yaml", "--method", "cfog", "--no-figures")
    assert path.read_bytes() == whole


def test_a_damaged_record(tiny: Bench) -> None:
    path = tiny.cell("cfog") / "record.json"
    whole = path.read_text()
    newer = whole.replace('"schema_version": 2', '"schema_version": 3')
    for damaged, wanted in (
        (whole[:200], "is not valid JSON"),
        ("[]", "record schema None is not one of 1 to 2"),
        (newer, "made by a newer saropt-bench, update this one"),
        (whole.replace('"status": "finished"', '"status": "done"'), "damaged record (status"),
    ):
        path.write_text(damaged)
        if damaged in ("[]", newer):  # its cell fails, and the rest of the board stands
            ran = tiny("run", "--config", "tiny.yaml", "--no-figures", code=1)
            assert (
                "cfog on toy/grouped: FAILED: " in ran.stderr and wanted in ran.stderr and "record.json" in ran.stderr
            )
            assert (
                path.read_text() == damaged
                and re.search(r"cfog ‡ .*1/1 failed", ran.stdout)
                and "2 (0, 1)" in ran.stdout
            )
        planned = tiny("plan", "--config", "tiny.yaml", code=1).stdout
        assert wanted in planned and "record.json" in planned and "PROBLEM" in planned and "3 finished" in planned
        scored = tiny("score", code=1).stdout  # it names the damaged one, and scores the others
        assert wanted in scored and "PROBLEM" in scored and scored.count("numbers as recorded") == 3
    # other cells do not care
    assert "4 finished" not in tiny("plan", "--config", "tiny.yaml", "--method", "random").stdout
    path.unlink()
    tiny("run", "--config", "tiny.yaml", "--no-figures")
    assert json.loads(path.read_text())["metrics"] == json.loads(whole)["metrics"]


@pytest.mark.parametrize(
    "damaged", ["{", '{"key": 1}', *(pytest.param(text, marks=pytest.mark.slow) for text in ("", "[1]", "{}"))]
)
def test_a_damaged_stage_marker_is_an_unfinished_stage(tiny: Bench, damaged: str) -> None:
    cell = tiny.cell("histogram")
    before = {name: (cell / name).read_bytes() for name in ("model.safetensors", "predictions.npz", "scores.npz")}
    (cell / "record.json").unlink()
    (cell / "train.json").write_text(damaged)
    assert "train, predict, score" in tiny("plan", "--config", "tiny.yaml", "--method", "histogram").stdout
    tiny("run", "--config", "tiny.yaml", "--method", "histogram", "--no-figures")
    assert {name: (cell / name).read_bytes() for name in before} == before


def test_a_marker_of_the_right_key_without_its_facts(tiny: Bench) -> None:
    cell = tiny.cell("histogram")
    key = json.loads((cell / "train.json").read_text())["key"]
    (cell / "record.json").unlink()
    (cell / "train.json").write_text(json.dumps({"key": key}))
    tiny("run", "--config", "tiny.yaml", "--method", "histogram", "--no-figures")


def test_a_damaged_model(tiny: Bench) -> None:
    cell = tiny.cell("histogram")
    (cell / "record.json").unlink()
    (cell / "predict.json").unlink()
    (cell / "model.safetensors").write_bytes(b"damaged")
    stderr = failed_cells(tiny, "--config", "tiny.yaml", "--method", "histogram", "--no-figures")
    assert "model.safetensors: cannot read the model" in stderr and "--force" in stderr
    tiny("run", "--config", "tiny.yaml", "--method", "histogram", "--no-figures", "--force")
