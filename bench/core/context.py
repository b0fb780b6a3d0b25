"""What surrounds the execution of a cell and must not change its result: device, threads, workers, ranks, folders, log,
progress.

Nothing here enters a key. Device, thread count and number of processes are recorded, since they can move the last
digits (processes: also the statistics of batch norm).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.progress import Progress

if TYPE_CHECKING:
    from bench.training.ranks import World


@dataclass(frozen=True)
class ExecutionContext:
    """How and where one cell runs.

    Attributes:
        folder: the cell's own folder; everything it leaves lands there.
        cache: folder of decoded images, manifests and other things that can be made again.
        device: "cpu", "cuda" or "cuda:N", as the user asked (already checked to exist).
        threads: CPU threads for torch and BLAS, at least 1.
        workers: data-loading processes, 0 for none; changes nothing in the result.
        log: writes one line to the cell's log file.
        progress: shows progress on the terminal, or plain lines in the log.
        world: the processes that train this cell together, None where there is one.
    """

    folder: Path
    cache: Path
    device: str
    threads: int
    workers: int
    log: Callable[[str], None]
    progress: Progress
    world: World | None = None
