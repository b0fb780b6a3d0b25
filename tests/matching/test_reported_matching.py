"""Table II as data, and every known difference from it that a record can show."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from bench.execution.cell import Origin, Selection
from bench.execution.records import Failure, Record, load_record
from bench.execution.task import get_task
from bench.matching.board.reported import REPORTED, differences, find_reported, judge
from bench.statistics.inference import Estimate
from bench.statistics.intervals import Interval
from bench.suite.config import load_suite

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "0676ba61" + "0" * 56  # as torchvision states it


def paper_spec(backbone: str) -> dict[str, Any]:
    """Return the spec of a row of `configs/paper.yaml` as the suite resolves it."""
    suite = load_suite("paper")
    task = get_task("matching")
    section = task.Section.model_validate(suite.tasks["matching"])
    cells = task.expand(
        suite, section, Selection({"matcher": ("bnn",)}, (0,)), Origin("--config paper", ROOT / "configs")
    )
    (cell,) = [cell for cell in cells if cell.spec["method"]["backbone"] == backbone]
    return copy.deepcopy(dict(cell.spec))


def row(spec: dict[str, Any], seed: int = 0, **changes: Any) -> Record:
    """Return a finished record of the genuine size."""
    inputs = {
        "data": {"dataset": "qxs-saropt", "split": "s"},
        "initial_weights_sha256": WEIGHTS,
        "split_counts": {"train": 12_600, "validation": 1_400, "test": 6_000},
        "split_summary": {"pairs": {"train": 12_600, "validation": 1_400, "test": 6_000, "dropped": 0}},
    }
    values: dict[str, Any] = {
        "status": "finished",
        "task": "matching",
        "suite": "paper",
        "dataset": "qxs-saropt/random",
        "method": "bnn-resnet50",
        "seed": seed,
        "limit": None,
        "names": {},
        "spec": spec,
        "fingerprint": f"f{seed}",
        "keys": {},
        "row_key": "r",
        "inputs": inputs,
        "facts": {"uniform.positives": 6_000, "uniform.negatives": 6_000},
    }
    return Record(**{**values, **changes})


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return paper_spec("resnet50")


def changed(value: dict[str, Any], path: str, new: Any) -> dict[str, Any]:
    """Return a deep copy with one entry replaced."""
    out = copy.deepcopy(value)
    *parents, last = path.split("/")
    inner = out
    for name in parents:
        inner = inner[name]
    inner[last] = new
    return out


def estimates(**values: tuple[float, float, float]) -> dict[str, Estimate | None]:
    return {
        name: Estimate(value, None, None, Interval(low, high, 0.95), None, 10, 8.0)
        for name, (value, low, high) in values.items()
    }


CLOSE = estimates(accuracy=(0.83, 0.826, 0.834), precision=(0.75, 0.745, 0.756), recall=(0.992, 0.99, 0.994))


def test_the_table_as_printed() -> None:
    values = {found.backbone: dict(found.metrics) for found in REPORTED}
    assert values == {
        "resnet50": {"accuracy": 0.829, "precision": 0.748, "recall": 0.993},
        "darknet53": {"accuracy": 0.828, "precision": 0.746, "recall": 0.995},
    }
    for found in REPORTED:
        assert found.table == "Table II" and "2103.08259" in found.source and found.margin == 0.01
        assert find_reported("qxs-saropt", "bnn", found.backbone) is found
        numbers = found.metrics  # 1:1 negatives, by arithmetic: negatives / positives from the three numbers
        false_alarms = numbers["recall"] / numbers["precision"] - numbers["recall"]
        negatives = (numbers["recall"] - numbers["accuracy"] - false_alarms) / (numbers["accuracy"] - 1)
        assert negatives == pytest.approx(1, abs=0.004)
        errors = [1.96 * found.standard_errors[name] for name in ("accuracy", "precision", "recall")]
        assert errors == [
            pytest.approx(0.0067, abs=1e-4),
            pytest.approx(0.0095, abs=2e-4),
            pytest.approx(0.002, abs=3e-4),
        ]
    assert find_reported("qxs-saropt", "cfog", None) is None and find_reported("toy-pairs", "bnn", "resnet50") is None
    assert any("Darknet" in text for text in REPORTED[1].open) and not any(
        "Darknet" in text for text in REPORTED[0].open
    )


def test_the_shipped_suite_on_data_of_the_genuine_size_has_no_known_difference(spec: dict[str, Any]) -> None:
    assert differences(row(spec)) == []
    darknet = row(paper_spec("darknet53"))
    inputs = changed(darknet.inputs, "initial_weights_sha256", "a628ea1b" + "0" * 56)
    assert differences(darknet.model_copy(update={"inputs": inputs})) == []
    found = judge([row(spec, 0), row(spec, 1)], CLOSE)
    assert found is not None and found.kind == found.short == "reproduced", found
    assert (
        "protocol partly unknown" in found.footnotes[0]
        and "threshold" in found.footnotes[0]
        and len(found.footnotes) == 1
    )


@pytest.mark.parametrize(
    ("path", "new", "wanted"),
    [
        ("dataset/split/kind", "grouped", "split: grouped, not random"),
        ("dataset/split/kind", "file", "split: read from a file"),
        ("dataset/split/kind", "folds", "split: folds, not random"),
        ("dataset/sar_scaling", "percentile", "method: sar values scaled by percentile"),
        ("method/control", "shuffled", "method: control, shuffled pairs"),
        ("method/init", "none", "method: random start, the released code starts from ImageNet"),
        ("method/init", "checkpoint:x.pth", "method: start from checkpoint:x.pth"),
        ("method/options/lr", 0.01, "method: options changed from the released code: lr"),
        ("method/options/negatives", "in-batch", "released code: negatives"),
        ("method/options/input_px", 128, "released code: input_px"),
        ("method/options/entries", 100, "released code: entries"),
    ],
)
def test_a_known_difference_of_the_spec(spec: dict[str, Any], path: str, new: Any, wanted: str) -> None:
    (found,) = differences(row(changed(spec, path, new)))
    assert wanted in found
    judged = judge([row(changed(spec, path, new))], CLOSE)
    assert judged is not None and judged.short == f"not comparable: {found.partition(':')[0]}"


@pytest.mark.parametrize(("path", "new"), [("method/options/channels_last", True), ("method/options/input_px", 256)])
def test_what_changes_nothing_is_no_difference(spec: dict[str, Any], path: str, new: Any) -> None:
    assert differences(row(changed(spec, path, new))) == []


def counts(train: int, validation: int, test: int, dropped: int = 0) -> dict[str, Any]:
    return {"pairs": {"train": train, "validation": validation, "test": test, "dropped": dropped}}


@pytest.mark.parametrize(
    ("path", "new", "wanted"),
    [
        ("split_summary", counts(403, 45, 192), ["data: 640 pairs, the paper's set has 20,000"]),
        ("split_summary", counts(10_800, 1_200, 8_000), ["split: training share 0.6, not 0.7"]),
        ("split_summary", counts(7_000, 7_000, 6_000), ["split: 0.5 of the training share held out"]),
        ("split_summary", counts(12_000, 1_000, 5_570, 1_430), ["split: 1,430 pairs dropped"]),
        ("split_summary", {}, ["data: the record does not count its pairs"]),
        ("initial_weights_sha256", "f" * 64, ["method: the initial weights are not the published ImageNet file"]),
        ("initial_weights_sha256", None, ["method: the initial weights are not"]),
    ],
)
def test_a_known_difference_of_the_inputs(spec: dict[str, Any], path: str, new: Any, wanted: list[str]) -> None:
    found = differences(row(spec, inputs=changed(row(spec).inputs, path, new)))
    assert len(found) == len(wanted) and all(text in told for text, told in zip(wanted, found, strict=True)), found


def test_known_differences_of_a_run(spec: dict[str, Any]) -> None:
    assert differences(row(spec, limit=8)) == ["run: limited to 8 samples a part"]
    assert differences(row(spec, smoke=True)) == ["run: a smoke test"]
    negatives = {"uniform.positives": 6_000, "uniform.negatives": 12_000}
    assert differences(row(spec, facts=negatives)) == ["metric: negatives 6,000:12,000, not 1:1"]
    assert differences(row(spec, facts={"uniform.positives": 6_000, "uniform.negatives": 5_980})) == []


def test_a_row_is_judged_by_all_its_seeds(spec: dict[str, Any]) -> None:
    failed = row(spec, 1, status="failed", facts={}, failure=Failure(stage="train", message="m", traceback=""))
    found = judge([row(spec), failed], dict.fromkeys(("accuracy", "precision", "recall")))
    assert found is not None and found.full == "not reproduced: 1 of 2 seeds failed"
    limited = judge([row(spec), row(spec, 1, limit=8)], CLOSE)
    assert limited is not None and limited.short == "not comparable: run"
    one_off = judge([row(spec), row(spec, 1)], {**CLOSE, **estimates(recall=(0.95, 0.945, 0.955))})
    assert one_off is not None and one_off.short == "not reproduced" and "recall 0.9500" in one_off.full


def test_rows_without_a_published_value_have_no_verdict() -> None:
    old = load_record(ROOT / "tests" / "core" / "records_v1" / "finished.json")
    assert judge([old], CLOSE) is None
    assert {text.partition(":")[0] for text in differences(old)} <= {"data", "split", "metric", "method", "run"}
