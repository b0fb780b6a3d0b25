"""Cutting registered scenes into a patch set on disk: the QXS-SAROPT paper's step F (patches with a stated overlap)
and step G (rejection).

The windows are those of the scene-pairs reader with the same options, and re-reading the cut folder gives the same
pixels.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.store import write_json
from bench.core.workspace import user_path
from bench.data.csv_files import place_of
from bench.data.folders import check_pairs
from bench.data.patch_folder import PatchWriter, folder_names
from bench.data.scene_pairs import ScenePairs, window_place
from bench.data.whole_folder import replace_folder

REJECTED = "rejected.csv"
_STAMP = "cut.json"
_POSITION = ("y0_px", "x0_px", "y1_px", "x1_px", "x_min_m", "y_min_m", "x_max_m", "y_max_m")


@dataclass(frozen=True)
class CutReport:
    """What a cut left: the folder, its two image folders, how many scenes, pairs written, and rejections by
    criterion.
    """

    out: Path
    optical: str
    sar: str
    scenes: int
    written: int
    rejected: dict[str, int]


def cut(dataset: ScenePairs, out: Path, progress: Callable[[int, int], None] | None = None) -> CutReport:
    """Cut all scenes of `dataset` by its options (patch_px, overlap_px, reject, require) into the new folder `out`.

    `out` receives opt_<px>_oc_<overlap>/<n>.png, sar_<px>_oc_<overlap>/<n>.png, patches.csv (id, scene, window in
    pixels with the end exclusive, ground rectangle in metres, the scene's other columns), rejected.csv (window,
    criterion, measured value) and cut.json (the criteria). It appears whole or not at all. Data that PNG cannot hold
    (float, 16-bit colour) become TIFF.

    Args:
        progress: called with (scenes done, scenes in all).

    Raises:
        BenchError: `out` is not empty or cannot be written; unreadable scenes; no window is left.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BenchError(f"{out} exists and is not empty; choose a new folder")
    folders = folder_names(dataset.options.patch_px, dataset.options.overlap_px)
    reports: list[CutReport] = []
    replace_folder(out.absolute(), lambda folder: reports.append(_write(dataset, folder, out, folders, progress)))
    return reports[0]


def _write(
    dataset: ScenePairs, folder: Path, out: Path, folders: tuple[str, str], progress: Callable[[int, int], None] | None
) -> CutReport:
    scan = dataset.scan()
    check_pairs(scan, dataset.root, (dataset.options.optical, dataset.options.sar))
    rows = dataset.rows()
    table = dataset.root / user_path(dataset.options.table)
    extra = [name for name in next(iter(rows.values())) if name not in ("scene", "id", *_POSITION)]
    counts: Counter[str] = Counter()
    with (
        PatchWriter(folder, folders, extra) as writer,
        (folder / REJECTED).open("w", encoding="utf-8", newline="") as stream,
    ):
        rejected = csv.writer(stream, lineterminator="\n")
        rejected.writerow(["scene", "y0_px", "x0_px", "y1_px", "x1_px", "criterion", "value"])
        for done, pair in enumerate(scan.pairs, start=1):
            row = rows[pair.id]
            place = place_of(row, table)
            size = dataset.scene_size(pair)
            for window, optical, sar, reason in dataset.judged_windows(pair):
                y0, x0, height, width = window
                if reason is not None:
                    counts[reason[0]] += 1
                    rejected.writerow([pair.id, y0, x0, y0 + height, x0 + width, reason[0], repr(reason[1])])
                    continue
                ground = window_place(place, size, window) if place else None
                writer.add(optical, sar, pair.id, window, ground, [row[name] for name in extra])
            if progress is not None:
                progress(done, len(scan.pairs))
        written = writer.count
    if written == 0:
        raise BenchError(
            f"nothing to write: no window of {dataset.options.patch_px} px fits, or all are rejected ({dict(counts)})"
        )
    options = dataset.options.model_dump(mode="json", include={"patch_px", "overlap_px", "reject", "require"})
    write_json(
        folder / _STAMP, {"dataset": dataset.facts.name, "crs": dataset.crs, "options": options, "written": written}
    )
    return CutReport(out, *folders, len(scan.pairs), written, dict(sorted(counts.items())))
