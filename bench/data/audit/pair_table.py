"""pairs.csv: every pair of images that an audit found to have something in common, by name, with scenes and parts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.core.store import write_text

PAIRS = "pairs.csv"
PAIRS_COLUMNS = (
    *("kind", "first", "second", "first_scene", "second_scene", "first_part", "second_part"),
    *("shift_y_px", "shift_x_px", "height_px", "width_px"),  # of the second's origin in the first; of what is shared
)


def write_pairs(out: Path, rows: Iterable[Sequence[object]]) -> str:
    """Write the table into the folder `out`; return its name.

    Args:
        rows: the values of `PAIRS_COLUMNS`, "" for unknown.

    Raises:
        BenchError: it cannot be written.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([PAIRS_COLUMNS, *rows])
    write_text(out / PAIRS, stream.getvalue())
    return PAIRS
