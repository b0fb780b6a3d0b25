"""kill -9 at any moment, then the same call again: bit-identical weights and curves.csv."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_toys import ToyBatches, outcome, toy_context, toy_net, toy_spec

from bench.core.errors import BenchError
from bench.training.api import train

# One process imports torch once and forks children that die by SIGKILL at a chosen moment; others take over after them.
CHILD = """
import json, os, pathlib, signal, sys
import torch
from torch import nn
from training_toys import ToyBatches, outcome, toy_context, toy_net, toy_spec
from bench.training.api import train

root, points, workers = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
SCORES = {1: 0.5, 2: 0.9, 3: 0.7, 4: 0.9}

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def arm(kind, number):
    seen = [0]
    def due():
        seen[0] += 1
        return seen[0] == number
    if kind in ("before", "after"):
        real = os.replace
        def replace(*a, **k):
            now = due()
            if now and kind == "before": die()
            real(*a, **k)
            if now: die()
        os.replace = replace
    elif kind == "unlink":
        real_unlink = pathlib.Path.unlink
        def unlink(self, *a, **k):
            real_unlink(self, *a, **k)
            if due(): die()
        pathlib.Path.unlink = unlink
    elif kind == "torn":
        real_save = torch.save
        def save(content, path):
            real_save(content, path)
            if due():
                os.truncate(path, os.path.getsize(path) // 2)
                die()
        torch.save = save
    elif kind == "iteration":
        real_loss = type(toy_net()).loss
        def loss(self, batch):
            if due(): die()
            return real_loss(self, batch)
        type(toy_net()).loss = loss

def run(folder, point=None):
    pid = os.fork()
    if pid == 0:
        try:
            if point: arm(*point)
            model = toy_net()
            train(model, ToyBatches(), toy_spec(4), toy_context(folder, workers),
                  lambda net, epoch: {"auc": SCORES[epoch]}, "best", "auc")
            (folder / "outcome.json").write_text(json.dumps(outcome(model, folder)))
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitpid(pid, 0)[1]

train(toy_net(), ToyBatches(), toy_spec(1), toy_context(root / "warm"))  # imports what the children need, once
found = {}
for name, point in {"straight": None, **points}.items():
    folder = root / name
    if point is not None:
        status = run(folder, point)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (name, status)
    assert run(folder) == 0, name
    left = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
    found[name] = [json.loads((folder / "outcome.json").read_text()), left]
print(json.dumps(found))
"""

POINTS: dict[str, tuple[str, int]] = {
    # os.replace in order: best 1, last 1, curves 1, best 2, last 2, curves 2, last 3, curves 3, last 4, curves 4
    **{f"before{n}": ("before", n) for n in (1, 2, 4, 5, 6, 9, 10)},
    **{f"after{n}": ("after", n) for n in (1, 2, 3, 4, 5, 9)},
    **{f"unlink{n}": ("unlink", n) for n in (6, 7)},
    **{f"torn{n}": ("torn", n) for n in (1, 3)},
    **{f"iteration{n}": ("iteration", n) for n in (1, 6, 13)},
}


def kill_and_resume(root: Path, points: dict[str, tuple[str, int]], workers: int) -> dict[str, list[object]]:
    here = Path(__file__).parent
    environment = {
        "PYTHONPATH": f"{here}:{here.parents[1]}",
        "PATH": "/usr/bin:/bin",
        "OMP_NUM_THREADS": "1",
        "HOME": str(root),
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(root), json.dumps(points), str(workers)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[object]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_killed_at_any_moment_ends_like_an_uninterrupted_run(tmp_path: Path) -> None:
    found = kill_and_resume(tmp_path, POINTS, workers=0)
    assert set(found) == {"straight", *POINTS}
    for name, end in found.items():
        assert end == found["straight"], name
    files = ["checkpoints", "checkpoints/best-0002.safetensors", "checkpoints/last.pt", "curves.csv", "outcome.json"]
    assert found["straight"][1] == files


def test_killed_with_workers_ends_like_an_uninterrupted_run_without(tmp_path: Path) -> None:
    plain = kill_and_resume(tmp_path / "plain", {}, workers=0)
    with_workers = kill_and_resume(tmp_path / "workers", {"iteration": ("iteration", 10)}, workers=2)
    assert with_workers["iteration"] == with_workers["straight"] == plain["straight"]


def test_finished_training_is_not_repeated(tmp_path: Path) -> None:
    model, again = toy_net(), toy_net()
    first = train(model, ToyBatches(), toy_spec(2), toy_context(tmp_path))
    end = outcome(model, tmp_path)
    (tmp_path / "curves.csv").unlink()
    second = train(again, ToyBatches(), toy_spec(2), toy_context(tmp_path))
    assert second.resumed_from == 2 and second.samples_per_second is None and second.history == first.history
    assert second.seconds == first.seconds
    assert outcome(again, tmp_path) == end


def test_checkpoint_of_another_training_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    train(toy_net(), ToyBatches(), toy_spec(1), toy_context(tmp_path))
    with pytest.raises(BenchError, match="belongs to another training"):
        train(toy_net(), ToyBatches(), toy_spec(2), toy_context(tmp_path))
    path = tmp_path / "checkpoints" / "last.pt"
    for content in (path.read_bytes()[:1000], b"no checkpoint", b""):
        path.write_bytes(content)
        with pytest.raises(BenchError, match=r"last\.pt is damaged"):
            train(toy_net(), ToyBatches(), toy_spec(1), toy_context(tmp_path))
    torch.save({"train": {"epoch": 1}}, path)
    with pytest.raises(BenchError, match=r"last\.pt is damaged"):
        train(toy_net(), ToyBatches(), toy_spec(1), toy_context(tmp_path))
