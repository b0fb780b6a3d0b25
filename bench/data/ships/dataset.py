"""The contract of a reader of SAR scenes with ship boxes, and the checks that no reader can skip.

A family (`voc_scenes.py`, `coco_scenes.py`) says what its annotations claim; this file holds the claims against what is
declared of the set, the images' headers, the table and the rules for boxes. The index stops at the first problem;
`bench.data.ships.verify` lists them all.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from bench.core.errors import BenchError
from bench.core.workspace import user_path
from bench.data.csv_files import rows_by_id
from bench.data.dataset import Dataset
from bench.data.facts import ShipFacts
from bench.data.images import image_size
from bench.data.reading import SarReading, sar_reading
from bench.data.ships.boxes import clip_boxes, unlikely
from bench.data.ships.index import SceneIndex, ShipScene
from bench.data.ships.layout import Claim, ShipLayout, ShipScan


@dataclass(frozen=True)
class Checked:
    """The outcome for one image: the scene (None when its header cannot be read), and a line for each problem."""

    scene: ShipScene | None
    problems: tuple[str, ...]


class ShipDataset(Dataset):
    """Base class of every reader of scenes with ships; see `Dataset`.

    Class attributes:
        layout: the family, and what the set settles of it.
        numbers: the numbers of the set's images, where they are known; any others are refused.
        image_id: how an image's id is made of its number.
        columns: column -> value -> numbers of the images that have it; None for all others.

    Raises:
        BenchError: nothing declares what the SAR values are.
    """

    kind = "ships"
    facts: ClassVar[ShipFacts]
    layout: ClassVar[ShipLayout]
    numbers: ClassVar[range] = range(0)
    image_id: ClassVar[str] = "{}"
    columns: ClassVar[Mapping[str, Mapping[str, Collection[int] | None]]] = {}

    def __init__(self, root: Path, options: Any, cache: Path | None = None) -> None:
        super().__init__(root, options, cache)
        self.settings: ShipLayout = self.settings_of(options)
        self._found: ShipScan | None = None
        _ = self.sar_scale  # undeclared values are refused here, not in the middle of a run

    @classmethod
    def lacks(cls, folder: Path, options: Any) -> list[str]:
        settings: ShipLayout = cls.settings_of(options)
        return settings.lacks(folder)

    @property
    def reading(self) -> SarReading:
        """How files are read: as stored, unless the options `band` and `nodata` say otherwise."""
        return sar_reading(self.settings, self.sar_scale)

    def expected(self) -> tuple[int | None, int | None]:
        """Return the numbers of images and of ships that this copy should have under these options, None where nothing
        is declared.
        """
        return (self.facts.expected_scenes, self.facts.expected_ships) if self.whole() else (None, None)

    def scan(self) -> ShipScan:
        """Return what the annotations claim, without opening an image. Looks once; open the set anew to look again.

        Raises:
            BenchError: a folder, list or table cannot be read at all.
        """
        if self._found is None:
            scan = self.settings.chosen(self._with_columns(self.settings.read(self.root)))
            self._found = self._with_table(scan)
        return self._found

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
        if (self.settings.size_must_agree if strict is None else strict) and claim.size not in (None, (height, width)):
            assert claim.size is not None
            problems.append(
                f"{claim.source} states {claim.size[0]} x {claim.size[1]} px (height x width) for {claim.image}, "
                f"which is {height} x {width} px; are they of one release?"
            )
        boxes, wrong = clip_boxes(claim.boxes, height, width)
        doubt = unlikely(claim.boxes, height, width, claim.as_sizes)
        wrong = [doubt] if doubt else wrong
        problems += [f"{claim.source}: {line} ({claim.image})" for line in wrong]
        scene = ShipScene(
            claim.id, claim.image, claim.image_id, height, width, boxes, claim.ignore, claim.scene, claim.attributes
        )
        return Checked(scene, tuple(problems))

    def table(self) -> Path | None:
        """Return the path of the attribute table, None for none."""
        return self.root / user_path(self.settings.table) if self.settings.table else None

    @classmethod
    def columns_of(cls, name: str) -> dict[str, str]:
        """Return what is declared of the image with the id `name`.

        Raises:
            BenchError: the set has no such image.
        """
        number = cls.known().get(name)
        if cls.numbers and number is None:
            first, last = (cls.image_id.format(cls.numbers[place]) for place in (0, -1))
            whose = f"{cls.facts.title.partition(':')[0]}'s images, {first} to {last}"
            raise BenchError(f"{name!r} is none of {whose}; rename or remove the file")
        return {
            column: next(value for value, holders in values.items() if holders is None or number in holders)
            for column, values in cls.columns.items()
        }

    @classmethod
    def known(cls) -> dict[str, int]:
        """Return the ids of all images that the set has, where they are known, and their numbers."""
        return {cls.image_id.format(number): number for number in cls.numbers}

    def _file_names(self) -> list[str]:
        table = self.table()
        names = [os.path.join(self.root, name) for name in self.scan().files]
        return ([os.fspath(table)] if table else []) + names

    def _with_columns(self, scan: ShipScan) -> ShipScan:
        """Add what is declared of each image to the attributes."""
        problems = list(scan.problems)
        claims = []
        for claim in scan.claims:
            try:
                claims.append(replace(claim, attributes={**claim.attributes, **self.columns_of(claim.id)}))
            except BenchError as error:
                problems.append(f"{claim.image}: {error}")
        return replace(scan, claims=tuple(claims), problems=tuple(problems))

    def _with_table(self, scan: ShipScan) -> ShipScan:
        """Add the columns of the table to the attributes."""
        table = self.table()
        if table is None:
            return scan
        problems = list(scan.problems)
        try:
            rows = rows_by_id(table)
        except BenchError as error:
            return replace(scan, problems=(*problems, str(error)))
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
