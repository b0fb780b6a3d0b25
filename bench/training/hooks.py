"""What happens in and around one iteration and one epoch of a training: our mmengine hooks and the module that the
Runner trains.

Owns reseeding, learning rates, the loss and its checks, progress, and the order in which an epoch is committed to disk.
Does not build the Runner (`engine.py`) nor write files itself (`state.py`). Imported at execution
time only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.context import ExecutionContext
from bench.core.errors import BenchError, nearest
from bench.core.progress import Bar
from bench.core.store import finite_or_none
from bench.training.loader import FAILED, EpochSampler, map_tensors, to_device
from bench.training.mmengine_parts import Hook, OptimWrapper, Runner
from bench.training.parallel import SHARE, Ranks, alone, distributed
from bench.training.randomness import reseed
from bench.training.spec import EpochRow, TrainSpec, Validate
from bench.training.state import TrainState, TrainStore

_LOSS_CHECK_CUDA = 50


class Session:
    """One training in this process: what the hooks share."""

    def __init__(
        self,
        model: nn.Module,
        spec: TrainSpec,
        context: ExecutionContext,
        device: torch.device,
        store: TrainStore,
        per_epoch: int,
        validate: Validate | None,
        monitor: str | None,
        state: TrainState,
    ) -> None:
        self.model, self.spec, self.context, self.device = model, spec, context, device
        self.store, self.per_epoch, self.validate, self.monitor, self.state = store, per_epoch, validate, monitor, state
        self.ranks: Ranks | None = None
        self.meter = LossMeter(1 if device.type == "cpu" else _LOSS_CHECK_CUDA)
        self.first_seconds = 0.0
        self.started = time.monotonic()
        self.train_seconds = 0.0
        self.samples = 0

    @property
    def leads(self) -> bool:
        """Whether this process validates, writes and logs: it is rank 0, or alone."""
        return self.context.world is None or self.context.world.leads

    @property
    def iteration(self) -> int:
        """The global iteration, from 0, that comes next."""
        return self.state.epoch * self.per_epoch + len(self.meter)


class LossMeter:
    """The values that the model returned in this epoch, on the device; looks for bad losses every `interval` steps."""

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.names: list[str] = []
        self._rows: list[Tensor] = []
        self._checked = 0

    def __len__(self) -> int:
        return len(self._rows)

    def start(self) -> None:
        """Begin an epoch."""
        self._rows, self._checked = [], 0

    def add(self, values: Mapping[str, Tensor], epoch: int) -> None:
        """Take in the scalar values of one iteration of `epoch` (from 1).

        Raises:
            BenchError: a loss is NaN or infinite.
        """
        names = list(values)
        if self._rows and names != self.names:
            raise ValueError(f"the model returned {names} after {self.names}; every batch must give the same values")
        self.names = names
        self._rows.append(torch.stack([value.detach().float() for value in values.values()]))
        if len(self._rows) - self._checked >= self.interval:
            self.check(epoch)

    def check(self, epoch: int) -> None:
        """Raise BenchError at the first loss since the last check that is not finite."""
        if self._checked == len(self._rows):
            return
        losses = [i for i, name in enumerate(self.names) if "loss" in name]
        block = torch.stack(self._rows[self._checked :]).cpu()
        bad = ~torch.isfinite(block[:, losses]).all(dim=1)
        if bad.any():
            row = int(bad.nonzero()[0])
            parts = ", ".join(f"{self.names[i]} {block[row, i].item():g}" for i in losses)
            raise BenchError(
                f"the loss is not finite in epoch {epoch}, iteration {self._checked + row + 1} ({parts}); "
                "lower the learning rate, clip gradients or use fp32"
            )
        self._checked = len(self._rows)

    def means(self) -> dict[str, float]:
        """Return the mean of each value over the epoch's iterations."""
        table = torch.stack(self._rows).cpu().double().numpy()
        return {name: float(np.mean(table[:, i])) for i, name in enumerate(self.names)}


class Trainee(nn.Module):
    """What the Runner trains: moves the batch to the device once, sums the losses, steps the optimiser."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.network = session.model
        self.session = session
        loss: Callable[[Any], dict[str, Tensor]] = session.model.loss  # type: ignore[assignment]  # a Module's, so of any type
        if session.ranks is not None:
            # the method: as a module it would be one of this one's
            loss = distributed(session.model, session.device).__call__
        self._loss = loss

    def train_step(self, data: Mapping[str, Any], optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        session, ranks = self.session, self.session.ranks
        if FAILED in data:
            raise BenchError(data[FAILED])
        if ranks is not None:
            ranks.samples, ranks.batch = data[SHARE]
            data = {key: value for key, value in data.items() if key != SHARE}
        batch = to_device(data, session.device, session.spec.channels_last)
        with optim_wrapper.optim_context(self):
            values = {key: _scalar(value) for key, value in self._loss(batch).items()}
        losses = [value for key, value in values.items() if "loss" in key]
        if not losses or ("loss" in values and len(losses) > 1):
            raise ValueError(f"the model returned {list(values)}; expected one 'loss', or parts called 'loss_...'")
        total = torch.stack(losses).sum() if len(losses) > 1 else losses[0]
        components = {"loss": total, **{key: value for key, value in values.items() if key != "loss"}}
        if ranks is not None:
            sums = ranks.added(torch.stack([value.detach().float() for value in components.values()]))
            components = dict(zip(components, sums.unbind(), strict=True))
            total = total * (ranks.world.size * ranks.weight)  # gradients are averaged over the ranks
        session.meter.add(components, session.state.epoch + 1)
        optim_wrapper.update_params(total)
        return {"loss": components["loss"]}


class EpochHook(Hook):
    """Before an epoch: generators set from (seed, epoch), its batches; before an iteration: its learning rate."""

    def __init__(self, session: Session, sampler: EpochSampler) -> None:
        self.session, self.sampler = session, sampler
        self._start = 0.0

    def before_train_epoch(self, runner: Runner) -> None:
        session = self.session
        rank = 0 if session.ranks is None else session.ranks.world.rank
        reseed(session.spec.seed, "epoch", session.state.epoch, *(("rank", rank) if rank else ()))
        self.sampler.epoch = session.state.epoch
        session.meter.start()
        self._start = time.monotonic()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        lr = self.session.spec.learning_rate(self.session.iteration, self.session.per_epoch)
        for group in _optimizer(runner).param_groups:
            group["lr"] = lr

    def after_train_epoch(self, runner: Runner) -> None:
        self.session.meter.check(self.session.state.epoch + 1)
        self.session.train_seconds += time.monotonic() - self._start
        self.session.samples += self.sampler.samples


class ProgressHook(Hook):
    """After each iteration: the bar, with the epoch and (where reading it costs nothing) the loss."""

    def __init__(self, session: Session, bar: Bar) -> None:
        self.session, self.bar = session, bar

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        note = f"epoch {self.session.state.epoch + 1}/{self.session.spec.epochs}"
        if self.session.device.type == "cpu" and outputs is not None:
            note += f", loss {outputs['loss'].item():.4g}"
        self.bar.advance(1, note)


class CheckpointHook(Hook):
    """After an epoch: checks, validation, best weights, checkpoint, in the order `state.py` relies on."""

    priority = "LOW"

    def __init__(self, session: Session) -> None:
        self.session = session

    def after_train_epoch(self, runner: Runner) -> None:
        session, state = self.session, self.session.state
        epoch = state.epoch + 1
        _check_weights(session.model, epoch, session.per_epoch)
        if session.leads:
            self._commit(runner, epoch)
        state.epoch = epoch
        if session.ranks is not None:
            session.ranks.committed(epoch)

    def _commit(self, runner: Runner, epoch: int) -> None:
        session, state = self.session, self.session.state
        lr = session.spec.learning_rate(epoch * session.per_epoch - 1, session.per_epoch)
        metrics = _validate(session, epoch)
        row: EpochRow = {"epoch": epoch, "lr": lr}
        row.update({name: finite_or_none(value) for name, value in session.meter.means().items()})
        row.update({f"val_{name}": finite_or_none(value) for name, value in metrics.items()})
        weights = {key: _on_cpu(value) for key, value in session.model.state_dict().items()}
        if session.monitor is not None:
            value = _monitored(metrics, session.monitor, epoch)
            if state.best_value is None or value > state.best_value:
                session.store.save_best(epoch, weights)
                state.best_epoch, state.best_value = epoch, value
        state.epoch = epoch
        state.history.append(row)
        state.seconds = session.first_seconds + time.monotonic() - session.started
        session.store.save(state, weights, map_tensors(_optimizer(runner).state_dict(), _on_cpu))
        shown = ", ".join(f"{name} {value:.6g}" for name, value in row.items() if name != "epoch" and value is not None)
        session.context.log(f"epoch {epoch}/{session.spec.epochs}: {shown}")


def _optimizer(runner: Runner) -> OptimWrapper:
    assert isinstance(runner.optim_wrapper, OptimWrapper)  # the one that `engine.run` made
    return runner.optim_wrapper


def _validate(session: Session, epoch: int) -> dict[str, float | None]:
    if session.validate is None:
        return {}
    session.model.eval()
    with torch.no_grad(), alone():
        return dict(session.validate(session.model, epoch))


def _monitored(metrics: Mapping[str, float | None], name: str, epoch: int) -> float:
    if name not in metrics:
        raise BenchError(f"validation gives no metric {name!r} to select by{nearest(name, metrics)}")
    value = finite_or_none(metrics[name])
    if value is None:
        raise BenchError(f"validation metric {name!r} is undefined after epoch {epoch}; select by another")
    return value


def _check_weights(model: nn.Module, epoch: int, iterations: int) -> None:
    """Raise BenchError where a weight is not finite: a finite loss may still have had a gradient that was not."""
    state = {key: value for key, value in model.state_dict().items() if value.is_floating_point()}
    good = torch.stack([torch.isfinite(value).all() for value in state.values()]).tolist()
    bad = [key for key, fine in zip(state, good, strict=True) if not fine]
    if bad:
        raise BenchError(
            f"{len(bad)} weights ({bad[0]}, ...) are not finite after epoch {epoch}, iteration {iterations}, though "
            "its losses are; lower the learning rate or clip gradients"
        )


def _scalar(value: Tensor | list[Tensor]) -> Tensor:
    """Return the mean of a tensor, or the sum of the means of a list of tensors (detection heads: one a level)."""
    if isinstance(value, Tensor):
        return value if value.ndim == 0 else value.mean()
    return torch.stack([part.mean() for part in value]).sum()


def _on_cpu(value: Tensor) -> Tensor:
    return value.detach().cpu()
