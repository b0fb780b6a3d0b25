"""Two and three ranks: the gradient is that of one process, one of them writes, and none is left hanging."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_toys import ToyBatches

from bench.core.errors import BenchError
from bench.execution.records import PREDICT, PREDICTIONS, RECORD, SCORES, TRAIN
from bench.training.parallel import check_shares, gather, mean_factor, share_of
from bench.training.ranks import world_from_environment

HERE = Path(__file__).parent
FINISHED = sorted(
    [PREDICT, PREDICTIONS, RECORD, SCORES, TRAIN, "curves.csv", "job.json", "log.txt", "model.safetensors"]
)


def forked(folder: Path, *ends: str) -> dict[str, Any]:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{HERE}:{HERE.parents[1]}",
        "OMP_NUM_THREADS": "1",
        "GIT_DIR": str(folder / "no-git"),
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "forked_ranks.py"), str(folder), *ends],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return forked(tmp_path_factory.mktemp("ranks"), "compare", "kill-1")


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return forked(tmp_path_factory.mktemp("more"), "compare", "more", "raise-1", "raise-0", "nan", "kill-0")


CASES = ["mean", "infonce", "bnn", "bnn-in-batch", "dense"]


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_the_weights_of_one_process(found: dict[str, Any], case: str) -> None:
    _equal(found, case, 2)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_three_ranks_train_the_weights_of_one_process(more: dict[str, Any], case: str) -> None:
    _equal(more, case, 3)


def _equal(found: dict[str, Any], case: str, size: int) -> None:
    """Six steps of SGD with momentum, decay and clipping on batches of 7, 7 and 2: unequal shares, and one of
    nothing.
    """
    one, many = found["1"][case], found[str(size)][case]
    assert found[str(size)]["codes"] == [0] * size
    np.testing.assert_allclose(many["weights"], one["weights"], rtol=0, atol=1e-6)
    for mine, theirs in zip(many["history"], one["history"], strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6)
    assert one["history"][0]["loss"] - one["history"][-1]["loss"] > 1e-3  # it trains at all


@pytest.mark.slow
def test_ranks_give_the_gradient_of_one_process_for_mmdet_detectors(tmp_path: Path) -> None:
    """YOLOv3's losses are sums over images, Faster R-CNN's are divided by the samples of the batch; three images, one
    without a ship.
    """
    found = forked(tmp_path, "detectors")
    for name in ("faster-rcnn", "yolov3"):
        one, two = found["1"][name], found["2"][name]
        # a mean over all regions of a share
        losses = {key: value for key, value in one["history"][0].items() if key != "acc"}
        assert losses == pytest.approx({key: two["history"][0][key] for key in losses}, rel=1e-4)
        np.testing.assert_allclose(two["weights"], one["weights"], rtol=0, atol=2e-5 * one["norm"])
        assert one["norm"] > 0.1


def test_two_ranks_finish_a_cell_and_rank_0_alone_writes(found: dict[str, Any]) -> None:
    cell = found["worker"]
    assert cell["codes"] == [0, 0] and cell["status"] == "finished" and cell["processes"] == 2
    assert cell["files"] == FINISHED
    assert cell["log"].count("epoch 1/3:") == 1 and len(cell["curves"].splitlines()) == 4


@pytest.mark.slow
def test_ranks_leave_a_cell_that_is_finished_or_trains_nothing(more: dict[str, Any]) -> None:
    again = {**more["again"], "log": more["worker"]["log"]}
    assert again == more["worker"] and "finished by another process meanwhile" in more["again"]["log"]
    assert (
        more["untrained"]["codes"] == [0, 0]
        and more["untrained"]["status"] == "finished"
        and more["untrained"]["processes"] == 1
    )


def test_a_rank_that_is_killed_takes_the_others_along_and_the_same_command_resumes(found: dict[str, Any]) -> None:
    assert found["kill-1"]["codes"] == [1, -9]
    assert found["kill-1"]["failure"]["message"].startswith(
        "another of the 2 processes is gone (killed? out of memory?)"
    )
    _killed(found, "kill-1", found)


def _killed(ends: dict[str, Any], name: str, found: dict[str, Any]) -> None:
    again = ends[f"{name}-again"]
    assert again["codes"] == [0, 0] and again["files"] == FINISHED
    assert "training goes on after epoch 1 of 3" in again["log"]
    # not a bit else
    assert (again["weights"], again["curves"]) == (found["worker"]["weights"], found["worker"]["curves"])


@pytest.mark.slow
def test_every_other_end_of_a_rank(found: dict[str, Any], more: dict[str, Any]) -> None:
    assert more["raise-1"]["codes"] == [1, 1] and more["raise-1"]["status"] == "failed"
    failure = more["raise-1"]["failure"]
    assert failure["message"] == "rank 1: the second rank had enough" and failure["stage"] == "train"
    assert "small_matcher.py" in failure["traceback"]
    assert more["raise-0"]["failure"]["message"] == "the first rank had enough" and more["raise-0"]["codes"] == [1, 1]
    assert "the loss is not finite in epoch 2, iteration 1" in more["nan"]["failure"]["message"] and more["nan"][
        "codes"
    ] == [1, 1]
    assert more["kill-0"]["codes"] == [-9, 1] and more["kill-0"]["status"] is None
    _killed(more, "kill-0", found)


def test_shares_cover_a_batch_in_order() -> None:
    for count, size, smallest in ((7, 2, 1), (7, 3, 2), (2, 3, 2), (3, 8, 1), (1, 2, 2), (64, 8, 2)):
        shares = [share_of(np.arange(count), rank, size, smallest) for rank in range(size)]
        assert np.array_equal(np.concatenate([own for own, counted in shares if counted]), np.arange(count))
        assert all(len(own) == counted or counted == 0 for own, counted in shares) and all(
            len(own) for own, _ in shares
        )
        counts = [counted for _, counted in shares if counted]
        assert max(counts) - min(counts) <= 1 and (min(counts) >= smallest or len(counts) == 1)
    with pytest.raises(BenchError, match="batch_size 4 cannot be shared by 3 processes of at least 2 samples each"):
        check_shares(4, 3, 2)


def test_alone_nothing_changes() -> None:
    rows = torch.ones(3, 2, requires_grad=True)
    assert gather(rows) is rows and mean_factor(7) == 1.0
    assert world_from_environment({}) is None
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_PORT": "1", "MASTER_ADDR": "x", "PATH": "y"}
    # nothing started from here takes itself for a rank
    assert world_from_environment(alone) is None and alone == {"PATH": "y"}


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT is not set; start the worker with torchrun"),
        ({"WORLD_SIZE": "two", "RANK": "0", "MASTER_ADDR": "h", "MASTER_PORT": "1"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "h", "MASTER_PORT": "1"}, "RANK is 2 and WORLD_SIZE 2"),
    ],
)
def test_a_damaged_announcement_is_one_line(told: dict[str, str], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        world_from_environment(told)


def test_loader_gives_a_rank_its_share() -> None:
    from bench.training.loader import make_loader
    from bench.training.parallel import SHARE

    seen = []
    for rank in range(2):
        loader, _ = make_loader(ToyBatches(), 6, 0, 1, torch.device("cpu"), rank, 2)
        batches = list(loader)
        assert [batch[SHARE] for batch in batches] == [(3, 6)] * 4
        seen.append(torch.cat([batch["image"] for batch in batches[:1]]))
    whole, _ = make_loader(ToyBatches(), 6, 0, 1, torch.device("cpu"))
    assert torch.equal(torch.cat(seen), next(iter(whole))["image"])
    with pytest.raises(BenchError, match="batch_size 6 cannot be shared by 7 processes"):
        make_loader(ToyBatches(), 6, 0, 1, torch.device("cpu"), 0, 7)
