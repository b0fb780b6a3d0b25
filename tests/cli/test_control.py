"""The shuffled control, trained for real: what learns from true pairs must collapse to chance on wrong ones."""

from __future__ import annotations

import json

import pytest
from command_line import Bench


@pytest.mark.slow
def test_the_shuffled_control_collapses_to_chance_where_the_true_pairs_teach(bench: Bench) -> None:
    """The quickstart's contrastive row against its control, same budget, scenes of the test part unseen."""
    bench(
        "run",
        "--config",
        "quickstart",
        "--method",
        "infonce-resnet18",
        "infonce-shuffled",
        "--seeds",
        "0",
        "--no-figures",
    )
    auc = {}
    for path in (bench.folder / "runs/matching").glob("*/record.json"):
        record = json.loads(path.read_text())
        auc[record["method"]] = record["metrics"]["uniform.roc_auc"]
    assert auc["infonce-resnet18"] > 0.65
    assert abs(auc["infonce-shuffled"] - 0.5) < 0.1
