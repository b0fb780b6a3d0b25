"""Inside of `training.train`: the mmengine Runner without its console log, environment dump and dated folders.

mmengine runs the loop, calls the hooks, steps the optimiser and does mixed precision. What decides about exact resume
is ours: see `hooks.py`, `loader.py` and `state.py`. Imported at execution time only.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from bench.core.context import ExecutionContext
from bench.core.errors import BenchError, first_line
from bench.core.provenance import peak_memory_bytes
from bench.core.store import canonical_hash
from bench.models.weights import load_into
from bench.training.hooks import CheckpointHook, EpochHook, ProgressHook, Session, Trainee
from bench.training.loader import make_loader
from bench.training.mmengine_parts import DefaultScope, MessageHub, MMLogger, OptimWrapper, Runner
from bench.training.parallel import Ranks, ranks_of
from bench.training.precision import compiled, wrapped
from bench.training.ranks import ReleasedError
from bench.training.spec import EpochBatches, TrainResult, TrainSpec, Validate, spec_values
from bench.training.state import TrainState, TrainStore

_SCRATCH = ".mmengine"
_RUNS = itertools.count()
_STOCK_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")


def run(
    model: nn.Module,
    batches: EpochBatches,
    spec: TrainSpec,
    context: ExecutionContext,
    device: torch.device,
    validate: Validate | None,
    monitor: str | None,
) -> TrainResult:
    """Train as `training.train` describes; arguments are checked there."""
    torch.set_num_threads(context.threads)
    shutil.rmtree(context.folder / _SCRATCH, ignore_errors=True)  # of a killed run
    model.to(device)
    if spec.channels_last:
        model.to(memory_format=torch.channels_last)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    identity = canonical_hash([spec_values(spec), len(batches), monitor, shapes])
    store = TrainStore(context.folder)
    session = Session(model, spec, context, device, store, len(batches), validate, monitor, TrainState(identity))
    with _surroundings(device), ranks_of(context.world, device) as session.ranks:
        optimizer = _optimizer(model, spec, device)
        found = _found(session, identity)
        if found is not None:
            session.state = found[0]
            session.first_seconds = session.state.seconds
            load_into(model, found[1])
            optimizer.load_state_dict(found[2])
            if session.leads:
                store.write_curves(session.state.history)
            context.log(f"training goes on after epoch {session.state.epoch} of {spec.epochs}")
        resumed = session.state.epoch or None
        if session.state.epoch < spec.epochs:
            with compiled(model, device) if spec.compile else nullcontext():
                _run_epochs(session, batches, optimizer)
        if session.state.best_epoch is not None and session.leads:
            store.load_best(session.state.best_epoch, model)
        if session.ranks is not None:
            session.ranks.broadcast_weights(model)
    if not session.leads and context.world is not None and not context.world.awaits_training():
        raise ReleasedError
    model.eval()
    seconds = session.train_seconds
    return TrainResult(
        history=tuple(session.state.history),
        resumed_from=resumed,
        seconds=session.state.seconds,
        peak_memory_bytes=_peak_memory(device),
        samples_per_second=session.samples / seconds if session.samples and seconds > 0 else None,
        best_epoch=session.state.best_epoch,
    )


def _found(session: Session, identity: str) -> tuple[TrainState, dict[str, Any], dict[str, Any]] | None:
    """Return the checkpoint of this training, None where there is none; rank 0 reads it for all."""
    ranks: Ranks | None = session.ranks
    if ranks is None:
        return session.store.load(identity)
    found: tuple[TrainState, dict[str, Any], dict[str, Any]] | None
    found = ranks.broadcast(session.store.load(identity) if session.leads else None)
    return found


def _run_epochs(session: Session, batches: EpochBatches, optimizer: OptimWrapper) -> None:
    """Run the epochs that are still to do."""
    spec, context = session.spec, session.context
    rank, size = (0, 1) if session.ranks is None else (session.ranks.world.rank, session.ranks.world.size)
    loader, sampler = make_loader(
        batches, spec.batch_size, context.workers, context.threads, session.device, rank, size
    )
    scratch = context.folder / _SCRATCH
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise BenchError(f"cannot write to {context.folder}: {first_line(error)}; choose another folder") from error
    done, total = session.iteration, spec.epochs * session.per_epoch
    try:
        with context.progress.bar("training", total, "batches", done) as bar:
            runner = QuietRunner(
                log=context.log,
                done_epochs=session.state.epoch,
                done_iterations=done,
                model=Trainee(session),
                work_dir=str(scratch),
                train_dataloader=loader,
                train_cfg={"by_epoch": True, "max_epochs": spec.epochs},
                optim_wrapper=optimizer,
                default_hooks=dict.fromkeys(_STOCK_HOOKS),
                custom_hooks=[EpochHook(session, sampler), ProgressHook(session, bar), CheckpointHook(session)],
                randomness={"seed": spec.seed},
                default_scope=None,
            )
            runner.train()
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise BenchError(
            f"a data-loading worker died ({first_line(error)}); out of memory? Run again with workers 0"
        ) from error
    finally:
        loader._iterator = None  # ends the persistent workers
        shutil.rmtree(scratch, ignore_errors=True)


def _optimizer(model: nn.Module, spec: TrainSpec, device: torch.device) -> OptimWrapper:
    """Return the wrapped optimiser over the parameters that need a gradient.

    Raises:
        BenchError: arguments that the optimiser does not take, nothing to train, or a precision that this processor has
            not.
    """
    arguments = {key: value for key, value in spec.optimizer.items() if key != "type"}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        optimizer = getattr(torch.optim, spec.optimizer["type"])(parameters, **arguments)
    except (TypeError, ValueError) as error:
        raise BenchError(f"optimizer {spec.optimizer['type']} with {arguments}: {first_line(error)}") from error
    return wrapped(optimizer, spec.precision, spec.clip_norm, device)


@contextmanager
def _surroundings(device: torch.device) -> Iterator[None]:
    """Use `device`, convolutions reproducible and in the requested precision, and leave the process as it was
    (flags, mmengine's singletons).
    """
    kinds = (MessageHub, MMLogger, DefaultScope)
    before = [dict(kind._instance_dict) for kind in kinds]
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32
    try:
        if device.type == "cuda":
            cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = True, False, False
            torch.cuda.reset_peak_memory_stats(device)
            with torch.cuda.device(device):
                yield
        else:
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = flags
        for kind, instances in zip(kinds, before, strict=True):
            kind._instance_dict.clear()
            kind._instance_dict.update(instances)


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory_bytes()


class QuietRunner(Runner):
    """mmengine's Runner minus what it does to the process and the folder: no start-method or seed setting, no console
    logger, no dump of environment and configuration, no visualiser, no choice of device, no own resume."""

    def __init__(self, log: Callable[[str], None], done_epochs: int, done_iterations: int, **arguments: Any) -> None:
        self._log_line, self._done = log, (done_epochs, done_iterations)
        super().__init__(**arguments)

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        self._rank, self._world_size = 0, 1
        self._timestamp = (
            f"train-{os.getpid()}-{next(_RUNS)}"  # names mmengine's singletons; two trainings must not share them
        )

    def set_randomness(self, seed: int, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
        self._seed, self._deterministic = seed, False

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **_: Any) -> MMLogger:
        logger = MMLogger.get_instance(name=self._experiment_name, log_level="WARNING")
        logger.handlers.clear()
        logger.addHandler(_LineHandler(self._log_line))
        return logger

    def _log_env(self, env_cfg: dict[str, Any]) -> None:
        pass

    def dump_config(self) -> None:
        pass

    def build_visualizer(self, visualizer: Any = None) -> Any:
        return None

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        return model

    def load_or_resume(self) -> None:
        """Start the loop's counters after what is done; weights and optimiser have been restored by `run`."""
        self.train_loop._epoch, self.train_loop._iter = self._done


class _LineHandler(logging.Handler):
    """Passes mmengine's warnings on to our log."""

    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._log_line = log

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "has no metainfo" not in text:
            self._log_line(f"mmengine: {text}")
