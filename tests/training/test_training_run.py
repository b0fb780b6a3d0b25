"""What a training does, keeps and refuses, in one process. Interruption has a file of its own."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_toys import BATCH, ToyBatches, ToyNet, outcome, toy_context, toy_net, toy_spec

from bench.core.errors import BenchError
from bench.training.api import resolve_device, train
from bench.training.randomness import reseed, shuffled_batches
from bench.training.spec import TrainSpec
from bench.training.state import discard_checkpoints

SCRIPTED = {1: 0.5, 2: 0.9, 3: 0.7, 4: 0.9}


class Broken(ToyNet):
    """Returns a chosen loss value from the given iteration on."""

    def __init__(self, at: int, value: float) -> None:
        super().__init__()
        self.at, self.value, self.calls = at, value, 0

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.calls += 1
        out = super().loss(batch)
        if self.calls >= self.at:
            out["loss_class"] = out["loss_class"] * self.value
        return out


class InfiniteGradient(ToyNet):
    """A finite loss whose gradient is not: the root of zero."""

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": (self(batch["image"]).sum() * 0).sqrt()}


def test_run_leaves_curves_and_checkpoint_and_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    folder = tmp_path / "cell"
    result = train(toy_net(), ToyBatches(), toy_spec(), toy_context(folder, lines=lines))
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "cell", "cell/checkpoints", "cell/checkpoints/last.pt", "cell/curves.csv",
    ]  # fmt: skip
    assert capfd.readouterr() == ("", "")
    rows = list(csv.DictReader((folder / "curves.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert list(rows[0]) == ["epoch", "lr", "loss", "loss_class", "loss_size", "accuracy"]
    assert [{k: float(v) for k, v in row.items()} for row in rows] == list(result.history)
    assert rows[0]["loss"] != "" and float(rows[0]["loss"]) == pytest.approx(
        float(rows[0]["loss_class"]) + float(rows[0]["loss_size"]), rel=1e-6
    )
    assert result.resumed_from is None and result.best_epoch is None
    assert result.seconds > 0 and result.samples_per_second and result.peak_memory_bytes > 1 << 20
    assert [line.split(":")[0] for line in lines if line.startswith("epoch")] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert not any("mmengine" in line for line in lines)
    discard_checkpoints(folder)
    assert [p.name for p in folder.iterdir()] == ["curves.csv"]


def test_training_learns(tmp_path: Path) -> None:
    spec = toy_spec(12, optimizer={"type": "Adam", "lr": 0.05}, schedule="constant")
    result = train(toy_net(), ToyBatches(), spec, toy_context(tmp_path))
    first, last = result.history[0]["loss_class"], result.history[-1]["loss_class"]
    assert first is not None and last is not None and last < 0.6 * first


@pytest.mark.parametrize("threads", [1, 2])
def test_number_of_workers_changes_no_bit(tmp_path: Path, threads: int) -> None:
    seen = set()
    for workers in (0, 1, 2):
        folder = tmp_path / str(workers)
        model = toy_net()
        train(model, ToyBatches(), toy_spec(2), toy_context(folder, workers, threads))
        seen.add(outcome(model, folder))
    assert len(seen) == 1


def test_global_generators_change_nothing_and_the_seed_does(tmp_path: Path) -> None:
    seen = []
    for number, seed in enumerate((3, 3, 4)):
        model = toy_net()
        random.seed(number), np.random.seed(number), torch.manual_seed(number)
        folder = tmp_path / str(number)
        train(model, ToyBatches(), toy_spec(1, seed=seed), toy_context(folder))
        seen.append(outcome(model, folder))
    assert seen[0] == seen[1] != seen[2]


def test_mmengine_singletons_are_as_before(tmp_path: Path) -> None:
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope

    before = [list(kind._instance_dict) for kind in (MessageHub, MMLogger, DefaultScope)]
    for name in ("a", "b"):
        train(toy_net(), ToyBatches(), toy_spec(1), toy_context(tmp_path / name))
    assert [list(kind._instance_dict) for kind in (MessageHub, MMLogger, DefaultScope)] == before


def test_checkpoint_is_plain_data(tmp_path: Path) -> None:
    train(toy_net(), ToyBatches(), toy_spec(1), toy_context(tmp_path))
    path = tmp_path / "checkpoints" / "last.pt"
    assert torch.serialization.get_unsafe_globals_in_checkpoint(path) == []
    content = torch.load(path, weights_only=True)
    assert sorted(content) == ["optimizer", "state_dict", "train"]
    assert set(content["state_dict"]) == set(ToyNet().state_dict())


def test_best_keeps_the_earliest_of_equals_and_the_model_holds_it(tmp_path: Path) -> None:
    snapshots = {}

    def validate(model: nn.Module, epoch: int) -> dict[str, float]:
        assert not model.training and not torch.is_grad_enabled()
        snapshots[epoch] = {key: value.clone() for key, value in model.state_dict().items()}
        return {"auc": SCRIPTED[epoch], "undefined": float("nan")}

    model = toy_net()
    result = train(model, ToyBatches(), toy_spec(4), toy_context(tmp_path), validate, "best", "auc")
    assert result.best_epoch == 2 and not model.training
    assert [row["val_auc"] for row in result.history] == list(SCRIPTED.values())
    assert all(row["val_undefined"] is None for row in result.history)
    assert all(torch.equal(value, snapshots[2][key]) for key, value in model.state_dict().items())
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["best-0002.safetensors", "last.pt"]
    assert (tmp_path / "curves.csv").read_text().splitlines()[1].endswith(",0.5,")


def test_monitor_must_exist_and_be_defined(tmp_path: Path) -> None:
    def undefined(model: nn.Module, epoch: int) -> dict[str, float | None]:
        return {"auc": None}

    arguments = (ToyBatches(), toy_spec(1))
    with pytest.raises(BenchError, match="'auc' is undefined after epoch 1"):
        train(toy_net(), *arguments, toy_context(tmp_path / "a"), undefined, "best", "auc")
    with pytest.raises(BenchError, match=r"no metric 'aoc'.*auc"):
        train(toy_net(), *arguments, toy_context(tmp_path / "b"), undefined, "best", "aoc")
    with pytest.raises(BenchError, match="monitor goes with"):
        train(toy_net(), *arguments, toy_context(tmp_path / "c"), undefined, "best")
    with pytest.raises(BenchError, match="needs a validation part"):
        train(toy_net(), *arguments, toy_context(tmp_path / "d"), None, "best", "auc")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_stops_with_epoch_and_iteration(tmp_path: Path, value: float) -> None:
    per_epoch = len(ToyBatches())
    model = Broken(per_epoch + 3, value)
    with pytest.raises(BenchError, match="epoch 2, iteration 3"):
        train(model, ToyBatches(), toy_spec(), toy_context(tmp_path))
    assert model.calls == per_epoch + 3
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    assert len((tmp_path / "curves.csv").read_text().splitlines()) == 2
    assert not (tmp_path / ".mmengine").exists()


def test_weights_that_are_not_finite_stop_though_the_loss_is_finite(tmp_path: Path) -> None:
    class OneBatch(ToyBatches):
        def __len__(self) -> int:
            return 1

        def indices(self, epoch: int) -> list[np.ndarray]:
            return super().indices(epoch)[:1]

    with pytest.raises(BenchError, match="not finite after epoch 1, iteration 1"):
        train(InfiniteGradient(), OneBatch(), toy_spec(), toy_context(tmp_path))
    assert not (tmp_path / "checkpoints").exists() or not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize("workers", [0, 1])
def test_error_while_making_a_batch_stays_one_line(tmp_path: Path, workers: int) -> None:
    class Failing(ToyBatches):
        def fetch(self, epoch: int, batch_indices: np.ndarray) -> dict[str, np.ndarray | Tensor]:
            raise BenchError("image x.png is truncated; fetch it again")

    with pytest.raises(BenchError) as caught:
        train(toy_net(), Failing(), toy_spec(), toy_context(tmp_path, workers))
    assert str(caught.value) == "image x.png is truncated; fetch it again"


def test_frozen_parameters_stay_and_clipping_bounds_the_step(tmp_path: Path) -> None:
    class OneStep(ToyBatches):
        def __len__(self) -> int:
            return 1

        def indices(self, epoch: int) -> list[np.ndarray]:
            return super().indices(epoch)[:1]

    model = toy_net()
    model.conv.requires_grad_(False)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    spec = toy_spec(1, optimizer={"type": "SGD", "lr": 1.0}, schedule="constant", warmup_epochs=0, clip_norm=1e-3)
    train(model, OneStep(), spec, toy_context(tmp_path))
    steps = {key: (value.detach() - before[key]).norm() for key, value in model.named_parameters()}
    assert steps["conv.weight"] == 0
    assert torch.stack(list(steps.values())).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_channels_last_reaches_network_and_images(tmp_path: Path) -> None:
    class Looking(ToyNet):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            assert batch["image"].is_contiguous(memory_format=torch.channels_last)
            return super().loss(batch)

    model = Looking()
    train(model, ToyBatches(), toy_spec(1, channels_last=True), toy_context(tmp_path))
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_lists_of_tensors_in_batch_and_losses(tmp_path: Path) -> None:
    class Listed(ToyBatches):
        def fetch(self, epoch: int, batch_indices: np.ndarray) -> dict[str, object]:  # type: ignore[override]
            return {**super().fetch(epoch, batch_indices), "boxes": [np.zeros((i, 4)) for i in range(3)]}

    class Levels(ToyNet):
        def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            assert [tuple(boxes.shape) for boxes in batch["boxes"]] == [(0, 4), (1, 4), (2, 4)]
            level = self(batch["image"]).square()
            return {"loss_level": [level, level]}  # type: ignore[dict-item]

    result = train(Levels(), Listed(), toy_spec(1), toy_context(tmp_path))
    assert result.history[0]["loss"] == result.history[0]["loss_level"]


def test_learning_rate_known_values() -> None:
    optimizer = {"type": "SGD", "lr": 0.8}
    constant = TrainSpec(4, BATCH, optimizer)
    assert {constant.learning_rate(i, 10) for i in range(40)} == {0.8}
    cosine = TrainSpec(4, BATCH, optimizer, "cosine")
    assert [cosine.learning_rate(i, 10) for i in (0, 9, 20, 39)] == pytest.approx(
        [0.8, 0.8, 0.4, 0.8 * 0.1464466], rel=1e-6
    )
    steps = TrainSpec(4, BATCH, optimizer, "cosine-steps")
    assert [steps.learning_rate(i, 10) for i in (0, 10, 20, 39)] == pytest.approx(
        [0.8, 0.8 * 0.8535534, 0.4, 0.8 * 0.0015413], rel=1e-4
    )
    step = TrainSpec(4, BATCH, optimizer, "step", step_epochs=(1, 3))
    assert [step.learning_rate(i, 10) for i in (9, 10, 29, 30)] == pytest.approx([0.8, 0.08, 0.08, 0.008])
    warm = TrainSpec(4, BATCH, optimizer, warmup_epochs=0.3)
    assert [warm.learning_rate(i, 10) for i in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"optimizer": {"type": "Adm", "lr": 0.1}}, "'Adm'; nearest: Adam"),
        ({"optimizer": {"type": "SGD"}}, "lr is None"),
        ({"optimizer": {"type": "SGD", "lr": float("nan")}}, "lr is nan"),
        ({"schedule": "cosin"}, "nearest: cosine"),
        ({"schedule": "step"}, "step_epochs goes with"),
        ({"precision": "fp8"}, "'fp8'"),
        ({"warmup_epochs": 9}, "warmup_epochs is 9"),
        ({"clip_norm": 0.0}, "clip_norm is 0"),
    ],
)
def test_bad_spec_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        toy_spec(**changes)  # type: ignore[arg-type]


def test_bad_surroundings_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchError, match="unexpected keyword argument 'speed'"):
        train(toy_net(), ToyBatches(), toy_spec(optimizer={"type": "SGD", "lr": 1, "speed": 2}), toy_context(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        train(toy_net(), ToyBatches(), toy_spec(), toy_context(tmp_path / "file" / "cell"))
    for name in ("gpu", "cuda:", "cuda:x", "cuda:-1", "mps"):
        with pytest.raises(BenchError, match="unknown device"):
            resolve_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda") == torch.device("cuda", 0) and resolve_device("cuda:1").index == 1
    with pytest.raises(BenchError, match=r"'cuda:7' does not exist: this machine has 2 CUDA devices"):
        resolve_device("cuda:7")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BenchError, match="0 CUDA devices; use cpu"):
        resolve_device("cuda")


def test_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(BenchError, match=r"cannot write .*last\.pt"):
        train(toy_net(), ToyBatches(), toy_spec(), toy_context(tmp_path))
    assert not list((tmp_path / "checkpoints").iterdir())


def test_shuffled_batches_cover_the_samples_once() -> None:
    batches = shuffled_batches(50, 8, seed=1, epoch=2, drop_last=False)
    assert sorted(np.concatenate(batches)) == list(range(50)) and [len(b) for b in batches] == [8] * 6 + [2]
    assert len(shuffled_batches(50, 8, 1, 2)) == 6 and len(shuffled_batches(3, 8, 1, 2)) == 1
    again, other = shuffled_batches(50, 8, 1, 2), shuffled_batches(50, 8, 1, 3)
    assert all(np.array_equal(a, b) for a, b in zip(again, batches, strict=False))
    assert not np.array_equal(np.concatenate(again), np.concatenate(other))


def test_reseed_depends_on_seed_and_key_alone() -> None:
    def draw(*key: int | str) -> tuple[float, float, float]:
        reseed(*key)  # type: ignore[arg-type]
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    assert draw(1, "epoch", 2) == draw(1, "epoch", 2)
    assert len({draw(1, "epoch", 2), draw(1, "epoch", 3), draw(2, "epoch", 2), draw(1, "weights", 2)}) == 4


def test_predictions_are_not_rounded_to_tf32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, torch's convolutions round to 10 bits by default: fp32 predictions would depend on the card."""
    from bench.training.learned import NetworkMethod

    method: Any = object.__new__(NetworkMethod)
    method._network = torch.nn.Linear(1, 1)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    method._ready(toy_context(tmp_path))
    assert torch.backends.cudnn.allow_tf32 is False


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_cuda_trains_in_each_precision(tmp_path: Path, precision: str) -> None:
    spec = toy_spec(2, precision=precision, channels_last=True)
    model = toy_net()
    result = train(model, ToyBatches(), spec, toy_context(tmp_path, workers=1, device="cuda"))
    assert len(result.history) == 2 and next(model.parameters()).is_cuda
    again = train(toy_net(), ToyBatches(), spec, toy_context(tmp_path, device="cuda"))
    assert again.history == result.history and again.resumed_from == 2
