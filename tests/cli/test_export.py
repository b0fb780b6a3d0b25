"""`bench export` as a user types it: from cells of both kinds, and every way to ask for what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command_line import NET, Bench

from bench.core.registries import BACKBONES
from bench.models.weights import load_weights, save_weights


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("export"))
    bench.write("net.yaml", NET.replace("epochs: 4", "epochs: 1"))
    bench("run", "--config", "net.yaml", "--no-figures", "--seeds", "0")
    return bench


def test_each_branch_of_a_matching_cell(bench: Bench) -> None:
    cell = bench.cell("infonce")
    model, _ = load_weights(cell / "model.safetensors")
    for branch in ("sar", "optical"):
        words = () if branch == "sar" else ("--branch", branch)
        out = bench("export", str(cell), *words, "--to", "torchvision", "--out", f"{branch}.pth").stdout
        assert "torchvision.models.resnet18()" in out and "mean (0.485, 0.456, 0.406)" in out
        written = torch.load(bench.folder / f"{branch}.pth")
        assert written and all(torch.equal(value, model[f"{branch}.backbone.{key}"]) for key, value in written.items())


def test_what_cannot_be_exported_is_told(bench: Bench) -> None:
    cell = str(bench.cell("infonce"))
    wanted = ("--to", "mmdet", "--out", "x.pth")
    assert "unknown framework 'mmdt'; nearest: mmdet" in bench.refused("export", cell, "--to", "mmdt", "--out", "x.pth")
    assert "darknet has no resnet18" in bench.refused("export", cell, "--to", "darknet", "--out", "x.pth")
    assert "neither a weight file nor the folder of a finished cell" in bench.refused("export", "runs", *wanted)
    assert "--out runs is a folder" in bench.refused("export", cell, "--to", "mmdet", "--out", "runs")
    save_weights(bench.folder / "bare.safetensors", BACKBONES.get("resnet18").build().state_dict())
    assert "say what it holds with --backbone" in bench.refused("export", "bare.safetensors", *wanted)
    assert "has no two branches" in bench.refused(
        "export", "bare.safetensors", "--backbone", "resnet18", "--branch", "sar", *wanted
    )
    assert "unknown backbone 'resnet81'" in bench.refused(
        "export", "bare.safetensors", "--backbone", "resnet81", *wanted
    )
    assert not (bench.folder / "x.pth").exists()
    (bench.folder / "damaged.safetensors").write_bytes(b"no")
    assert "damaged.safetensors" in bench.refused("export", "damaged.safetensors", "--backbone", "resnet18", *wanted)
    bench("export", "bare.safetensors", "--backbone", "resnet18", *wanted)
    assert Path(bench.folder / "x.pth.txt").read_text().startswith("# mmdet")
