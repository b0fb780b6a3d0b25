"""Boxes that another tool found: what its results file says, laid onto our test scenes, whatever format it came in.

Owns which boxes cannot be meant so, and which scenes a file speaks of. Reading COCO JSON is `coco_results.py`,
recognising a scene `scene_names.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.errors import BenchError
from bench.data.ships.boxes import are_shares, corners_as_sizes
from bench.data.ships.index import ShipScene
from bench.detection.detectors.base import Detections
from bench.detection.submission.scene_names import Called, find_scenes
from bench.submissions.claims import MADE_FOR
from bench.submissions.sheets import Sheet, as_number, read_sheet, short

if TYPE_CHECKING:
    import pandas

FAR = 1e9  # pixels; no scene is so large
IMAGES = ("image_id", "file_name", "scene")  # each may name the image, in any way that `SceneFinder` knows
BOTH = ("image_id", "file_name")  # of which a table may have both, where they name one image
CORNERS, SIZES = "x1 y1 x2 y2", "x y width height"
COLUMNS = (
    f"the columns are one of {', '.join(IMAGES)}, or {' and '.join(BOTH)}; x1, y1, x2, y2 or x, y, width, height;"
    f" score; and, where wanted, category_id, {MADE_FOR}"
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
        looked_at: images that the file says were looked at besides.
        complete: the file lists every image that was looked at, so that a box in another one is a mistake.
        agreeing: an image's number and its file name must mean one scene; else the number may be the tool's own.
    """

    sheet: Sheet
    rows: Sequence[int]
    images: Sequence[Called]
    numbers: np.ndarray
    corners: bool
    categories: Sequence[str] | None
    looked_at: Sequence[Called] = ()
    complete: bool = False
    agreeing: bool = False

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
        own_numbers: whether the file numbers its images in another way, and file names say which is which.
    """

    detections: list[Detections]
    mentioned: np.ndarray
    own_numbers: bool = False


def read_box_table(path: Path) -> Results:
    """Read a CSV or Parquet table of boxes.

    A row whose box and score are empty says that its image was looked at and nothing found.

    Raises:
        BenchError: other columns than `COLUMNS`, no row, or a field that is no finite number.
    """
    sheet = read_sheet(path, "annotations", "the columns image_id, x1, y1, x2, y2, score")
    both = all(name in sheet.table for name in BOTH)
    images = tuple(name for name in IMAGES if not (both and name == "file_name"))
    further = ("category_id", MADE_FOR, *(("file_name",) if both else ()))
    sheet.check_columns((images, (CORNERS, SIZES), ("score",)), further, COLUMNS)
    column = next(name for name in IMAGES if name in sheet.table)
    for name in BOTH if both else (column,):
        empty = np.flatnonzero(sheet.table[name].isna())
        if len(empty):
            what = f"the {name}" if both else "the image"
            raise BenchError(f"{sheet.where(int(empty[0]))}: {what} is empty; {COLUMNS}")
    return replace(results_of(sheet, column), agreeing=both)


def results_of(sheet: Sheet, image: str, looked_at: Sequence[Called] = (), complete: bool = False) -> Results:
    """Return what a table of boxes says.

    Args:
        image: the column that names the image; a column "file_name" beside it counts too. looked_at, complete: as in
            `Results`.

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
        _called(boxes, image),
        numbers[~nothing],
        corners,
        [_category(value) for value in boxes["category_id"]] if "category_id" in boxes else None,
        [*looked_at, *_called(sheet.table[nothing], image)],
        complete,
    )


def _called(rows: pandas.DataFrame, image: str) -> list[Called]:
    names = rows["file_name"] if "file_name" in rows and image != "file_name" else [None] * len(rows)
    return [Called(by, name) for by, name in zip(rows[image], names, strict=True)]


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
    listed = len(results.looked_at)

    def where(i: int) -> str:
        return f"{results.path}: image {i} of its list" if i < listed else results.where(i - listed)

    found, own_numbers = find_scenes([*results.looked_at, *results.images], where, scenes, results.agreeing)
    scene = found[listed:]
    mentioned = np.zeros(len(scenes), dtype=bool)
    for at in found[:listed].tolist():
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
    return SceneBoxes(detections, mentioned, own_numbers)


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
    boxes = np.concatenate([low, high], axis=1)
    if not results.corners:
        suspect = corners_as_sizes(boxes, size)
        if suspect.mean() > _SUSPECT:
            share = f"{int(suspect.sum())} of {len(low)} boxes leave their image as x, y, width, height"
            raise BenchError(
                f"{results.path}: bbox looks like x1, y1, x2, y2: {share}; write [x1, y1, x2 - x1, y2 - y1]"
            )
    extent = high - low
    if are_shares(boxes, size):
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
    return boxes
