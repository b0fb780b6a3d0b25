"""The two-folders family: one folder of optical and one of SAR patches, paired by file name, with an optional table
of attributes.

Owns the pairing of names. Does not decode images.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from bench.core.errors import BenchError
from bench.core.options import later
from bench.core.workspace import user_path
from bench.data.csv_files import PLACE_COLUMNS, place_of, rows_by_id
from bench.data.dataset import DatasetOptions, FilePair, PairDataset, Scan, lacking
from bench.data.images import IMAGE_SUFFIXES, Channels
from bench.data.index import PairIndex, PairSample
from bench.data.nearby import by_likeness, nearest_of
from bench.data.reading import NoData
from bench.data.scaling import SarScale

PairBy = Literal["stem", "number"]
_DIGITS = re.compile(r"(\d+)")


class FolderOptions(DatasetOptions):
    """Options of a two-folders set.

    Attributes:
        optical, sar: folder names below the root.
        pair_by: files pair by equal stems, or by the last integer in their stems ("opt_0012" and "sar-12").
        table: CSV file (below the root, or an absolute path) with a row per pair: `id`, and any of `scene`,
            `x_min_m`, `y_min_m`, `x_max_m`, `y_max_m`, further columns. Pairs without a row are an error, rows
            without a pair are not.
        crs: name of the coordinate system of the table's metres.
        sar_scale: what the SAR values are; None for the set's own declaration.
        sar_band: number of the SAR band in files with several, counted from 1.
        sar_nodata: value of SAR pixels without data, besides what the files declare: a number, nan, inf or -inf.
        sar_channels: how SAR images of three channels that differ (colour composites) are read: "luminance", the
            "first", or "refuse".
        optical_bands: numbers of the bands taken as red, green and blue, or of one taken as grey, counted from 1.
    """

    optical: str = Field(default="optical", min_length=1)
    sar: str = Field(default="sar", min_length=1)
    pair_by: PairBy = "stem"
    table: str | None = None
    crs: str | None = None
    sar_scale: SarScale | None = None
    sar_band: int | None = later(None, ge=1)
    sar_nodata: NoData = later(None)
    sar_channels: Channels = later("refuse")
    optical_bands: tuple[Annotated[int, Field(ge=1)], ...] | None = later(None)

    @field_validator("optical_bands")
    @classmethod
    def _one_or_three(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(value) not in (1, 3):
            raise ValueError(f"{len(value)} bands; name one (grey) or three (red, green, blue)")
        return value


class FolderPairs(PairDataset):
    """Reader of two parallel folders."""

    Options: ClassVar[type[DatasetOptions]] = FolderOptions
    layout: ClassVar[FolderOptions] = FolderOptions()

    def __init__(self, root: Path, options: Any, cache: Path | None = None) -> None:
        super().__init__(root, options, cache)
        self.settings: FolderOptions = self.settings_of(options)

    @classmethod
    def lacks(cls, folder: Path, options: Any) -> list[str]:
        settings = cls.settings_of(options)
        return lacking(folder, settings.optical, settings.sar)

    def tables(self) -> list[Path]:
        table = self.root / user_path(self.settings.table) if self.settings.table else None
        if table is not None and not table.is_file():
            raise BenchError(
                f"no table {table}; it holds a row a pair (id, scene, place). `bench data audit {self.facts.name} --out"
                f" {table.parent}` finds the places of patches that overlap, and writes them there as layout.csv"
            )
        return [table] if table else []

    def _scan(self) -> Scan:
        return pair_folders(self.root, self.settings.optical, self.settings.sar, by=self.settings.pair_by)

    def index(self) -> PairIndex:
        scan = self.scan()
        check_pairs(scan, self.root, (self.settings.optical, self.settings.sar))
        rows = {table: rows_by_id(table) for table in self.tables()}
        samples = [_sample(pair, rows) for pair in scan.pairs]
        return PairIndex(tuple(samples), self.settings.crs, f"{self.facts.name} at {self.root}", self.reading)


def _sample(pair: FilePair, rows: Mapping[Path, Mapping[str, dict[str, str]]]) -> PairSample:
    """Return a pair with what its row of the table says, where there is a table."""
    for table, by_id in rows.items():
        row = by_id.get(pair.id)
        if row is None:
            raise BenchError(f"{table} has no row for pair {pair.id!r} ({pair.optical}); add it or drop the table")
        attributes = {key: value for key, value in row.items() if key not in ("id", "scene", *PLACE_COLUMNS)}
        place = place_of(row, table)
        return PairSample(pair.id, pair.optical, pair.sar, None, row.get("scene") or None, place, attributes)
    return PairSample(pair.id, pair.optical, pair.sar)


def pair_folders(root: Path, optical: str, sar: str, by: PairBy = "stem", only: Collection[str] | None = None) -> Scan:
    """Pair the images of two folders below `root`; other files and hidden ones are passed over. Order: natural ("2"
    before "10").

    Args:
        only: ids to look at; one with no image at all counts as unpaired. None takes every id there is.

    Raises:
        BenchError: a folder is missing.
    """
    problems: list[str] = []
    left, right = _keyed(root, optical, by, problems), _keyed(root, sar, by, problems)
    neither: list[str] = []
    if only is not None:
        left = {key: path for key, path in left.items() if key in only}
        right = {key: path for key, path in right.items() if key in only}
        neither = [
            f"{key} has no image in {optical}/ and {sar}/" for key in only if key not in left and key not in right
        ]
    pairs = [FilePair(key, left[key], right[key]) for key in sorted(left.keys() & right.keys(), key=natural_key)]
    lonely: list[str] = []
    for what, folder, mine, others in (("SAR", sar, left, right), ("optical", optical, right, left)):
        near = by_likeness(others.keys() - mine.keys())
        for key in sorted(mine.keys() - others.keys(), key=natural_key):
            lonely.append(f"{mine[key]} has no {what} partner in {folder}/{nearest_of(key, near, others)}")
    return Scan(tuple(pairs), tuple(lonely + neither), tuple(problems))


def check_pairs(scan: Scan, root: Path, folders: tuple[str, str]) -> None:
    """Raise BenchError unless there are pairs, no two files claim one, and no file lacks its partner."""
    if scan.problems:
        more = f" ({len(scan.problems) - 1} more like it; `bench data verify` lists all)"
        raise BenchError(f"{root}: {scan.problems[0]}{more if len(scan.problems) > 1 else ''}")
    if scan.unpaired:
        more = f" and {len(scan.unpaired) - 3} more" if len(scan.unpaired) > 3 else ""
        raise BenchError(
            f"{len(scan.unpaired)} files in {root} lack a partner: {'; '.join(scan.unpaired[:3])}{more}; "
            "complete or remove them (`bench data verify` lists all)"
        )
    if not scan.pairs:
        raise BenchError(
            f"no pairs found under {root}; expected images ({', '.join(sorted(IMAGE_SUFFIXES))}) in {folders[0]}/ and"
            f" {folders[1]}/"
        )


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key under which runs of digits compare as numbers."""
    if text.isdecimal():
        return ((0, int(text), ""), (1, 0, text))
    parts = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in _DIGITS.split(text) if part]
    return (*parts, (1, 0, text))


def _keyed(root: Path, folder: str, by: PairBy, problems: list[str]) -> dict[str, str]:
    """Return id -> relative path of the images in one folder; of those whose names begin with NAME where it ends in
    "NAME*". A line on each image without an id of its own is added to `problems`.
    """
    start = ""
    if folder.endswith("*"):
        folder, _, start = folder[:-1].rpartition("/")
    try:
        with os.scandir(root / folder) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        raise BenchError(f"cannot read the folder {root / folder}: {error.strerror or error}") from error
    keyed: dict[str, str] = {}
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in IMAGE_SUFFIXES or name.startswith(".") or not name.startswith(start):
            continue
        digits = _DIGITS.findall(stem) if by == "number" else ()
        key = stem if by == "stem" else str(int(digits[-1])) if digits else None
        if key is None:
            problems.append(
                f"{folder}/{name} has no number in its name, and pairs go by number; rename it or use pair_by: stem"
            )
        elif key in keyed:
            problems.append(f"{keyed[key]} and {folder}/{name} both claim pair {key!r}; remove one")
        else:
            keyed[key] = f"{folder}/{name}"
    return keyed
