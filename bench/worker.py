"""`python -m bench.worker CELL_FOLDER` executes one cell: the name that job scripts and launchers call; the code is
`bench.execution.worker`.
"""

import sys
from pathlib import Path

from bench.execution.worker import main

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
