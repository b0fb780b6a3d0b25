"""The scene-pairs family: registered SAR-optical scenes and a CSV of their corners, cut into patches on the fly.

Owns which scenes and windows there are and where they lie on the ground. The windows themselves come from `windows.py`.
Image rows go down while the metres of y decrease: row 0 lies at y_max.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from bench.core.errors import BenchError, nearest
from bench.core.options import later
from bench.core.store import canonical_hash, folder_lock, write_json
from bench.core.workspace import user_path
from bench.data.csv_files import PLACE_COLUMNS, CellText, place_of, read_csv
from bench.data.dataset import DatasetOptions, FilePair, PairDataset, Scan, lacking
from bench.data.folders import check_pairs, natural_key, pair_folders
from bench.data.images import check_equal_sizes, image_size
from bench.data.index import PairIndex, PairSample
from bench.data.manifest import build_manifest
from bench.data.scaling import SarScale
from bench.data.scene_areas import WholeScene
from bench.data.windows import VERSION, RejectCriteria, Window, read_window, rejection, window_grid


class SceneOptions(DatasetOptions):
    """Options of a scene-pairs set.

    Attributes:
        patch_px: edge length of the patches.
        overlap_px: how many pixels neighbouring patches share.
        reject: when a window is left out (off by default).
        empty_scenes: "drop" scenes of which no window is left, or "refuse" to go on.
        require: only scenes whose CSV columns have these values.
        optical, sar: folder names below the root; `table`: CSV with a `scene` column (the file stem) and corners in
            metres.
        crs: coordinate system of the corners; None for the set's own declaration.
        sar_scale: what the SAR values are; None for the set's own declaration.
    """

    patch_px: int = Field(default=256, ge=8)
    overlap_px: int = Field(default=0, ge=0)
    reject: RejectCriteria = RejectCriteria()
    require: dict[str, CellText] = {}
    optical: str = Field(default="opt", min_length=1)
    sar: str = Field(default="sar", min_length=1)
    table: str = "scenes.csv"
    crs: str | None = None
    sar_scale: SarScale | None = None
    empty_scenes: Literal["refuse", "drop"] = later("refuse")

    @model_validator(mode="after")
    def _overlap_below_patch(self) -> SceneOptions:
        if self.overlap_px >= self.patch_px:
            raise ValueError(f"overlap_px ({self.overlap_px}) must be smaller than patch_px ({self.patch_px})")
        return self


class ScenePairs(PairDataset):
    """Reader of registered scene pairs."""

    Options = SceneOptions
    default_crs: str | None = None

    def __init__(self, root: Path, options: Any, cache: Path | None = None) -> None:
        super().__init__(root, options, cache)
        self._left_out: dict[str, tuple[int, int]] = {}
        self._left_out_by: dict[str, int] = {}

    @classmethod
    def lacks(cls, folder: Path, options: Any) -> list[str]:
        return lacking(folder, str(user_path(options.table)))

    @property
    def crs(self) -> str | None:
        """The coordinate system of the corners."""
        return self.options.crs or self.default_crs

    def tables(self) -> list[Path]:
        return [self.root / user_path(self.options.table)]

    def rows(self) -> dict[str, dict[str, str]]:
        """Return scene -> CSV row of the scenes that fulfil `require`, in natural order of their names.

        Raises:
            BenchError: unknown column or value in `require`, a scene listed twice, or no scene left.
        """
        table = self.root / user_path(self.options.table)
        rows = read_csv(table, required=("scene",))
        for column, value in self.options.require.items():
            if rows and column not in rows[0]:
                raise BenchError(f"{table} has no column {column!r}{nearest(column, rows[0])}")
            values = {row[column] for row in rows}
            if value not in values:
                raise BenchError(f"no scene in {table} has {column} = {value!r}{nearest(value, values)}")
        chosen: dict[str, dict[str, str]] = {}
        for row in rows:
            if any(row[column] != value for column, value in self.options.require.items()):
                continue
            if row["scene"] in chosen:
                raise BenchError(f"{table} lists scene {row['scene']!r} twice; remove one row")
            chosen[row["scene"]] = row
        if not chosen:
            raise BenchError(f"no scene in {table} fulfils require: {self.options.require}")
        return {name: chosen[name] for name in sorted(chosen, key=natural_key)}

    def _scan(self) -> Scan:
        return pair_folders(self.root, self.options.optical, self.options.sar, only=self.rows())

    def index(self) -> PairIndex:
        scan = self.scan()
        check_pairs(scan, self.root, (self.options.optical, self.options.sar))
        rows = self.rows()
        sizes = {pair.id: self.scene_size(pair) for pair in scan.pairs}
        accepted = self._accepted(scan.pairs, sizes)
        where = f"{self.facts.name} at {self.root}"
        self._check_left_out({name: (len(accepted[name]), self._grid(size)) for name, size in sizes.items()}, where)
        samples: list[PairSample] = []
        for pair in scan.pairs:
            row = rows[pair.id]
            attributes = {key: value for key, value in row.items() if key not in ("scene", *PLACE_COLUMNS)}
            place = place_of(row, self.root / user_path(self.options.table))
            for window in accepted[pair.id]:
                ground = window_place(place, sizes[pair.id], window) if place else None
                name = f"{pair.id}_y{window[0]:05d}_x{window[1]:05d}"
                samples.append(PairSample(name, pair.optical, pair.sar, window, pair.id, ground, attributes))
        return PairIndex(tuple(samples), self.crs, where, self.reading)

    def whole_scenes(self) -> tuple[WholeScene, ...]:
        """Return the scenes that fulfil `require`, in order."""
        rows, table = self.rows(), self.tables()[0]
        return tuple(
            WholeScene(pair.id, pair.optical, pair.sar, self.scene_size(pair), place_of(rows[pair.id], table))
            for pair in self.scan().pairs
        )

    def left_out(self) -> Mapping[str, tuple[int, int]]:
        return self._left_out

    def left_out_by(self) -> Mapping[str, int]:
        return self._left_out_by

    def _grid(self, size: tuple[int, int]) -> int:
        """Return the number of windows of a scene before any is rejected."""
        return len(window_grid(*size, self.options.patch_px, self.options.overlap_px))

    def _check_left_out(self, kept: Mapping[str, tuple[int, int]], where: str) -> None:
        """Remember what every scene loses. Raise BenchError where no window is left of some, unless they may be
        dropped, or of all.

        Args:
            kept: scene -> (windows kept, windows in all).
        """
        self._left_out = {name: (every - count, every) for name, (count, every) in kept.items() if count < every}
        empty = [name for name, (count, _) in kept.items() if count == 0]
        if empty and (self.options.empty_scenes == "refuse" or len(empty) == len(kept)):
            shown = ", ".join(f"{name} (of {kept[name][1]})" for name in empty[:5]) + (", ..." if empty[5:] else "")
            raise BenchError(
                f"no window of {self.options.patch_px} px is left of {len(empty)} of {len(kept)} scenes in {where}:"
                f" {shown}. They are smaller, or `reject` takes all: max_blank_fraction counts the value 0, which a"
                " stretched 8-bit image holds as a grey level too; `bench data cut` writes why to rejected.csv. Change"
                " reject or patch_px, leave the scenes out by require, or allow it by empty_scenes: drop"
            )

    def scene_size(self, pair: FilePair) -> tuple[int, int]:
        """Return (height, width) of a scene from the file headers.

        Raises:
            BenchError: the two files differ in size.
        """
        optical, sar = self.root / pair.optical, self.root / pair.sar
        size = image_size(optical)
        check_equal_sizes(optical, size, sar, image_size(sar))
        return size

    def read_scene(self, pair: FilePair) -> tuple[np.ndarray, np.ndarray]:
        """Return a scene's optical (H, W, 3) and SAR (H, W) arrays in their native dtypes.

        Raises:
            BenchError: unreadable files, or two sizes.
        """
        return self.reading.pair(self.root / pair.optical, self.root / pair.sar)

    def judged_windows(
        self, pair: FilePair
    ) -> Iterator[tuple[Window, np.ndarray, np.ndarray, tuple[str, float] | None]]:
        """Yield (window, optical patch, SAR patch, rejection or None) over a scene, in grid order; decodes the scene
        once.
        """
        optical, sar = self.read_scene(pair)
        for window in window_grid(sar.shape[0], sar.shape[1], self.options.patch_px, self.options.overlap_px):
            patches = read_window(optical, window), read_window(sar, window)
            yield window, *patches, rejection(*patches, self.options.reject)

    def _accepted(self, pairs: tuple[FilePair, ...], sizes: dict[str, tuple[int, int]]) -> dict[str, list[Window]]:
        """Return the windows to use of each scene. Rejection looks at pixels, so its outcome is kept in the cache
        folder.
        """
        if not self.options.reject.active:
            return {p.id: window_grid(*sizes[p.id], self.options.patch_px, self.options.overlap_px) for p in pairs}
        if self.cache is None:
            return self._with_rules({p.id: self._judge(p) for p in pairs})
        names = [self.root / name for p in pairs for name in (p.optical, p.sar)]
        key = canonical_hash(
            {
                "version": VERSION,
                "manifest": build_manifest(self.root, names, self.cache).sha256,
                "scenes": [[p.id, p.optical, p.sar] for p in pairs],
                "cut": [self.options.patch_px, self.options.overlap_px],
                "reject": self.options.reject.model_dump(),
            }
        )
        store = self.cache / "windows" / f"{key[:32]}-rules.json"
        with folder_lock(store.parent):
            found = _read_windows(store, pairs)
            if found is None:
                found = {p.id: self._judge(p) for p in pairs}
                write_json(store, found)
        return self._with_rules(found)

    def _with_rules(self, judged: Mapping[str, tuple[list[Window], dict[str, int]]]) -> dict[str, list[Window]]:
        """Return the windows to use of each scene; remember how many each rule rejects."""
        total: Counter[str] = Counter()
        for _, rules in judged.values():
            total.update(rules)
        self._left_out_by = dict(total.most_common())
        return {name: windows for name, (windows, _) in judged.items()}

    def _judge(self, pair: FilePair) -> tuple[list[Window], dict[str, int]]:
        """Return the windows of a scene that no rule rejects, and rule -> windows that it rejects."""
        judged = [(window, reason) for window, _, _, reason in self.judged_windows(pair)]
        rules = Counter(reason[0] for _, reason in judged if reason is not None)
        return [window for window, reason in judged if reason is None], dict(rules)


def window_place(
    place: tuple[float, float, float, float], size: tuple[int, int], window: Window
) -> tuple[float, float, float, float]:
    """Return the ground rectangle (x_min, y_min, x_max, y_max) in metres of a window.

    Args:
        place: rectangle of the whole scene, outer edges of its outermost pixels.
        size: (height, width) of the scene in pixels.
        window: (y0, x0, height, width) in pixels; y goes down in the image and decreases on the ground.
    """
    x_min, y_min, x_max, y_max = place
    y0, x0, height, width = window
    x_step, y_step = (x_max - x_min) / size[1], (y_max - y_min) / size[0]
    return x_min + x0 * x_step, y_max - (y0 + height) * y_step, x_min + (x0 + width) * x_step, y_max - y0 * y_step


def _read_windows(store: Path, pairs: tuple[FilePair, ...]) -> dict[str, tuple[list[Window], dict[str, int]]] | None:
    """Return a stored choice of windows, as `_judge` does; None where it is missing or damaged."""
    try:
        value = json.loads(store.read_bytes())
        return {
            p.id: (
                [(int(y), int(x), int(h), int(w)) for y, x, h, w in value[p.id][0]],
                {str(rule): int(count) for rule, count in value[p.id][1].items()},
            )
            for p in pairs
        }
    except (AttributeError, IndexError, OSError, ValueError, KeyError, TypeError):
        return None
