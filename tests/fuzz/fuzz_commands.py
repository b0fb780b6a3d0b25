"""Cases that are command lines, and finished folders for them."""

from __future__ import annotations

import atexit
import contextlib
import csv
import importlib.util
import io
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pandas
from command_line import TINY
from fuzz_harness import Run, bench

import bench as api

_MADE: dict[tuple[tuple[str, ...], str], Path] = {}
ODD_WORDS = (
    "", " ", "-", "--", "--runs", "--seeds", "-1", "0", "1.5", "1e9", "99999999999999999999", "nan", "tiny", "tiny.yaml", "cfog", "cfgo", "matching",
    "detection", "toy", "toy/grouped", "runs", "no/such/folder", "/dev/null", "é", "a=b", "=", "x" * 300, "a\nb", "\x1b[31m", "\udc80", "*", "~", "~nobody/x",
    "seeds=[0]", "matching=1", "seeds=yes", "a.b.c=1", "--help", "README", "toy-pairs", "quickstart", "tiny:toy/grouped/cfog", "--no-such", "%s", "{}",
)  # fmt: skip
VERBS: dict[str, tuple[tuple[str, ...], ...]] = {
    "plan": (("--config", "tiny.yaml"), ("--set", "seeds=[0]"), ("--method", "cfog"), ("--seeds", "0", "1"), ("--cells",), ("--limit", "8"), ("matching",)),
    "list": (("tasks",), ("matchers",)),
    "leaderboard": (("tiny",), ("--print",), ("--cost",), ("--boards", "leaderboards")),
    "explain": (("cfog",), ("tiny:toy/grouped/cfog",), ("--json",), ("--runs", "runs"), ("--boards", "leaderboards")),
    "compare": (("cfog", "random"), ("histogram", "cfog"), ("--metric", "uniform.accuracy"), ("--dataset", "toy/grouped"), ("--task", "matching")),
    "score": (("--all",), ("--runs", "runs"), ("--boards", "leaderboards")),
    "merge": (("runs",), ("--dry-run",), ("--no-models",), ("--runs", "other")),
    "clean": (("cache",), ("unfinished",), ("--runs", "runs")),
    "docs": (("statistics",), ("keys",)),
    "data": (("info",), ("info", "toy-pairs"), ("verify", "toy-pairs"), ("verify", "voc-folder", "--root", "."), ("weights", "resnet18")),
    "export": (("no/such/cell",), ("--to", "timm"), ("--out", "out.pth"), ("--branch", "sar")),
    "predict": (("none.png",), ("--out", "out"), ("--set", "pfa=1e-4"), ("--sar-scale", "db"), ("--gsd-m", "10"), ("--detector", "cfar")),
    "submit": (("none.csv",), ("--config", "tiny.yaml"), ("--name", "mine"), ("--seed", "1"), ("--threshold", "0.5")),
    "run": (("--config", "none.yaml"), ("--slurm", "partition=gpu"), ("--threads", "0"), ("--processes", "0"), ("--device", "cuda:9"), ("--limit", "0")),
}  # fmt: skip


def take_finished(suites: Mapping[str, str], run: Sequence[str], folder: Path) -> None:
    """Let `finished_folder` copy a folder that other tests have made already."""
    _MADE.setdefault((tuple(suites), "|".join(run)), folder)


def finished_folder(target: Path, suites: Mapping[str, str], run: Sequence[str] = (), hand_out: str = "") -> Path:
    """Leave a folder with suites, those of `run` finished and filed, and what a tool would hand in for the task
    `hand_out`; made once in a process, then copied.
    """
    key = (tuple(suites), hand_out if hand_out else "|".join(run))
    if key not in _MADE:
        made = Path(tempfile.mkdtemp(prefix="bench-fuzz-made-"))
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        for name, text in suites.items():
            (made / name).write_text(text)
        for name in run:
            with contextlib.redirect_stderr(io.StringIO()):
                done = api.run(
                    made / name, runs=made / "runs", boards=made / "leaderboards", figures=False, in_process=True, device="cpu", threads=1,
                    say=lambda line: None,
                )  # fmt: skip
            assert done.whole
        if hand_out:
            _hand_out(made, hand_out, next(iter(suites)))
        _MADE[key] = made
    shutil.copytree(_MADE[key], target, dirs_exist_ok=True)
    return target


def _hand_out(folder: Path, task: str, config: str) -> None:
    """Write files that a tool could hand in, in every form."""
    (folder / "handed").mkdir()
    with contextlib.redirect_stderr(io.StringIO()):
        if task == "detection":
            bench(folder, "data", "coco", "--config", config, "--out", "truth.json")
        else:
            bench(folder, "data", "pairs", "--config", config, "--out", "pairs.csv")
    if task == "detection":
        truth = json.loads((folder / "truth.json").read_text())
        entries = [{"image_id": each["image_id"], "bbox": each["bbox"], "score": 0.5} for each in truth["annotations"]]
        listed = {"images": truth["images"], "annotations": [{**each, "category_id": 1} for each in entries]}
        columns = ("x", "y", "width", "height")
        table = [
            {"image_id": each["image_id"], **dict(zip(columns, each["bbox"], strict=True)), "score": 0.5}
            for each in entries
        ]
        empty = {each["id"] for each in truth["images"]} - {each["image_id"] for each in entries}
        table += [{"image_id": number, **dict.fromkeys((*columns, "score"))} for number in sorted(empty)]
        (folder / "handed" / "list.json").write_text(json.dumps(listed))
        (folder / "handed" / "plain.json").write_text(json.dumps(entries))
    else:
        with (folder / "pairs.csv").open(newline="") as stream:
            table = [{**row, "distance": number / 100} for number, row in enumerate(csv.DictReader(stream))]
        (folder / "handed" / "pairs.json").write_text(json.dumps({"pairs": table}))
    frame = pandas.DataFrame(table)
    frame.to_csv(folder / "handed" / "table.csv", index=False)
    if importlib.util.find_spec("pyarrow"):
        frame.to_parquet(folder / "handed" / "table.parquet", index=False)


def command_lines(folder: Path) -> Run:
    """Command lines over a finished folder, which stays as it is."""
    finished_folder(folder / "input", {"tiny.yaml": TINY}, run=("tiny.yaml",))

    def run(rng: Random, where: Path) -> None:
        verb = rng.choice(list(VERBS))
        words = [verb]
        for part in rng.sample(VERBS[verb], rng.randint(0, len(VERBS[verb]))):
            words += part
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            at = rng.randint(0 if rng.random() < 0.1 else 1, len(words))
            kind = rng.randrange(4)
            if kind == 0 and at < len(words):
                del words[at]
            elif kind == 1 and at < len(words):
                words[at] = rng.choice(ODD_WORDS)
            elif kind == 2 and at < len(words):
                words.insert(at, words[at])
            else:
                words.insert(at, rng.choice(ODD_WORDS))
        if words[:1] == ["run"] and not {"none.yaml", "--slurm", "0", "cuda:9"} & set(words):
            words += ["--limit", "0"]  # nothing is to be trained here
        if "doctor" in words or "selftest" in words or "--yes" in words:
            words = words[:1]
        bench(where / "input", *words)

    return run
