"""Records of the folds of one cross-validation -> one record a row and seed, its metrics the means over the folds. A
view.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from bench.core.store import canonical_hash
from bench.execution.records import Record
from bench.suite.selection import fold_of


def merge_folds(records: Sequence[Record]) -> tuple[list[Record], dict[str, list[Record]]]:
    """Return one merged record for each row and seed whose folds are complete, and the folds behind each by its
    fingerprint.

    A failed fold makes the merged record failed, an undefined metric leaves its mean undefined: neither vanishes from a
    mean.
    """
    groups: dict[tuple[Any, ...], dict[int, Record]] = {}
    for record in records:
        split = record.spec["dataset"]["split"]
        label = fold_of(record.dataset.rpartition("/")[2])
        if split["kind"] == "folds" and label is not None:
            key = (record.dataset.rpartition("/")[0], label[0], record.method, record.seed, _row_key(record))
            groups.setdefault(key, {})[label[1]] = record
    merged, parts = [], {}
    for (data, split_label, *_), folds in groups.items():
        mine = [folds[fold] for fold in sorted(folds)]
        if len(mine) == mine[0].spec["dataset"]["split"]["folds"]:
            merged.append(_merged(f"{data}/{split_label}", mine))
            parts[merged[-1].fingerprint] = mine
    return merged, parts


def _merged(dataset: str, folds: Sequence[Record]) -> Record:
    first = folds[0]
    failed = next((record for record in folds if record.status == "failed"), None)
    names = [name for name in first.metrics if all(name in record.metrics for record in folds)]
    columns = {name: [record.metrics[name] for record in folds] for name in names}
    metrics = {
        name: None if None in values else fmean(v for v in values if v is not None) for name, values in columns.items()
    }
    facts: dict[str, Any] = {"folds": len(folds)}
    for name, value in first.facts.items():  # counts of the test parts add up, everything else is a fold's own
        if isinstance(value, int) and name.endswith((".ships", ".scenes", ".detections")):
            facts[name] = sum(int(record.facts.get(name, 0)) for record in folds)
    inputs = {
        **first.inputs,
        "data": {**first.inputs["data"], "split": canonical_hash([record.inputs["data"]["split"] for record in folds])},
        "ships": {**first.inputs["ships"], "test": sum(record.inputs["ships"]["test"] for record in folds)},
        "split_counts": {
            **first.inputs["split_counts"],
            "test": sum(record.inputs["split_counts"]["test"] for record in folds),
        },
    }
    update = {
        "fingerprint": canonical_hash([record.fingerprint for record in folds]),
        "dataset": dataset,
        "status": "finished" if failed is None else "failed",
        "failure": None if failed is None else failed.failure,
        "metrics": metrics,
        "facts": facts,
        "inputs": inputs,
        "row_key": _row_key(first),
        "names": {**first.names, "split": dataset.rpartition("/")[2]},
        "command": first.command.replace(f"--split {first.names['split']}", f"--split {dataset.rpartition('/')[2]}"),
    }
    return first.model_copy(update=update)


def _row_key(record: Record) -> str:
    """Hash of the spec without seed and fold: equal for all folds of a row."""
    dataset = record.spec["dataset"]
    return canonical_hash(
        [
            record.task,
            {**record.spec, "dataset": {**dataset, "split": {**dataset["split"], "fold": None}}},
            record.limit,
        ]
    )
