"""Records made by hand, with per-sample scores that give their number: boards and runs folders for tests of lineage and
comparison.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.store import canonical_hash, save_arrays, write_json
from bench.execution.records import Record, cell_of, load_record, write_stage
from bench.execution.task import get_task
from bench.tasks.base import SectionTask

V2 = Path(__file__).parent / "core" / "records_v2"
DETECTION, MATCHING, FAILED = (
    load_record(V2 / f"{name}.json") for name in ("finished_detection", "finished_matching", "failed")
)
METRIC = "scene.ap_area"


def sha(*words: Any) -> str:
    """Return a made-up hash, the same for the same words."""
    return hashlib.sha256(repr(words).encode()).hexdigest()


def detected(
    method: str, seed: int | None, found: Sequence[int], ships: int = 4, **changes: Any
) -> tuple[Record, dict[str, np.ndarray]]:
    """Return a finished detection record and its per-sample scores: `found[i]` of `ships` ships in scene i, and no
    false alarm.

    Without a false alarm the precision is 1 everywhere, so that the area AP is the share of ships that were found: a
    known answer.
    """
    scene = np.repeat(np.arange(len(found)), found)
    n, s = len(scene), len(found)
    samples = {
        "scene_id": np.array([f"scene-{i}" for i in range(s)]),
        "group": np.array([f"port-{i}" for i in range(s)]),
        "stratum": np.full(s, ""),
        "ships": np.tile(np.full(s, ships, dtype=np.int32), (4, 1)),
        "scene": scene.astype(np.int32),
        "score": np.linspace(1.0, 0.5, n),
        "coco_tp": np.ones((4, n), dtype=np.uint16),
        "coco_ignored": np.zeros((4, n), dtype=np.uint16),
        "voc_tp": np.ones(n, dtype=bool),
        "voc_ignored": np.zeros(n, dtype=bool),
    }
    values: dict[str, Any] = {
        "method": method,
        "seed": seed,
        "metrics": {},
        "facts": {},
        "keys": {"train": sha("train", method, seed)},
        "requires": [],
        "inputs": {**DETECTION.inputs, "pretrained_by": []},
    }
    record = DETECTION.model_copy(update={**values, **changes})
    if record.task != DETECTION.task:
        return record, samples
    record = sealed(record, samples)
    named: dict[str, Any] = {name: changes[name] for name in ("metrics", "keys", "fingerprint") if name in changes}
    return record.model_copy(update=named), samples


def matched(record: Record, right: int) -> tuple[Record, dict[str, np.ndarray]]:
    """Return a finished matching record, and per-sample scores in which `right` of 100 decisions are right."""
    n = 50
    label = np.repeat([True, False], n)
    distance = np.where(label == (np.arange(2 * n) < right), 0.25, 0.75) + (record.seed or 0) / 1000
    each = np.arange(n)
    samples = {
        "id": np.array([f"p{i}" for i in each]),
        "scene": np.array([f"s{i // 5}" for i in each]),
        "group": np.array([f"g{i}" for i in each]),
        "pair_sar": np.concatenate([each, each]).astype(np.int32),
        "pair_optical": np.concatenate([each, np.roll(each, 1)]).astype(np.int32),
        "kind": (~label).astype(np.uint8),
        "distance": distance.astype(np.float32),
        "gallery_position": each[:8].astype(np.int32),
        **dict.fromkeys(("gallery_sar_to_optical", "gallery_optical_to_sar"), np.zeros((2, 8), dtype=np.int32)),
        **dict.fromkeys(("full_sar_to_optical", "full_optical_to_sar"), np.zeros((2, 0), dtype=np.int32)),
    }
    facts = {**record.facts, "uniform.threshold": 0.5, "fixed_threshold": None, "hard.threshold": None}
    return sealed(record.model_copy(update={"facts": facts, "metrics": {}}), samples), samples


def sealed(record: Record, samples: dict[str, np.ndarray] | None = None) -> Record:
    """Return a record whose keys follow from what it says of itself (its train key is kept where its method is not
    registered), and whose numbers follow from its per-sample scores, where these are given.
    """
    task = get_task(record.task)
    assert isinstance(task, SectionTask)
    cell = cell_of(record)
    train = record.keys.get("train", "")
    if task.registry.knows(record.spec["method"][task.component]):
        requires = [key.partition(":")[2] for key in record.requires]
        train = canonical_hash(task.train_parts(cell, record.inputs, requires))
    predict = canonical_hash({"train": train, **task.predict_identity(cell)})
    score = canonical_hash({"predict": predict, **task.score_parts(cell)})
    keys = {"train": train, "predict": predict, "score": score}
    update: dict[str, Any] = {"keys": keys, "fingerprint": score, "row_key": cell.row_key}
    if samples is not None and record.status == "finished":
        found = task.settled(record, samples)
        update |= {"metrics": {**record.metrics, **found.metrics}, "facts": {**record.facts, **found.facts}}
    return record.model_copy(update=update)


def put_entry(boards: Path, suite: str, record: Record, samples: dict[str, np.ndarray] | None = None) -> Path:
    """File a record by hand; return its path."""
    path = boards / suite / "entries" / f"{record.task}--{record.slot}.json"
    write_json(path, record.model_copy(update={"suite": suite}).model_dump())
    if samples is not None:
        save_arrays(path.with_suffix(".npz"), samples)
    return path


def put_cell(
    runs: Path, record: Record, samples: dict[str, np.ndarray] | None = None, model: bytes | None = b"model"
) -> Path:
    """Leave a whole cell folder by hand, its stages, hashes and record fitting together; return the folder."""
    folder = runs / record.task / f"{record.slot}--{record.fingerprint[:12]}"
    folder.mkdir(parents=True)
    outputs = {
        "predictions_sha256": write(folder / "predictions.npz", b"predictions of " + record.fingerprint.encode())
    }
    if model is not None:
        outputs["weights_sha256"] = write(folder / "model.safetensors", model)
    for stage in ("train", "predict"):
        write_stage(folder, stage, record.keys[stage], {"facts": {}, "cost": {}, "made_by": {}})
    save_arrays(folder / "scores.npz", samples or {})
    write(folder / "job.json", b"{}")
    write(folder / "figures" / "pr.png", b"picture")
    write(folder / "figures" / "drawn.txt", record.fingerprint.encode() + b"\n")
    write_json(folder / "record.json", record.model_copy(update={"outputs": outputs}).model_dump())
    return folder


def write(path: Path, content: bytes) -> str:
    """Write a file; return its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
