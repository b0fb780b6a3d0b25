"""Reading a file through a memory map without keeping it resident.

A page of a map that was read counts as resident memory of the process until the system wants it back: a training that
has seen a whole set would look as large as the set, in every worker process once more. Whoever has copied what was
needed gives the pages back here; the system keeps them in its cache, so that reading them again costs next to nothing.
"""

from __future__ import annotations

import mmap

import numpy as np


def forget_pages(array: np.ndarray) -> None:
    """Give back the pages of the map that lies under `array`; nothing happens to an array in ordinary memory.

    Safe at any time for a read-only map: arrays on it stay valid, and their pages come back when they are read.
    """
    base: object = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
