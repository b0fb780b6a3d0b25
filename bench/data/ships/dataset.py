"""The contract of a reader of SAR scenes with ship boxes, and the checks that no reader can skip.

A family (`voc_scenes.py`, `coco_scenes.py`) says what its annotations claim; this file holds the claims against the
images' headers, the table and the rules for boxes. The index stops at the first problem; `bench.data.ships.verify`
lists them all.
"""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from bench.core.errors import BenchError, nearest
from bench.core.options import later
from bench.data.csv_files import rows_by_id
from bench.data.dataset import Dataset, DatasetOptions
from bench.data.facts import ShipFacts
from bench.data.images import image_size
from bench.data.reading import NoData, SarReading, sar_reading
from bench.data.scaling import SarScale
from bench.data.ships.index import SceneIndex, ShipScene

EDGE_TOLERANCE_PX = 1.0
"""Boxes may reach this far over the edge of their image, for pixel numbers taken as coordinates; they are clipped to
the image. Anything further out is an error.
"""


class ShipOptions(DatasetOptions):
    """Options that every generic set of scenes has.

    Attributes:
        categories: names of the objects that count as ships, where annotations name several; others are left out.
        table: CSV file (below the root, or an absolute path) with a row for each image: `id`, and any of `scene`,
            `shore`, further columns. Images without a row are an error, rows without an image are not.
        scene_pattern: regular expression searched in the file stem; its first group (the match, without one) is the
            scene, the leakage group. A `scene` of the table wins.
        sar_scale: what the SAR values are; must be given where the set's facts do not declare it.
        gsd_m: ground sample distance in metres per pixel; null for the set's own declaration.
        band: number of the SAR band in files with several, counted from 1.
        nodata: value of pixels without data, besides what the files declare: a number, nan, inf or -inf.
    """

    categories: tuple[str, ...] | None = None
    table: str | None = None
    scene_pattern: str | None = None
    sar_scale: SarScale | None = None
    gsd_m: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    band: int | None = later(None, ge=1)
    nodata: NoData = later(None)

    @field_validator("scene_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return pattern


@dataclass(frozen=True, eq=False)
class Claim:
    """What an annotation claims of one image, before it is held against the image.

    Attributes:
        id, image, image_id, boxes, ignore, scene, attributes: as in `ShipScene`.
        names: what each box is called.
        source: annotation file, relative to the root, for messages.
        size: (height, width) that the annotation states, None where it states none.
    """

    id: str
    image: str
    image_id: int
    boxes: np.ndarray
    ignore: np.ndarray
    names: tuple[str, ...]
    source: str
    size: tuple[int, int] | None = None
    scene: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ShipScan:
    """What the annotations say, without opening an image.

    Attributes:
        claims: in the order of the index.
        files: every annotation file and image, relative to the root; those outside it absolute.
        problems: a line each; any of them forbids an index.
        notes: a line each on what is unusual, but no fault.
    """

    claims: tuple[Claim, ...]
    files: tuple[str, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.claims)


@dataclass(frozen=True)
class Checked:
    """The outcome for one image: the scene (None when its header cannot be read), and a line for each problem."""

    scene: ShipScene | None
    problems: tuple[str, ...]


class ShipDataset(Dataset):
    """Base class of every reader of scenes with ships; see `Dataset`.

    Class attributes:
        size_must_agree: whether a size in the annotation other than the image's forbids an index; otherwise only
            `verify` tells it.

    Raises:
        BenchError: nothing declares what the SAR values are.
    """

    kind = "ships"
    facts: ClassVar[ShipFacts]
    Options: ClassVar[type[DatasetOptions]] = ShipOptions
    size_must_agree: ClassVar[bool] = True

    def __init__(self, root: Path, options: Any, cache: Path | None = None) -> None:
        super().__init__(root, options, cache)
        self._found: ShipScan | None = None
        _ = self.sar_scale  # undeclared values are refused here, not in the middle of a run

    @property
    def reading(self) -> SarReading:
        """How files are read: as stored, unless the options `band` and `nodata` say otherwise."""
        return sar_reading(self.options, self.sar_scale)

    def expected(self) -> tuple[int | None, int | None]:
        """Return the numbers of images and of ships that this copy should have under these options, None where nothing
        is declared.
        """
        return self.facts.expected_scenes, self.facts.expected_ships

    def scan(self) -> ShipScan:
        """Return what the annotations claim, without opening an image. Looks once; open the set anew to look again.

        Raises:
            BenchError: a folder, list or table cannot be read at all.
        """
        if self._found is None:
            self._found = self._with_table(self._with_categories(self._scan()))
        return self._found

    @abstractmethod
    def _scan(self) -> ShipScan:
        """Read the annotations; called once by `scan`."""

    def index(self) -> SceneIndex:
        """Return all images in a fixed order, their sizes from the headers.

        Raises:
            BenchError: the first of all problems: an annotation without an image or the reverse, a damaged annotation,
                a box without area or outside its image, an unreadable header.
        """
        scan = self.scan()
        problems = list(scan.problems)
        scenes = []
        for claim in scan.claims:
            checked = self.check(claim)
            problems += checked.problems
            if checked.scene is not None:
                scenes.append(checked.scene)
        if problems:
            more = (
                f" ({len(problems) - 1} more problems; `bench data verify {self.facts.name}` lists them)"
                if len(problems) > 1
                else ""
            )
            raise BenchError(problems[0] + more)
        return SceneIndex(tuple(scenes), f"{self.facts.name} at {self.root}", self.reading)

    def check(self, claim: Claim, strict: bool | None = None) -> Checked:
        """Hold a claim against the header of its image.

        Args:
            strict: whether a stated size that differs from the image's is a problem; None for the set's own rule.
        """
        try:
            height, width = image_size(self.root / claim.image)
        except BenchError as error:
            return Checked(None, (str(error),))
        problems = []
        if (self.size_must_agree if strict is None else strict) and claim.size not in (None, (height, width)):
            assert claim.size is not None
            problems.append(
                f"{claim.source} states {claim.size[0]} x {claim.size[1]} px (height x width) for {claim.image}, "
                f"which is {height} x {width} px; are they of one release?"
            )
        boxes, wrong = clip_boxes(claim.boxes, height, width)
        problems += [f"{claim.source}: {line} ({claim.image})" for line in wrong]
        scene = ShipScene(
            claim.id, claim.image, claim.image_id, height, width, boxes, claim.ignore, claim.scene, claim.attributes
        )
        return Checked(scene, tuple(problems))

    def table(self) -> Path | None:
        """Return the path of the attribute table, None for none."""
        name: str | None = getattr(self.options, "table", None)
        return self.root / name if name else None

    def scene_of(self, name: str) -> str | None:
        """Return the scene that the stem of an image file tells, None where it tells none."""
        pattern: str | None = getattr(self.options, "scene_pattern", None)
        match = re.search(pattern, name) if pattern else None
        return (match.group(1) if match.groups() else match.group()) if match else None

    def _file_names(self) -> list[str]:
        table = self.table()
        names = [os.path.join(self.root, name) for name in self.scan().files]
        return ([os.fspath(table)] if table else []) + names

    def _with_categories(self, scan: ShipScan) -> ShipScan:
        """Keep the boxes that are ships; several names without a choice are a problem."""
        names = {name: None for claim in scan.claims for name in claim.names}
        wanted: tuple[str, ...] | None = getattr(self.options, "categories", None)
        if wanted is None:
            if len({name.casefold() for name in names}) < 2:
                return scan
            listed = ", ".join(names)
            return replace(
                scan,
                problems=(
                    *scan.problems,
                    f"the objects have several names ({listed}); say which are ships: categories: [...]",
                ),
            )
        unknown = [
            f"no object is called {name!r} (option categories){nearest(name, names)}"
            for name in wanted
            if name not in names
        ]
        claims = []
        for claim in scan.claims:
            keep = np.array([name in wanted for name in claim.names], dtype=bool)
            kept = tuple(name for name in claim.names if name in wanted)
            claims.append(replace(claim, boxes=claim.boxes[keep], ignore=claim.ignore[keep], names=kept))
        return replace(scan, claims=tuple(claims), problems=(*scan.problems, *unknown))

    def _with_table(self, scan: ShipScan) -> ShipScan:
        """Add the columns of the table to the attributes."""
        table = self.table()
        if table is None:
            return scan
        rows = rows_by_id(table)
        problems = list(scan.problems)
        claims = []
        for claim in scan.claims:
            row = rows.get(claim.id)
            if row is None:
                problems.append(f"{table} has no row for image {claim.id!r} ({claim.image}); add it or drop the table")
                continue
            extra = {key: value for key, value in row.items() if key not in ("id", "scene")}
            claims.append(
                replace(claim, scene=row.get("scene") or claim.scene, attributes={**claim.attributes, **extra})
            )
        return replace(scan, claims=tuple(claims), problems=tuple(problems))


def without_flat(scan: ShipScan) -> ShipScan:
    """Leave out boxes whose annotation gives them no width or no height, for sets known to hold some; a note tells how
    many.
    """
    claims, left = [], 0
    for claim in scan.claims:
        keep = np.all(claim.boxes[:, 2:] != claim.boxes[:, :2], axis=1)
        names = tuple(name for name, kept in zip(claim.names, keep.tolist(), strict=True) if kept)
        claims.append(
            claim if keep.all() else replace(claim, boxes=claim.boxes[keep], ignore=claim.ignore[keep], names=names)
        )
        left += int((~keep).sum())
    note = [f"{left} boxes without width or height are left out"] if left else []
    return replace(scan, claims=tuple(claims), notes=(*scan.notes, *note))


def clip_boxes(boxes: np.ndarray, height: int, width: int) -> tuple[np.ndarray, list[str]]:
    """Clip boxes to their image and tell which are wrong.

    Args:
        boxes: (k, 4) x1, y1, x2, y2 in pixels, finite.
        height, width: of the image in pixels.

    Returns:
        (k, 4) float64 clipped boxes, and a line for each box that is inverted, has no area, or reaches more than
        `EDGE_TOLERANCE_PX` over the edge. Those lines make the boxes unusable; nothing is mended silently.
    """
    edge = np.array([width, height, width, height], dtype=np.float64)
    clipped = np.clip(np.asarray(boxes, dtype=np.float64).reshape(-1, 4), 0.0, edge)
    inverted = np.any(boxes[:, 2:] < boxes[:, :2], axis=1)
    outside = np.any((boxes < -EDGE_TOLERANCE_PX) | (boxes > edge + EDGE_TOLERANCE_PX), axis=1)
    flat = np.any(clipped[:, 2:] <= clipped[:, :2], axis=1)
    lines = []
    for i in np.flatnonzero(inverted | outside | flat).tolist():
        what = (
            "is inverted"
            if inverted[i]
            else f"reaches outside the image of {width} x {height} px"
            if outside[i]
            else "has no area"
        )
        corners = ", ".join(f"{value:g}" for value in boxes[i])
        lines.append(f"box {i + 1} (x1, y1, x2, y2 = {corners}) {what}")
    return clipped, lines
