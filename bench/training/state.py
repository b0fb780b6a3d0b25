"""What a training keeps on disk: the checkpoint after each epoch, the best weights so far, curves.csv. All of it
survives kill -9.

One file is the truth: `checkpoints/last.pt`, replaced atomically, which holds weights, optimiser, history and which
epoch was best. The best weights lie beside it as `best-NNNN.safetensors`, written before the checkpoint that names them
and removed after a newer one is named; curves.csv is written from the checkpoint's history. So whatever moment a
process dies at, the next one finds a consistent state.
"""

from __future__ import annotations

import math
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError, first_line
from bench.core.store import atomic_write, write_text
from bench.models.weights import load_into, load_weights, save_weights

if TYPE_CHECKING:
    from torch import nn

FOLDER = "checkpoints"
CURVES = "curves.csv"
_LAST = "last.pt"
_DAMAGE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError)


@dataclass
class TrainState:
    """How far a training is: plain values, part of the checkpoint.

    Attributes:
        identity: hash of what is trained; a checkpoint of another identity is refused.
        epoch: finished epochs.
        history: one row of curves.csv for each of them.
        best_epoch, best_value: the best epoch so far (from 1) and its monitored value; None without selection.
        seconds: wall time until this checkpoint.
    """

    identity: str
    epoch: int = 0
    history: list[dict[str, float | None]] = field(default_factory=list)
    best_epoch: int | None = None
    best_value: float | None = None
    seconds: float = 0.0


class TrainStore:
    """The files of one training in the cell's `folder`."""

    def __init__(self, folder: Path) -> None:
        self.root = Path(folder)
        self.folder = self.root / FOLDER

    def save(self, state: TrainState, model: Mapping[str, Any], optimizer: Mapping[str, Any]) -> None:
        """Replace the checkpoint, then drop best weights that it no longer names, then write curves.csv.

        Raises:
            BenchError: the folder cannot be written to, or the disk is full.
        """
        import torch

        path = self.folder / _LAST
        content = {"train": dict(vars(state)), "state_dict": dict(model), "optimizer": dict(optimizer)}
        with atomic_write(path) as temporary:
            try:
                torch.save(content, temporary)
            except RuntimeError as error:  # torch's zip writer reports a full disk this way
                raise BenchError(
                    f"cannot write {path} (disk full?): {first_line(error)}; free space or choose another output folder"
                ) from error
        self._drop_stale_best(state.best_epoch)
        self.write_curves(state.history)

    def load(self, identity: str) -> tuple[TrainState, dict[str, Any], dict[str, Any]] | None:
        """Return (state, model tensors, optimiser state) of the checkpoint, None where there is none; clear what a
        killed process left.

        Raises:
            BenchError: the checkpoint is damaged or belongs to another training.
        """
        import torch

        for stale in [*self.folder.glob(".*.tmp.*"), *self.root.glob(f".{Path(CURVES).stem}.*.tmp.*")]:
            stale.unlink(missing_ok=True)
        path = self.folder / _LAST
        if not path.exists():
            self._drop_stale_best(None)
            return None
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            state = TrainState(**content["train"])
            model, optimizer = content["state_dict"], content["optimizer"]
        except OSError as error:
            raise BenchError(f"cannot read {path}: {first_line(error)}") from error
        except _DAMAGE as error:
            raise BenchError(f"{path} is damaged; delete {self.folder} to train from the start") from error
        if state.identity != identity:
            raise BenchError(f"{path} belongs to another training; delete {self.folder} to train from the start")
        self._drop_stale_best(state.best_epoch)
        return state, model, optimizer

    def save_best(self, epoch: int, model: Mapping[str, Any]) -> None:
        """Write the weights of `epoch` (from 1) as a candidate for the best; it counts once a checkpoint names it."""
        save_weights(self._best(epoch), model, {"epoch": str(epoch)})

    def load_best(self, epoch: int, model: nn.Module) -> None:
        """Put the best weights, of `epoch`, into `model`.

        Raises:
            BenchError: they are missing or damaged.
        """
        state, _ = load_weights(self._best(epoch))
        load_into(model, state)

    def write_curves(self, history: Sequence[Mapping[str, float | None]]) -> None:
        """Write curves.csv: a row an epoch, full precision, empty where unknown. No times."""
        names = list(dict.fromkeys(name for row in history for name in row))
        lines = [",".join(names)] + [",".join(_text(row.get(name)) for name in names) for row in history]
        write_text(self.root / CURVES, "\n".join(lines) + "\n")

    def _best(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch:04d}.safetensors"

    def _drop_stale_best(self, keep: int | None) -> None:
        for path in self.folder.glob("best-*.safetensors"):
            if keep is None or path != self._best(keep):
                path.unlink(missing_ok=True)


def discard_checkpoints(folder: Path) -> None:
    """Remove the checkpoints under a cell's `folder`, once its final weights are stored; curves.csv stays."""
    shutil.rmtree(Path(folder) / FOLDER, ignore_errors=True)


def _text(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return repr(value)
