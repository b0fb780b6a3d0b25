"""Whether cells that were trained on one device come to the same on another: metrics, and the predictions of one trained
model.

    python benchmarks/device_agreement.py metrics RUNS OTHER [--csv FILE]
    python benchmarks/device_agreement.py predictions RUNS [--device cpu] [--tf32 on|off] [--csv FILE]

RUNS and OTHER are folders of `bench run` (its --runs) of one suite, on two devices or twice on one. Rows are printed and
appended to --csv as they are computed: part, method, what, value; of the metrics a few are printed. Exit code 1 where a cell of RUNS has no finished
partner, or a prediction could not be made.

metrics      every metric of each cell in both folders and the largest difference; whether the weights are equal to the
             last bit, and the epochs that the trainings went on from, where they were interrupted
predictions  predicts each cell of RUNS again on --device by the cell's own stage from the weights that are kept there,
             and compares with the predictions that are kept: largest difference of embeddings, distances and scores;
             for boxes those that have a partner (IoU above 0.5) and how far they lie from it

Boxes with a score under 0.1 are left out: there a difference in the last digit decides which of two overlapping ones
stays. On a CUDA device torch's convolutions use TF32 unless `--tf32 off`: ten bits of mantissa, differences of about 1e-3.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# this file's own folder would hide the standard library's `statistics`
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from bench.core.arrays import load_arrays
from bench.core.context import ExecutionContext
from bench.core.errors import BenchError
from bench.core.processes import available_cores
from bench.core.progress import Progress
from bench.execution.job import JOB, read_job
from bench.execution.records import MODEL, PREDICTIONS, RECORD, TRAIN, Record, load_record

SCORE, SAME_IOU = 0.1, 0.5
SHOWN = ("uniform.roc_auc", "hard.roc_auc", "scene.ap50")  # of the metrics; --csv holds all
Found = tuple[str, str, Any]
"""Method, what, value."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print a row for each finding; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("metrics", "predictions"))
    parser.add_argument("runs", type=Path, metavar="RUNS")
    parser.add_argument("other", type=Path, nargs="?", metavar="OTHER", help="for metrics")
    parser.add_argument("--device", default="cpu", help="for predictions: cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--tf32", choices=("on", "off"), default="on", help="on a CUDA device (default: on)")
    parser.add_argument("--threads", type=int, default=available_cores(), metavar="N", help="(default: all cores)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="append the rows here as well")
    args = parser.parse_args(arguments)
    if (args.other is None) == (args.part == "metrics"):
        parser.error("metrics compares two folders, predictions takes one")
    try:
        rows = compared(args.runs, args.other) if args.part == "metrics" else predicted(args)
        good = True
        for method, what, value in rows:
            shown = f"{value:.6g}" if isinstance(value, float) else str(value)
            good &= what != "problem"
            if what in SHOWN or "." not in what or what.startswith("test."):
                print(f"{args.part:11}  {method:24}  {what:44}  {shown}", flush=True)
            if args.csv:
                with args.csv.open("a", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerow([args.part, method, what, shown])
    except BenchError as error:
        print(f"device_agreement: error: {error}", file=sys.stderr)
        return 2
    return 0 if good else 1


def cells(runs: Path) -> dict[tuple[str, str], tuple[Path, Record]]:
    """Return folder and record of every finished cell below `runs`, by data set, method and seed.

    Raises:
        BenchError: there is none.
    """
    found = {}
    for path in sorted(runs.rglob(RECORD)):
        record = load_record(path)
        if record.status == "finished":
            found[record.task, record.slot] = path.parent, record
    if not found:
        raise BenchError(f"{runs} holds no finished cell; give the folder that `bench run --runs` was given")
    return found


# -- metrics -----------------------------------------------------------------------------------------------------------
def compared(runs: Path, other: Path) -> Iterator[Found]:
    """Yield what the cells of two folders came to."""
    second = cells(other)
    for slot, (_, record) in cells(runs).items():
        if slot not in second:
            yield record.method, "problem", f"{slot[1]} is not finished in {other.name}"
            continue
        _, record_2 = second[slot]
        pairs = [(name, value, record_2.metrics.get(name)) for name, value in record.metrics.items()]
        both = [(name, a, b) for name, a, b in pairs if a is not None and b is not None]
        for name, a, b in both:
            yield record.method, name, f"{a:.4f} {b:.4f}"
        if undefined := [name for name, a, b in pairs if (a is None) != (b is None)]:
            yield record.method, "undefined in one", " ".join(undefined)
        if both:
            worst = max(both, key=lambda each: abs(each[1] - each[2]))
            yield record.method, "largest difference", f"{abs(worst[1] - worst[2]):.6g} {worst[0]}"
        yield record.method, "weights equal", _hash(record) == _hash(record_2)
        yield record.method, "went on from epoch", f"{_resumed(record)} {_resumed(record_2)}"
        yield record.method, "training s", f"{_seconds(record):.2f} {_seconds(record_2):.2f}"


def _hash(record: Record) -> Any:
    return record.outputs.get("weights_sha256")


def _resumed(record: Record) -> Any:
    return record.facts.get("resumed_from_epoch")


def _seconds(record: Record) -> float:
    return float(record.cost["train"]["seconds"])


# -- predictions -------------------------------------------------------------------------------------------------------
def predicted(args: argparse.Namespace) -> Iterator[Found]:
    """Yield how far the predictions on `args.device` lie from those that are kept."""
    import torch

    if args.tf32 == "off":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    on = f"{args.device}{', no TF32' if args.tf32 == 'off' else ''}"
    for folder, record in cells(args.runs).values():
        if not (folder / MODEL).is_file():
            continue
        try:
            ours = load_arrays(folder / PREDICTIONS, "predictions file")
            theirs = again(folder, args.device, args.threads)
        except (BenchError, RuntimeError) as error:
            yield record.method, "problem", f"{on}: {error}"
            continue
        compare = _boxes if record.task == "detection" else _distances
        for what, value in compare(ours, theirs):
            yield record.method, f"{what} ({on})", value


def again(folder: Path, device: str, threads: int) -> dict[str, np.ndarray]:
    """Return the arrays of the predictions file that the cell in `folder`, already trained, gives on `device`."""
    from bench.execution.task import Job, get_task

    file = read_job(folder / JOB)
    workspace = file.workspace.workspace()
    with tempfile.TemporaryDirectory(prefix="agreement-") as temporary:
        place = Path(temporary)
        for name in (TRAIN, MODEL):
            (place / name).write_bytes((folder / name).read_bytes())
        context = ExecutionContext(place, workspace.cache, device, threads, 0, lambda line: None, Progress())
        get_task(file.cell.task).predict(Job(file.cell, file.identity, place, workspace, context))
        return load_arrays(place / PREDICTIONS, "predictions file")


def _distances(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> Iterator[tuple[str, Any]]:
    """Yield the largest difference of each array of the networks' answers, and the largest value it has."""
    for name in ("test.sar_embedding", "test.optical_embedding", "test.distance", "gallery.distance"):
        if name in ours and ours[name].size:
            yield f"{name}, largest difference", float(np.abs(ours[name] - theirs[name]).max())
            yield f"{name}, largest value", float(np.abs(ours[name]).max())


def _boxes(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> Iterator[tuple[str, Any]]:
    """Yield how many boxes of the scenes have a partner, and how far those lie from it."""
    first, second = (_by_scene(arrays) for arrays in (ours, theirs))
    moved, changed, count = [0.0], [0.0], 0
    for (box, score), (other, other_score) in zip(first, second, strict=True):
        if not len(box) or not len(other):
            continue
        overlap = _iou(box, other)
        best = overlap.argmax(axis=1)
        has = overlap.max(axis=1) > SAME_IOU
        count += int(has.sum())
        moved += np.abs(box - other[best])[has].max(axis=1).tolist()
        changed += np.abs(score - other_score[best])[has].tolist()
    sizes = [sum(len(score) for _, score in each) for each in (first, second)]
    yield "boxes, those again, with partner", f"{sizes[0]} {sizes[1]} {count}"
    yield "boxes, largest move, px", max(moved)
    yield "scores, largest difference", max(changed)


def _by_scene(arrays: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    offset, box, score = (arrays[f"test.scene.{name}"] for name in ("offset", "box", "score"))
    parts = [slice(a, b) for a, b in zip(offset[:-1], offset[1:], strict=True)]
    return [(box[part][score[part] >= SCORE], score[part][score[part] >= SCORE]) for part in parts]


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return common / (areas[0][:, None] + areas[1][None, :] - common)


if __name__ == "__main__":
    sys.exit(main())
