"""Writing patches in the QXS-SAROPT layout: two parallel folders of numbered images and `patches.csv` with scene and
position of each.

Used by `bench data cut` and by the toy generator. The caller decides what is written and makes the folder whole (see
`whole_folder.py`).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from bench.data.csv_files import PLACE_COLUMNS
from bench.data.images import write_image
from bench.data.windows import Window

TABLE = "patches.csv"
COLUMNS = ("id", "scene", "y0_px", "x0_px", "y1_px", "x1_px", *PLACE_COLUMNS)


def folder_names(patch_px: int, overlap_px: int) -> tuple[str, str]:
    """Return the QXS-SAROPT style names of the optical and SAR folder: opt_256_oc_0.2 for 256 px with 52 px overlap."""
    overlap = f"{round(overlap_px / patch_px, 2):g}"
    return f"opt_{patch_px}_oc_{overlap}", f"sar_{patch_px}_oc_{overlap}"


class PatchWriter:
    """Context manager that numbers pairs from 1 and writes them below `root`.

    Args:
        root: existing folder.
        folders: names of the optical and the SAR folder.
        extra: further columns of the table.
        compress_level: zlib level of the PNG files; they are lossless at any.
    """

    def __init__(
        self, root: Path, folders: tuple[str, str], extra: Sequence[str] = (), compress_level: int = 6
    ) -> None:
        self.root = root
        self.folders = folders
        self.extra = tuple(extra)
        self.compress_level = compress_level
        self.count = 0

    def __enter__(self) -> Self:
        for name in self.folders:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self._stream = (self.root / TABLE).open("w", encoding="utf-8", newline="")
        self._table = csv.writer(self._stream, lineterminator="\n")
        self._table.writerow([*COLUMNS, *self.extra])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def add(
        self,
        optical: np.ndarray,
        sar: np.ndarray,
        scene: str,
        window: Window,
        place: tuple[float, float, float, float] | None,
        extra: Sequence[str] = (),
    ) -> str:
        """Write one pair and its row; return its id.

        Args:
            optical: (h, w, 3). sar: (h, w).
            window: (y0, x0, height, width) in pixels of the scene.
            place: x_min, y_min, x_max, y_max in metres, None where unknown.
            extra: cells of the further columns.
        """
        self.count += 1
        name = str(self.count)
        for folder, image in zip(self.folders, (optical, sar), strict=True):
            write_image(self.root / folder / name, image, self.compress_level)
        y0, x0, height, width = window
        metres = [repr(float(value)) for value in place] if place else [""] * 4
        self._table.writerow([name, scene, y0, x0, y0 + height, x0 + width, *metres, *extra])
        return name
