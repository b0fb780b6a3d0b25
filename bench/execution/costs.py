"""What past records say a cell will cost: seconds by stage, from finished measurements of the same method on the same
kind of data.

A view of records; used by `bench plan` alone. Records of smoke runs and limited runs never count: so short a run costs
start-up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.core.errors import BenchError
from bench.core.workspace import Workspace
from bench.execution.plan import PlanItem
from bench.execution.records import RECORD, Record, load_record

STAGES = ("train", "predict", "score")
_STARTS = ("init", "init_branch", "control", "pretrained_by")  # of a method: what its weights start from costs nothing


@dataclass(frozen=True)
class Estimate:
    """Expected seconds of the stages that a cell still has to run, and the machine that the records come from ("cpu, 2
    threads").
    """

    seconds: float
    machine: str


class PastCosts:
    """The cost of finished records under the runs folder and on the boards, each counted once.

    Training scales with the cell's size (`Identity.samples`), prediction and scoring with its test samples. Of several
    machines the one with the most records of the method is taken, among equals the last by name.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._rates: dict[str, dict[str, list[dict[str, float]]]] = {}
        for record in {record.fingerprint: record for record in records}.values():
            rates = _rates(record)
            if rates is not None:
                machines = self._rates.setdefault(_key(record.task, record.spec), {})
                machines.setdefault(_machine(record), []).append(rates)

    @classmethod
    def read(cls, workspace: Workspace) -> PastCosts:
        """Return the costs of every readable record; an estimate does without a damaged one, which its own cell
        reports.
        """
        return cls(list(_readable([*workspace.runs.glob(f"*/*/{RECORD}"), *workspace.boards.glob("*/entries/*.json")])))

    def estimate(self, item: PlanItem) -> Estimate | None:
        """Return what is left of a cell; None where nothing is known. A finished cell costs nothing."""
        if item.state == "done":
            return Estimate(0.0, "")
        machines = self._rates.get(_key(item.cell.task, item.cell.spec))
        if not machines:
            return None
        machine, rates = max(machines.items(), key=lambda pair: (len(pair[1]), pair[0]))
        sizes = _sizes(item.identity.samples, item.identity.inputs)
        left = STAGES[STAGES.index(item.state) :]
        return Estimate(sum(median(rate[stage] for rate in rates) * sizes[stage] for stage in left), machine)


def _readable(paths: Sequence[Path]) -> Iterator[Record]:
    for path in sorted(paths):
        try:
            yield load_record(path)
        except BenchError:
            continue


def _rates(record: Record) -> dict[str, float] | None:
    """Return seconds per sample of each stage, None of a record that says nothing about cost."""
    size = record.facts.get("samples_total")
    if (
        record.status != "finished"
        or record.smoke
        or record.limit is not None
        or not size
        or not set(STAGES) <= set(record.cost)
    ):
        return None
    sizes = _sizes(int(size), record.inputs)
    return {stage: float(record.cost[stage].get("seconds", 0.0)) / sizes[stage] for stage in STAGES}


def _sizes(samples: int, inputs: Mapping[str, Any]) -> dict[str, float]:
    """Return what the cost of each stage grows with."""
    test = (inputs.get("split_counts") or {}).get("test") or samples
    return {"train": max(samples, 1), "predict": max(test, 1), "score": max(test, 1)}


def _key(task: str, spec: Mapping[str, Any]) -> str:
    """Cost is looked up by method and data set with options and tiles, whatever the split, the seed and the initial
    weights.
    """
    method = {name: value for name, value in spec.get("method", {}).items() if name not in _STARTS}
    if "pretrain" in method:  # a control that trains longer is a method of its own
        method["pretrain"] = str(method["pretrain"]).partition("+")[2]
    dataset = {name: value for name, value in spec.get("dataset", {}).items() if name in ("name", "options", "tiles")}
    return json.dumps([task, method, dataset], sort_keys=True)


def _machine(record: Record) -> str:
    """Return "cpu, 2 threads" or the accelerator's name, of the machine that trained."""
    made_by = record.provenance.get("trained_by") or record.provenance
    hardware = made_by.get("hardware") or {}
    together = f", {hardware['processes']} processes" if hardware.get("processes", 1) > 1 else ""
    if hardware.get("accelerator"):
        return str(hardware["accelerator"]) + together
    threads = hardware.get("threads")
    by = f", {threads} thread{'s' if threads != 1 else ''}" if threads else ""
    return str(hardware.get("device", "an unknown machine")) + by + together
