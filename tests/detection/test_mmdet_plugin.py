"""A detector of mmdet is one file: docs/examples/my_mmdet_detector.py, named under `plugins:`, runs as any other row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from command_line import REPOSITORY, Bench

PLUGIN = REPOSITORY / "docs" / "examples" / "my_mmdet_detector.py"
SUITE = {
    "name": "one-file",
    "title": "A detector of mmdet in one file",
    "plugins": [str(PLUGIN)],
    "seeds": [0],
    "detection": {
        "protocol": {"name": "det/clean-v1"},
        "datasets": {
            "toy": {
                "dataset": "toy-ships",
                "splits": {"scenes": {"kind": "random", "by": "scene", "test": 0.5, "validation": 0}},
                "tiles": {"size_px": 128, "overlap_px": 32},
            }
        },
        "methods": {
            "retinanet": {
                "detector": "retinanet",
                "backbone": "resnet18",
                "pretrain": ["none"],
                "options": {
                    "epochs": 1, "per_epoch": 4, "batch_size": 2, "crop_px": 64, "channels": 16, "depth": 1,
                    "anchor_scale": 2.0,
                },
            }
        },
    },
}  # fmt: skip


@pytest.mark.slow  # imports mmdet in a process of its own: 20 s
def test_a_detector_of_mmdet_is_one_file(tmp_path: Path) -> None:
    config = tmp_path / "one_file.yaml"
    config.write_text(yaml.safe_dump(SUITE))
    bench = Bench(tmp_path)
    bench("run", "--config", str(config), "--device", "cpu", "--threads", "1", "--no-figures")
    (entry,) = (tmp_path / "leaderboards/one-file/entries").glob("*.json")
    record = json.loads(entry.read_text())
    facts = record["facts"]
    assert facts["epochs"] == 1 and facts["training_tiles"] == 4  # two steps
    assert facts["initial_state_sha256"] and record["outputs"]["weights_sha256"]
    assert record["metrics"]["scene.ap50"] is not None
    (curves,) = (tmp_path / "runs/detection").glob("*/curves.csv")
    names, values = (line.split(",") for line in curves.read_text().splitlines())
    found = dict(zip(names, map(float, values), strict=True))
    assert found["loss"] == pytest.approx(found["loss_cls"] + found["loss_bbox"], rel=1e-5) and found["loss"] > 0
