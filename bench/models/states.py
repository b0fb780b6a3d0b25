"""The fitted state of a method on disk: named arrays as safetensors, the `model.safetensors` of a cell. Imports no
torch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.core.errors import BenchError, first_line
from bench.core.store import atomic_write


def save_state(path: Path, state: dict[str, np.ndarray]) -> None:
    """Write the state of a method, atomically; equal arrays give equal bytes.

    Raises:
        BenchError: the folder cannot be written to, or the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with atomic_write(path) as temporary:
        try:
            save_file({name: np.asarray(array, order="C") for name, array in state.items()}, str(temporary))
        except SafetensorError as error:
            raise BenchError(
                f"cannot write {path}: {first_line(error)}; free space or choose another folder"
            ) from error


def load_state(path: Path) -> dict[str, np.ndarray]:
    """Read the state of a method.

    Raises:
        BenchError: missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise BenchError(f"{path}: cannot read the model ({error}); run the cell again with --force") from error
