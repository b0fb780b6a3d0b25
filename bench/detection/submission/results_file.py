"""Boxes that another tool found: what its results file says, laid onto our test scenes, whatever format it came in.

Owns how a scene is recognised, which boxes cannot be meant so, and which scenes a file speaks of. Reading COCO JSON is
`coco_results.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bench.core.errors import BenchError, nearest
from bench.data.ships.index import ShipScene
from bench.detection.detectors.base import Detections
from bench.submissions.claims import MADE_FOR
from bench.submissions.sheets import Sheet, as_number, read_sheet, short

FAR = 1e9  # pixels; no scene is so large
IMAGES = ("image_id", "file_name", "scene")  # any of them may name the image, in any way that `find_scenes` knows
CORNERS, SIZES = "x1 y1 x2 y2", "x y width height"
COLUMNS = (
    f"the columns are one of {', '.join(IMAGES)}; x1, y1, x2, y2 or x, y, width, height; score; and, where wanted,"
    f" category_id, {MADE_FOR}"
)

_SUSPECT = 0.25  # share of boxes that must make sense as corners only; ships all over an image give three quarters


@dataclass(frozen=True)
class Results:
    """What a results file says.

    Attributes:
        sheet: the table as it was read.
        rows: (n,) the row of each box in it.
        images: what each box's image is called, (n,).
        numbers: (n, 5) float64: x, y, width, height, or x1, y1, x2, y2 where `corners`; score.
        categories: (n,) names of the boxes' categories, None where they have none.
        looked_at: what further images are called that the file says were looked at.
        complete: the file lists every image that was looked at, so that a box in another one is a mistake.
    """

    sheet: Sheet
    rows: Sequence[int]
    images: Sequence[Any]
    numbers: np.ndarray
    corners: bool
    categories: Sequence[str] | None
    looked_at: Sequence[Any] = ()
    complete: bool = False

    @property
    def path(self) -> Path:
        """The file."""
        return self.sheet.path

    def where(self, i: int) -> str:
        """Return "file: entry 7" for a message about box `i`."""
        return self.sheet.where(self.rows[i])


@dataclass(frozen=True)
class SceneBoxes:
    """A results file on our scenes.

    Attributes:
        detections: of each scene.
        mentioned: (scenes,) bool, whether the file says anything of the scene.
    """

    detections: list[Detections]
    mentioned: np.ndarray


def read_box_table(path: Path) -> Results:
    """Read a CSV or Parquet table of boxes.

    A row whose box and score are empty says that its image was looked at and nothing found.

    Raises:
        BenchError: other columns than `COLUMNS`, no row, or a field that is no finite number.
    """
    sheet = read_sheet(path, "annotations", "the columns image_id, x1, y1, x2, y2, score")
    sheet.check_columns((IMAGES, (CORNERS, SIZES), ("score",)), ("category_id", MADE_FOR), COLUMNS)
    column = next(name for name in IMAGES if name in sheet.table)
    empty = np.flatnonzero(sheet.table[column].isna())
    if len(empty):
        raise BenchError(f"{sheet.where(int(empty[0]))}: the image is empty; {COLUMNS}")
    return results_of(sheet, column)


def results_of(sheet: Sheet, image: str, looked_at: Sequence[Any] = (), complete: bool = False) -> Results:
    """Return what a table of boxes says.

    Args:
        image: the column that names the image. looked_at, complete: as in `Results`.

    Raises:
        BenchError: a field that is no finite number, a box without score or the other way round, or one far off.
    """
    corners = "x1" in sheet.table
    names = [*(CORNERS if corners else SIZES).split(), "score"]
    columns = [sheet.numbers(name, "a finite number", empty=True) for name in names]
    numbers = np.stack(columns, axis=1)
    blank = np.isnan(numbers)
    half = np.flatnonzero(blank.any(axis=1) & ~blank.all(axis=1))
    if len(half):
        lacking = names[int(np.argmax(blank[half[0]]))]
        raise BenchError(
            f"{sheet.where(half[0])}: {lacking} is empty; leave box and score empty together for an image without"
            " detection"
        )
    far = np.flatnonzero((np.abs(numbers[:, :4]) >= FAR).any(axis=1))
    if len(far):
        box = short(numbers[far[0], :4].tolist())
        raise BenchError(f"{sheet.where(far[0])}: the box is {box}; expected finite numbers in pixels")
    nothing = blank.all(axis=1)
    boxes = sheet.table[~nothing]
    return Results(
        sheet,
        np.flatnonzero(~nothing).tolist(),
        boxes[image].tolist(),
        numbers[~nothing],
        corners,
        [_category(value) for value in boxes["category_id"]] if "category_id" in boxes else None,
        [*looked_at, *sheet.table.loc[nothing, image]],
        complete,
    )


def _category(value: Any) -> str:
    number = as_number(value)
    return str(value) if number is None or number != int(number) else str(int(number))


def lay_on_scenes(results: Results, scenes: Sequence[ShipScene], category: int | None) -> SceneBoxes:
    """Return the boxes of a results file by scene, in the order of the file.

    Equal boxes all count; boxes that reach beyond the image are kept as they are. A scene that the file speaks of only
    with boxes of other categories has been looked at.

    Args:
        category: keep the boxes of this category alone; None where the file has only one.

    Raises:
        BenchError: unknown images, several categories, boxes that cannot be meant so, or, in a complete list of images,
            one that stands twice or a box in an image that is not listed.
    """
    chosen = _chosen_category(results, category)
    finder = SceneFinder(scenes)
    scene = np.array([finder.find(wanted, results.where(i)) for i, wanted in enumerate(results.images)], dtype=np.int64)
    mentioned = np.zeros(len(scenes), dtype=bool)
    for position, wanted in enumerate(results.looked_at):
        at = finder.find(wanted, f"{results.path}: image {position} of its list")
        if mentioned[at]:
            raise BenchError(f"{results.path}: {scenes[at].id} is listed twice among the images that were looked at")
        mentioned[at] = True
    stray = np.flatnonzero(~mentioned[scene]) if results.complete else np.zeros(0, dtype=np.int64)
    if len(stray):
        raise BenchError(
            f"{results.where(stray[0])}: a box in {scenes[scene[stray[0]]].id}, which its list of images lacks"
        )
    if not results.complete and mentioned[scene].any():
        i = int(np.argmax(mentioned[scene]))
        raise BenchError(f"{results.where(i)}: a box in {scenes[scene[i]].id}, which another row says to have none")
    mentioned[scene] = True
    size = np.array([[each.width, each.height] for each in scenes], dtype=np.float64).reshape(-1, 2)[scene]
    boxes = _checked(results, size)[chosen] if len(scene) else np.zeros((0, 4))
    scene, scores = scene[chosen], results.numbers[chosen, 4]
    order = np.argsort(scene, kind="stable")
    ends = np.searchsorted(scene[order], np.arange(len(scenes) + 1))
    detections = [Detections(boxes[order[a:b]], scores[order[a:b]]) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    return SceneBoxes(detections, mentioned)


def _chosen_category(results: Results, category: int | None) -> np.ndarray:
    """Return which boxes are of the wanted category, (n,) bool."""
    if results.categories is None:
        if category is not None and len(results.images):
            raise BenchError(f"{results.path} says no category of its boxes; leave --category out")
        return np.ones(len(results.images), dtype=bool)
    counts = Counter(results.categories)
    listed = ", ".join(f"{name} ({number} boxes)" for name, number in sorted(counts.items()))
    if category is None:
        if len(counts) > 1:
            raise BenchError(
                f"{results.path} has boxes of several categories: {listed}; choose the ships' category with --category"
            )
        return np.ones(len(results.images), dtype=bool)
    if counts and str(category) not in counts:
        raise BenchError(f"{results.path} has no box of category {category}; it has {listed}")
    return np.array([name == str(category) for name in results.categories], dtype=bool)


class SceneFinder:
    """Finds the scene that a results file means.

    A number is a scene's `image_id`. A text is its id, else its image file (path, name, or name without suffix), else
    the digits of its `image_id`.
    """

    def __init__(self, scenes: Sequence[ShipScene]) -> None:
        self.numbers = {scene.image_id: i for i, scene in enumerate(scenes)}
        self.digits = {str(number): i for number, i in self.numbers.items()}
        self.ids = {scene.id: i for i, scene in enumerate(scenes)}
        self.names: dict[str, set[int]] = {}
        for i, scene in enumerate(scenes):
            file = PurePosixPath(scene.image)
            for name in (scene.id, scene.image, file.name, file.stem):
                self.names.setdefault(name, set()).add(i)

    def find(self, wanted: Any, where: str) -> int:
        """Return the position of the scene called `wanted`. Raises BenchError where there is none, or several."""
        found: int | None = None
        if isinstance(wanted, str):
            several = self.names.get(wanted, set())
            found = self.ids.get(
                wanted, next(iter(several)) if len(several) == 1 else self.digits.get(wanted.removesuffix(".0"))
            )
            if found is None and several:
                raise BenchError(f"{where}: {len(several)} test scenes are called {wanted!r}; use their ids")
        else:
            number = as_number(wanted)
            found = self.numbers.get(int(number)) if number is not None and number == int(number) else None
        if found is None:
            known = (*self.names, *self.digits) if isinstance(wanted, str) else tuple(self.digits)
            among = f"among the {len(self.ids)} test scenes{nearest(str(wanted), known)}"
            raise BenchError(f"{where}: unknown image_id {short(wanted)} {among}")
        return found


def _checked(results: Results, size: np.ndarray) -> np.ndarray:
    """Return the boxes as x1, y1, x2, y2, (n, 4).

    Args:
        size: (n, 2) width and height of each box's image.

    Raises:
        BenchError: many boxes make sense as x1, y1, x2, y2 only, or all as shares of the image only; or a box without
            area or outside its image.
    """
    low, second = results.numbers[:, :2], results.numbers[:, 2:4]
    high = second if results.corners else low + second
    as_written = results.numbers[:, :4]
    if not results.corners:
        beyond = (high > size + 1).any(axis=1)
        as_corners = (low >= -1).all(axis=1) & (second > low).all(axis=1) & (second <= size + 1).all(axis=1)
        if (beyond & as_corners).mean() > _SUSPECT:
            share = f"{int((beyond & as_corners).sum())} of {len(low)} boxes leave their image as x, y, width, height"
            raise BenchError(
                f"{results.path}: bbox looks like x1, y1, x2, y2: {share}; write [x1, y1, x2 - x1, y2 - y1]"
            )
    extent = high - low
    if high.max() <= 1 and extent.max() < 1 and size.min() > 1:
        raise BenchError(
            f"{results.path}: bbox looks like shares of the image: no box is a pixel wide; multiply by the image's"
            " width and height"
        )
    flat = np.flatnonzero(~((extent > 0).all(axis=1) & (high > low).all(axis=1)))
    if len(flat):
        wanted = "x1 < x2 and y1 < y2" if results.corners else "x, y, width > 0, height > 0"
        raise BenchError(
            f"{results.where(flat[0])}: bbox {short(as_written[flat[0]].tolist())} has no area; expected {wanted}"
        )
    outside = np.flatnonzero((high <= 0).any(axis=1) | (low >= size).any(axis=1))
    if len(outside):
        width, height = size[outside[0]].astype(int).tolist()
        box = f"bbox {short(as_written[outside[0]].tolist())} lies outside its image, {width} wide and {height} high"
        raise BenchError(f"{results.where(outside[0])}: {box}; boxes are in pixels of the whole scene")
    return np.concatenate([low, high], axis=1)
