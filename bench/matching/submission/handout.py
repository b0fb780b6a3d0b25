"""What `bench data pairs` hands out: the table that another tool fills in, and the patches that it names.

Neither tells which pairs are true: patches are files of their own under opaque ids, and the rows stand in the order of
these. With the data set's own files, whose names and windows a true pair shares, the table is the one of old.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.store import write_json
from bench.data.images import write_image
from bench.data.index import PairIndex
from bench.data.whole_folder import replace_folder
from bench.matching.scoring.sampling import PARTS
from bench.matching.submission.submission import NAMES, RequestedPairs
from bench.submissions.claims import MADE_FOR
from bench.tasks.data import LoadedPairs

if TYPE_CHECKING:
    import pandas

STAMP = "handed_out.json"  # in a folder of patches: what it was made for


def handout(requested: RequestedPairs, files: Mapping[str, str]) -> pandas.DataFrame:
    """Return the table that another tool fills in: numbers, opaque ids, the patches' files, and what it is made for.

    Args:
        requested: blinded. files: opaque id -> file below the folder of patches.
    """
    table = _named(requested)
    for view in ("sar", "optical"):
        table[f"{view}_file"] = [files[code] for code in getattr(requested, view)]
    table[MADE_FOR] = requested.hashes[MADE_FOR]
    return table


def handout_of_originals(requested: RequestedPairs, index: PairIndex) -> pandas.DataFrame:
    """Return the same with the ids and files of the data set, and the window in them where they are whole scenes.

    True pairs have equal ids here: for tools that read more than the patch, and for people who do not look.
    """
    samples = {sample.id: sample for sample in index.samples}
    table = _named(requested)
    table["sar_file"] = [samples[name].sar for name in requested.sar]
    table["optical_file"] = [samples[name].optical for name in requested.optical]
    if any(sample.window is not None for sample in index.samples):
        for column, ids in (("sar_window", requested.sar), ("optical_window", requested.optical)):
            table[column] = [" ".join(map(str, samples[name].window or ())) for name in ids]
    table[MADE_FOR] = requested.hashes[MADE_FOR]
    return table


def _named(requested: RequestedPairs) -> pandas.DataFrame:
    import pandas

    columns = (range(len(requested)), requested.parts, requested.sar, requested.optical)
    return pandas.DataFrame(dict(zip(NAMES, columns, strict=True)))


def write_patches(folder: Path, requested: RequestedPairs, data: LoadedPairs) -> dict[str, str]:
    """Write every patch of the pairs, as the methods here see it before scaling, losslessly as PNG or TIFF.

    Args:
        folder: is made, or replaced where an earlier call made it. requested: not blinded.

    Returns:
        Opaque id -> "sar/<id>.png" below the folder.

    Raises:
        BenchError: the folder holds something else, or cannot be written to.
    """
    from bench.core.progress import Progress

    if folder.exists() and not _is_ours(folder):
        raise BenchError(f"{folder} exists and was not written by this command; move it away, or choose another --out")
    files: dict[str, str] = {}

    def build(temporary: Path) -> None:
        total = sum(2 * len(data.part(part)) for part in PARTS)
        with Progress().bar("write patches", total, "patch") as bar:
            for view in ("sar", "optical"):
                (temporary / view).mkdir()
                for part in PARTS:
                    loaded = data.part(part)
                    images = (image for block in loaded.blocks(view) for image in block)
                    for name, image in zip(loaded.ids, images, strict=True):
                        code = requested.code(view, name)
                        files[code] = f"{view}/{write_image(temporary / view / code, image, compress_level=1).name}"
                        bar.advance()
        write_json(temporary / STAMP, {MADE_FOR: requested.blinded.hashes[MADE_FOR]})

    replace_folder(folder, build)
    return files


def _is_ours(folder: Path) -> bool:
    try:
        stamp: Any = json.loads((folder / STAMP).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(stamp, dict) and MADE_FOR in stamp
