"""How the files of a set of scenes lie, and what its annotations claim: the contract of the families (`voc_scenes.py`,
`coco_scenes.py`). Opens no image.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, field_validator

from bench.core.errors import nearest
from bench.core.options import later
from bench.data.dataset import DatasetOptions
from bench.data.images import Channels
from bench.data.reading import NoData
from bench.data.scaling import SarScale


class BandOption(DatasetOptions):
    """The option of sets whose files may have several channels.

    Attributes:
        band: number of the SAR band in files with several, counted from 1.
        channels: how images of three channels that differ (colour composites) are read: "luminance", the "first", or
            "refuse".
    """

    band: int | None = later(None, ge=1)
    channels: Channels = later("refuse")


class BoxOptions(DatasetOptions):
    """The options of sets that are known to hold images without ships, and boxes left over where images were cut.

    Attributes:
        without_ships: "keep" images that show no ships, as background, or "drop" them.
        without_area: "drop" boxes of no width or no height, which nothing can find, or "refuse" to go on.
    """

    without_ships: Literal["keep", "drop"] = "keep"
    without_area: Literal["drop", "refuse"] = "drop"


class ShipOptions(BandOption):
    """Options that every generic set of scenes has.

    Attributes:
        categories: names of the objects that count as ships, where annotations name several; others are left out.
        table: CSV file (below the root, or an absolute path) with a row for each image: `id`, and any of `scene`,
            `shore`, further columns. Images without a row are an error, rows without an image are not.
        scene_pattern: regular expression searched in the file stem; its first group (the match, without one) is the
            scene, the leakage group. A `scene` of the table wins.
        sar_scale: what the SAR values are; must be given where the set's facts do not declare it.
        gsd_m: ground sample distance in metres per pixel; null for the set's own declaration.
        nodata: value of pixels without data, besides what the files declare: a number, nan, inf or -inf.
    """

    categories: tuple[str, ...] | None = None
    table: str | None = None
    scene_pattern: str | None = None
    sar_scale: SarScale | None = None
    gsd_m: float | None = Field(default=None, gt=0, allow_inf_nan=False)
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
        as_sizes: whether boxes were written as x, y, width, height.
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
    as_sizes: bool = False

    def only(self, keep: Sequence[bool] | np.ndarray) -> Self:
        """Return the claim with the boxes where `keep` (k,) holds."""
        mask = np.asarray(keep, dtype=bool)
        names = tuple(compress(self.names, mask))
        return replace(self, boxes=self.boxes[mask], ignore=self.ignore[mask], names=names)


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


class ShipLayout(ShipOptions, BoxOptions, ABC):
    """Base of the families' layouts: the options of generic sets, and what only a named set settles.

    Attributes:
        size_must_agree: whether a stated size other than the image's forbids an index; otherwise only `verify` reports
            it.
    """

    without_area: Literal["drop", "refuse"] = "refuse"
    size_must_agree: bool = True

    @abstractmethod
    def lacks(self, folder: Path) -> list[str]:
        """Return what `folder` lacks to be the root, as `Dataset.lacks`."""

    @abstractmethod
    def read(self, root: Path) -> ShipScan:
        """Read the annotations below `root`.

        Raises:
            BenchError: a folder or list cannot be read at all.
        """

    def scene_of(self, name: str) -> str | None:
        """Return the scene that the stem of an image file states, None where it states none."""
        match = re.search(self.scene_pattern, name) if self.scene_pattern else None
        return (match.group(1) if match.groups() else match.group()) if match else None

    def chosen(self, scan: ShipScan) -> ShipScan:
        """Return a scan with the boxes and images that count; several names without a choice are a problem."""
        scan = self._of_categories(scan)
        if self.without_area == "drop":
            scan = _without_flat(scan)
        kept = tuple(claim for claim in scan.claims if len(claim.boxes) or self.without_ships == "keep")
        gone = len(scan.claims) - len(kept)
        note = (f"{gone} of {len(scan.claims)} images show no ships and are left out (without_ships: drop)",)
        return replace(scan, claims=kept, notes=(*scan.notes, *(note if gone else ())))

    def _of_categories(self, scan: ShipScan) -> ShipScan:
        names = {name: None for claim in scan.claims for name in claim.names}
        if self.categories is None:
            several = len({name.casefold() for name in names}) > 1
            line = f"the objects have several names ({', '.join(names)}); say which are ships: categories: [...]"
            return replace(scan, problems=(*scan.problems, line)) if several else scan
        unknown = [
            f"no object is called {name!r} (option categories){nearest(name, names)}"
            for name in self.categories
            if name not in names
        ]
        claims = tuple(claim.only([name in self.categories for name in claim.names]) for claim in scan.claims)
        others = Counter(name for claim in scan.claims for name in claim.names if name not in self.categories)
        by = ", ".join(f"{name} {count}" for name, count in sorted(others.items()))
        note = (f"{others.total()} boxes of other categories are left out: {by}",) if others else ()
        return replace(scan, claims=claims, problems=(*scan.problems, *unknown), notes=(*scan.notes, *note))


def _without_flat(scan: ShipScan) -> ShipScan:
    """Leave out boxes whose annotation gives them no width or no height; a note states how many."""
    claims = tuple(claim.only(np.all(claim.boxes[:, 2:] != claim.boxes[:, :2], axis=1)) for claim in scan.claims)
    left = sum(len(claim.boxes) for claim in scan.claims) - sum(len(claim.boxes) for claim in claims)
    note = [f"{left} boxes without width or height are left out"] if left else []
    return replace(scan, claims=claims, notes=(*scan.notes, *note))
