"""What the trainings of a config will cost on this machine: seconds of a training step and of inference, and from them
the hours.

    python benchmarks/paper_steps.py [--config paper] [--device auto] [--workers N] [--scenes-root DIR] [--out FILE]

Each different training of the config (matching network or detector; seeds and starts alike) runs for a few steps
through the package's own `fit`, in a process of its own, from a random start, on generated pixels of the genuine size:
minutes on a GPU, a quarter of an hour on two cores. Steps and samples come from the resolved config: epochs, batch
size, split of the complete set, number of cells (seeds, starts).

The tiles of a detection set depend on its scenes. With --scenes-root they are counted there (the set itself, or a
simulated one); without, every tile of AIR-SARShip-1.0's scenes, taken as 3000 x 3000 px, is counted, which is more than
`empty_share` keeps.

"processor s" is the processor time of a step in all threads. "loading s" is what one thread takes to make a batch: part
of the step, or beside it with --workers.

Not counted: methods without a network, decoding and hashing of the data (minutes, once), start-up, checkpoints,
figures.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

# this file's own folder would hide the standard library's `statistics`
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.core.errors import BenchError
from bench.core.registries import DATASETS
from bench.core.store import canonical_json
from bench.core.workspace import Workspace
from bench.execution.cell import Cell, Selection
from bench.suite.config import load_suite, origin_of
from bench.suite.expansion import expand
from benchmarks.generated_sets import write_pairs, write_scenes
from benchmarks.step_times import How, Times, add_how, how_of, measured_on, reported, time_cell

PAIRS, SCENES = "qxs-saropt", "air-sarship-1.0"
SCENE_PX = 3000
# of a method: what its weights start from costs nothing
STARTS = ("init", "init_branch", "control", "pretrain", "pretrained_by")


@dataclass(frozen=True)
class Work:
    """What one training of a row has to do: steps, and samples of inference (pairs or tiles; validation after each
    epoch included).
    """

    steps: int
    inferred: int


@dataclass(frozen=True)
class Row:
    """One kind of training: a cell that stands for all, how many cells there are, their work, and the measured
    times.
    """

    cell: Cell
    cells: int
    work: Work
    times: Times

    @property
    def hours(self) -> float:
        """Of one training with its predictions."""
        return (self.work.steps * self.times.step_s + self.work.inferred * self.times.inference_s) / 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="paper", metavar="FILE|NAME", help="whose trainings (default: paper)")
    parser.add_argument(
        "--scenes-root", type=Path, metavar="DIR", help="where air-sarship-1.0 lies: its tiles are counted"
    )
    add_how(parser, warmup=True)
    return reported("paper_steps", parser.parse_args(arguments), _lines)


def _lines(args: argparse.Namespace) -> list[str]:
    """Return the output: the machine, the table, what it leaves out."""
    how = how_of(args)
    trainings, left_out = _trainings(args.config)
    with tempfile.TemporaryDirectory(prefix="paper-steps-") as temporary:
        folder = Path(temporary)
        workspace = _generate([cells[0] for cells in trainings], folder, how)
        rows = []
        for number, cells in enumerate(trainings):
            print(f"paper_steps: {cells[0].method} on {how.device} ...", file=sys.stderr, flush=True)
            work = _work(cells[0], args.scenes_root, folder / "counted")
            # memory is told per process
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                times = pool.submit(time_cell, cells[0], workspace, folder / f"cell{number}", how).result()
            rows.append(Row(cells[0], len(cells), work, times))
    counted = (
        f"tiles counted in {args.scenes_root.name}"
        if args.scenes_root
        else "every tile of 3000 x 3000 px scenes counted: at most"
    )
    notes = [f"left out: {left_out} cells with +compute, whose length depends on their pretraining"] if left_out else []
    return [measured_on(how), "", *_table(rows), "", f"detection: {counted}", *notes]


def _trainings(config: str) -> tuple[list[list[Cell]], int]:
    """Return the cells of a config that train a network, equal trainings together; and how many are left out.

    Raises:
        BenchError: the config trains no network, or on a set whose size is not known here.
    """
    suite = load_suite(config, [])
    groups: dict[str, list[Cell]] = {}
    left_out = 0
    for cell in expand(suite, Selection(), list(suite.tasks), origin_of(config, [])):
        method = cell.spec["method"]
        if not method.get("backbone"):
            continue
        if str(method.get("pretrain", "")).endswith("+compute"):
            left_out += 1
            continue
        if cell.spec["dataset"]["name"] not in (PAIRS, SCENES):
            raise BenchError(
                f"{cell.describe()}: steps are derived for {PAIRS} and {SCENES} only; measure another config with"
                " --limit runs"
            )
        same = {**cell.spec, "method": {name: value for name, value in method.items() if name not in STARTS}}
        groups.setdefault(canonical_json([cell.task, same]), []).append(cell)
    if not groups:
        raise BenchError(f"{config} trains no network")
    return list(groups.values()), left_out


# -- how much there is to do -------------------------------------------------------------------------------------------
def _work(cell: Cell, scenes_root: Path | None, cache: Path) -> Work:
    return _matching_work(cell) if cell.task == "matching" else _detection_work(cell, scenes_root, cache)


def _matching_work(cell: Cell) -> Work:
    """Return the work of a matching training on the complete set, split as the cell says."""
    from bench.core.registries import MATCHERS
    from bench.data.index import PairIndex, PairSample
    from bench.data.split_spec import SplitSpec
    from bench.data.splits import make_split
    from bench.matching.matchers.batches import PairBatches

    spec = SplitSpec.model_validate(cell.spec["dataset"]["split"])
    if spec.kind != "random":
        raise BenchError(f"{cell.describe()}: the sizes of a split of kind {spec.kind} are known only with its data")
    count = DATASETS.get(PAIRS).facts.expected_pairs
    split = make_split(PairIndex(tuple(PairSample(str(n), f"{n}.png", f"{n}.png") for n in range(1, count + 1))), spec)
    cls = MATCHERS.get(cell.spec["method"]["matcher"])
    matcher = cls(cls.Options.model_validate(cell.spec["method"]["options"]))
    train, nothing = cast("Any", split.train), cast("Any", None)  # only its length is asked for
    batches = PairBatches(train, nothing, nothing, 0, matcher.options.batch_size, matcher._negatives(), "none")
    epochs = matcher.options.epochs_of(batches.entries)
    return Work(epochs * len(batches), (epochs + 1) * len(split.validation) + len(split.test))


def _detection_work(cell: Cell, scenes_root: Path | None, cache: Path) -> Work:
    """Return the work of a detector's training: by the tiles of the scenes at `scenes_root`, or by all tiles of scenes
    of 3000 px.
    """
    from bench.core.registries import DETECTORS
    from bench.data.datasets.air_sarship import SCENES as NUMBERS
    from bench.data.datasets.air_sarship import TEST
    from bench.detection.spec import Tiles
    from bench.detection.tiles.tiling import tile_grid

    cls = DETECTORS.get(cell.spec["method"]["detector"])
    options = cls.Options.model_validate(cell.spec["method"]["options"])
    tiles = Tiles.model_validate(cell.spec["dataset"]["tiles"])
    if scenes_root is not None:
        per_epoch, inferred = _counted_tiles(cell, options, tiles, scenes_root, cache)
    elif options.sampling == "grid":
        each = len(tile_grid(SCENE_PX, SCENE_PX, tiles))
        every = each * (len(NUMBERS) - len(TEST))
        per_epoch, inferred = min(every, options.per_epoch or every), each * len(TEST)
    else:
        raise BenchError(f"{cell.describe()}: the length of an epoch of crops depends on the ships; give --scenes-root")
    return Work(options.epochs_of(per_epoch) * -(-per_epoch // options.batch_size), inferred)


def _counted_tiles(cell: Cell, options: Any, tiles: Any, root: Path, cache: Path) -> tuple[int, int]:
    """Return the tiles of an epoch and those that are predicted, of a set at hand."""
    from bench.data.scaling import ScalingParams
    from bench.detection.tiles.batches import Sampling, TileBatches
    from bench.detection.tiles.tiling import tile_grid
    from bench.suite.data_plan import plan_data
    from bench.tasks.data import load_scenes

    if not root.is_dir():
        raise BenchError(f"{root} is not a folder; give the folder that holds {SCENES}")
    workspace = Workspace(cache / "runs", cache / "boards", {SCENES: root}, {"BENCH_CACHE": str(cache)})
    data = load_scenes(plan_data(cell, workspace, "ships", smallest=1), workspace.cache)
    sampling = Sampling(
        options.sampling,
        options.batch_size,
        options.per_epoch,
        options.ship_share,
        options.empty_share,
        options.crop_px or tiles.size_px,
    )
    batches = TileBatches(data.train, ScalingParams("uint8", 1, 0.0, 255.0), tiles, sampling, 0)
    sizes = [part.image(k).shape for part in (data.validation, data.test) for k in range(len(part))]
    return batches.tiles_per_epoch, sum(len(tile_grid(size[0], size[1], tiles)) for size in sizes)


# -- pixels ------------------------------------------------------------------------------------------------------------
def _generate(cells: Sequence[Cell], folder: Path, how: How) -> Workspace:
    """Write the generated sets that the cells need; return the workspace in which they lie."""
    roots: dict[str, Path] = {}
    batch = {
        task: max((cell.spec["method"]["options"]["batch_size"] for cell in cells if cell.task == task), default=0)
        for task in TASK
    }
    for cell in cells:
        name = cell.spec["dataset"]["name"]
        if name in roots:
            continue
        roots[name] = folder / name
        if name == PAIRS:  # of which the split leaves some 63 % to train
            write_pairs(roots[name], 2 * batch["matching"], DATASETS.get(PAIRS).facts.patch_px)
        else:
            tiles = cell.spec["dataset"]["tiles"]
            stride = tiles["size_px"] - tiles["overlap_px"]
            edge = 1  # tiles along a side: a few more than a batch, half of which may be kept empty
            while edge**2 < 2 * batch["detection"]:
                edge += 1
            write_scenes(roots[name], tiles["size_px"] + stride * (edge - 1), 3 * edge**2)
    return Workspace(folder / "runs", folder / "boards", roots, {"BENCH_CACHE": str(folder / "cache")})


TASK = ("matching", "detection")


# -- words -------------------------------------------------------------------------------------------------------------
def _table(rows: Sequence[Row]) -> list[str]:
    """Return the rows and their total as a Markdown table."""
    head = (
        "training",
        "batch",
        "step s",
        "processor s",
        "loading s",
        "steps",
        "inference s a sample",
        "samples",
        "hours each",
        "cells",
        "hours",
        "peak MiB",
    )
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row in rows:
        times, options = row.times, cast("Mapping[str, Any]", row.cell.spec["method"]["options"])
        cells = [
            row.cell.method.partition("/")[0],
            str(options["batch_size"]),
            f"{times.step_s:.3g}",
            f"{times.processor_s:.3g}",
            f"{times.loading_s:.2g}",
            f"{row.work.steps:,}",
            f"{times.inference_s:.2g}",
            f"{row.work.inferred:,}",
            f"{row.hours:,.1f}",
            str(row.cells),
            f"{row.cells * row.hours:,.0f}",
            f"{times.peak_bytes / 2**20:,.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    total = sum(row.cells * row.hours for row in rows)
    return [*lines, f"| **all** |{' |' * 8} {sum(row.cells for row in rows)} | **{total:,.0f}** | |"]


if __name__ == "__main__":
    sys.exit(main())
