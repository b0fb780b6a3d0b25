"""Starts the ranks of one cell on this machine: `python -m bench.execution.launch N CELL_FOLDER`, which is torchrun
without its commentary.

What it adds to `torchrun --standalone --nproc-per-node N -m bench.worker CELL_FOLDER`: it ends with its parent, and a
cell that fails, which its record reports, is not reported again as a table of exit codes. Owns nothing of the cell; any
launcher does as well (docs/many-gpus.md).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from bench.core.processes import STARTER, die_with_parent, starter

EXIT_INTERRUPTED = 130


def worker_command(folder: Path, processes: int) -> list[str]:
    """Return the command that executes the cell in `folder` by so many processes on this machine."""
    if processes == 1:
        return [sys.executable, "-m", "bench.worker", str(folder)]
    return [sys.executable, "-m", "bench.execution.launch", str(processes), str(folder)]


def main(processes: int, folder: Path) -> int:
    """Run `bench.worker` on `folder` in `processes` ranks; return the exit code of rank 0, or of the rank that failed
    first.

    A rank killed by a signal ends this process by the same signal, as it would have ended a worker alone.
    """
    os.environ[STARTER] = str(os.getpid())  # of the ranks
    logging.disable(logging.ERROR)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        words = ["--standalone", f"--nproc-per-node={processes}", "-m", "bench.worker", str(folder)]
        run(parse_args(words))  # type: ignore[no-untyped-call]  # torch annotates neither
    except ChildFailedError as error:
        code = int(error.get_first_failure()[1].exitcode)
        if code < 0:
            if -code != signal.SIGKILL:
                signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        return code
    except (SignalException, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    die_with_parent(starter())
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
