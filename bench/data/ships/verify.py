"""Looking at a detection set on disk as it is: every image opened and hashed, every box held against its image, all of
it against the declared facts. What all reports share is in `bench.data.verify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.progress import OnCount
from bench.data.ships.dataset import Checked, ShipDataset
from bench.data.ships.index import ShipScene
from bench.data.verify import (
    DataReport,
    Seen,
    composites_line,
    expected,
    in_words,
    index_problems,
    look_at_all,
    look_sar,
    pixel_types,
    scale_problems,
    shared_findings,
    type_problems,
)


@dataclass(frozen=True, kw_only=True)
class ShipReport(DataReport):
    """What was found of a set of scenes.

    Attributes:
        scenes, ships, ignored: images, boxes that count, boxes that are ignored.
        expected_scenes, expected_ships: as declared for these options, None where nothing is; ignored boxes are ships
            too.
        dtypes: pixel types -> number of decoded images.
        declared: problems of the numbers, pixel types and the SAR scale.
        annotations: a line for each file without partner, damaged annotation, wrong box, or size that disagrees.
        repeated: a line for each box that stands twice in its image.
    """

    scenes: int
    ships: int
    ignored: int
    expected_scenes: int | None
    expected_ships: int | None
    dtypes: dict[str, int]
    declared: tuple[str, ...]
    annotations: tuple[str, ...]
    repeated: tuple[str, ...]

    @property
    def found(self) -> str:
        return (
            f"{self.scenes} images (expected: {expected(self.expected_scenes)}), {self.ships} ships and {self.ignored}"
            f" to ignore (expected: {expected(self.expected_ships)})"
        )

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        return {"sizes": self.sizes, "types": self.dtypes}

    @property
    def general(self) -> Sequence[str]:
        return (*self.declared, *self.annotations)

    @property
    def kinds(self) -> dict[str, Sequence[str]]:
        return {"unreadable": self.unreadable, "repeated box": self.repeated}


def verify_ships(dataset: ShipDataset, limit: int | None = None, progress: OnCount | None = None) -> ShipReport:
    """Check a detection set on disk; all files are hashed anew, all boxes checked, the first `limit` images (None: all)
    decoded.

    Args:
        progress: called with (images done, images in all).

    Raises:
        BenchError: the folders, lists or tables themselves are missing, or a file cannot be read from disk at all.
    """
    scan = dataset.scan()
    checked = [dataset.check(claim, strict=True) for claim in scan.claims]
    found = [item.scene for item in checked if item.scene is not None]
    seen = look_at_all(lambda scene: _decode(dataset, scene), found[:limit], progress)
    dtypes = pixel_types(seen)
    expected_scenes, expected_ships = dataset.expected()
    ignored = sum(int(claim.ignore.sum()) for claim in scan.claims)
    boxes = sum(len(claim.boxes) for claim in scan.claims)
    sizes = [in_words((scene.height, scene.width)) for scene in found]
    return ShipReport(
        **shared_findings(dataset, [claim.image for claim in scan.claims], seen, sizes),
        checked=len(seen),
        scenes=len(scan.claims),
        ships=boxes - ignored,
        ignored=ignored,
        expected_scenes=expected_scenes,
        expected_ships=expected_ships,
        dtypes=dtypes,
        composites=composites_line(seen, dataset.reading),
        declared=tuple(_against_facts(dataset, len(scan.claims), boxes, ignored, dtypes)),
        annotations=(*scan.problems, *_annotation_lines(dataset, checked)),
        repeated=tuple(line for scene in found for line in _repeated(scene)),
        notes=(*scan.notes, *(() if boxes else ("no image has a box, so no AP is defined",))),
    )


def _annotation_lines(dataset: ShipDataset, checked: list[Checked]) -> list[str]:
    lines = [line for item in checked for line in item.problems]
    return index_problems(dataset) if not lines and not dataset.scan().problems else lines


def _decode(dataset: ShipDataset, scene: ShipScene) -> Seen:
    seen = look_sar(dataset.root, scene.image, dataset.reading)
    if seen.shape in (None, (scene.height, scene.width)):
        return seen
    path, header = dataset.root / scene.image, (scene.height, scene.width)
    return Seen(error=f"{path} decodes to {seen.shape} where its header says {header}; fetch the file again")


def _repeated(scene: ShipScene) -> list[str]:
    if len(scene.boxes) < 2:
        return []
    rows, counts = np.unique(scene.boxes, axis=0, return_counts=True)
    return [
        f"{scene.image} has {count} boxes x1, y1, x2, y2 = {', '.join(f'{value:g}' for value in row)}"
        for row, count in zip(rows, counts, strict=True)
        if count > 1
    ]


def _against_facts(dataset: ShipDataset, scenes: int, boxes: int, ignored: int, dtypes: dict[str, int]) -> list[str]:
    facts = dataset.facts
    all_ignored = f"no ship counts: all {ignored} boxes are to be ignored, so no AP is defined"
    lines = [all_ignored] if 0 < ignored == boxes else []
    lines += [
        f"{found} {what} found, {declared} declared (`bench data info {facts.name}` says more)"
        for what, found, declared in zip(("images", "ships"), (scenes, boxes), dataset.expected(), strict=True)
        if declared not in (None, found)
    ]
    if facts.dtypes and set(dtypes) - set(facts.dtypes):
        lines.append(f"pixel types are {', '.join(sorted(dtypes))}; the published files are {', '.join(facts.dtypes)}")
    else:
        lines += type_problems(dtypes, "images")
    return lines + scale_problems(dataset, dtypes)
