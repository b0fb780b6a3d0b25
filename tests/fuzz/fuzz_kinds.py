"""The kinds of cases: what is mutated, and the code that reads it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from command_line import NET, TINY
from fuzz_commands import command_lines, finished_folder
from fuzz_files import images, labels, weights
from fuzz_harness import Kind, Refused, Run, bench, run_from_command_line
from fuzz_mutations import Mutate, of_bytes, of_csv, of_json, of_yaml
from lineage_toys import MATCHING, detected, matched, put_cell, put_entry, sealed

from bench.boards.checks import check_records
from bench.boards.entries import read_samples
from bench.core.plugins import refuse_plugins
from bench.core.store import save_arrays, write_json
from bench.core.workspace import Workspace, shipped_configs
from bench.data.index import PairIndex, PairSample
from bench.data.splits import read_split
from bench.execution.cell import Selection
from bench.execution.job import read_job
from bench.execution.records import Record, load_record, stage_done
from bench.execution.task import get_task
from bench.submissions.request import Request
from bench.suite.config import load_suite
from bench.suite.expansion import board_order, expand
from bench.tools.submitting import submissions_of

RECORDS = sorted((Path(__file__).parents[1] / "core").glob("records_v*/*.json"))
SHIPS = """\
name: ships
seeds: [0]
detection:
  protocol: {name: det/test-v1, strata: shore}
  datasets:
    toy:
      dataset: toy-ships
      options: {scenes: 4, scene_px: 64}
      splits: {half: {kind: random, by: scene, test: 0.5, validation: 0}}
  methods:
    cfar: {detector: cfar}
"""


def of_file(
    texts: Sequence[tuple[str, bytes]], mutate: Mutate, read: Callable[[Path], object]
) -> Callable[[Path], Run]:
    """Return a kind's `make` for files that one function reads."""

    def make(folder: Path) -> Run:
        (folder / "input").mkdir()
        for name, text in texts:  # the unharmed ones are read
            (folder / "input" / name).write_bytes(text)
            read(folder / "input" / name)

        def run(rng: Random, where: Path) -> None:
            name, text = rng.choice(texts)
            path = where / "input" / name
            path.write_bytes(mutate(rng, text))
            read(path)

        return run

    return make


# -- suites and records ------------------------------------------------------------------------------------------------
def read_suite(path: Path) -> None:
    """Load and expand a suite, and name every cell; plug-ins are kept out."""
    suite = load_suite(path, (), refuse_plugins)
    for cell in expand(suite, Selection(), list(suite.tasks), suite.origin):
        assert len(cell.row_key) == 64 and cell.slot and cell.command and cell.describe()
    board_order(suite, suite.origin)


def suite_texts() -> list[tuple[str, bytes]]:
    """Return suites of ours, and small ones of every shape of section."""
    shipped = [(path.name, path.read_bytes()) for path in shipped_configs().values()]
    return [("tiny.yaml", TINY.encode()), ("net.yaml", NET.encode()), ("ships.yaml", SHIPS.encode()), *shipped]


def read_record(path: Path) -> None:
    """Load a record, check it by itself, and write it again."""
    record = load_record(path)
    check_records([record], lambda _: None)
    write_json(path.with_name("again.json"), record.model_dump())
    assert load_record(path.with_name("again.json")) == record and record.slot


# -- entries, boards, runs ---------------------------------------------------------------------------------------------
def entries() -> list[tuple[Record, dict[str, np.ndarray]]]:
    """Return records that hold together, two seeds of a row and a reference, of both tasks."""
    few = [matched(sealed(MATCHING.model_copy(update={"seed": seed})), 70 + seed) for seed in (0, 1)]
    few += [detected("a", seed, [3, 2, 4, seed]) for seed in (0, 1)] + [detected("b", 0, [1, 2, 2, 1])]
    return few


def board_kind(folder: Path) -> Run:
    """Boards, `explain`, `score` and `compare` over entries of which one file was changed."""
    template = folder / "input"
    made = entries()
    for record, samples in made:
        put_entry(template, "fuzz", record, samples)
    order = list(dict.fromkeys((record.task, record.dataset, record.method) for record, _ in made))
    words = {"title": "t", "description": "", "notes": {}, "references": {}, "order": [list(row) for row in order]}
    write_json(template / "fuzz" / "suite.json", {"name": "fuzz", **words})
    files = sorted(path.relative_to(template) for path in template.rglob("*") if path.is_file())
    a, b = (f"fuzz:{record.dataset}/{record.method}" for record in (made[2][0], made[4][0]))
    commands = (
        ("leaderboard",), ("leaderboard", "fuzz", "--print", "--cost"), ("score", "--all"), ("explain", f"fuzz/{made[2][0].task}--{made[2][0].slot}"),
        ("compare", a, b),
    )  # fmt: skip

    def run(rng: Random, where: Path) -> None:
        boards = where / "leaderboards"
        shutil.rmtree(boards, ignore_errors=True)
        shutil.copytree(template, boards)
        chosen = boards / rng.choice(files)
        whole = chosen.read_bytes()
        chosen.write_bytes(of_json(rng, whole) if chosen.suffix == ".json" else other_arrays(rng, whole, where))
        try:
            bench(where, *rng.choice(commands))
        finally:
            shutil.rmtree(boards)  # what was mutated itself is no finding
            _written(where)

    return run


def _written(where: Path) -> None:
    strange = [path for path in where.iterdir() if path.name not in ("input", "leaderboards", "runs")]
    assert not strange, f"written outside its folder: {strange}"


def other_arrays(rng: Random, whole: bytes, folder: Path) -> bytes:
    """Return an .npz with an array lost, renamed, or of another type, shape or value; or other bytes."""
    if rng.random() < 0.4:
        return of_bytes(rng, whole)
    scratch = folder / "input" / "scratch.npz"
    scratch.write_bytes(whole)
    with np.load(scratch) as stored:
        arrays: dict[str, Any] = dict(stored)
    name = rng.choice(sorted(arrays))
    array, kind = arrays[name], rng.randrange(8)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name + "s"] = arrays.pop(name)
    elif kind == 2:
        arrays[name] = (
            array.astype(rng.choice(("U3", "S3", "c16", "f2", "i1", "u8", "M8[s]", "V4")))
            if array.dtype.kind != "U"
            else array == ""
        )
    elif kind == 3:
        arrays[name] = rng.choice(
            (
                array[None],
                array.reshape(-1),
                np.array(0),
                array[..., :1] if array.ndim else array,
                np.zeros((0, 3)),
                array.repeat(2, 0) if array.ndim else array,
            )
        )
    elif kind == 4 and array.dtype.kind in "fiu" and array.size:
        array = array.copy()
        array.flat[rng.randrange(array.size)] = (
            rng.choice((np.nan, np.inf, -1.0, 1e300)) if array.dtype.kind == "f" else rng.choice((0, 1, 99, 127))
        )
        arrays[name] = array
    elif kind == 5 and array.ndim:
        arrays[name] = array[:-1]
    elif kind == 6 and array.ndim:
        arrays[name] = array[::-1]
    else:
        arrays[name] = np.full_like(array, "x" if array.dtype.kind == "U" else 1)
    np.savez(scratch, **arrays)
    return scratch.read_bytes()


def reader(path: Path) -> Callable[[Record], Any]:
    """Return what reads per-sample scores from one path, whatever the record."""
    return lambda record: read_samples(path, record.task)


def samples_kind(folder: Path) -> Run:
    """Per-sample scores of both tasks, read and recomputed."""
    (folder / "input").mkdir()
    kept = []
    for number, (record, samples) in enumerate(entries()):
        save_arrays(folder / "input" / f"{number}.npz", samples)
        kept.append((record, (folder / "input" / f"{number}.npz").read_bytes()))
        assert not check_records([record], reader(folder / "input" / f"{number}.npz")).problems

    def run(rng: Random, where: Path) -> None:
        record, whole = rng.choice(kept)
        path = where / "input" / "changed.npz"
        path.write_bytes(other_arrays(rng, whole, where))
        if check_records([record], reader(path)).problems:
            raise Refused

    return run


def merge_kind(folder: Path) -> Run:
    """`bench merge` of runs folders of which one file was changed."""
    template = folder / "input" / "other"
    for record, samples in entries():
        put_cell(template, record, samples)
    files = sorted(path.relative_to(template) for path in template.rglob("*") if path.is_file())

    def run(rng: Random, where: Path) -> None:
        shutil.copytree(template, where / "input" / "changed")
        chosen = where / "input" / "changed" / rng.choice(files)
        whole = chosen.read_bytes()
        chosen.write_bytes(of_json(rng, whole) if chosen.suffix == ".json" else of_bytes(rng, whole))
        try:
            bench(where, "merge", "input/changed")
        finally:
            shutil.rmtree(where / "input" / "changed")
            _written(where)
            for cell in (where / "runs").glob("*/*"):
                assert (cell / "record.json").is_file(), f"half a cell: {cell}"
                load_record(cell / "record.json")
            shutil.rmtree(where / "runs", ignore_errors=True)

    return run


def predictions_kind(folder: Path) -> Run:
    """Predictions files of both tasks, read and scored."""
    kept = []
    for name, text in (("tiny.yaml", TINY), ("ships.yaml", SHIPS)):
        place = finished_folder(folder / "input" / name, {name: text}, run=(name,))
        kept += [(path.parts[-3], path.read_bytes()) for path in sorted(place.rglob("predictions.npz"))]

    def run(rng: Random, where: Path) -> None:
        task, whole = rng.choice(kept)
        (where / "input" / "cell").mkdir(exist_ok=True)
        (where / "input" / "cell" / "predictions.npz").write_bytes(other_arrays(rng, whole, where))
        get_task(task).score(where / "input" / "cell")

    return run


def jobs_kind(folder: Path) -> Run:
    """What a worker and a plan read of a cell: the job, the markers of its stages."""
    place = finished_folder(folder / "input", {"tiny.yaml": TINY}, run=("tiny.yaml",))
    kept = [(path.name, path.read_bytes()) for path in sorted(place.glob("runs/*/*cfog*/*.json"))]

    def run(rng: Random, where: Path) -> None:
        name, whole = rng.choice(kept)
        (where / "input" / "cell").mkdir(exist_ok=True)
        path = where / "input" / "cell" / name
        path.write_bytes(of_json(rng, whole))
        if name == "job.json":
            read_job(path)
        elif name == "record.json":
            load_record(path)
        else:
            key = json.loads(whole)["key"]
            if not stage_done(path.parent, name.removesuffix(".json"), key):
                raise Refused

    return run


# -- submissions and tables --------------------------------------------------------------------------------------------
def submissions_kind(task: str, config: str, text: str) -> Callable[[Path], Run]:
    """Return the kind of files that another tool hands in for a task, in every form that is read."""

    def make(folder: Path) -> Run:
        place = finished_folder(folder / "input", {config: text}, hand_out=task)
        suite = load_suite(place / config)
        workspace = Workspace.at(place / "runs", place / "leaderboards")
        submissions = submissions_of(suite, task)
        handed = [(path, path.read_bytes()) for path in sorted((place / "handed").iterdir())]

        def read(path: Path) -> None:
            cell = submissions.cell(suite, suite.origin, Request(path, "mine"))
            get_task(task).identify(cell, workspace)
            submissions.check(cell, workspace)

        for path, _ in handed:
            read(path)

        def run(rng: Random, where: Path) -> None:
            path, whole = rng.choice(handed)
            mutate = {".json": of_json, ".csv": of_csv}.get(path.suffix, of_bytes)
            changed = path.with_name(f"changed{path.suffix}")
            changed.write_bytes(other_arrays(rng, whole, where) if path.suffix == ".npz" else mutate(rng, whole))
            read(changed)

        return run

    return make


def read_split_of_ten(path: Path) -> None:
    """Read a split file for ten samples."""
    read_split(path, PairIndex(tuple(PairSample(f"p{i}", f"o{i}", f"s{i}", scene=f"c{i // 5}") for i in range(10))))


SPLIT = "id,part,group\n" + "".join(f"p{i},{('train', 'validation', 'test')[i % 3]},g{i // 3}\n" for i in range(10))
KINDS = {
    kind.name: kind
    for kind in (
        Kind("suites", 2000, 40, of_file(suite_texts(), of_yaml, read_suite)),
        Kind("records", 2500, 60, of_file([(f"{path.parent.name}-{path.name}", path.read_bytes()) for path in RECORDS], of_json, read_record)),
        Kind("boards", 600, 8, board_kind),
        Kind("scores", 1200, 40, samples_kind),
        Kind("merges", 300, 6, merge_kind),
        Kind("predictions", 700, 20, predictions_kind),
        Kind("jobs", 600, 30, jobs_kind),
        Kind("boxes", 900, 30, submissions_kind("detection", "ships.yaml", SHIPS)),
        Kind("pairs", 700, 20, submissions_kind("matching", "tiny.yaml", TINY)),
        Kind("splits", 500, 30, of_file([("split.csv", SPLIT.encode())], of_csv, read_split_of_ten)),
        Kind("labels", 1500, 30, labels),
        Kind("images", 3000, 60, images),
        Kind("weights", 800, 30, weights),
        Kind("commands", 800, 15, command_lines),
    )
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(run_from_command_line(KINDS, sys.argv[1:]))
