"""`python -m bench.worker CELL_FOLDER` executes one cell: the name that job scripts and launchers call; the code is
`bench.execution.worker`.
"""

import sys
from pathlib import Path

from bench.core.errors import memory_lack
from bench.core.processes import EXIT_NO_MEMORY, die_with_parent, starter


def run(folder: Path) -> int:
    """Execute the cell in `folder`; return the exit code (`bench.execution.worker.main`)."""
    die_with_parent(starter())  # before the imports, which take seconds
    try:
        from bench.core.output import printable_output
        from bench.execution.worker import main

        with printable_output():
            return main(folder)
    except (MemoryError, OSError, RuntimeError, ImportError) as error:
        lack = memory_lack(error)
        if lack is None:
            raise
        print(f"bench.worker: error: {lack}", file=sys.stderr)
        return EXIT_NO_MEMORY


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
